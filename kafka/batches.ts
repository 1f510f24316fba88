/**
 * Record batches, message format v2 (kafka.apache.org, "Record Batch"), as bytes: headers read and
 * restamped in place, records walked without copying, decoded only where somebody looks at them. Entries of formats v0 and v1 are
 * told apart by their magic, and understood by message-sets.ts.
 *
 * ```
 *  0 baseOffset i64        16 magic i8          27 baseTimestamp i64    51 producerEpoch i16
 *  8 length i32 (after 12) 17 crc u32 (21..)    35 maxTimestamp i64     53 baseSequence i32
 * 12 leaderEpoch i32       21 attributes i16    43 producerId i64       57 recordCount i32
 *                          23 lastOffsetDelta i32                       61 records
 * ```
 */

import { crc32c } from '@node-rs/crc32';
import { type Codec, codecNames, compress, decompress } from './codecs.ts';
import { decodeMessageSet, messageCrcMatches } from './message-sets.ts';
import type { KafkaRecord, RecordHeader } from './record.ts';

/** Bytes before the first record. */
export const batchHeaderBytes = 61;
/** Offset and length, which formats v0 and v1 have in the same place, as they have the magic. */
const logOverheadBytes = 12;
const magicAt = 16;
const crcAt = 17;
const attributesAt = 21;
/** Of formats v0 and v1, whose attributes are one byte with the bits of v2, and where v1 has its timestamp. */
const messageAttributesAt = 17;
const messageTimestampAt = 18;
/** The smallest entry of any format that still holds a magic. */
const entryBytesMin = 17;

const codecMask = 0x07;
const logAppendTimeBit = 0x08;
const transactionalBit = 0x10;
const controlBit = 0x20;
const deleteHorizonBit = 0x40;

/** Sequences are 31 bits and go on at 0 after the largest. */
export const sequenceCount = 2 ** 31;

export function sequenceAfter(sequence: number, count: number): number {
  return (sequence + count) % sequenceCount;
}

/**
 * A batch where it lies. Fields are read on demand. Of an entry of formats v0 and v1 these are meaningful: `magic`, `byteLength`, `baseOffset`
 * (of a wrapper, whose records end there: the offset of the last one), `nextOffset`, `attributes` and what is read from them,
 * `maxTimestamp`, `crcMatches`.
 */
export class RecordBatch {
  /** The whole batch, header included. */
  readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get byteLength(): number {
    return this.bytes.length;
  }
  get baseOffset(): bigint {
    return this.bytes.readBigInt64BE(0);
  }
  get magic(): number {
    return this.bytes.readInt8(magicAt);
  }
  /** Of the leader that appended it; -1 in formats v0 and v1, which do not say. */
  get leaderEpoch(): number {
    return this.magic >= 2 ? this.bytes.readInt32BE(12) : -1;
  }
  get crc(): number {
    return this.bytes.readUInt32BE(crcAt);
  }
  get attributes(): number {
    return this.magic >= 2 ? this.bytes.readInt16BE(attributesAt) : this.bytes.readUInt8(messageAttributesAt);
  }
  get lastOffsetDelta(): number {
    return this.bytes.readInt32BE(23);
  }
  /** Milliseconds since 1970; what records' timestamps count from (also where a delete horizon is set). */
  get baseTimestamp(): bigint {
    return this.bytes.readBigInt64BE(27);
  }
  /** -1 in format v0, which has no timestamps. */
  get maxTimestamp(): bigint {
    const { magic } = this;
    if (magic >= 2) return this.bytes.readBigInt64BE(35);
    return magic === 1 ? this.bytes.readBigInt64BE(messageTimestampAt) : -1n;
  }
  get producerId(): bigint {
    return this.bytes.readBigInt64BE(43);
  }
  get producerEpoch(): number {
    return this.bytes.readInt16BE(51);
  }
  get baseSequence(): number {
    return this.bytes.readInt32BE(53);
  }
  get recordCount(): number {
    return this.bytes.readInt32BE(57);
  }
  /** The offset after this batch. */
  get nextOffset(): bigint {
    return this.baseOffset + (this.magic >= 2 ? BigInt(this.lastOffsetDelta + 1) : 1n);
  }
  /** Undefined for a number that no codec has. */
  get codec(): Codec | undefined {
    return codecNames[this.attributes & codecMask];
  }
  get isLogAppendTime(): boolean {
    return (this.attributes & logAppendTimeBit) !== 0;
  }
  get isTransactional(): boolean {
    return (this.attributes & transactionalBit) !== 0;
  }
  get isControl(): boolean {
    return (this.attributes & controlBit) !== 0;
  }
  /** The records section as stored. */
  get records(): Buffer {
    return this.bytes.subarray(batchHeaderBytes);
  }

