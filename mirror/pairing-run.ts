/**
 * Walks many partitions of two clusters side by side (pairing.ts): reads both logs up to their last stable offsets, as far as memory allows, and begins
 * again where a read fails. `origin` is the cluster that records come from in that stretch of the log, `copy` where they were copied to.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { isPassing, listOffsets, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import type { AuditLog } from './audit-log.ts';
import { Leaders } from './leaders.ts';
import { Memory } from './memory.ts';
import { type Located, Pairing, type PairingCounts, type Place, type Search, type Unpaired } from './pairing.ts';
import { LogReader } from './reader.ts';

export interface PairingStart {
  readonly topic: string;
  /** What the topic is called on the copy's cluster; the same when left out. */
  readonly copyTopic?: string;
  readonly partition: number;
  /** Everything below is judged. */
  readonly place: Place;
  /** Where the logs began to be the same: the walk may not go back beyond. */
  readonly start: Place;
  readonly anchors: readonly Place[];
  readonly counts: PairingCounts;
  readonly compacted?: boolean;
  /** Positions to find, instead of following the logs. */
  readonly searches?: readonly Search[];
}

export interface PairedPartition {
  readonly topic: string;
  readonly partition: number;
  readonly start: Place;
  readonly place: Place;
  readonly anchors: readonly Place[];
  readonly counts: PairingCounts;
  readonly first: Unpaired | null;
  readonly located: readonly Located[];
}

export interface PairingRunOptions {
  readonly origin: Cluster;
  readonly copy: Cluster;
  /** A header that the replicator puts on its copies: it does not count. */
  readonly leftOut?: string;
  readonly partitions: readonly PairingStart[];
  /** Ends the run with what has been walked. */
  readonly signal: AbortSignal;
  /** By `partitionKey`, on the origin: nothing from there on is looked at, and the run ends when all are reached. */
  readonly until?: ReadonlyMap<string, bigint>;
  readonly onProgress?: (progress: readonly PairedPartition[]) => void;
}

const progressEveryMs = 200;
const sideBytesHeldMax = 4_194_304;
const bytesHeldMax = 67_108_864;
const behindPauseMs = 150;
/** Remembered records of all partitions together, 8 bytes each, for telling duplicates; no partition has more than 65,536 or less than 1,024. */
const rememberedTotal = 4_194_304;
/** So far back a walk begins again, in records, so that it knows the duplicates that come: anchors are at least a thousand apart. */
const anchorsBack = 3;

interface Walk {
  /** Of the origin. */
  readonly key: string;
  readonly copy: TopicPartition;
  readonly given: PairingStart;
  readonly pairing: Pairing;
  running: boolean;
  /** Of a search: where both logs ended when it began. */
  goal: Place | undefined;
  finished: boolean;
}

/**
 * @throws CutoverError PARITY_FAILED (damaged bytes, or a log whose head was cut away before it was compared), TOPIC_MISSING, TOPIC_RECREATED,
 *   CLUSTER_ACCESS_DENIED, CLUSTER_AUTH_FAILED, KAFKA_REQUEST_FAILED
 */
export async function runPairing(options: PairingRunOptions): Promise<readonly PairedPartition[]> {
  return new PairingRun(options).run();
}

class PairingRun {
  readonly #options: PairingRunOptions;
  readonly #walks: readonly Walk[];
  readonly #byLog = new Map<AuditLog, Walk>();
  readonly #leaders: readonly Leaders[];
  readonly #sides: { readonly origin: LogReader<AuditLog>; readonly copy: LogReader<AuditLog> };
  readonly #ending = new AbortController();
  readonly #working = new Set<Promise<void>>();
  #touched = new Set<Walk>();
  readonly #memory = new Memory();
  #failure: CutoverError | undefined;
  #wake: (() => void) | undefined;

