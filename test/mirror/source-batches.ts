/** Batches as a source may hold them and our own writer never makes them: with holes, of old formats, stamped by the broker. */
import { crc32, crc32c } from '@node-rs/crc32';
import { assembleBatch, type NewRecord, RecordBatch, writeExactVarlong, writeVarint } from '../../kafka/batches.ts';
import { type Codec, codecNames, compress } from '../../kafka/codecs.ts';
import type { KafkaRecord } from '../../kafka/record.ts';

export interface SparseBatch {
  readonly baseOffset: bigint;
  /** Offset deltas ascend; none is left out of `lastOffsetDelta`. */
  readonly records: readonly (NewRecord & { readonly offsetDelta: number })[];
  readonly lastOffsetDelta: number;
  readonly codec: Codec;
  /** Beside the codec. */
  readonly attributes?: number;
  /** Where the broker stamped it, or a log cleaner left it without records. */
  readonly maxTimestamp?: bigint;
}

export function sparseBatch({ baseOffset, records, lastOffsetDelta, codec, ...rest }: SparseBatch): RecordBatch {
  const baseTimestamp = records[0]?.timestamp ?? -1n;
  const maxTimestamp =
    rest.maxTimestamp ?? records.reduce((max, { timestamp }) => (timestamp > max ? timestamp : max), baseTimestamp);
  const sections = records.map((record) => {
    const fields = [Buffer.from([0]), exact(record.timestamp - baseTimestamp), varint(record.offsetDelta)];
    fields.push(...field(record.key), ...field(record.value), varint(record.headers?.length ?? 0));
    for (const { key, value } of record.headers ?? []) fields.push(...field(key), ...field(value));
    const body = Buffer.concat(fields);
    return Buffer.concat([varint(body.length), body]);
  });
  const fields = { codec, recordCount: records.length, baseTimestamp, maxTimestamp, producerId: -1n, baseSequence: -1 };
  let { bytes } = assembleBatch(Buffer.concat(sections), { ...fields, attributes: rest.attributes ?? 0 });
  if (records.length === 0) bytes = bytes.subarray(0, 61);
  bytes.writeBigInt64BE(baseOffset, 0);
  bytes.writeInt32BE(bytes.length - 12, 8);
  bytes.writeInt32BE(lastOffsetDelta, 23);
  bytes.writeUInt32BE(crc32c(bytes.subarray(21)), 17);
  return new RecordBatch(bytes);
}

export interface OldEntry {
  readonly magic: 0 | 1;
  /** At their offsets; more than one only with a codec. */
  readonly records: readonly Pick<KafkaRecord, 'offset' | 'timestamp' | 'key' | 'value'>[];
  readonly codec: Codec;
  /** Stamped by the broker with this. */
  readonly appendedAt?: bigint;
}

/** An entry of message format v0 or v1: a record, or a wrapper around several. */
export function oldEntry({ magic, records, codec, appendedAt }: OldEntry): RecordBatch {
  const [first] = records;
  const last = records.at(-1);
  if (!first || !last) throw new Error('an entry without records');
  const attributes = appendedAt === undefined ? 0 : 0x08;
  if (codec === 'none')
    return new RecordBatch(message(magic, attributes, { ...first, timestamp: appendedAt ?? first.timestamp }));
  const inner = records.map((record) =>
    message(magic, 0, { ...record, offset: magic === 0 ? record.offset : record.offset - first.offset }),
  );
  const value = compress(codec, Buffer.concat(inner));
  // What Kafka wrote there before 0.10 is not what the frame's specification says.
  if (codec === 'lz4' && magic === 0) value.writeUInt8((value.readUInt8(6) ^ 0x5a) & 0xff, 6);
  const timestamp = records.reduce((max, record) => (record.timestamp > max ? record.timestamp : max), first.timestamp);
  const wrapper = { offset: last.offset, timestamp: appendedAt ?? timestamp, key: null, value };
  return new RecordBatch(message(magic, attributes | codecNames.indexOf(codec), wrapper));
}

function message(magic: 0 | 1, attributes: number, record: OldEntry['records'][number]): Buffer {
  const long = (value: bigint) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64BE(value);
    return bytes;
  };
  const int = (value: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(value);
    return bytes;
  };
  const bytes = (value: Buffer | null) => (value === null ? [int(-1)] : [int(value.length), value]);
  const head = [Buffer.from([magic, attributes]), ...(magic === 1 ? [long(record.timestamp)] : [])];
  const body = Buffer.concat([...head, ...bytes(record.key), ...bytes(record.value)]);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([long(record.offset), int(4 + body.length), sum, body]);
}

function varint(value: number): Buffer {
  const bytes = Buffer.alloc(5);
  return bytes.subarray(0, writeVarint(bytes, 0, value));
}

function exact(value: bigint): Buffer {
  const bytes = Buffer.alloc(10);
  return bytes.subarray(0, writeExactVarlong(bytes, 0, value));
}

function field(value: Buffer | null): Buffer[] {
  return value === null ? [varint(-1)] : [varint(value.length), value];
}
