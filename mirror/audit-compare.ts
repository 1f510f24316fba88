/**
 * Compares two logs of a partition slot by slot, as far as both have been read, and feeds the digest with the source's committed records.
 *
 * Records come from one log, the *origin*, and are copied to the other: from the source to the target below `targetNativeFrom`, the other
 * way from there on. What must be so at every offset:
 *
 * | origin | copy |
 * |---|---|
 * | committed record | the same record: offset, timestamp, key, value, headers |
 * | record of an aborted transaction | the same, aborted too; or nothing (counted in `abortedNotKept`) |
 * | nothing (marker, compaction hole) | nothing |
 *
 * On a compacted partition each log's cleaner may have removed what the other still shows: a record on one side alone is legal where a
 * later record of its key stands on the origin, or where the copy deletes the key by a tombstone that the origin's cleaner has
 * dropped (`delete.retention.ms`). Aborted records are the cleaner's too. See audit-keys.ts. What cannot be seen: a tombstone that the copy
 * alone holds, of a key that the origin has never deleted.
 */
import { createHash } from 'node:crypto';
import { AuditDigest, blockBorder } from './audit-digest.ts';
import { keyOf, UnresolvedKeys } from './audit-keys.ts';
import { AuditLog, type QueuedBatch } from './audit-log.ts';
import type { Memory } from './memory.ts';

export interface Difference {
  readonly offset: bigint;
  /**
   * `missing`: visible on the source only. `extra`: visible on the target only. `resurrected`: a key of a compacted topic lives on
   * the copy alone, because its tombstone was missed. `reordered`, `foreign`: where offsets differ (pairing.ts). Else the first part that differs,
   * in this order.
   */
  readonly kind:
    | 'missing'
    | 'extra'
    | 'resurrected'
    | 'reordered'
    | 'foreign'
    | 'key'
    | 'value'
    | 'headers'
    | 'timestamp';
  /** SHA-256 of timestamp, key, value and headers as the digest takes them; null where there is no record, or it was not kept. */
  readonly sourceHash: string | null;
  readonly targetHash: string | null;
}

/** What is legal and worth knowing. */
export interface Counts {
  /** Records of the source below the position. */
  readonly records: number;
  /** Aborted records of the origin that the copy shows nothing of. */
  readonly abortedNotKept: number;
  /** Records of compacted partitions that only one side still had. */
  readonly superseded: number;
}

/** A stretch that is proven. */
export interface ProvenStretch extends Counts {
  readonly position: bigint;
  readonly digest: string;
}

export interface ComparisonOptions {
  /** A cleaner may run on either log. */
  readonly compacted?: boolean;
  /** Offsets from here on came from the target; never when left out. */
  readonly targetNativeFrom?: bigint | undefined;
  readonly unresolvedKeysMax?: number;
}

const unresolvedKeysMaxDefault = 500_000;

export class Comparison {
  readonly source: AuditLog;
  readonly target: AuditLog;
  start = 0n;
  /** Everything below has been looked at. */
  position = 0n;
  /** Timestamps, keys, values and headers of the source's committed records, of this run. */
  bytes = 0;
  differences = 0;
  first: Difference | null = null;

  readonly #options: ComparisonOptions;
  readonly #keys: UnresolvedKeys;
  #records = 0;
  #abortedNotKept = 0;
  #superseded = 0;
  /** What stood when the first of the keys that are unresolved now was met: all that is proven meanwhile. */
  #settled: ProvenStretch | undefined;
  /** Reads on in the source alone, for keys; the position does not move. */
  #lookingAhead = false;

  #digest = new AuditDigest(0n, 0n);
  #origin = 0n;
  /** Relative to the origin; Infinity: nowhere. */
  #nativeFrom = Number.POSITIVE_INFINITY;
  /** Records below were counted before the audit was interrupted. */
  #countFrom = 0;

  constructor(topic: string, partition: number, memory: Memory, options: ComparisonOptions = {}) {
    this.source = new AuditLog(topic, partition, memory);
    this.target = new AuditLog(topic, partition, memory);
    this.#options = options;
    this.#keys = new UnresolvedKeys(options.unresolvedKeysMax ?? unresolvedKeysMaxDefault);
  }

