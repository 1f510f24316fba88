/**
 * Between prepare-target and the fence: what changes on the source is found, and what only follows it is carried over.
 *
 * Settings of topics, and access rules and quotas of principals that people have approved, follow by themselves: the target stays closed to
 * applications meanwhile, and its final state is then the source's newest. Topics and partitions are for people: they change what moves, so gate
 * `cutover` asks for a new approval. So are rules that give something to a principal that nobody has approved. Nothing is ever deleted with a topic.
 */
import { type Code, CutoverError, type Finding, finding } from '../contract/errors.ts';
import { matcher } from '../contract/plan.ts';
import { capabilitiesOf } from '../contract/replicators.ts';
import { type Acl, aclKey, describeAcls } from '../kafka/acls.ts';
import type { ClusterMetadata } from '../kafka/cluster.ts';
import { describeQuotas, type Quota, type QuotaChange, quotaKey } from '../kafka/quotas.ts';
import { noTopicId } from '../kafka/topic-ids.ts';
import { brokerConfigs, sameConfigValue, topicConfigs } from '../kafka/topics.ts';
import { type Change, describeChange } from './change.ts';
import { explicitConfigs, isInternal, type Structural } from './inventory.ts';
import { type JournalEntry, type Purpose, stands } from './journal.ts';
import { newest, rulesOfAnyBroker } from './newest.ts';
import { targetProtection } from './prepare.ts';
import { carriedConfigs, messageSettings, retentionSettings, type TopicDefaults, topicDefaults } from './topics.ts';
import type { Wave } from './wave.ts';

/** Changes and rules named in one finding; the next gate shows them all. */
const shownMax = 5;

/** Settings that the target has otherwise while it is mirrored to; they are given back, from the newest value, when it opens. */
const suspended: ReadonlySet<string> = new Set([...messageSettings, ...retentionSettings]);

/**
 * One look: carries over what follows, and says what is otherwise than people approved. Safe to repeat.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE where a cluster cannot be read; ATTEMPT_OVERTAKEN.
 *   What cannot be carried is a finding: METADATA_NOT_CARRIED
 */
export async function followMetadata(wave: Wave): Promise<Finding[]> {
  const metadata = await wave.clusters.source.metadata(null);
  const now = await newest(wave);
  const held = new Carrying(wave);
  if (wave.plan.metadata.acls && wave.inventory.measured.target.authorizer) await carryAcls(wave, now, held);
  if (wave.plan.metadata.quotas) await carryQuotas(wave, now, held);
  if (wave.plan.metadata.configs && !capabilitiesOf(wave.plan).ownsTopics) await carryConfigs(wave, now, held);
  return [...topicsChanged(wave, metadata), ...whatChanged(wave.inventory.structural, now, wave), ...held.findings];
}

/** What follows the source and is not so on the target: rules and quotas that stand there only because we carried them. */
export interface LeftOver {
  readonly acls: readonly Acl[];
  readonly quotas: readonly QuotaChange[];
}

/** @param now the source's newest state */
export async function leftOver(wave: Wave, now: Structural): Promise<LeftOver> {
  const standing = (await wave.journal.entries()).filter(stands);
  const own = standing.filter((entry) => entry.wave === wave.wave);
  const acls = wave.inventory.measured.target.authorizer ? await describeAcls(wave.clusters.target) : [];
  return {
    acls: rulesToDrop(own, now.acls, acls),
    quotas: quotasToDrop(own, now.quotas, await describeQuotas(wave.clusters.target)),
  };
}

/** Makes changes one by one; one that the target refuses is a finding, and does not keep the others from being made. */
class Carrying {
  readonly findings: Finding[] = [];
  readonly #wave: Wave;

  constructor(wave: Wave) {
    this.#wave = wave;
  }

  /** @returns whether it stands now */
  async make(purpose: Purpose, change: Change): Promise<boolean> {
    try {
      await this.#wave.journal.make(this.#wave.wave, purpose, [change]);
      return true;
    } catch (error) {
      if (!(error instanceof CutoverError) || !refusals.has(error.code)) throw error;
      this.not(describeChange(change), error.detail.found ?? error.message);
      return false;
    }
  }

  not(what: string, why: string): void {
    this.findings.push(finding('METADATA_NOT_CARRIED', what, why));
  }
}

