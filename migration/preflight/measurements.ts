/** What is measured for people who plan, and neither approved nor asked again under way: it changes from look to look. Plain data. */
import { type ClockOffset, controllerClock } from '../../kafka/clock.ts';
import type { Cluster } from '../../kafka/cluster.ts';
import { type DiskSpace, diskSpace } from '../../kafka/disks.ts';
import { listOffsets, partitionKey, partitionOf } from '../../kafka/offsets.ts';
import { partitionSizes, refusedSettings, refusedTopics } from '../../kafka/topics.ts';
import type { Inventory } from '../inventory.ts';
import { prepareTopic, topicDefaults } from '../topics.ts';
import type { Facts } from './facts.ts';
import { measureReadSpeed, type ReadSpeed } from './read-speed.ts';
import { type Reader, readersWithoutPositions } from './readers.ts';

export interface Measurements {
  /** Null where a cluster does not tell. */
  readonly clocks: { readonly source: ClockOffset | null; readonly target: ClockOffset | null };
  /** Of brokers that tell. */
  readonly targetDisks: readonly DiskSpace[];
  /** What the target topics take already, over all replicas. */
  readonly targetBytes: number;
  readonly readSpeed: ReadSpeed | null;
  /** Records that came while preflight looked, by topic; topics without are left out. */
  readonly arrived: Readonly<Record<string, number>>;
  readonly readers: readonly Reader[];
  /** Topics that the target refuses to make, or to give the settings for mirroring, with its reason. */
  readonly refused: Readonly<Record<string, string>>;
  /** Topics of which the target does not say it, with its reason. */
  readonly unjudged?: Readonly<Record<string, string>>;
}

/** @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED */
export async function measure(
  source: Cluster,
  target: Cluster,
  inventory: Inventory,
  facts: Pick<Facts, 'inForce' | 'target' | 'targetTopics'>,
  carryConfigs: boolean,
  onStep: (step: string) => void,
): Promise<Measurements> {
  const { partitions } = inventory.measured;
  onStep('asking the target what it would refuse');
  const [sourceClock, targetClock, targetDisks, targetBytes, judged] = await Promise.all([
    controllerClock(source),
    controllerClock(target),
    diskSpace(target),
    bytesThere(target, Object.keys(facts.targetTopics)),
    judgedThere(target, inventory, facts, carryConfigs),
  ]);
  onStep('reading the source for a second');
  const readSpeed = await measureReadSpeed(source, partitions);
  onStep('looking for readers and writers');
  const filled = new Set(partitions.filter((p) => BigInt(p.end) > BigInt(p.start)).map((p) => p.topic));
  const readers = await readersWithoutPositions(source, filled);
  return {
    clocks: { source: sourceClock, target: targetClock },
    targetDisks,
    targetBytes,
    readSpeed,
    arrived: await arrivedSince(source, partitions),
    readers,
    ...judged,
  };
}

async function bytesThere(target: Cluster, topics: readonly string[]): Promise<number> {
  if (topics.length === 0) return 0;
  const found = (await target.metadata(topics)).topics;
  const sizes = await partitionSizes(target, [...found.values()]);
  const replicas = (topic: string) => found.get(topic)?.partitions[0]?.replicas.length ?? 1;
  return [...(sizes ?? [])].reduce((sum, [key, bytes]) => sum + bytes * replicas(partitionOf(key).topic), 0);
}

async function arrivedSince(
  source: Cluster,
  before: Inventory['measured']['partitions'],
): Promise<Record<string, number>> {
  const now = await listOffsets(source, before, 'highWatermark');
  const arrived: Record<string, number> = {};
  for (const { topic, partition, end } of before) {
    const more = Number((now.get(partitionKey(topic, partition)) ?? BigInt(end)) - BigInt(end));
    if (more > 0) arrived[topic] = (arrived[topic] ?? 0) + more;
  }
  return arrived;
}

/** Asked with the very settings that prepare-target will send. */
async function judgedThere(
  target: Cluster,
  { structural }: Inventory,
  { inForce, target: { brokerConfigs }, targetTopics }: Pick<Facts, 'inForce' | 'target' | 'targetTopics'>,
  carryConfigs: boolean,
): Promise<Required<Pick<Measurements, 'refused' | 'unjudged'>>> {
  if (structural.sourceClusterId === structural.targetClusterId) return { refused: {}, unjudged: {} };
  const there = topicDefaults(brokerConfigs);
  const changes = structural.topics.map((topic) =>
    prepareTopic(topic, targetTopics[topic.name], {
      there,
      liveBrokers: target.brokers.length,
      carryConfigs,
      sourceMaxMessageBytes: Number(inForce[topic.name]?.['max.message.bytes'] ?? 0),
    }),
  );
  const created = changes.flatMap((change) => (change.kind === 'create-topic' ? [change.topic] : []));
  const altered = changes.flatMap((change) =>
    change.kind === 'alter-topic-configs' ? [[change.topic, { set: change.set, unset: change.unset }] as const] : [],
  );
  const judged = [await refusedTopics(target, created), await refusedSettings(target, new Map(altered))];
  return {
    refused: Object.fromEntries(judged.flatMap(({ refused }) => [...refused])),
    unjudged: Object.fromEntries(judged.flatMap(({ unjudged }) => [...unjudged])),
  };
}
