/**
 * What a plan moves, as the clusters are now. `structural` is what people approve (it goes into the digest);
 * `measured` changes all the time. Plain data: offsets are decimal strings.
 */
import { createHash } from 'node:crypto';
import type { Code, Finding } from '../contract/errors.ts';
import { matcher, type Plan } from '../contract/plan.ts';
import { type Acl, aclKey, describeAcls } from '../kafka/acls.ts';
import { brokerVersions } from '../kafka/broker-versions.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { type ClusterConfig, principalName } from '../kafka/clusters.ts';
import { describeGroups, fetchOffsets, type GroupType, type ListedGroup, listGroups } from '../kafka/groups.ts';
import { listOffsets, partitionKey } from '../kafka/offsets.ts';
import { describeQuotas, type Quota, quotaKey } from '../kafka/quotas.ts';
import { type SharePosition, shareOffsetsAreServed, sharePositions } from '../kafka/share-groups.ts';
import { type ConfigEntry, partitionSizes, topicConfigs } from '../kafka/topics.ts';
import { carriedAcls, type OurPrincipals, principalsOf } from './acls.ts';
import { carriedQuotas } from './quotas.ts';
import type { TopicShape } from './topics.ts';

export interface Inventory {
  readonly structural: Structural;
  readonly measured: Measured;
}

export interface Structural {
  readonly sourceClusterId: string;
  readonly targetClusterId: string;
  /** Sorted by name, like all lists here. */
  readonly topics: readonly TopicShape[];
  readonly groups: readonly { readonly group: string; readonly type: GroupType }[];
  /** Rules that the target must have in the end, with mapped principals, whether it has them already or not. */
  readonly acls: readonly Acl[];
  /** As for rules. */
  readonly quotas: readonly Quota[];
}

export interface Measured {
  /** ISO 8601. */
  readonly takenAt: string;
  readonly source: ClusterMeasure;
  readonly target: ClusterMeasure;
  readonly partitions: readonly MeasuredPartition[];
  readonly groups: readonly MeasuredGroup[];
  /** Groups with positions on moved topics that the plan leaves out. */
  readonly groupsOutsidePlan: readonly string[];
  /** Groups on the source whose positions cannot be read (Streams groups; share groups before 4.2) and that the plan does not name. */
  readonly otherGroups?: readonly string[];
  /** Principals of applications with rights on what moves, as the source calls them. */
  readonly principals?: readonly string[];
  /** Internal topics whose names match; they are never moved. */
  readonly internalTopics: readonly string[];
}

export interface ClusterMeasure {
  readonly brokers: number;
  /** Finalized feature levels, such as `metadata.version`. */
  readonly features: Readonly<Record<string, number>>;
  /** False without an authorizer: there are no access rules to carry. */
  readonly authorizer: boolean;
}

export interface MeasuredPartition {
  readonly topic: string;
  readonly partition: number;
  /** First kept offset and the next one to be written (high watermark), on the source. */
  readonly start: string;
  readonly end: string;
  /** On disk, of the leader's replica; null when we may not ask. */
  readonly bytes: number | null;
}

export interface MeasuredGroup {
  readonly group: string;
  readonly state: string;
  readonly members: number;
  /** `consumer` for consumers; empty where nobody was ever a member. Absent where an earlier build stored it. */
  readonly protocolType?: string;
  /** Records between its positions and the ends, on the moved topics. */
  readonly lag: number;
  /** Of share groups: records from `positions` on that are not yet done with; null where the brokers do not say. */
  readonly shareLag?: number | null;
  readonly positions: readonly { readonly topic: string; readonly partition: number; readonly offset: string }[];
}

export interface InventoryOptions {
  /**
   * What this migration itself changed on the source, so that the inventory stays what people approved: keys
   * (`aclKey`) of rules that it added, and per topic the explicit settings that it replaced (null: it was inherited).
   */
  readonly ours?: {
    readonly aclKeys?: ReadonlySet<string>;
    readonly configs?: ReadonlyMap<string, Readonly<Record<string, string | null>>>;
  };
}

/**
 * Reads both clusters. Changes nothing.
 *
 * @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED
 */
