/** The ends of a migration: finalized, rolled back, or undone. */
import { CutoverError } from '../contract/errors.ts';
import { capabilitiesOf } from '../contract/replicators.ts';
import { listOffsets, partitionKey } from '../kafka/offsets.ts';
import { describeChange } from '../migration/change.ts';
import { release } from '../migration/claims.ts';
import { type Purpose, stands, together, type UndoReport } from '../migration/journal.ts';
import { movedLeaders } from '../migration/leaders.ts';
import { readPairs } from '../migration/pairs.ts';
import { restoreRetention } from '../migration/prepare.ts';
import { forgetProducerIds } from '../migration/producer-ids.ts';
import type { Wave } from '../migration/wave.ts';
import { replicatorOf } from '../replicators/registry.ts';
import type { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import type { ControlActivities, UndoResult } from './types.ts';

export function finishActivities(
  connections: Connections,
): Pick<ControlActivities, 'finalizeWave' | 'settleRollback' | 'undoAll'> {
  return {
    async finalizeWave(scope) {
      const wave = await connections.wave(scope);
      const { unfenceSource } = wave.plan.finalize;
      const replicator = await removeReplicator(wave, connections);
      const restored = await restoreRetention(wave);
      const purposes: Purpose[] = ['mirror-access', 'source-settings', 'source-brokers', 'target-brokers'];
      if (unfenceSource) purposes.push('fence-source', 'group-fence-source');
      const { undone, notUndone } = together(
        await wave.journal.undo(wave.wave, purposes),
        // Now that no mirror can move them any more.
        await wave.journal.undo(wave.wave, movedLeaders),
        replicator,
      );
      // What stands now stays: a later run of the same name must not take it for its own to undo.
      if (notUndone.length === 0) await wave.journal.keep(wave.wave);
      await releaseClaims(wave);
      const source = unfenceSource ? 'unfenced' : 'still fenced';
      const left = notUndone.length > 0 ? `; ${notUndone.length} not undone` : '';
      return {
        undone,
        notUndone,
        summary: `retention of ${restored} topics restored, mirrors' rights removed, ${wave.clusters.source.name} ${source}${left}`,
      };
    },

    async settleRollback(scope) {
      const wave = await connections.wave(scope);
      const purposes: Purpose[] = ['opening-source', 'source-settings', 'source-brokers', 'target-brokers'];
      const replicator = await removeReplicator(wave, connections);
      const report = together(
        await wave.journal.undo(wave.wave, [...purposes, 'mirror-access']),
        await wave.journal.undo(wave.wave, movedLeaders),
        replicator,
      );
      // What these records name is the source's own too, whatever a later run of this name undoes.
      await wave.journal.keep(wave.wave, ['schema-back']);
      // Its batches are the source's own records now; the next way back is another producer.
      await forgetProducerIds(wave, 'reverse');
      await releaseClaims(wave);
      return undoResult(
        report,
        `${wave.clusters.source.name} as it was before; ${wave.clusters.target.name} stays closed`,
      );
    },

    async undoAll({ removeTarget, ...scope }) {
      const wave = await connections.wave(scope);
      const replicator = await removeReplicator(wave, connections);
      // What keeps applications out of the target goes last, when nothing lets them in any more.
      const first = await wave.journal.undo(wave.wave, 'all', {
        removeTopics: removeTarget,
        ...(!capabilitiesOf(wave.plan).ourProducers && { onlyOurs: (topic) => strangersIn(wave, topic) }),
        // Topics stay unless people ask for their removal, which is no failure to undo.
        except: [...closing, ...movedLeaders, ...(removeTarget ? [] : (['topic'] as const))],
      });
      const last = await undoClosing(wave);
      const leaders = await wave.journal.undo(wave.wave, movedLeaders);
      await releaseClaims(wave);
      return undoResult(
        together(first, last, leaders, replicator),
        removeTarget ? 'everything undone' : 'everything undone; topics that we created stay',
      );
    },
  };
}

/** Why a topic that we created may hold records that did not come from the source; null: all of them were found there. */
async function strangersIn(wave: Wave, topic: string): Promise<string | null> {
  if (capabilitiesOf(wave.plan).offsetIdentity) return 'whose its records are cannot be told with this replicator';
  const walked = (await readPairs(wave, 'forward')).filter((p) => p.topic === topic);
  const ends = await listOffsets(wave.clusters.target, walked, 'logEnd');
  const open = walked.find(({ partition, place, counts }) => {
    return counts.foreign > 0 || place.copy < (ends.get(partitionKey(topic, partition)) ?? 0n);
  });
  return open ? `partition ${open.partition} holds records that were not found on the source` : null;
}

/** Before its rights go. One that does not answer stops nothing else: what is left is named. */
async function removeReplicator(wave: Wave, { file }: Connections): Promise<Pick<UndoReport, 'undone' | 'notUndone'>> {
  const notUndone: string[] = [];
  let undone = 0;
  for (const direction of ['forward', 'reverse'] as const) {
    try {
      const removed = await replicatorOf(wave.plan).remove({ wave, direction, file, signal: cancellation() });
      undone += removed.length;
    } catch (error) {
      if (!(error instanceof CutoverError)) throw error;
      notUndone.push(`the ${direction} replicator was not removed: ${error.message}`);
    }
  }
  return { undone, notUndone };
}

/** Not while rules of ours let applications into the target: they would write there, and to the source too. */
async function undoClosing(wave: Wave): Promise<Pick<UndoReport, 'undone' | 'notUndone'>> {
  const standing = (await wave.journal.entries(wave.wave)).filter(stands);
  const lettingIn = standing.filter(({ purpose, inverse }) => purpose === 'acl' && inverse.cluster === 'target');
  if (lettingIn.length === 0) return wave.journal.undo(wave.wave, closing);
  const kept = standing.filter(({ purpose }) => closing.includes(purpose));
  return {
    undone: 0,
    notUndone: kept.map(
      ({ inverse }) => `${describeChange(inverse)}: not done: rules that let applications in still stand`,
    ),
  };
}

const closing: readonly Purpose[] = ['protection', 'group-protection', 'fence-target', 'group-fence-target'];

async function releaseClaims(wave: Wave): Promise<void> {
  await release(wave.storage, wave.migration, { topics: wave.topicNames, groups: wave.groups });
}

function undoResult({ undone, notUndone }: Omit<UndoReport, 'notNoted'>, done: string): UndoResult {
  const summary = notUndone.length > 0 ? `${undone} undone, ${notUndone.length} not` : `${undone} undone: ${done}`;
  return { undone, notUndone, summary };
}
