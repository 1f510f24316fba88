/**
 * Walks many partitions of two clusters side by side (pairing.ts): reads both logs up to their last stable offsets, as far as memory allows, and begins
 * again where a read fails. `origin` is the cluster that records come from in that stretch of the log, `copy` where they were copied to.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { isPassing, listOffsets, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { Memory } from './memory.ts';
import { type Located, Pairing, type PairingCounts, type Place, type Search, type Unpaired } from './pairing.ts';
import { behindPauseMs, type LogPair, SideBySide } from './side-by-side.ts';

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
  /** Of what is read and not yet compared, of all partitions together; 64 MiB by default. */
  readonly bytesHeldMax?: number;
  readonly onProgress?: (progress: readonly PairedPartition[]) => void;
}

/** Remembered records of all partitions together, 8 bytes each, for telling duplicates; no partition has more than 65,536 or less than 1,024. */
const rememberedTotal = 4_194_304;
/** So far back a walk begins again, in records, so that it knows the duplicates that come: anchors are at least a thousand apart. */
const anchorsBack = 3;

interface Walk extends LogPair {
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
  readonly #sides: SideBySide<Walk>;

  constructor(options: PairingRunOptions) {
    this.#options = options;
    const { origin, copy: copiedTo, partitions, signal, leftOut, bytesHeldMax } = options;
    const memory = new Memory();
    const rememberedMax = Math.max(
      1_024,
      Math.min(65_536, Math.floor(rememberedTotal / Math.max(1, partitions.length))),
    );
    this.#walks = partitions.map((given) => {
      const { topic, partition, compacted = false, searches } = given;
      const copy = { topic: given.copyTopic ?? topic, partition };
      const pairing = new Pairing({ topic, copyTopic: copy.topic, partition }, memory, {
        compacted,
        rememberedMax,
        ...(leftOut !== undefined && { leftOut }),
        // A search is only made where everything was judged before.
        ...(searches && { searches, patienceMs: 0, aheadMax: 2_048 }),
      });
      return {
        key: partitionKey(topic, partition),
        copy,
        given,
        pairing,
        logs: [pairing.origin, pairing.copy],
        running: false,
        goal: undefined,
        finished: searches?.length === 0,
      };
    });
    this.#sides = new SideBySide({
      clusters: [origin, copiedTo],
      memory,
      pairs: this.#walks,
      signal,
      bytesHeldMax,
      isOver: () => this.#walks.every((walk) => this.#isFinished(walk)),
      onTick: () => this.#onTick(),
      compare: (walk) => this.#compare(walk),
      onDamaged: (walk, cluster, { message }) => this.#failAt(walk, cluster, 'a batch cannot be read', message),
      onCutAway: (walk, log, cluster, logStart) => {
        const found = `its log begins at ${logStart}, and ${log.nextFetch} was to be read`;
        this.#failAt(walk, cluster, 'records were deleted before they were compared', found);
      },
    });
  }

  async run(): Promise<readonly PairedPartition[]> {
    this.#sides.track(this.#start());
    await this.#sides.run();
    return this.#progress();
  }

  #onTick(): void {
    // What is undecided is decided by waiting, and nobody answers for a log that stands still.
    for (const walk of this.#walks) if (walk.running && walk.pairing.undecided) this.#sides.touch(walk);
    this.#sides.compare();
    this.#options.onProgress?.(this.#progress());
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
    // What was read beyond would take the memory from those that are not there yet.
    const { origin, copy } = walk.pairing.place;
    walk.pairing.origin.rest(origin);
    walk.pairing.copy.rest(copy);
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

  #failAt(walk: Walk, cluster: Cluster, what: string, found: string): void {
    this.#sides.fail(new CutoverError('PARITY_FAILED', { what, where: `cluster ${cluster.name}, ${walk.key}`, found }));
  }

  async #start(): Promise<void> {
    const { origin, copy } = this.#options;
    const signal = this.#sides.ending;
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
        await this.#sides.refreshLeaders();
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
    this.#sides.follow();
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

  #compare(walk: Walk): void {
    if (walk.finished || !walk.running) return;
    try {
      if (walk.pairing.run(this.#options.until?.get(walk.key))) this.#sides.follow();
    } catch (error) {
      this.#failAt(walk, this.#options.copy, 'records cannot be compared', (error as Error).message);
    }
    if (this.#isFinished(walk)) this.#sides.turn();
  }
}
