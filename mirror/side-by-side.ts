/**
 * Reads two logs of each of many partitions side by side, one on each of two clusters, up to their last stable offsets and as far as memory
 * allows, for whoever compares them (audit.ts record by record at equal offsets, pairing-run.ts where offsets differ). Knows nothing of what is
 * compared: says what was read, and what cannot be.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { isPassing, listOffsets, partitionKey } from '../kafka/offsets.ts';
import type { AuditLog } from './audit-log.ts';
import { Leaders } from './leaders.ts';
import type { Memory } from './memory.ts';
import { LogReader } from './reader.ts';

/** Two logs that are compared: the first on the first cluster, the second on the second. */
export interface LogPair {
  readonly logs: readonly [AuditLog, AuditLog];
}

export interface SideBySideOptions<P extends LogPair> {
  readonly clusters: readonly [Cluster, Cluster];
  /** Where `pairs` keep what is read. */
  readonly memory: Memory;
  readonly pairs: readonly P[];
  /** Ends the run. */
  readonly signal: AbortSignal;
  /** Bytes of one partition in one answer; 1 MiB by default. */
  readonly partitionBytesMax?: number | undefined;
  /** Of what is read and not yet compared, of all pairs together; an answer in flight per leader (4 MB) comes on top. 64 MiB by default. */
  readonly bytesHeldMax?: number | undefined;
  /** Whether the run is at its end. Asked five times a second, and whenever `turn` was called. */
  readonly isOver: () => boolean;
  /** Whenever it is not. */
  readonly onTurn?: () => void;
  /** Compares as far as both logs have been read. */
  readonly compare: (pair: P) => void;
  /** Five times a second, whatever else happens. */
  readonly onTick: () => void;
  /** What was read of one log cannot be understood. */
  readonly onDamaged: (pair: P, cluster: Cluster, error: Error) => void;
  /** The log's head was cut away beyond where it is read. A failure of the network is met by calling it again. */
  readonly onCutAway: (pair: P, log: AuditLog, cluster: Cluster, logStart: bigint) => void | Promise<void>;
}

/** How often whoever waits is told how far everything is. */
const tickMs = 200;
/** Bytes that one side of a partition is read ahead of the other. */
const sideBytesHeldMax = 4_194_304;
const bytesHeldMaxDefault = 67_108_864;
/** How long a log that is shorter than where we are to read is left alone. */
export const behindPauseMs = 150;

export class SideBySide<P extends LogPair> {
  readonly #options: SideBySideOptions<P>;
  readonly #pairs = new Map<AuditLog, P>();
  readonly #leaders: readonly Leaders[];
  readonly #readers: readonly LogReader<AuditLog>[];
  readonly #ending = new AbortController();
  readonly #working = new Set<Promise<void>>();
  #touched = new Set<P>();
  #failure: CutoverError | undefined;
  #wake: (() => void) | undefined;

  constructor(options: SideBySideOptions<P>) {
    this.#options = options;
    for (const pair of options.pairs) for (const log of pair.logs) this.#pairs.set(log, pair);
    const sides = options.clusters.map((cluster, side) => {
      const logs = options.pairs.map((pair) => pair.logs[side] as AuditLog);
      const leaders = new Leaders(cluster, new Map(logs.map(({ topic }) => [topic, ''])));
      return { leaders, reader: this.#reader(cluster, leaders, logs) };
    });
    this.#leaders = sides.map(({ leaders }) => leaders);
    this.#readers = sides.map(({ reader }) => reader);
  }

  #reader(cluster: Cluster, leaders: Leaders, logs: readonly AuditLog[]): LogReader<AuditLog> {
    return new LogReader<AuditLog>({
      cluster,
      leaders,
      partitions: logs,
      room: (log) => this.hasRoom(log),
      isolation: 'readCommitted',
      partitionBytesMax: this.#options.partitionBytesMax,
      onAnswer: (log, answer, emptyRequest) => {
        const pair = this.#pairs.get(log) as P;
        try {
          log.take(answer, emptyRequest);
        } catch (error) {
          this.#options.onDamaged(pair, cluster, error as Error);
          return;
        }
        this.#touched.add(pair);
      },
      work: () => this.compare(),
      onOutOfRange: (log) => this.#onOutOfRange(log, cluster),
      onFailure: (error) => this.fail(error),
    });
  }

