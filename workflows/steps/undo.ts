/** What ends a migration other than by completing: an abort before the opening, settling after a rollback. */

import type { UndoResult } from '../../activities/types.ts';
import type { Background } from '../background.ts';
import type { Run } from '../run.ts';
import { abortBegun, type CutoverState, isDone, leftUndone } from '../state.ts';
import { activities, settle } from './calls.ts';

/** Any fence has been lifted already: an interrupted fence lifts itself before anything else happens. */
export async function abort(run: Run, background: Background): Promise<void> {
  const removeTarget = run.state.request?.removeTarget ?? false;
  run.change(abortBegun(run.state));
  await background.stopAll();
  if (!hasChangedAnything(run.state)) return;
  await undo(run, () =>
    activities.undoAll.executeWithOptions(settle('undo every change, newest first'), [{ ...run.scope, removeTarget }]),
  );
}

export async function settleRollback(run: Run, background: Background): Promise<void> {
  await run.once('settle-rollback', async () => {
    await background.stopAll();
    await undo(run, () =>
      activities.settleRollback.executeWithOptions(settle('the source as it was before'), [run.scope]),
    );
  });
}

async function undo(run: Run, work: () => Promise<UndoResult>): Promise<void> {
  const undone = await run.step(
    'rollback',
    async () => {
      const result = await work();
      run.report('rollback', result);
      return result;
    },
    { choices: ['retry', 'skip'], insist: true },
  );
  const left = undone ? undone.notUndone : ['undoing was skipped by decision: read the journal'];
  run.change(leftUndone(run.state, left));
}

/** prepare-target was begun, whether or not it came through. */
function hasChangedAnything(state: CutoverState): boolean {
  return isDone(state, 'prepare-target') || state.steps.some((record) => record.step === 'prepare-target');
}
