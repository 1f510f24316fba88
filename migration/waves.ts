/**
 * A plan's waves: which topics and groups belong to which, and what must not be torn apart. Pure, but for `gatherSplitFacts`.
 *
 * A topic belongs to the one wave that names it. A group belongs to the wave whose `groups` names it; where none does, to the last
 * of the waves without `groups` that holds a topic it reads, so that until then it finds all it reads where it is.
 */

import { type Finding, finding } from '../contract/errors.ts';
import { matcher, type Plan } from '../contract/plan.ts';
import { onlyWave } from '../contract/status.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { partitionOf } from '../kafka/offsets.ts';
import { describeProducers, producersAreTold } from '../kafka/producers.ts';
import { listTransactions, transactionsAreTold } from '../kafka/transactions.ts';
import { covering } from './authorizer.ts';
import { type Inventory, isInternal } from './inventory.ts';

type PlanWaves = Pick<Plan, 'waves'>;

export interface WaveParts {
  /** In the order of the plan; one that is called `all` where it names none. */
  readonly waves: readonly {
    readonly name: string;
    readonly topics: readonly string[];
    readonly groups: readonly string[];
  }[];
  /** What belongs to no wave or to several, one line each. */
  readonly problems: readonly string[];
}

/** What a transactional producer has written to, as far as brokers remember it. */
export interface WrittenTogether {
  readonly transactionalId: string;
  readonly topics: readonly string[];
  /** Partitions of `__consumer_offsets` with positions that its transactions committed. */
  readonly offsetsPartitions: readonly number[];
}

export interface SplitFacts {
  readonly producers: readonly WrittenTogether[];
  /** Of `__consumer_offsets` on the source: says which groups may be meant. */
  readonly offsetsPartitionCount: number;
  /** Topics that look like those that Kafka Streams makes for an application, whether the plan moves them or not. */
  readonly streamsTopics: readonly string[];
}

const offsetsTopic = '__consumer_offsets';
/** As Kafka Streams ends the names of what it makes: `<application id>-<name>-changelog`. */
const streamsEndings = [
  '-changelog',
  '-repartition',
  '-subscription-registration-topic',
  '-subscription-response-topic',
];

/** Every wave of the plan with what is in it. */
export function splitByWave(plan: PlanWaves, { structural, measured }: Inventory): WaveParts {
  const topics = structural.topics.map((topic) => topic.name);
  const groups = structural.groups.map((group) => group.group);
  if (plan.waves.length === 0) return { waves: [{ name: onlyWave, topics, groups }], problems: [] };
  const problems: string[] = [];
  const waves = plan.waves.map((wave) => ({
    name: wave.name,
    hasTopic: matcher(wave.topics),
    hasGroup: wave.groups ? matcher(wave.groups) : null,
    topics: [] as string[],
    groups: [] as string[],
  }));
  const only = (what: string, found: typeof waves) => {
    if (found.length === 1) return found[0];
    problems.push(
      `${what} is in ${found.length === 0 ? 'no wave' : `waves ${found.map((w) => w.name).join(' and ')}`}`,
    );
    return undefined;
  };
  for (const topic of topics) {
    only(
      `topic ${topic}`,
      waves.filter((wave) => wave.hasTopic(topic)),
    )?.topics.push(topic);
  }
  const reads = new Map(measured.groups.map(({ group, positions }) => [group, new Set(positions.map((p) => p.topic))]));
  for (const group of groups) {
    const named = waves.filter((wave) => wave.hasGroup?.(group));
    const open = waves.filter((wave) => wave.hasGroup === null);
    const last = open.findLast((wave) => wave.topics.some((topic) => reads.get(group)?.has(topic))) ?? open.at(-1);
    only(`group ${group}`, named.length > 0 || last === undefined ? named : [last])?.groups.push(group);
  }
  return { waves: waves.map((wave) => ({ name: wave.name, topics: wave.topics, groups: wave.groups })), problems };
}

