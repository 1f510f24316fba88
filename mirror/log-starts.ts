/** Deleting what lies below an offset: filler of trimmed heads, and what retention took from the log that is read. */
import { deleteRecordsV2 } from '@platformatic/kafka';
import type { Cluster } from '../kafka/cluster.ts';
import { isRetriableKafkaError, refuseKafkaError } from '../kafka/kafka-errors.ts';
import { groupByTopic, partitionKey, type TopicPartition } from '../kafka/offsets.ts';

const deleteTimeoutMs = 10_000;

export interface NewStart extends TopicPartition {
  readonly leader: number;
  /** Everything below is deleted. */
  readonly offset: bigint;
}

/**
 * @returns by `partitionKey` the new log start; left out where a leader is moving, to be tried again
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs DELETE on the topic), KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function moveLogStarts(cluster: Cluster, starts: readonly NewStart[]): Promise<Map<string, bigint>> {
  const moved = new Map<string, bigint>();
  await Promise.all(
    [...Map.groupBy(starts, (start) => start.leader)].map(async ([broker, list]) => {
      const topics = groupByTopic(list).map(({ topic, items }) => ({
        name: topic,
        partitions: items.map(({ partition, offset }) => ({ partitionIndex: partition, offset })),
      }));
      const answer = await cluster.call({ broker }, deleteRecordsV2.api, topics, deleteTimeoutMs);
      for (const { name, partitions } of answer.topics) {
        for (const { partitionIndex, errorCode, lowWatermark } of partitions) {
          const key = partitionKey(name, partitionIndex);
          if (errorCode === 0) moved.set(key, lowWatermark);
          else if (!isRetriableKafkaError(errorCode)) {
            refuseKafkaError(errorCode, 'cannot move the log start', `cluster ${cluster.name}, ${key}`);
          }
        }
      }
    }),
  );
  return moved;
}
