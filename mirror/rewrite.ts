/**
 * Writes source records into batches of our own. Only the three numbers at the head of each record are rewritten (length, timestamp
 * delta, offset delta); keys, values and headers are copied unseen.
 */
import {
  batchHeaderBytes,
  PlainBatchCursor,
  RecordBatch,
  RecordCursor,
  sizeOfVarint,
  sizeOfVarlong,
  varlongBytesMax,
  writeBatchHeader,
  writeExactVarlong,
  writeVarint,
  writeVarlong,
} from '../kafka/batches.ts';
import { type Codec, compress } from '../kafka/codecs.ts';
import { decodeMessageSet, messageCodec } from '../kafka/message-sets.ts';
import type { KafkaRecord } from '../kafka/record.ts';
import { reusedBuffers } from '../kafka/reused-buffers.ts';
import type { SourceBatch } from './pieces.ts';

/** What is wrong with a batch that cannot be carried. */
export class BatchRefusal extends Error {
  readonly offset: bigint;

  constructor(offset: bigint, what: string) {
    super(what);
    this.offset = offset;
  }
}

/** How much the head of one record can grow: offset delta 1 to 5 bytes, timestamp delta 1 to 8, length 1 more. */
const growthPerRecord = 12;
/** Base timestamps further apart than this, in ms, do not share a batch: their difference must stay a whole number. */
export const timestampSpanMax = 2n ** 50n;
/** Fewer bytes of records than this are not packed. */
const packFromBytes = 128;

/** Records at adjacent offsets, as encoded for format v2 somewhere: a part of a batch to be. */
export interface Section {
  readonly firstOffset: bigint;
  count: number;
  readonly codec: Codec;
  /** Of all records, where `stampedByBroker`: then what they say themselves does not count. */
  readonly baseTimestamp: bigint;
  maxTimestamp: bigint;
  readonly stampedByBroker: boolean;
  /** Offset delta of the first record as it is encoded. */
  readonly sourceDelta: number;
  /** The batch, where this is all of it, and it could go out as it is. */
  readonly whole: RecordBatch | undefined;
  /** Unpacked records, at [start, end); undefined: still packed in `whole`. */
  records: Buffer | undefined;
  start: number;
  end: number;
  /** What lies there are so many plain batches, headers included; 0: only records. */
  batches: number;
}

/** A batch without holes as one section. */
export function sectionOfBatch(batch: RecordBatch, firstOffset: bigint, codec: Codec, count: number): Section {
  const stampedByBroker = batch.isLogAppendTime;
  const { maxTimestamp } = batch;
  const packed = codec !== 'none';
  return {
    firstOffset,
    count,
    codec,
    baseTimestamp: stampedByBroker ? maxTimestamp : batch.baseTimestamp,
    maxTimestamp,
    stampedByBroker,
    sourceDelta: 0,
    whole: batch,
    records: packed ? undefined : batch.bytes,
    start: packed ? 0 : batchHeaderBytes,
    end: packed ? 0 : batch.bytes.length,
    batches: 0,
  };
}

/** The batch where the cursor stands, as a section that those behind it may join. */
export function sectionOfPlainBatch(batch: PlainBatchCursor): Section {
  return {
    firstOffset: BigInt(batch.baseOffset),
    count: batch.count,
    codec: 'none',
    baseTimestamp: BigInt(batch.baseTimestamp),
    maxTimestamp: BigInt(batch.maxTimestamp),
    stampedByBroker: false,
    sourceDelta: 0,
    whole: undefined,
    records: batch.bytes,
    start: batch.start,
    end: batch.end,
    batches: 1,
  };
}

/** Adds the batch where the cursor stands to the section of the one before. */
export function extendSection(section: Section, batch: PlainBatchCursor): void {
  section.count += batch.count;
  section.end = batch.end;
  section.batches++;
  if (batch.maxTimestamp > section.maxTimestamp) section.maxTimestamp = BigInt(batch.maxTimestamp);
}

/**
 * Unpacks a section that is still packed.
 *
 * @throws BatchRefusal
 */
export function unpackSection(section: Section): void {
  if (section.records !== undefined || !section.whole) return;
  section.records = unpack(section.whole, section.firstOffset);
  section.start = 0;
  section.end = section.records.length;
}

/** Bytes that the records of a section, or of the batch where a cursor stands, take in a batch at most. */
export function bytesInBatch(part: Section | PlainBatchCursor): number {
  const headers = part instanceof PlainBatchCursor ? 1 : part.batches;
  return part.end - part.start - headers * batchHeaderBytes + part.count * growthPerRecord;
}

/**
 * The records of a batch of any format from `piece.from` on, as sections between holes, none larger than `bytesMax` unless it is one
 * record.
 *
 * @throws BatchRefusal while walking
 */
