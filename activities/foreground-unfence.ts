/** `kafka-cutover unfence`: lifts a standing fence by hand, from storage alone, when no worker or no Temporal is alive. */
import { CutoverError } from '../contract/errors.ts';
import { type Plan, waveOf } from '../contract/plan.ts';
import type { Direction } from '../contract/status.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { fenceFor } from '../migration/fences/fence.ts';
import { openingDecided } from '../migration/opening.ts';
import { latestInventory } from '../migration/wave.ts';
import { Connections } from './connections.ts';
import { liftFence } from './fence.ts';
import type { UndoResult } from './types.ts';

/** @throws CutoverError UNFENCE_REFUSED when opening was decided, MIGRATION_NOT_FOUND when nothing is stored */
export async function runUnfence(plan: Plan, clusters: ClustersFile): Promise<UndoResult> {
  await using connections = new Connections(clusters);
  const storage = await connections.storageWithout(plan);
  const inventory = await latestInventory(storage, plan.name);
  if (inventory === null) {
    throw new CutoverError('MIGRATION_NOT_FOUND', {
      what: 'nothing is stored for this plan',
      where: `plan ${plan.name}`,
    });
  }
  const wave = await connections.waveWithout({ plan, wave: waveOf(plan), inventory });
  // After the opening it is the way back that can have been fenced without a decision.
  const moved = (await openingDecided(storage, { ...wave, direction: 'forward' })) !== null;
  // No later fence can have a deadline before this.
  const throughMs = Date.now() + plan.fence.maxHold;
  const began = (direction: Direction) => fenceFor(wave, clusters, { direction, deadlineMs: throughMs }).began();
  const [source, target] = [await began('forward'), await began('reverse')];
  // Awaited here: a promise that is returned outlives the connections, which are closed with this function.
  const lift = async (direction: Direction, since: string) =>
    liftFence(wave, { direction, throughMs, concerns: (decision) => decision.at >= since }, connections);
  if (moved && target !== '') return await lift('reverse', target);
  if (moved || source !== '') return await lift('forward', source);
  return { undone: 0, notUndone: [], summary: 'no fence stands' };
}
