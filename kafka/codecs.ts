/**
 * The four codecs of record batches. Numbers are those of the batch attributes, bits 0 to 2.
 *
 * gzip and zstd are Node's own; lz4 (frames) and snappy come with `@platformatic/kafka` as WebAssembly.
 */

import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { compressionsAlgorithms } from '@platformatic/kafka';

export const codecNames = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;
export type Codec = (typeof codecNames)[number];

/** One batch of 1 MB may unpack to far more; beyond this we take it for damage or an attack. */
export const decompressedBytesMax = 1_073_741_824;

/**
 * snappy-java's framing, which Kafka's Java clients write and expect: magic, version and lowest compatible version,
 * then chunks of a length and a snappy block each. Clients without it (librdkafka may) write one bare block.
 */
const xerialMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const xerialHeader = Buffer.concat([xerialMagic, Buffer.from([0, 0, 0, 1, 0, 0, 0, 1])]);
/** snappy-java's own block size. */
const xerialBlockBytes = 32_768;

/** @throws Error when the bytes are damaged */
export function decompress(codec: Codec, bytes: Buffer): Buffer {
  switch (codec) {
    case 'none':
      return bytes;
    case 'gzip':
      return gunzipSync(bytes, { maxOutputLength: decompressedBytesMax });
    case 'zstd':
      return zstdDecompressSync(bytes, { maxOutputLength: decompressedBytesMax });
    case 'lz4':
      return compressionsAlgorithms.lz4.decompressSync(bytes);
    case 'snappy':
      return decompressSnappy(bytes);
  }
}

export function compress(codec: Codec, bytes: Buffer): Buffer {
  switch (codec) {
    case 'none':
      return bytes;
    case 'gzip':
      return gzipSync(bytes);
    case 'zstd':
      return zstdCompressSync(bytes);
    case 'lz4':
      return compressionsAlgorithms.lz4.compressSync(bytes);
    case 'snappy':
      return compressSnappy(bytes);
  }
}

/**
 * The lz4 frame of a v0 message, whose header checksum Kafka wrote over the frame's magic too (KAFKA-3160), with the checksum that
 * decoders want.
 *
 * @throws Error when this is no lz4 frame
 */
export function repairLz4Header(frame: Buffer): Buffer {
  if (frame.length < 7 || frame.readUInt32LE(0) !== lz4Magic) throw new Error('no lz4 frame');
  // Flags and block size, then the content's size where the flags say so, then the checksum.
  const checksumAt = (frame.readUInt8(4) & lz4ContentSizeBit) === 0 ? 6 : 14;
  if (frame.length <= checksumAt) throw new Error('an lz4 frame is cut off');
  const repaired = Buffer.from(frame);
  repaired.writeUInt8((xxHash32(frame.subarray(4, checksumAt)) >>> 8) & 0xff, checksumAt);
  return repaired;
}

const lz4Magic = 0x184d2204;
const lz4ContentSizeBit = 0x08;

/** xxHash32 with seed 0 of less than 16 bytes, all that a frame's header can have. */
function xxHash32(bytes: Buffer): number {
  let hash = (374_761_393 + bytes.length) | 0;
  let at = 0;
  for (; at + 4 <= bytes.length; at += 4) {
    hash = Math.imul(rotateLeft(hash + Math.imul(bytes.readInt32LE(at), 3_266_489_917), 17), 668_265_263);
  }
  for (; at < bytes.length; at++) {
    hash = Math.imul(rotateLeft(hash + Math.imul(bytes.readUInt8(at), 374_761_393), 11), 2_654_435_761);
  }
  hash = Math.imul(hash ^ (hash >>> 15), 2_246_822_519);
  hash = Math.imul(hash ^ (hash >>> 13), 3_266_489_917);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function decompressSnappy(bytes: Buffer): Buffer {
  if (bytes.length < xerialHeader.length || !bytes.subarray(0, xerialMagic.length).equals(xerialMagic)) {
    return compressionsAlgorithms.snappy.decompressSync(bytes);
  }
  const blocks: Buffer[] = [];
  for (let at = xerialHeader.length; at < bytes.length; ) {
    const length = bytes.readInt32BE(at);
    at += 4;
    if (length < 0 || at + length > bytes.length) throw new Error('a snappy chunk is cut off');
    blocks.push(compressionsAlgorithms.snappy.decompressSync(bytes.subarray(at, at + length)));
    at += length;
  }
  return blocks.length === 1 && blocks[0] ? blocks[0] : Buffer.concat(blocks);
}

function compressSnappy(bytes: Buffer): Buffer {
  const pieces: Buffer[] = [xerialHeader];
  for (let at = 0; at < bytes.length; at += xerialBlockBytes) {
    const block = compressionsAlgorithms.snappy.compressSync(bytes.subarray(at, at + xerialBlockBytes)) as Buffer;
    const length = Buffer.allocUnsafe(4);
    length.writeInt32BE(block.length);
    pieces.push(length, block);
  }
  return Buffer.concat(pieces);
}