  crcMatches(): boolean {
    if (this.magic < 2) return messageCrcMatches(this.bytes);
    return crc32c(this.bytes.subarray(attributesAt)) === this.crc;
  }

  /**
   * The records section without its codec.
   *
   * @throws Error when the bytes are damaged
   */
  decompressedRecords(): Buffer {
    const codec = this.codec;
    if (codec === undefined) throw new Error(`unknown codec ${this.attributes & codecMask}`);
    return decompress(codec, this.records);
  }

  /**
   * Makes the batch ours, in place: a plain (neither transactional nor delete-horizon) batch of this producer at epoch 0, with
   * base offset 0 as Produce wants it, and the checksum of the result. Check `crcMatches` before: a wrong checksum would be made right.
   * With a `transactionEpoch` it is a transactional batch of that epoch.
   */
  restamp(producerId: bigint, baseSequence: number, transactionEpoch?: number): void {
    const { bytes } = this;
    const kept = bytes.readInt16BE(attributesAt) & ~(transactionalBit | deleteHorizonBit);
    bytes.writeBigInt64BE(0n, 0);
    bytes.writeInt32BE(-1, 12);
    bytes.writeInt16BE(transactionEpoch === undefined ? kept : kept | transactionalBit, attributesAt);
    bytes.writeBigInt64BE(producerId, 43);
    bytes.writeInt16BE(transactionEpoch ?? 0, 51);
    bytes.writeInt32BE(baseSequence, 53);
    bytes.writeUInt32BE(crc32c(bytes.subarray(attributesAt)), crcAt);
  }
}

/** The batches of a fetched buffer; a last one that is cut off is left out. */
export function* readBatches(buffer: Buffer): Generator<RecordBatch> {
  for (let at = 0; ; ) {
    const batch = batchAt(buffer, at);
    if (!batch) return;
    yield batch;
    at += batch.byteLength;
  }
}

/** Undefined where the buffer ends, also inside of a batch. */
export function batchAt(buffer: Buffer, at: number): RecordBatch | undefined {
  if (at + entryBytesMin > buffer.length) return undefined;
  const length = logOverheadBytes + buffer.readInt32BE(at + 8);
  if (length < entryBytesMin) throw new Error(`a batch of ${length} bytes`);
  if (at + length > buffer.length) return undefined;
  const batch = new RecordBatch(buffer.subarray(at, at + length));
  if (batch.magic >= 2 && length < batchHeaderBytes) throw new Error(`a batch of ${length} bytes`);
  return batch;
}

/** Timestamps of plain batches are below, so that differences and sums of them are whole numbers. */
const plainTimestampHighMax = 2 ** 17;
/** Upper halves of offsets and producer ids of plain batches are below. */
const plainHighMax = 2 ** 20;

/**
 * Walks plain batches: format v2, no codec, no attribute, no offset without a record, and numbers that a double holds exactly.
 * `next()` moves to the batch behind the last one and sets the fields, in place of an object and its views for each: where batches hold one record,
 * those were most of the CPU time (measured).
 */
export class PlainBatchCursor {
  readonly bytes: Buffer;
  start = 0;
  end: number;
  baseOffset = 0;
  /** Records. */
  count = 0;
  baseTimestamp = 0;
  maxTimestamp = 0;
  producerId = 0;

  readonly #view: DataView;
  readonly #limit: number;

