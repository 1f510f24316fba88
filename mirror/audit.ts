/**
 * The audit: an independent reader that follows a mirror and proves, slot by slot, that the target holds what the source holds, at the
 * same offset (what must be so: audit-compare.ts). It has connections of its own, checks every checksum, and does not care for batch layout
 * or codec. Both logs are read up to their last stable offset, so that it always knows which transactions were aborted.
 *
 * Where logs do not begin together: records that the source no longer has cannot be compared, so the audit begins at the source's log
 * start. Records that the source has and the target's log begins after are `missing`. When the source's head is cut away before the audit has
 * read it (retention), it begins again at the new start, and says so by `start`.
 *
 * Compacted partitions: the proven position stands still while a key is unresolved. A tombstone that the source's cleaner removed
 * between the mirror's stop and its return is seen by whoever reads the source within `delete.retention.ms`: where the audit itself has not read
 * the source to its end for half of that, it begins again from the start.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { isPassing, listOffsets, partitionKey } from '../kafka/offsets.ts';
import { Comparison, type Counts, type Difference, type ProvenStretch, TooManyKeys } from './audit-compare.ts';
import { blockBorder, parseDigest } from './audit-digest.ts';
import type { AuditLog } from './audit-log.ts';
import { Memory } from './memory.ts';
import { behindPauseMs, type LogPair, SideBySide } from './side-by-side.ts';

export type { Difference } from './audit-compare.ts';

/** Where an audit begins: as an earlier one reported it, or `{ position: 0n, records: 0, digest: '' }`. */
export interface AuditStart extends Partial<Omit<Counts, 'records'>> {
  readonly topic: string;
  readonly partition: number;
  /** With an empty digest: nothing below is compared. */
  readonly position: bigint;
  readonly records: number;
  /** As reported; anything else begins a new digest at `position`. */
  readonly digest: string;
  /** When the source had last been read to its end, milliseconds since 1970; as reported. */
  readonly sourceReadAtMs?: number | null;
  /** A log cleaner may run on either side. */
  readonly compacted?: boolean;
  /** Of the source, for compacted topics; left out: tombstones are not looked after beyond what is read. */
  readonly deleteRetentionMs?: number;
  /** Offsets from here on came from the target: what the switch left as the boundary. */
  readonly targetNativeFrom?: bigint;
}

export interface AuditPartition extends ProvenStretch {
  readonly topic: string;
  readonly partition: number;
  /** The first offset that is proven. */
  readonly start: bigint;
  /** Everything from `start` up to here has been compared; it is equal where `differences` is 0. */
  readonly position: bigint;
  /** Over the source's committed records; see audit-digest.ts. Equal for equal records, however the audit was interrupted. */
  readonly digest: string;
  /** Compared by this run: timestamps, keys, values and headers of the source's records. */
  readonly bytes: number;
  /** Where offsets differ: records of the origin that stand more than once on the copy. */
  readonly duplicated?: number;
  /** Slots that differ, found by this run. */
  readonly differences: number;
  /** The lowest of those that were found. */
  readonly first: Difference | null;
  readonly sourceReadAtMs: number | null;
  /** What it has stood at for long: `source last stable offset 120 of 180, for 31 s`. Null: nothing. */
  readonly waitingFor: string | null;
}

export interface AuditOptions {
  readonly source: Cluster;
  readonly target: Cluster;
  readonly partitions: readonly AuditStart[];
  /** Ends the run with what has been compared. */
  readonly signal: AbortSignal;
  /** By `partitionKey`: nothing from there on is compared, and the run ends when all are reached. Partitions that it does not name do not count. */
  readonly until?: ReadonlyMap<string, bigint>;
  /** Ends the run when every partition has reached the source's log end of the beginning. */
  readonly untilCaughtUp?: boolean;
  /** Bytes of one partition in one answer; 1 MiB by default. */
  readonly partitionBytesMax?: number;
  /** Of what is read and not yet compared, of all partitions together; an answer in flight per leader (4 MB) comes on top. 64 MiB by default. */
  readonly bytesHeldMax?: number;
  /** Five times a second while running, and once at the end. */
  readonly onProgress?: (progress: readonly AuditPartition[]) => void;
}

