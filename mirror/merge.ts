/**
 * Turns source batches into the batches that are sent: most pass as they are, restamped; small neighbours become one.
 *
 * A broker takes one batch a partition in a request, so batches of one record each would travel at some 13,000 records
 * a second; merged they travel at 450,000 (measured, research/exact-offsets.md section 5). Merging rewrites three numbers at the head of
 * each record (length, timestamp delta, offset delta) and copies the rest unseen.
 */
import {
  assembleBatch,
  batchHeaderBytes,
  RecordBatch,
  RecordCursor,
  sequenceAfter,
  sizeOfVarint,
  sizeOfVarlong,
  writeBatchHeader,
  writeVarint,
  writeVarlong,
} from '../kafka/batches.ts';
import type { IncomingBatch, OutgoingBatch } from './partition.ts';

/** Merged batches stay below this. 512 KB was 10 % faster and twice the memory. */
export const mergedBytesMax = 262_144;
/** Larger uncompressed batches pass as they are. */
const mergeBelowBytes = 65_536;
/** Compressed ones are unpacked and packed again, which pays only for the tiny. */
const mergeCompressedBelowBytes = 2_048;
/** How much the head of one record can grow: offset delta 1 to 5 bytes, timestamp delta 1 to 8, length 1 more. */
const growthPerRecord = 12;
/** Timestamps further apart than this are not merged: their difference must stay a whole number. */
const timestampSpanMax = 2 ** 50;

export interface MergeLimits {
  /** No batch made here is larger. */
  readonly batchBytesMax: number;
  /** False: every batch passes as it is. */
  readonly merge: boolean;
}

/** What is wrong with a batch that cannot be carried. */
export class BatchRefusal extends Error {
  readonly offset: bigint;

  constructor(offset: bigint, what: string) {
    super(what);
    this.offset = offset;
  }
}

export interface Prepared {
  readonly batches: OutgoingBatch[];
  readonly nextSequence: number;
}

/**
 * The batches to send, in order and without a gap. Source bytes are changed in place.
 *
 * @throws BatchRefusal when a checksum is wrong or records are not what their batch says
 */
export function prepareBatches(
  incoming: readonly IncomingBatch[],
  stamp: { readonly producerId: bigint; readonly sequence: number; readonly generation: number },
  limits: MergeLimits,
): Prepared {
  const batches: OutgoingBatch[] = [];
  let sequence = stamp.sequence;
  const send = (bytes: Buffer, baseOffset: bigint, count: number, merged: boolean) => {
    batches.push({ bytes, baseOffset, count, merged, generation: stamp.generation });
    sequence = sequenceAfter(sequence, count);
  };

  for (let at = 0; at < incoming.length; ) {
    const run = takeRun(incoming, at, limits);
    at += run.length;
    for (const { batch, baseOffset } of run) {
      if (!batch.crcMatches()) throw new BatchRefusal(baseOffset, 'a checksum that does not match its batch');
    }
    const first = run[0] as IncomingBatch;
    if (run.length > 1) {
      const merged = merge(run, stamp.producerId, sequence);
      send(merged.bytes, first.baseOffset, merged.recordCount, true);
      continue;
    }
    const batch = first.skip > 0 ? withoutFirst(first) : first.batch;
    batch.restamp(stamp.producerId, sequence);
    send(batch.bytes, first.baseOffset + BigInt(first.skip), batch.recordCount, false);
  }
  return { batches, nextSequence: sequence };
}

/** The batches from `at` on that go out as one; a single one when it does not merge. */
function takeRun(incoming: readonly IncomingBatch[], at: number, limits: MergeLimits): IncomingBatch[] {
  const first = incoming[at] as IncomingBatch;
  const run = [first];
  if (!limits.merge || !mergeable(first)) return run;
  const { codec } = first.batch;
  const base = first.batch.baseTimestamp;
  const bytesMax = Math.min(mergedBytesMax, limits.batchBytesMax) - batchHeaderBytes;
  let bytes = bytesWhenMerged(first);
  for (let i = at + 1; i < incoming.length; i++) {
    const next = incoming[i] as IncomingBatch;
    bytes += bytesWhenMerged(next);
    if (bytes > bytesMax || next.batch.codec !== codec || !mergeable(next)) break;
    const span = Number(next.batch.baseTimestamp - base);
    if (span > timestampSpanMax || span < -timestampSpanMax) break;
    run.push(next);
  }
  return run;
}

function mergeable({ batch, skip }: IncomingBatch): boolean {
  if (skip > 0) return false;
  return batch.byteLength < (batch.codec === 'none' ? mergeBelowBytes : mergeCompressedBelowBytes);
}

/** An upper bound for uncompressed batches; compressed ones are small enough for their packed size to do. */
function bytesWhenMerged({ batch }: IncomingBatch): number {
  return batch.byteLength - batchHeaderBytes + batch.recordCount * growthPerRecord;
}

