/** Two real clusters, topics with batches of our own making, and what a log holds. */
import assert from 'node:assert/strict';
import { after } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import { decodeRecords, encodeBatch, type NewBatch, type RecordBatch, readBatches } from '../../kafka/batches.ts';
import { Cluster } from '../../kafka/cluster.ts';
import type { Role } from '../../kafka/clusters.ts';
import { listOffsets, partitionKey } from '../../kafka/offsets.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import type { KafkaRecord } from '../../kafka/record.ts';
import { createTopic } from '../../kafka/topics.ts';
import { rawFetch, rawProduce } from '../../kafka/wire.ts';
import type { MirrorPartition } from '../../mirror/mirror.ts';
import type { Stack } from '../../stack/stack.ts';
import { sharedStack, type TestStack, uniqueName } from '../support/stack.ts';

export interface Pair {
  readonly stack: Stack;
  readonly source: Cluster;
  readonly target: Cluster;
  readonly connect: (side: 'source' | 'target', role: Role) => Promise<Cluster>;
}

/** Settings of a topic while it is mirrored into. */
export const mirroredConfigs = {
  'cleanup.policy': 'delete',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'message.timestamp.before.max.ms': '9223372036854775807',
  'message.timestamp.after.max.ms': '9223372036854775807',
};

export async function openPair(started: Promise<TestStack> = sharedStack()): Promise<Pair> {
  const { stack, clusters } = await started;
  const opened: Cluster[] = [];
  // At the top of a file: a hook's own `after` would run when the hook ends.
  after(async () => {
    for (const cluster of opened) await cluster.close();
  });
  const connect = async (side: 'source' | 'target', role: Role) => {
    const cluster = await Cluster.connect(clusters.cluster(side === 'source' ? 'legacy' : 'next'), { as: role });
    opened.push(cluster);
    return cluster;
  };
  return { stack, connect, source: await connect('source', 'own'), target: await connect('target', 'own') };
}

export interface TopicPair {
  readonly topic: string;
  readonly partitions: MirrorPartition[];
}

/** The same topic on both clusters, and a mirror's partitions for it. */
export async function createTopicPair(
  { source, target }: Pair,
  options: {
    readonly partitions?: number;
    readonly sourceConfigs?: Record<string, string>;
    readonly targetConfigs?: Record<string, string>;
    readonly otherProducerId?: bigint;
  } = {},
): Promise<TopicPair> {
  const topic = uniqueName('mirror');
  const count = options.partitions ?? 1;
  await makeTopic(source, topic, count, { 'retention.ms': '-1', ...options.sourceConfigs });
  await makeTopic(target, topic, count, { ...mirroredConfigs, ...options.targetConfigs });
  const topicId = (await source.metadata([topic])).topics.get(topic)?.topicId ?? '';
  const partitions: MirrorPartition[] = [];
  for (let partition = 0; partition < count; partition++) {
    const producerId = await allocateProducerId(target);
    partitions.push({ topic, topicId, partition, producerId, otherProducerId: options.otherProducerId ?? null });
  }
  return { topic, partitions };
}

export async function makeTopic(
  cluster: Cluster,
  name: string,
  partitions: number,
  configs: Record<string, string>,
): Promise<void> {
  await createTopic(cluster, { name, partitions, replicationFactor: 1, configs });
  // Leaders are known to every broker a moment later.
  await listOffsets(
    cluster,
    Array.from({ length: partitions }, (_, partition) => ({ topic: name, partition })),
    'logEnd',
  );
}

/** Appends one batch, made as asked for; gives its base offset. */
export function append(cluster: Cluster, topic: string, partition: number, batch: NewBatch): Promise<bigint> {
  return appendRaw(cluster, topic, partition, encodeBatch(batch));
}

export async function appendRaw(
  cluster: Cluster,
  topic: string,
  partition: number,
  batch: RecordBatch,
): Promise<bigint> {
  const [answer] = await cluster.call({ broker: await leaderOf(cluster, topic, partition) }, rawProduce, {
    timeoutMs: 10_000,
    topics: [{ topic, partitions: [{ partition, records: [batch.bytes] }] }],
  });
  if (answer?.errorCode !== 0) throw new Error(`error ${answer?.errorCode}: ${answer?.errorMessage}`);
  return answer.baseOffset;
}

/** The stack's clusters have one broker each, unless a test starts its own. */
export async function leaderOf(cluster: Cluster, topic: string, partition = 0): Promise<number> {
  if (cluster.brokers.length === 1) return cluster.brokers[0]?.id ?? -1;
  return (await cluster.metadata([topic])).topics.get(topic)?.partitions[partition]?.leader ?? -1;
}

