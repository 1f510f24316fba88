/**
 * Producers in words, for whoever must find and stop one. Kafka tells no client address of a producer: its id, epoch, last sequence and
 * time, and the transactional id where it has one, are all that brokers know.
 */

import type { Cluster } from '../kafka/cluster.ts';
import { partitionOf } from '../kafka/offsets.ts';
import { describeProducers, type ProducerState, producersAreTold } from '../kafka/producers.ts';
import { listTransactions } from '../kafka/transactions.ts';

/** Producer ids by `topic/partition`; -1n for producers without an id. */
export type Writers = ReadonlyMap<string, ReadonlySet<bigint>>;

/** Producers that one line names. */
const shownMax = 3;

/**
 * One line a partition: `orders/1: written by producer 4711 (epoch 0, last sequence 12, last record stamped 2026-11-22T01:00:00.000Z)`.
 *
 * @throws CutoverError as `describeProducers`, `listTransactions`
 */
export async function describeWriters(cluster: Cluster, writers: Writers): Promise<string[]> {
  const known = await statesOf(cluster, [...writers.keys()]);
  const transactions = await transactionalIds(cluster);
  return [...writers].map(([key, ids]) => {
    const states = new Map((known.get(key) ?? []).map((state) => [state.producerId, state]));
    const who = [...ids].map((id) => sayProducer(id, states.get(id), transactions.get(id)));
    return `${key}: written by ${listed(who)}`;
  });
}

/**
 * Producers that the partitions remember, one line a partition that has some: they wrote nothing meanwhile, which proves nothing by itself.
 *
 * @param but producers that are not applications' or that are named already
 */
export async function describeIdle(cluster: Cluster, keys: readonly string[], but: Writers): Promise<string[]> {
  const known = await statesOf(cluster, keys);
  const transactions = await transactionalIds(cluster);
  return keys.flatMap((key) => {
    const idle = (known.get(key) ?? [])
      .filter(({ producerId }) => !but.get(key)?.has(producerId))
      .sort((a, b) => Number(b.lastTimestamp - a.lastTimestamp))
      .map((state) => sayProducer(state.producerId, state, transactions.get(state.producerId)));
    return idle.length > 0 ? [`${key}: idle ${listed(idle)}`] : [];
  });
}

/** `producer 4711 (epoch 0, last sequence 12, last record stamped 2026-11-22T01:00:00.000Z, transactional id billing-1)`. */
function sayProducer(id: bigint, state: ProducerState | undefined, transactionalId: string | undefined): string {
  if (id < 0n) return 'a producer without an id';
  const told = [
    ...(state
      ? [
          `epoch ${state.epoch}`,
          `last sequence ${state.lastSequence}`,
          `last record stamped ${new Date(Number(state.lastTimestamp)).toISOString()}`,
        ]
      : []),
    ...(transactionalId ? [`transactional id ${transactionalId}`] : []),
  ];
  return `producer ${id}${told.length > 0 ? ` (${told.join(', ')})` : ''}`;
}

/** Empty where brokers are too old to tell. */
async function statesOf(cluster: Cluster, keys: readonly string[]): Promise<ReadonlyMap<string, ProducerState[]>> {
  return (await producersAreTold(cluster)) ? describeProducers(cluster, keys.map(partitionOf)) : new Map();
}

async function transactionalIds(cluster: Cluster): Promise<ReadonlyMap<bigint, string>> {
  return new Map((await listTransactions(cluster)).map((t) => [t.producerId, t.transactionalId]));
}

function listed(who: readonly string[]): string {
  const more = who.length > shownMax ? ` and ${who.length - shownMax} more` : '';
  return `${who.slice(0, shownMax).join(', ')}${more}`;
}
