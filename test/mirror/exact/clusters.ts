/** The two clusters of a stack, and topics that are written on one and mirrored to the other. */
import { readFileSync } from 'node:fs';
import { Cluster } from '../../../kafka/cluster.ts';
import { parseClusters } from '../../../kafka/clusters.ts';
import { allocateProducerId } from '../../../kafka/producers.ts';
import { createTopic } from '../../../kafka/topics.ts';
import type { MirrorPartition } from '../../../mirror/mirror.ts';
import type { Stack } from '../../../stack/stack.ts';
import { mirroredConfigs } from '../support.ts';
import { roomyTopic } from './log-writer.ts';

export interface Clusters extends AsyncDisposable {
  readonly stack: Stack;
  readonly source: Cluster;
  readonly target: Cluster;
}

/** Broker settings of a target that keeps aborted records: their batches come without a coordinator (Kafka 3.6 and later ask for one). */
export const keepsAborted = { 'transaction.partition.verification.enable': 'false' };

export async function openClusters(stack: Stack): Promise<Clusters> {
  const file = parseClusters(readFileSync(stack.clustersFile, 'utf8'), stack.clustersFile, stack.env);
  const source = await Cluster.connect(file.cluster('legacy'));
  const target = await Cluster.connect(file.cluster('next'));
  const close = async () => {
    await source.close();
    await target.close();
  };
  return { stack, source, target, [Symbol.asyncDispose]: close };
}

export interface MirroredTopic {
  readonly topic: string;
  readonly partitions: readonly MirrorPartition[];
}

let topics = 0;

/** The same empty topic on both clusters, with the stack's own replication factor, and what a mirror of it is given. */
export async function createTopics(
  { source, target }: Clusters,
  options: {
    readonly partitions: number;
    readonly keepAborted: boolean;
    /** On the target; as many as it has brokers by default. */
    readonly replicationFactor?: number;
    readonly sourceConfigs?: Record<string, string>;
  },
): Promise<MirroredTopic> {
  const topic = `exact-${process.pid}-${topics++}`;
  const { partitions: count, keepAborted } = options;
  const sourceConfigs = { ...roomyTopic, ...options.sourceConfigs };
  const targetConfigs = { ...mirroredConfigs, 'max.message.bytes': '2000000' };
  const create = (
    cluster: Cluster,
    configs: Record<string, string>,
    replicationFactor: number = cluster.brokers.length,
  ) => {
    return createTopic(cluster, { name: topic, partitions: count, replicationFactor, configs });
  };
  await Promise.all([create(source, sourceConfigs), create(target, targetConfigs, options.replicationFactor)]);
  const partitions: MirrorPartition[] = [];
  for (let partition = 0; partition < count; partition++) {
    const producerId = await allocateProducerId(target);
    partitions.push({ topic, topicId: '', partition, producerId, otherProducerId: null, keepAborted });
  }
  return { topic, partitions };
}
