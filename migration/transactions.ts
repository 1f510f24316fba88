/**
 * Open transactions at the fence: waited for, then ended. A producer that is fenced by ACL can still commit or abort
 * what it began (that asks for its transactional id, not for the topic), and until it has, the coordinator will write
 * one more marker, which takes an offset.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { describeProducers } from '../kafka/producers.ts';
import {
  type DescribedTransaction,
  describeTransactions,
  endTransaction,
  isEnded,
  listTransactions,
} from '../kafka/transactions.ts';

export interface OpenTransaction {
  readonly transactionalId: string;
  readonly producerId: bigint;
  readonly state: string;
  readonly ageMs: number;
  /** Those of ours that it names, `topic/partition`. */
  readonly partitions: readonly string[];
}

export interface TransactionsEnded {
  /** Transactional ids that ended by themselves in time. */
  readonly waitedFor: readonly string[];
  /** Transactional ids that we ended: what was open is aborted. */
  readonly ended: readonly string[];
}

const pollMs = 100;
/** Of the time left, what ending and awaiting one transaction may take. */
const endTimeoutMs = 10_000;

/**
 * Transactions that name one of the partitions and are not complete.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function openTransactions(
  cluster: Cluster,
  partitions: readonly TopicPartition[],
): Promise<OpenTransaction[]> {
  const ours = new Set(partitions.map((p) => partitionKey(p.topic, p.partition)));
  const listed = (await listTransactions(cluster)).filter((t) => !isEnded(t.state));
  const described = await describeTransactions(
    cluster,
    listed.map((t) => t.transactionalId),
  );
  return [...described.values()]
    .filter((t) => !isEnded(t.state))
    .map((t) => ({ ...summary(t), partitions: named(t).filter((key) => ours.has(key)) }))
    .filter((t) => t.partitions.length > 0);
}

/**
 * Waits until no transaction names the partitions, at most `waitMs`, then ends those that are left through their
 * coordinators and awaits their completion.
 *
 * @throws CutoverError TRANSACTION_STUCK naming each transaction or hanging producer, FENCE_EXPIRED
 */
export async function endTransactions(
  cluster: Cluster,
  partitions: readonly TopicPartition[],
  options: { readonly waitMs: number; readonly deadlineMs: number; readonly signal?: AbortSignal },
): Promise<TransactionsEnded> {
  const waitUntil = Math.min(Date.now() + options.waitMs, options.deadlineMs);
  const first = await openTransactions(cluster, partitions);
  let open = first;
  while (open.length > 0 && Date.now() < waitUntil) {
    await sleep(pollMs, undefined, options.signal && { signal: options.signal });
    open = await openTransactions(cluster, partitions);
  }
  const left = open.map((t) => t.transactionalId);
  if (left.length > 0 && Date.now() >= options.deadlineMs) throw stuck(cluster, open);
  for (const { transactionalId } of open) {
    const timeoutMs = Math.max(1, Math.min(endTimeoutMs, options.deadlineMs - Date.now()));
    await endTransaction(cluster, transactionalId, { timeoutMs });
  }
  const still = left.length > 0 ? await openTransactions(cluster, partitions) : [];
  if (still.length > 0) throw stuck(cluster, still);
  await refuseHanging(cluster, partitions);
  return { waitedFor: first.map((t) => t.transactionalId).filter((id) => !left.includes(id)), ended: left };
}

/** A transaction that a partition holds open and no coordinator knows would never end by itself. */
async function refuseHanging(cluster: Cluster, partitions: readonly TopicPartition[]): Promise<void> {
  const hanging: string[] = [];
  for (const [key, producers] of await describeProducers(cluster, partitions)) {
    for (const producer of producers) {
      if (producer.currentTxnStartOffset >= 0n) {
        hanging.push(`${key}: producer ${producer.producerId}, open since offset ${producer.currentTxnStartOffset}`);
      }
    }
  }
  if (hanging.length === 0) return;
  throw new CutoverError('TRANSACTION_STUCK', {
    what: 'partitions hold transactions open that no coordinator knows',
    where: `cluster ${cluster.name}`,
    found: hanging.slice(0, 5).join('; '),
    next: 'Abort them with `kafka-transactions.sh abort`, then retry.',
  });
}

function stuck(cluster: Cluster, open: readonly OpenTransaction[]): CutoverError {
  const lines = open
    .slice(0, 5)
    .map((t) => `${t.transactionalId} (${t.state}, ${t.ageMs} ms, on ${t.partitions.slice(0, 3).join(', ')})`);
  return new CutoverError('TRANSACTION_STUCK', {
    what: 'transactions on the fenced partitions did not end',
    where: `cluster ${cluster.name}`,
    found: `${lines.join('; ')}${open.length > 5 ? ` and ${open.length - 5} more` : ''}`,
  });
}

function summary(t: DescribedTransaction): Omit<OpenTransaction, 'partitions'> {
  const ageMs = t.startedAtMs < 0 ? 0 : Math.max(0, Date.now() - t.startedAtMs);
  return { transactionalId: t.transactionalId, producerId: t.producerId, state: t.state, ageMs };
}

const named = (t: DescribedTransaction): string[] => t.partitions.map((p) => partitionKey(p.topic, p.partition));
