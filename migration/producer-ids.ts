/**
 * The producer ids of both mirrors: one per partition and direction, allocated once on the cluster that
 * the mirror writes, stored, and used again by every process and every run of the same plan. That is
 * what makes a mirror's writes a compare-and-set, and what tells a mirror's batches from applications'.
 */
import type { Direction } from '../contract/status.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { allocateProducerId } from '../kafka/producers.ts';
import { getAllJson, getJson, putJson, type Storage } from './storage.ts';

/** `topic/partition` to producer id, a decimal string as everywhere in JSON. */
type Stored = Record<string, string>;

export type ProducerIds = ReadonlyMap<string, bigint>;

/** Each wave has its own: two that run beside each other never write the same one. */
const prefix = (migration: string, direction: Direction) => `${migration}/producer-ids/${direction}/`;

/** Whose ids they are. */
export interface IdOwner {
  readonly storage: Storage;
  readonly migration: string;
  readonly wave: string;
}

/**
 * The stored ids, with new ones allocated on `into` for partitions that have none yet. Stored before they are returned,
 * so no batch is ever written under an id that the next process would not know.
 */
export async function ensureProducerIds(
  { storage, migration, wave }: IdOwner,
  direction: Direction,
  into: Cluster,
  partitions: readonly TopicPartition[],
): Promise<ProducerIds> {
  const name = `${prefix(migration, direction)}${wave}`;
  const stored = (await getJson<Stored>(storage, name)) ?? {};
  const missing = partitions.map((p) => partitionKey(p.topic, p.partition)).filter((key) => stored[key] === undefined);
  if (missing.length > 0) {
    for (const key of missing) stored[key] = (await allocateProducerId(into)).toString();
    await putJson(storage, name, stored);
  }
  return toMap(stored);
}

/** The stored ids of all waves; empty before `ensureProducerIds`. */
export async function readProducerIds(storage: Storage, migration: string, direction: Direction): Promise<ProducerIds> {
  const stored = await getAllJson<Stored>(storage, prefix(migration, direction));
  return toMap(Object.assign({}, ...stored.map(({ value }) => value)));
}

/** The next `ensureProducerIds` of the wave allocates new ones. */
export async function forgetProducerIds({ storage, migration, wave }: IdOwner, direction: Direction): Promise<void> {
  await putJson(storage, `${prefix(migration, direction)}${wave}`, {});
}

function toMap(stored: Stored): ProducerIds {
  return new Map(Object.entries(stored).map(([key, id]) => [key, BigInt(id)]));
}
