/**
 * Incremental fetch sessions (KIP-227): the broker remembers what we read, a request names only what changed and an
 * answer only what has news, so that following a thousand idle partitions costs as much as following one.
 *
 * One session belongs to one connection at a time and has one request in flight. As Java's `FetchSessionHandler` and
 * franz-go do it: a session that the broker no longer knows, or that is out of step, is begun anew with everything in
 * the request; where the broker has no room for sessions (id 0) every request stays whole.
 *
 * An answer within a session says nothing about partitions without news. Whoever reads wants to know all the same that
 * a partition whose log goes on gave nothing (a hole at its end), so those are filled in from what was said last.
 */
import type { RawFetchAnswer, RawFetchedPartition, RawFetchPartition, RawFetchRequest } from './wire.ts';

export interface SessionPartition extends RawFetchPartition {
  readonly topic: string;
}

/** What goes into a `RawFetchRequest`. */
export type SessionRequest = Required<Pick<RawFetchRequest, 'session' | 'topics' | 'forgotten'>>;

/** FETCH_SESSION_ID_NOT_FOUND: evicted, or the broker restarted. */
const idNotFound = 70;
/** That, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR. */
const sessionErrors: ReadonlySet<number> = new Set([idNotFound, 71, 106]);
/** The first request of a session, and of every attempt to get one. */
const initialEpoch = 0;
/** Epochs go round, leaving out the initial one. */
const epochMax = 0x7fff_ffff;

const noRecords = Buffer.alloc(0);

/** What the broker holds about one partition of the session. */
interface Held {
  asked: SessionPartition;
  highWatermark: bigint;
  lastStableOffset: bigint;
  logStartOffset: bigint;
  /** Of the request in which it was wanted last; older: it is to be forgotten. */
  round: number;
}

export class FetchSession {
  #id = 0;
  #epoch = initialEpoch;
  /** By topic, then by partition: what the broker has, or will have once the request on its way is answered. */
  readonly #held = new Map<string, Map<number, Held>>();
  #size = 0;
  #round = 0;
  /** Whose log went on beyond what was asked for, when last heard of. */
  readonly #behind = new Set<Held>();

  /** False: every request names everything, so its order decides who is served first. Within a session the broker sees to turns. */
  get established(): boolean {
    return this.#epoch !== initialEpoch;
  }

  /**
   * What to send so that exactly `wanted` is fetched. Must be followed by `answered`, or by `lost` when no answer came.
   * Cost: a look at each partition; bytes only for what changed.
   */
  request(wanted: readonly SessionPartition[]): SessionRequest {
    if (!this.established) this.#forgetAll();
    const round = ++this.#round;
    const changed: SessionPartition[] = [];
    for (const asked of wanted) {
      const held = this.#held.get(asked.topic)?.get(asked.partition);
      if (!held) {
        this.#hold(asked, round);
        changed.push(asked);
        continue;
      }
      held.round = round;
      const before = held.asked;
      if (
        before.fetchOffset === asked.fetchOffset &&
        before.maxBytes === asked.maxBytes &&
        before.leaderEpoch === asked.leaderEpoch
      ) {
        continue;
      }
      held.asked = asked;
      this.#noteBehind(held);
      changed.push(asked);
    }
    const session = { id: this.#id, epoch: this.#epoch };
    return {
      session,
      topics: byTopic(changed),
      forgotten: wanted.length < this.#size ? this.#forgetBefore(round) : [],
    };
  }

  /**
   * Takes the answer to the last request. Gives its partitions, and an empty answer for each one that had no news although
   * its log goes on; null when the session is not valid any more: then ask again, which begins a new one.
   */
  answered(answer: RawFetchAnswer): readonly RawFetchedPartition[] | null {
    if (sessionErrors.has(answer.errorCode)) {
      if (answer.errorCode === idNotFound) this.#id = 0;
      this.lost();
      return null;
    }
    if (answer.errorCode !== 0) {
      this.lost();
      return answer.partitions;
    }
    const sessionId = answer.sessionId;
    // Asked for a session and got none: the broker has no room. Later it may.
    if (sessionId === 0) this.#epoch = initialEpoch;
    else this.#epoch = this.#epoch === epochMax ? 1 : this.#epoch + 1;
    this.#id = sessionId;
    // Throttled, brokers answer without any partition (FetchContext.getThrottledResponse): that says nothing about the logs.
    if (answer.throttleMs > 0 && answer.partitions.length === 0) return [];
    const quiet = new Set(this.#behind);
    for (const partition of answer.partitions) {
      const held = this.#held.get(partition.topic)?.get(partition.partition);
      if (!held) continue;
      quiet.delete(held);
      if (partition.errorCode !== 0) {
        this.#behind.delete(held);
        continue;
      }
      const { highWatermark, lastStableOffset, logStartOffset } = partition;
      Object.assign(held, { highWatermark, lastStableOffset, logStartOffset });
      this.#noteBehind(held);
    }
    return quiet.size === 0 ? answer.partitions : [...answer.partitions, ...[...quiet].map(nothingNew)];
  }

  /** The connection broke, or no answer came: the next request begins a new session, in place of the one the broker may still have. */
  lost(): void {
    this.#epoch = initialEpoch;
    this.#forgetAll();
  }

  #hold(asked: SessionPartition, round: number): void {
    let partitions = this.#held.get(asked.topic);
    if (!partitions) {
      partitions = new Map();
      this.#held.set(asked.topic, partitions);
    }
    const unknown = -1n;
    partitions.set(asked.partition, {
      asked,
      highWatermark: unknown,
      lastStableOffset: unknown,
      logStartOffset: unknown,
      round,
    });
    this.#size++;
  }

  #noteBehind(held: Held): void {
    if (held.highWatermark > held.asked.fetchOffset) this.#behind.add(held);
    else this.#behind.delete(held);
  }

  #forgetBefore(round: number): { topic: string; partitions: number[] }[] {
    const forgotten: { topic: string; partitions: number[] }[] = [];
    for (const [topic, partitions] of this.#held) {
      const gone: number[] = [];
      for (const [partition, held] of partitions) {
        if (held.round === round) continue;
        gone.push(partition);
        partitions.delete(partition);
        this.#behind.delete(held);
        this.#size--;
      }
      if (partitions.size === 0) this.#held.delete(topic);
      if (gone.length > 0) forgotten.push({ topic, partitions: gone });
    }
    return forgotten;
  }

  #forgetAll(): void {
    this.#held.clear();
    this.#behind.clear();
    this.#size = 0;
  }
}

function nothingNew({ asked, highWatermark, lastStableOffset, logStartOffset }: Held): RawFetchedPartition {
  return {
    topic: asked.topic,
    partition: asked.partition,
    errorCode: 0,
    highWatermark,
    lastStableOffset,
    logStartOffset,
    abortedTransactions: [],
    records: noRecords,
  };
}

/** Each topic once, in the order in which it was first named; its partitions in theirs. */
function byTopic(changed: readonly SessionPartition[]): { topic: string; partitions: SessionPartition[] }[] {
  const topics = new Map<string, SessionPartition[]>();
  for (const partition of changed) {
    const list = topics.get(partition.topic);
    if (list) list.push(partition);
    else topics.set(partition.topic, [partition]);
  }
  return [...topics].map(([topic, partitions]) => ({ topic, partitions }));
}
