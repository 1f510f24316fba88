/** Which batches can be carried at identical offsets. */
import type { RecordBatch } from '../kafka/batches.ts';

export interface ShapeProblem {
  readonly code: 'LOG_SHAPE_UNSUPPORTED' | 'MIRROR_LOOP';
  readonly found: string;
}

/**
 * What keeps a batch from being carried as it is; undefined when nothing does.
 *
 * @param expected the offset that the log is to go on at: a batch may begin below it (a cut head), not above
 */
export function shapeProblem(
  batch: RecordBatch,
  expected: bigint,
  otherProducerId: bigint | null,
): ShapeProblem | undefined {
  if (batch.magic !== 2) return unsupported(`message format v${batch.magic}`);
  const { baseOffset, producerId, recordCount, lastOffsetDelta } = batch;
  if (otherProducerId !== null && producerId === otherProducerId) {
    return { code: 'MIRROR_LOOP', found: `a batch of producer ${producerId}, which is the other direction's mirror` };
  }
  if (baseOffset > expected) return unsupported(`a hole: no record at offsets ${expected} to ${baseOffset - 1n}`);
  if (batch.isControl) return unsupported('a transaction marker');
  if (batch.isTransactional) return unsupported('a transactional batch');
  if (batch.isLogAppendTime) return unsupported('timestamps set by the broker (LogAppendTime)');
  if (batch.codec === undefined) return unsupported(`an unknown codec in attributes ${batch.attributes}`);
  if (recordCount !== lastOffsetDelta + 1 || recordCount < 1) {
    return unsupported(`holes: ${recordCount} records on ${lastOffsetDelta + 1} offsets`);
  }
  return undefined;
}

function unsupported(found: string): ShapeProblem {
  return { code: 'LOG_SHAPE_UNSUPPORTED', found };
}
