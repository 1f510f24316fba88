/**
 * The producer ids of both mirrors: one per partition and direction, allocated once on the cluster that
 * the mirror writes, stored, and used again by every process and every run of the same plan. That is
 * what makes a mirror's writes a compare-and-set, and what tells a mirror's batches from applications'.
 */
import type { Direction } from '../contract/status.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { allocateProducerId } from '../kafka/producers.ts';
import { getJson, putJson, type Storage } from './storage.ts';

/** `topic/partition` to producer id, a decimal string as everywhere in JSON. */
type Stored = Record<string, string>;

export type ProducerIds = ReadonlyMap<string, bigint>;

const artifact = (migration: string, direction: Direction) => `${migration}/producer-ids/${direction}`;

/**
 * The stored ids, with new ones allocated on `into` for partitions that have none yet. Stored before they are returned,
 * so no batch is ever written under an id that the next process would not know.
 */
export async function ensureProducerIds(
  storage: Storage,
  migration: string,
  direction: Direction,
  into: Cluster,
  partitions: readonly TopicPartition[],
): Promise<ProducerIds> {
  const stored = (await getJson<Stored>(storage, artifact(migration, direction))) ?? {};
  const missing = partitions.map((p) => partitionKey(p.topic, p.partition)).filter((key) => stored[key] === undefined);
  if (missing.length > 0) {
    for (const key of missing) stored[key] = (await allocateProducerId(into)).toString();
    await putJson(storage, artifact(migration, direction), stored);
  }
  return toMap(stored);
}

/** The stored ids; empty before `ensureProducerIds`. */
export async function readProducerIds(storage: Storage, migration: string, direction: Direction): Promise<ProducerIds> {
  return toMap((await getJson<Stored>(storage, artifact(migration, direction))) ?? {});
}

/** The next `ensureProducerIds` allocates new ones. */
export async function forgetProducerIds(storage: Storage, migration: string, direction: Direction): Promise<void> {
  await putJson(storage, artifact(migration, direction), {});
}

function toMap(stored: Stored): ProducerIds {
  return new Map(Object.entries(stored).map(([key, id]) => [key, BigInt(id)]));
}
