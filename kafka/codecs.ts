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
