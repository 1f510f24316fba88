/**
 * Which record of a copy is which record of its origin, where offsets differ: two logs of one partition, walked side by side in order, record by record
 * (timestamp, key, value, headers). What a replicator that re-produces records may do wrong is told apart: `missing` (on the origin only), `duplicated`
 * (once more on the copy), `reordered` (on the copy later than what follows it) and `foreign` (on the copy only). Aborted records count on neither
 * side, markers are no records.
 *
 * The walk leaves anchors, pairs of offsets that are the same record; from the nearest one a position is found again by walking on from there. Knows no
 * clusters: what is read is handed in (pairing-run.ts).
 */
import { createHash } from 'node:crypto';
import { crc32c } from '@node-rs/crc32';
import { AuditLog, type Fetched } from './audit-log.ts';
import type { Memory } from './memory.ts';

/** One place in both logs: everything below is behind the walk. */
export interface Place {
  readonly origin: bigint;
  readonly copy: bigint;
}

export interface PairingCounts {
  /** Records of the origin that stand on the copy. */
  readonly records: number;
  readonly missing: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly foreign: number;
  /** Records of compacted logs that only one side still had, or that the origin's head has lost. */
  readonly superseded: number;
  /** Of a bridge: records of `records` that its module leaves out, and that it could not take. */
  readonly leftOut?: number;
  readonly deadLettered?: number;
}

export interface Unpaired {
  readonly kind: 'missing' | 'reordered' | 'foreign';
  /** On the origin; of a foreign one, on the copy. */
  readonly offset: bigint;
}

/** Positions of the origin that are looked for, from a place before them on. */
export interface Search {
  readonly from: Place;
  /** Ascending; none below `from.origin`. */
  readonly positions: readonly bigint[];
}

export interface Located {
  readonly position: bigint;
  /** Where its next record stands on the copy; or, where nothing follows on the origin, where the copy ends. */
  readonly copy: bigint;
  /** That record's offset on the origin; null: nothing follows. */
  readonly record: bigint | null;
  /** A record between the position and `record` is not on the copy. */
  readonly gap: boolean;
}

export interface PairingOptions {
  /** A cleaner may run on either log: what only one side has is superseded. */
  readonly compacted?: boolean;
  /** Paired records that a duplicate is known by. */
  readonly rememberedMax?: number;
  /** How far ahead a record is looked for on the origin. */
  readonly aheadMax?: number;
  /** How long a log must have stood at its end before a record that is not found counts as not there. */
  readonly patienceMs?: number;
  readonly now?: () => number;
  /** A header that the replicator puts on its copies: it does not count. */
  readonly leftOut?: string;
  /** In order of `from`; the walk jumps from one to the next. */
  readonly searches?: readonly Search[];
}

/** Records between two anchors, until there are too many. */
const anchorEvery = 1_000;
const anchorsMax = 256;
/** So many of the newest stay as they are, since most groups stand there, and a walk that goes on begins a few before its end. */
const anchorsDense = 32;
/** Of the others, once there are too many, so many are left at most, all over the log at equal distances. */
const anchorsSpread = 160;
const rememberedMaxDefault = 16_384;
const aheadMaxDefault = 100_000;
const patienceMsDefault = 2_000;
/** How far ahead a record is looked for that stands on the copy already. */
const nearMax = 64;

interface Seen {
  readonly offset: bigint;
  readonly timestamp: bigint;
  readonly key: string;
}

export class Pairing {
  readonly origin: AuditLog;
  readonly copy: AuditLog;
  anchors: Place[] = [];
  first: Unpaired | null = null;
  readonly located: Located[] = [];

  readonly #options: Required<Omit<PairingOptions, 'searches' | 'leftOut'>>;
  #counts = { records: 0, missing: 0, duplicated: 0, reordered: 0, foreign: 0, superseded: 0 };
  /** Records below were counted before the walk was interrupted. */
  #countFrom = 0n;
  #sinceAnchor = 0;

  /** Of the origin, read but not paired: what is looked through for a record that does not come next. */
  #ahead: Seen[] = [];
  /** Indices in `#ahead` by key; counted from the first that was ever in it. */
  readonly #aheadAt = new Map<string, number[]>();
  #aheadBase = 0;
  /** Passed over on the origin, by key: missing, unless the copy shows them later. */
  readonly #late = new Map<string, bigint[]>();
  #lateCount = 0;
  /** Fingerprints of what was paired last, in a ring. */
  #remembered: Float64Array | undefined;
  #rememberedNext = 0;
  /** Since when nothing moves while something is undecided. */
  #stuckSince: number | undefined;

