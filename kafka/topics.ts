/** Topics and their settings: read, create, alter, delete; each change awaited on every live broker. */
import {
  createPartitionsV3,
  createTopicsV7,
  deleteTopicsV6,
  describeConfigsV4,
  describeLogDirsV2,
  incrementalAlterConfigsV1,
  metadataV12,
} from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';
import type { Cluster, TopicMetadata } from './cluster.ts';
import { kafkaError, kafkaErrorName, refuseKafkaError } from './kafka-errors.ts';
import { answered, awaited, onEveryBroker } from './waiting.ts';

export interface ConfigEntry {
  /** Null when the broker hides it (passwords, settings of plug-ins). */
  readonly value: string | null;
  /** Where the value in force comes from; `topic` is an explicit setting of the topic. */
  readonly source: 'topic' | 'broker-dynamic' | 'cluster-dynamic' | 'broker-static' | 'default';
  readonly readOnly: boolean;
  readonly sensitive: boolean;
}

export interface NewTopic {
  readonly name: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly configs: Readonly<Record<string, string>>;
}

export interface ConfigChange {
  readonly set: Readonly<Record<string, string>>;
  readonly unset: readonly string[];
}

/** Topics asked for in one DescribeConfigs request. */
const describeBatchMax = 1_000;
/** What the broker may take for a create or delete before it answers REQUEST_TIMED_OUT. */
const brokerTimeoutMs = 15_000;

const notController = 41;
/** A quota on changes (KIP-599) holds us back. */
const throttlingQuotaExceeded = 89;

export const configResource = { topic: 2, broker: 4 } as const;
/** ConfigSource of DescribeConfigs. */
const sources: Readonly<Record<number, ConfigEntry['source']>> = {
  1: 'topic',
  2: 'broker-dynamic',
  3: 'cluster-dynamic',
  4: 'broker-static',
  5: 'default',
};

/**
 * All settings in force per topic, explicit and inherited. Topics that do not exist are left out.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs DESCRIBE_CONFIGS), KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function topicConfigs(
  cluster: Cluster,
  topics: readonly string[],
): Promise<Map<string, Map<string, ConfigEntry>>> {
  const found = new Map<string, Map<string, ConfigEntry>>();
  for (let i = 0; i < topics.length; i += describeBatchMax) {
    const batch = topics.slice(i, i + describeBatchMax);
    const described = await describeConfigs(cluster, 'any', configResource.topic, batch);
    for (const [name, configs] of described) found.set(name, configs);
  }
  return found;
}

/**
 * Settings of one broker, by default of the first live one. Plug-in settings (`super.users`) are listed but hidden.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs DESCRIBE_CONFIGS on the cluster)
 */
export async function brokerConfigs(cluster: Cluster, brokerId?: number): Promise<Map<string, ConfigEntry>> {
  const broker = brokerId ?? (await cluster.metadata([])).brokers[0]?.id;
  if (broker === undefined) {
    throw new CutoverError('CLUSTER_UNREACHABLE', { what: 'no live broker', where: `cluster ${cluster.name}` });
  }
  const found = await describeConfigs(cluster, { broker }, configResource.broker, [String(broker)]);
  return found.get(String(broker)) ?? new Map();
}

/**
 * Creates a topic and waits until every broker knows it and every partition has a leader. An existing topic is
 * left alone, whatever its shape.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED (such as INVALID_CONFIG, POLICY_VIOLATION)
 */
export async function createTopic(cluster: Cluster, topic: NewTopic): Promise<'created' | 'exists'> {
  const where = `cluster ${cluster.name}, topic ${topic.name}`;
  const answer = await answered(
    'cannot create the topic',
    where,
    () => cluster.call('controller', createTopicsV7.api, [toCreate(topic)], brokerTimeoutMs, false),
    ({ topics }) => ({ code: topics[0]?.errorCode ?? 0, message: topics[0]?.errorMessage ?? null }),
    new Set([kafkaError.topicAlreadyExists]),
  );
  await awaited('a new topic is not visible on every broker', where, () =>
    onEveryBroker(cluster, async ({ id }) => {
      const seen = (await cluster.call({ broker: id }, metadataV12.api, [topic.name], false, false)).topics[0];
      if (seen?.errorCode !== 0) return `broker ${id}: ${kafkaErrorName(seen?.errorCode ?? 3)}`;
      const leaderless = seen.partitions.find((p) => p.leaderId < 0 || p.errorCode === kafkaError.leaderNotAvailable);
      return leaderless ? `broker ${id}: partition ${leaderless.partitionIndex} has no leader` : null;
    }),
  );
  return answer.topics[0]?.errorCode === kafkaError.topicAlreadyExists ? 'exists' : 'created';
}

