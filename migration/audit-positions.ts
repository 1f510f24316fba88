/**
 * How far the audit has proven each partition, kept in storage so that a new process, another worker or the next run
 * of the same plan goes on from there.
 *
 * Each writer has an artifact of its own (one per shard, one for the tail that is audited at the fence); reading takes
 * the furthest position per partition. Positions are proofs of what is written and never changes, so they outlive the
 * process that took them, unlike measurements.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import type { AuditPartition, AuditStart } from '../mirror/audit.ts';
import { getAllJson, putJson, type Storage } from './storage.ts';
import type { TopicShape } from './topics.ts';

/** What stands in storage per partition. Both topics' ids tie it to these very topics, not to others of the same name. */
interface StoredPosition {
  readonly topic: string;
  /** `<id on the source>/<id on the target>`. */
  readonly topicIds: string;
  readonly partition: number;
  readonly start: string;
  readonly position: string;
  readonly records: number;
  readonly digest: string;
}

/** Proven so far: everything from `start` to `position` is equal on both clusters. */
export interface Proven extends AuditStart {
  readonly start: bigint;
}

/** Whose audit it is: a wave, or what preflight knows of one. */
export interface Audited {
  readonly storage: Storage;
  readonly migration: string;
  readonly clusters: { readonly target: Cluster };
  /** As on the source. */
  readonly topics: readonly TopicShape[];
}

const prefix = (migration: string) => `${migration}/audit/`;

/**
 * Stores positions without differences.
 *
 * @param writer `shard-0-of-2`, `fence`; one at a time writes under a name
 */
export async function storeAudit(
  audited: Audited,
  writer: string,
  positions: readonly AuditPartition[],
): Promise<void> {
  const topicIds = await topicIdsOf(audited);
  const stored: StoredPosition[] = positions
    .filter((p) => p.differences === 0 && p.digest !== '')
    .map((p) => ({
      topic: p.topic,
      topicIds: topicIds.get(p.topic) ?? '',
      partition: p.partition,
      start: String(p.start),
      position: String(p.position),
      records: p.records,
      digest: p.digest,
    }));
  if (stored.length > 0) await putJson(audited.storage, `${prefix(audited.migration)}${writer}`, stored);
}

/** One per partition, in the order given; from the beginning where nothing is proven yet. */
export async function readAudit(audited: Audited, partitions: readonly TopicPartition[]): Promise<Proven[]> {
  const topicIds = await topicIdsOf(audited);
  const furthest = new Map<string, Proven>();
  for (const { value } of await getAllJson<StoredPosition[]>(audited.storage, prefix(audited.migration))) {
    for (const p of value) {
      if (topicIds.get(p.topic) !== p.topicIds) continue;
      const key = partitionKey(p.topic, p.partition);
      const position = BigInt(p.position);
      if ((furthest.get(key)?.position ?? -1n) >= position) continue;
      const { topic, partition, records, digest } = p;
      furthest.set(key, { topic, partition, start: BigInt(p.start), position, records, digest });
    }
  }
  return partitions.map(
    ({ topic, partition }) =>
      furthest.get(partitionKey(topic, partition)) ?? {
        topic,
        partition,
        start: 0n,
        position: 0n,
        records: 0,
        digest: '',
      },
  );
}

async function topicIdsOf({ clusters, topics }: Audited): Promise<ReadonlyMap<string, string>> {
  const there = (await clusters.target.metadata(topics.map((topic) => topic.name))).topics;
  return new Map(topics.map(({ name, topicId }) => [name, `${topicId}/${there.get(name)?.topicId ?? ''}`]));
}

/**
 * @throws CutoverError PARITY_FAILED naming the first difference of each partition that has one
 */
export function refuseDifferences(positions: readonly AuditPartition[]): void {
  const differing = positions.filter((p) => p.differences > 0);
  if (differing.length === 0) return;
  const shown = differing
    .slice(0, 5)
    .map(
      (p) =>
        `${partitionKey(p.topic, p.partition)} at offset ${p.first?.offset}: ${p.first?.kind} (${p.differences} in all)`,
    );
  throw new CutoverError('PARITY_FAILED', {
    what: 'records differ between the clusters',
    where: `${differing.length} partitions`,
    found: shown.join('; '),
    wanted: 'equal records at equal offsets',
  });
}
