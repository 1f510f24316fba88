/** What of an estate stands on the target as it does on the source: one named check after the other, the same for every replicator. */
import { aclKey, describeAcls } from '../../kafka/acls.ts';
import type { Cluster } from '../../kafka/cluster.ts';
import { fetchOffsets } from '../../kafka/groups.ts';
import { listOffsets } from '../../kafka/offsets.ts';
import { describeQuotas, quotaKey } from '../../kafka/quotas.ts';
import { describeScramUsers } from '../../kafka/scram.ts';
import { topicConfigs } from '../../kafka/topics.ts';
import type { Clusters } from '../../migration/change.ts';
import type { LocalCluster } from '../../stack/cluster.ts';
import { type JavaRecord, readAllWithJava, readWithJava } from '../../stack/java-tools.ts';
import { readLog } from '../mirror/support.ts';
import { type CheckedEstate, type EstateTopic, placesOf } from './checks-estate.ts';

export type Area = 'records' | 'offsets' | 'positions' | 'topics' | 'access';

export interface Check {
  readonly area: Area;
  /** Without the estate's prefix, so that it is the same for every run. */
  readonly name: string;
  readonly passed: boolean;
}

export interface Locals {
  readonly source: LocalCluster;
  readonly target: LocalCluster;
}

type Logs = ReadonlyMap<string, readonly JavaRecord[]>;

export async function judge(clusters: Clusters, locals: Locals, estate: CheckedEstate): Promise<Check[]> {
  const checks: Check[] = [];
  const check = (area: Area, name: string, passed: boolean) =>
    checks.push({ area, name: name.replaceAll(estate.prefix, '*'), passed });
  const there = await clusters.target.metadata(estate.topics.map(({ name }) => name));
  const copied = estate.topics.filter(({ name }) => there.topics.has(name));
  const logs = { source: await readLogs(locals.source, estate.topics), target: await readLogs(locals.target, copied) };
  for (const topic of estate.topics) {
    const known = there.topics.get(topic.name);
    check('topics', `${topic.name}: ${topic.partitions} partitions`, known?.partitions.length === topic.partitions);
    const replicas = known?.partitions[0]?.replicas.length;
    check(
      'topics',
      `${topic.name}: replication factor ${topic.replicationFactor}`,
      replicas === topic.replicationFactor,
    );
    judgeRecords(topic, logs, check);
    if (topic.shape === 'transactional') await judgeUncommitted(topic, locals, known !== undefined, check);
    if (topic.shape === 'codecs') await judgeCodecs(clusters, topic, known !== undefined, check);
    if (topic.shape === 'trimmed') {
      const place = { topic: topic.name, partition: 0 };
      const start = async (cluster: Cluster) => [...(await listOffsets(cluster, [place], 'start')).values()][0];
      const same = known !== undefined && (await start(clusters.source)) === (await start(clusters.target));
      check('offsets', `${topic.name}/0: the log begins at the same offset`, same);
    }
  }
  await judgePositions(clusters, estate, logs, check);
  await judgeSettings(clusters, estate, check);
  await judgeAccess(clusters, estate, check);
  return checks;
}

/** By `topic/partition`. */
async function readLogs(local: LocalCluster, topics: readonly EstateTopic[]): Promise<Logs> {
  if (topics.length === 0) return new Map();
  const names = topics.map(({ name }) => name);
  return new Map(
    [...(await readAllWithJava(local, 'cutover', names))].flatMap(([topic, records]) =>
      [...Map.groupBy(records, ({ partition }) => partition)].map(
        ([partition, own]) => [`${topic}/${partition}`, own] as const,
      ),
    ),
  );
}

type Add = (area: Area, name: string, passed: boolean) => void;