  readonly #searches: Search[];
  #wanted: bigint[] = [];
  #originStart = 0n;
  #copyStart = 0n;
  /** The origin has lost records from where the walk begins: what the copy has of them is no stranger. */
  #headLost = false;

  /** @param place `copyTopic`: what the topic is called on the copy's cluster */
  constructor(
    place: { readonly topic: string; readonly copyTopic?: string; readonly partition: number },
    memory: Memory,
    options: PairingOptions = {},
  ) {
    // On both: what was copied one way may be read the other way by somebody, and written again with its headers.
    this.origin = new AuditLog(place.topic, place.partition, memory, options.leftOut);
    this.copy = new AuditLog(place.copyTopic ?? place.topic, place.partition, memory, options.leftOut);
    this.#options = {
      compacted: options.compacted ?? false,
      rememberedMax: options.rememberedMax ?? rememberedMaxDefault,
      aheadMax: options.aheadMax ?? aheadMaxDefault,
      patienceMs: options.patienceMs ?? patienceMsDefault,
      now: options.now ?? (() => performance.now()),
    };
    this.#searches = [...(options.searches ?? [])];
  }

  /**
   * Begins, or begins again. With searches, at the first of them.
   *
   * @param counted what was counted before, below that place on the origin; the walk may begin further back
   */
  begin(at: Place, logStarts: Place, counted?: PairingCounts & { readonly below: bigint }): void {
    this.#originStart = logStarts.origin;
    this.#copyStart = logStarts.copy;
    if (counted) {
      const { below, ...counts } = counted;
      this.#counts = { ...counts };
      this.#countFrom = below;
    }
    const search = this.#searches.shift();
    this.#wanted = [...(search?.positions ?? [])];
    this.#seek(search?.from ?? at);
  }

  #seek({ origin, copy }: Place): void {
    this.origin.begin(origin, origin, this.#originStart);
    this.copy.begin(copy, copy, this.#copyStart);
    this.#headLost = this.#originStart > origin;
    this.#ahead = [];
    this.#aheadAt.clear();
    this.#aheadBase = 0;
    this.#late.clear();
    this.#lateCount = 0;
    this.#stuckSince = undefined;
    this.#sinceAnchor = anchorEvery;
  }

  get counts(): PairingCounts {
    return this.#counts;
  }

  /** Nothing that was looked for is left. */
  get allLocated(): boolean {
    return this.#wanted.length === 0 && this.#searches.length === 0;
  }

  /** Every record of the origin below is paired or judged. */
  get place(): Place {
    return { origin: this.#originPosition(), copy: this.#copyPosition() };
  }

  /** Something does not fit, and may still turn out to: `run` is to be called again. */
  get undecided(): boolean {
    return this.#stuckSince !== undefined;
  }

  takeOrigin(answer: Fetched, nothingAtAll?: boolean): void {
    this.origin.take(answer, nothingAtAll);
  }

  takeCopy(answer: Fetched, nothingAtAll?: boolean): void {
    this.copy.take(answer, nothingAtAll);
  }

  /**
   * Goes on as far as both logs have been read.
   *
   * @param until records of the origin from there on are not looked at
   * @returns whether the reader must begin anew at `origin.nextFetch` and `copy.nextFetch`, since the walk has jumped
   */
  run(until?: bigint): boolean {
    const end = until === undefined ? Number.POSITIVE_INFINITY : Number(until - this.origin.origin);
    let moved = false;
    while (this.#step(end)) {
      moved = true;
      if (this.#searches.length === 0 || this.#wanted.length > 0) continue;
      const next = this.#searches.shift() as Search;
      this.#wanted = [...next.positions];
      // What lies close ahead is read anyway.
      if (next.from.origin <= this.#originPosition()) continue;
      this.#seek(next.from);
      return true;
    }
    if (moved) this.#stuckSince = undefined;
    this.#judge(end);
    return false;
  }

  /** Ends a search: what was not found stands where the copy ends. */
  locateRest(): void {
    const { copy } = this.place;
    for (const search of [{ positions: this.#wanted }, ...this.#searches]) {
      for (const position of search.positions)
        this.located.push({ position, copy, record: null, gap: this.#lateCount > 0 });
    }
    this.#wanted = [];
    this.#searches.length = 0;
  }

  #step(end: number): boolean {
    const { origin, copy } = this;
    if (!peekCommitted(copy)) return false;
    if (this.#ahead.length === 0) {
      if (peekCommitted(origin) && origin.offset < end && sameRecord(origin, copy)) {
        this.#pair(absolute(origin));
        origin.pass();
        return true;
      }
    } else if (this.#ahead[0]?.key === keyOf(copy)) {
      this.#pair((this.#ahead[0] as Seen).offset);
      this.#dropAhead(1);
      return true;
    }
    return this.#onMismatch(end);
  }

  /** False: what it is cannot be told before more is read. */
  #onMismatch(end: number): boolean {
    const { copy } = this;
    const key = keyOf(copy);
    const late = this.#late.get(key)?.shift();
    if (late !== undefined) {
      this.#lateCount--;
      if (this.#late.get(key)?.length === 0) this.#late.delete(key);
      if (!this.#isCounted(late)) {
        this.#counts.reordered++;
        this.#counts.records++;
        this.first ??= { kind: 'reordered', offset: late };
      }
      copy.pass();
      return true;
    }
    const again = this.#remembered?.includes(fingerprint(copy)) ?? false;
    const index = this.#find(key, again ? nearMax : this.#options.aheadMax, end);
    if (index >= 0 && !again) {
      for (const seen of this.#ahead.slice(0, index)) this.#passOver(seen);
      this.#pair((this.#ahead[index] as Seen).offset);
      this.#dropAhead(index + 1);
      return true;
    }
    if (!again && !this.#originKnown(end) && this.#ahead.length < this.#options.aheadMax) return false;
    if (!again && !this.#patient()) return false;
    if (this.#searches.length === 0 && this.#wanted.length === 0) this.#countExtra(again);
    copy.pass();
    return true;
  }

  #countExtra(again: boolean): void {
    const offset = absolute(this.copy);
    if (this.#isCounted(this.#originPosition())) return;
    if (again) this.#counts.duplicated++;
    else if (this.#options.compacted || (this.#headLost && this.#isOlder())) this.#counts.superseded++;
    else {
      this.#counts.foreign++;
      this.first ??= { kind: 'foreign', offset };
    }
  }

  /** The copy's next record is older than all that the origin still has. */
  #isOlder(): boolean {
    const first = this.#ahead[0];
    return first === undefined || timestampOf(this.copy) < first.timestamp;
  }

  /** The copy's next record is the origin's at that offset. */
  #pair(at: bigint): void {
    const { copy } = this;
    const there = absolute(copy);
    while (this.#wanted.length > 0 && (this.#wanted[0] as bigint) <= at) {
      const position = this.#wanted.shift() as bigint;
      const gap = [...this.#late.values()].some((offsets) => offsets.some((o) => o >= position));
      this.located.push({ position, copy: there, record: at, gap });
    }
    if (!this.#isCounted(at)) this.#counts.records++;
    this.#headLost = false;
    this.#remember(fingerprint(copy));
    if (++this.#sinceAnchor >= anchorEvery) this.#anchor({ origin: at, copy: there });
    copy.pass();
  }

  #isCounted(at: bigint): boolean {
    return at < this.#countFrom;
  }

  #anchor(place: Place): void {
    this.#sinceAnchor = 0;
    const last = this.anchors.at(-1);
    if (last && last.origin >= place.origin) return;
    this.anchors.push(place);
    if (this.anchors.length > anchorsMax) this.anchors = thinned(this.anchors);
  }

  #remember(fingerprinted: number): void {
    this.#remembered ??= new Float64Array(this.#options.rememberedMax).fill(-1);
    this.#remembered[this.#rememberedNext] = fingerprinted;
    this.#rememberedNext = (this.#rememberedNext + 1) % this.#options.rememberedMax;
  }

  #passOver({ offset, key }: Seen): void {
    const known = this.#late.get(key);
    if (known) known.push(offset);
    else this.#late.set(key, [offset]);
    this.#lateCount++;
  }

  /** Index in `#ahead`, filled up as far as needed; -1: not among what has been read, or not within `max`. */
  #find(key: string, max: number, end: number): number {
    for (;;) {
      const [at] = this.#aheadAt.get(key) ?? [];
      if (at !== undefined) return at - this.#aheadBase < max ? at - this.#aheadBase : -1;
      if (this.#ahead.length >= max || !peekCommitted(this.origin) || this.origin.offset >= end) return -1;
      const { origin } = this;
      const seen = { offset: absolute(origin), timestamp: timestampOf(origin), key: keyOf(origin) };
      const known = this.#aheadAt.get(seen.key);
      const index = this.#aheadBase + this.#ahead.length;
      if (known) known.push(index);
      else this.#aheadAt.set(seen.key, [index]);
      this.#ahead.push(seen);
      this.origin.pass();
    }
  }

  #dropAhead(count: number): void {
    for (const { key } of this.#ahead.splice(0, count)) {
      const known = this.#aheadAt.get(key);
      known?.shift();
      if (known?.length === 0) this.#aheadAt.delete(key);
    }
    this.#aheadBase += count;
  }

  /** Nothing that could still be read of the origin is left. */
  #originKnown(end: number): boolean {
    const { origin } = this;
    return (
      origin.atEnd || (peekCommitted(origin) && origin.offset >= end) || Number(origin.readTo - origin.origin) >= end
    );
  }

  #patient(): boolean {
    const now = this.#options.now();
    this.#stuckSince ??= now;
    return now - this.#stuckSince >= this.#options.patienceMs;
  }

  /** Both logs stand at their ends: what was passed over will not come any more. */
  #judge(end: number): void {
    if (this.#lateCount === 0 || peekCommitted(this.copy)) return;
    if (!this.copy.atEnd || this.#ahead.length > 0 || !this.#originKnown(end) || !this.#patient()) return;
    for (const offset of [...this.#late.values()].flat().sort((a, b) => (a < b ? -1 : 1))) {
      if (this.#isCounted(offset)) continue;
      if (this.#options.compacted) this.#counts.superseded++;
      else {
        this.#counts.missing++;
        this.first ??= { kind: 'missing', offset };
      }
    }
    this.#late.clear();
    this.#lateCount = 0;
    this.#stuckSince = undefined;
  }

  #originPosition(): bigint {
    let lowest: bigint | undefined;
    for (const offsets of this.#late.values()) {
      const offset = offsets[0] as bigint;
      if (lowest === undefined || offset < lowest) lowest = offset;
    }
    if (lowest !== undefined) return lowest;
    if (this.#ahead.length > 0) return (this.#ahead[0] as Seen).offset;
    return peekCommitted(this.origin) ? absolute(this.origin) : this.origin.readTo;
  }

  #copyPosition(): bigint {
    return peekCommitted(this.copy) ? absolute(this.copy) : this.copy.readTo;
  }
}

/** The nearest place at or before a position of the origin: anchors, or where the walk began. */
export function nearest(anchors: readonly Place[], start: Place, position: bigint): Place {
  let found = start;
  for (const anchor of anchors) {
    if (anchor.origin > position) break;
    if (anchor.origin >= found.origin) found = anchor;
  }
  return found;
}

/** Positions of one partition, put to the places from which each is near. */
export function searchesFor(anchors: readonly Place[], start: Place, positions: readonly bigint[]): Search[] {
  const searches: { from: Place; positions: bigint[] }[] = [];
  for (const position of [...new Set(positions)].sort((a, b) => (a < b ? -1 : 1))) {
    const from = nearest(anchors, start, position);
    const last = searches.at(-1);
    if (last && last.from.origin === from.origin) last.positions.push(position);
    else searches.push({ from, positions: [position] });
  }
  return searches;
}

function thinned(anchors: readonly Place[]): Place[] {
  const [old, dense] = [anchors.slice(0, -anchorsDense), anchors.slice(-anchorsDense)];
  const [first, last] = [old[0] as Place, old.at(-1) as Place];
  const distance = (last.origin - first.origin) / BigInt(anchorsSpread);
  const spread = [first];
  for (const anchor of old) {
    if (anchor.origin - (spread.at(-1) as Place).origin > distance) spread.push(anchor);
  }
  return [...spread, ...dense];
}

/** Moves past aborted records. */
function peekCommitted(log: AuditLog): boolean {
  while (log.peek()) {
    if (!log.aborted) return true;
    log.pass();
  }
  return false;
}

function absolute(log: AuditLog): bigint {
  return log.origin + BigInt(log.offset);
}

function timestampOf(log: AuditLog): bigint {
  return Number.isNaN(log.timestampNumber) ? log.timestamp : BigInt(log.timestampNumber);
}

function sameRecord(a: AuditLog, b: AuditLog): boolean {
  const sameTime = Number.isNaN(a.timestampNumber)
    ? timestampOf(a) === timestampOf(b)
    : a.timestampNumber === b.timestampNumber;
  return sameTime && a.bytes.compare(b.bytes, b.bodyStart, b.end, a.bodyStart, a.end) === 0;
}

/** What a record is told by: its timestamp, and all of its key, value and headers. */
function keyOf(log: AuditLog): string {
  const hash = createHash('sha256').update(`${timestampOf(log)} `);
  return hash.update(log.bytes.subarray(log.bodyStart, log.end)).digest('base64');
}

/** The same in 52 bits, at memory speed. */
function fingerprint(log: AuditLog): number {
  const time = Number.isNaN(log.timestampNumber) ? 0 : log.timestampNumber;
  return crc32c(log.bytes.subarray(log.bodyStart, log.end)) * 0x100000 + (Math.abs(time) % 0x100000);
}