export function* sectionsOfPiece(piece: SourceBatch, bytesMax: number): Generator<Section> {
  const { batch, from, end } = piece;
  if (batch.magic >= 2 && batch.recordCount === 0) return; // nothing left by the log cleaner
  const encoded = batch.magic < 2 ? upConverted(piece) : encodedRecords(piece);
  const { records, codec, baseOffset, baseTimestamp, stampedByBroker } = encoded;
  const cursor = new RecordCursor(records);
  const fromDelta = Number(from - baseOffset);
  const endDelta = Number(end - baseOffset);
  // Near the ends of 64 bits sums wrap, as Java's do, and the largest delta is not the latest timestamp.
  const baseIsPlain = baseTimestamp < timestampBasePlain && baseTimestamp > -timestampBasePlain;
  let walked = 0;
  let previous = -1;
  let run:
    | { start: number; end: number; delta: number; count: number; max: bigint | undefined; maxDelta: number }
    | undefined;
  const finish = (ended: NonNullable<typeof run>): Section => ({
    firstOffset: baseOffset + BigInt(ended.delta),
    count: ended.count,
    codec,
    baseTimestamp,
    maxTimestamp: stampedByBroker ? baseTimestamp : highest(baseTimestamp, ended.maxDelta, ended.max),
    stampedByBroker,
    sourceDelta: ended.delta,
    whole: undefined,
    records,
    start: ended.start,
    end: ended.end,
    batches: 0,
  });
  while (advance(cursor, from)) {
    walked++;
    const delta = cursor.offsetDelta;
    if (delta <= previous || delta >= endDelta) {
      throw new BatchRefusal(from, `offset delta ${delta} after ${previous} in a batch that ends at ${endDelta}`);
    }
    previous = delta;
    if (delta < fromDelta) continue;
    if (run && (delta !== run.delta + run.count || cursor.end - run.start > bytesMax)) {
      yield finish(run);
      run = undefined;
    }
    run ??= {
      start: cursor.start,
      end: cursor.end,
      delta,
      count: 0,
      max: undefined,
      maxDelta: Number.NEGATIVE_INFINITY,
    };
    run.end = cursor.end;
    run.count++;
    if (baseIsPlain && cursor.timestampDelta < timestampDeltaPlain && cursor.timestampDelta > -timestampDeltaPlain) {
      if (cursor.timestampDelta > run.maxDelta) run.maxDelta = cursor.timestampDelta;
    } else {
      const timestamp = BigInt.asIntN(64, baseTimestamp + cursor.exactTimestampDelta);
      if (run.max === undefined || timestamp > run.max) run.max = timestamp;
    }
  }
  if (walked !== encoded.count) throw new BatchRefusal(from, `${walked} records where the batch says ${encoded.count}`);
  if (run) yield finish(run);
}

const timestampDeltaPlain = 2 ** 49;
const timestampBasePlain = 2n ** 62n;

function highest(baseTimestamp: bigint, maxDelta: number, max: bigint | undefined): bigint {
  if (maxDelta === Number.NEGATIVE_INFINITY) return max ?? baseTimestamp;
  const plain = BigInt.asIntN(64, baseTimestamp + BigInt(maxDelta));
  return max !== undefined && max > plain ? max : plain;
}

interface EncodedRecords {
  readonly records: Buffer;
  readonly count: number;
  readonly codec: Codec;
  readonly baseOffset: bigint;
  readonly baseTimestamp: bigint;
  readonly stampedByBroker: boolean;
}

function encodedRecords({ batch, from }: SourceBatch): EncodedRecords {
  const { codec, baseOffset, recordCount, isLogAppendTime } = batch;
  if (codec === undefined) throw unknownCodec(batch, from);
  return {
    records: unpack(batch, from),
    count: recordCount,
    codec,
    baseOffset,
    baseTimestamp: isLogAppendTime ? batch.maxTimestamp : batch.baseTimestamp,
    stampedByBroker: isLogAppendTime,
  };
}

export function unknownCodec(batch: RecordBatch, offset: bigint): BatchRefusal {
  return new BatchRefusal(offset, `unknown codec ${batch.attributes & 0x07}`);
}

