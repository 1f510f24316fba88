/**
 * `kafka-cutover positions`: where the positions of groups lie on the target of a MirrorMaker 2 that people run themselves, under the same names or prefixed
 * ones. Both logs are walked from their beginnings, so each position is proven by the record that would be read next.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import type { Cluster } from '../kafka/cluster.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { commitOffsets, fetchOffsets } from '../kafka/groups.ts';
import { listOffsets, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { type CarriedPosition, refuseActive, type UncarriedPosition } from '../migration/groups.ts';
import { takeInventory } from '../migration/inventory.ts';
import { searchesFor } from '../mirror/pairing.ts';
import { type PairedPartition, runPairing } from '../mirror/pairing-run.ts';
import { targetTopic } from '../replicators/mirrormaker2-settings.ts';
import type { ClusterPair } from './connections.ts';
import { Connections } from './connections.ts';

/** `topic` as the source calls it. */
export interface FoundPosition extends CarriedPosition {
  readonly targetTopic: string;
}

const start = { origin: 0n, copy: 0n };
const nothing = { records: 0, missing: 0, duplicated: 0, reordered: 0, foreign: 0, superseded: 0 };

/**
 * @param options.commit also writes them into the groups on the target, which must have no members, and reads them back
 * @throws CutoverError REPLICATOR_CANNOT, TOPIC_MISSING where it has not copied a topic, GROUP_ACTIVE, OFFSETS_NOT_WRITTEN
 */
export async function runPositions(
  plan: Plan,
  file: ClustersFile,
  options: { readonly commit: boolean; readonly signal: AbortSignal; readonly onStep: (step: string) => void },
): Promise<readonly FoundPosition[]> {
  if (plan.replicator.kind !== 'mirrormaker2') {
    throw new CutoverError('REPLICATOR_CANNOT', {
      what: 'positions are looked for only where offsets differ',
      where: 'plan replicator.kind',
      found: plan.replicator.kind,
      wanted: 'mirrormaker2',
    });
  }
  const { replicator } = plan;
  await using connections = new Connections(file);
  const clusters = await connections.pair(plan);
  options.onStep('listing topics, groups and positions');
  const { structural } = await takeInventory(clusters.source, clusters.target, plan);
  const groups = structural.groups.map(({ group }) => group);
  const topics = new Map(structural.topics.map(({ name, partitions }) => [name, partitions]));
  const committed = await fetchOffsets(clusters.source, groups, { requireStable: true, topics });
  const positions = groups.flatMap((group) =>
    [...(committed.get(group)?.values() ?? [])].map((p) => ({ ...p, group })),
  );
  options.onStep('walking both logs');
  const nameThere = (topic: string) => targetTopic(replicator, plan.source, topic);
  const found = await locate(clusters, positions, nameThere, options.signal);
  if (options.commit) {
    options.onStep('writing positions');
    const there = found.map(({ targetTopic: topic, ...rest }) => ({ ...rest, topic }));
    await commitPositions(clusters.target, there);
  }
  return found;
}

async function locate(
  { source, target }: ClusterPair,
  positions: readonly UncarriedPosition[],
  nameThere: (topic: string) => string,
  signal: AbortSignal,
): Promise<FoundPosition[]> {
  const byKey = Map.groupBy(positions, keyOf);
  const partitions = [...byKey.values()].flatMap(([first]) => (first ? [first] : []));
  const ends = await listOffsets(source, partitions, 'highWatermark');
  const within = ({ offset, ...p }: UncarriedPosition) => {
    const end = ends.get(keyOf(p)) ?? offset;
    return offset > end ? end : offset;
  };
  const walks = await runPairing({
    origin: source,
    copy: target,
    signal,
    partitions: partitions.map(({ topic, partition }) => {
      const wanted = (byKey.get(partitionKey(topic, partition)) ?? []).map(within);
      const searches = searchesFor([], start, wanted);
      return {
        topic,
        copyTopic: nameThere(topic),
        partition,
        start,
        place: start,
        anchors: [],
        counts: nothing,
        searches,
      };
    }),
  });
  signal.throwIfAborted();
  const walked = new Map(walks.map((walk) => [keyOf(walk), walk]));
  return positions.map((p) => {
    const end = ends.get(keyOf(p)) ?? p.offset;
    const walk = walked.get(keyOf(p)) as PairedPartition;
    return { ...classed(p, within(p), end, walk), targetTopic: nameThere(p.topic) };
  });
}

function classed(
  { group, topic, partition, offset: committed }: UncarriedPosition,
  wanted: bigint,
  end: bigint,
  { located, place }: PairedPartition,
): CarriedPosition {
  const at = located.find(({ position }) => position === wanted);
  const base = { group, topic, partition, committed, written: at?.copy ?? place.copy };
  if (at === undefined || at.gap || committed > end) return { ...base, class: 'untranslatable', replays: 0 };
  const missing = at.record === null ? committed - place.origin : 0n;
  return missing > 0n
    ? { ...base, class: 'replays', replays: Number(missing) }
    : { ...base, class: 'exact', replays: 0 };
}

/**
 * Writes positions into groups that have no members, and reads them back.
 *
 * @param found as the cluster calls topics
 * @throws CutoverError GROUP_ACTIVE, OFFSETS_NOT_WRITTEN
 */
export async function commitPositions(
  target: Cluster,
  found: readonly Pick<CarriedPosition, 'group' | 'topic' | 'partition' | 'written'>[],
): Promise<void> {
  const byGroup = Map.groupBy(found, ({ group }) => group);
  await refuseActive(target, [...byGroup.keys()], new Set());
  for (const [group, positions] of byGroup) {
    const wanted = positions.map(({ topic, partition, written: offset }) => ({
      topic,
      partition,
      offset,
      metadata: null,
    }));
    await commitOffsets(target, group, wanted);
    const sizes = new Map(
      wanted.map(({ topic }) => [
        topic,
        1 + Math.max(...wanted.filter((p) => p.topic === topic).map((p) => p.partition)),
      ]),
    );
    const there = (await fetchOffsets(target, [group], { requireStable: false, topics: sizes })).get(group);
    const wrong = wanted.find((p) => there?.get(keyOf(p))?.offset !== p.offset);
    if (!wrong) continue;
    throw new CutoverError('OFFSETS_NOT_WRITTEN', {
      what: 'a position read back is not the one that was written',
      where: `cluster ${target.name}, group ${group}, ${keyOf(wrong)}`,
      found: `${there?.get(keyOf(wrong))?.offset ?? 'no position'}`,
      wanted: `${wrong.offset}`,
    });
  }
}

const keyOf = (p: TopicPartition): string => partitionKey(p.topic, p.partition);
