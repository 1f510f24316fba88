/** `kafka-cutover advise`: what preflight reads anyway, put to the choice of a replicator. Changes nothing. */
import type { Plan } from '../contract/plan.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { takeInventory } from '../migration/inventory.ts';
import { isCompacted } from '../migration/needs.ts';
import { gatherFacts } from '../migration/preflight/facts.ts';
import { blockersOf, findFindings } from '../migration/preflight.ts';
import { type Advice, adviseOn, makeOf, type Needs } from '../replicators/advice.ts';
import { Connections } from './connections.ts';

/** What members of a group call themselves when they are not plain consumers: Kafka Connect; Streams names its groups as its applications. */
const statefulProtocols = new Set(['connect', 'streams']);

/** @throws CutoverError as preflight does */
export async function runAdvise(plan: Plan, file: ClustersFile, onStep: (step: string) => void): Promise<Advice> {
  await using connections = new Connections(file);
  onStep('connecting to both clusters');
  const clusters = await connections.pair(plan);
  onStep('listing topics, groups and positions');
  const inventory = await takeInventory(clusters.source, clusters.target, plan);
  const facts = await gatherFacts(clusters.source, clusters.target, inventory, {
    carryConfigs: plan.metadata.configs,
    measure: false,
    onStep,
  });
  const ours: Plan = { ...plan, replicator: { kind: 'exact' } };
  const blockers = blockersOf(findFindings(inventory, ours, facts));
  const names = inventory.structural.topics.map(({ name }) => name);
  const changelogs = names.filter((name) => /-(changelog|repartition)$/.test(name));
  const needs: Needs = {
    source: { name: plan.source, make: makeOf(clusters.source.config.bootstrap, facts.source.brokerConfigs) },
    target: { name: plan.target, make: makeOf(clusters.target.config.bootstrap, facts.target.brokerConfigs) },
    transactional: names.filter(
      (name) => facts.transactional[name] ?? facts.shapes.find(({ topic }) => topic === name)?.transactionalAt,
    ),
    compacted: names.filter((name) => isCompacted(facts.inForce[name]?.['cleanup.policy'])),
    groups: {
      consumers: inventory.structural.groups.length,
      stateful: [
        ...inventory.measured.groups
          .filter(({ protocolType = '' }) => statefulProtocols.has(protocolType))
          .map(({ group }) => group),
        ...changelogs,
      ],
    },
    targetHasRecords: blockers.flatMap(({ code, where }) => (code === 'TARGET_TOPIC_HAS_RECORDS' ? [where] : [])),
    wantsWayBack: plan.rollback.reverseMirror,
    changesRecords: plan.replicator.kind === 'bridge' && plan.replicator.module !== undefined,
    blockersForExact: blockers
      .filter(({ code }) => code !== 'TARGET_TOPIC_HAS_RECORDS')
      .map(({ code, message }) => `${code}: ${message}`),
  };
  return adviseOn(needs);
}
