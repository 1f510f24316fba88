/** Transactions as their coordinators know them, and how a cutover ends one. */
import {
  addPartitionsToTxnV3,
  describeTransactionsV0,
  endTxnV3,
  findCoordinatorV4,
  initProducerIdV4,
  listTransactionsV0,
} from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';
import { everyBrokerServes } from './broker-versions.ts';
import type { Cluster } from './cluster.ts';
import { kafkaErrorName, refuseKafkaError } from './kafka-errors.ts';
import type { TopicPartition } from './offsets.ts';
import { adminRetryTimeoutMs, answered, pause, retryPauseMs } from './waiting.ts';

export interface ListedTransaction {
  readonly transactionalId: string;
  readonly producerId: bigint;
  /** Kafka's own word: Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort... */
  readonly state: string;
}

export interface DescribedTransaction extends ListedTransaction {
  readonly producerEpoch: number;
  readonly timeoutMs: number;
  /** Milliseconds since 1970; -1 when none is open. */
  readonly startedAtMs: number;
  /** Partitions that the open transaction names; empty once complete. */
  readonly partitions: readonly { readonly topic: string; readonly partition: number }[];
}

/** Ids in one request. */
const batchMax = 200;
/** COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR. */
const coordinatorMoved: ReadonlySet<number> = new Set([14, 15, 16]);
const transactionalIdNotFound = 105;
/** Another operation on the transaction is under way. */
const concurrentTransactions = 51;

/** Whether nothing of this transaction is still to be written to a partition. */
export const isEnded = (state: string): boolean =>
  state === 'Empty' || state === 'CompleteCommit' || state === 'CompleteAbort' || state === 'Dead';

/** False before Kafka 3.0: open transactions then have no names, and terms cannot be read. */
export async function transactionsAreTold(cluster: Cluster): Promise<boolean> {
  return everyBrokerServes(cluster, describeTransactionsV0.api.key, 0);
}

/**
 * Every transactional id that a live broker coordinates, as far as our principal may DESCRIBE it. Empty where `transactionsAreTold` is false.
 *
 * @throws CutoverError KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function listTransactions(cluster: Cluster): Promise<ListedTransaction[]> {
  const { brokers } = await cluster.metadata([]);
  if (!(await transactionsAreTold(cluster))) return [];
  const lists = await Promise.all(
    brokers.map(({ id }) =>
      answered(
        'cannot list transactions',
        `cluster ${cluster.name}, broker ${id}`,
        () => cluster.call({ broker: id }, listTransactionsV0.api, [], [], -1n, null),
        ({ errorCode }) => ({ code: errorCode }),
      ),
    ),
  );
  return lists
    .flatMap((answer) => answer.transactionStates)
    .map((t) => ({
      transactionalId: t.transactionalId,
      producerId: t.producerId,
      state: t.transactionState,
    }));
}

/**
 * State and partitions per transactional id; ids that no coordinator knows are left out.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED naming the id, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function describeTransactions(
  cluster: Cluster,
  transactionalIds: readonly string[],
): Promise<Map<string, DescribedTransaction>> {
  const found = new Map<string, DescribedTransaction>();
  const deadline = Date.now() + adminRetryTimeoutMs;
  let left = [...new Set(transactionalIds)];
  while (left.length > 0) {
    const again: string[] = [];
    const byBroker = new Map<number, string[]>();
    for (let i = 0; i < left.length; i += batchMax) {
      const answer = await cluster.call('any', findCoordinatorV4.api, 1, left.slice(i, i + batchMax));
      for (const { key, nodeId, errorCode } of answer.coordinators) {
        if (coordinatorMoved.has(errorCode)) again.push(key);
        else {
          refuseKafkaError(errorCode, 'no coordinator', where(cluster, key));
          byBroker.set(nodeId, [...(byBroker.get(nodeId) ?? []), key]);
        }
      }
    }
    await Promise.all(
      [...byBroker].map(async ([broker, ids]) => {
        for (let i = 0; i < ids.length; i += batchMax) {
          const batch = ids.slice(i, i + batchMax);
          try {
            again.push(...(await describeAt(cluster, broker, batch, found)));
          } catch (error) {
            if (!(error instanceof CutoverError) || error.code !== 'CLUSTER_UNREACHABLE') throw error;
            again.push(...batch);
          }
        }
      }),
    );
    left = again;
    if (left.length > 0 && Date.now() > deadline) {
      throw new CutoverError('KAFKA_REQUEST_FAILED', {
        what: 'transaction coordinators do not answer',
        where: `cluster ${cluster.name}`,
        found: left.slice(0, 5).join(', '),
      });
    }
    if (left.length > 0) await pause(retryPauseMs);
  }
  return found;
}

/**
 * Ends whatever is open under this transactional id, as a new incarnation of its producer would: InitProducerId
 * fences the old one and aborts what it left open. Waits until the coordinator says that it is complete, that is
 * until every marker is written. A transaction that was already committing is completed, not aborted.
 *
 * @throws CutoverError TRANSACTION_STUCK after `timeoutMs` (20 s by default), CLUSTER_ACCESS_DENIED (needs WRITE on the
 *   transactional id), KAFKA_REQUEST_FAILED
 */
