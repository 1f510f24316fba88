/** `kafka-cutover bridge`: the plan's topics through a user's module, in this process, without Temporal. Creates its own two topics and nothing else. */
import { CutoverError } from '../contract/errors.ts';
import type { Plan, ReplicatorPlan } from '../contract/plan.ts';
import type { Cluster } from '../kafka/cluster.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { listOffsets, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { createTopic } from '../kafka/topics.ts';
import { takeInventory } from '../migration/inventory.ts';
import { AuditLog } from '../mirror/audit-log.ts';
import { type BridgeCounts, bridgeTopic, fetchOnce, runBridge } from '../mirror/bridge.ts';
import { loadTransform, type Rules, type Transform, transformed, unchanged } from '../mirror/bridge-module.ts';
import { Connections } from './connections.ts';

const replicasMax = 3;
const fetchWaitMs = 300;
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
  const replicationFactor = Math.min(replicasMax, target.brokers.length);
  await createTopic(target, {
    name: bridgeTopic,
    partitions: 1,
    replicationFactor,
    configs: { 'cleanup.policy': 'compact' },
  });
  await createTopic(target, {
    name: work.deadLetter,
    partitions: 1,
    replicationFactor,
    // A record that is older than the retention must lie there for as long as a new one.
    configs: { 'message.timestamp.type': 'LogAppendTime' },
  });
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
    const log = new AuditLog(place.topic, place.partition);
    log.begin(start, start, start);
    for (let left = options.records; left > 0 && log.readTo < end && !options.signal.aborted; ) {
      const answer = await fetchOnce(source, place, log.nextFetch, fetchWaitMs);
      log.take(answer, answer.records.length === 0);
      for (; left > 0 && log.peek(); log.pass()) {
        if (log.aborted) continue;
        left--;
        counts.read++;
        const record = log.record();
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

interface Work {
  readonly source: Cluster;
  readonly target: Cluster;
  readonly partitions: readonly TopicPartition[];
  readonly transform: Transform;
  readonly rules: Rules;
  readonly deadLetter: string;
}

/** @throws CutoverError REPLICATOR_CANNOT, BRIDGE_MODULE_INVALID, TOPIC_MISSING */
async function prepare(connections: Connections, plan: Plan, module: string | null): Promise<Work> {
  const { rename, outputs, deadLetter, recordTimeout } = bridgeOf(plan);
  const transform = module === null ? unchanged : await loadTransform(module);
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
    partitions: structural.topics.flatMap(({ name, partitions }) =>
      Array.from({ length: partitions }, (_, partition) => ({ topic: name, partition })),
    ),
    transform,
    rules: {
      nameOf,
      partitions: new Map([...topics].map(([name, { partitions }]) => [name, partitions.length])),
      timeoutMs: recordTimeout,
    },
    deadLetter: deadLetter ?? `kafka-cutover.${plan.name}.dead-letter`,
  };
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
