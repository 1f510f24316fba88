/**
 * Filler: records without key and value that stand where the source has nothing. A log cleaner removes them, as it removes every
 * record without a key; heads of it are deleted. The first of each run is marked by a header.
 */
import {
  assembleBatch,
  encodeBatch,
  type RecordBatch,
  sizeOfVarint,
  sizeOfVarlong,
  writeVarint,
  writeVarlong,
} from '../kafka/batches.ts';

/** Records of one filler batch: 4 MB unpacked on the broker, some 100 KB on the way. */
export const fillerRecordsMax = 500_000;
/** Batch header, marked record and frame of the codec; the records themselves take less than a byte each (measured: 0.8). */
export const fillerOverheadBytes = 500;
const fillerCodec = 'zstd';
/** Marks the first record of each run. */
export const fillerMarkKey = Buffer.from('kafka-cutover-filler');

/** One header: its count, the key's length, the key, no value. */
const mark = encodeMark();

/** What `count` records of filler take at most: length, attributes, timestamp delta, offset delta, no key, no value, no headers. */
export function fillerBytesMax(count: number): number {
  return count * 18 + mark.length + 4;
}

/** Without a stamp, by number of records. */
const templatesMax = 8;
const templates = new Map<number, RecordBatch>();

/** A batch of filler at timestamp 0, without a stamp: copy it before it is changed. */
export function fillerRecords(count: number): RecordBatch {
  const known = templates.get(count);
  if (known) return known;
  const bytes = Buffer.allocUnsafe(fillerBytesMax(count));
  const end = writeFiller(bytes, 0, { count, firstDelta: 0, timestampDelta: 0 });
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

/** Writes a run of filler as the records of a batch, from `at` on; gives where they end. */
export function writeFiller(
  out: Buffer,
  at: number,
  run: { readonly count: number; readonly firstDelta: number; readonly timestampDelta: number },
): number {
  const { count, firstDelta, timestampDelta } = run;
  const bareBytes = 4 + sizeOfVarlong(timestampDelta);
  let position = at;
  for (let i = 0; i < count; i++) {
    const offsetDelta = firstDelta + i;
    const length = bareBytes + sizeOfVarint(offsetDelta) + (i === 0 ? mark.length - 1 : 0);
    position = writeVarint(out, position, length);
    out[position++] = 0; // attributes
    position = writeVarlong(out, position, timestampDelta);
    position = writeVarint(out, position, offsetDelta);
    out[position++] = 1; // no key: -1
    out[position++] = 1; // no value
    if (i === 0) position += mark.copy(out, position);
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