  /** Whether more may be read of a log. */
  hasRoom(log: AuditLog): boolean {
    if (log.bytesHeld >= sideBytesHeldMax) return false;
    const { memory, bytesHeldMax = bytesHeldMaxDefault } = this.#options;
    if (memory.bytes < bytesHeldMax) return true;
    // Bytes that wait for this log are let go of only when it is read.
    const { logs } = this.#pairs.get(log) as P;
    return log.bytesHeld === 0 && logs.some((other) => other.bytesHeld > 0);
  }

  /** Aborted when the run ends. */
  get ending(): AbortSignal {
    return this.#ending.signal;
  }

  /**
   * Until it is over, aborted or failed; nothing is read afterwards.
   *
   * @throws CutoverError what it failed with
   */
  async run(): Promise<void> {
    const { signal, isOver, onTurn, onTick } = this.#options;
    const turn = () => this.turn();
    signal.addEventListener('abort', turn);
    const ticker = setInterval(onTick, tickMs);
    try {
      while (!this.#failure && !signal.aborted && !isOver()) {
        onTurn?.();
        await new Promise<void>((done) => {
          const timer = setTimeout(done, tickMs);
          this.#wake = () => {
            clearTimeout(timer);
            done();
          };
        });
        this.#wake = undefined;
      }
    } finally {
      clearInterval(ticker);
      signal.removeEventListener('abort', turn);
      this.#ending.abort();
      await Promise.all(this.#readers.map((reader) => reader.stop()));
      await Promise.allSettled(this.#working);
    }
    if (this.#failure) throw this.#failure;
  }

  /** Something may be over, or due. */
  turn(): void {
    this.#wake?.();
  }

  fail(error: CutoverError): void {
    this.#failure ??= error;
    this.turn();
  }

  /** What goes on beside the reading and is waited for at the end; its failure is the run's. */
  track(work: Promise<void>): void {
    const tracked = work
      .catch((error) => {
        if (this.#ending.signal.aborted) return;
        this.fail(
          error instanceof CutoverError
            ? error
            : new CutoverError('INTERNAL', { what: error.message }, { cause: error }),
        );
      })
      .finally(() => {
        this.#working.delete(tracked);
        this.turn();
      });
    this.#working.add(tracked);
  }

  /** There is something to compare, though nothing was read. */
  touch(pair: P): void {
    this.#touched.add(pair);
  }

  compare(): void {
    if (this.#touched.size === 0) return;
    const touched = this.#touched;
    this.#touched = new Set();
    for (const pair of touched) this.#options.compare(pair);
    for (const reader of this.#readers) reader.wake();
  }

  async refreshLeaders(): Promise<void> {
    await Promise.all(this.#leaders.map((leaders) => leaders.refresh()));
  }

  /** To be called when logs began, or began again. */
  follow(): void {
    for (const reader of this.#readers) reader.follow();
  }

  /** How long ago the log's leader last answered, whatever it was asked; Infinity: never. */
  silentForMs(log: AuditLog): number {
    const side = this.#pairs.get(log)?.logs.indexOf(log) ?? -1;
    return this.#readers[side]?.silentForMs(log) ?? Number.POSITIVE_INFINITY;
  }

  /** The log is shorter than where we are to read, which passes; or its head was cut away. */
  #onOutOfRange(log: AuditLog, cluster: Cluster): void {
    log.reading = false;
    const { generation } = log;
    const key = partitionKey(log.topic, log.partition);
    const offset = async (kind: 'start' | 'logEnd') => (await listOffsets(cluster, [log], kind)).get(key) ?? 0n;
    const wait = async () => {
      for (;;) {
        try {
          const [start, end] = await Promise.all([offset('start'), offset('logEnd')]);
          if (log.generation !== generation) return;
          if (log.nextFetch < start) {
            await this.#options.onCutAway(this.#pairs.get(log) as P, log, cluster, start);
            return;
          }
          if (log.nextFetch <= end) break;
        } catch (error) {
          if (!isPassing(error)) throw error;
        }
        await sleep(behindPauseMs, undefined, { signal: this.ending });
      }
      log.reading = true;
      this.follow();
    };
    this.track(wait());
  }
}