/** Records of formats v0 and v1, encoded as v2 would have them from `piece.from` on. */
function upConverted({ batch, from }: SourceBatch): EncodedRecords {
  let messages: KafkaRecord[];
  try {
    messages = decodeMessageSet(batch.bytes);
  } catch (error) {
    throw new BatchRefusal(from, `a message set that cannot be read: ${(error as Error).message}`);
  }
  const kept = messages.filter(({ offset }) => offset >= from);
  const baseTimestamp = kept[0]?.timestamp ?? -1n;
  let bytesMax = 0;
  for (const { key, value } of kept) bytesMax += (key?.length ?? 0) + (value?.length ?? 0) + upConvertedHeadBytesMax;
  const records = Buffer.allocUnsafe(bytesMax);
  let at = 0;
  for (const { offset, timestamp, key, value } of kept) {
    const offsetDelta = Number(offset - from);
    if (offsetDelta >= 2 ** 31) throw new BatchRefusal(from, `offset ${offset} in a message set at ${from}`);
    const timestampDelta = BigInt.asIntN(64, timestamp - baseTimestamp);
    const keyBytes = key?.length ?? -1;
    const valueBytes = value?.length ?? -1;
    const numbersEnd = writeVarint(scratch, writeExactVarlong(scratch, 0, timestampDelta), offsetDelta);
    const fields = sizeOfVarint(keyBytes) + Math.max(0, keyBytes) + sizeOfVarint(valueBytes) + Math.max(0, valueBytes);
    at = writeVarint(records, at, 1 + numbersEnd + fields + 1);
    records[at++] = 0; // attributes
    at += scratch.copy(records, at, 0, numbersEnd);
    at = writeVarint(records, at, keyBytes);
    if (key) at += key.copy(records, at);
    at = writeVarint(records, at, valueBytes);
    if (value) at += value.copy(records, at);
    records[at++] = 0; // no headers
  }
  const codec = messageCodec(batch.bytes) ?? 'none';
  return {
    records: records.subarray(0, at),
    count: kept.length,
    codec,
    baseOffset: from,
    baseTimestamp,
    stampedByBroker: false,
  };
}

/** Length, attributes, timestamp delta, offset delta, lengths of key and value, number of headers. */
const upConvertedHeadBytesMax = 5 + 1 + varlongBytesMax + 5 + 5 + 5 + 1;

function unpack(batch: RecordBatch, offset: bigint): Buffer {
  try {
    return batch.decompressedRecords();
  } catch (error) {
    throw new BatchRefusal(offset, `records that cannot be unpacked: ${(error as Error).message}`);
  }
}

function advance(cursor: RecordCursor, offset: bigint): boolean {
  try {
    return cursor.next();
  } catch (error) {
    throw new BatchRefusal(offset, (error as Error).message);
  }
}

export interface BatchStamp {
  readonly producerId: bigint;
  readonly baseSequence: number;
  readonly transactionEpoch: number | undefined;
}

/**
 * One batch of all parts, one behind the other, packed with `codec` where that makes it smaller. It is at most the parts'
 * `bytesInBatch` and a header long. Where the parts are whole batches that lie behind one another unpacked, it is made over them, and
 * their bytes are gone: no second buffer, and each record moves a few bytes down while it is still in the processor's cache (measured: 40 % less
 * CPU time than copying).
 *
 * @throws BatchRefusal when records are not what their batch said
 */
export function joined(parts: readonly Section[], codec: Codec, stamp: BatchStamp): RecordBatch {
  const first = parts[0] as Section;
  const { baseTimestamp } = first;
  let { maxTimestamp } = first;
  let bytesMax = batchHeaderBytes;
  for (const part of parts) {
    unpackSection(part);
    bytesMax += bytesInBatch(part);
  }
  const making = codec === 'none' && lieBehindOneAnother(parts) ? madeOver(first, bytesMax) : madeApart(bytesMax);
  let recordCount = 0;
  for (const part of parts) {
    if (part.maxTimestamp > maxTimestamp) maxTimestamp = part.maxTimestamp;
    moveSection(making, part, recordCount, Number(part.baseTimestamp - baseTimestamp));
    recordCount += part.count;
  }
  const fields = { codec, recordCount, baseTimestamp, maxTimestamp, ...stamp };
  const { out, begin, at } = making;
  const recordBytes = at - begin - batchHeaderBytes;
  if (codec !== 'none' && recordBytes >= packFromBytes) {
    const packed = compress(codec, out.subarray(begin + batchHeaderBytes, at));
    if (packed.length < recordBytes) {
      const bytes = Buffer.allocUnsafe(batchHeaderBytes + packed.length);
      packed.copy(bytes, batchHeaderBytes);
      writeBatchHeader(bytes, fields);
      reusedBuffers.release(out);
      return new RecordBatch(bytes);
    }
  }
  const bytes = out.subarray(begin, at);
  writeBatchHeader(bytes, { ...fields, codec: 'none' });
  return new RecordBatch(bytes);
}

/** A batch that is being made at [begin, at) of `out`. */
interface Making {
  out: Buffer;
  begin: number;
  at: number;
  readonly bytesMax: number;
  /** `out` is what the parts themselves lie in. */
  over: boolean;
}

function madeApart(bytesMax: number): Making {
  return { out: reusedBuffers.take(bytesMax), begin: 0, at: batchHeaderBytes, bytesMax, over: false };
}

