/**
 * After the opening: is everything there, and who writes where now? Reads both clusters and what was stored, changes
 * nothing, and gives a report with findings; what is proven and what is not stands apart.
 */
import { type Finding, finding } from '../contract/errors.ts';
import type { Direction } from '../contract/status.ts';
import { aclKey, describeAcls } from '../kafka/acls.ts';
import { firstStamped, listOffsets, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { describeQuotas, quotaDifference, quotaKey } from '../kafka/quotas.ts';
import { brokerConfigs, type ConfigEntry, sameConfigValue, topicConfigs } from '../kafka/topics.ts';
import type { AuditPartition } from '../mirror/audit.ts';
import { type Boundary, sidesOf } from './boundary.ts';
import type { Clusters } from './change.ts';
import type { LeftOver } from './follow-metadata.ts';
import { type FinalPositions, positionsOf } from './groups.ts';
import { explicitConfigs, type Structural } from './inventory.ts';
import type { Owners } from './owners.ts';
import type { ProducerIds } from './producer-ids.ts';
import { readProvenance } from './provenance.ts';
import { putJson, type Storage } from './storage.ts';
import { carriedConfigs, retentionSettings, topicDefaults } from './topics.ts';

export interface VerifyOptions {
  readonly clusters: Clusters;
  readonly direction: Direction;
  /** The wave's part of the inventory, with the newest settings, rules and quotas of the source (`newest`). */
  readonly structural: Structural;
  /** Keys (`aclKey`) of the rules that people approved; the newest ones when left out. */
  readonly approvedAcls?: ReadonlySet<string>;
  /** What we carried, and the source does not have any more. */
  readonly leftOver?: LeftOver;
  readonly boundary: Boundary;
  /** Where the other log's own records begin; the boundary when left out. */
  readonly into?: Boundary;
  /** Where the audit stood when the boundary was taken. */
  readonly audit: readonly AuditPartition[];
  /** Positions of the groups that were handed over, as written; null when none were. */
  readonly positions: FinalPositions | null;
  /** Of the mirror that writes to the cluster that was left: reverse after a move forward. */
  readonly mirrorBack: ProducerIds;
  /** Where offsets differ: what the walk of the way back found on the cluster that was left and nowhere else; producers are not asked then. */
  readonly strangers?: readonly (TopicPartition & { readonly foreign: number })[];
  /** When opening was decided, ISO 8601: the first record that applications stamped later is looked up. Null: not. */
  readonly openedAt?: string | null;
  /** Producers of its ownership ids: of its markers, and of aborted records that it keeps. */
  readonly ownersBack?: () => Promise<Owners>;
  /** Where the plan asks for a sample: what was looked at. */
  readonly sampled?: { readonly batches: number; readonly records: number } | null;
  readonly plan: { readonly metadata: { readonly configs: boolean; readonly acls: boolean; readonly quotas: boolean } };
  readonly signal?: AbortSignal;
}

export interface TopicReport {
  readonly topic: string;
  readonly partitions: number;
  /** Records that the audit compared, up to the boundary. */
  readonly records: number;
  /** `seen`: applications have written to it where it lives now. */
  readonly traffic: 'seen' | 'silent';
  /** Records beyond the boundary where it lives now. */
  readonly newRecords: number;
  /** Records beyond the boundary on the cluster that was left, all of the mirror unless a finding says otherwise. */
  readonly carriedBack: number;
  /** As read back where it lives now: replicas, and its explicit settings. Reports of earlier builds have neither. */
  readonly replicationFactor?: number;
  readonly settings?: Readonly<Record<string, string>>;
}

export interface VerifyReport {
  /** ISO 8601. */
  readonly at: string;
  readonly direction: Direction;
  /** Every record up to the boundary was compared and is equal. Never of a sample. */
  readonly parityProven: boolean;
  /** What was looked at of that which came before the audit in full; null where that began with the logs. */
  readonly sampled?: { readonly batches: number; readonly records: number } | null;
  readonly recordsCompared: number;
  /** Offsets up to the boundary that hold no committed record: markers, aborted records, holes. On the copy a marker stands for each, or an aborted record that was kept. */
  readonly withoutRecord: number;
  readonly topics: readonly TopicReport[];
  /**
   * When applications stamped the first record after the opening, by their own clocks; null: none yet, or not looked up. What they had
   * buffered before arrives earlier.
   */
  readonly firstRecordAt?: string | null;
  readonly groups: { readonly checked: number; readonly asWritten: number; readonly movedOn: number };
  /** Explicit settings that were compared. */
  readonly configsCompared: number;
  readonly aclsCompared: number;
  readonly quotasCompared: number;
  readonly findings: readonly Finding[];
}

/**
 * Checks a move.
 *
 * @throws CutoverError when a cluster cannot be read; what is wrong with the move is in the findings: AUDIT_BEHIND,
 *   PARITY_FAILED, ABORTED_NOT_KEPT, TARGET_DIVERGED, SOURCE_WRITTEN_AFTER_FENCE, OFFSETS_NOT_WRITTEN, CONFIG_DIFFERS, ACCESS_CHANGED,
 *   ACCESS_DIFFERS, TOPIC_SILENT
 */
export async function verifyMove(options: VerifyOptions): Promise<VerifyReport> {
  const parity = checkAudit(options);
  const logs = await checkLogs(options);
  const firstRecordAt = await firstRecord(options);
  const groups = await checkGroups(options);
  const configs = await checkConfigs(options);
  const access = await checkAccess(options);
  return {
    at: new Date().toISOString(),
    direction: options.direction,
    parityProven: parity.every(({ severity }) => severity !== 'blocker') && !options.sampled,
    sampled: options.sampled ?? null,
    recordsCompared: options.audit.reduce((sum, p) => sum + p.records, 0) + (options.sampled?.records ?? 0),
    withoutRecord: options.audit.reduce((sum, p) => sum + Number(p.position - p.start) - p.records, 0),
    topics: logs.topics.map((topic) => ({ ...topic, ...configs.topics.get(topic.topic) })),
    firstRecordAt,
    groups: groups.counts,
    configsCompared: configs.compared,
    aclsCompared: access.acls,
    quotasCompared: access.quotas,
    findings: [
      ...parity,
      ...aboutSample(options),
      ...abortedNotKept(options),
      ...logs.findings,
      ...groups.findings,
      ...configs.findings,
      ...access.findings,
    ],
  };
}

/** One name per fence, like its boundary: each move keeps its own report. */
export function verifyName(move: {
  readonly migration: string;
  readonly wave: string;
  readonly direction: Direction;
  readonly deadlineMs: number;
}): string {
  return `${move.migration}/verify/${move.wave}/${move.deadlineMs}-${move.direction}`;
}

export async function storeReport(
  storage: Storage,
  move: Parameters<typeof verifyName>[0],
  report: VerifyReport,
): Promise<string> {
  const name = verifyName(move);
  await putJson(storage, name, report);
  return name;
}

function checkAudit({ audit, boundary }: VerifyOptions): Finding[] {
  const findings: Finding[] = [];
  const byKey = new Map(audit.map((p) => [keyOf(p), p]));
  for (const [key, end] of boundary) {
    const p = byKey.get(key);
    if (!p || p.position < end) {
      findings.push(finding('AUDIT_BEHIND', key, `compared up to ${p?.position ?? 'nothing'}, the boundary is ${end}`));
    }
    if (p?.duplicated) {
      findings.push(finding('RECORDS_DUPLICATED', key, `${p.duplicated} records stand there more than once`));
    }
    if (p?.first) {
      findings.push(
        finding(
          'PARITY_FAILED',
          key,
          `${p.differences} records differ, the first at offset ${p.first.offset} (${p.first.kind})`,
        ),
      );
    }
  }
  return findings;
}

function aboutSample({ sampled }: VerifyOptions): Finding[] {
  if (!sampled) return [];
  const { batches, records } = sampled;
  const message =
    batches > 0
      ? `${batches} batches with ${records} records of what there was at the start were compared; the others were not`
      : 'no partition was large enough for a sample, so all were compared; a plan that asks for one is not called proven all the same';
  return [finding('PARITY_SAMPLED', 'source and target', message)];
}

/** What the audit let pass, counted: no committed record is among it. */
function abortedNotKept({ audit, structural }: VerifyOptions): Finding[] {
  return structural.topics.flatMap(({ name }) => {
    const own = audit.filter((p) => p.topic === name);
    const aborted = own.reduce((sum, p) => sum + (p.abortedNotKept ?? 0), 0);
    return aborted > 0
      ? [finding('ABORTED_NOT_KEPT', `topic ${name}`, `${aborted} records of aborted transactions hold nothing there`)]
      : [];
  });
}

async function checkLogs(options: VerifyOptions): Promise<{ topics: TopicReport[]; findings: Finding[] }> {
  const { from, into } = sidesOf(options.direction);
  const [left, live] = [options.clusters[from], options.clusters[into]];
  const findings: Finding[] = [];
  const partitions = partitionsOf(options.structural);
  // The cluster that was left is read last, so it cannot hold more than the mirror had to carry.
  const liveEnds = await listOffsets(live, partitions, 'highWatermark');
  const leftEnds = await listOffsets(left, partitions, 'highWatermark');
  const boundaryOf = (p: TopicPartition) => options.boundary.get(keyOf(p)) ?? 0n;
  const beginsAt = (p: TopicPartition) => (options.into ?? options.boundary).get(keyOf(p)) ?? 0n;
  for (const p of partitions) {
    const end = liveEnds.get(keyOf(p)) ?? 0n;
    if (end < beginsAt(p)) {
      findings.push(
        finding(
          'TARGET_DIVERGED',
          `cluster ${live.name}, ${keyOf(p)}`,
          `the log ends at ${end}, below the boundary ${beginsAt(p)}`,
        ),
      );
    }
  }
  const ranges = partitions.map((p) => ({ ...p, from: boundaryOf(p), until: leftEnds.get(keyOf(p)) ?? 0n }));
  const { signal, ownersBack } = options;
  const read = { ...(signal && { signal }), ...(ownersBack && { owners: ownersBack }) };
  for (const { foreign, ...p } of options.strangers ?? []) {
    const message = `${foreign} records that were not written to ${live.name}`;
    findings.push(finding('SOURCE_WRITTEN_AFTER_FENCE', `cluster ${left.name}, ${keyOf(p)}`, message));
  }
  const told = options.strangers ? [] : (await readProvenance(left, ranges, options.mirrorBack, read)).foreign;
  for (const batch of told) {
    const who = batch.producerId < 0n ? 'a producer without an id' : `producer ${batch.producerId}`;
    findings.push(
      finding(
        'SOURCE_WRITTEN_AFTER_FENCE',
        `cluster ${left.name}, ${keyOf(batch)}`,
        `${who} wrote ${batch.records} records at offset ${batch.offset}; the boundary is ${boundaryOf(batch)}`,
      ),
    );
  }
  const topics = options.structural.topics.map(({ name, partitions: count }): TopicReport => {
    const own = partitions.filter((p) => p.topic === name);
    const beyond = (ends: ReadonlyMap<string, bigint>, from: (p: TopicPartition) => bigint) =>
      own.reduce((sum, p) => sum + Math.max(0, Number((ends.get(keyOf(p)) ?? 0n) - from(p))), 0);
    const newRecords = beyond(liveEnds, beginsAt);
    return {
      topic: name,
      partitions: count,
      records: options.audit.filter((p) => p.topic === name).reduce((sum, p) => sum + p.records, 0),
      traffic: newRecords > 0 ? 'seen' : 'silent',
      newRecords,
      carriedBack: beyond(leftEnds, boundaryOf),
    };
  });
  for (const { topic, traffic } of topics) {
    if (traffic === 'seen') continue;
    findings.push(
      finding('TOPIC_SILENT', `cluster ${live.name}, topic ${topic}`, 'nothing was written since the switch'),
    );
  }
  return { topics, findings };
}

async function firstRecord(options: VerifyOptions): Promise<string | null> {
  const { clusters, direction, structural, boundary, openedAt } = options;
  if (!openedAt) return null;
  const live = clusters[sidesOf(direction).into];
  const found = await firstStamped(live, partitionsOf(structural), BigInt(Date.parse(openedAt)));
  // A record below the boundary was stamped by a clock that was ahead.
  const stamps = [...found].filter(([key, { offset }]) => offset >= (boundary.get(key) ?? 0n));
  const first = Math.min(...stamps.map(([, { timestamp }]) => Number(timestamp)));
  return Number.isFinite(first) ? new Date(first).toISOString() : null;
}

async function checkGroups(options: VerifyOptions): Promise<{ counts: VerifyReport['groups']; findings: Finding[] }> {
  const counts = { checked: 0, asWritten: 0, movedOn: 0 };
  const findings: Finding[] = [];
  if (!options.positions) return { counts, findings };
  const live = options.clusters[sidesOf(options.direction).into];
  // Also on topics of the waves before.
  const topics = new Map<string, number>();
  for (const { topic, partition } of options.positions.positions) {
    topics.set(topic, Math.max(topics.get(topic) ?? 0, partition + 1));
  }
  const groups = options.positions.groups.map(({ group }) => group);
  const types = new Map(options.structural.groups.map(({ group, type }) => [group, type]));
  const shares = new Set(groups.filter((group) => types.get(group) === 'share'));
  const now = await positionsOf(live, groups, shares, { requireStable: false, topics });
  for (const { group, topic, partition, written } of options.positions.positions) {
    counts.checked++;
    const offset = now.get(group)?.get(partitionKey(topic, partition))?.offset;
    if (offset === written) counts.asWritten++;
    else if (offset !== undefined && offset > written) counts.movedOn++;
    else {
      const where = `cluster ${live.name}, group ${group}, ${topic}/${partition}`;
      findings.push(finding('OFFSETS_NOT_WRITTEN', where, `position ${offset ?? 'gone'}, written was ${written}`));
    }
  }
  return { counts, findings };
}

/** Message settings and all others but retention, which waits for the end of a move forward. */
async function checkConfigs(options: VerifyOptions): Promise<{
  compared: number;
  topics: ReadonlyMap<string, Pick<TopicReport, 'replicationFactor' | 'settings'>>;
  findings: Finding[];
}> {
  const findings: Finding[] = [];
  let compared = 0;
  const { into } = sidesOf(options.direction);
  const live = options.clusters[into];
  const names = options.structural.topics.map((topic) => topic.name);
  const [now, metadata] = [await topicConfigs(live, names), (await live.metadata(names)).topics];
  const topics = new Map(
    names.map((name) => [
      name,
      {
        replicationFactor: Math.max(0, ...(metadata.get(name)?.partitions ?? []).map((p) => p.replicas.length)),
        settings: explicitConfigs(now.get(name) as ReadonlyMap<string, ConfigEntry> | undefined),
      },
    ]),
  );
  if (into === 'target' && !options.plan.metadata.configs) return { compared, topics, findings };
  const broker = await brokerConfigs(live);
  const there = topicDefaults(Object.fromEntries([...broker].map(([name, entry]) => [name, entry.value])));
  for (const topic of options.structural.topics) {
    const wanted = into === 'target' ? carriedConfigs(topic, there, true) : topic.configs;
    const explicit = topics.get(topic.name)?.settings ?? {};
    for (const name of new Set([...Object.keys(wanted), ...Object.keys(explicit)])) {
      if (retentionSettings.includes(name)) continue;
      compared++;
      if (sameConfigValue(explicit[name] ?? null, wanted[name] ?? null)) continue;
      findings.push(
        finding(
          'CONFIG_DIFFERS',
          `cluster ${live.name}, topic ${topic.name}`,
          `${name} is ${explicit[name] ?? 'inherited'}, wanted ${wanted[name] ?? 'inherited'}`,
        ),
      );
    }
  }
  return { compared, topics, findings };
}

/** Rules and quotas that the target must have; the source keeps its own, so a way back has none to check. */
async function checkAccess(options: VerifyOptions): Promise<{ acls: number; quotas: number; findings: Finding[] }> {
  const findings: Finding[] = [];
  const { acls, quotas } = options.structural;
  const { target } = options.clusters;
  if (options.direction === 'reverse') return { acls: 0, quotas: 0, findings };
  if (options.plan.metadata.acls && acls.length > 0) {
    const present = new Set((await describeAcls(target)).map(aclKey));
    for (const acl of acls) {
      const key = aclKey(acl);
      if (present.has(key)) continue;
      const approved = options.approvedAcls?.has(key) ?? true;
      findings.push(
        approved
          ? finding('ACCESS_CHANGED', `cluster ${target.name}`, `the access rule is missing: ${key}`)
          : finding(
              'ACCESS_DIFFERS',
              `cluster ${target.name}, ${key}`,
              'it is missing, and has come to the source since',
            ),
      );
    }
  }
  for (const acl of options.leftOver?.acls ?? []) {
    const message = 'we carried it, and the source does not have it any more';
    findings.push(finding('ACCESS_DIFFERS', `cluster ${target.name}, ${aclKey(acl)}`, message));
  }
  for (const { entity } of options.leftOver?.quotas ?? []) {
    const message = 'we carried it, and the source does not have it any more';
    findings.push(finding('CONFIG_DIFFERS', `cluster ${target.name}, quota of ${quotaKey(entity)}`, message));
  }
  if (options.plan.metadata.quotas && quotas.length > 0) {
    const present = await describeQuotas(target);
    for (const { entity, values } of quotas) {
      const missing = quotaDifference(present, { entity, set: values, unset: [] });
      if (missing !== null) findings.push(finding('CONFIG_DIFFERS', `cluster ${target.name}, quota`, missing));
    }
  }
  return {
    acls: options.plan.metadata.acls ? acls.length : 0,
    quotas: options.plan.metadata.quotas ? quotas.length : 0,
    findings,
  };
}

function partitionsOf(structural: Structural): TopicPartition[] {
  return structural.topics.flatMap((topic) =>
    Array.from({ length: topic.partitions }, (_, partition) => ({ topic: topic.name, partition })),
  );
}

const keyOf = (p: TopicPartition): string => partitionKey(p.topic, p.partition);
