/** What stands on the target already. */
import { type Finding, finding } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import { capabilitiesOf } from '../../contract/replicators.ts';
import type { Inventory } from '../inventory.ts';
import type { Facts, Known } from './facts.ts';
import { list } from './wording.ts';

export function aboutTopics({ structural, measured }: Inventory, plan: Plan, facts: Facts, known: Known): Finding[] {
  const found: Finding[] = [];
  for (const topic of measured.internalTopics) {
    found.push(finding('TOPIC_INTERNAL', `topic ${topic}`, 'matches topics.include, is internal, and is left out'));
  }
  if (structural.topics.length === 0) {
    const rule = `include ${plan.topics.include.join(', ')}; exclude ${plan.topics.exclude.join(', ') || 'nothing'}`;
    found.push(finding('NO_TOPICS', 'source', `no topic matches (${rule})`));
  }
  // Equal clusters would make each topic its own target: SAME_CLUSTER says it all.
  if (structural.sourceClusterId === structural.targetClusterId) return found;
  for (const [why, topics] of byReason(facts.measurements?.unjudged ?? {})) {
    found.push(finding('TARGET_NOT_JUDGED', 'target', `${why}, of ${list(topics)}`));
  }
  // Whether a topic there is its own, only the replicator can tell.
  if (capabilitiesOf(plan).ownsTopics) return found;
  for (const topic of structural.topics) {
    const existing = facts.targetTopics[topic.name];
    const where = `target, topic ${topic.name}`;
    const refused = facts.measurements?.refused[topic.name];
    if (refused !== undefined) found.push(finding('TARGET_REFUSES_TOPIC', where, refused));
    if (!existing) continue;
    if (existing.internal) found.push(finding('TARGET_TOPIC_INTERNAL', where, "is one of Kafka's own there"));
    const proven = known.provenCopies.has(topic.name);
    if (existing.partitions < topic.partitions && known.created?.has(topic.name)) {
      const shape = `${topic.partitions} partitions on the source, ${existing.partitions} on the copy that we made`;
      found.push(finding('TARGET_TOPIC_GROWS', where, shape));
    } else if (existing.partitions !== topic.partitions) {
      const shape = `${existing.partitions} partitions, the source has ${topic.partitions}`;
      found.push(finding('TARGET_TOPIC_DIFFERS', where, shape));
    } else if (existing.written && !proven) {
      const what = existing.records > 0 ? `${existing.records} records` : 'no records any more, but offsets above 0';
      found.push(finding('TARGET_TOPIC_HAS_RECORDS', where, `holds ${what}, and is not a copy that we made`));
    } else {
      const state = proven
        ? 'is a copy that we made, and mirroring goes on from its end'
        : 'exists, is empty, and will be used';
      found.push(finding('TARGET_TOPIC_EXISTS', where, state));
    }
  }
  return found;
}

function byReason(unjudged: Readonly<Record<string, string>>): Map<string, string[]> {
  const topics = new Map<string, string[]>();
  for (const [topic, why] of Object.entries(unjudged)) topics.set(why, [...(topics.get(why) ?? []), topic]);
  return topics;
}
