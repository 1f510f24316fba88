/** Who writes to the moved topics, as far as anything tells: rules, ids of producers, records that come. */
import { type Finding, finding } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import { writersOf } from '../authorizer.ts';
import type { Inventory } from '../inventory.ts';
import { rulesOf } from './access.ts';
import type { Facts } from './facts.ts';
import { list } from './wording.ts';

export function aboutWriters({ structural }: Inventory, plan: Plan, facts: Facts): Finding[] {
  const topics = structural.topics.map((topic) => topic.name);
  if (topics.length === 0 || facts.measurements === null) return [];
  const { acls, producersTold } = facts.source;
  const rules = rulesOf(facts.source);
  const allowed = new Map(topics.map((topic) => [topic, writersOf(rules, topic)]));
  const ours = new Set<string | null>(Object.values(facts.source.access.principals));
  const named = [...new Set([...allowed.values()].flatMap((who) => who.named))].filter((who) => !ours.has(who)).sort();
  const withIds = topics.filter((topic) => (facts.producers[topic] ?? 0) > 0).length;
  const { arrived } = facts.measurements;
  const moving = topics.filter((topic) => (arrived[topic] ?? 0) > 0);
  const told = [
    acls === null ? 'no access rules say who may write' : `the rules let ${list(named) || 'nobody by name'} write`,
    producersTold
      ? `ids of producers are known on ${withIds} of ${topics.length} topics`
      : 'brokers tell no ids of producers',
    moving.length > 0
      ? `records came to ${list(moving)} while preflight looked`
      : 'no record came while preflight looked',
  ];
  const found = [finding('WRITERS_SEEN', 'source', told.join('; '))];
  const nameless = moving.filter((topic) => producersTold && (facts.producers[topic] ?? 0) === 0);
  if (nameless.length > 0) {
    const message = `records came to ${list(nameless)}, where no partition knows a producer: writers without idempotence leave no trace`;
    found.push(finding('WRITERS_UNSEEN', 'source', message));
  }
  const unfenced = moving.filter((topic) => {
    const who = allowed.get(topic);
    return plan.fence.kind === 'acl' && acls !== null && who !== undefined && who.named.length === 0 && !who.everybody;
  });
  if (unfenced.length > 0) {
    const message = `records came to ${list(unfenced)}, which no rule lets anybody write: a super user writes`;
    found.push(finding('WRITER_NOT_FENCED', 'source', message));
  }
  return found;
}