/** Partitions of new topics in one request: a KRaft controller takes at most 10,000 records for one. */
const validateBatchPartitions = 5_000;
/** Topics whose settings are changed in one request. */
const validateBatchTopics = 1_000;

/**
 * Which topics the cluster would refuse to create as they are, with its own words: settings that it does not know or let us set, replication
 * factors, names, policies. Creates nothing. Topics that exist are not judged; where we may not create it, none is.
 *
 * @throws CutoverError KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function refusedTopics(cluster: Cluster, topics: readonly NewTopic[]): Promise<Judged> {
  const judged = noJudgement();
  for (let at = 0; at < topics.length; ) {
    const batch: NewTopic[] = [];
    for (let partitions = 0; at < topics.length; at++) {
      const topic = topics[at] as NewTopic;
      partitions += topic.partitions;
      if (batch.length > 0 && partitions > validateBatchPartitions) break;
      batch.push(topic);
    }
    const request = batch.map(toCreate);
    const { topics: answers } = await cluster.call('controller', createTopicsV7.api, request, brokerTimeoutMs, true);
    for (const { name, errorCode, errorMessage } of answers) judge(judged, name, errorCode, errorMessage);
  }
  return judged;
}

/** By topic, in the cluster's own words. */
export interface Judged {
  readonly refused: Map<string, string>;
  /** Why it did not say: it is refused to us to ask, or it was busy. */
  readonly unjudged: Map<string, string>;
}

const noJudgement = (): Judged => ({ refused: new Map(), unjudged: new Map() });

function judge(judged: Judged, topic: string, code: number, message: string | null | undefined): void {
  if (fine.has(code)) return;
  const { refused, unjudged } = judged;
  (notJudged.has(code) ? unjudged : refused).set(topic, `${kafkaErrorName(code)}${message ? `: ${message}` : ''}`);
}

/**
 * Which changes of settings the cluster would refuse, by topic, with its own words. Changes nothing. Where we may not change them, none is judged.
 *
 * @throws CutoverError KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function refusedSettings(cluster: Cluster, changes: ReadonlyMap<string, ConfigChange>): Promise<Judged> {
  const judged = noJudgement();
  const all = [...changes];
  for (let i = 0; i < all.length; i += validateBatchTopics) {
    const request = all.slice(i, i + validateBatchTopics).map(([resourceName, change]) => ({
      resourceType: configResource.topic,
      resourceName,
      configs: toAlter(change),
    }));
    const { responses } = await cluster.call('controller', incrementalAlterConfigsV1.api, request, true);
    for (const { resourceName, errorCode, errorMessage } of responses) {
      judge(judged, resourceName, errorCode, errorMessage);
    }
  }
  return judged;
}

/** Whether the authorizer lets us see a topic of that name; it need not exist. */
export async function mayDescribeTopic(cluster: Cluster, topic: string): Promise<boolean> {
  const answer = await cluster.call('any', metadataV12.api, [topic], false, false);
  return answer.topics[0]?.errorCode !== kafkaError.topicAuthorizationFailed;
}

/** Nothing refused; there already, or gone since. */
const fine: ReadonlySet<number> = new Set([0, kafkaError.topicAlreadyExists, kafkaError.unknownTopicOrPartition]);
/** We may not; a controller that moves, or has a quota for us. */
const notJudged: ReadonlySet<number> = new Set([
  kafkaError.topicAuthorizationFailed,
  kafkaError.clusterAuthorizationFailed,
  kafkaError.requestTimedOut,
  notController,
  throttlingQuotaExceeded,
]);

function toCreate(topic: NewTopic) {
  return {
    name: topic.name,
    numPartitions: topic.partitions,
    replicationFactor: topic.replicationFactor,
    assignments: [],
    configs: Object.entries(topic.configs).map(([name, value]) => ({ name, value })),
  };
}

/**
 * Gives a topic more partitions and waits until every broker knows them and each has a leader. One that has as many is left alone.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs ALTER on the topic), TOPIC_MISSING, KAFKA_REQUEST_FAILED
 */