export async function endTransaction(
  cluster: Cluster,
  transactionalId: string,
  options: { readonly timeoutMs?: number } = {},
): Promise<void> {
  const timeoutMs = options.timeoutMs ?? 20_000;
  const deadline = Date.now() + timeoutMs;
  let state = '';
  for (;;) {
    const described = (await describeTransactions(cluster, [transactionalId])).get(transactionalId);
    if (!described || isEnded(described.state)) return;
    state = described.state;
    if (Date.now() > deadline) break;
    // Only an open one needs the push; one that is being completed needs time, and a second InitProducerId would
    // only raise the epoch once more.
    if (state === 'Ongoing') await fence(cluster, transactionalId, described.timeoutMs);
    else await pause(retryPauseMs);
  }
  throw new CutoverError('TRANSACTION_STUCK', {
    what: `the transaction did not end within ${timeoutMs} ms`,
    where: where(cluster, transactionalId),
    found: state,
    wanted: 'CompleteCommit or CompleteAbort',
  });
}

/** An incarnation of a producer with a transactional id. */
export interface TransactionalProducer {
  readonly id: string;
  readonly producerId: bigint;
  readonly epoch: number;
}

/**
 * AddPartitionsToTxn v3 (Kafka 2.8 to 4.3): begins a transaction, where none is open, that ends with a marker in the partition.
 *
 * @returns Kafka's error number; 51 CONCURRENT_TRANSACTIONS while the one before is being ended. Needs WRITE on the id and on the topic
 * @throws CutoverError CLUSTER_UNREACHABLE, KAFKA_REQUEST_FAILED
 */
export async function addToTransaction(
  cluster: Cluster,
  { id, producerId, epoch }: TransactionalProducer,
  { topic, partition }: TopicPartition,
): Promise<number> {
  const topics = [{ name: topic, partitions: [partition] }];
  const transaction = { transactionalId: id, producerId, producerEpoch: epoch, verifyOnly: false, topics };
  const answer = await cluster.call({ transactionalId: id }, addPartitionsToTxnV3.api, [transaction]);
  return answer.resultsByTransaction[0]?.topicResults[0]?.resultsByPartition[0]?.partitionErrorCode ?? -1;
}

/**
 * EndTxn v3 (2.8 to 4.3; the version that raises no epoch): the coordinator logs the abort, answers, and then writes the markers.
 *
 * @returns Kafka's error number
 * @throws CutoverError CLUSTER_UNREACHABLE, KAFKA_REQUEST_FAILED
 */
export async function abortTransaction(cluster: Cluster, producer: TransactionalProducer): Promise<number> {
  const { id, producerId, epoch } = producer;
  return (await cluster.call({ transactionalId: id }, endTxnV3.api, id, producerId, epoch, false)).errorCode;
}

/**
 * EndTxn v3: the coordinator logs the commit, answers, and then writes the markers. Sent twice it answers the same.
 *
 * @returns Kafka's error number
 * @throws CutoverError CLUSTER_UNREACHABLE, KAFKA_REQUEST_FAILED; then nobody knows whether it was committed
 */
export async function commitTransaction(cluster: Cluster, producer: TransactionalProducer): Promise<number> {
  const { id, producerId, epoch } = producer;
  return (await cluster.call({ transactionalId: id }, endTxnV3.api, id, producerId, epoch, true)).errorCode;
}

async function fence(cluster: Cluster, transactionalId: string, transactionTimeoutMs: number): Promise<void> {
  const answer = await cluster.call(
    { transactionalId },
    initProducerIdV4.api,
    transactionalId,
    transactionTimeoutMs,
    -1n,
    -1,
  );
  if (answer.errorCode === 0 || answer.errorCode === concurrentTransactions) return;
  refuseKafkaError(answer.errorCode, 'cannot end the transaction', where(cluster, transactionalId));
}

async function describeAt(
  cluster: Cluster,
  broker: number,
  ids: string[],
  found: Map<string, DescribedTransaction>,
): Promise<string[]> {
  const answer = await cluster.call({ broker }, describeTransactionsV0.api, ids);
  const again: string[] = [];
  for (const t of answer.transactionStates) {
    if (t.errorCode === transactionalIdNotFound) continue;
    if (coordinatorMoved.has(t.errorCode)) {
      again.push(t.transactionalId);
      continue;
    }
    refuseKafkaError(
      t.errorCode,
      `cannot describe the transaction: ${kafkaErrorName(t.errorCode)}`,
      where(cluster, t.transactionalId),
    );
    found.set(t.transactionalId, {
      transactionalId: t.transactionalId,
      producerId: t.producerId,
      producerEpoch: t.producerEpoch,
      state: t.transactionState,
      timeoutMs: t.transactionTimeoutMs,
      startedAtMs: Number(t.transactionStartTimeMs),
      partitions: t.topics.flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, partition }))),
    });
  }
  return again;
}

function where(cluster: Cluster, transactionalId: string): string {
  return `cluster ${cluster.name}, transactional id ${transactionalId}`;
}
