/**
 * The audit's digest: SHA-256 over every record in a form of its own, chained block by block, so that it depends on neither batch layout
 * nor codec nor on where the audit was interrupted.
 *
 * A record counts as its offset within the block (u32), its timestamp (i64), then key, value and headers as message format v2
 * encodes them. A block is `blockOffsets` offsets, aligned; blocks without records do not count:
 *
 *     chain(0)     = SHA-256('kafka-cutover audit 2 ' + start)
 *     chain(n + 1) = SHA-256(chain(n) + i64 first offset of the block + its records)
 *
 * Written as `2:start:chain:tail` (without the 2, by earlier builds, blocks were longer): the chain up to the last block border, and the
 * next link as it would be if its block ended at the position.
 */
import { createHash, type Hash, hash } from 'node:crypto';
import type { AuditLog } from './audit-log.ts';

/**
 * What has to be read again at most when an audit goes on, as it does while applications wait at a fence: on each of all partitions. A link
 * costs as much as hashing a few kilobytes.
 */
export const blockOffsets = 64;
const blockOffsetsExact = BigInt(blockOffsets);

/** Bytes of a record before its body: offset and timestamp. */
const prefixBytes = 12;
/** Bytes of a block before its records: the last link, and its first offset. */
const blockHeadBytes = 40;
/** Records of a block are hashed at once as far as they fit in here; what is larger than a body of the second size is hashed where it lies. */
const chunkBytes = 131_072;
const largeBodyBytes = 16_384;
/** Shared by all digests: none of them has anything in it once `flush` was called. */
const chunk = Buffer.allocUnsafeSlow(chunkBytes);
const chunkView = new DataView(chunk.buffer);

export function blockBorder(offset: bigint): bigint {
  return offset - (offset % blockOffsetsExact);
}

export interface ParsedDigest {
  readonly start: bigint;
  readonly chain: Buffer;
}

/** Undefined for what is not a digest of ours, '' among it. */
export function parseDigest(digest: string): ParsedDigest | undefined {
  const match = /^2:(\d{1,19}):([0-9a-f]{64}):[0-9a-f]{64}$/.exec(digest);
  if (!match) return undefined;
  return { start: BigInt(match[1] as string), chain: Buffer.from(match[2] as string, 'hex') };
}

export class AuditDigest {
  readonly start: bigint;
  readonly #origin: bigint;
  #chain: Buffer;
  /** First offset, relative to the origin, of the block that records were added to last; -1: of none since the last link. */
  #block = -1;
  /** How much of the block lies in the chunk, and what came before it. */
  #length = 0;
  #before: Hash | undefined;

  /**
   * @param origin a block border; offsets of records are relative to it
   * @param chain that of the last block border, to go on from there
   */
  constructor(start: bigint, origin: bigint, chain?: Buffer) {
    this.start = start;
    this.#origin = origin;
    this.#chain = chain ?? hash('sha256', `kafka-cutover audit 2 ${start}`, 'buffer');
  }

  /** Adds the record that `peek` found; they come in order. */
  add(record: AuditLog): void {
    const { offset, bytes, bodyStart, end } = record;
    const inBlock = offset % blockOffsets;
    if (offset - inBlock !== this.#block) this.#begin(offset - inBlock);
    const bodyBytes = end - bodyStart;
    const isLarge = bodyBytes > largeBodyBytes;
    if (this.#length + prefixBytes + (isLarge ? 0 : bodyBytes) > chunkBytes) this.flush();
    writePrefix(this.#length, inBlock, record);
    this.#length += prefixBytes;
    if (isLarge) {
      this.flush();
      this.#before?.update(bytes.subarray(bodyStart, end));
    } else {
      this.#length += bytes.copy(chunk, this.#length, bodyStart, end);
    }
  }

  /** Lets go of the chunk: to be called before another digest is added to. */
  flush(): void {
    if (this.#length === 0) return;
    this.#before ??= createHash('sha256');
    this.#before.update(chunk.subarray(0, this.#length));
    this.#length = 0;
  }

  /** All records below `position` were added, and flushed. */
  at(position: bigint): string {
    if (this.#block >= 0 && position >= this.#origin + BigInt(this.#block + blockOffsets)) this.#close();
    const tail = this.#before ? this.#before.copy().digest() : hash('sha256', this.#chain, 'buffer');
    return `2:${this.start}:${this.#chain.toString('hex')}:${tail.toString('hex')}`;
  }

  #begin(block: number): void {
    this.#close();
    this.#block = block;
    this.#chain.copy(chunk);
    chunk.writeBigInt64BE(this.#origin + BigInt(block), this.#chain.length);
    this.#length = blockHeadBytes;
  }

  #close(): void {
    if (this.#block < 0) return;
    if (this.#before) {
      this.flush();
      this.#chain = this.#before.digest();
      this.#before = undefined;
    } else {
      this.#chain = hash('sha256', chunk.subarray(0, this.#length), 'buffer');
      this.#length = 0;
    }
    this.#block = -1;
  }
}

function writePrefix(at: number, inBlock: number, { timestampNumber, timestamp }: AuditLog): void {
  chunkView.setUint32(at, inBlock);
  if (Number.isNaN(timestampNumber)) {
    chunkView.setBigInt64(at + 4, timestamp);
  } else {
    const high = Math.floor(timestampNumber / 0x1_0000_0000);
    chunkView.setInt32(at + 4, high);
    chunkView.setUint32(at + 8, timestampNumber - high * 0x1_0000_0000);
  }
}
