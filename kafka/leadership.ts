/** Who leads partitions, as the newest broker knows it, and moving leaders to other in-sync replicas. */
import { alterPartitionReassignmentsV0, createAPI, metadataV12, type Reader, Writer } from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';
import type { Cluster, PartitionMetadata } from './cluster.ts';
import { kafkaError, kafkaErrorName, refuseKafkaError } from './kafka-errors.ts';
import { groupByTopic, isPassing, partitionKey, passingFailure, type TopicPartition } from './offsets.ts';
import { pause } from './waiting.ts';

/** How long a moved leader may take to be known. Measured: 60 to 180 ms, seconds while a broker dies. */
const moveTimeoutMs = 10_000;
const movePauseMs = 20;
const requestTimeoutMs = 10_000;
/** The preferred replica leads already. */
const electionNotNeeded = 84;
const preferredElection = 0;

interface ElectedPartition extends TopicPartition {
  readonly errorCode: number;
  readonly errorMessage: string | null;
}

/** ElectLeaders v2 (KIP-460), preferred replicas. Needs ALTER on the cluster. */
const electPreferredLeaders = createAPI<
  [partitions: readonly TopicPartition[]],
  { readonly errorCode: number; readonly partitions: ElectedPartition[] }
>(
  43,
  2,
  (partitions) =>
    Writer.create()
      .appendInt8(preferredElection)
      .appendArray(groupByTopic(partitions), (writer, { topic, items }) => {
        writer.appendString(topic).appendArray(
          items.map((p) => p.partition),
          (w, partition) => w.appendInt32(partition),
          true,
          false,
        );
      })
      .appendInt32(requestTimeoutMs)
      .appendTaggedFields(),
  (_correlationId, _apiKey, _apiVersion, reader: Reader) => {
    reader.readInt32(); // throttle time
    const errorCode = reader.readInt16();
    const partitions: ElectedPartition[] = [];
    reader.readArray((r) => {
      const topic = r.readString();
      r.readArray(() => {
        partitions.push({
          topic,
          partition: r.readInt32(),
          errorCode: r.readInt16(),
          errorMessage: r.readNullableString() ?? null,
        });
      });
    });
    reader.readTaggedFields();
    return { errorCode, partitions };
  },
);

/**
 * What every reachable broker says of the partitions, the newest leader epoch of each: a broker that has just woken up may not know that
 * another one leads.
 *
 * @throws CutoverError CLUSTER_UNREACHABLE when no broker answers
 */
export async function newestMetadata(
  cluster: Cluster,
  partitions: readonly TopicPartition[],
): Promise<Map<string, PartitionMetadata>> {
  const topics = [...new Set(partitions.map((p) => p.topic))];
  const { brokers } = await cluster.metadata([]);
  const answers = await Promise.allSettled(
    brokers.map(({ id }) => cluster.call({ broker: id }, metadataV12.api, topics, false, false)),
  );
  const newest = new Map<string, PartitionMetadata>();
  for (const answer of answers) {
    if (answer.status === 'rejected') continue;
    for (const topic of answer.value.topics) {
      for (const p of topic.partitions) {
        const key = partitionKey(topic.name ?? '', p.partitionIndex);
        if (p.leaderEpoch <= (newest.get(key)?.leaderEpoch ?? -1)) continue;
        newest.set(key, {
          partition: p.partitionIndex,
          leader: p.leaderId,
          leaderEpoch: p.leaderEpoch,
          replicas: p.replicaNodes,
          inSyncReplicas: p.isrNodes,
        });
      }
    }
  }
  const [failed] = answers.filter((answer) => answer.status === 'rejected');
  if (answers.every((answer) => answer.status === 'rejected') && failed) throw failed.reason;
  return newest;
}

export interface Leadership {
  readonly leader: number;
  readonly leaderEpoch: number;
}

/**
 * Moves each partition's leader to the next in-sync replica, in order of broker ids so that it rotates, and waits until the new
 * leader says so itself. The replica list keeps its members and gets another order, because leaders are elected by it.
 *
 * @param known what `newestMetadata` gave
 * @returns by `partitionKey` the new leader, or why it did not move (one that passes: `isPassing`)
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs ALTER on the cluster), or one that passes
 */