  constructor(options: PairingRunOptions) {
    this.#options = options;
    const { partitions } = options;
    const rememberedMax = Math.max(
      1_024,
      Math.min(65_536, Math.floor(rememberedTotal / Math.max(1, partitions.length))),
    );
    this.#walks = partitions.map((given) => {
      const { topic, partition, compacted = false, searches } = given;
      const copy = { topic: given.copyTopic ?? topic, partition };
      const pairing = new Pairing({ topic, copyTopic: copy.topic, partition }, this.#memory, {
        compacted,
        rememberedMax,
        ...(options.leftOut !== undefined && { leftOut: options.leftOut }),
        // A search is only made where everything was judged before.
        ...(searches && { searches, patienceMs: 0, aheadMax: 2_048 }),
      });
      const walk: Walk = {
        key: partitionKey(topic, partition),
        copy,
        given,
        pairing,
        running: false,
        goal: undefined,
        finished: searches?.length === 0,
      };
      this.#byLog.set(pairing.origin, walk);
      this.#byLog.set(pairing.copy, walk);
      return walk;
    });
    const anyIds = (names: readonly string[]) => new Map(names.map((name) => [name, '']));
    const originLeaders = new Leaders(options.origin, anyIds(partitions.map(({ topic }) => topic)));
    const copyLeaders = new Leaders(options.copy, anyIds(this.#walks.map(({ copy }) => copy.topic)));
    this.#leaders = [originLeaders, copyLeaders];
    this.#sides = {
      origin: this.#reader(options.origin, originLeaders, ({ pairing }) => pairing.origin),
      copy: this.#reader(options.copy, copyLeaders, ({ pairing }) => pairing.copy),
    };
  }

  #reader(cluster: Cluster, leaders: Leaders, log: (walk: Walk) => AuditLog) {
    return new LogReader<AuditLog>({
      cluster,
      leaders,
      partitions: this.#walks.map(log),
      room: (side) => this.#hasRoom(side),
      isolation: 'readCommitted',
      onAnswer: (side, answer, emptyRequest) => {
        const walk = this.#byLog.get(side) as Walk;
        try {
          side.take(answer, emptyRequest);
          this.#touched.add(walk);
        } catch (error) {
          this.#failAt(walk, cluster, 'a batch cannot be read', (error as Error).message);
        }
      },
      work: () => this.#compare(),
      onOutOfRange: (side) => this.#onOutOfRange(this.#byLog.get(side) as Walk, side, cluster),
      onFailure: (error) => this.#fail(error),
    });
  }

  #hasRoom(side: AuditLog): boolean {
    if (side.bytesHeld >= sideBytesHeldMax) return false;
    if (this.#memory.bytes < bytesHeldMax) return true;
    const { origin, copy } = (this.#byLog.get(side) as Walk).pairing;
    return side.bytesHeld === 0 && (side === origin ? copy : origin).bytesHeld > 0;
  }

  async run(): Promise<readonly PairedPartition[]> {
    const { signal } = this.#options;
    const wake = () => this.#wake?.();
    signal.addEventListener('abort', wake);
    const ticker = setInterval(() => {
      // What is undecided is decided by waiting, and nobody answers for a log that stands still.
      for (const walk of this.#walks) if (walk.running && walk.pairing.undecided) this.#touched.add(walk);
      this.#compare();
      this.#options.onProgress?.(this.#progress());
    }, progressEveryMs);
    try {
      await this.#start();
      while (!this.#over) {
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
      await Promise.all([this.#sides.origin.stop(), this.#sides.copy.stop()]);
      await Promise.allSettled(this.#working);
    }
    if (this.#failure) throw this.#failure;
    return this.#progress();
  }

  get #over(): boolean {
    if (this.#failure || this.#options.signal.aborted) return true;
    return this.#walks.every((walk) => this.#isFinished(walk));
  }

  #isFinished(walk: Walk): boolean {
    if (walk.finished) return true;
    if (!walk.running) return false;
    const { pairing, goal, given } = walk;
    if (given.searches) {
      const { origin, copy } = pairing.place;
      const ended = goal !== undefined && (origin >= goal.origin || copy >= goal.copy);
      if (!pairing.allLocated && !ended) return false;
      pairing.locateRest();
      this.#rest(walk);
      return true;
    }
    const end = this.#options.until?.get(walk.key);
    return end !== undefined && pairing.place.origin >= end && !pairing.undecided;
  }

  #rest(walk: Walk): void {
    walk.finished = true;
    walk.pairing.origin.reading = false;
    walk.pairing.copy.reading = false;
  }

  #progress(): PairedPartition[] {
    return this.#walks.map(({ given, pairing, running }) => {
      const { topic, partition, start } = given;
      const { anchors, counts, first, located } = pairing;
      const place = pairing.place;
      // Reading again what was judged before: until that is done, what was given still stands.
      const behind = !running || place.origin < given.place.origin;
      return {
        topic,
        partition,
        start,
        place: behind ? given.place : place,
        anchors: running ? anchors : given.anchors,
        counts: running ? counts : given.counts,
        first,
        located,
      };
    });
  }

  #fail(error: CutoverError): void {
    this.#failure ??= error;
    this.#wake?.();
  }

  #failAt(walk: Walk, cluster: Cluster, what: string, found: string): void {
    this.#fail(new CutoverError('PARITY_FAILED', { what, where: `cluster ${cluster.name}, ${walk.key}`, found }));
  }

  async #start(): Promise<void> {
    const { origin, copy, signal } = this.#options;
    for (;;) {
      try {
        const places = (kind: 'start' | 'lastStable') =>
          Promise.all([
            listOffsets(origin, this.#options.partitions, kind),
            listOffsets(
              copy,
              this.#walks.map((walk) => walk.copy),
              kind,
            ),
          ]);
        const [starts, ends] = [await places('start'), await places('lastStable')];
        await Promise.all(this.#leaders.map((leaders) => leaders.refresh()));
        for (const walk of this.#walks) {
          const at = ([here, there]: Awaited<ReturnType<typeof places>>): Place => ({
            origin: here.get(walk.key) ?? 0n,
            copy: there.get(partitionKey(walk.copy.topic, walk.copy.partition)) ?? 0n,
          });
          walk.goal = at(ends);
          this.#begin(walk, at(starts));
        }
        break;
      } catch (error) {
        if (signal.aborted) return;
        if (!isPassing(error)) throw error;
        await sleep(behindPauseMs, undefined, { signal }).catch(() => {});
      }
    }
    this.#sides.origin.follow();
    this.#sides.copy.follow();
  }

  #begin(walk: Walk, starts: Place): void {
    const { given, pairing } = walk;
    const { place, start, anchors, counts } = given;
    pairing.anchors = [...anchors];
    if (walk.finished) return;
    const before = anchors.filter(({ origin }) => origin < place.origin);
    const from = before.at(-anchorsBack) ?? start;
    const isResumed = place.origin > start.origin;
    // Bytes that either log has lost since need not be compared again.
    const kept = from.origin >= starts.origin && from.copy >= starts.copy;
    pairing.begin(
      isResumed && !kept ? place : from,
      starts,
      isResumed ? { ...counts, below: place.origin } : undefined,
    );
    walk.running = true;
  }

  #compare(): void {
    if (this.#touched.size === 0) return;
    const touched = this.#touched;
    this.#touched = new Set();
    for (const walk of touched) {
      if (walk.finished || !walk.running) continue;
      try {
        if (walk.pairing.run(this.#options.until?.get(walk.key))) {
          this.#sides.origin.follow();
          this.#sides.copy.follow();
        }
      } catch (error) {
        this.#failAt(walk, this.#options.copy, 'records cannot be compared', (error as Error).message);
      }
      if (this.#isFinished(walk)) this.#wake?.();
    }
    this.#sides.origin.wake();
    this.#sides.copy.wake();
  }

  /** The log is shorter than where we are to read, which passes; or its head was cut away. */
  #onOutOfRange(walk: Walk, side: AuditLog, cluster: Cluster): void {
    side.reading = false;
    const { generation } = side;
    const work = (async () => {
      const { signal } = this.#ending;
      while (!signal.aborted && side.generation === generation) {
        try {
          const key = partitionKey(side.topic, side.partition);
          const start = (await listOffsets(cluster, [side], 'start')).get(key) ?? 0n;
          const end = (await listOffsets(cluster, [side], 'logEnd')).get(key) ?? 0n;
          if (side.nextFetch < start) {
            const found = `its log begins at ${start}, and ${side.nextFetch} was to be read`;
            this.#failAt(walk, cluster, 'records were deleted before they were compared', found);
            return;
          }
          if (side.nextFetch <= end) break;
        } catch (error) {
          if (!isPassing(error)) throw error;
        }
        await sleep(behindPauseMs, undefined, { signal }).catch(() => {});
      }
      side.reading = !walk.finished;
      (side === walk.pairing.origin ? this.#sides.origin : this.#sides.copy).follow();
    })().catch((error) => {
      if (this.#ending.signal.aborted) return;
      this.#fail(
        error instanceof CutoverError ? error : new CutoverError('INTERNAL', { what: (error as Error).message }),
      );
    });
    this.#working.add(work);
    void work.finally(() => this.#working.delete(work));
  }
}
