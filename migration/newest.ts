/**
 * What the source has at this moment of what people approved: the same topics and groups, with the settings, access rules and quotas of
 * now. The target follows these until the switch, opens with them, and is compared with them at the end.
 */
import { type Acl, aclKey, describeAcls } from '../kafka/acls.ts';
import { describeQuotas } from '../kafka/quotas.ts';
import { topicConfigs } from '../kafka/topics.ts';
import { carriedAcls, type Moved, principalsOf } from './acls.ts';
import { aclsOrNull, explicitConfigs, type Structural } from './inventory.ts';
import { type OursOnSource, oursOnSource } from './proven.ts';
import { carriedQuotas } from './quotas.ts';
import type { TopicShape } from './topics.ts';
import type { Wave } from './wave.ts';
import { partOf } from './waves.ts';

/**
 * The wave's part of the approved inventory, with the newest values. What we changed on the source ourselves shows as it was.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function newest(wave: Wave): Promise<Structural> {
  const { source } = wave.clusters;
  const { acls: carryAcls, quotas: carryQuotas } = wave.plan.metadata;
  const replaced = oursOnSource(await wave.journal.entries());
  const rules = applicationRules((await aclsOrNull(source)) ?? [], replaced);
  const { topics, groups } = movedByPlan(wave);
  const part = partOfWave(wave, {
    acls: carryAcls ? carriedRules(wave, rules) : [],
    quotas: carryQuotas
      ? carriedQuotas(await describeQuotas(source), principalsOf(rules, topics, groups), wave.plan)
      : [],
  });
  return { ...part, topics: await withNewestConfigs(wave, replaced) };
}

/** The wave's topics with the newest settings of the source; those that are gone there with the approved ones. */
export async function newestTopics(wave: Wave): Promise<readonly TopicShape[]> {
  return withNewestConfigs(wave, oursOnSource(await wave.journal.entries()));
}

/**
 * The wave's rules that at least one live broker of the source still has: a broker that has just started may not have read them all, so
 * what a single one does not show is not gone yet.
 */
export async function rulesOfAnyBroker(wave: Wave): Promise<readonly Acl[]> {
  const { source } = wave.clusters;
  const replaced = oursOnSource(await wave.journal.entries());
  const { brokers } = await source.metadata([]);
  const found = new Map<string, Acl>();
  for (const { id } of brokers) {
    for (const acl of await describeAcls(source, { broker: id })) found.set(aclKey(acl), acl);
  }
  const acls = carriedRules(wave, applicationRules([...found.values()], replaced));
  return partOfWave(wave, { acls, quotas: [] }).acls;
}

function movedByPlan({ whole: { structural } }: Wave): Moved {
  return {
    topics: structural.topics.map((topic) => topic.name),
    groups: structural.groups.map((group) => group.group),
  };
}

function applicationRules(acls: readonly Acl[], { aclKeys }: OursOnSource): Acl[] {
  return acls.filter((acl) => !aclKeys.has(aclKey(acl)));
}

function carriedRules(wave: Wave, acls: readonly Acl[]): Acl[] {
  return carriedAcls({ acls }, movedByPlan(wave), wave.plan, wave.ours.source);
}

function partOfWave({ plan, whole, wave }: Wave, now: Pick<Structural, 'acls' | 'quotas'>): Structural {
  return partOf(plan, { ...whole, structural: { ...whole.structural, ...now } }, wave).structural;
}

async function withNewestConfigs(wave: Wave, { configs: replaced }: OursOnSource): Promise<readonly TopicShape[]> {
  const now = await topicConfigs(wave.clusters.source, wave.topicNames);
  return wave.topics.map((topic) => {
    const configs = now.get(topic.name);
    return configs ? { ...topic, configs: explicitConfigs(configs, replaced.get(topic.name)) } : topic;
  });
}