  /**
   * Begins, or begins again, at `from`.
   *
   * @param resumed what was proven before; `from` is then at or above the last block border below its position
   */
  begin(
    from: bigint,
    logStarts: { readonly source: bigint; readonly target: bigint },
    resumed?: { readonly start: bigint; readonly chain: Buffer; readonly position: bigint } & Counts,
  ): void {
    this.#origin = blockBorder(from);
    this.source.begin(this.#origin, from, logStarts.source);
    this.target.begin(this.#origin, from, logStarts.target);
    this.start = resumed?.start ?? from;
    this.position = from;
    this.#records = resumed?.records ?? 0;
    this.#abortedNotKept = resumed?.abortedNotKept ?? 0;
    this.#superseded = resumed?.superseded ?? 0;
    this.#countFrom = Number((resumed?.position ?? from) - this.#origin);
    const { targetNativeFrom } = this.#options;
    if (targetNativeFrom !== undefined) this.#nativeFrom = Number(targetNativeFrom - this.#origin);
    this.#digest = new AuditDigest(this.start, this.#origin, resumed?.chain);
    this.#keys.takeAll();
    this.#settled = undefined;
    this.#lookingAhead = false;
  }

  /** How far everything is proven: where a key is unresolved, only up to where it was met. */
  get proven(): ProvenStretch {
    return this.#settled ?? this.#standing(this.position);
  }

  get unresolvedKeys(): number {
    return this.#keys.size;
  }

  /**
   * Goes on as far as both sides have been read.
   *
   * Where it has to know of keys that are unresolved, it takes what is read of the source for that alone, and reads it again afterwards.
   *
   * @param until not further than this
   * @throws Error when records are damaged; TooManyKeys
   */
  run(until: bigint | undefined): void {
    if (this.#lookingAhead && !this.#lookAhead(until)) return;
    const { source, target } = this;
    let limit = source.readTo < target.readTo ? source.readTo : target.readTo;
    if (until !== undefined && until < limit) limit = until;
    if (limit > this.position) this.#compareTo(limit);
    if (this.#keys.size === 0) return;
    // Whichever log is the origin of what may still come.
    const ended = this.#nativeFrom === Number.POSITIVE_INFINITY ? [source] : [source, target];
    if (ended.every((log) => log.atEnd && this.position >= log.readTo)) this.#judge();
    else if (this.#keys.full || this.position === until) {
      this.#lookingAhead = true;
      this.#lookAhead(until);
    }
  }

  #compareTo(limit: bigint): void {
    const { source, target } = this;
    const end = Number(limit - this.#origin);
    let reached = limit;
    for (;;) {
      if (this.#passSameBatch(end)) continue;
      const inSource = source.peek() && source.offset < end;
      const inTarget = target.peek() && target.offset < end;
      if (!inSource && !inTarget) break;
      const slot = inSource && !(inTarget && target.offset < source.offset) ? source.offset : target.offset;
      if (this.#keys.full) {
        reached = this.#origin + BigInt(slot);
        break;
      }
      if (inSource && inTarget && source.offset === target.offset) this.#compareBoth();
      else if (slot === source.offset && inSource) this.#onSourceOnly();
      else this.#onTargetOnly();
    }
    this.#digest.flush();
    this.position = reached;
  }

  #compareBoth(): void {
    const { source, target } = this;
    if (source.aborted === target.aborted) {
      if (!sameRecord(source, target)) this.#differ(kindOf(source, target), source, target);
      if (source.aborted) source.pass();
      else {
        this.#resolve(source);
        this.#add(source);
      }
      target.pass();
      return;
    }
    if (source.aborted) {
      this.#differ('extra', undefined, target);
      source.pass();
    } else {
      this.#differ('missing', source, undefined);
      this.#add(source);
    }
    target.pass();
  }

  #onSourceOnly(): void {
    const { source } = this;
    if (this.#passLegal(source)) return;
    if (!this.#setAside(source)) this.#differ('missing', source, undefined);
    if (source.aborted) source.pass();
    else this.#add(source);
  }

  #onTargetOnly(): void {
    const { target } = this;
    if (this.#passLegal(target)) return;
    if (!this.#setAside(target)) this.#differ('extra', undefined, target);
    target.pass();
  }

  /** Passes an aborted record that was not kept or that a cleaner removed. */
  #passLegal(log: AuditLog): boolean {
    if (!log.aborted) return false;
    const copy = this.#isCopy(log);
    if (copy && !this.#options.compacted) return false;
    if (!copy) this.#countNotKept(log);
    log.pass();
    return true;
  }

  /** Whether the log's record stands where records are copied to. */
  #isCopy(log: AuditLog): boolean {
    return (log === this.target) === log.offset < this.#nativeFrom;
  }

  /** Takes a record that only one log has for superseded until the contrary is known; false where that cannot be. */
  #setAside(log: AuditLog): boolean {
    if (!this.#options.compacted || log.aborted) return false;
    const { key, tombstone } = keyOf(log);
    if (key === null) return false;
    // Proven before, when both had it: a cleaner has run since.
    if (log.offset < this.#countFrom) return true;
    const on = log === this.source ? 'source' : 'target';
    const { offset } = log;
    if (tombstone && this.#isCopy(log)) {
      // Deleted on the copy, gone from the origin: no difference, and what stood there of the key is superseded as well.
      this.#superseded++;
      if (this.#keys.get(key)?.on === on) this.#resolved(key);
      return true;
    }
    if (this.#keys.size === 0) {
      this.#digest.flush();
      this.#settled = this.#standing(this.#origin + BigInt(offset));
    }
    this.#superseded++;
    this.#keys.put(key, { offset, on });
    return true;
  }

  /** The record that stands on the origin, or on both, supersedes what was met of its key. */
  #resolve(log: AuditLog): void {
    if (this.#keys.size === 0) return;
    const { key } = keyOf(log);
    if (key !== null) this.#resolved(key);
  }

  #resolved(key: string): void {
    this.#keys.resolve(key);
    if (this.#keys.size === 0) this.#settled = undefined;
  }

  /**
   * Walks what has been read of the source beyond the position, for keys alone. Its end reached, all that is unresolved is judged, when
   * the target has been read as far as it is asked for; else the source is read again from the position on.
   */
  #lookAhead(until: bigint | undefined): boolean {
    const { source } = this;
    while (this.#keys.size > 0 && source.peek()) {
      if (!source.aborted && source.offset >= Number(this.position - this.#origin)) this.#resolve(source);
      source.pass();
    }
    if (this.#keys.size > 0 && !source.atEnd) return false;
    this.#lookingAhead = false;
    if (this.position === until) {
      this.#judge();
      return true;
    }
    if (this.#keys.size > this.#keys.max / 2) throw new TooManyKeys(this.#keys.size, this.#keys.max);
    source.seek(this.position);
    return false;
  }

  /** There are no later records: what is unresolved differs. */
  #judge(): void {
    for (const { offset, on } of this.#keys.takeAll()) {
      const absolute = this.#origin + BigInt(offset);
      const onCopy = (on === 'target') === offset < this.#nativeFrom;
      const kind = onCopy ? 'resurrected' : on === 'source' ? 'missing' : 'extra';
      this.#superseded--;
      this.#count({ offset: absolute, kind, sourceHash: null, targetHash: null });
    }
    this.#settled = undefined;
  }

  #standing(position: bigint): ProvenStretch {
    return {
      position,
      digest: this.#digest.at(position),
      records: this.#records,
      abortedNotKept: this.#abortedNotKept,
      superseded: this.#superseded,
    };
  }

  #countNotKept(log: AuditLog): void {
    if (log.offset >= this.#countFrom) this.#abortedNotKept++;
  }

  /** A batch that is the same on both sides, byte by byte, is walked once only, for the digest. */
  #passSameBatch(end: number): boolean {
    const { source, target } = this;
    const ours = source.nextBatch;
    const theirs = target.nextBatch;
    if (!ours || !theirs || !sameBatch(ours, theirs)) return false;
    const { batch } = ours;
    const base = Number(batch.baseOffset - this.#origin);
    const last = base + batch.lastOffsetDelta;
    if (last >= end) return false;
    // Where one log's head was cut away within the batch, it shows fewer of the same records.
    if (Math.max(ours.from, base) !== Math.max(theirs.from, base)) return false;
    target.skipBatch();
    if (ours.aborted) {
      source.skipBatch();
      return true;
    }
    while (source.peek() && source.offset <= last) {
      this.#resolve(source);
      this.#add(source);
      if (source.betweenBatches) break;
    }
    return true;
  }

  /** Counts the source's record and hands it to the digest. */
  #add(log: AuditLog): void {
    if (log.offset >= this.#countFrom) this.#records++;
    this.bytes += 8 + log.end - log.bodyStart;
    this.#digest.add(log);
    log.pass();
  }

  #differ(kind: Difference['kind'] | undefined, source: AuditLog | undefined, target: AuditLog | undefined): void {
    if (kind === undefined) return;
    this.#count({
      offset: this.#origin + BigInt((source ?? target)?.offset ?? 0),
      kind,
      sourceHash: source ? hashOf(source) : null,
      targetHash: target ? hashOf(target) : null,
    });
  }

  #count(difference: Difference): void {
    this.differences++;
    if (this.first === null || difference.offset < this.first.offset) this.first = difference;
  }
}

/** More keys of a compacted partition are unresolved than an audit holds, although the source was read to its end for them. */
export class TooManyKeys extends Error {
  readonly found: number;
  readonly max: number;

  constructor(found: number, max: number) {
    super(`${found} keys are unresolved`);
    this.found = found;
    this.max = max;
  }
}

function sameBatch(ours: QueuedBatch, theirs: QueuedBatch): boolean {
  const [a, b] = [ours.batch, theirs.batch];
  return (
    ours.aborted === theirs.aborted &&
    a.byteLength === b.byteLength &&
    a.baseOffset === b.baseOffset &&
    a.recordCount === b.recordCount &&
    a.lastOffsetDelta === b.lastOffsetDelta &&
    a.baseTimestamp === b.baseTimestamp &&
    a.codec === b.codec &&
    a.isLogAppendTime === b.isLogAppendTime &&
    (!a.isLogAppendTime || a.maxTimestamp === b.maxTimestamp) &&
    a.records.equals(b.records)
  );
}

function sameTimestamp(a: AuditLog, b: AuditLog): boolean {
  if (Number.isNaN(a.timestampNumber) || Number.isNaN(b.timestampNumber))
    return exactTimestamp(a) === exactTimestamp(b);
  return a.timestampNumber === b.timestampNumber;
}

function exactTimestamp(log: AuditLog): bigint {
  return Number.isNaN(log.timestampNumber) ? log.timestamp : BigInt(log.timestampNumber);
}

function sameRecord(a: AuditLog, b: AuditLog): boolean {
  return sameTimestamp(a, b) && a.bytes.compare(b.bytes, b.bodyStart, b.end, a.bodyStart, a.end) === 0;
}

/** What differs; undefined when only the encoding does (numbers longer than need be). */
function kindOf(source: AuditLog, target: AuditLog): Difference['kind'] | undefined {
  const a = source.record();
  const b = target.record();
  if (!sameBytes(a.key, b.key)) return 'key';
  if (!sameBytes(a.value, b.value)) return 'value';
  const sameHeaders =
    a.headers.length === b.headers.length &&
    a.headers.every((header, i) => {
      const other = b.headers[i];
      return other !== undefined && header.key.equals(other.key) && sameBytes(header.value, other.value);
    });
  if (!sameHeaders) return 'headers';
  return a.timestamp === b.timestamp ? undefined : 'timestamp';
}

function sameBytes(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b);
}

function hashOf(log: AuditLog): string {
  const timestamp = Buffer.allocUnsafe(8);
  timestamp.writeBigInt64BE(exactTimestamp(log));
  return createHash('sha256').update(timestamp).update(log.bytes.subarray(log.bodyStart, log.end)).digest('hex');
}
