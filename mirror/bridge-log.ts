/** What bridges keep on the target, read and written: the topic of their maps, and partitions that they read one answer at a time. */
import { CutoverError } from '../contract/errors.ts';
import { encodeBatch } from '../kafka/batches.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { isRetriableKafkaError, kafkaError, kafkaErrorName } from '../kafka/kafka-errors.ts';
import { listOffsets, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import type { KafkaRecord } from '../kafka/record.ts';
import { createTopic } from '../kafka/topics.ts';
import { type RawFetchedPartition, rawFetch, rawProduce } from '../kafka/wire.ts';
import { AuditLog } from './audit-log.ts';
import { BridgeMap } from './bridge-map.ts';

/** On the target; compacted, one partition. */
export const bridgeTopic = '__kafka_cutover_bridge';

export const deadLetterOf = (plan: string): string => `kafka-cutover.${plan}.dead-letter`;
const replicasMax = 3;

/** The two topics of the target that a bridge needs beside those that it carries to; those that are there stay as they are. */
export async function createBridgeTopics(target: Cluster, deadLetter: string): Promise<void> {
  const replicationFactor = Math.min(replicasMax, target.brokers.length);
  const topic = { partitions: 1, replicationFactor };
  await createTopic(target, { ...topic, name: bridgeTopic, configs: { 'cleanup.policy': 'compact' } });
  // A record that is older than the retention must lie there for as long as a new one.
  await createTopic(target, { ...topic, name: deadLetter, configs: { 'message.timestamp.type': 'LogAppendTime' } });
}

/** One answer; what one transaction carries at most. */
const fetchBytesMax = 524_288;
const fetchWaitMs = 300;
export const produceTimeoutMs = 20_000;
/** Until other partitions' transactions, which may be open in front of what we look for, have ended. */
const mapReadMaxMs = 90_000;
/** In one batch. */
const forgottenAtOnce = 1_000;
const place = { topic: bridgeTopic, partition: 0 };
const placeKey = partitionKey(place.topic, place.partition);

/** The map of one bridge, which goes on where it was read last. */
export class BridgeMapReader {
  readonly map: BridgeMap;
  readonly #target: Cluster;
  readonly #log = new AuditLog(place.topic, place.partition);
  #begun = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(target: Cluster, name: string, options: { readonly positionsAlone?: boolean } = {}) {
    this.map = new BridgeMap(name, options);
    this.#target = target;
  }

  /**
   * All that bridges of this name had committed, or begun to commit, when this was called.
   *
   * @throws CutoverError CLUSTER_UNREACHABLE where a transaction stays open for longer than 90 s; KAFKA_REQUEST_FAILED
   */
  async refresh(signal: AbortSignal): Promise<BridgeMap> {
    // One after the other, each with an end of the log of its own: what an earlier call saw may be too old for a later one.
    const reading = this.#last.then(() => this.#read(signal));
    this.#last = reading.catch(() => {});
    await reading;
    return this.map;
  }

  async #read(signal: AbortSignal): Promise<void> {
    const log = this.#log;
    const end = (await listOffsets(this.#target, [place], 'logEnd')).get(placeKey) ?? 0n;
    if (!this.#begun) {
      const start = (await listOffsets(this.#target, [place], 'start')).get(placeKey) ?? 0n;
      log.begin(start, start, start);
      this.#begun = true;
    }
    const until = performance.now() + mapReadMaxMs;
    while (log.readTo < end) {
      signal.throwIfAborted();
      const answer = await fetchOnce(this.#target, place, log.nextFetch, fetchWaitMs);
      log.take(answer, answer.records.length === 0);
      for (; log.peek(); log.pass()) {
        const { key, value } = log.record();
        if (!log.aborted && key) this.map.take(key.toString(), value?.toString() ?? null);
      }
      if (performance.now() <= until) continue;
      throw new CutoverError('CLUSTER_UNREACHABLE', {
        what: 'what bridges have committed cannot be read to its end: a transaction stays open',
        where: `cluster ${this.#target.name}, ${placeKey}`,
        found: `offset ${log.readTo}`,
        wanted: `offset ${end}`,
      });
    }
  }
}

/** @throws CutoverError as `BridgeMapReader.refresh` does */
export async function readBridgeMap(target: Cluster, name: string, signal: AbortSignal): Promise<BridgeMap> {
  return new BridgeMapReader(target, name).refresh(signal);
}

/** All that is known of these topics of the source: their copies are others now. */
export async function forgetTopics(
  target: Cluster,
  name: string,
  topics: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<void> {
  const keys = (await readBridgeMap(target, name, signal)).keysOf(topics);
  const timestamp = BigInt(Date.now());
  for (let from = 0; from < keys.length; from += forgottenAtOnce) {
    const records = keys
      .slice(from, from + forgottenAtOnce)
      .map((key) => ({ timestamp, key: Buffer.from(key), value: null }));
    const [answer] = await target.call({ broker: await leaderOf(target, place) }, rawProduce, {
      timeoutMs: produceTimeoutMs,
      topics: [
        { topic: place.topic, partitions: [{ partition: place.partition, records: [encodeBatch({ records }).bytes] }] },
      ],
    });
    const code = answer?.errorCode ?? -1;
    if (code === 0) continue;
    forgetLeaders(target);
    throw new CutoverError(isRetriableKafkaError(code) ? 'CLUSTER_UNREACHABLE' : 'KAFKA_REQUEST_FAILED', {
      what: 'the map of an earlier bridge cannot be forgotten',
      where: `cluster ${target.name}, ${placeKey}`,
      found: kafkaErrorName(code),
    });
  }
}

/** Committed records of one answer; where the next one begins; and where the log ends. */
export async function readOnce(
  cluster: Cluster,
  place: TopicPartition,
  from: bigint,
): Promise<{ readonly records: readonly KafkaRecord[]; readonly next: bigint; readonly end: bigint }> {
  const answer = await fetchOnce(cluster, place, from, fetchWaitMs);
  const log = new AuditLog(place.topic, place.partition);
  log.begin(from, from, answer.logStartOffset);
  log.take(answer, answer.records.length === 0);
  const records: KafkaRecord[] = [];
  for (; log.peek(); log.pass()) if (!log.aborted) records.push(log.record());
  return { records, next: log.readTo, end: answer.highWatermark };
}

/** Committed records alone, and which were aborted. */
async function fetchOnce(
  cluster: Cluster,
  place: TopicPartition,
  offset: bigint,
  maxWaitMs: number,
): Promise<RawFetchedPartition> {
  const { topic, partition } = place;
  const answer = await cluster.call({ broker: await leaderOf(cluster, place) }, rawFetch, {
    maxWaitMs,
    minBytes: 1,
    maxBytes: fetchBytesMax,
    isolation: 'readCommitted',
    topics: [{ topic, partitions: [{ partition, fetchOffset: offset, maxBytes: fetchBytesMax }] }],
  });
  const [found] = answer.partitions;
  const code = answer.errorCode || (found?.errorCode ?? kafkaError.unknownTopicOrPartition);
  if (found && code === 0) return found;
  forgetLeaders(cluster);
  const where = `cluster ${cluster.name}, ${partitionKey(topic, partition)}`;
  throw new CutoverError(isRetriableKafkaError(code) ? 'CLUSTER_UNREACHABLE' : 'KAFKA_REQUEST_FAILED', {
    what: 'cannot read',
    where,
    found: kafkaErrorName(code),
  });
}

/** Asked for once; forgotten with the first error, of whichever partition. */
const leaders = new WeakMap<Cluster, Map<string, number>>();

export function forgetLeaders(cluster: Cluster): void {
  leaders.delete(cluster);
}

export async function leaderOf(cluster: Cluster, { topic, partition }: TopicPartition): Promise<number> {
  const known = leaders.get(cluster) ?? new Map<string, number>();
  leaders.set(cluster, known);
  const key = partitionKey(topic, partition);
  const found = known.get(key);
  if (found !== undefined) return found;
  const leader = (await cluster.metadata([topic])).topics.get(topic)?.partitions[partition]?.leader ?? -1;
  if (leader < 0) {
    throw new CutoverError('CLUSTER_UNREACHABLE', {
      what: 'the partition has no leader',
      where: `cluster ${cluster.name}, ${key}`,
    });
  }
  known.set(key, leader);
  return leader;
}