const retryFirstMs = 100;
const retryMaxMs = 2_000;
/** Failures in a row, other than of the network, to find out where logs begin. */
const startAttemptsMax = 20;
/** A last stable offset that stands in the way is named after this. */
const waitNamedAfterMs = 5_000;
/** Keys held for all compacted partitions together, some 100 bytes each; no partition gets less than the second. */
const unresolvedKeysMax = 500_000;
const unresolvedKeysMin = 10_000;
/** The source must be read to its end this often within `delete.retention.ms`. */
const readsWithinDeleteRetention = 2;
/** A leader that has not answered for so long is not being read. */
const leaderSilentMaxMs = 10_000;
/** Begun again this often for tombstones that may have been missed. */
const freshReadsMax = 3;
/** Damaged bytes are read again this often before they count as damaged where they lie. */
const damagedReadsMax = 3;

/**
 * Follows source and target until `signal` aborts or the end that was asked for is reached. Differences do not end it: they are counted,
 * and the first one is kept.
 *
 * @throws CutoverError PARITY_FAILED (a damaged batch), AUDIT_KEYS_EXCEEDED, TOPIC_MISSING, TOPIC_RECREATED, CLUSTER_ACCESS_DENIED, CLUSTER_AUTH_FAILED,
 *   KAFKA_REQUEST_FAILED
 */
export async function runAudit(options: AuditOptions): Promise<readonly AuditPartition[]> {
  return new AuditRun(options).run();
}

interface Audited extends LogPair {
  readonly key: string;
  readonly topic: string;
  readonly partition: number;
  /** Where this run began, or begins again. */
  given: AuditStart;
  readonly comparison: Comparison;
  state: 'new' | 'starting' | 'running';
  retryAt: number;
  failures: number;
  damagedReads: number;
  /** Milliseconds since 1970. */
  sourceReadAtMs: number | null;
  freshReads: number;
  /** Undefined: not to be looked after. */
  readonly deleteRetentionMs: number | undefined;
  /** The source's log end of the beginning. */
  goal: bigint | undefined;
}

class AuditRun {
  readonly #options: AuditOptions;
  readonly #partitions: readonly Audited[];
  readonly #sides: SideBySide<Audited>;