export async function moveLeaders(
  cluster: Cluster,
  partitions: readonly TopicPartition[],
  known: ReadonlyMap<string, PartitionMetadata>,
): Promise<Map<string, Leadership | CutoverError>> {
  const results = new Map<string, Leadership | CutoverError>();
  const moves: Move[] = [];
  for (const { topic, partition } of partitions) {
    const key = partitionKey(topic, partition);
    const before = known.get(key);
    const next = before && nextLeader(before);
    const found = before ? `leader ${before.leader}, in sync ${before.inSyncReplicas.join(', ')}` : 'nothing';
    if (!before || before.leader < 0 || next === undefined) {
      const detail = { what: 'the leader cannot be moved', where: `cluster ${cluster.name}, ${key}`, found };
      results.set(key, passingFailure({ ...detail, wanted: 'a second replica in sync' }));
      continue;
    }
    const replicas = [next, ...before.replicas.filter((id) => id !== next)];
    moves.push({ topic, partition, key, epochBefore: before.leaderEpoch, next, replicas });
  }
  await reorderReplicas(cluster, moves);
  const deadline = performance.now() + moveTimeoutMs;
  for (let open = moves; open.length > 0; ) {
    await Promise.all(
      [...Map.groupBy(open, (move) => move.next)].map(async ([broker, list]) => {
        for (const [key, moved] of await ledBy(cluster, broker, list)) results.set(key, moved);
      }),
    );
    open = open.filter((move) => !results.has(move.key));
    if (open.length > 0 && performance.now() > deadline) {
      for (const { key, next } of open) {
        const where = `cluster ${cluster.name}, ${key}`;
        results.set(key, passingFailure({ what: `the leader did not move to broker ${next}`, where }));
      }
      break;
    }
    if (open.length > 0) await pause(movePauseMs);
  }
  return results;
}

interface Move extends TopicPartition {
  readonly key: string;
  readonly epochBefore: number;
  readonly next: number;
  readonly replicas: readonly number[];
}

/** Those that the broker says it leads now. Its own word: others may know before it does, or not know that it has lost it again. */
async function ledBy(cluster: Cluster, broker: number, moves: readonly Move[]): Promise<Map<string, Leadership>> {
  const topics = [...new Set(moves.map((move) => move.topic))];
  const led = new Map<string, Leadership>();
  try {
    const answer = await cluster.call({ broker }, metadataV12.api, topics, false, false);
    for (const { topic, partition, key, epochBefore } of moves) {
      const found = answer.topics
        .find((candidate) => candidate.name === topic)
        ?.partitions.find((candidate) => candidate.partitionIndex === partition);
      if (found?.leaderId !== broker || found.leaderEpoch <= epochBefore) continue;
      led.set(key, { leader: broker, leaderEpoch: found.leaderEpoch });
    }
  } catch (error) {
    if (!isPassing(error)) throw error;
  }
  return led;
}

/**
 * Gives partitions their replicas in this order and elects the first ones.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs ALTER on the cluster), KAFKA_REQUEST_FAILED
 */
export async function reorderReplicas(
  cluster: Cluster,
  partitions: readonly (TopicPartition & { readonly replicas: readonly number[] })[],
): Promise<void> {
  if (partitions.length === 0) return;
  const where = `cluster ${cluster.name}`;
  const topics = groupByTopic(partitions).map(({ topic, items }) => ({
    name: topic,
    partitions: items.map((p) => ({ partitionIndex: p.partition, replicas: [...p.replicas] })),
  }));
  const reassigned = await cluster.call(
    'controller',
    alterPartitionReassignmentsV0.api,
    requestTimeoutMs,
    false,
    topics,
  );
  refuseKafkaError(reassigned.errorCode, 'cannot reorder replicas', where, reassigned.errorMessage ?? null);
  for (const { name, partitions: answers } of reassigned.responses) {
    for (const { partitionIndex, errorCode, errorMessage } of answers) {
      refuseMove(errorCode, errorMessage ?? null, `${where}, ${partitionKey(name, partitionIndex)}`);
    }
  }
  const elected = await cluster.call('controller', electPreferredLeaders, partitions);
  refuseKafkaError(elected.errorCode, 'cannot elect leaders', where);
  for (const { topic, partition, errorCode, errorMessage } of elected.partitions) {
    if (errorCode !== electionNotNeeded)
      refuseMove(errorCode, errorMessage, `${where}, ${partitionKey(topic, partition)}`);
  }
}

function refuseMove(errorCode: number, message: string | null, where: string): void {
  if (errorCode === 0) return;
  const found = `${kafkaErrorName(errorCode)}${message ? `: ${message}` : ''}`;
  const detail = { what: 'the leader cannot be moved', where, found };
  throw errorCode === kafkaError.clusterAuthorizationFailed
    ? new CutoverError('CLUSTER_ACCESS_DENIED', { ...detail, wanted: 'ALTER on the cluster' })
    : passingFailure(detail);
}

/** The in-sync replica after the leader in the order of broker ids: with three of them a leader comes back at the third move only. */
function nextLeader({ leader, inSyncReplicas }: PartitionMetadata): number | undefined {
  const others = inSyncReplicas.filter((id) => id !== leader).sort((a, b) => a - b);
  return others.find((id) => id > leader) ?? others[0];
}