function merge(run: readonly IncomingBatch[], producerId: bigint, baseSequence: number): RecordBatch {
  const first = (run[0] as IncomingBatch).batch;
  const codec = first.codec ?? 'none';
  const { baseTimestamp } = first;
  let { maxTimestamp } = first;
  const sections = run.map(({ batch, baseOffset }) => unpack(batch, baseOffset));
  let bytesMax = batchHeaderBytes;
  for (let i = 0; i < run.length; i++) {
    bytesMax += (sections[i] as Buffer).length + (run[i] as IncomingBatch).batch.recordCount * growthPerRecord;
  }
  const out = Buffer.allocUnsafe(bytesMax);
  let at = batchHeaderBytes;
  let recordCount = 0;
  for (let i = 0; i < run.length; i++) {
    const { batch, baseOffset } = run[i] as IncomingBatch;
    if (batch.maxTimestamp > maxTimestamp) maxTimestamp = batch.maxTimestamp;
    at = copyRecords(out, at, {
      records: sections[i] as Buffer,
      expected: batch.recordCount,
      baseOffset,
      firstDelta: recordCount,
      timestampShift: Number(batch.baseTimestamp - baseTimestamp),
    });
    recordCount += batch.recordCount;
  }
  const fields = { codec, recordCount, baseTimestamp, maxTimestamp, producerId, baseSequence };
  if (codec !== 'none') return assembleBatch(out.subarray(batchHeaderBytes, at), fields);
  const bytes = out.subarray(0, at);
  writeBatchHeader(bytes, fields);
  return new RecordBatch(bytes);
}

/** A batch without the records that are below our position. Only the first batch after a start can need it: heads are cut anywhere. */
function withoutFirst({ batch, baseOffset, skip }: IncomingBatch): RecordBatch {
  const records = unpack(batch, baseOffset);
  const cursor = new RecordCursor(records);
  try {
    for (let i = 0; i <= skip; i++) cursor.next();
  } catch (error) {
    throw new BatchRefusal(baseOffset, (error as Error).message);
  }
  const rest = records.subarray(cursor.start);
  const count = batch.recordCount - skip;
  const out = Buffer.allocUnsafe(rest.length + count * growthPerRecord);
  const end = copyRecords(out, 0, {
    records: rest,
    expected: count,
    baseOffset: baseOffset + BigInt(skip),
    sourceDelta: skip,
    firstDelta: 0,
    timestampShift: 0,
  });
  return assembleBatch(out.subarray(0, end), {
    codec: batch.codec ?? 'none',
    recordCount: count,
    baseTimestamp: batch.baseTimestamp,
    maxTimestamp: batch.maxTimestamp,
    producerId: -1n,
    baseSequence: -1,
  });
}

function unpack(batch: RecordBatch, baseOffset: bigint): Buffer {
  try {
    return batch.decompressedRecords();
  } catch (error) {
    throw new BatchRefusal(baseOffset, `records that cannot be unpacked: ${(error as Error).message}`);
  }
}

interface Copy {
  readonly records: Buffer;
  readonly expected: number;
  readonly baseOffset: bigint;
  /** Offset delta that the first record has where it comes from. */
  readonly sourceDelta?: number;
  /** And that it gets. */
  readonly firstDelta: number;
  readonly timestampShift: number;
}

/** Copies records to `out` from `at` on under new deltas; gives where they end. */
function copyRecords(out: Buffer, at: number, copy: Copy): number {
  const { records, expected, firstDelta, timestampShift, sourceDelta = 0 } = copy;
  const cursor = new RecordCursor(records);
  let position = at;
  let index = 0;
  try {
    for (; cursor.next(); index++) {
      if (cursor.offsetDelta !== sourceDelta + index) {
        throw new RangeError(`offset delta ${cursor.offsetDelta} in place of ${sourceDelta + index}`);
      }
      const timestampDelta = cursor.timestampDelta + timestampShift;
      if (!Number.isSafeInteger(timestampDelta * 2)) throw new RangeError('a timestamp out of range');
      const offsetDelta = firstDelta + index;
      const bodyBytes = cursor.end - cursor.bodyStart;
      position = writeVarint(out, position, 1 + sizeOfVarlong(timestampDelta) + sizeOfVarint(offsetDelta) + bodyBytes);
      out[position++] = 0;
      position = writeVarlong(out, position, timestampDelta);
      position = writeVarint(out, position, offsetDelta);
      records.copy(out, position, cursor.bodyStart, cursor.end);
      position += bodyBytes;
    }
  } catch (error) {
    throw new BatchRefusal(copy.baseOffset, (error as Error).message);
  }
  if (index !== expected) throw new BatchRefusal(copy.baseOffset, `${index} records where the batch says ${expected}`);
  return position;
}
