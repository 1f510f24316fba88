/**
 * Where logs begin and end. One request per leader; partitions whose leader moved are asked again.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { listOffsetsV7 } from '@platformatic/kafka';
import { type Code, CutoverError, type Detail } from '../contract/errors.ts';
import type { Cluster } from './cluster.ts';
import { isRetriableKafkaError, kafkaErrorName, refuseKafkaError } from './kafka-errors.ts';

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

/** `topic/partition`: how partitions are named in maps and messages. Topic names hold no slash. */
export function partitionKey(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}

/** The partition that `partitionKey` named. */
export function partitionOf(key: string): TopicPartition {
  const slash = key.lastIndexOf('/');
  return { topic: key.slice(0, slash), partition: Number(key.slice(slash + 1)) };
}

/**
 * - `start`: the first offset that is kept.
 * - `highWatermark`: below it records are replicated, and consumers may read.
 * - `logEnd`: the next offset to be written on the leader, whether or not what is below it is replicated.
 * - `lastStable`: below it no transaction is open.
 * - `timestampMs`: the first record that is not older; -1n when there is none.
 */
export type OffsetKind = 'start' | 'highWatermark' | 'logEnd' | 'lastStable' | { readonly timestampMs: bigint };

/** Rounds of asking before giving up: leaders move within seconds. */
const roundsMax = 40;
/** Rounds where the leader is given: who moved it is to look again. */
const roundsOfGivenMax = 3;
const roundPauseMs = 150;

/** Replica ids of the ListOffsets request: an ordinary consumer, and the one that sees past the high watermark. */
const consumer = -1;
const debuggingConsumer = -2;
const latest = -1n;
const earliest = -2n;

/** What a question needs to be sent to the leader of a partition. */
export interface Question extends TopicPartition {
  readonly leaderEpoch: number;
}

/** Leaders that the caller has proven, by `partitionKey`: they are asked in place of those that any broker's metadata names. */
export type GivenLeaders = ReadonlyMap<string, { readonly leader: number; readonly leaderEpoch: number }>;

/** What passes by itself: moved leaders, brokers that start, replicas that are behind. */
const passing = Symbol('passing');

/** Whether trying again later is likely to help: the cluster is out of reach, or was still busy with itself at the last try. */
export function isPassing(error: unknown): boolean {
  return error instanceof CutoverError && (error.code === 'CLUSTER_UNREACHABLE' || error.cause === passing);
}

/** A failure that passes by itself. */
export function passingFailure(detail: Detail, code: Code = 'KAFKA_REQUEST_FAILED'): CutoverError {
  return new CutoverError(code, detail, { cause: passing });
}

interface LeaderAnswer extends TopicPartition {
  readonly errorCode: number;
}

