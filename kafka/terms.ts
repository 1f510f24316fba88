/**
 * Terms: the epoch of a transactional id under which nothing is ever written serves as a counter that every process can raise and
 * everybody can read. Kafka keeps it replicated, and raising it is atomic.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { initProducerIdV4 } from '@platformatic/kafka';
import type { Cluster } from './cluster.ts';
import { isRetriableKafkaError, refuseKafkaError } from './kafka-errors.ts';
import { describeTransactions } from './transactions.ts';

/** A coordinator starts again at another producer id, epoch 0, after 32,767 terms or when it has forgotten the id (7 days unused). */
export interface Term {
  readonly producerId: bigint;
  readonly epoch: number;
}

const raisedAtOnce = 16;
const raiseTimeoutMs = 30_000;
const raisePauseMs = 50;
/** Of the transactional ids that have transactions: those for markers, for which milliseconds are enough. */
const transactionTimeoutMs = 60_000;

/**
 * A new term of each transactional id.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs WRITE and DESCRIBE on the ids), KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function raiseTerms(cluster: Cluster, transactionalIds: readonly string[]): Promise<Map<string, Term>> {
  const raised = new Map<string, Term>();
  const queue = [...transactionalIds];
  await Promise.all(
    Array.from({ length: Math.min(raisedAtOnce, queue.length) }, async () => {
      for (let id = queue.shift(); id !== undefined; id = queue.shift()) raised.set(id, await raiseTerm(cluster, id));
    }),
  );
  return raised;
}

async function raiseTerm(cluster: Cluster, transactionalId: string): Promise<Term> {
  const deadline = Date.now() + raiseTimeoutMs;
  for (;;) {
    const destination = { transactionalId };
    const answer = await cluster.call(
      destination,
      initProducerIdV4.api,
      transactionalId,
      transactionTimeoutMs,
      -1n,
      -1,
    );
    if (answer.errorCode === 0) return { producerId: answer.producerId, epoch: answer.producerEpoch };
    // CONCURRENT_TRANSACTIONS: two at once, or the coordinator still writes the last one down.
    if (!isRetriableKafkaError(answer.errorCode) || Date.now() > deadline) {
      const where = `cluster ${cluster.name}, transactional id ${transactionalId}`;
      refuseKafkaError(answer.errorCode, 'cannot raise the term', where);
    }
    await sleep(raisePauseMs);
  }
}

/** Transactional ids whose term is no longer this one: somebody raised it, or the coordinator has forgotten it. */
export async function overtakenTerms(cluster: Cluster, ours: ReadonlyMap<string, Term>): Promise<Set<string>> {
  const now = await describeTransactions(cluster, [...ours.keys()]);
  const lost = [...ours].filter(([id, { producerId, epoch }]) => {
    const current = now.get(id);
    return current?.producerId !== producerId || current.producerEpoch !== epoch;
  });
  return new Set(lost.map(([id]) => id));
}