/**
 * The part of the inventory that one wave moves. Rules and quotas that are about no topic or group are the first wave's.
 *
 * @param wave name of a wave of the plan
 */
export function partOf(plan: PlanWaves, inventory: Inventory, wave: string): Inventory {
  if (plan.waves.length === 0) return inventory;
  const { structural, measured } = inventory;
  const part = splitByWave(plan, inventory).waves.find((one) => one.name === wave);
  const [topics, groups] = [new Set(part?.topics), new Set(part?.groups)];
  const isFirst = plan.waves[0]?.name === wave;
  const { acls } = structural;
  const about = new Set([
    ...[...topics].flatMap((name) => covering(acls, { type: 'topic', name })),
    ...[...groups].flatMap((name) => covering(acls, { type: 'group', name })),
  ]);
  return {
    structural: {
      ...structural,
      topics: structural.topics.filter((topic) => topics.has(topic.name)),
      groups: structural.groups.filter((group) => groups.has(group.group)),
      acls: acls.filter((acl) =>
        acl.resourceType === 'topic' || acl.resourceType === 'group' ? about.has(acl) : isFirst,
      ),
      quotas: isFirst ? structural.quotas : [],
    },
    measured: {
      ...measured,
      partitions: measured.partitions.filter((p) => topics.has(p.topic)),
      groups: measured.groups.filter((group) => groups.has(group.group)),
    },
  };
}

/** Topics that groups of the wave may have positions on: its own, and those of the waves before it, which are on both clusters. */
export function topicsUpTo(plan: PlanWaves, inventory: Inventory, wave: string): readonly string[] {
  const { waves } = splitByWave(plan, inventory);
  const index = waves.findIndex((one) => one.name === wave);
  return waves.slice(0, index + 1).flatMap((one) => one.topics);
}