export async function takeInventory(
  source: Cluster,
  target: Cluster,
  plan: Plan,
  options: InventoryOptions = {},
): Promise<Inventory> {
  const metadata = await source.metadata(null);
  await target.metadata([]);
  const matches = matcher(plan.topics);
  const matched = [...metadata.topics.values()].filter((topic) => matches(topic.name));
  const internalTopics = matched.filter(isInternal).map((topic) => topic.name);
  const topics = matched.filter((topic) => !isInternal(topic)).sort((a, b) => (a.name < b.name ? -1 : 1));
  const names = topics.map((topic) => topic.name);
  const configs = await topicConfigs(source, names);

  const partitions = topics.flatMap((topic) =>
    topic.partitions.map(({ partition }) => ({ topic: topic.name, partition })),
  );
  const [starts, ends, sizes] = await Promise.all([
    listOffsets(source, partitions, 'start'),
    listOffsets(source, partitions, 'highWatermark'),
    partitionSizes(source, topics),
  ]);
  const measuredPartitions = partitions.map(({ topic, partition }) => {
    const key = partitionKey(topic, partition);
    return {
      topic,
      partition,
      start: String(starts.get(key) ?? 0n),
      end: String(ends.get(key) ?? 0n),
      bytes: sizes?.get(key) ?? null,
    };
  });

  const groups = await inventoryGroups(source, plan, new Set(names), ends);
  const acls = await aclsOrNull(source);
  const ours = ourPrincipals(source.config);
  const applicationAcls = (acls ?? []).filter((acl) => !options.ours?.aclKeys?.has(aclKey(acl)));
  const moved = { topics: names, groups: groups.matched.map((group) => group.group) };
  const principals = principalsOf(applicationAcls, moved.topics, moved.groups);
  return {
    structural: {
      sourceClusterId: source.clusterId,
      targetClusterId: target.clusterId,
      topics: topics.map((topic) => ({
        name: topic.name,
        topicId: topic.topicId,
        partitions: topic.partitions.length,
        replicationFactor: Math.max(0, ...topic.partitions.map((p) => p.replicas.length)),
        configs: explicitConfigs(configs.get(topic.name), options.ours?.configs?.get(topic.name)),
      })),
      groups: groups.matched.map(({ group, type }) => ({ group, type })),
      acls: plan.metadata.acls ? carriedAcls({ acls: applicationAcls }, moved, plan, ours) : [],
      quotas: plan.metadata.quotas ? carriedQuotas(await describeQuotas(source), principals, plan) : [],
    },
    measured: {
      takenAt: new Date().toISOString(),
      source: await measureCluster(source, acls !== null),
      target: await measureCluster(target, (await aclsOrNull(target)) !== null),
      partitions: measuredPartitions,
      groups: groups.measured,
      groupsOutsidePlan: groups.outsidePlan,
      otherGroups: groups.other,
      principals: [...principals].sort(),
      internalTopics: internalTopics.sort(),
    },
  };
}

/** What was found by measuring: it changes from look to look, as offsets and lags do, and people cannot approve it. */
const measuredFindings: ReadonlySet<Code> = new Set([
  'BROKERS_UNEVEN',
  'CLOCK_SKEW',
  'GROUP_KIND_UNSEEN',
  'GROUP_POSITION_OUTSIDE_LOG',
  'HANGING_TRANSACTION',
  'OPEN_TRANSACTION',
  'PRODUCER_EXPIRY',
  'READERS_WITHOUT_POSITIONS',
  'RETENTION_OUTRUNS_COPY',
  'SCHEMAS_TOPIC_MOVED',
  'SCHEMA_LEVEL_INHERITED',
  'TARGET_DISK_SHORT',
  'TARGET_NOT_JUDGED',
  'TARGET_REFUSES_TOPIC',
  'TIMESTAMP_OUT_OF_RANGE',
  'TOMBSTONES_AT_RISK',
  'WRITER_NOT_FENCED',
]);

/**
 * sha256 over canonical JSON of the plan, the structural inventory and the codes of findings that nobody waived. Findings
 * of severity `info` stay out: some of them (TARGET_TOPIC_EXISTS) come about by what the migration itself does.
 */