  constructor(options: AuditOptions) {
    this.#options = options;
    const { source, target, signal, partitionBytesMax, bytesHeldMax } = options;
    const memory = new Memory();
    const compacted = options.partitions.filter((p) => p.compacted).length;
    this.#partitions = options.partitions.map((given) => {
      const { topic, partition } = given;
      const comparison = new Comparison(topic, partition, memory, {
        compacted: given.compacted ?? false,
        targetNativeFrom: given.targetNativeFrom,
        unresolvedKeysMax: Math.max(unresolvedKeysMin, Math.floor(unresolvedKeysMax / Math.max(1, compacted))),
      });
      comparison.start = comparison.position = given.position;
      return {
        key: partitionKey(topic, partition),
        topic,
        partition,
        given,
        comparison,
        logs: [comparison.source, comparison.target],
        state: 'new',
        retryAt: 0,
        failures: 0,
        damagedReads: 0,
        sourceReadAtMs: given.sourceReadAtMs ?? null,
        freshReads: 0,
        deleteRetentionMs:
          given.compacted && given.targetNativeFrom === undefined ? given.deleteRetentionMs : undefined,
        goal: undefined,
      };
    });
    this.#sides = new SideBySide({
      clusters: [source, target],
      memory,
      pairs: this.#partitions,
      signal,
      partitionBytesMax,
      bytesHeldMax,
      isOver: () => this.#isOver(),
      onTurn: () => this.#startPartitions(),
      onTick: () => this.#report(),
      compare: (a) => this.#compare(a),
      onDamaged: (a, cluster, error) => this.#onDamaged(a, cluster, error),
      onCutAway: (a, log, _cluster, logStart) => this.#onCutAway(a, log, logStart),
    });
  }

  async run(): Promise<readonly AuditPartition[]> {
    try {
      await this.#sides.run();
    } finally {
      this.#report();
    }
    return this.#progress();
  }

  #isOver(): boolean {
    const { until, untilCaughtUp } = this.#options;
    if (!until && !untilCaughtUp) return false;
    return this.#partitions.every((a) => this.#reached(a));
  }

  #reached(a: Audited): boolean {
    const { until, untilCaughtUp } = this.#options;
    const { position } = a.comparison.proven;
    const end = until?.get(a.key);
    if (until && end === undefined) return true;
    if (end !== undefined && !(a.state === 'running' && position >= end)) return false;
    return !untilCaughtUp || (a.goal !== undefined && a.state === 'running' && position >= (end ?? a.goal));
  }

  #progress(): AuditPartition[] {
    return this.#partitions.map((a) => this.#progressOf(a));
  }

  #progressOf(a: Audited): AuditPartition {
    const { topic, partition, given, comparison, state, sourceReadAtMs } = a;
    const { start, bytes, differences, first, proven } = comparison;
    const run = { bytes, differences, first, sourceReadAtMs, waitingFor: waitingFor(a) };
    if (state === 'running' && proven.position >= given.position) return { topic, partition, start, ...proven, ...run };
    // Reading again what was proven before: until that is done, what was given still stands.
    const known = parseDigest(given.digest)?.start ?? given.position;
    const { position, digest } = given;
    return { topic, partition, start: known, position, digest, ...countsOf(given), ...run };
  }

  #report(): void {
    this.#noteReads();
    this.#options.onProgress?.(this.#progress());
  }

  // Beginning.

  #startPartitions(): void {
    const now = performance.now();
    const due = this.#partitions.filter((a) => a.state === 'new' && a.retryAt <= now);
    if (due.length === 0) return;
    for (const a of due) a.state = 'starting';
    this.#sides.track(
      this.#start(due).catch((error) => {
        if (this.#sides.ending.aborted) return;
        for (const a of due) {
          a.state = 'new';
          a.failures++;
          a.retryAt = performance.now() + Math.min(retryMaxMs, retryFirstMs * 2 ** Math.min(a.failures, 10));
          const known = error instanceof CutoverError;
          if (isPassing(error) || (known && error.retryable && a.failures <= startAttemptsMax)) continue;
          throw error;
        }
      }),
    );
  }

  async #start(partitions: readonly Audited[]): Promise<void> {
    const { source, target } = this.#options;
    // The target follows the source's log start: in this order it can only be found ahead of it when it lost records.
    const targetStarts = await listOffsets(target, partitions, 'start');
    const sourceStarts = await listOffsets(source, partitions, 'start');
    const ends = await listOffsets(source, partitions, 'logEnd');
    await this.#sides.refreshLeaders();
    for (const a of partitions) {
      const logStarts = { source: sourceStarts.get(a.key) ?? 0n, target: targetStarts.get(a.key) ?? 0n };
      a.goal ??= ends.get(a.key) ?? 0n;
      a.failures = 0;
      a.state = 'running';
      if (a.given.position > 0n && this.#isStale(a)) beginAfresh(a);
      a.sourceReadAtMs ??= Date.now();
      const { position, digest } = a.given;
      const parsed = parseDigest(digest);
      if (parsed && position >= parsed.start) {
        let from = blockBorder(position);
        if (from < parsed.start) from = parsed.start;
        if (logStarts.source <= from) {
          a.comparison.begin(from, logStarts, { ...parsed, position, ...countsOf(a.given) });
          continue;
        }
      }
      const from = position > logStarts.source && !parsed ? position : logStarts.source;
      a.comparison.begin(from, logStarts);
    }
    this.#sides.follow();
    this.#sides.turn();
  }

  // Following.

  #compare(a: Audited): void {
    try {
      a.comparison.run(this.#options.until?.get(a.key));
      a.damagedReads = 0;
    } catch (error) {
      if (error instanceof TooManyKeys) this.#onTooManyKeys(a, error);
      else this.#onDamaged(a, undefined, error as Error);
    }
    if (!this.#reached(a)) return;
    // What was read beyond the end would take the memory from those that are not there yet.
    if (this.#options.until?.has(a.key)) restBoth(a);
    this.#sides.turn();
  }

  /** Compacted partitions whose source is read to its end: where that took too long, a tombstone may have come and gone in between. */
  #noteReads(): void {
    for (const a of this.#partitions) {
      const { source } = a.comparison;
      if (a.state !== 'running' || a.deleteRetentionMs === undefined) continue;
      if (!source.atEnd || !this.#sides.hasRoom(source)) continue;
      // Without news a partition is not answered for; that its leader answers at all shows that there are none.
      if (this.#sides.silentForMs(source) > leaderSilentMaxMs) continue;
      if (this.#isStale(a)) {
        this.#restart(a);
        beginAfresh(a);
      }
      a.sourceReadAtMs = Date.now();
    }
  }

  #isStale({ deleteRetentionMs, sourceReadAtMs, freshReads }: Audited): boolean {
    if (deleteRetentionMs === undefined || freshReads >= freshReadsMax) return false;
    return sourceReadAtMs === null || Date.now() - sourceReadAtMs > deleteRetentionMs / readsWithinDeleteRetention;
  }

  #onTooManyKeys(a: Audited, { found, max }: TooManyKeys): void {
    this.#sides.fail(
      new CutoverError('AUDIT_KEYS_EXCEEDED', {
        what: 'the target shows more keys that the source no longer has than an audit can hold',
        where: `cluster ${this.#options.target.name}, ${a.key}`,
        found: `${found} keys`,
        wanted: `at most ${max / 2}`,
      }),
    );
  }

  #onDamaged(a: Audited, cluster: Cluster | undefined, error: Error): void {
    if (++a.damagedReads < damagedReadsMax) {
      this.#restart(a);
      return;
    }
    const where = `${cluster ? `cluster ${cluster.name}, ` : ''}${a.key}`;
    this.#sides.fail(
      new CutoverError('PARITY_FAILED', { what: 'a batch cannot be read', where, found: error.message }),
    );
  }

  #restart(a: Audited): void {
    if (a.state === 'running') a.given = this.#progressOf(a);
    restBoth(a);
    a.state = 'new';
    a.retryAt = performance.now() + behindPauseMs;
    this.#sides.turn();
  }

  async #onCutAway(a: Audited, log: AuditLog, logStart: bigint): Promise<void> {
    const { generation } = log;
    const sourceStart = (await listOffsets(this.#options.source, [a], 'start')).get(a.key) ?? 0n;
    if (log.generation !== generation) return;
    // Where the source's head was cut away and the target followed, it begins again there.
    if (log === a.comparison.source || sourceStart >= logStart) {
      this.#restart(a);
      return;
    }
    // The target lost records: what the source has of them is missing.
    log.nextFetch = logStart;
    log.readTo = logStart;
    log.generation++;
    log.reading = true;
    this.#sides.touch(a);
    this.#sides.follow();
  }
}

/** Until they begin again nothing of them is compared. */
function restBoth({ logs, comparison }: Audited): void {
  for (const log of logs) log.rest(comparison.position);
}

/** Nothing that was proven counts any more. */
function beginAfresh(a: Audited): void {
  const { topic, partition } = a;
  a.given = { topic, partition, position: 0n, records: 0, digest: '' };
  a.sourceReadAtMs = Date.now();
  a.freshReads++;
}

function countsOf({ records, abortedNotKept = 0, superseded = 0 }: AuditStart): Counts {
  return { records, abortedNotKept, superseded };
}

/** An open transaction that the position stands at. */
function waitingFor({ comparison, state }: Audited): string | null {
  if (state !== 'running') return null;
  for (const side of ['source', 'target'] as const) {
    const { lastStable, highWatermark, readTo, stableSince } = comparison[side];
    const forMs = stableSince === undefined ? 0 : performance.now() - stableSince;
    if (forMs < waitNamedAfterMs || highWatermark <= lastStable || comparison.position < readTo) continue;
    return `${side} last stable offset ${lastStable} of ${highWatermark}, for ${Math.round(forMs / 1_000)} s`;
  }
  return null;
}