/**
 * What tells which topics belong together.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function gatherSplitFacts(source: Cluster, plan: PlanWaves, inventory: Inventory): Promise<SplitFacts> {
  const { topics } = await source.metadata(null);
  const streamsTopics = [...topics.values()]
    .filter((topic) => !isInternal(topic) && streamsEndings.some((ending) => topic.name.endsWith(ending)))
    .map((topic) => topic.name)
    .sort();
  const offsets = topics.get(offsetsTopic)?.partitions ?? [];
  const facts = { streamsTopics, offsetsPartitionCount: offsets.length };
  const none = { ...facts, producers: [] };
  if (plan.waves.length < 2) return none;
  if (!(await producersAreTold(source)) || !(await transactionsAreTold(source))) return none;
  const transactional = new Map((await listTransactions(source)).map((t) => [t.producerId, t.transactionalId]));
  if (transactional.size === 0) return none;
  const moved = inventory.measured.partitions.map(({ topic, partition }) => ({ topic, partition }));
  const own = offsets.map(({ partition }) => ({ topic: offsetsTopic, partition }));
  const written = new Map<string, { topics: Set<string>; offsetsPartitions: Set<number> }>();
  for (const [key, producers] of await describeProducers(source, [...moved, ...own])) {
    const { topic, partition } = partitionOf(key);
    for (const { producerId } of producers) {
      const id = transactional.get(producerId);
      if (id === undefined) continue;
      const found = written.get(id) ?? { topics: new Set(), offsetsPartitions: new Set() };
      if (topic === offsetsTopic) found.offsetsPartitions.add(partition);
      else found.topics.add(topic);
      written.set(id, found);
    }
  }
  const producers = [...written].map(([transactionalId, found]) => ({
    transactionalId,
    topics: [...found.topics].sort(),
    offsetsPartitions: [...found.offsetsPartitions].sort((a, b) => a - b),
  }));
  return { ...facts, producers: producers.sort((a, b) => (a.transactionalId < b.transactionalId ? -1 : 1)) };
}

/** What the waves tear apart. */
export function aboutWaves(inventory: Inventory, plan: PlanWaves, facts: SplitFacts): Finding[] {
  const { waves, problems } = splitByWave(plan, inventory);
  const places = { topic: new Map<string, number>(), group: new Map<string, number>() };
  for (const [index, wave] of waves.entries()) {
    for (const topic of wave.topics) places.topic.set(topic, index);
    for (const group of wave.groups) places.group.set(group, index);
  }
  const nameOf = (index: number) => waves[index]?.name ?? '';
  const findings = problems.map((line) => finding('PLAN_INVALID', 'plan waves', line));

  for (const { group, positions } of inventory.measured.groups) {
    const own = places.group.get(group);
    if (own === undefined) continue;
    const read = [...new Set(positions.map((p) => p.topic))].sort();
    const apart = (isApart: (index: number) => boolean) =>
      read
        .filter((topic) => isApart(places.topic.get(topic) ?? own))
        .map((topic) => `${topic} (wave ${nameOf(places.topic.get(topic) ?? own)})`);
    const [later, earlier] = [apart((index) => index > own), apart((index) => index < own)];
    const where = `group ${group}, wave ${nameOf(own)}`;
    if (later.length > 0) findings.push(finding('GROUP_BEFORE_TOPICS', where, `it also reads ${later.join(', ')}`));
    if (earlier.length > 0) findings.push(finding('GROUP_AFTER_TOPICS', where, `it also reads ${earlier.join(', ')}`));
  }

  for (const { transactionalId, topics, offsetsPartitions } of facts.producers) {
    const writtenIn = new Set(topics.map((topic) => places.topic.get(topic)).filter((index) => index !== undefined));
    const lines = topics.map((topic) => `${topic} (wave ${nameOf(places.topic.get(topic) ?? -1)})`);
    for (const partition of offsetsPartitions) {
      const candidates = [...places.group.keys()].filter(
        (group) => offsetsPartitionOf(group, facts.offsetsPartitionCount) === partition,
      );
      const homes = new Set(candidates.map((group) => places.group.get(group) ?? -1));
      // Several groups share a partition: one in a wave that it writes to anyway may be the one that is meant.
      if (homes.size === 0 || writtenIn.size === 0 || [...homes].some((home) => writtenIn.has(home))) continue;
      for (const home of homes) writtenIn.add(home);
      lines.push(
        `positions of ${candidates.map((group) => `${group} (wave ${nameOf(places.group.get(group) ?? -1)})`).join(' or ')}`,
      );
    }
    if (writtenIn.size < 2) continue;
    findings.push(
      finding('TRANSACTION_ACROSS_WAVES', `transactional id ${transactionalId}`, `it writes ${lines.join(', ')}`),
    );
  }

  const groups = [...places.group.keys()].sort((a, b) => b.length - a.length);
  for (const topic of facts.streamsTopics) {
    const group = groups.find((name) => topic.startsWith(`${name}-`));
    if (group === undefined || places.topic.get(topic) === places.group.get(group)) continue;
    const where = places.topic.has(topic) ? `in wave ${nameOf(places.topic.get(topic) ?? -1)}` : 'not part of the plan';
    const home = plan.waves.length > 0 ? ` is in wave ${nameOf(places.group.get(group) ?? -1)}` : ' is moved';
    findings.push(
      finding('STREAMS_TOPIC_APART', `topic ${topic}`, `it is ${where}; its application, group ${group},${home}`),
    );
  }
  return findings;
}

/** As brokers do it (`GroupCoordinatorService.partitionFor`): the absolute value of Java's hash of the name, by the number of partitions. */
export function offsetsPartitionOf(group: string, partitions: number): number {
  let hash = 0;
  for (let i = 0; i < group.length; i++) hash = (Math.imul(31, hash) + group.charCodeAt(i)) | 0;
  const positive = hash === -(2 ** 31) ? 0 : Math.abs(hash);
  return partitions === 0 ? -1 : positive % partitions;
}