export function planDigest(plan: Plan, structural: Structural, findings: readonly Finding[]): string {
  const open = findings.filter(
    (finding) => finding.severity !== 'info' && !finding.waived && !measuredFindings.has(finding.code),
  );
  const codes = [...new Set(open.map((finding) => finding.code))].sort();
  return createHash('sha256')
    .update(canonicalJson({ plan, structural, findings: codes }))
    .digest('hex');
}

/** JSON with sorted keys and no blanks; `undefined` members are left out. Lists keep their order. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/** What changed between two inventories, one line each: what people must look at before they approve again. */
export function difference(before: Structural, after: Structural): string[] {
  const lines: string[] = [];
  if (before.sourceClusterId !== after.sourceClusterId) lines.push('the source is another cluster');
  if (before.targetClusterId !== after.targetClusterId) lines.push('the target is another cluster');
  compare(before.topics, after.topics, (topic) => topic.name, {
    added: (topic) => lines.push(`topic ${topic.name} is new`),
    removed: (topic) => lines.push(`topic ${topic.name} is gone`),
    both: (a, b) => {
      if (a.topicId !== b.topicId) lines.push(`topic ${a.name} was deleted and created again`);
      if (a.partitions !== b.partitions) lines.push(`topic ${a.name}: partitions ${a.partitions} -> ${b.partitions}`);
      if (a.replicationFactor !== b.replicationFactor) {
        lines.push(`topic ${a.name}: replication factor ${a.replicationFactor} -> ${b.replicationFactor}`);
      }
      for (const name of [...new Set([...Object.keys(a.configs), ...Object.keys(b.configs)])].sort()) {
        const [from, to] = [a.configs[name] ?? 'inherited', b.configs[name] ?? 'inherited'];
        if (from !== to) lines.push(`topic ${a.name}: ${name} ${from} -> ${to}`);
      }
    },
  });
  compare(before.groups, after.groups, (group) => group.group, {
    added: (group) => lines.push(`group ${group.group} is new`),
    removed: (group) => lines.push(`group ${group.group} is gone`),
    both: (a, b) => a.type !== b.type && lines.push(`group ${a.group}: type ${a.type} -> ${b.type}`),
  });
  compare(before.acls, after.acls, aclKey, {
    added: (acl) => lines.push(`access rule added: ${aclKey(acl)}`),
    removed: (acl) => lines.push(`access rule gone: ${aclKey(acl)}`),
  });
  compare(before.quotas, after.quotas, (quota) => quotaKey(quota.entity), {
    added: (quota) => lines.push(`quota added: ${quotaKey(quota.entity)}`),
    removed: (quota) => lines.push(`quota gone: ${quotaKey(quota.entity)}`),
    both: (a, b) =>
      canonicalJson(a.values) !== canonicalJson(b.values) &&
      lines.push(`quota ${quotaKey(a.entity)}: ${canonicalJson(a.values)} -> ${canonicalJson(b.values)}`),
  });
  return lines;
}

/** Kafka's own topics, and those of tools that live inside Kafka, ours among them (`__kafka_cutover`). */
export function isInternal(topic: { readonly name: string; readonly internal: boolean }): boolean {
  return topic.internal || topic.name.startsWith('__');
}

/** Principals by user name, or as clusters.yaml says; null where only the broker knows. */
export function ourPrincipals(config: ClusterConfig): OurPrincipals {
  const name = (role: 'own' | 'forward' | 'reverse') => principalName(config.credentials[role]);
  return { own: name('own'), forward: name('forward'), reverse: name('reverse') };
}

/** Rules, or null where the cluster has no authorizer. */
export async function aclsOrNull(cluster: Cluster): Promise<Acl[] | null> {
  try {
    return await describeAcls(cluster);
  } catch (error) {
    if ((error as { code?: string }).code === 'ACL_AUTHORIZER_ABSENT') return null;
    throw error;
  }
}

/** Explicit values; sensitive ones cannot be read and so cannot be carried. */
export function explicitConfigs(
  configs: ReadonlyMap<string, ConfigEntry> | undefined,
  original: Readonly<Record<string, string | null>> = {},
): Record<string, string> {
  const explicit = new Map<string, string>();
  for (const [name, entry] of configs ?? []) {
    if (entry.source === 'topic' && entry.value !== null) explicit.set(name, entry.value);
  }
  for (const [name, value] of Object.entries(original)) {
    if (value === null) explicit.delete(name);
    else explicit.set(name, value);
  }
  return Object.fromEntries([...explicit].sort(([a], [b]) => (a < b ? -1 : 1)));
}

