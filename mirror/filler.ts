/**
 * Filler: records without key and value, written where the head of the source is gone, and deleted when the head is whole. The first of each
 * batch is marked by a header.
 */
import { assembleBatch, encodeBatch, type RecordBatch, sizeOfVarint, writeVarint } from '../kafka/batches.ts';

/** Records of one filler batch: 4 MB unpacked on the broker, some 100 KB on the way. */
export const fillerRecordsMax = 500_000;
/** Batch header, marked record and frame of the codec; the records themselves take less than a byte each (measured: 0.8). */
export const fillerOverheadBytes = 500;
const fillerCodec = 'zstd';
/** Marks the first record of each batch. */
export const fillerMarkKey = Buffer.from('kafka-cutover-filler');

/** One header: its count, the key's length, the key, no value. */
const mark = encodeMark();

/** Attributes, timestamp delta, no key, no value, no headers: a byte each. */
const bareBytes = 5;
/** A record with its length and offset delta, at most. */
const recordBytesMax = bareBytes + 2 + 5;

/** Without a stamp, by number of records. */
const templatesMax = 8;
const templates = new Map<number, RecordBatch>();

/** A batch of filler at timestamp 0, without a stamp: copy it before it is changed. */
export function fillerRecords(count: number): RecordBatch {
  const known = templates.get(count);
  if (known) return known;
  const bytes = Buffer.allocUnsafe(count * recordBytesMax + mark.length);
  const end = writeFiller(bytes, count);
  const batch = assembleBatch(bytes.subarray(0, end), {
    codec: fillerCodec,
    recordCount: count,
    baseTimestamp: 0n,
    maxTimestamp: 0n,
    producerId: -1n,
    baseSequence: -1,
  });
  if (templates.size >= templatesMax) templates.clear();
  templates.set(count, batch);
  return batch;
}

/** Gives where they end. */
function writeFiller(out: Buffer, count: number): number {
  let position = 0;
  for (let offsetDelta = 0; offsetDelta < count; offsetDelta++) {
    const first = offsetDelta === 0;
    position = writeVarint(out, position, bareBytes + sizeOfVarint(offsetDelta) + (first ? mark.length - 1 : 0));
    out[position++] = 0; // attributes
    out[position++] = 0; // timestamp delta
    position = writeVarint(out, position, offsetDelta);
    out[position++] = 1; // no key: -1
    out[position++] = 1; // no value
    if (first) position += mark.copy(out, position);
    else out[position++] = 0; // no headers
  }
  return position;
}

function encodeMark(): Buffer {
  const headers = [{ key: fillerMarkKey, value: null }];
  const { records } = encodeBatch({ records: [{ timestamp: 0n, key: null, value: null, headers }] });
  // Behind length, attributes, two deltas, key and value, a byte each.
  return records.subarray(6);
}