/**
 * Asks the leader of each partition and asks again where the answer is one of those that pass (a moved leader, a
 * topic that the broker does not know yet), `roundsMax` times.
 *
 * @param ask one request to one broker; the answer may leave partitions out, which are asked again
 * @throws CutoverError TOPIC_MISSING, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function askLeaders<Answer extends LeaderAnswer>(
  cluster: Cluster,
  partitions: readonly TopicPartition[],
  what: string,
  ask: (brokerId: number, questions: readonly Question[]) => Promise<readonly Answer[]>,
  given: GivenLeaders = new Map(),
): Promise<Map<string, Answer>> {
  const done = new Map<string, Answer>();
  let open = [...new Map(partitions.map((p) => [partitionKey(p.topic, p.partition), p])).values()];
  let lastError: CutoverError | undefined;
  for (let round = 0; open.length > 0; round++) {
    if (round === roundsMax || (round === roundsOfGivenMax && given.size > 0)) throw lastError;
    if (round > 0) await sleep(roundPauseMs);
    const metadata = await cluster.metadata([...new Set(open.map((p) => p.topic))]);
    const byLeader = new Map<number, Question[]>();
    for (const { topic, partition } of open) {
      const found = given.get(partitionKey(topic, partition)) ?? metadata.topics.get(topic)?.partitions[partition];
      if (!found) {
        lastError = new CutoverError('TOPIC_MISSING', {
          what: `${what}: no such partition, or not visible to us`,
          where: `cluster ${cluster.name}, ${partitionKey(topic, partition)}`,
        });
      } else if (found.leader < 0) {
        lastError = passingFailure({
          what: `${what}: the partition has no leader`,
          where: `cluster ${cluster.name}, ${partitionKey(topic, partition)}`,
        });
      } else {
        const questions = byLeader.get(found.leader) ?? [];
        questions.push({ topic, partition, leaderEpoch: found.leaderEpoch });
        byLeader.set(found.leader, questions);
      }
    }
    await Promise.all(
      [...byLeader].map(async ([brokerId, questions]) => {
        let answers: readonly Answer[];
        try {
          answers = await ask(brokerId, questions);
        } catch (error) {
          if (!(error instanceof CutoverError) || !error.retryable) throw error;
          lastError = error;
          return;
        }
        for (const answer of answers) {
          const key = partitionKey(answer.topic, answer.partition);
          if (answer.errorCode === 0) {
            done.set(key, answer);
            continue;
          }
          const where = `cluster ${cluster.name}, ${key}`;
          if (!isRetriableKafkaError(answer.errorCode)) refuseKafkaError(answer.errorCode, what, where);
          lastError = passingFailure({ what, where, found: kafkaErrorName(answer.errorCode) });
        }
      }),
    );
    open = open.filter((p) => !done.has(partitionKey(p.topic, p.partition)));
    lastError ??= passingFailure({ what: `${what}: no answer`, where: `cluster ${cluster.name}` });
  }
  return done;
}

/**
 * One offset of each partition, by `partitionKey`.
 *
 * The leader epoch of the metadata goes along, because with `logEnd` any replica answers and a follower's log may be shorter.
 *
 * @throws CutoverError TOPIC_MISSING, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function listOffsets(
  cluster: Cluster,
  partitions: readonly TopicPartition[],
  which: OffsetKind,
  given?: GivenLeaders,
): Promise<Map<string, bigint>> {
  const answers = await askOffsets(cluster, partitions, which, given);
  return new Map([...answers].map(([key, { offset }]) => [key, offset]));
}

export interface Stamped {
  readonly offset: bigint;
  /** Milliseconds since 1970. */
  readonly timestamp: bigint;
}

/** The first record that is not older than `timestampMs`, by `partitionKey`; partitions without one are left out. Throws as `listOffsets`. */
export async function firstStamped(
  cluster: Cluster,
  partitions: readonly TopicPartition[],
  timestampMs: bigint,
): Promise<Map<string, Stamped>> {
  const answers = await askOffsets(cluster, partitions, { timestampMs });
  return new Map([...answers].filter(([, { offset }]) => offset >= 0n));
}

function askOffsets(cluster: Cluster, partitions: readonly TopicPartition[], which: OffsetKind, given?: GivenLeaders) {
  const timestamp = typeof which === 'object' ? which.timestampMs : which === 'start' ? earliest : latest;
  const replica = which === 'logEnd' ? debuggingConsumer : consumer;
  const isolation = which === 'lastStable' ? 1 : 0;
  const label = `asking for ${typeof which === 'string' ? which : `the offset at ${timestamp}`}`;
  const ask = async (broker: number, questions: readonly Question[]) => {
    const topics = groupByTopic(questions).map(({ topic, items }) => ({
      name: topic,
      partitions: items.map((q) => ({
        partitionIndex: q.partition,
        currentLeaderEpoch: q.leaderEpoch,
        timestamp,
      })),
    }));
    const answer = await cluster.call({ broker }, listOffsetsV7.api, replica, isolation, topics);
    return answer.topics.flatMap((t) =>
      t.partitions.map((p) => ({
        topic: t.name,
        partition: p.partitionIndex,
        errorCode: p.errorCode,
        offset: p.offset,
        timestamp: p.timestamp,
      })),
    );
  };
  return askLeaders(cluster, partitions, label, ask, given);
}

/** Requests name each topic once, with all its partitions. */
export function groupByTopic<Item extends TopicPartition>(
  items: readonly Item[],
): { readonly topic: string; readonly items: Item[] }[] {
  const topics = new Map<string, Item[]>();
  for (const item of items) {
    const list = topics.get(item.topic);
    if (list) list.push(item);
    else topics.set(item.topic, [item]);
  }
  return [...topics].map(([topic, list]) => ({ topic, items: list }));
}