export async function growTopic(cluster: Cluster, name: string, partitions: number): Promise<boolean> {
  const where = `cluster ${cluster.name}, topic ${name}`;
  const before = (await cluster.metadata([name])).topics.get(name);
  if (!before)
    throw new CutoverError('TOPIC_MISSING', { what: 'cannot add partitions to a topic that is gone', where });
  if (before.partitions.length >= partitions) return false;
  await answered(
    'cannot add partitions',
    where,
    () =>
      cluster.call(
        'controller',
        createPartitionsV3.api,
        [{ name, count: partitions, assignments: null }],
        brokerTimeoutMs,
        false,
      ),
    ({ results }) => ({ code: results[0]?.errorCode ?? 0, message: results[0]?.errorMessage ?? null }),
  );
  await awaited('new partitions are not visible on every broker', where, () =>
    onEveryBroker(cluster, async ({ id }) => {
      const seen = (await cluster.call({ broker: id }, metadataV12.api, [name], false, false)).topics[0];
      if (seen?.errorCode !== 0) return `broker ${id}: ${kafkaErrorName(seen?.errorCode ?? 3)}`;
      if (seen.partitions.length < partitions) return `broker ${id}: ${seen.partitions.length} partitions`;
      const leaderless = seen.partitions.find((p) => p.leaderId < 0 || p.errorCode === kafkaError.leaderNotAvailable);
      return leaderless ? `broker ${id}: partition ${leaderless.partitionIndex} has no leader` : null;
    }),
  );
  return true;
}

/**
 * Deletes a topic and waits until no broker knows it. A topic that does not exist is fine.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED
 */
export async function deleteTopic(cluster: Cluster, name: string): Promise<void> {
  const where = `cluster ${cluster.name}, topic ${name}`;
  await answered(
    'cannot delete the topic',
    where,
    () => cluster.call('controller', deleteTopicsV6.api, [{ name, topicId: null }], brokerTimeoutMs),
    ({ responses }) => ({ code: responses[0]?.errorCode ?? 0, message: responses[0]?.errorMessage ?? null }),
    new Set([kafkaError.unknownTopicOrPartition]),
  );
  await awaited('a deleted topic is still known', where, () =>
    onEveryBroker(cluster, async ({ id }) => {
      const seen = (await cluster.call({ broker: id }, metadataV12.api, [name], false, false)).topics[0];
      return seen?.errorCode === 0 ? `broker ${id}` : null;
    }),
  );
}

/**
 * Sets and unsets single settings, leaves the others alone, and waits until every broker shows it.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs ALTER_CONFIGS), TOPIC_MISSING, KAFKA_REQUEST_FAILED
 */
export async function alterTopicConfigs(cluster: Cluster, topic: string, change: ConfigChange): Promise<void> {
  const where = `cluster ${cluster.name}, topic ${topic}`;
  const resource = { resourceType: configResource.topic, resourceName: topic };
  const stopAt = new Set([kafkaError.unknownTopicOrPartition]);
  const code = await sendConfigChange(
    cluster,
    resource,
    { what: 'cannot alter the topic settings', where },
    change,
    stopAt,
  );
  if (code === undefined) return;
  if (code === kafkaError.unknownTopicOrPartition) {
    throw new CutoverError('TOPIC_MISSING', { what: 'cannot alter the settings of a topic that is gone', where });
  }
  await awaited('altered settings are not visible on every broker', where, () =>
    onEveryBroker(cluster, async (broker) => {
      const seen = (await describeConfigs(cluster, { broker: broker.id }, configResource.topic, [topic])).get(topic);
      const missing = seen && configDifference(seen, change);
      return missing === null ? null : `broker ${broker.id}: ${missing ?? 'the topic is not known'}`;
    }),
  );
}

/**
 * Sends a change of single settings of one resource, and does not wait until brokers show it.
 *
 * @param stopAt error codes that are the caller's to judge
 * @returns 0 or one of `stopAt`; undefined where there was nothing to send
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs ALTER_CONFIGS), KAFKA_REQUEST_FAILED
 */
export async function sendConfigChange(
  cluster: Cluster,
  resource: {
    readonly resourceType: (typeof configResource)[keyof typeof configResource];
    readonly resourceName: string;
  },
  { what, where }: { readonly what: string; readonly where: string },
  change: ConfigChange,
  stopAt?: ReadonlySet<number>,
): Promise<number | undefined> {
  const configs = toAlter(change);
  if (configs.length === 0) return undefined;
  const answer = await answered(
    what,
    where,
    () => cluster.call('controller', incrementalAlterConfigsV1.api, [{ ...resource, configs }], false),
    ({ responses }) => ({ code: responses[0]?.errorCode ?? 0, message: responses[0]?.errorMessage ?? null }),
    stopAt,
  );
  return answer.responses[0]?.errorCode ?? 0;
}

