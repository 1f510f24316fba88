/**
 * Keys of a compacted partition of which one log holds a record where the other holds none. That is legal while a later record of the same
 * key follows on the log that records come from: then its cleaner removed the earlier one between the two reads. Keys are kept as hashes
 * until that record is met; what is left when there are no more records is a difference.
 */
import { hash } from 'node:crypto';
import type { AuditLog } from './audit-log.ts';

/** Bytes of a hash: two keys of a billion share one with a probability of 10^-21. */
const hashBytes = 16;

export interface UnresolvedKey {
  /** Relative to the audit's origin. */
  readonly offset: number;
  /** The log that holds the record. */
  readonly on: 'source' | 'target';
}

export class UnresolvedKeys {
  readonly max: number;
  /** Hash to offset * 2 + side: a number takes no object. */
  readonly #records = new Map<string, number>();

  /** @param max how many are kept; some 100 bytes each */
  constructor(max: number) {
    this.max = max;
  }

  get size(): number {
    return this.#records.size;
  }
  get full(): boolean {
    return this.#records.size >= this.max;
  }

  /** Of each key the latest counts. */
  put(key: string, { offset, on }: UnresolvedKey): void {
    this.#records.set(key, offset * 2 + (on === 'target' ? 1 : 0));
  }

  get(key: string): UnresolvedKey | undefined {
    const packed = this.#records.get(key);
    return packed === undefined ? undefined : unpacked(packed);
  }

  resolve(key: string): void {
    this.#records.delete(key);
  }

  /** All of them, by offset; none is left. */
  takeAll(): UnresolvedKey[] {
    const all = [...this.#records.values()].sort((a, b) => a - b).map(unpacked);
    this.#records.clear();
    return all;
  }
}

function unpacked(packed: number): UnresolvedKey {
  return { offset: Math.floor(packed / 2), on: packed % 2 === 1 ? 'target' : 'source' };
}

export interface KeyOf {
  /** Null: no key. */
  readonly key: string | null;
  readonly tombstone: boolean;
}

/** Hash of the key of the record that `peek` found, and whether the record deletes it. */
export function keyOf({ bytes, bodyStart }: AuditLog): KeyOf {
  const at = { position: bodyStart };
  const keyBytes = readVarint(bytes, at);
  const keyAt = at.position;
  if (keyBytes > 0) at.position += keyBytes;
  const tombstone = readVarint(bytes, at) < 0;
  if (keyBytes < 0) return { key: null, tombstone };
  const digest = hash('sha256', bytes.subarray(keyAt, keyAt + keyBytes), 'buffer');
  return { key: digest.toString('latin1', 0, hashBytes), tombstone };
}

/** The cursor has checked that the record's lengths stay inside. */
function readVarint(bytes: Buffer, at: { position: number }): number {
  let value = 0;
  for (let shift = 0; shift < 35; shift += 7) {
    const byte = bytes[at.position++] ?? 0;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  return (value >>> 1) ^ -(value & 1);
}
