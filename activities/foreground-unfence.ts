/** `kafka-cutover unfence`: lifts a standing fence by hand, from storage alone, when no worker or no Temporal is alive. */
import { CutoverError } from '../contract/errors.ts';
import { type Plan, waveOf } from '../contract/plan.ts';
import { type Direction, waveNames } from '../contract/status.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { fenceFor } from '../migration/fences/fence.ts';
import { together } from '../migration/journal.ts';
import { openingDecided } from '../migration/opening.ts';
import { latestInventory, type Wave } from '../migration/wave.ts';
import { Connections } from './connections.ts';
import { liftFence } from './fence.ts';
import type { UndoResult } from './types.ts';

/**
 * @param named the wave to lift the fence of; without it, every wave's
 * @throws CutoverError UNFENCE_REFUSED when opening was decided and no other wave has a fence, MIGRATION_NOT_FOUND when nothing is stored,
 *   USAGE when there is no such wave
 */
export async function runUnfence(plan: Plan, clusters: ClustersFile, named?: string): Promise<UndoResult> {
  await using connections = new Connections(clusters);
  const storage = await connections.storageWithout(plan);
  const inventory = await latestInventory(storage, plan.name);
  if (inventory === null) {
    throw new CutoverError('MIGRATION_NOT_FOUND', {
      what: 'nothing is stored for this plan',
      where: `plan ${plan.name}`,
    });
  }
  const names = named === undefined ? waveNames(plan) : [waveOf(plan, named)];
  const lifted: UndoResult[] = [];
  const refused: CutoverError[] = [];
  for (const name of names) {
    const wave = await connections.waveWithout({ plan, wave: name, inventory });
    try {
      const result = await unfenceWave(wave, clusters, connections);
      if (result) lifted.push(result);
    } catch (error) {
      if (!(error instanceof CutoverError) || error.code !== 'UNFENCE_REFUSED') throw error;
      refused.push(error);
    }
  }
  if (refused[0] && lifted.length === 0) throw refused[0];
  const { undone, notUndone } = together(...lifted);
  return {
    undone,
    notUndone: [...notUndone, ...refused.map((error) => error.message)],
    summary: lifted.map(({ summary }) => summary).join('; ') || 'no fence stands',
  };
}

/** @returns null where no fence stands */
async function unfenceWave(wave: Wave, clusters: ClustersFile, connections: Connections): Promise<UndoResult | null> {
  // After the opening it is the way back that can have been fenced without a decision.
  const moved = (await openingDecided(wave.storage, { ...wave, direction: 'forward' })) !== null;
  // No later fence can have a deadline before this.
  const throughMs = Date.now() + wave.plan.fence.maxHold;
  // Nothing cancels it but the end of the process.
  const { signal } = new AbortController();
  const began = (direction: Direction) => fenceFor(wave, clusters, { direction, deadlineMs: throughMs }).began();
  const [source, target] = [await began('forward'), await began('reverse')];
  // Awaited here: a promise that is returned outlives the connections, which are closed with this function.
  const lift = async (direction: Direction, since: string) =>
    liftFence(wave, { direction, throughMs, concerns: (decision) => decision.at >= since }, connections, signal);
  if (moved && target !== '') return await lift('reverse', target);
  if (moved || source !== '') return await lift('forward', source);
  return null;
}
