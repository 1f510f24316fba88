/** `kafka-cutover replicator`: what a dedicated MirrorMaker 2 runs with, for the topics and groups that the plan matches now. Changes nothing. */
import type { Plan } from '../contract/plan.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { topicConfigs } from '../kafka/topics.ts';
import { takeInventory } from '../migration/inventory.ts';
import { dedicatedProperties, dedicatedSecrets, type MirrorMakerPlan } from '../replicators/mirrormaker2-settings.ts';
import { Connections } from './connections.ts';

export async function runDedicated(
  plan: Plan,
  file: ClustersFile,
): Promise<{ readonly properties: string; readonly secrets: readonly string[] }> {
  await using connections = new Connections(file);
  const { source, target } = await connections.pair(plan);
  const { structural } = await takeInventory(source, target, plan);
  const topics = structural.topics.map(({ name }) => name);
  const sizes = [...(await topicConfigs(source, topics)).values()].map((entries) =>
    Number(entries.get('max.message.bytes')?.value ?? 0),
  );
  const properties = dedicatedProperties({
    migration: plan.name,
    wave: 'all',
    direction: 'forward',
    plan: plan.replicator as MirrorMakerPlan,
    clusters: { source: source.config, target: target.config },
    topics,
    groups: structural.groups.map(({ group }) => group),
    targetBrokers: target.brokers.length,
    recordBytesMax: Math.max(0, ...sizes),
    partitions: structural.topics.reduce((sum, { partitions }) => sum + partitions, 0),
  });
  return { properties, secrets: dedicatedSecrets(properties) };
}
