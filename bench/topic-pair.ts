/** The topics of a row: one that is read, and a fresh one to be written in each run. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../kafka/cluster.ts';
import { listOffsets, partitionKey } from '../kafka/offsets.ts';
import { createTopic, deleteTopic, partitionSizes } from '../kafka/topics.ts';

/** Keep everything, take every timestamp: what prepare-target gives a topic while it is mirrored into. */
const configs = {
  'cleanup.policy': 'delete',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'max.message.bytes': '4194304',
};
const timestampLimits = {
  'message.timestamp.before.max.ms': '9223372036854775807',
  'message.timestamp.after.max.ms': '9223372036854775807',
};

export interface NamedPartition {
  readonly topic: string;
  readonly partition: number;
}

export function partitionsOf(topic: string, count: number): NamedPartition[] {
  return Array.from({ length: count }, (_, partition) => ({ topic, partition }));
}

export async function createSourceTopic(cluster: Cluster, topic: string, partitions: number): Promise<void> {
  await createTopic(cluster, { name: topic, partitions, replicationFactor: 1, configs });
  await listOffsets(cluster, partitionsOf(topic, partitions), 'logEnd');
}

/** With as many replicas as the cluster has brokers. */
export async function createTargetTopic(cluster: Cluster, topic: string, partitions: number): Promise<void> {
  const { brokers } = await cluster.metadata([]);
  const replicationFactor = brokers.length;
  await createTopic(cluster, {
    name: topic,
    partitions,
    replicationFactor,
    configs: { ...configs, ...timestampLimits },
  });
  // Leaders are known to every broker a moment later.
  await listOffsets(cluster, partitionsOf(topic, partitions), 'logEnd');
}

export async function removeTopic(cluster: Cluster, topic: string): Promise<void> {
  await deleteTopic(cluster, topic);
}

/** High watermarks by partition number: what a consumer can read. */
export async function readableEnds(cluster: Cluster, topic: string, partitions: number): Promise<bigint[]> {
  const places = partitionsOf(topic, partitions);
  const ends = await listOffsets(cluster, places, 'highWatermark');
  return places.map((place) => ends.get(partitionKey(place.topic, place.partition)) ?? 0n);
}

/** Looks at the ends again and again until `done` says so. @throws Error when `timeoutMs` passed first */
export async function watchEnds(
  cluster: Cluster,
  topic: string,
  partitions: number,
  watch: {
    readonly everyMs: () => number;
    readonly timeoutMs: number;
    readonly done: (ends: readonly bigint[]) => boolean;
  },
): Promise<void> {
  const deadline = performance.now() + watch.timeoutMs;
  for (;;) {
    const ends = await readableEnds(cluster, topic, partitions);
    if (watch.done(ends)) return;
    if (performance.now() > deadline)
      throw new Error(`${topic} stands at ${ends.join(', ')} after ${watch.timeoutMs} ms`);
    await sleep(watch.everyMs());
  }
}

/** Bytes of a topic's logs as they lie on the leaders' disks. */
export async function logBytes(cluster: Cluster, topic: string): Promise<number> {
  const found = (await cluster.metadata([topic])).topics.get(topic);
  const sizes = found && (await partitionSizes(cluster, [found]));
  if (!sizes) throw new Error(`${topic} tells no sizes`);
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}
