/** Producer ids and what partitions remember of them. */

import { setTimeout as sleep } from 'node:timers/promises';
import { describeProducersV0, initProducerIdV4 } from '@platformatic/kafka';
import { everyBrokerServes } from './broker-versions.ts';
import type { Cluster } from './cluster.ts';
import { isRetriableKafkaError, refuseKafkaError } from './kafka-errors.ts';
import { askLeaders, type GivenLeaders, groupByTopic, type Question, type TopicPartition } from './offsets.ts';

export interface ProducerState {
  readonly producerId: bigint;
  readonly epoch: number;
  /** Of the last record of the last batch. */
  readonly lastSequence: number;
  /** Milliseconds since 1970, of the last batch's records: what expiry goes by. */
  readonly lastTimestamp: bigint;
  readonly coordinatorEpoch: number;
  /** -1n when no transaction is open. */
  readonly currentTxnStartOffset: bigint;
}

/** False before Kafka 2.8: `describeProducers` is refused as VERSION_UNSUPPORTED. */
export async function producersAreTold(cluster: Cluster): Promise<boolean> {
  return everyBrokerServes(cluster, describeProducersV0.api.key, 0);
}

const allocateAttemptsMax = 40;
const allocatePauseMs = 150;

/**
 * A producer id that nobody has had before, at epoch 0.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs IDEMPOTENT_WRITE on the cluster or WRITE on any topic),
 *   KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function allocateProducerId(cluster: Cluster): Promise<bigint> {
  for (let attempt = 1; ; attempt++) {
    const answer = await cluster.call('any', initProducerIdV4.api, null, 0, -1n, -1);
    if (answer.errorCode === 0) return answer.producerId;
    // A broker that has just started waits for its first block of ids.
    if (attempt === allocateAttemptsMax || !isRetriableKafkaError(answer.errorCode)) {
      refuseKafkaError(answer.errorCode, 'allocating a producer id', `cluster ${cluster.name}`);
    }
    await sleep(allocatePauseMs);
  }
}

/**
 * The producers that each partition's leader remembers, by `partitionKey`. They reflect the log end, not the high watermark.
 *
 * @throws CutoverError TOPIC_MISSING, CLUSTER_ACCESS_DENIED (needs READ on the topic), KAFKA_REQUEST_FAILED,
 *   CLUSTER_UNREACHABLE
 */
export async function describeProducers(
  cluster: Cluster,
  partitions: readonly TopicPartition[],
  given?: GivenLeaders,
): Promise<Map<string, ProducerState[]>> {
  const ask = async (broker: number, questions: readonly Question[]) => {
    const topics = groupByTopic(questions).map(({ topic, items }) => ({
      name: topic,
      partitionIndexes: items.map((q) => q.partition),
    }));
    const answer = await cluster.call({ broker }, describeProducersV0.api, topics);
    return answer.topics.flatMap((t) =>
      t.partitions.map((p) => ({
        topic: t.name,
        partition: p.partitionIndex,
        errorCode: p.errorCode,
        producers: p.activeProducers,
      })),
    );
  };
  const answers = await askLeaders(cluster, partitions, 'describing producers', ask, given);
  return new Map(
    [...answers].map(([key, { producers }]) => [
      key,
      producers.map((p) => ({
        producerId: p.producerId,
        epoch: p.producerEpoch,
        lastSequence: p.lastSequence,
        lastTimestamp: p.lastTimestamp,
        coordinatorEpoch: p.coordinatorEpoch,
        currentTxnStartOffset: p.currentTxnStartOffset,
      })),
    ]),
  );
}