/** Every batch from `from` (the log start by default) to the high watermark. */
export async function readLog(cluster: Cluster, topic: string, partition = 0, from?: bigint): Promise<RecordBatch[]> {
  const key = partitionKey(topic, partition);
  const end = (await listOffsets(cluster, [{ topic, partition }], 'highWatermark')).get(key) as bigint;
  let offset = from ?? ((await listOffsets(cluster, [{ topic, partition }], 'start')).get(key) as bigint);
  const leader = await leaderOf(cluster, topic, partition);
  const batches: RecordBatch[] = [];
  while (offset < end) {
    const answer = await cluster.call({ broker: leader }, rawFetch, {
      maxWaitMs: 100,
      minBytes: 1,
      maxBytes: 4_194_304,
      isolation: 'readUncommitted',
      topics: [{ topic, partitions: [{ partition, fetchOffset: offset, maxBytes: 4_194_304 }] }],
    });
    const [fetched] = answer.partitions;
    if (fetched?.errorCode !== 0) throw new Error(`error ${fetched?.errorCode}`);
    for (const batch of readBatches(fetched.records)) {
      batches.push(batch);
      offset = batch.nextOffset;
    }
  }
  return batches;
}

/** Every record from `from` (the log start by default) to the high watermark. */
export async function readRecords(
  cluster: Cluster,
  topic: string,
  partition = 0,
  from?: bigint,
): Promise<KafkaRecord[]> {
  const first = from ?? (await offsetsOf(cluster, topic, partition).start());
  const batches = await readLog(cluster, topic, partition, first);
  // The first batch may begin below, where a head was cut away.
  const visible = batches.filter((batch) => !batch.isControl);
  return visible.flatMap((batch) => decodeRecords(batch)).filter((record) => record.offset >= first);
}

/** One line a record: node's own difference of thousands of buffers takes minutes. */
export function printed(records: readonly KafkaRecord[]): string[] {
  const text = (bytes: Buffer | null) => (bytes === null ? 'null' : JSON.stringify(bytes.toString('latin1')));
  return records.map(({ offset, timestamp, key, value, headers }) => {
    const pairs = headers.map((header) => `${text(header.key)}=${text(header.value)}`);
    return `${offset} @${timestamp} ${text(key)}: ${text(value)} [${pairs.join(', ')}]`;
  });
}

/** Fails at the first record that differs. */
export function assertEqualRecords(found: readonly KafkaRecord[], wanted: readonly KafkaRecord[]): void {
  const left = printed(found);
  const right = printed(wanted);
  const at = right.findIndex((line, i) => line !== left[i]);
  if (at >= 0) assert.equal(left[at]?.slice(0, 500), right[at]?.slice(0, 500));
  assert.equal(left.length, right.length);
}

/** `count` records whose values name their number, with keys, headers and nulls mixed in. */
export function variedRecords(count: number, first = 0, valueBytes = 20): NewBatch['records'] {
  return Array.from({ length: count }, (_, i) => {
    const n = first + i;
    return {
      timestamp: 1_700_000_000_000n + BigInt(n) + BigInt((n * 7919) % 5_000) - 2_500n,
      key: n % 3 === 0 ? null : Buffer.from(`key-${n % 17}`),
      value: n % 5 === 0 ? null : Buffer.from(`${n}`.padEnd(valueBytes, 'v')),
      headers:
        n % 4 === 0
          ? [
              { key: Buffer.from('twice'), value: Buffer.from(`${n}`) },
              { key: Buffer.from('twice'), value: null },
              { key: Buffer.from('twice'), value: Buffer.from('') },
            ]
          : [],
    };
  });
}

export function offsetsOf(cluster: Cluster, topic: string, partition = 0) {
  const places = [{ topic, partition }];
  const key = partitionKey(topic, partition);
  return {
    start: async () => (await listOffsets(cluster, places, 'start')).get(key) as bigint,
    end: async () => (await listOffsets(cluster, places, 'logEnd')).get(key) as bigint,
  };
}

/** kafkajs under the same name as `cluster`. */
export function kafkajsOf(cluster: Cluster): Kafka {
  const { sasl } = cluster.config.credentials.own;
  if (sasl && sasl.mechanism !== 'scram-sha-512') throw new Error('the stack logs in by SCRAM-SHA-512');
  return new Kafka({
    brokers: [...cluster.config.bootstrap],
    logLevel: logLevel.NOTHING,
    ...(sasl && { sasl: { mechanism: 'scram-sha-512', username: sasl.username, password: sasl.password } }),
  });
}

/** An open transaction with three records in it, by kafkajs. */
export async function openTransaction(cluster: Cluster, topic: string) {
  const kafka = kafkajsOf(cluster);
  const producer = kafka.producer({ transactionalId: `tx-${topic}`, maxInFlightRequests: 1, idempotent: true });
  await producer.connect();
  const transaction = await producer.transaction();
  await transaction.send({ topic, messages: ['a', 'b', 'c'].map((value) => ({ value, partition: 0 })) });
  const end = async (how: 'commit' | 'abort') => {
    await transaction[how]();
    await producer.disconnect();
  };
  return { end };
}