  /** Walks bytes [from, to). */
  constructor(bytes: Buffer, from = 0, to = bytes.length) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.end = from;
    this.#limit = to;
  }

  /** False: the end, or a batch that is not plain. The fields are then those of no batch, `end` stays. */
  next(): boolean {
    const { end: at } = this;
    const view = this.#view;
    if (at + batchHeaderBytes > this.#limit) return false;
    const end = at + logOverheadBytes + view.getInt32(at + 8);
    if (end < at + batchHeaderBytes || end > this.#limit) return false;
    if (view.getInt8(at + magicAt) !== 2 || view.getInt16(at + attributesAt) !== 0) return false;
    const count = view.getInt32(at + 57);
    if (count < 1 || view.getInt32(at + 23) !== count - 1) return false;
    const offsetHigh = view.getUint32(at);
    const baseHigh = view.getUint32(at + 27);
    const maxHigh = view.getUint32(at + 35);
    const producerHigh = view.getInt32(at + 43);
    if (baseHigh >= plainTimestampHighMax || maxHigh >= plainTimestampHighMax) return false;
    if (offsetHigh >= plainHighMax || producerHigh >= plainHighMax) return false;
    this.start = at;
    this.end = end;
    this.count = count;
    this.baseOffset = offsetHigh * 2 ** 32 + view.getUint32(at + 4);
    this.baseTimestamp = baseHigh * 2 ** 32 + view.getUint32(at + 31);
    this.maxTimestamp = maxHigh * 2 ** 32 + view.getUint32(at + 39);
    this.producerId = producerHigh * 2 ** 32 + view.getUint32(at + 47);
    return true;
  }

  crcMatches(): boolean {
    const { bytes, start } = this;
    return crc32c(bytes.subarray(start + attributesAt, this.end)) === this.#view.getUint32(start + crcAt);
  }
}

/**
 * Walks decompressed records. `next()` moves to a record and sets the fields; `bodyStart` to `end` are its key, value and
 * headers as encoded, which do not depend on the batch that they are in.
 *
 * @throws RangeError from `next()` when a length points outside
 */
export class RecordCursor {
  readonly bytes: Buffer;
  /** Where the record's length field begins. */
  start = 0;
  /** Where the key's length begins. */
  bodyStart = 0;
  end = 0;
  offsetDelta = 0;
  /** NaN when it does not fit 53 bits: then `timestampDeltaExact` has it. */
  timestampDelta = 0;
  timestampDeltaExact = 0n;

  #limit: number;

  /** Walks bytes [from, to). */
  constructor(bytes: Buffer, from = 0, to = bytes.length) {
    this.bytes = bytes;
    this.end = from;
    this.#limit = to;
  }

  /** Walks bytes [from, to) from now on. */
  goTo(from: number, to: number): void {
    this.end = from;
    this.#limit = to;
  }

  next(): boolean {
    let at = this.end;
    if (at >= this.#limit) return false;
    this.start = at;
    this.#at = at;
    const length = this.#varint();
    at = this.#at;
    this.end = at + length;
    if (length < 6 || this.end > this.#limit) throw new RangeError(`a record of ${length} bytes at ${this.start}`);
    this.#at = at + 1; // attributes, unused
    this.#timestamp();
    this.offsetDelta = this.#varint();
    this.bodyStart = this.#at;
    return true;
  }

  /** Decodes the record that the cursor stands on. */
  record(baseOffset: bigint, baseTimestamp: bigint): KafkaRecord {
    this.#at = this.bodyStart;
    const key = this.#bytes();
    const value = this.#bytes();
    const headers: RecordHeader[] = [];
    const count = this.#varint();
    for (let i = 0; i < count; i++) {
      const headerKey = this.#bytes() ?? Buffer.alloc(0);
      headers.push({ key: headerKey, value: this.#bytes() });
    }
    const timestamp = BigInt.asIntN(64, baseTimestamp + this.exactTimestampDelta);
    return { offset: baseOffset + BigInt(this.offsetDelta), timestamp, key, value, headers };
  }

  get exactTimestampDelta(): bigint {
    return Number.isNaN(this.timestampDelta) ? this.timestampDeltaExact : BigInt(this.timestampDelta);
  }

  #at = 0;

  #varint(): number {
    const { bytes } = this;
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = bytes[this.#at++];
      if (byte === undefined) break;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1);
    }
    throw new RangeError(`a broken number at ${this.#at}`);
  }

  #timestamp(): void {
    const from = this.#at;
    const { bytes } = this;
    let value = 0;
    let scale = 1;
    // Seven bytes hold 49 bits, which a double holds exactly.
    for (let i = 0; i < 7; i++) {
      const byte = bytes[this.#at++];
      if (byte === undefined) throw new RangeError(`a broken number at ${this.#at}`);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        this.timestampDelta = value % 2 === 0 ? value / 2 : -(value + 1) / 2;
        return;
      }
      scale *= 128;
    }
    this.#at = from;
    let exact = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[this.#at++];
      if (byte === undefined) break;
      exact |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        exact = BigInt.asUintN(64, exact);
        this.timestampDelta = Number.NaN;
        this.timestampDeltaExact = BigInt.asIntN(64, (exact >> 1n) ^ -(exact & 1n));
        return;
      }
    }
    throw new RangeError(`a broken number at ${this.#at}`);
  }

  #bytes(): Buffer | null {
    const length = this.#varint();
    if (length < 0) return null;
    const at = this.#at;
    if (at + length > this.end) throw new RangeError(`a field of ${length} bytes at ${at}`);
    this.#at = at + length;
    return this.bytes.subarray(at, at + length);
  }
}

