/** `kafka-cutover bridge`, and `positions` behind it: the plan's topics through a user's module, in this process, without Temporal. */
import { CutoverError } from '../contract/errors.ts';
import type { Plan, ReplicatorPlan } from '../contract/plan.ts';
import type { Cluster } from '../kafka/cluster.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { fetchOffsets } from '../kafka/groups.ts';
import { listOffsets, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { type Structural, takeInventory } from '../migration/inventory.ts';
import { type BridgeCounts, runBridge } from '../mirror/bridge.ts';
import { createBridgeTopics, deadLetterOf, readBridgeMap, readOnce } from '../mirror/bridge-log.ts';
import { loadTransform, type Rules, type Transform, transformed, unchanged } from '../mirror/bridge-module.ts';
import { type PlacedPosition, placePositions } from '../replicators/bridge-positions.ts';
import { Connections } from './connections.ts';
import { commitPositions } from './foreground-positions.ts';

/** Reasons that a dry run shows. */
const reasonsMax = 10;

export interface BridgeRun {
  /** Of the plan's `replicator.module`, absolute; null: records are copied as they are. */
  readonly module: string | null;
  readonly signal: AbortSignal;
  readonly onProgress?: (counts: BridgeCounts) => void;
}

export interface DryRun {
  readonly read: number;
  readonly written: number;
  readonly leftOut: number;
  readonly poison: number;
  /** Records that would be written, by topic of the target. */
  readonly topics: Readonly<Record<string, number>>;
  /** The first records that the module cannot take, and why. */
  readonly reasons: readonly string[];
}

/** @param options.untilCaughtUp ends when the target has what the source had at the start */
export async function runForegroundBridge(
  plan: Plan,
  file: ClustersFile,
  options: BridgeRun & { readonly untilCaughtUp: boolean },
): Promise<BridgeCounts> {
  await using connections = new Connections(file);
  const work = await prepare(connections, plan, options.module);
  const { target, source, partitions } = work;
  await createBridgeTopics(target, work.deadLetter);
  const until = options.untilCaughtUp ? await listOffsets(source, partitions, 'lastStable') : undefined;
  // Not before it ends are the connections closed.
  return await runBridge({
    ...work,
    name: plan.name,
    deadLetterMax: bridgeOf(plan).deadLetterMax,
    signal: options.signal,
    ...(until && { until }),
    ...(options.onProgress && { onProgress: options.onProgress }),
  });
}

/**
 * What would become of records, without writing any, or creating anything.
 *
 * @param options.records that are looked at, of each partition from its start
 */
export async function runDryBridge(
  plan: Plan,
  file: ClustersFile,
  options: Omit<BridgeRun, 'onProgress'> & { readonly records: number },
): Promise<DryRun> {
  await using connections = new Connections(file);
  const { source, partitions, transform, rules } = await prepare(connections, plan, options.module);
  const starts = await listOffsets(source, partitions, 'start');
  const ends = await listOffsets(source, partitions, 'lastStable');
  const counts = { read: 0, written: 0, leftOut: 0, poison: 0 };
  const topics: Record<string, number> = {};
  const reasons: string[] = [];
  for (const place of partitions) {
    const key = partitionKey(place.topic, place.partition);
    const [start, end] = [starts.get(key) ?? 0n, ends.get(key) ?? 0n];
    let at = start;
    for (let left = options.records; left > 0 && at < end && !options.signal.aborted; ) {
      const { records, next } = await readOnce(source, place, at);
      at = next;
      for (const record of records.slice(0, left)) {
        left--;
        counts.read++;
        try {
          const out = await transformed(transform, place, record, rules);
          if (out.length === 0) counts.leftOut++;
          counts.written += out.length;
          for (const { topic } of out) topics[topic] = (topics[topic] ?? 0) + 1;
        } catch (error) {
          counts.poison++;
          if (reasons.length < reasonsMax) reasons.push(`${key} at ${record.offset}: ${(error as Error).message}`);
        }
      }
    }
  }
  return { ...counts, topics, reasons };
}

/**
 * Where groups go on behind the bridge, by its map; on the source again where they come `back`.
 *
 * @param options.commit also writes the positions into the groups there, which must have no members, and reads them back
 * @throws CutoverError REPLICATOR_CANNOT, TOPIC_MISSING, GROUP_ACTIVE, OFFSETS_NOT_WRITTEN
 */
export async function runBridgePositions(
  plan: Plan,
  file: ClustersFile,
  options: {
    readonly back: boolean;
    readonly commit: boolean;
    readonly signal: AbortSignal;
    readonly onStep: (step: string) => void;
  },
): Promise<{ readonly positions: readonly PlacedPosition[]; readonly deadLetters: Readonly<Record<string, number>> }> {
  const { back, signal, onStep } = options;
  await using connections = new Connections(file);
  onStep('listing topics, groups and positions');
  const { source, target, structural, partitions, sizes, nameOf, deadLetter } = await lookAround(connections, plan);
  const [left, entered] = back ? [target, source] : [source, target];
  const sizesHere = new Map(structural.topics.map((topic) => [topic.name, topic.partitions]));
  const groups = structural.groups.map(({ group }) => group);
  const committed = await fetchOffsets(left, groups, { requireStable: true, topics: back ? sizes : sizesHere });
  const positions = groups.flatMap((group) =>
    [...(committed.get(group)?.values() ?? [])].map((p) => ({ ...p, group })),
  );
  onStep('reading the map of the bridge');
  const map = await readBridgeMap(target, plan.name, signal);
  const there = partitionsOf(sizes);
  const placed = placePositions(positions, {
    map,
    direction: back ? 'reverse' : 'forward',
    names: new Map(structural.topics.map(({ name }) => [name, nameOf(name)])),
    deadLetter,
    ends: await listOffsets(left, back ? there : partitions, 'highWatermark'),
    starts: await listOffsets(entered, back ? partitions : there, 'start'),
  });
  if (options.commit) {
    onStep('writing positions');
    await commitPositions(entered, placed);
  }
  const byGroup = Map.groupBy(back ? [] : positions, ({ group }) => group);
  const deadLetters = [...byGroup].map(([group, own]): [string, number] => {
    const at = new Map(own.map(({ topic, partition, offset }) => [partitionKey(topic, partition), offset]));
    return [group, map.deadLetters([...new Set(own.map(({ topic }) => topic))], at, deadLetter)];
  });
  return { positions: placed, deadLetters: Object.fromEntries(deadLetters.filter(([, count]) => count > 0)) };
}

interface Surroundings {
  readonly source: Cluster;
  readonly target: Cluster;
  readonly structural: Structural;
  /** Of the source. */
  readonly partitions: readonly TopicPartition[];
  /** Partitions of each topic of the target that the bridge may write to. */
  readonly sizes: ReadonlyMap<string, number>;
  readonly nameOf: (topic: string) => string;
  readonly deadLetter: string;
}

interface Work extends Surroundings {
  readonly transform: Transform;
  readonly rules: Rules;
}

/** @throws CutoverError REPLICATOR_CANNOT, BRIDGE_MODULE_INVALID, TOPIC_MISSING */
async function prepare(connections: Connections, plan: Plan, module: string | null): Promise<Work> {
  const transform = module === null ? unchanged : await loadTransform(module);
  const around = await lookAround(connections, plan);
  const { nameOf, sizes } = around;
  return { ...around, transform, rules: { nameOf, partitions: sizes, timeoutMs: bridgeOf(plan).recordTimeout } };
}

async function lookAround(connections: Connections, plan: Plan): Promise<Surroundings> {
  const { rename, outputs, deadLetter } = bridgeOf(plan);
  const { source, target } = await connections.pair(plan);
  const { structural } = await takeInventory(source, target, plan);
  if (structural.sourceClusterId === structural.targetClusterId) {
    throw new CutoverError('SAME_CLUSTER', {
      what: 'a bridge leads to another cluster',
      found: structural.sourceClusterId,
    });
  }
  const nameOf = (topic: string) => rename[topic] ?? topic;
  const wanted = [...new Set([...structural.topics.map(({ name }) => nameOf(name)), ...outputs])];
  const { topics } = await target.metadata(wanted);
  const missing = wanted.filter((name) => !topics.has(name));
  if (missing.length > 0) {
    throw new CutoverError('TOPIC_MISSING', {
      what: 'topics that the bridge writes to are not on the target',
      where: `cluster ${target.name}`,
      found: `no ${missing.slice(0, 3).join(', ')}${missing.length > 3 ? ` and ${missing.length - 3} more` : ''}`,
      next: 'Create them: how many partitions they have decides where keys go.',
    });
  }
  return {
    source,
    target,
    structural,
    partitions: partitionsOf(new Map(structural.topics.map(({ name, partitions }) => [name, partitions]))),
    sizes: new Map([...topics].map(([name, { partitions }]) => [name, partitions.length])),
    nameOf,
    deadLetter: deadLetter ?? deadLetterOf(plan.name),
  };
}

function partitionsOf(sizes: ReadonlyMap<string, number>): TopicPartition[] {
  return [...sizes].flatMap(([topic, count]) =>
    Array.from({ length: count }, (_, partition) => ({ topic, partition })),
  );
}

/** @throws CutoverError REPLICATOR_CANNOT where the plan asks for another replicator */
export function bridgeOf({ replicator }: Pick<Plan, 'replicator'>): ReplicatorPlan<'bridge'> {
  if (replicator.kind === 'bridge') return replicator;
  throw new CutoverError('REPLICATOR_CANNOT', {
    what: 'the plan asks for another replicator',
    where: 'plan replicator.kind',
    found: replicator.kind,
    wanted: 'bridge',
  });
}
