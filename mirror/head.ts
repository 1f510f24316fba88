/**
 * Trimmed heads: the log that is read begins above 0 and the written one is empty below that. The offsets in between are written
 * with filler and deleted again, so that both logs begin, and go on, at the same offset.
 *
 * Safe at any point: real records are written only after the filler is gone, so a written partition that begins with filler holds
 * nothing else, and a later start fills on from its log end.
 */
import { CutoverError } from '../contract/errors.ts';
import { decodeRecords, RecordBatch, readBatches, sequenceAfter } from '../kafka/batches.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { kafkaErrorName, refuseKafkaError } from '../kafka/kafka-errors.ts';
import { partitionKey } from '../kafka/offsets.ts';
import { dropConnection, rawFetch, rawProduce } from '../kafka/wire.ts';
import { fillerMarkKey, fillerOverheadBytes, fillerRecords, fillerRecordsMax } from './filler.ts';
import { produceTimeoutMs } from './lane.ts';

const inFlightMax = 4;
const inspectBytes = 4_194_304;

export interface Head {
  readonly into: Cluster;
  readonly topic: string;
  readonly partition: number;
  readonly leader: number;
  readonly producerId: bigint;
  /** No filler batch is larger. */
  readonly maxBatchBytes: number;
}

/**
 * Writes filler from `position` up to `end`.
 *
 * Its timestamp is now, not that of the records to come: the target forgets producers by the timestamp of their last batch, and
 * an old one would leave two mirrors at the same head without the compare-and-set; retention must not see old records either.
 * The price: the first segment of the log counts as written now, so retention keeps it longer.
 *
 * @throws CutoverError TARGET_DIVERGED, MIRROR_SHUT_OUT, or a retryable one after which the position is to be read again
 */
export async function fillHead(
  head: Head,
  range: { readonly position: bigint; readonly end: bigint; readonly sequence: number; readonly remembered: boolean },
  signal: AbortSignal,
): Promise<void> {
  const { into, topic, partition, producerId } = head;
  const where = `cluster ${into.name}, ${partitionKey(topic, partition)}`;
  const timestamp = BigInt(Date.now());
  // Packed, a record takes less than a byte (measured: 0.8).
  const recordsMax = Math.max(1, Math.min(fillerRecordsMax, head.maxBatchBytes - fillerOverheadBytes));
  const connection = await into.open(head.leader);
  const stop = () => dropConnection(connection);
  signal.addEventListener('abort', stop);
  try {
    let { position, sequence } = range;
    let window = range.remembered ? inFlightMax : 1;
    const inFlight: Promise<void>[] = [];
    while (position < range.end && !signal.aborted) {
      const left = range.end - position;
      const count = left > BigInt(recordsMax) ? recordsMax : Number(left);
      const template = fillerRecords(count);
      const batch = new RecordBatch(Buffer.from(template.bytes));
      batch.bytes.writeBigInt64BE(timestamp, 27);
      batch.bytes.writeBigInt64BE(timestamp, 35);
      batch.restamp(producerId, sequence);
      const wanted = position;
      const sent = rawProduce
        .async(connection, {
          timeoutMs: produceTimeoutMs,
          topics: [{ topic, partitions: [{ partition, records: [batch.bytes] }] }],
        })
        .then(([answer]) => {
          const code = answer?.errorCode ?? -1;
          if (code === 0 && answer?.baseOffset !== wanted) {
            throw new CutoverError('TARGET_DIVERGED', {
              what: 'filler landed in the wrong place',
              where,
              found: `offset ${answer?.baseOffset}`,
              wanted: `${wanted}`,
            });
          }
          if (code !== 0) throw produceRefusal(code, where);
        });
      sent.catch(() => {});
      inFlight.push(sent);
      position += BigInt(count);
      sequence = sequenceAfter(sequence, count);
      if (inFlight.length >= window) {
        await inFlight.shift();
        window = inFlightMax;
      }
    }
    await Promise.all(inFlight);
  } finally {
    signal.removeEventListener('abort', stop);
    dropConnection(connection);
  }
}

/** What a refused write means where it is not a matter of trying again. */
export function produceRefusal(code: number, where: string): CutoverError {
  if (code === 29 || code === 47) {
    return new CutoverError('MIRROR_SHUT_OUT', { what: 'writing was refused', where, found: kafkaErrorName(code) });
  }
  return new CutoverError('KAFKA_REQUEST_FAILED', { what: 'writing failed', where, found: kafkaErrorName(code) });
}

/**
 * What [start, end) of the written partition holds: only filler of ours, no filler, or filler and something else.
 *
 * @throws CutoverError KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function inspectHead(head: Head, start: bigint, end: bigint): Promise<'filler' | 'records' | 'mixed'> {
  const { into, topic, partition, leader } = head;
  const where = `cluster ${into.name}, ${partitionKey(topic, partition)}`;
  for (let offset = start; offset < end; ) {
    const answer = await into.call({ broker: leader }, rawFetch, {
      maxWaitMs: 0,
      minBytes: 0,
      maxBytes: inspectBytes,
      isolation: 'readUncommitted',
      topics: [{ topic, partitions: [{ partition, fetchOffset: offset, maxBytes: inspectBytes }] }],
    });
    const [fetched] = answer.partitions;
    refuseKafkaError(fetched?.errorCode ?? -1, 'reading the head', where);
    const before = offset;
    for (const batch of readBatches(fetched?.records ?? Buffer.alloc(0))) {
      if (!isFiller(batch, head.producerId)) return offset === start ? 'records' : 'mixed';
      offset = batch.nextOffset;
    }
    if (offset === before) return 'mixed';
  }
  return 'filler';
}

function isFiller(batch: RecordBatch, producerId: bigint): boolean {
  if (batch.magic < 2 || batch.isControl || batch.producerId !== producerId || !batch.crcMatches()) return false;
  if (batch.records.equals(fillerRecords(fillerRecordsMax).records)) return true;
  const records = decodeRecords(batch);
  const [mark] = records[0]?.headers ?? [];
  return mark?.key.equals(fillerMarkKey) === true && records.every((r) => r.key === null && r.value === null);
}
