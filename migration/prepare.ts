/**
 * Makes the target ready: topics that keep every byte as it arrives, applications kept out, rules and quotas
 * carried, the mirrors let in. Everything goes through the journal, so all of it can be undone.
 */
import { CutoverError } from '../contract/errors.ts';
import { capabilitiesOf } from '../contract/replicators.ts';
import { type Acl, describeAcls } from '../kafka/acls.ts';
import { describeQuotas } from '../kafka/quotas.ts';
import { brokerConfigs, type ConfigEntry, growTopic, topicConfigs } from '../kafka/topics.ts';
import {
  type Fence,
  mappedPrincipal,
  mirrorAcls,
  missingAcls,
  ownershipAcls,
  principalsOf,
  protectionAcls,
  writerOf,
} from './acls.ts';
import { suspendBrokerSettings } from './broker-settings.ts';
import type { Change, Side } from './change.ts';
import { aclsOrNull, explicitConfigs } from './inventory.ts';
import { stands } from './journal.ts';
import { recordLeaders } from './leaders.ts';
import { newestTopics } from './newest.ts';
import { poolNames } from './principals-pool.ts';
import { ensureProducerIds } from './producer-ids.ts';
import { missingQuotas } from './quotas.ts';
import { carrySchemas } from './schemas.ts';
import {
  carriedConfigs,
  type ExistingTopic,
  finishTopic,
  openTopic,
  prepareTopic,
  suspendSource,
  type TopicDefaults,
  topicDefaults,
} from './topics.ts';
import { fencePrincipals, type Wave } from './wave.ts';

export interface Prepared {
  readonly topicsCreated: number;
  readonly topicsReused: number;
  readonly aclsAdded: number;
  readonly quotasSet: number;
  /** Users that stand on the target because this wave created them. */
  readonly scramUsers: readonly string[];
  /** Versions that the target's registry has got from this wave. */
  readonly schemas: number;
  readonly changes: number;
}

/**
 * Topics, protection, rules, quotas, the mirrors' rights and producer ids. Applications are kept out before any rule that
 * would let them in is carried.
 *
 * @throws CutoverError ACL_OPEN_ENDED, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED
 */
export async function prepareTarget(wave: Wave): Promise<Prepared> {
  const { clusters, journal, plan } = wave;
  const { structural } = wave.inventory;
  // What an earlier run of this plan left for its way back: settings of an open target, the forward mirror denied.
  await journal.undo(wave.wave, ['opening-target', 'shut-out-forward']);
  const { ownsTopics } = capabilitiesOf(plan);
  if (!ownsTopics) await growCopies(wave);
  const topics = ownsTopics ? { created: [], altered: [] } : await topicChanges(wave);
  let changes = await journal.make(wave.wave, 'topic', topics.created);
  changes += await journal.make(wave.wave, 'target-settings', topics.altered);

  const authorizer = wave.inventory.measured.target.authorizer;
  let aclsAdded = 0;
  if (authorizer) {
    const existing = await describeAcls(clusters.target);
    const protection = targetProtection(wave, [...existing, ...structural.acls]);
    const deny = (type: 'topic' | 'group') => protection.acls.filter((acl) => acl.resourceType === type);
    changes += await makeAcls(wave, 'protection', 'target', deny('topic'));
    changes += await makeAcls(wave, 'group-protection', 'target', deny('group'));
    const missing = missingAcls('target', structural.acls, existing);
    aclsAdded = missing?.kind === 'create-acls' ? missing.acls.length : 0;
    // All of them: those that stand because of another migration must be held by this one too.
    changes += await makeAcls(wave, 'acl', 'target', structural.acls);
  }
  const scramUsers = await createScramUsers(wave);
  const quotas = missingQuotas(structural.quotas, await describeQuotas(clusters.target));
  if (quotas) changes += await journal.make(wave.wave, 'quota', [quotas]);

  const schemas = await carrySchemas(wave);

  await letMirrorsIn(wave);
  changes += await suspendBrokerSettings(wave, 'target');
  if (!ownsTopics) await recordLeaders(wave, 'target');
  await ensureProducerIds(wave, 'forward', clusters.target, wave.partitions);
  if (plan.rollback.reverseMirror) {
    await ensureProducerIds(wave, 'reverse', clusters.source, wave.partitions);
  }
  return {
    topicsCreated: topics.created.length,
    topicsReused: topics.altered.length,
    aclsAdded,
    quotasSet: structural.quotas.length,
    scramUsers,
    schemas,
    changes,
  };
}

/**
 * What keeps applications out of the target until it opens.
 *
 * @param acls the target's rules, with those that are about to be added
 */