/** What one change can be refused with, such as INVALID_CONFIG or POLICY_VIOLATION. A topic that is gone is being mirrored again, or deleted. */
const refusals: ReadonlySet<Code> = new Set(['KAFKA_REQUEST_FAILED', 'CLUSTER_ACCESS_DENIED', 'TOPIC_MISSING']);

async function carryAcls(wave: Wave, now: Structural, carrying: Carrying): Promise<void> {
  const existing = await describeAcls(wave.clusters.target);
  const present = new Set(existing.map(aclKey));
  const approved = new Set(wave.whole.structural.acls.map((acl) => acl.principal));
  const missing = now.acls.filter((acl) => !present.has(aclKey(acl)));
  const wanted = missing.filter((acl) => acl.permission === 'deny' || approved.has(acl.principal));
  const strangers = Map.groupBy(
    missing.filter((acl) => !wanted.includes(acl)),
    (acl) => acl.principal,
  );
  for (const [principal, acls] of strangers) {
    carrying.not(`target: rules of ${principal}`, `nobody has approved its rights: ${listed(acls.map(aclKey))}`);
  }
  const closed = wanted.length === 0 || (await closeFirst(wave, existing, wanted, carrying));
  if (wanted.length > 0 && closed) await carrying.make('acl', { kind: 'create-acls', cluster: 'target', acls: wanted });

  const entries = (await wave.journal.entries()).filter(stands);
  const candidates = rulesToDrop(
    entries.filter((entry) => entry.wave === wave.wave),
    now.acls,
    existing,
  );
  if (candidates.length === 0) return;
  const shown = new Set((await rulesOfAnyBroker(wave)).map(aclKey));
  const others = [...entries.filter((entry) => entry.wave !== wave.wave), ...(await wave.journal.ofOthers('acl'))];
  const relied = new Set(others.filter(stands).flatMap((entry) => rulesMadeBy(entry).map(aclKey)));
  const gone = candidates.filter((acl) => !shown.has(aclKey(acl)));
  for (const acl of gone.filter((one) => relied.has(aclKey(one)))) {
    carrying.not(`target: ${aclKey(acl)}`, 'it is gone from the source, and another wave or migration relies on it');
  }
  const acls = gone.filter((acl) => !relied.has(aclKey(acl)));
  if (acls.length > 0) await carrying.make('acl', { kind: 'delete-acls', cluster: 'target', acls });
}

/**
 * Keeps out whom the new rules would let in, before they are added.
 *
 * @returns false where they would leave the target open to principals that no rule names
 */
async function closeFirst(
  wave: Wave,
  existing: readonly Acl[],
  added: readonly Acl[],
  carrying: Carrying,
): Promise<boolean> {
  const { acls, openEnded } = targetProtection(wave, [...existing, ...added]);
  if (openEnded.length > 0) {
    const why = `they would let anybody in before the target is opened: ${listed(openEnded)}; name fence.principals`;
    carrying.not(`target: ${listed(added.map(aclKey))}`, why);
    return false;
  }
  for (const [purpose, type] of [
    ['protection', 'topic'],
    ['group-protection', 'group'],
  ] as const) {
    const deny = acls.filter((acl) => acl.resourceType === type);
    const change = { kind: 'create-acls', cluster: 'target', acls: deny } as const;
    if (deny.length > 0 && !(await carrying.make(purpose, change))) return false;
  }
  return true;
}

async function carryQuotas(wave: Wave, now: Structural, carrying: Carrying): Promise<void> {
  const existing = await describeQuotas(wave.clusters.target);
  const own = (await wave.journal.entries(wave.wave)).filter(stands);
  const quotas = [
    ...now.quotas.map(({ entity, values }): QuotaChange => ({ entity, set: values, unset: [] })),
    ...quotasToDrop(own, now.quotas, existing),
  ];
  for (const quota of quotas.filter((one) => differs(existing, one))) {
    await carrying.make('quota', { kind: 'alter-quotas', cluster: 'target', quotas: [quota] });
  }
}

