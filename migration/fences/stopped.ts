/**
 * Before a fence that people hold: they have said that they stop the applications, and get their time for it. Only once nothing
 * writes any more does `fence.maxHold` begin, since until then nobody waits for us.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../../contract/errors.ts';
import type { Direction } from '../../contract/status.ts';
import type { ClustersFile } from '../../kafka/clusters.ts';
import { sidesOf } from '../boundary.ts';
import { refuseActive } from '../groups.ts';
import { readProducerIds } from '../producer-ids.ts';
import type { Wave } from '../wave.ts';
import { stopperOf } from '../webhooks.ts';
import { awaitStillness } from './stillness.ts';

/** Between two looks at the groups. */
const lookEveryMs = 500;

/**
 * Waits until the wave's groups are empty (those that a webhook stops are stopped later) and its log ends stand still, at most
 * `fence.stopWithin`.
 *
 * @throws CutoverError GROUP_ACTIVE naming members with their addresses, FENCE_NOT_PROVEN naming partitions and producers
 */
export async function awaitStopped(
  wave: Wave,
  file: ClustersFile,
  direction: Direction,
  signal: AbortSignal,
): Promise<string> {
  const cluster = wave.clusters[sidesOf(direction).from];
  const { stopWithin, quiet: quietMs } = wave.plan.fence;
  const deadlineMs = Date.now() + stopWithin;
  const mustBeEmpty = stopperOf(file, wave.plan, 'consumers') ? [] : wave.groups;
  for (;;) {
    try {
      await refuseActive(cluster, mustBeEmpty, new Set());
      break;
    } catch (error) {
      if (!(error instanceof CutoverError) || error.code !== 'GROUP_ACTIVE' || Date.now() > deadlineMs) throw error;
    }
    await sleep(lookEveryMs, undefined, { signal });
  }
  const { partitions } = wave;
  const mirror = await readProducerIds(wave.storage, wave.migration, direction === 'forward' ? 'reverse' : 'forward');
  const what = `people were to stop what writes, and it still writes after ${stopWithin / 1000} s (fence.stopWithin)`;
  await awaitStillness({ cluster, partitions, quietMs, deadlineMs, mirror, signal, what });
  return `nothing wrote to ${cluster.name} for ${quietMs} ms, ${mustBeEmpty.length} groups are empty`;
}