export function targetProtection(wave: Wave, acls: readonly Acl[]): Fence {
  const pool = new Set(poolNames(wave.clusters.target.config));
  const { acls: deny, openEnded } = protectionAcls(
    { ...wave.facts.target, acls },
    { topics: wave.topicNames, groups: wave.groups },
    { principals: fencePrincipals(wave, 'target'), exempt: wave.ours.target },
  );
  return { acls: deny.filter((acl) => !pool.has(acl.principal)), openEnded };
}

/**
 * Creates the users that clusters.yaml gives a password for, where the plan's applications need them and the target has no credential of that
 * name. A user that is there is never touched.
 */
async function createScramUsers(wave: Wave): Promise<string[]> {
  const { source, target } = wave.clusters;
  if (target.config.scramUsers.size === 0) return [];
  const principals = principalsOf((await aclsOrNull(source)) ?? [], wave.topicNames, wave.groups);
  const needed = new Set([...principals].map((principal) => mappedPrincipal(wave.plan, principal)));
  const users = [...target.config.scramUsers]
    .filter(([user]) => needed.has(`User:${user}`))
    .map(([user, { mechanism }]) => ({ user, mechanism }));
  for (const user of users) {
    await wave.journal.make(wave.wave, 'scram-user', [
      { kind: 'create-scram-users', cluster: 'target', users: [user] },
    ]);
  }
  const entries = (await wave.journal.entries(wave.wave)).filter(stands);
  return entries
    .flatMap(({ change }) => (change.kind === 'create-scram-users' ? change.users : []))
    .map(({ user }) => user);
}

/** The mirrors' own rights on both clusters, where there is an authorizer. */
export async function letMirrorsIn(wave: Wave): Promise<void> {
  const directions = { forward: true, reverse: wave.plan.rollback.reverseMirror };
  for (const side of ['source', 'target'] as const) {
    if (!wave.inventory.measured[side].authorizer) continue;
    const rules = { ...wave.facts[side], acls: await describeAcls(wave.clusters[side]) };
    const ours = wave.ours[side];
    const writer = writerOf(side);
    await makeAcls(wave, 'mirror-access', side, mirrorAcls(side, rules, wave.topicNames, ours, directions));
    // What owns markers is our own mirror.
    if (!wave.plan.metadata.acls || !capabilitiesOf(wave.plan).ourProducers) continue;
    await makeAcls(wave, 'mirror-access', side, ownershipAcls(side, rules, ours, directions));
    const writes = { forward: false, reverse: false, [writer]: directions[writer] };
    for (const name of poolNames(wave.clusters[side].config)) {
      const pooled = { ...ours, [writer]: name };
      await makeAcls(wave, 'mirror-access', side, [
        ...mirrorAcls(side, rules, wave.topicNames, pooled, writes),
        ...ownershipAcls(side, rules, pooled, writes),
      ]);
    }
  }
}

/** Source topics made ready for the reverse mirror, which must be able to write every byte as it is. */
export async function suspendSourceSettings(wave: Wave): Promise<number> {
  if (capabilitiesOf(wave.plan).ownsTopics) return 0;
  const here = await defaultsOf(wave, 'source');
  const configs = await topicConfigs(wave.clusters.target, wave.topicNames);
  const changes = wave.topics.map((topic) =>
    suspendSource(topic.name, here, numberOf(configs.get(topic.name), 'max.message.bytes')),
  );
  const changed = await wave.journal.make(wave.wave, 'source-settings', changes);
  await suspendBrokerSettings(wave, 'source');
  await recordLeaders(wave, 'source');
  return changed;
}

/** Message settings of the cluster that is about to be opened, from the source's newest; retention waits for the end. */
export async function restoreMessageSettings(wave: Wave, side: Side): Promise<number> {
  if (capabilitiesOf(wave.plan).ownsTopics) return 0;
  const there = await defaultsOf(wave, side);
  const had = await targetSettingsBefore(wave);
  const changes = (await newestTopics(wave)).map((topic) => {
    const change = openTopic(topic.name, inTheEnd(wave, side, topic, there, had), there);
    return { ...change, cluster: side } as Change;
  });
  return wave.journal.make(wave.wave, `opening-${side}`, changes);
}

/** Retention of the target, at the very end. */
export async function restoreRetention(wave: Wave): Promise<number> {
  if (capabilitiesOf(wave.plan).ownsTopics) return 0;
  const there = await defaultsOf(wave, 'target');
  const had = await targetSettingsBefore(wave);
  const changes = (await newestTopics(wave)).map((topic) =>
    finishTopic(topic.name, inTheEnd(wave, 'target', topic, there, had), there),
  );
  return wave.journal.make(wave.wave, 'target-settings', changes);
}

