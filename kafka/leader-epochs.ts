/** Where leaders' epochs end in a log: it shows what an unclean election has cut off, whatever was written since (KIP-101, KIP-320). */
import { offsetForLeaderEpochV4 } from '@platformatic/kafka';
import type { Cluster } from './cluster.ts';
import { askLeaders, groupByTopic, partitionKey, type TopicPartition } from './offsets.ts';

const consumer = -1;

/**
 * By `partitionKey`, where the first record of a newer epoch than `leaderEpoch` stands, or the log end where there is none. Left out where the
 * leader cannot tell: logs whose older formats name no epochs.
 *
 * @throws CutoverError TOPIC_MISSING, CLUSTER_ACCESS_DENIED (needs DESCRIBE on the topic), KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function leaderEpochEnds(
  cluster: Cluster,
  partitions: readonly (TopicPartition & { readonly leaderEpoch: number })[],
): Promise<Map<string, bigint>> {
  const wanted = new Map(partitions.map((p) => [partitionKey(p.topic, p.partition), p.leaderEpoch]));
  const answers = await askLeaders(
    cluster,
    partitions,
    "asking where a leader's epoch ends",
    async (broker, questions) => {
      const topics = groupByTopic(questions).map(({ topic, items }) => ({
        name: topic,
        partitions: items.map((q) => ({
          partitionIndex: q.partition,
          currentLeaderEpoch: q.leaderEpoch,
          leaderEpoch: wanted.get(partitionKey(topic, q.partition)) ?? -1,
        })),
      }));
      const answer = await cluster.call({ broker }, offsetForLeaderEpochV4.api, consumer, topics);
      return answer.topics.flatMap((t) => t.partitions.map((p) => ({ ...p, topic: t.topic })));
    },
  );
  return new Map([...answers].flatMap(([key, { endOffset }]) => (endOffset < 0n ? [] : [[key, endOffset] as const])));
}
