/**
 * Which producers the ownership ids of a mirror stand for (mirror/ownership.ts): its markers and the aborted records that it keeps are
 * written under them, so they tell its batches from others' as its own producer ids do.
 *
 * A coordinator gives an id another producer after 32,767 terms, or once it has forgotten the id; so what was seen is stored.
 */

import { CutoverError } from '../contract/errors.ts';
import type { Direction } from '../contract/status.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { isPassing, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { describeTransactions } from '../kafka/transactions.ts';
import { endOwnership, idsOfOwner, ownershipId } from '../mirror/ownership.ts';
import { getJson, putJson, type Storage } from './storage.ts';

/** Producer ids by `topic/partition`; decimal strings when stored. */
export type Owners = ReadonlyMap<string, ReadonlySet<bigint>>;

const artifact = (migration: string, direction: Direction) => `${migration}/owners/${direction}`;

/**
 * Asks the coordinators and adds what was seen before.
 *
 * @param into the cluster that the mirror of the direction writes
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs DESCRIBE on the ownership ids), KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function readOwners(
  storage: Storage,
  migration: string,
  direction: Direction,
  into: Cluster,
  partitions: readonly TopicPartition[],
): Promise<Owners> {
  const stored = (await getJson<Record<string, string[]>>(storage, artifact(migration, direction))) ?? {};
  const now = await describeTransactions(into, partitions.flatMap(idsOfOwner));
  let seen = 0;
  for (const p of partitions) {
    const key = partitionKey(p.topic, p.partition);
    for (const id of idsOfOwner(p)) {
      const producerId = now.get(id)?.producerId;
      const known = stored[key] ?? [];
      if (producerId === undefined || known.includes(String(producerId))) continue;
      stored[key] = [...known, String(producerId)];
      seen++;
    }
  }
  if (seen > 0) await putJson(storage, artifact(migration, direction), stored);
  return new Map(Object.entries(stored).map(([key, ids]) => [key, new Set(ids.map(BigInt))]));
}

/**
 * Ends the ownership of the partitions that have had an owner: nobody who slept through it can write a marker any more without taking over
 * again, for which the term is asked. What ends by moving a leader needs a second replica in sync; where there is none now, the
 * term is raised all the same, and `note` says so.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function endOwnerships(
  into: Cluster,
  partitions: readonly TopicPartition[],
): Promise<{ readonly owned: number; readonly note: string }> {
  const known = await describeTransactions(into, partitions.map(ownershipId));
  const owned = partitions.filter((p) => known.has(ownershipId(p)));
  if (owned.length === 0) return { owned: 0, note: '' };
  try {
    await endOwnership(into, owned);
    return { owned: owned.length, note: '' };
  } catch (error) {
    if (!(error instanceof CutoverError) || !isPassing(error)) throw error;
    return { owned: owned.length, note: ` (by its term alone: ${error.message})` };
  }
}
