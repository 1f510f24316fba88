/**
 * The order of each partition's replicas, in which Kafka elects leaders: read before a mirror may move leaders (`moveLeaders` changes it), and
 * put back afterwards.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Cluster, PartitionMetadata } from './cluster.ts';
import { newestMetadata, reorderReplicas } from './leadership.ts';
import { partitionKey, type TopicPartition } from './offsets.ts';
import { pause } from './waiting.ts';

/** Plain data. */
export interface ReplicaOrder extends TopicPartition {
  /** Broker ids; the first one is the preferred leader. */
  readonly replicas: readonly number[];
  readonly leader: number;
}

/** In one request; a controller changes 10,000 things at once at most. */
const partitionsAtOnce = 500;
/** How long an order that was put back may take to be seen. Measured: 60 to 180 ms. */
const seenTimeoutMs = 10_000;
const seenPauseMs = 50;

/**
 * Of every partition with more than one replica; topics that are not there are left out.
 *
 * @throws CutoverError CLUSTER_UNREACHABLE
 */
export async function replicaOrders(cluster: Cluster, topics: readonly string[]): Promise<ReplicaOrder[]> {
  const { topics: found } = await cluster.metadata(topics);
  const partitions = [...found.values()].flatMap(({ name, partitions: of }) =>
    of.map(({ partition }) => ({ topic: name, partition })),
  );
  const newest = await newestMetadata(cluster, partitions);
  return partitions.flatMap(({ topic, partition }) => {
    const { replicas = [], leader = -1 } = newest.get(partitionKey(topic, partition)) ?? {};
    return replicas.length > 1 ? [{ topic, partition, replicas: [...replicas], leader }] : [];
  });
}

/**
 * Puts orders back where they are others, and the leader where it was the preferred one. Partitions that have got other replicas since are left
 * alone: somebody moved them on purpose. Where everything is as wanted nothing is sent, so no right is needed.
 *
 * @returns whether anything had to be sent
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs ALTER on the cluster), KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function restoreReplicaOrders(cluster: Cluster, orders: readonly ReplicaOrder[]): Promise<boolean> {
  const first = await newestMetadata(cluster, orders);
  const changed = orders.filter((order) => isMoved(order, first.get(keyOf(order))));
  const failures: unknown[] = [];
  for (let i = 0; i < changed.length; i += partitionsAtOnce) {
    await restore(cluster, changed.slice(i, i + partitionsAtOnce)).catch((error) => failures.push(error));
  }
  if (failures.length > 0) throw failures[0];
  return changed.length > 0;
}

async function restore(cluster: Cluster, orders: readonly ReplicaOrder[]): Promise<void> {
  let refused: unknown;
  try {
    await reorderReplicas(cluster, orders);
  } catch (error) {
    // A preferred leader that is not in sync now cannot be elected; the order stands all the same, and Kafka goes by it from then on.
    refused = error;
  }
  const deadline = performance.now() + seenTimeoutMs;
  for (;;) {
    const now = await newestMetadata(cluster, orders);
    const still = orders.filter((order) => isReordered(order, now.get(keyOf(order))));
    if (still.length === 0) return;
    if (refused !== undefined) throw refused;
    if (performance.now() > deadline) {
      const [one] = still as [ReplicaOrder];
      throw new CutoverError('KAFKA_REQUEST_FAILED', {
        what: 'replicas were not put back in their order',
        where: `cluster ${cluster.name}, ${keyOf(one)}${still.length > 1 ? ` and ${still.length - 1} more` : ''}`,
        found: now.get(keyOf(one))?.replicas.join(', ') ?? 'nothing',
        wanted: one.replicas.join(', '),
      });
    }
    await pause(seenPauseMs);
  }
}

function isReordered({ replicas }: ReplicaOrder, now: PartitionMetadata | undefined): boolean {
  if (!now || now.replicas.length !== replicas.length) return false;
  const sameMembers = replicas.every((id) => now.replicas.includes(id));
  return sameMembers && replicas.some((id, index) => now.replicas[index] !== id);
}

/** An order in force does not say who leads: an attempt may have ended between putting it back and the election. */
function isMoved(order: ReplicaOrder, now: PartitionMetadata | undefined): boolean {
  if (isReordered(order, now)) return true;
  const [preferred] = order.replicas;
  if (!now || preferred === undefined || now.replicas[0] !== preferred) return false;
  return order.leader === preferred && now.leader !== preferred && now.inSyncReplicas.includes(preferred);
}

const keyOf = (order: TopicPartition) => partitionKey(order.topic, order.partition);