function toAlter(change: ConfigChange) {
  return [
    ...Object.entries(change.set).map(([name, value]) => ({ name, configOperation: 0 as const, value })),
    ...change.unset.map((name) => ({ name, configOperation: 1 as const, value: null })),
  ];
}

/**
 * Bytes on disk of each partition's leader replica, by `topic/partition`; null when our principal may not ask
 * (needs DESCRIBE on the cluster). Partitions whose leader is not alive are left out.
 */
export async function partitionSizes(
  cluster: Cluster,
  topics: readonly TopicMetadata[],
): Promise<Map<string, number> | null> {
  const request = topics.map((topic) => ({ name: topic.name, partitions: topic.partitions.map((p) => p.partition) }));
  const leaders = new Map(topics.flatMap((t) => t.partitions.map((p) => [`${t.name}/${p.partition}`, p.leader])));
  const sizes = new Map<string, number>();
  const answers = await Promise.all(
    cluster.brokers.map(async ({ id }) => ({
      id,
      answer: await cluster.call({ broker: id }, describeLogDirsV2.api, request),
    })),
  );
  for (const { id, answer } of answers) {
    if (answer.results.some((result) => result.errorCode === kafkaError.clusterAuthorizationFailed)) return null;
    for (const topic of answer.results.flatMap((result) => result.topics)) {
      for (const p of topic.partitions) {
        const key = `${topic.name}/${p.partitionIndex}`;
        // A future replica is a copy on its way to another disk.
        if (leaders.get(key) === id && !p.isFutureKey) sizes.set(key, Number(p.partitionSize));
      }
    }
  }
  return topics.length > 0 && sizes.size === 0 ? null : sizes;
}

/** What is still to be done for `change` to hold, or null. */
export function configDifference(configs: ReadonlyMap<string, ConfigEntry>, change: ConfigChange): string | null {
  for (const [name, wanted] of Object.entries(change.set)) {
    const entry = configs.get(name);
    if (entry?.source !== 'topic' || !sameConfigValue(entry.value, wanted)) {
      return `${name} is ${entry?.source === 'topic' ? entry.value : 'not set'}, wanted ${wanted}`;
    }
  }
  const still = change.unset.find((name) => configs.get(name)?.source === 'topic');
  return still === undefined ? null : `${still} is still set`;
}

/** Brokers give lists without blanks and numbers in Java's own spelling (`0.50` comes back as `0.5`). */
export function sameConfigValue(a: string | null, b: string | null): boolean {
  if (a === b) return true;
  if (a === null || b === null) return false;
  const list = (text: string) =>
    text
      .split(',')
      .map((item) => item.trim())
      .join(',');
  return list(a) === list(b) || (a.trim() !== '' && b.trim() !== '' && Number(a) === Number(b));
}

/** Settings by the name of a topic or the id of a broker; the name '' is what all brokers share dynamically. */
export async function describeConfigs(
  cluster: Cluster,
  destination: 'any' | { broker: number },
  resourceType: 2 | 4,
  names: readonly string[],
): Promise<Map<string, Map<string, ConfigEntry>>> {
  const found = new Map<string, Map<string, ConfigEntry>>();
  if (names.length === 0) return found;
  const where = `cluster ${cluster.name}`;
  const missing = new Set<number>([kafkaError.unknownTopicOrPartition]);
  const answer = await answered(
    'cannot read settings',
    where,
    () =>
      cluster.call(
        destination,
        describeConfigsV4.api,
        names.map((resourceName) => ({ resourceType, resourceName, configurationKeys: null })),
        false,
        false,
      ),
    ({ results }) => {
      const failed = results.find((r) => r.errorCode !== 0 && !missing.has(r.errorCode));
      return {
        code: failed?.errorCode ?? 0,
        message: failed ? `${failed.resourceName}: ${failed.errorMessage}` : null,
      };
    },
  );
  for (const result of answer.results) {
    if (missing.has(result.errorCode)) continue;
    refuseKafkaError(result.errorCode, 'cannot read settings', `${where}, ${result.resourceName}`);
    found.set(
      result.resourceName,
      new Map(
        result.configs.map((config) => [
          config.name,
          {
            value: config.value ?? null,
            source: sources[config.configSource] ?? 'default',
            readOnly: config.readOnly,
            sensitive: config.isSensitive,
          },
        ]),
      ),
    );
  }
  return found;
}