/**
 * All records of a batch.
 *
 * @throws Error when the bytes are damaged
 */
export function decodeRecords(batch: RecordBatch): KafkaRecord[] {
  if (batch.magic < 2) return decodeMessageSet(batch.bytes);
  if (batch.recordCount === 0) return []; // left by the log cleaner; it has nothing to unpack either
  const { baseOffset, baseTimestamp } = batch;
  const cursor = new RecordCursor(batch.decompressedRecords());
  const records: KafkaRecord[] = [];
  while (cursor.next()) {
    const record = cursor.record(baseOffset, baseTimestamp);
    records.push(batch.isLogAppendTime ? { ...record, timestamp: batch.maxTimestamp } : record);
  }
  return records;
}

export interface NewRecord {
  readonly timestamp: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers?: readonly RecordHeader[];
}

export interface NewBatch {
  readonly records: readonly NewRecord[];
  readonly codec?: Codec;
  /** -1n, not idempotent, when left out. */
  readonly producerId?: bigint;
  readonly baseSequence?: number;
  /** Attribute bits beside the codec; for tests of what is refused. */
  readonly attributes?: number;
}

/** Encodes a batch at base offset 0 and epoch 0, its records at adjacent offsets. */
export function encodeBatch({ records, codec = 'none', producerId = -1n, ...rest }: NewBatch): RecordBatch {
  const baseTimestamp = records[0]?.timestamp ?? -1n;
  let maxTimestamp = baseTimestamp;
  const pieces: Buffer[] = [];
  records.forEach((record, offsetDelta) => {
    if (record.timestamp > maxTimestamp) maxTimestamp = record.timestamp;
    const body: Buffer[] = [Buffer.from([0]), varlong(record.timestamp - baseTimestamp), varint(offsetDelta)];
    pushBytes(body, record.key);
    pushBytes(body, record.value);
    body.push(varint(record.headers?.length ?? 0));
    for (const header of record.headers ?? []) {
      pushBytes(body, header.key);
      pushBytes(body, header.value);
    }
    let length = 0;
    for (const piece of body) length += piece.length;
    pieces.push(varint(length), ...body);
  });
  return assembleBatch(Buffer.concat(pieces), {
    codec,
    recordCount: records.length,
    baseTimestamp,
    maxTimestamp,
    producerId,
    baseSequence: rest.baseSequence ?? (producerId < 0n ? -1 : 0),
    attributes: rest.attributes ?? 0,
  });
}

export interface BatchFields {
  readonly codec: Codec;
  readonly recordCount: number;
  readonly baseTimestamp: bigint;
  readonly maxTimestamp: bigint;
  readonly producerId: bigint;
  readonly baseSequence: number;
  readonly attributes?: number;
  /** Makes it a transactional batch of that epoch. */
  readonly transactionEpoch?: number | undefined;
}

