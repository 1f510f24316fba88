/** `kafka-cutover verify`: every record of a plan's topics compared on both clusters, in this process, from the beginning. */

import { CutoverError } from '../contract/errors.ts';
import { matcher, type Plan } from '../contract/plan.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { listOffsets, partitionKey } from '../kafka/offsets.ts';
import { compactedTopics } from '../migration/audit-positions.ts';
import { isInternal } from '../migration/inventory.ts';
import { latestInventory, readInventory } from '../migration/wave.ts';
import { runAudit } from '../mirror/audit.ts';
import { Connections } from './connections.ts';
import { progressOf } from './shard-progress.ts';
import type { ShardProgress } from './types.ts';

export interface Compared {
  readonly equal: boolean;
  readonly partitions: number;
  readonly records: number;
  /** One line per partition that differs, with the first offset. */
  readonly differences: readonly string[];
}

/**
 * Compares up to where both logs end at the start; a log that ends elsewhere is a difference too.
 *
 * @throws CutoverError NO_TOPICS, TOPIC_MISSING, CLUSTER_UNREACHABLE, CLUSTER_ACCESS_DENIED
 */
export async function runForegroundVerify(
  plan: Plan,
  clusters: ClustersFile,
  options: { readonly signal: AbortSignal; readonly onProgress: (progress: ShardProgress) => void },
): Promise<Compared> {
  await using connections = new Connections(clusters);
  const { source, target } = await connections.pair(plan);
  const matches = matcher(plan.topics);
  const topics = [...(await source.metadata(null)).topics.values()].filter((t) => !isInternal(t) && matches(t.name));
  if (topics.length === 0) {
    throw new CutoverError('NO_TOPICS', {
      what: 'no topic matches',
      where: `plan ${plan.name}, cluster ${source.name}`,
    });
  }
  const partitions = topics.flatMap((topic) =>
    topic.partitions.map(({ partition }) => ({ topic: topic.name, partition })),
  );
  const storage = await connections.storage(plan);
  const inventory = await latestInventory(storage, plan.name);
  const approved = inventory === null ? null : await readInventory(storage, inventory);
  const [sourceEnds, targetEnds, sourceStable, targetStable, compacted] = await Promise.all([
    listOffsets(source, partitions, 'highWatermark'),
    listOffsets(target, partitions, 'highWatermark'),
    listOffsets(source, partitions, 'lastStable'),
    listOffsets(target, partitions, 'lastStable'),
    compactedTopics(
      { source, target },
      topics.map((topic) => topic.name),
      approved?.needs?.compacted,
    ),
  ]);
  const keyOf = (p: (typeof partitions)[number]) => partitionKey(p.topic, p.partition);
  const until = new Map<string, bigint>();
  const differences: string[] = [];
  for (const p of partitions) {
    const [here, there] = [sourceEnds.get(keyOf(p)) ?? 0n, targetEnds.get(keyOf(p)) ?? 0n];
    const [settled, settledThere] = [sourceStable.get(keyOf(p)) ?? 0n, targetStable.get(keyOf(p)) ?? 0n];
    until.set(keyOf(p), settled < settledThere ? settled : settledThere);
    if (here !== there) differences.push(`${keyOf(p)}: the source ends at ${here}, the target at ${there}`);
  }
  const result = await runAudit({
    source,
    target,
    partitions: partitions.map((p) => ({ ...p, position: 0n, records: 0, digest: '', ...compacted.get(p.topic) })),
    until,
    signal: options.signal,
    onProgress: (progress) =>
      options.onProgress(
        progressOf(
          'audit',
          'forward',
          '',
          progress.map((p) => ({ ...p, end: until.get(partitionKey(p.topic, p.partition)) ?? p.position })),
        ),
      ),
  });
  for (const p of result) {
    if (p.first)
      differences.push(`${keyOf(p)}: ${p.differences} differ, first at offset ${p.first.offset} (${p.first.kind})`);
  }
  return {
    equal: differences.length === 0,
    partitions: partitions.length,
    records: result.reduce((sum, p) => sum + p.records, 0),
    differences,
  };
}
