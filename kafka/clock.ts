/** What time it is on a cluster. No request asks for it, but the leader of the metadata quorum says when it last caught up with itself: now. */
import { describeQuorumV1 } from '@platformatic/kafka';
import { everyBrokerServes } from './broker-versions.ts';
import type { Cluster } from './cluster.ts';

export interface ClockOffset {
  /** Milliseconds that the cluster's active controller is ahead of us; negative: behind. */
  readonly aheadMs: number;
  /** The truth lies within so many milliseconds on either side: half of what the answer took. */
  readonly uncertainMs: number;
}

const metadataLog = [{ topicName: '__cluster_metadata', partitions: [{ partitionIndex: 0 }] }];

/**
 * Null where it cannot be told: with ZooKeeper, before Kafka 3.3 (KIP-836), or without DESCRIBE on the cluster. Of the active controller alone;
 * other brokers' clocks show in no answer.
 */
export async function controllerClock(cluster: Cluster): Promise<ClockOffset | null> {
  const { key, version } = describeQuorumV1.api;
  if (!(await everyBrokerServes(cluster, key, version))) return null;
  const askedAt = Date.now();
  const answer = await cluster.call('any', describeQuorumV1.api, metadataLog);
  const answeredAt = Date.now();
  const log = answer.topics[0]?.partitions[0];
  if (answer.errorCode !== 0 || !log || log.errorCode !== 0) return null;
  const leader = log.currentVoters.find((voter) => voter.replicaId === log.leaderId);
  if (!leader || leader.lastCaughtUpTimestamp < 0n) return null;
  return {
    aheadMs: Math.round(Number(leader.lastCaughtUpTimestamp) - (askedAt + answeredAt) / 2),
    uncertainMs: Math.ceil((answeredAt - askedAt) / 2),
  };
}
