/**
 * The audit: an independent reader that follows a mirror and proves, record by record, that the target holds what the source holds, at the
 * same offset. It has connections of its own, checks every checksum, and does not care for batch layout or codec.
 *
 * Where logs do not begin together: records that the source no longer has cannot be compared, so the audit begins at the source's log
 * start. Records that the source has and the target's log begins after are `missing`. When the source's head is cut away before the audit has
 * read it (retention), it begins again at the new start, and says so by `start`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { isPassing, listOffsets, partitionKey } from '../kafka/offsets.ts';
import { Comparison, type Difference } from './audit-compare.ts';
import { blockBorder, parseDigest } from './audit-digest.ts';
import type { AuditLog } from './audit-log.ts';
import { Leaders } from './leaders.ts';
import { LogReader } from './reader.ts';

export type { Difference } from './audit-compare.ts';

/** Where an audit begins: as an earlier one reported it, or `{ position: 0n, records: 0, digest: '' }`. */
export interface AuditStart {
  readonly topic: string;
  readonly partition: number;
  /** With an empty digest: nothing below is compared. */
  readonly position: bigint;
  readonly records: number;
  /** As reported; anything else begins a new digest at `position`. */
  readonly digest: string;
}

export interface AuditPartition {
  readonly topic: string;
  readonly partition: number;
  /** The first offset that is proven. */
  readonly start: bigint;
  /** Everything from `start` up to here has been compared; it is equal where `differences` is 0. */
  readonly position: bigint;
  /** The source's records in there. */
  readonly records: number;
  /** Over those records; see audit-digest.ts. Equal for equal records, however the audit was interrupted. */
  readonly digest: string;
  /** Compared by this run: timestamps, keys, values and headers of the source's records. */
  readonly bytes: number;
  /** Records that differ, found by this run. */
  readonly differences: number;
  /** The one that was found first, which is the lowest. */
  readonly first: Difference | null;
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
  /** Five times a second while running, and once at the end. */
  readonly onProgress?: (progress: readonly AuditPartition[]) => void;
}

const progressEveryMs = 200;
/** Bytes that one side of a partition is read ahead of the other. */
const sideBytesHeldMax = 4_194_304;
/** Of all of them together; an answer in flight per leader (8 MB) comes on top. */
const bytesHeldMax = 67_108_864;
/** How long a log that is shorter than where we are to read is left alone. */
const behindPauseMs = 150;
const retryFirstMs = 100;
const retryMaxMs = 2_000;
/** Failures in a row, other than of the network, to find out where logs begin. */
const startAttemptsMax = 20;
/** Damaged bytes are read again this often before they count as damaged where they lie. */
const damagedReadsMax = 3;

/**
 * Follows source and target until `signal` aborts or the end that was asked for is reached. Differences do not end it: they are counted,
 * and the first one is kept.
 *
 * @throws CutoverError PARITY_FAILED (a damaged batch), TOPIC_MISSING, TOPIC_RECREATED, CLUSTER_ACCESS_DENIED, CLUSTER_AUTH_FAILED,
 *   KAFKA_REQUEST_FAILED
 */
export async function runAudit(options: AuditOptions): Promise<readonly AuditPartition[]> {
  return new AuditRun(options).run();
}

interface Audited {
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
  /** The source's log end of the beginning. */
  goal: bigint | undefined;
}

class AuditRun {
  readonly #options: AuditOptions;
  readonly #partitions: readonly Audited[];
  readonly #leaders: readonly Leaders[];
  readonly #sides: { readonly source: LogReader<AuditLog>; readonly target: LogReader<AuditLog> };
  readonly #byLog = new Map<AuditLog, Audited>();
  readonly #ending = new AbortController();
  readonly #working = new Set<Promise<void>>();
  #touched = new Set<Audited>();
  #bytesHeld = 0;
  #failure: CutoverError | undefined;
  #wake: (() => void) | undefined;