async function inventoryGroups(
  source: Cluster,
  plan: Plan,
  topics: ReadonlySet<string>,
  ends: ReadonlyMap<string, bigint>,
): Promise<{ matched: ListedGroup[]; measured: MeasuredGroup[]; outsidePlan: string[]; other: string[] }> {
  const listed = await listGroups(source);
  const withPositions = listed.filter((group) => group.type === 'classic' || group.type === 'consumer');
  const positions = await fetchOffsets(
    source,
    withPositions.map((group) => group.group),
    { requireStable: false, keep: (topic) => topics.has(topic) },
  );
  const shares = listed.filter(({ type }) => type === 'share').map(({ group }) => group);
  const sharesTold = shares.length > 0 && (await shareOffsetsAreServed(source));
  const shared = sharesTold ? await sharePositions(source, shares) : new Map<string, Map<string, SharePosition>>();
  const onMoved = new Map([...positions].map(([group, all]) => [group, [...all.values()]]));
  for (const [group, all] of shared) {
    const moved = [...all.values()].filter(({ topic }) => topics.has(topic));
    onMoved.set(
      group,
      moved.map(({ topic, partition, start }) => ({ topic, partition, offset: start, metadata: null })),
    );
  }
  const reads = (group: string) => (onMoved.get(group)?.length ?? 0) > 0;
  const inPlan = plan.groups ? matcher(plan.groups) : reads;
  const matched = listed.filter((group) => inPlan(group.group));
  const described = await describeGroups(
    source,
    matched.map((group) => group.group),
  );
  const measured = matched.map(({ group, state, protocolType }) => {
    const own = onMoved.get(group) ?? [];
    const lags = own.map(({ topic, partition }) => shared.get(group)?.get(`${topic}/${partition}`)?.lag);
    const left = shared.has(group) && lags.every((lag) => lag != null) ? sumOf(lags as number[]) : null;
    return {
      group,
      state: described.get(group)?.state ?? state,
      members: described.get(group)?.members.length ?? 0,
      protocolType,
      lag: own.reduce((sum, p) => {
        const behind = (ends.get(partitionKey(p.topic, p.partition)) ?? p.offset) - p.offset;
        return sum + (behind > 0n ? Number(behind) : 0);
      }, 0),
      ...(shared.has(group) && { shareLag: left }),
      positions: own.map((p) => ({ topic: p.topic, partition: p.partition, offset: String(p.offset) })),
    };
  });
  const outsidePlan = listed.map((group) => group.group).filter((group) => reads(group) && !inPlan(group));
  const told = new Set(['classic', 'consumer', ...(sharesTold ? ['share'] : [])]);
  const unread = listed.filter(({ group, type }) => !told.has(type) && !inPlan(group));
  return { matched, measured, outsidePlan, other: unread.map(({ group, type }) => `${group} (${type})`) };
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, one) => sum + one, 0);
}

async function measureCluster(cluster: Cluster, authorizer: boolean): Promise<ClusterMeasure> {
  const first = cluster.brokers[0];
  const features = first ? (await brokerVersions(cluster, first.id)).features : new Map<string, number>();
  return { brokers: cluster.brokers.length, features: Object.fromEntries(features), authorizer };
}

function compare<Item>(
  before: readonly Item[],
  after: readonly Item[],
  keyOf: (item: Item) => string,
  tell: { added: (item: Item) => unknown; removed: (item: Item) => unknown; both?: (a: Item, b: Item) => unknown },
): void {
  const then = new Map(before.map((item) => [keyOf(item), item]));
  const now = new Map(after.map((item) => [keyOf(item), item]));
  for (const [key, item] of then) {
    const counterpart = now.get(key);
    if (counterpart === undefined) tell.removed(item);
    else tell.both?.(item, counterpart);
  }
  for (const [key, item] of now) if (!then.has(key)) tell.added(item);
}
