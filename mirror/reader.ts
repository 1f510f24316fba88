/**
 * Follows many partitions of one cluster: one connection and one fetch in flight per leader, long polls where there is
 * nothing new. The next fetch is on its way before the last answer is worked on.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { FetchSession } from '../kafka/fetch-session.ts';
import { isRetriableKafkaError, kafkaError, kafkaErrorName } from '../kafka/kafka-errors.ts';
import { isPassing, partitionKey } from '../kafka/offsets.ts';
import { inTheirVersion, roundTripMs } from '../kafka/versions.ts';
import { dropConnection, type RawFetchedPartition, type RawFetchRequest, rawFetch } from '../kafka/wire.ts';
import { type Leaders, refreshEveryMs } from './leaders.ts';
import type { Throttle } from './throttle.ts';

/** How long a broker may wait for news. */
const longPollMs = 500;
/** The same while some partition has no room: it must not wait for others' news once it has. */
const shortPollMs = 20;
/** Of one answer; also what one more answer may add to the memory in use. */
const answerBytesMax = 4_194_304;
/** Of one partition in an answer. */
const partitionBytesMax = 1_048_576;
/** A leader that is further away than this gives as much more in one answer: there is one on the way at a time, so distance would be speed. */
const nearMs = 10;
/** Of a leader far away. */
const farAnswerBytesMax = 16_777_216;
const farPartitionBytesMax = 8_388_608;
/** Pauses after failures grow from the one to the other. */
const backoffFirstMs = 50;
const backoffMaxMs = 2_000;
/** For a partition without a leader epoch. */
const anyLeader = -1;
/** Login refusals in a row that we put down to a broker that is starting. */
const loginRefusalsMax = 5;

/** The leader's epoch is newer than the one asked for; or older, where the leader does not know yet, or the topic is another one. */
const otherLeaderErrors: ReadonlySet<number> = new Set([kafkaError.fencedLeaderEpoch, kafkaError.unknownLeaderEpoch]);

/** A partition as the reader sees it. */
export interface ReadPartition {
  readonly topic: string;
  readonly partition: number;
  /** The next offset to fetch. Whoever owns the partition moves it. */
  nextFetch: bigint;
  /** False: leave it out. */
  reading: boolean;
  /** The only one under which a leader may answer, or `onOtherLeader` is called; without it, or at -1, any. */
  readonly leaderEpoch?: number;
  /** Changed whenever `nextFetch` is set from outside, so that late answers are known as such. */
  generation: number;
}

export interface LogReaderOptions<P extends ReadPartition> {
  readonly cluster: Cluster;
  readonly leaders: Leaders;
  readonly partitions: readonly P[];
  /** `readCommitted` gives nothing beyond the last stable offset, and which transactions were aborted. */
  readonly isolation?: RawFetchRequest['isolation'];
  /** Of one partition in one answer; less for whoever looks at single batches. */
  readonly partitionBytesMax?: number | undefined;
  readonly throttle?: Throttle;
  /** Whether there is memory for one more answer. */
  readonly room: (partition: P) => boolean;
  /** Takes an answer without an error and moves `nextFetch`; the work on it is for `work`. */
  readonly onAnswer: (partition: P, answer: RawFetchedPartition, emptyRequest: boolean) => void;
  /** Called after the next fetch has been sent. */
  readonly work: () => void;
  readonly onOutOfRange: (partition: P, answer: RawFetchedPartition) => void;
  /** The leader is of another epoch than the partition's: it gave nothing. */
  readonly onOtherLeader?: (partition: P) => void;
  /** Something that trying again does not help. */
  readonly onFailure: (error: CutoverError) => void;
}

interface Lane<P> {
  readonly brokerId: number;
  wake: (() => void) | undefined;
  turn: number;
  readonly session: FetchSession;
  /** What the last request, or an earlier one, asked of each partition: kept, since a thousand new entries a request are mostly garbage. */
  readonly asked: Map<P, Asked>;
  requests: number;
  answeredAt: number;
}

interface Asked {
  /** The lane's request that asked last. */
  request: number;
  offset: bigint;
  generation: number;
}

export class LogReader<P extends ReadPartition> {
  readonly #options: LogReaderOptions<P>;
  readonly #stopping = new AbortController();
  readonly #lanes = new Map<number, Lane<P>>();
  readonly #loops = new Set<Promise<void>>();
  readonly #connections = new Set<Connection>();
  readonly #byTopic = new Map<string, Map<number, P>>();

