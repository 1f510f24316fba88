/**
 * How far the audit has proven each partition, kept in storage so that a new process, another worker or the next run
 * of the same plan goes on from there.
 *
 * Each writer has an artifact of its own (one per shard, one for the tail that is audited at the fence); reading takes
 * the furthest position per partition. Positions are proofs of what is written and never changes, so they outlive the
 * process that took them, unlike measurements.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { topicConfigs } from '../kafka/topics.ts';
import type { AuditPartition, AuditStart } from '../mirror/audit.ts';
import { parseDigest } from '../mirror/audit-digest.ts';
import { boundaryName, readBoundary } from './boundary.ts';
import type { Clusters } from './change.ts';
import { isCompacted, isSampled, type LogNeeds } from './needs.ts';
import { openingDecided } from './opening.ts';
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
  readonly abortedNotKept: number;
  readonly superseded: number;
  readonly sourceReadAtMs: number | null;
  /** Below `start` the partition was sampled, which proves nothing: for whoever samples it is the place to go on from, for others nothing at all. */
  readonly sampled?: boolean;
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
  /** Left out: whoever audits wants all of it. */
  readonly plan?: Pick<Plan, 'verify'>;
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
      abortedNotKept: p.abortedNotKept,
      superseded: p.superseded,
      sourceReadAtMs: p.sourceReadAtMs,
      ...(isSampled(audited.plan) && { sampled: true }),
    }));
  if (stored.length > 0) await putJson(audited.storage, `${prefix(audited.migration)}${writer}`, stored);
}

/** One per partition, in the order given; from the beginning where nothing is proven yet. */
export async function readAudit(audited: Audited, partitions: readonly TopicPartition[]): Promise<Proven[]> {
  const topicIds = await topicIdsOf(audited);
  const furthest = new Map<string, Proven>();
  for (const { value } of await getAllJson<StoredPosition[]>(audited.storage, prefix(audited.migration))) {
    for (const p of value) {
      if (topicIds.get(p.topic) !== p.topicIds || (p.sampled && !isSampled(audited.plan))) continue;
      // By an earlier build, whose digest nobody can go on with: proven anew.
      if (parseDigest(p.digest) === undefined) continue;
      const key = partitionKey(p.topic, p.partition);
      const position = BigInt(p.position);
      const known = furthest.get(key);
      if (known && known.position > position) continue;
      // The same position, seen again later: nothing was missed up to then.
      if (known?.position === position && (known.sourceReadAtMs ?? 0) >= (p.sourceReadAtMs ?? 0)) continue;
      furthest.set(key, {
        topic: p.topic,
        partition: p.partition,
        start: BigInt(p.start),
        position,
        records: p.records,
        digest: p.digest,
        abortedNotKept: p.abortedNotKept,
        superseded: p.superseded,
        sourceReadAtMs: p.sourceReadAtMs,
      });
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

/** What an audit of the wave needs to know besides: where it stands, what cleaners may remove, whose records are whose. */
export interface Auditing extends Audited {
  readonly clusters: Clusters;
  /** Left out: nothing of the wave has ever been opened on the target. */
  readonly wave?: string;
  /** As people approved it; left out before there is anything to approve. */
  readonly needs?: Pick<LogNeeds, 'compacted'>;
}

/**
 * Where to begin an audit, one per partition in the order given: `readAudit` with what else it has to know.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE, STORAGE_CORRUPT
 */
export async function auditStarts(auditing: Auditing, partitions: readonly TopicPartition[]): Promise<Proven[]> {
  const [proven, compacted, native] = [
    await readAudit(auditing, partitions),
    await compactedTopics(auditing.clusters, [...new Set(partitions.map((p) => p.topic))], compactedBefore(auditing)),
    await nativeToTarget(auditing),
  ];
  return proven.map((p) => {
    const cleaner = compacted.get(p.topic);
    const targetNativeFrom = native?.get(partitionKey(p.topic, p.partition));
    return { ...p, ...cleaner, ...(targetNativeFrom !== undefined && { targetNativeFrom }) };
  });
}

export interface Cleaner {
  readonly compacted: true;
  /** Of the source. */
  readonly deleteRetentionMs: number;
}

/** Topics that are compacted where applications write them, whatever their policies are while we mirror. */
function compactedBefore({ needs, topics }: Auditing): string[] {
  const own = topics.filter(({ configs }) => isCompacted(configs['cleanup.policy'])).map(({ name }) => name);
  return [...own, ...(needs?.compacted ?? [])];
}

/**
 * Topics that a log cleaner may work on, or worked on until a moment ago.
 *
 * @param before known to be compacted by what people approved: at the fence both clusters have the cleaner suspended (`cleanup.policy` is
 *   `delete` on either), but what the source's removed right before is still to be compared
 */
export async function compactedTopics(
  { source, target }: Clusters,
  topics: readonly string[],
  before: readonly string[] = [],
): Promise<Map<string, Cleaner>> {
  const known = new Set(before);
  const [here, there] = [await topicConfigs(source, topics), await topicConfigs(target, topics)];
  const compacted = new Map<string, Cleaner>();
  for (const topic of topics) {
    const policies = [here, there].map((configs) => configs.get(topic)?.get('cleanup.policy')?.value ?? '');
    if (!known.has(topic) && !policies.some(isCompacted)) continue;
    const deleteRetentionMs = Number(here.get(topic)?.get('delete.retention.ms')?.value ?? Number.POSITIVE_INFINITY);
    compacted.set(topic, { compacted: true, deleteRetentionMs });
  }
  return compacted;
}

/** The boundary under which opening the target was decided: records from it on came from there. Null: not open. */
async function nativeToTarget({ storage, migration, wave }: Auditing): Promise<ReadonlyMap<string, bigint> | null> {
  if (wave === undefined) return null;
  const fence = { migration, wave, direction: 'forward' } as const;
  const decision = await openingDecided(storage, fence);
  if (decision === null) return null;
  return (await readBoundary(storage, boundaryName({ ...fence, deadlineMs: decision.deadlineMs }))).boundary;
}

/** `<id on the source>/<id on the target>` per topic; '' where there is none. */
export async function topicIdsOf({ clusters, topics }: Audited): Promise<ReadonlyMap<string, string>> {
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
