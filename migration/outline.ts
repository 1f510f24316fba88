/** What a plan would make of the target, topic by topic, beside what the source has: for people, before anything is approved. Pure. */
import type { Plan } from '../contract/plan.ts';
import { aclKey } from '../kafka/acls.ts';
import { quotaDifference } from '../kafka/quotas.ts';
import type { Inventory } from './inventory.ts';
import type { Facts } from './preflight/facts.ts';
import { carriedConfigs, configsLeftOut, replicationFactorThere, topicDefaults } from './topics.ts';

export interface SettingOutline {
  readonly name: string;
  /** Explicit values; null: inherited. */
  readonly source: string | null;
  /** As it is on the target now; null: inherited, or the topic is not there. */
  readonly now: string | null;
  /** As it is there in the end. */
  readonly final: string | null;
}

export interface TopicOutline {
  readonly topic: string;
  readonly what: 'create' | 'use';
  readonly partitions: number;
  readonly replicationFactor: { readonly source: number; readonly target: number };
  /** Those that are explicit on either side. */
  readonly settings: readonly SettingOutline[];
  /** Of the source's, that the target does not get: it does not know them, or they are about one cluster's machines. */
  readonly leftOut: readonly string[];
}

export interface Outline {
  readonly topics: readonly TopicOutline[];
  /** Access rules and quotas that the target must have in the end, and how many of them are there already. */
  readonly rules: { readonly wanted: number; readonly there: number };
  readonly quotas: { readonly wanted: number; readonly there: number };
}

/** @param ours target topics that our journal says we created */
export function outlineOf(
  plan: Plan,
  { structural, measured }: Inventory,
  { target, targetTopics }: Facts,
  ours: ReadonlySet<string>,
): Outline {
  const there = topicDefaults(target.brokerConfigs);
  const rules = new Set(target.acls?.map(aclKey));
  const { acls, quotas } = structural;
  return {
    topics: structural.topics.map((topic) => {
      const existing = targetTopics[topic.name];
      const carried = carriedConfigs(topic, there, plan.metadata.configs);
      const now = existing?.configs ?? {};
      // What people gave an existing topic, and the source has not, stays. Of a copy that we made all is ours.
      const final = { ...(ours.has(topic.name) ? {} : now), ...carried };
      const names = [...new Set([...Object.keys(topic.configs), ...Object.keys(now)])].sort();
      const leftOut = plan.metadata.configs ? configsLeftOut(topic, there) : Object.keys(topic.configs).sort();
      return {
        topic: topic.name,
        what: existing ? 'use' : 'create',
        partitions: topic.partitions,
        replicationFactor: {
          source: topic.replicationFactor,
          target:
            existing?.replicationFactor ?? replicationFactorThere(topic.replicationFactor, measured.target.brokers),
        },
        settings: names.map((name) => ({
          name,
          source: topic.configs[name] ?? null,
          now: now[name] ?? null,
          final: final[name] ?? null,
        })),
        leftOut,
      };
    }),
    rules: { wanted: acls.length, there: acls.filter((acl) => rules.has(aclKey(acl))).length },
    quotas: {
      wanted: quotas.length,
      there: quotas.filter(
        ({ entity, values }) => quotaDifference(target.quotas, { entity, set: values, unset: [] }) === null,
      ).length,
    },
  };
}