  constructor(options: LogReaderOptions<P>) {
    this.#options = options;
    for (const p of options.partitions) {
      const ofTopic = this.#byTopic.get(p.topic) ?? new Map<number, P>();
      this.#byTopic.set(p.topic, ofTopic.set(p.partition, p));
    }
  }

  /** There is room again. Cheap. */
  wake(): void {
    for (const lane of this.#lanes.values()) lane.wake?.();
  }

  /** How long ago the partition's leader last answered, whatever it was asked; Infinity: never. */
  silentForMs(p: P): number {
    const lane = this.#lanes.get(this.#options.leaders.of(p.topic, p.partition));
    return lane ? performance.now() - lane.answeredAt : Number.POSITIVE_INFINITY;
  }

  /** Looks at the partitions again: call it when `reading` was switched on or `nextFetch` was set. */
  follow(): void {
    if (this.#stopping.signal.aborted) return;
    for (const p of this.#options.partitions) {
      const leader = this.#options.leaders.of(p.topic, p.partition);
      if (!p.reading || leader < 0 || this.#lanes.has(leader)) continue;
      const lane: Lane<P> = {
        brokerId: leader,
        wake: undefined,
        turn: 0,
        session: new FetchSession(),
        asked: new Map(),
        requests: 0,
        answeredAt: -Infinity,
      };
      this.#lanes.set(leader, lane);
      const loop = this.#follow(lane).finally(() => this.#loops.delete(loop));
      this.#loops.add(loop);
    }
    this.wake();
  }

  /** Ends all fetches, also those in flight. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.wake();
    for (const connection of this.#connections) dropConnection(connection);
    await Promise.allSettled(this.#loops);
  }

  async #follow(lane: Lane<P>): Promise<void> {
    const { signal } = this.#stopping;
    let backoffMs = backoffFirstMs;
    let refusals = 0;
    while (!signal.aborted) {
      let connection: Connection | undefined;
      try {
        if (this.#wanted(lane).length === 0) {
          await this.#idle(lane);
          continue;
        }
        connection = await this.#options.cluster.open(lane.brokerId);
        this.#connections.add(connection);
        refusals = 0;
        await this.#fetchAll(lane, connection, () => {
          backoffMs = backoffFirstMs;
        });
      } catch (error) {
        if (signal.aborted) return;
        const failure =
          error instanceof CutoverError
            ? error
            : new CutoverError('CLUSTER_UNREACHABLE', { what: (error as Error).message }, { cause: error });
        if (failure.code === 'CLUSTER_AUTH_FAILED' && ++refusals <= loginRefusalsMax) {
          // tried again below
        } else if (!failure.retryable) {
          this.#options.onFailure(failure);
          return;
        }
        await sleep(backoffMs, undefined, { signal }).catch(() => {});
        backoffMs = Math.min(backoffMs * 2, backoffMaxMs);
        await this.#refreshLeaders();
      } finally {
        lane.session.lost();
        if (connection) {
          this.#connections.delete(connection);
          dropConnection(connection);
        }
      }
    }
  }

  /** The partitions that this lane is to read. */
  #wanted(lane: Lane<P>): P[] {
    const { partitions, leaders } = this.#options;
    return partitions.filter((p) => p.reading && leaders.of(p.topic, p.partition) === lane.brokerId);
  }

  async #idle(lane: Lane<P>): Promise<void> {
    await new Promise<void>((done) => {
      const timer = setTimeout(done, longPollMs);
      lane.wake = () => {
        clearTimeout(timer);
        done();
      };
    });
    lane.wake = undefined;
    if (this.#options.leaders.ageMs > refreshEveryMs) await this.#refreshLeaders();
  }

  async #fetchAll(lane: Lane<P>, connection: Connection, onSuccess: () => void): Promise<void> {
    const { leaders, throttle, work, room } = this.#options;
    const { signal } = this.#stopping;
    const fetch = await inTheirVersion(connection, rawFetch);
    const farness = Math.max(1, (await roundTripMs(connection)) / nearMs);
    const answerBytes = Math.min(answerBytesMax * farness, farAnswerBytesMax);
    const partitionBytes =
      this.#options.partitionBytesMax ?? Math.min(partitionBytesMax * farness, farPartitionBytesMax);
    while (!signal.aborted) {
      if (leaders.ageMs > refreshEveryMs) await this.#refreshLeaders();
      const wanted = this.#wanted(lane);
      const fetched = wanted.filter(room);
      if (fetched.length === 0) {
        work();
        if (this.#wanted(lane).some(room)) continue;
        await this.#idle(lane);
        continue;
      }
      // Brokers fill an answer in the order of the request: each partition is first in turn. Within a session the broker
      // itself puts whoever was served behind all others.
      const turn = lane.session.established ? 0 : lane.turn++ % fetched.length;
      const ordered = turn === 0 ? fetched : [...fetched.slice(turn), ...fetched.slice(0, turn)];
      lane.requests++;
      for (const p of ordered) noteAsked(lane, p);
      const pending = fetch.async(connection, {
        maxWaitMs: fetched.length === wanted.length ? longPollMs : shortPollMs,
        minBytes: 1,
        maxBytes: throttle?.requestBytesMax(answerBytes) ?? answerBytes,
        isolation: this.#options.isolation ?? 'readUncommitted',
        ...lane.session.request(
          ordered.map((p) => ({
            topic: p.topic,
            partition: p.partition,
            fetchOffset: p.nextFetch,
            leaderEpoch: p.leaderEpoch ?? anyLeader,
            maxBytes: throttle?.requestBytesMax(partitionBytes) ?? partitionBytes,
          })),
        ),
      });
      // While the broker gathers the next answer. A failure of the request is met by the await below.
      pending.catch(() => {});
      work();
      const answer = await pending;
      const answered = lane.session.answered(answer);
      if (!answered) continue;
      if (answer.errorCode !== 0) {
        throw new CutoverError('KAFKA_REQUEST_FAILED', { what: 'fetching', found: kafkaErrorName(answer.errorCode) });
      }
      onSuccess();
      lane.answeredAt = performance.now();
      let bytes = 0;
      for (const partition of answered) bytes += partition.records.length;
      let moved = false;
      for (const partition of answered) {
        const p = this.#byTopic.get(partition.topic)?.get(partition.partition);
        const sent = p && lane.asked.get(p);
        if (!sent || sent.request !== lane.requests) continue;
        if (p.generation !== sent.generation || p.nextFetch !== sent.offset || !p.reading) continue;
        if (partition.errorCode === 0) this.#options.onAnswer(p, partition, bytes === 0);
        else if (partition.errorCode === kafkaError.offsetOutOfRange) this.#options.onOutOfRange(p, partition);
        else moved = this.#answeredWith(partition, p) || moved;
      }
      if (throttle?.limited) {
        throttle.spend(bytes);
        work();
        await throttle.pause(signal);
      }
      if (moved) {
        work();
        await sleep(backoffFirstMs, undefined, { signal }).catch(() => {});
        await this.#refreshLeaders();
      }
    }
  }

  #answeredWith({ errorCode }: RawFetchedPartition, p: P): boolean {
    if (otherLeaderErrors.has(errorCode)) this.#options.onOtherLeader?.(p);
    if (isRetriableKafkaError(errorCode)) return true;
    const denied = errorCode === kafkaError.topicAuthorizationFailed;
    this.#options.onFailure(
      new CutoverError(denied ? 'CLUSTER_ACCESS_DENIED' : 'KAFKA_REQUEST_FAILED', {
        what: 'reading was refused',
        where: `cluster ${this.#options.cluster.name}, ${partitionKey(p.topic, p.partition)}`,
        found: kafkaErrorName(errorCode),
        ...(denied && { wanted: 'READ on the topic' }),
      }),
    );
    return false;
  }

  /** Leaders may have moved; lanes for new ones are made. Network trouble is the next fetch's to meet. */
  async #refreshLeaders(): Promise<void> {
    try {
      await this.#options.leaders.refresh();
    } catch (error) {
      if (this.#stopping.signal.aborted) return;
      if (error instanceof CutoverError && !error.retryable && error.code !== 'CLUSTER_AUTH_FAILED') {
        this.#options.onFailure(error);
      } else if (!isPassing(error)) {
        await sleep(backoffFirstMs);
      }
    }
    this.follow();
  }
}

function noteAsked<P extends ReadPartition>({ asked, requests }: Lane<P>, p: P): void {
  const entry = asked.get(p);
  if (!entry) {
    asked.set(p, { request: requests, offset: p.nextFetch, generation: p.generation });
    return;
  }
  entry.request = requests;
  entry.offset = p.nextFetch;
  entry.generation = p.generation;
}
