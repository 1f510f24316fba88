/**
 * Open transactions at the fence: waited for, then ended. A producer that is fenced by ACL can still commit or abort
 * what it began (that asks for its transactional id, not for the topic), and until it has, the coordinator will write
 * one more marker, which takes an offset.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { listOffsets, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { describeProducers, type ProducerState, producersAreTold } from '../kafka/producers.ts';
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

/** An open transaction that records of ours wait for: nothing behind its first record is mirrored before it has ended. */
export interface HoldingTransaction extends Omit<OpenTransaction, 'transactionalId'> {
  /** Null: no coordinator that lets us DESCRIBE its transactions knows it; if none knows it, it never ends by itself. */
  readonly transactionalId: string | null;
}

export interface TransactionsEnded {
  /** Transactional ids that ended by themselves in time. */
  readonly waitedFor: readonly string[];
  /** Transactional ids that we ended: what was open is aborted. */
  readonly ended: readonly string[];
}

/** Between two looks at who holds the mirror back. */
const holdingEveryMs = 3_000;
/** An application's everyday transaction is over sooner, and holds nothing up. */
const holdingAgeMs = 3_000;
/** A heartbeat, and a status, stay small. */
const holdingShownMax = 5;

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

/**
 * What holds a mirror of these partitions back: transactions with records below which the last stable offset stays, the oldest first. One is
 * looked for only where a partition's last stable offset is below its end.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs READ on the topics), KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function holdingTransactions(
  cluster: Cluster,
  partitions: readonly TopicPartition[],
): Promise<HoldingTransaction[]> {
  const [stable, ends] = await Promise.all([
    listOffsets(cluster, partitions, 'lastStable'),
    listOffsets(cluster, partitions, 'highWatermark'),
  ]);
  const held = partitions.filter((p) => {
    const key = partitionKey(p.topic, p.partition);
    return (stable.get(key) ?? 0n) < (ends.get(key) ?? 0n);
  });
  if (held.length === 0) return [];
  const first = await openProducers(cluster, held);
  const known = new Map((await openTransactions(cluster, held)).map((t) => [t.producerId, t]));
  // One that ended between the two questions is no coordinator's any more, and gone when it is asked for again.
  const isKnown = ({ producer }: OpenProducer) => known.has(producer.producerId);
  const again = first.every(isKnown) ? [] : await openProducers(cluster, held);
  const isStill = ({ key, producer }: OpenProducer) =>
    again.some((a) => a.key === key && a.producer.currentTxnStartOffset === producer.currentTxnStartOffset);
  const open = first.filter((one) => isKnown(one) || isStill(one));
  const holding = new Map<bigint, HoldingTransaction>();
  for (const { key, producer } of open) {
    const { producerId, lastTimestamp } = producer;
    const transaction = known.get(producerId) ?? {
      transactionalId: null,
      producerId,
      state: 'unknown to any coordinator that we may ask',
      ageMs: Math.max(0, Date.now() - Number(lastTimestamp)),
    };
    const others = holding.get(producerId)?.partitions ?? [];
    holding.set(producerId, { ...transaction, partitions: [...others, key] });
  }
  return [...holding.values()].sort((a, b) => b.ageMs - a.ageMs);
}

/** One for each that has been open for a while, naming what it holds; a few of them. */
export function holdingFindings(holding: readonly HoldingTransaction[]): Finding[] {
  const telling = holding.filter((t) => t.ageMs >= holdingAgeMs);
  const found = telling.slice(0, holdingShownMax).map((t) => {
    const [first, ...more] = t.partitions;
    const where = `partition ${first}${more.length > 0 ? ` and ${more.length} more` : ''}`;
    return finding('OPEN_TRANSACTION', where, `${describeOpen(t)}; what stands behind it waits for its end`);
  });
  const rest = telling.length - found.length;
  return rest > 0 ? [...found, finding('OPEN_TRANSACTION', `${rest} more`, 'transactions hold records back')] : found;
}

/** Looks who holds a mirror back, at most every `holdingEveryMs`. */
export class HoldingWatch {
  readonly #cluster: Cluster;
  readonly #partitions: readonly TopicPartition[];
  #nextAtMs = Number.NEGATIVE_INFINITY;
  /** As of the last look. */
  latest: readonly Finding[] = [];

  constructor(cluster: Cluster, partitions: readonly TopicPartition[]) {
    this.#cluster = cluster;
    this.#partitions = partitions;
  }

  /** @throws CutoverError as `holdingTransactions` */
  async look(): Promise<readonly Finding[]> {
    if (performance.now() >= this.#nextAtMs) {
      this.#nextAtMs = performance.now() + holdingEveryMs;
      this.latest = holdingFindings(await holdingTransactions(this.#cluster, this.#partitions));
    }
    return this.latest;
  }
}

/** `transactional id payments-7 (producer 4012) is Ongoing since 48 s`. */
export function describeOpen(
  t: Pick<HoldingTransaction, 'transactionalId' | 'state' | 'ageMs'> & { readonly producerId: bigint | string },
): string {
  const who = t.transactionalId === null ? 'a transaction' : `transactional id ${t.transactionalId}`;
  return `${who} (producer ${t.producerId}) is ${t.state} since ${Math.round(t.ageMs / 1000)} s`;
}

interface OpenProducer {
  /** `partitionKey` */
  readonly key: string;
  readonly producer: ProducerState;
}

/** Producers with an open transaction in a partition, as the partitions themselves know them. */
async function openProducers(cluster: Cluster, partitions: readonly TopicPartition[]): Promise<OpenProducer[]> {
  // The last stable offset stands in the way of a boundary all the same.
  if (!(await producersAreTold(cluster))) return [];
  return [...(await describeProducers(cluster, partitions))].flatMap(([key, producers]) =>
    producers.filter((p) => p.currentTxnStartOffset >= 0n).map((producer) => ({ key, producer })),
  );
}

/** A transaction that a partition holds open and no coordinator knows would never end by itself. */
async function refuseHanging(cluster: Cluster, partitions: readonly TopicPartition[]): Promise<void> {
  const hanging = (await openProducers(cluster, partitions)).map(
    ({ key, producer }) =>
      `${key}: producer ${producer.producerId}, open since offset ${producer.currentTxnStartOffset}`,
  );
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