  constructor(options: AuditOptions) {
    this.#options = options;
    this.#partitions = options.partitions.map((given) => {
      const { topic, partition } = given;
      const comparison = new Comparison(topic, partition, (bytes) => {
        this.#bytesHeld += bytes;
      });
      comparison.start = comparison.position = given.position;
      const audited: Audited = {
        key: partitionKey(topic, partition),
        topic,
        partition,
        given,
        comparison,
        state: 'new',
        retryAt: 0,
        failures: 0,
        damagedReads: 0,
        goal: undefined,
      };
      this.#byLog.set(comparison.source, audited);
      this.#byLog.set(comparison.target, audited);
      return audited;
    });
    const topicIds = new Map(options.partitions.map((p) => [p.topic, '']));
    const sourceLeaders = new Leaders(options.source, topicIds);
    const targetLeaders = new Leaders(options.target, topicIds);
    this.#leaders = [sourceLeaders, targetLeaders];
    this.#sides = {
      source: this.#reader(options.source, sourceLeaders, (a) => a.comparison.source),
      target: this.#reader(options.target, targetLeaders, (a) => a.comparison.target),
    };
  }

  #reader(cluster: Cluster, leaders: Leaders, log: (audited: Audited) => AuditLog) {
    return new LogReader<AuditLog>({
      cluster,
      leaders,
      partitions: this.#partitions.map(log),
      room: (side) => this.#hasRoom(side),
      onAnswer: (side, answer) => {
        const audited = this.#byLog.get(side) as Audited;
        try {
          side.take(answer.records);
        } catch (error) {
          this.#onDamaged(audited, cluster, error as Error);
          return;
        }
        this.#touched.add(audited);
      },
      work: () => this.#compare(),
      onOutOfRange: (side) => this.#onOutOfRange(this.#byLog.get(side) as Audited, side, cluster),
      onFailure: (error) => this.#fail(error),
    });
  }

  #hasRoom(side: AuditLog): boolean {
    if (side.bytesHeld >= sideBytesHeldMax) return false;
    if (this.#bytesHeld < bytesHeldMax) return true;
    // Bytes that wait for this side are let go of only when it is read.
    const { source, target } = (this.#byLog.get(side) as Audited).comparison;
    return side.bytesHeld === 0 && (side === source ? target : source).bytesHeld > 0;
  }

  async run(): Promise<readonly AuditPartition[]> {
    const { signal } = this.#options;
    const wake = () => this.#wake?.();
    signal.addEventListener('abort', wake);
    const ticker = setInterval(() => this.#report(), progressEveryMs);
    try {
      while (!this.#over) {
        this.#startPartitions();
        await new Promise<void>((done) => {
          const timer = setTimeout(done, progressEveryMs);
          this.#wake = () => {
            clearTimeout(timer);
            done();
          };
        });
        this.#wake = undefined;
      }
    } finally {
      clearInterval(ticker);
      signal.removeEventListener('abort', wake);
      this.#ending.abort();
      await Promise.all([this.#sides.source.stop(), this.#sides.target.stop()]);
      await Promise.allSettled(this.#working);
    }
    this.#report();
    if (this.#failure) throw this.#failure;
    return this.#progress();
  }

  get #over(): boolean {
    const { signal, until, untilCaughtUp } = this.#options;
    if (this.#failure || signal.aborted) return true;
    if (!until && !untilCaughtUp) return false;
    return this.#partitions.every((a) => this.#reached(a));
  }

  #reached(a: Audited): boolean {
    const { until, untilCaughtUp } = this.#options;
    const { position } = a.comparison;
    const end = until?.get(a.key);
    if (until && end === undefined) return true;
    if (end !== undefined && !(a.state === 'running' && position >= end)) return false;
    return !untilCaughtUp || (a.goal !== undefined && a.state === 'running' && position >= (end ?? a.goal));
  }

  #progress(): AuditPartition[] {
    return this.#partitions.map((a) => this.#progressOf(a));
  }

  #progressOf({ topic, partition, given, comparison, state }: Audited): AuditPartition {
    const { start, position, records, digest, bytes, differences, first } = comparison;
    if (state === 'running' && position >= given.position) {
      return { topic, partition, start, position, records, digest, bytes, differences, first };
    }
    // Reading again what was proven before: until that is done, what was given still stands.
    const known = parseDigest(given.digest)?.start ?? given.position;
    const before = { start: known, position: given.position, records: given.records, digest: given.digest };
    return { topic, partition, ...before, bytes, differences, first };
  }

  #report(): void {
    this.#options.onProgress?.(this.#progress());
  }

  #fail(error: CutoverError): void {
    this.#failure ??= error;
    this.#wake?.();
  }

  // Beginning.

  #startPartitions(): void {
    const now = performance.now();
    const due = this.#partitions.filter((a) => a.state === 'new' && a.retryAt <= now);
    if (due.length === 0) return;
    for (const a of due) a.state = 'starting';
    this.#track(
      this.#start(due).catch((error) => {
        if (this.#ending.signal.aborted) return;
        for (const a of due) {
          a.state = 'new';
          a.failures++;
          a.retryAt = performance.now() + Math.min(retryMaxMs, retryFirstMs * 2 ** Math.min(a.failures, 10));
          const known = error instanceof CutoverError;
          if (isPassing(error) || (known && error.retryable && a.failures <= startAttemptsMax)) continue;
          this.#fail(known ? error : new CutoverError('INTERNAL', { what: error.message }, { cause: error }));
        }
      }),
    );
  }

  async #start(partitions: readonly Audited[]): Promise<void> {
    const { source, target } = this.#options;
    const [sourceStarts, targetStarts] = await Promise.all([
      listOffsets(source, partitions, 'start'),
      listOffsets(target, partitions, 'start'),
    ]);
    const ends = await listOffsets(source, partitions, 'logEnd');
    await Promise.all(this.#leaders.map((leaders) => leaders.refresh()));
    for (const a of partitions) {
      const logStarts = { source: sourceStarts.get(a.key) ?? 0n, target: targetStarts.get(a.key) ?? 0n };
      a.goal ??= ends.get(a.key) ?? 0n;
      a.failures = 0;
      a.state = 'running';
      const { position, records, digest } = a.given;
      const parsed = parseDigest(digest);
      if (parsed && position >= parsed.start) {
        let from = blockBorder(position);
        if (from < parsed.start) from = parsed.start;
        if (logStarts.source <= from) {
          a.comparison.begin(from, logStarts, { ...parsed, position, records });
          continue;
        }
      }
      const from = position > logStarts.source && !parsed ? position : logStarts.source;
      a.comparison.begin(from, logStarts);
    }
    this.#sides.source.follow();
    this.#sides.target.follow();
    this.#wake?.();
  }

  #track(work: Promise<void>): void {
    const tracked = work.finally(() => {
      this.#working.delete(tracked);
      this.#wake?.();
    });
    this.#working.add(tracked);
  }

  // Following.

  #compare(): void {
    if (this.#touched.size === 0) return;
    const touched = this.#touched;
    this.#touched = new Set();
    for (const a of touched) {
      try {
        a.comparison.run(this.#options.until?.get(a.key));
        a.damagedReads = 0;
      } catch (error) {
        this.#onDamaged(a, undefined, error as Error);
      }
      if (this.#reached(a)) this.#wake?.();
    }
    this.#sides.source.wake();
    this.#sides.target.wake();
  }

  #onDamaged(a: Audited, cluster: Cluster | undefined, error: Error): void {
    if (++a.damagedReads < damagedReadsMax) {
      this.#restart(a);
      return;
    }
    const where = `${cluster ? `cluster ${cluster.name}, ` : ''}${a.key}`;
    this.#fail(new CutoverError('PARITY_FAILED', { what: 'a batch cannot be read', where, found: error.message }));
  }

  #restart(a: Audited): void {
    if (a.state === 'running') a.given = this.#progressOf(a);
    a.comparison.source.reading = false;
    a.comparison.target.reading = false;
    a.state = 'new';
    a.retryAt = performance.now() + behindPauseMs;
    this.#wake?.();
  }

  /** The log is shorter than where we are to read, or its head was cut away. */
  #onOutOfRange(a: Audited, side: AuditLog, cluster: Cluster): void {
    side.reading = false;
    const { generation } = side;
    this.#track(
      (async () => {
        const { signal } = this.#ending;
        while (!signal.aborted && side.generation === generation) {
          try {
            const [start, end] = await Promise.all([
              listOffsets(cluster, [a], 'start'),
              listOffsets(cluster, [a], 'logEnd'),
            ]);
            if (side.nextFetch < (start.get(a.key) ?? 0n)) {
              this.#onCutAway(a, side, start.get(a.key) ?? 0n);
              return;
            }
            if (side.nextFetch <= (end.get(a.key) ?? 0n)) break;
          } catch (error) {
            if (!isPassing(error)) throw error;
          }
          await sleep(behindPauseMs, undefined, { signal }).catch(() => {});
        }
        side.reading = true;
        (side === a.comparison.source ? this.#sides.source : this.#sides.target).follow();
      })().catch((error) => {
        if (this.#ending.signal.aborted) return;
        this.#fail(error instanceof CutoverError ? error : new CutoverError('INTERNAL', { what: error.message }));
      }),
    );
  }

  #onCutAway(a: Audited, side: AuditLog, logStart: bigint): void {
    if (side === a.comparison.source) {
      this.#restart(a);
      return;
    }
    // The target lost records: what the source has of them is missing.
    side.nextFetch = logStart;
    side.readTo = logStart;
    side.generation++;
    side.reading = true;
    this.#touched.add(a);
    this.#sides.target.follow();
  }
}