function madeOver(first: Section, bytesMax: number): Making {
  const { buffer, byteOffset } = first.records as Buffer;
  const begin = byteOffset + beginOf(first);
  return { out: Buffer.from(buffer), begin, at: begin + batchHeaderBytes, bytesMax, over: true };
}

/** Each one or more whole batches, whose headers are of no more use. */
function lieBehindOneAnother(parts: readonly Section[]): boolean {
  let memory: ArrayBufferLike | undefined;
  let end = 0;
  for (const part of parts) {
    const { whole, records, batches } = part;
    if (!records || (batches === 0 && records !== whole?.bytes)) return false;
    const { buffer, byteOffset } = records;
    if (memory !== undefined && (memory !== buffer || byteOffset + beginOf(part) !== end)) return false;
    memory = buffer;
    end = byteOffset + part.end;
  }
  return true;
}

/** Where the first header lies. */
function beginOf({ start, batches }: Section): number {
  return batches > 0 ? start : start - batchHeaderBytes;
}

/** The heads of records have outgrown the headers between the batches: the rest would be overwritten before it is read. */
function moveApart(making: Making): void {
  const { out, begin, at, bytesMax } = making;
  making.out = reusedBuffers.take(bytesMax);
  making.at = out.copy(making.out, 0, begin, at);
  making.begin = 0;
  making.over = false;
}

/**
 * Moves or copies records to the end of what is being made, under new deltas.
 *
 * @throws BatchRefusal
 */
function moveSection(making: Making, section: Section, firstDelta: number, timestampShift: number): void {
  const { start, end, batches } = section;
  const records = section.records as Buffer;
  const cursor = new RecordCursor(records, start, end);
  let moved = 0;
  try {
    if (batches === 0) {
      moveRecords(making, cursor, section, section.count, firstDelta, timestampShift);
      return;
    }
    const batch = new PlainBatchCursor(records, start, end);
    const shift = timestampShift - Number(section.baseTimestamp);
    while (batch.next()) {
      cursor.goTo(batch.start + batchHeaderBytes, batch.end);
      moveRecords(making, cursor, section, batch.count, firstDelta + moved, shift + batch.baseTimestamp);
      moved += batch.count;
    }
  } catch (error) {
    throw new BatchRefusal(section.firstOffset + BigInt(moved), (error as Error).message);
  }
}

/** `count` records, all that the cursor has before it. @throws RangeError when they are not what their batch said */
function moveRecords(
  making: Making,
  cursor: RecordCursor,
  { sourceDelta, stampedByBroker }: Section,
  count: number,
  firstDelta: number,
  timestampShift: number,
): void {
  const records = cursor.bytes;
  let { out, at: position } = making;
  /** What to add to a place in `records` to have it in `out`, while they are the same memory. */
  const shift = records.byteOffset - out.byteOffset;
  let index = 0;
  for (; cursor.next(); index++) {
    if (cursor.offsetDelta !== sourceDelta + index) {
      throw new RangeError(`offset delta ${cursor.offsetDelta} in place of ${sourceDelta + index}`);
    }
    if (index === count) throw new RangeError(`more records than ${count}`); // there is no room for more
    const offsetDelta = firstDelta + index;
    const bodyBytes = cursor.end - cursor.bodyStart;
    const timestampDelta = stampedByBroker ? timestampShift : cursor.timestampDelta + timestampShift;
    const isPlain = timestampDelta < timestampDeltaPlain && timestampDelta > -timestampDeltaPlain;
    let exactBytes = 0;
    if (!isPlain) {
      const delta = stampedByBroker ? BigInt(timestampShift) : cursor.exactTimestampDelta + BigInt(timestampShift);
      exactBytes = writeExactVarlong(scratch, 0, delta);
    }
    const headBytes = 1 + (isPlain ? sizeOfVarlong(timestampDelta) : exactBytes) + sizeOfVarint(offsetDelta);
    const recordBytes = headBytes + bodyBytes;
    if (making.over && position + sizeOfVarint(recordBytes) + headBytes > cursor.bodyStart + shift) {
      making.at = position;
      moveApart(making);
      ({ out, at: position } = making);
    }
    position = writeVarint(out, position, recordBytes);
    out[position++] = 0;
    if (isPlain) position = writeVarlong(out, position, timestampDelta);
    else position += scratch.copy(out, position, 0, exactBytes);
    position = writeVarint(out, position, offsetDelta);
    if (making.over) out.copyWithin(position, cursor.bodyStart + shift, cursor.end + shift);
    else records.copy(out, position, cursor.bodyStart, cursor.end);
    position += bodyBytes;
  }
  if (index !== count) throw new RangeError(`${index} records where the batch says ${count}`);
  making.at = position;
}

/** For one timestamp delta and one offset delta. */
const scratch = Buffer.alloc(varlongBytesMax + 5);
