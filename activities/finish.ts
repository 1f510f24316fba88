/** The ends of a migration: finalized, rolled back, or undone. */
import { release } from '../migration/claims.ts';
import type { Purpose, UndoReport } from '../migration/journal.ts';
import { restoreRetention } from '../migration/prepare.ts';
import type { Wave } from '../migration/wave.ts';
import type { Connections } from './connections.ts';
import type { ControlActivities, UndoResult } from './types.ts';

export function finishActivities(
  connections: Connections,
): Pick<ControlActivities, 'finalizeWave' | 'settleRollback' | 'undoAll'> {
  return {
    async finalizeWave(scope) {
      const wave = await connections.wave(scope);
      const { unfenceSource } = wave.plan.finalize;
      const restored = await restoreRetention(wave);
      const purposes: Purpose[] = ['mirror-access', 'source-settings'];
      if (unfenceSource) purposes.push('fence-source', 'group-fence-source');
      const { notUndone } = await wave.journal.undo(wave.wave, purposes);
      await releaseClaims(wave);
      const source = unfenceSource ? 'unfenced' : 'still fenced';
      const left = notUndone.length > 0 ? `; not undone: ${notUndone.join('; ')}` : '';
      return {
        summary: `retention of ${restored} topics restored, mirrors' rights removed, ${wave.clusters.source.name} ${source}${left}`,
      };
    },

    async settleRollback(scope) {
      const wave = await connections.wave(scope);
      const report = await wave.journal.undo(wave.wave, ['opening-source', 'source-settings', 'mirror-access']);
      await releaseClaims(wave);
      return undoResult(
        report,
        `${wave.clusters.source.name} as it was before; ${wave.clusters.target.name} stays closed`,
      );
    },

    async undoAll({ removeTarget, ...scope }) {
      const wave = await connections.wave(scope);
      const report = await wave.journal.undo(wave.wave, 'all', {
        removeTopics: removeTarget,
        // Topics stay unless people ask for their removal, which is no failure to undo.
        ...(removeTarget ? {} : { except: ['topic'] }),
      });
      await releaseClaims(wave);
      return undoResult(report, removeTarget ? 'everything undone' : 'everything undone; topics that we created stay');
    },
  };
}

async function releaseClaims(wave: Wave): Promise<void> {
  await release(wave.storage, wave.migration, { topics: wave.topicNames, groups: wave.groups });
}

function undoResult({ undone, notUndone }: UndoReport, done: string): UndoResult {
  const summary = notUndone.length > 0 ? `${undone} undone, ${notUndone.length} not` : `${undone} undone: ${done}`;
  return { undone, notUndone, summary };
}
