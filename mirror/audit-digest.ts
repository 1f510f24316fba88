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
 * Written as `2:start:chain:tail` (without the 2, by earlier builds, blocks were longer): the chain up to the last block border, and the next link as it would be if its block ended at the position.
 */
import { createHash, type Hash } from 'node:crypto';

/**
 * What has to be read again at most when an audit goes on, as it does while applications wait at a fence: on each of all partitions. A link
 * costs as much as hashing a few kilobytes.
 */
export const blockOffsets = 64;
const blockOffsetsExact = BigInt(blockOffsets);

/** Bytes of a record before its body. */
export const recordPrefixBytes = 12;

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
  #chain: Buffer;
  #block = -1n;
  #hash: Hash | undefined;

  /** @param chain that of the last block border, to go on from there */
  constructor(start: bigint, chain?: Buffer) {
    this.start = start;
    this.#chain = chain ?? createHash('sha256').update(`kafka-cutover audit 2 ${start}`).digest();
  }

  /** Adds encoded records of the block that begins at `block`; blocks come in order. */
  update(block: bigint, bytes: Buffer): void {
    if (block !== this.#block) {
      this.#close();
      this.#block = block;
      const base = Buffer.allocUnsafe(8);
      base.writeBigInt64BE(block);
      this.#hash = createHash('sha256').update(this.#chain).update(base);
    }
    this.#hash?.update(bytes);
  }

  /** All records below `position` were added. */
  at(position: bigint): string {
    if (this.#hash && position >= this.#block + blockOffsetsExact) this.#close();
    const tail = this.#hash ? this.#hash.copy().digest() : createHash('sha256').update(this.#chain).digest();
    return `2:${this.start}:${this.#chain.toString('hex')}:${tail.toString('hex')}`;
  }

  #close(): void {
    if (this.#hash) this.#chain = this.#hash.digest();
    this.#hash = undefined;
    this.#block = -1n;
  }
}
