/**
 * Message formats v0 (Kafka before 0.10) and v1 (before 0.11), which old topics still hold: only read here, as Produce takes v2 alone.
 *
 * ```
 *  0 offset i64    12 crc u32 (16..)    17 attributes i8    18 timestamp i64 (v1 only)
 *  8 size i32      16 magic i8                              then key and value: length i32 (-1: null) and bytes
 * ```
 *
 * An entry is one record, or with a codec a wrapper whose value packs a message set of its own (Java: AbstractLegacyRecordBatch). Inner
 * offsets are absolute in v0, and in v1 relative so that the last one is the wrapper's; under LogAppendTime the wrapper's
 * timestamp is everyone's. v0 has no timestamps: -1.
 */
import { crc32 } from '@node-rs/crc32';
import { type Codec, codecNames, decompress, repairLz4Header } from './codecs.ts';
import type { KafkaRecord } from './record.ts';

const crcAt = 12;
const magicAt = 16;
const attributesAt = 17;
const timestampAt = 18;
const keyAt = [18, 26] as const;
const codecMask = 0x07;
const logAppendTimeBit = 0x08;

export function messageCrcMatches(entry: Buffer): boolean {
  if (entry.length < keyAt[0]) return false;
  return crc32(entry.subarray(magicAt)) === entry.readUInt32BE(crcAt);
}

/** Undefined for a number that no codec of these formats has. */
export function messageCodec(entry: Buffer): Codec | undefined {
  const codec = codecNames[entry.readUInt8(attributesAt) & codecMask];
  return codec === 'zstd' ? undefined : codec; // came with v2 (KIP-110)
}

/**
 * The records of one entry, by ascending offset. Its checksum is not looked at (`messageCrcMatches`); those of inner messages are
 * covered by it.
 *
 * @throws Error when the bytes are damaged
 */
export function decodeMessageSet(entry: Buffer): KafkaRecord[] {
  const outer = messageAt(entry, 0, entry.length);
  const codec = messageCodec(entry);
  if (codec === undefined) throw new Error(`unknown codec ${outer.attributes & codecMask}`);
  if (codec === 'none') return [recordOf(outer, outer.offset, outer.timestamp)];
  if (outer.value === null) throw new Error('a wrapper without messages');
  const packed = codec === 'lz4' && outer.magic === 0 ? repairLz4Header(outer.value) : outer.value;
  const inner = messagesOf(decompress(codec, packed));
  const last = inner.at(-1);
  if (!last) throw new Error('a wrapper without messages');
  // Offset 0 means that nobody assigned one: librdkafka once sent such wrappers, and Java reads them like this.
  const base = outer.magic === 0 || outer.offset === 0n ? 0n : outer.offset - last.offset;
  const stampedByBroker = outer.magic === 1 && (outer.attributes & logAppendTimeBit) !== 0;
  return inner.map((message) => {
    if (message.magic !== outer.magic)
      throw new Error(`a message of format v${message.magic} in one of v${outer.magic}`);
    if ((message.attributes & codecMask) !== 0) throw new Error('a wrapper in a wrapper');
    return recordOf(message, base + message.offset, stampedByBroker ? outer.timestamp : message.timestamp);
  });
}

interface Message {
  readonly offset: bigint;
  readonly magic: number;
  readonly attributes: number;
  readonly timestamp: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
}

function recordOf({ key, value }: Message, offset: bigint, timestamp: bigint): KafkaRecord {
  return { offset, timestamp, key, value, headers: [] };
}

function messagesOf(bytes: Buffer): Message[] {
  const messages: Message[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + crcAt + bytes.readInt32BE(at + 8);
    if (end <= at + keyAt[0] || end > bytes.length) throw new RangeError(`a message of ${end - at} bytes at ${at}`);
    messages.push(messageAt(bytes, at, end));
    at = end;
  }
  return messages;
}

function messageAt(bytes: Buffer, at: number, end: number): Message {
  const magic = bytes.readInt8(at + magicAt);
  const start = keyAt[magic];
  if (start === undefined) throw new Error(`a message of format v${magic}`);
  const key = fieldAt(bytes, at + start, end);
  const value = fieldAt(bytes, at + start + 4 + (key?.length ?? 0), end);
  return {
    offset: bytes.readBigInt64BE(at),
    magic,
    attributes: bytes.readUInt8(at + attributesAt),
    timestamp: magic === 0 ? -1n : bytes.readBigInt64BE(at + timestampAt),
    key,
    value,
  };
}

function fieldAt(bytes: Buffer, at: number, end: number): Buffer | null {
  const length = bytes.readInt32BE(at);
  if (length < 0) return null;
  if (at + 4 + length > end) throw new RangeError(`a field of ${length} bytes at ${at}`);
  return bytes.subarray(at + 4, at + 4 + length);
}