/**
 * Partitions that the source has got since we created its copy. They cannot be taken away again, only with the topic, which the journal knows; so only
 * topics that we created grow.
 */
async function growCopies(wave: Wave): Promise<void> {
  const created = new Set(
    (await wave.journal.entries(wave.wave))
      .filter(stands)
      .flatMap(({ change }) => (change.kind === 'create-topic' ? [change.topic.name] : [])),
  );
  const { topics } = await wave.clusters.target.metadata(wave.topicNames);
  for (const { name, partitions } of wave.topics) {
    const found = topics.get(name);
    if (!found || !created.has(name) || found.partitions.length >= partitions) continue;
    wave.beforeSend();
    await growTopic(wave.clusters.target, name, partitions);
  }
}

/**
 * @throws CutoverError PARTITIONS_ADDED when the source has more partitions than people approved: what is written to them would stay there
 */
export async function refuseAddedPartitions(wave: Wave): Promise<void> {
  const { topics } = await wave.clusters.source.metadata(wave.topicNames);
  for (const { name, partitions } of wave.topics) {
    const now = topics.get(name)?.partitions.length ?? partitions;
    if (now <= partitions) continue;
    throw new CutoverError('PARTITIONS_ADDED', {
      what: 'partitions were added that nobody has approved or mirrored',
      where: `cluster ${wave.clusters.source.name}, topic ${name}`,
      found: `${now} partitions`,
      wanted: `${partitions} partitions`,
    });
  }
}

async function topicChanges(wave: Wave): Promise<{ created: Change[]; altered: Change[] }> {
  const { source, target } = wave.clusters;
  const metadata = await target.metadata(wave.topicNames);
  const there = await defaultsOf(wave, 'target');
  const existing = await topicConfigs(target, [...metadata.topics.keys()]);
  const inForce = await topicConfigs(source, wave.topicNames);
  const created: Change[] = [];
  const altered: Change[] = [];
  for (const topic of wave.topics) {
    const found = metadata.topics.get(topic.name);
    const now: ExistingTopic | undefined = found && {
      partitions: found.partitions.length,
      replicationFactor: Math.max(...found.partitions.map((p) => p.replicas.length)),
      configs: explicitConfigs(existing.get(topic.name)),
    };
    const change = prepareTopic(topic, now, {
      there,
      liveBrokers: metadata.brokers.length,
      carryConfigs: wave.plan.metadata.configs,
      sourceMaxMessageBytes: numberOf(inForce.get(topic.name), 'max.message.bytes'),
    });
    (change.kind === 'create-topic' ? created : altered).push(change);
  }
  return { created, altered };
}

/** What the topic has in the end: the source's own settings there; on the target the carried ones, over those it had before us. */
function inTheEnd(
  wave: Wave,
  side: Side,
  topic: Wave['topics'][number],
  there: TopicDefaults,
  had: ReadonlyMap<string, Readonly<Record<string, string>>>,
): Readonly<Record<string, string>> {
  if (side === 'source') return topic.configs;
  return { ...had.get(topic.name), ...carriedConfigs(topic, there, wave.plan.metadata.configs) };
}

/** Settings that target topics had before we touched them; topics that we created had none. */
async function targetSettingsBefore(wave: Wave): Promise<Map<string, Record<string, string>>> {
  const before = new Map<string, Record<string, string>>();
  const created = new Set<string>();
  for (const entry of await wave.journal.entries(wave.wave)) {
    const { purpose, change, inverse } = entry;
    if (change.kind === 'create-topic' && entry.state !== 'undone') created.add(change.topic.name);
    if (!stands(entry) || purpose !== 'target-settings' || inverse.kind !== 'alter-topic-configs') continue;
    // The first entry knows what the user had; a topic that we created never had settings of its own.
    if (!created.has(inverse.topic) && !before.has(inverse.topic)) before.set(inverse.topic, { ...inverse.set });
  }
  return before;
}

async function defaultsOf(wave: Wave, side: Side): Promise<TopicDefaults> {
  const entries = await brokerConfigs(wave.clusters[side]);
  return topicDefaults(Object.fromEntries([...entries].map(([name, entry]) => [name, entry.value])));
}

function numberOf(configs: ReadonlyMap<string, ConfigEntry> | undefined, name: string): number {
  return Number(configs?.get(name)?.value ?? 0);
}

async function makeAcls(
  wave: Wave,
  purpose: 'protection' | 'group-protection' | 'mirror-access' | 'acl',
  cluster: Side,
  acls: Parameters<typeof missingAcls>[1],
): Promise<number> {
  return acls.length === 0 ? 0 : wave.journal.make(wave.wave, purpose, [{ kind: 'create-acls', cluster, acls }]);
}