async function carryConfigs(wave: Wave, now: Structural, carrying: Carrying): Promise<void> {
  const { target } = wave.clusters;
  const there = topicDefaults(
    Object.fromEntries([...(await brokerConfigs(target))].map(([name, entry]) => [name, entry.value])),
  );
  const existing = await topicConfigs(target, wave.topicNames);
  const own = (await wave.journal.entries(wave.wave)).filter(stands);
  for (const topic of now.topics) {
    const has = existing.get(topic.name);
    if (!has) continue;
    const change = configsToFollow(topic, explicitConfigs(has), { there, before: settingsBefore(own, topic.name) });
    if (change) await carrying.make('target-settings', change);
  }
}

/**
 * What makes the copy's settings those of the source, or null. Those that are suspended while it is mirrored are left alone.
 *
 * @param has explicit settings of the copy
 * @param facts.before what the copy had before us, of the settings that we have given it; null: nothing
 */
export function configsToFollow(
  topic: Structural['topics'][number],
  has: Readonly<Record<string, string>>,
  facts: { readonly there: TopicDefaults; readonly before: ReadonlyMap<string, string | null> },
): Change | null {
  const wanted = carriedConfigs(topic, facts.there, true);
  const set: Record<string, string> = {};
  const unset: string[] = [];
  for (const [name, value] of Object.entries(wanted)) {
    if (!suspended.has(name) && !sameConfigValue(has[name] ?? null, value)) set[name] = value;
  }
  for (const [name, before] of facts.before) {
    if (suspended.has(name) || name in wanted || !(name in has)) continue;
    if (before === null) unset.push(name);
    else if (!sameConfigValue(has[name] ?? null, before)) set[name] = before;
  }
  if (Object.keys(set).length + unset.length === 0) return null;
  return { kind: 'alter-topic-configs', cluster: 'target', topic: topic.name, set, unset };
}

/** Of the settings that the entries gave a target topic, what it had before them; null: nothing of its own. */
export function settingsBefore(entries: readonly JournalEntry[], topic: string): Map<string, string | null> {
  const before = new Map<string, string | null>();
  const note = (name: string, value: string | null) => before.has(name) || before.set(name, value);
  for (const { change, inverse } of entries) {
    if (change.kind === 'create-topic' && change.topic.name === topic) {
      for (const name of Object.keys(change.topic.configs)) note(name, null);
    }
    if (inverse.kind !== 'alter-topic-configs' || inverse.cluster !== 'target' || inverse.topic !== topic) continue;
    // Entries come in the order they were made: the first one knows what there was.
    for (const [name, value] of Object.entries(inverse.set)) note(name, value);
    for (const name of inverse.unset) note(name, null);
  }
  return before;
}

/** Rules that the entries added, that are there, and that the source does not have any more. */
export function rulesToDrop(entries: readonly JournalEntry[], wanted: readonly Acl[], there: readonly Acl[]): Acl[] {
  const [keep, present] = [new Set(wanted.map(aclKey)), new Set(there.map(aclKey))];
  const made = new Map(entries.flatMap(rulesMadeBy).map((acl) => [aclKey(acl), acl]));
  return [...made].filter(([key]) => present.has(key) && !keep.has(key)).map(([, acl]) => acl);
}

function rulesMadeBy({ purpose, change, inverse }: JournalEntry): readonly Acl[] {
  const makes = purpose === 'acl' && change.kind === 'create-acls' && change.cluster === 'target';
  return makes && inverse.kind === 'delete-acls' ? inverse.acls : [];
}

/** Values that the entries set and that the source does not have any more, put back to what there was before. */
export function quotasToDrop(
  entries: readonly JournalEntry[],
  wanted: readonly Quota[],
  there: readonly Quota[],
): QuotaChange[] {
  const before = new Map<string, { entity: Quota['entity']; values: Map<string, number | null> }>();
  for (const { purpose, inverse } of entries) {
    if (purpose !== 'quota' || inverse.kind !== 'alter-quotas') continue;
    for (const { entity, set, unset } of inverse.quotas) {
      const known = before.get(quotaKey(entity)) ?? { entity, values: new Map<string, number | null>() };
      before.set(quotaKey(entity), known);
      for (const [name, value] of Object.entries(set)) if (!known.values.has(name)) known.values.set(name, value);
      for (const name of unset) if (!known.values.has(name)) known.values.set(name, null);
    }
  }
  const drops = [...before].map(([key, { entity, values }]): QuotaChange => {
    const kept = wanted.find((quota) => quotaKey(quota.entity) === key)?.values ?? {};
    const dropped = [...values].filter(([name]) => kept[name] === undefined);
    return {
      entity,
      set: Object.fromEntries(dropped.filter((pair): pair is [string, number] => pair[1] !== null)),
      unset: dropped.filter(([, value]) => value === null).map(([name]) => name),
    };
  });
  return drops.filter((change) => differs(there, change));
}