function judgeRecords(topic: EstateTopic, logs: Record<keyof Locals, Logs>, check: Add): void {
  for (const { topic: name, partition } of placesOf(topic)) {
    const key = `${name}/${partition}`;
    const [here, copy] = [logs.source.get(key) ?? [], logs.target.get(key) ?? []];
    if (topic.shape === 'empty') {
      check('records', `${key}: no record`, copy.length === 0);
      continue;
    }
    const same = (of: (record: JavaRecord) => string) =>
      here.length === copy.length && here.every((record, i) => of(record) === of(copy[i] as JavaRecord));
    const text = (bytes: Buffer | null) => (bytes === null ? 'null' : `=${bytes.toString('base64')}`);
    check('records', `${key}: as many records as were committed`, here.length === copy.length);
    check(
      'records',
      `${key}: keys, in order`,
      same((record) => text(record.key)),
    );
    check(
      'records',
      `${key}: values, in order`,
      same((record) => text(record.value)),
    );
    check(
      'records',
      `${key}: headers`,
      same(({ headers }) => headers.map(([k, v]) => `${k}${text(v)}`).join()),
    );
    check(
      'records',
      `${key}: timestamps`,
      same(({ timestamp }) => String(timestamp)),
    );
    check(
      'records',
      `${key}: who stamped them`,
      same(({ timestampType }) => timestampType),
    );
    check(
      'offsets',
      `${key}: each record at its offset`,
      same(({ offset }) => String(offset)),
    );
  }
}

async function judgeUncommitted(topic: EstateTopic, locals: Locals, known: boolean, check: Add): Promise<void> {
  const read = async (local: LocalCluster) =>
    Map.groupBy(
      (await readWithJava(local, 'cutover', topic.name, { isolation: 'read_uncommitted' })).records,
      ({ partition }) => partition,
    );
  const here = await read(locals.source);
  const copy = known ? await read(locals.target) : new Map<number, JavaRecord[]>();
  for (const { partition } of placesOf(topic)) {
    const values = (records: readonly JavaRecord[] = []) => records.map(({ value }) => value?.toString()).join();
    const same = values(here.get(partition)) === values(copy.get(partition));
    check('records', `${topic.name}/${partition}: read_uncommitted sees what it sees on the source`, same);
  }
}

async function judgeCodecs(clusters: Clusters, topic: EstateTopic, known: boolean, check: Add): Promise<void> {
  const codecs = async (cluster: Cluster, partition: number) =>
    [...new Set((await readLog(cluster, topic.name, partition)).map(({ codec }) => codec))].join();
  for (const { partition } of placesOf(topic)) {
    const here = await codecs(clusters.source, partition);
    const same = known && here === (await codecs(clusters.target, partition));
    check('records', `${topic.name}/${partition}: still compressed with ${here}`, same);
  }
}

async function judgePositions(
  { target }: Clusters,
  estate: CheckedEstate,
  logs: Record<keyof Locals, Logs>,
  check: Add,
): Promise<void> {
  const groups = estate.groups.map(({ group }) => group);
  const found = await fetchOffsets(target, groups, { requireStable: false });
  for (const { kind, group, positions } of estate.groups) {
    for (const { topic, partition, offset, metadata } of positions) {
      const key = `${topic}/${partition}`;
      const carried = found.get(group)?.get(key);
      // Known by its place among the partition's committed records: what the group reads next.
      const next = (records: readonly JavaRecord[] = [], at: bigint) => records.filter((one) => one.offset < at).length;
      const exact =
        carried !== undefined && next(logs.source.get(key), offset) === next(logs.target.get(key), carried.offset);
      const whole = logs.source.get(key)?.length === logs.target.get(key)?.length;
      check('positions', `group ${kind}, ${key}: goes on at the very record`, exact && whole);
      if (metadata) check('positions', `group ${kind}, ${key}: its metadata`, carried?.metadata === metadata);
    }
  }
}

async function judgeSettings({ target }: Clusters, estate: CheckedEstate, check: Add): Promise<void> {
  for (const { name, configs } of estate.topics) {
    const found = (await topicConfigs(target, [name]).catch(() => new Map())).get(name);
    for (const [setting, wanted] of Object.entries(configs)) {
      check('topics', `${name}: ${setting}=${wanted}`, found?.get(setting)?.value === wanted);
    }
  }
}

async function judgeAccess({ target }: Clusters, estate: CheckedEstate, check: Add): Promise<void> {
  const acls = new Set((await describeAcls(target)).map(aclKey));
  for (const acl of estate.acls) check('access', aclKey(acl), acls.has(aclKey(acl)));
  const quotas = new Map((await describeQuotas(target)).map(({ entity, values }) => [quotaKey(entity), values]));
  for (const { entity, values } of estate.quotas) {
    for (const [name, value] of Object.entries(values)) {
      check('access', `quota ${quotaKey(entity)}: ${name}`, quotas.get(quotaKey(entity))?.[name] === value);
    }
  }
  const users = await describeScramUsers(target);
  for (const user of estate.users) check('access', `user ${user} may log in`, users.has(user));
}
