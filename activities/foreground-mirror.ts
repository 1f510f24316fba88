/** `kafka-cutover mirror`: the exact replicator in this process, without Temporal. Prepares the target as a migration would. */
import { CutoverError } from '../contract/errors.ts';
import { type Plan, waveOf } from '../contract/plan.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { remembersProducersForMs } from '../migration/broker-settings.ts';
import { claim } from '../migration/claims.ts';
import { blockersOf } from '../migration/preflight.ts';
import { prepareTarget } from '../migration/prepare.ts';
import { openPool } from '../migration/principals-pool.ts';
import { HoldingWatch } from '../migration/transactions.ts';
import { storeInventory, type Wave } from '../migration/wave.ts';
import { runMirror } from '../mirror/mirror.ts';
import type { PartitionProgress } from '../mirror/partition.ts';
import { mirrorPartitions } from '../replicators/exact.ts';
import { Connections } from './connections.ts';
import { examine } from './preflight.ts';
import { progressOf } from './shard-progress.ts';
import type { ShardProgress } from './types.ts';

/**
 * @returns what this run carried
 * @throws CutoverError USAGE without a wave where there are several, BLOCKED naming the first blockers, and whatever the mirror meets
 */
export async function runForegroundMirror(
  plan: Plan,
  clusters: ClustersFile,
  options: {
    /** Needed where the plan has several. */
    readonly wave?: string | undefined;
    readonly untilCaughtUp: boolean;
    readonly signal: AbortSignal;
    readonly onProgress: (progress: ShardProgress) => void;
  },
): Promise<{ readonly records: number; readonly bytes: number }> {
  const name = waveOf(plan, options.wave);
  await using connections = new Connections(clusters);
  const examined = await examine(connections, plan, { audit: true, store: true, signal: options.signal });
  refuseBlockers(plan, examined.findings);
  const storage = await connections.storage(plan);
  const inventory = await storeInventory(storage, plan.name, examined);
  const wave = await connections.wave({ plan, wave: name, inventory });
  await claim(wave.clusters, wave.storage, wave.migration, { topics: wave.topicNames, groups: wave.groups });
  await prepareTarget(wave);
  const { from, into } = await connections.mirrorPair(plan, 'forward');
  const principals = openPool(wave.clusters.target);
  const waiting = waitingFor(wave);
  const { records, bytes } = await runMirror({
    from,
    into,
    partitions: await mirrorPartitions(wave, 'forward', into),
    signal: options.signal,
    untilCaughtUp: options.untilCaughtUp,
    rememberedForMs: await remembersProducersForMs(wave.clusters.target),
    principals,
    maxBytesPerSecond: () => plan.mirror.maxBytesPerSecond,
    onProgress: (partitions) =>
      options.onProgress({ ...progressOf('mirror', 'forward', wave.wave, partitions), waiting: waiting(partitions) }),
  }).finally(() => principals?.close());
  return { records, bytes };
}

/** Lines about the transactions that hold the mirror back, as of a few seconds ago; none while it gets on. */
function waitingFor(wave: Wave): (partitions: readonly PartitionProgress[]) => string[] {
  const holding = new HoldingWatch(wave.clusters.source, wave.partitions);
  return (partitions) => {
    if (!partitions.some((p) => p.position >= p.stableEnd && p.stableEnd < p.end)) return [];
    // Only said: a source that does not answer is the mirror's to report.
    holding.look().catch(() => {});
    return holding.latest.map((found) => `${found.code} ${found.where}: ${found.message}`);
  };
}

function refuseBlockers(plan: Plan, findings: Parameters<typeof blockersOf>[0]): void {
  const blockers = blockersOf(findings);
  if (blockers.length === 0) return;
  const shown = blockers.slice(0, 3).map((found) => `${found.code} (${found.where}): ${found.message}`);
  const more = blockers.length > shown.length ? ` and ${blockers.length - shown.length} more` : '';
  throw new CutoverError('BLOCKED', {
    what: `preflight found ${blockers.length} blockers`,
    where: `plan ${plan.name}`,
    found: `${shown.join('; ')}${more}`,
    next: 'See them all with `kafka-cutover plan`, remedy or waive each one, then start again.',
  });
}