function differs(there: readonly Quota[], { entity, set, unset }: QuotaChange): boolean {
  const has = there.find((quota) => quotaKey(quota.entity) === quotaKey(entity))?.values ?? {};
  return Object.entries(set).some(([name, value]) => has[name] !== value) || unset.some((name) => name in has);
}

/** Topics and partitions that came or went. A new topic concerns every wave: it changes what all of them were approved with. */
export function topicsChanged(wave: Wave, { topics }: ClusterMetadata): Finding[] {
  const { name: cluster } = wave.clusters.source;
  const matches = matcher(wave.plan.topics);
  const known = new Set(wave.whole.structural.topics.map((topic) => topic.name));
  const found: Finding[] = [];
  for (const topic of topics.values()) {
    if (known.has(topic.name) || isInternal(topic) || !matches(topic.name)) continue;
    const size = `${topic.partitions.length} partitions`;
    found.push(finding('TOPIC_ADDED', `cluster ${cluster}, topic ${topic.name}`, `${size}; the plan matches it`));
  }
  for (const { name, topicId, partitions } of wave.topics) {
    const where = `cluster ${cluster}, topic ${name}`;
    const now = topics.get(name);
    if (!now) {
      found.push(finding('TOPIC_MISSING', where, 'it is gone from the source; its copy on the target stays'));
    } else if (now.topicId !== topicId && now.topicId !== noTopicId && topicId !== noTopicId) {
      found.push(finding('TOPIC_RECREATED', where, `its id is ${now.topicId}, people approved ${topicId}`));
    } else if (now.partitions.length > partitions) {
      const more = `${now.partitions.length} partitions, people approved ${partitions}`;
      found.push(finding('PARTITIONS_ADDED', where, more));
    }
  }
  return found;
}

/** What follows by itself and is otherwise than people approved. */
export function whatChanged(approved: Structural, now: Structural, { clusters }: Wave): Finding[] {
  const cluster = `cluster ${clusters.source.name}`;
  const found: Finding[] = [];
  const say = (code: Code, where: string, lines: readonly string[]) => {
    if (lines.length > 0) found.push(finding(code, where, listed(lines)));
  };
  for (const topic of now.topics) {
    const before = approved.topics.find((one) => one.name === topic.name)?.configs ?? {};
    const names = [...new Set([...Object.keys(before), ...Object.keys(topic.configs)])].sort();
    const lines = names
      .filter((name) => before[name] !== topic.configs[name])
      .map((name) => `${name} ${before[name] ?? 'inherited'} -> ${topic.configs[name] ?? 'inherited'}`);
    say('TOPIC_CONFIG_CHANGED', `${cluster}, topic ${topic.name}`, lines);
  }
  say('ACL_CHANGED', cluster, [
    ...without(now.acls, approved.acls, aclKey).map((acl) => `added: ${aclKey(acl)}`),
    ...without(approved.acls, now.acls, aclKey).map((acl) => `gone: ${aclKey(acl)}`),
  ]);
  const valued = ({ entity, values }: Quota) =>
    `${quotaKey(entity)}: ${Object.entries(values)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}`;
  say('QUOTA_CHANGED', cluster, [
    ...without(now.quotas, approved.quotas, valued).map((quota) => `now: ${valued(quota)}`),
    ...without(approved.quotas, now.quotas, valued).map((quota) => `before: ${valued(quota)}`),
  ]);
  return found;
}

function without<Item>(items: readonly Item[], others: readonly Item[], keyOf: (item: Item) => string): Item[] {
  const known = new Set(others.map(keyOf));
  return items.filter((item) => !known.has(keyOf(item)));
}

function listed(lines: readonly string[]): string {
  const more = lines.length > shownMax ? ` and ${lines.length - shownMax} more` : '';
  return `${lines.slice(0, shownMax).join('; ')}${more}`;
}
