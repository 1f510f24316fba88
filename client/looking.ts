/** A first look at two clusters, for whoever has no plan yet. Changes nothing. */
import { CutoverError } from '../contract/errors.ts';
import { matcher, type Plan } from '../contract/plan.ts';
import { Cluster } from '../kafka/cluster.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { fetchOffsets, listGroups } from '../kafka/groups.ts';
import { isInternal } from '../migration/inventory.ts';
import type { Seen } from './init-files.ts';
import { printable } from './terminal.ts';

export interface Look {
  /** Partitions by topic, without internal ones. */
  readonly topics: ReadonlyMap<string, number>;
  /** Topics that the group has positions on, by group. */
  readonly groups: ReadonlyMap<string, ReadonlySet<string>>;
  readonly seen: (plan: Plan) => Seen;
}

const prefixesShownMax = 8;

/** Null, with a note, where a cluster cannot be looked at; a name that the file does not have is a mistake all the same. */
export async function looking(
  clusters: () => Promise<ClustersFile>,
  source: string,
  target: string,
  notes: string[],
): Promise<Look | null> {
  try {
    const file = await clusters();
    await using from = await Cluster.connect(file.cluster(source));
    await using into = await Cluster.connect(file.cluster(target));
    const listed = [...(await from.metadata(null)).topics.values()].filter((topic) => !isInternal(topic));
    const topics = new Map(listed.map((topic) => [topic.name, topic.partitions.length] as const));
    const readable = (await listGroups(from)).filter(({ type }) => type === 'classic' || type === 'consumer');
    const positions = await fetchOffsets(
      from,
      readable.map(({ group }) => group),
      { requireStable: false, keep: (topic) => topics.has(topic) },
    );
    const groups = new Map(
      [...positions].map(([group, all]) => [group, new Set([...all.values()].map(({ topic }) => topic))] as const),
    );
    const brokers = { sourceBrokers: from.brokers.length, targetBrokers: into.brokers.length };
    return { topics, groups, seen: (plan) => ({ ...seenBy(plan, topics, groups), ...brokers }) };
  } catch (error) {
    if (!(error instanceof CutoverError) || error.code === 'CLUSTER_UNKNOWN') throw error;
    notes.push(`not looked at: ${error.message}`);
    return null;
  }
}

function seenBy(
  plan: Plan,
  topics: Look['topics'],
  groups: Look['groups'],
): Omit<Seen, 'sourceBrokers' | 'targetBrokers'> {
  const matches = matcher(plan.topics);
  const moved = [...topics].filter(([topic]) => matches(topic));
  const wanted = plan.groups ? matcher(plan.groups) : null;
  return {
    topics: moved.length,
    partitions: moved.reduce((sum, [, partitions]) => sum + partitions, 0),
    groups: [...groups]
      .filter(([group, read]) => (wanted ? wanted(group) : moved.some(([topic]) => read.has(topic))))
      .map(([group]) => group)
      .sort(),
    otherTopics: [...topics.keys()].filter((topic) => !matches(topic)).sort(),
  };
}

/** What the source holds, by the first word of the names: what a pattern is usually about. */
export function topicNames({ topics }: Pick<Look, 'topics'>): string[] {
  const prefixes = Map.groupBy(topics.keys(), (topic) => topic.split(/[._-]/)[0] ?? '');
  const rows = [...prefixes].map(([prefix, names]) => [prefix, names.length] as const).sort((a, b) => b[1] - a[1]);
  const rest = rows.length - prefixesShownMax;
  return [
    `  ${topics.size} topics:`,
    ...rows.slice(0, prefixesShownMax).map(([prefix, count]) => `    ${count} that begin with ${printable(prefix)}`),
    ...(rest > 0 ? [`    and ${rest} other beginnings`] : []),
  ];
}