/** A batch around encoded records, which are compressed here. */
export function assembleBatch(encodedRecords: Buffer, fields: BatchFields): RecordBatch {
  const records = compress(fields.codec, encodedRecords);
  const bytes = Buffer.allocUnsafe(batchHeaderBytes + records.length);
  records.copy(bytes, batchHeaderBytes);
  writeBatchHeader(bytes, fields);
  return new RecordBatch(bytes);
}

/** Fills the first 61 bytes of `bytes`, whose records section is in place. */
export function writeBatchHeader(bytes: Buffer, fields: BatchFields): void {
  bytes.writeBigInt64BE(0n, 0);
  bytes.writeInt32BE(bytes.length - logOverheadBytes, 8);
  bytes.writeInt32BE(-1, 12);
  bytes.writeInt8(2, magicAt);
  const transactional = fields.transactionEpoch === undefined ? 0 : transactionalBit;
  bytes.writeInt16BE(codecNames.indexOf(fields.codec) | (fields.attributes ?? 0) | transactional, attributesAt);
  bytes.writeInt32BE(fields.recordCount - 1, 23);
  bytes.writeBigInt64BE(fields.baseTimestamp, 27);
  bytes.writeBigInt64BE(fields.maxTimestamp, 35);
  bytes.writeBigInt64BE(fields.producerId, 43);
  bytes.writeInt16BE(fields.transactionEpoch ?? (fields.producerId < 0n ? -1 : 0), 51);
  bytes.writeInt32BE(fields.baseSequence, 53);
  bytes.writeInt32BE(fields.recordCount, 57);
  bytes.writeUInt32BE(crc32c(bytes.subarray(attributesAt)), crcAt);
}

/** Zigzag varint of a signed 32-bit number at `at`; gives the position after it. */
export function writeVarint(bytes: Buffer, at: number, value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  let position = at;
  while (rest > 0x7f) {
    bytes[position++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[position++] = rest;
  return position;
}

/** Zigzag varint of a whole number below 2^52 either way at `at`; gives the position after it. */
export function writeVarlong(bytes: Buffer, at: number, value: number): number {
  if (value >= -0x40000000 && value < 0x40000000) return writeVarint(bytes, at, value);
  let rest = value < 0 ? -value * 2 - 1 : value * 2;
  let position = at;
  while (rest > 0x7f) {
    bytes[position++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  bytes[position++] = rest;
  return position;
}

/** What a number of 64 bits takes at most. */
export const varlongBytesMax = 10;

/** Zigzag varint of the lowest 64 bits of `value` at `at`, as Java's arithmetic wraps; gives the position after it. */
export function writeExactVarlong(bytes: Buffer, at: number, value: bigint): number {
  const signed = BigInt.asIntN(64, value);
  let rest = BigInt.asUintN(64, (signed << 1n) ^ (signed >> 63n));
  let position = at;
  for (; rest > 0x7fn; rest >>= 7n) bytes[position++] = Number(rest & 0x7fn) | 0x80;
  bytes[position++] = Number(rest);
  return position;
}

export function sizeOfVarint(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  if (zigzag < 0x80) return 1;
  if (zigzag < 0x4000) return 2;
  if (zigzag < 0x200000) return 3;
  return zigzag < 0x10000000 ? 4 : 5;
}

/** Of a whole number below 2^52 either way. */
export function sizeOfVarlong(value: number): number {
  if (value >= -0x40000000 && value < 0x40000000) return sizeOfVarint(value);
  let rest = value < 0 ? -value * 2 - 1 : value * 2;
  let size = 1;
  while (rest > 0x7f) {
    rest = Math.floor(rest / 128);
    size++;
  }
  return size;
}

function varint(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(5);
  return bytes.subarray(0, writeVarint(bytes, 0, value));
}

function varlong(value: bigint): Buffer {
  const bytes = Buffer.allocUnsafe(varlongBytesMax);
  return bytes.subarray(0, writeExactVarlong(bytes, 0, value));
}

function pushBytes(pieces: Buffer[], bytes: Buffer | null): void {
  if (bytes === null) {
    pieces.push(varint(-1));
    return;
  }
  pieces.push(varint(bytes.length), bytes);
}
