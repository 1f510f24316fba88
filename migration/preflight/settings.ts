/** Settings that would differ, bite or be lost on the target. */
import { type Finding, finding } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import type { Inventory } from '../inventory.ts';
import {
  carriedConfigs,
  configsLeftOut,
  inheritedThatMatter,
  replicationFactorThere,
  sameInherited,
  topicDefaults,
} from '../topics.ts';
import type { Facts, Known } from './facts.ts';
import { list } from './wording.ts';

export function aboutSettings({ structural, measured }: Inventory, plan: Plan, facts: Facts, known: Known): Finding[] {
  const found: Finding[] = [];
  const there = topicDefaults(facts.target.brokerConfigs);
  const inherited = new Map<string, Map<string, string[]>>();
  const unknown = new Map<string, string[]>();
  for (const topic of structural.topics) {
    const existing = facts.targetTopics[topic.name];
    const where = `topic ${topic.name}`;
    const replicas =
      existing?.replicationFactor ?? replicationFactorThere(topic.replicationFactor, measured.target.brokers);
    if (replicas < topic.replicationFactor) {
      const message = `${topic.replicationFactor} replicas on the source, ${replicas} on the target (${measured.target.brokers} brokers)`;
      found.push(finding('REPLICATION_FACTOR_REDUCED', where, message));
    }
    const carried = carriedConfigs(topic, there, plan.metadata.configs);
    // A topic that we made has settings for mirroring now, which say nothing about the end.
    const kept = known.provenCopies.has(topic.name) ? undefined : existing?.configs;
    const inTheEnd = (name: string) => carried[name] ?? kept?.[name] ?? there.inherited(name);
    const minInSync = Number(inTheEnd('min.insync.replicas') ?? 1);
    if (minInSync > replicas) {
      const message = `min.insync.replicas would be ${minInSync} with ${replicas} replicas on the target`;
      found.push(finding('MIN_INSYNC_ABOVE_REPLICAS', where, message));
    }
    found.push(...aboutSize(topic.name, facts, inTheEnd));
    if (kept && !known.created?.has(topic.name)) found.push(...aboutReplaced(topic.name, carried, kept));
    if (plan.metadata.configs) for (const name of configsLeftOut(topic, there)) push(unknown, name, topic.name);
    for (const name of inheritedThatMatter) {
      const here = facts.inForce[topic.name]?.[name] ?? null;
      const then = inTheEnd(name);
      if (name in carried || name === 'max.message.bytes' || then === undefined || here === null) continue;
      if (sameInherited(here, then)) continue;
      const values = `${here} on the source, ${then ?? 'none'} on the target`;
      if (!inherited.has(name)) inherited.set(name, new Map());
      push(inherited.get(name) as Map<string, string[]>, values, topic.name);
    }
  }
  if (plan.metadata.configs) {
    for (const [topic, names] of Object.entries(facts.unreadable)) {
      found.push(finding('CONFIG_UNREADABLE', `topic ${topic}`, `set, and hidden by the brokers: ${list(names)}`));
    }
  }
  for (const [name, topics] of unknown) {
    found.push(finding('CONFIG_UNSUPPORTED', `setting ${name}`, `not copied, set on ${list(topics)}`));
  }
  for (const [name, byValue] of inherited) {
    for (const [values, topics] of byValue) {
      found.push(finding('CONFIG_INHERITED_DIFFERS', `setting ${name}`, `${values}, for ${list(topics)}`));
    }
  }
  return found;
}

/** Explicit settings of a target topic that somebody else made, where the source's come in their place. */
function aboutReplaced(
  topic: string,
  carried: Readonly<Record<string, string>>,
  kept: Readonly<Record<string, string>>,
): Finding[] {
  const replaced = Object.entries(carried).flatMap(([name, value]) => {
    const now = kept[name];
    return now === undefined || sameInherited(now, value) ? [] : [`${name} ${now} becomes ${value}`];
  });
  return replaced.length === 0 ? [] : [finding('CONFIG_REPLACED', `target, topic ${topic}`, replaced.join(', '))];
}

function aboutSize(topic: string, facts: Facts, inTheEnd: (name: string) => string | null | undefined): Finding[] {
  const here = Number(facts.inForce[topic]?.['max.message.bytes'] ?? 0);
  const there = Number(inTheEnd('max.message.bytes') ?? Number.POSITIVE_INFINITY);
  const request = Number(facts.target.brokerConfigs['socket.request.max.bytes'] ?? Number.POSITIVE_INFINITY);
  const where = `target, topic ${topic}`;
  if (here > request) {
    const message = `the source takes batches of ${here} bytes, a request to the target may have ${request}`;
    return [finding('MESSAGE_SIZE_LIMIT', where, message, 'Raise socket.request.max.bytes on the target brokers.')];
  }
  if (here <= there) return [];
  const message = `the source takes batches of ${here} bytes, the target would take ${there}`;
  const next = 'Set max.message.bytes on the source topic, or raise message.max.bytes on the target brokers.';
  return [finding('MESSAGE_SIZE_LIMIT', where, message, next)];
}

function push(map: Map<string, string[]>, key: string, item: string): void {
  const items = map.get(key);
  if (items) items.push(item);
  else map.set(key, [item]);
}
