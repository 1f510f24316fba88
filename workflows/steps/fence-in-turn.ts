/**
 * As earlier builds went from the fence to the opening decision, one activity after the other: for runs that were between the two, or had
 * that in their history, when the worker was exchanged. To be deleted, with the histories that need it, once no such run is left.
 */
import type { Fenced } from '../../activities/types.ts';
import type { Background } from '../background.ts';
import type { Run } from '../run.ts';
import { stepBegun, stepEnded, truthProven } from '../state.ts';
import { activities, fenced } from './calls.ts';
import { groupsStay } from './handover.ts';

export async function closeAndHandOverInTurn(run: Run, background: Background, request: Fenced): Promise<void> {
  const { direction, deadlineMs, plan } = request;
  const closed = direction === 'forward' ? 'source' : 'target';
  const opening = direction === 'forward' ? 'target' : 'source';

  begin(run, 'fence');
  // Ending takes a heartbeat, so it is asked for early: positions may be final only once nobody moves them.
  const stay = groupsStay(run.state);
  const following = background.stopFollowing({ groupsToo: !stay });
  run.report(
    'fence',
    await activities.closeWrites.executeWithOptions(fenced(`close ${plan[closed]}`, deadlineMs), [request]),
  );
  const proven = await activities.proveFence.executeWithOptions(
    fenced(`prove that ${plan[closed]} is closed`, deadlineMs),
    [request],
  );
  run.report('fence', proven);
  run.change(truthProven(run.state, `${plan[closed]} closed: ${proven.summary}`));
  background.start(`watchFence:${closed}`);
  run.report(
    'fence',
    await activities.endTransactions.executeWithOptions(fenced('end transactions', deadlineMs), [request]),
  );
  const boundary = await activities.drainToBoundary.executeWithOptions(
    fenced('copy and audit the last records', deadlineMs),
    [request],
  );
  run.report('fence', boundary);
  run.change(stepEnded(run.state, 'fence', run.now));

  begin(run, 'sync-offsets');
  // The mirror has nothing left to copy: it ends while the groups move.
  const mirroring = background.stop(`mirror:${direction}`);
  await following;
  if (stay) {
    run.report('sync-offsets', { summary: `groups stay on ${plan.source}; their positions on ${plan.target} follow` });
  } else {
    const moved = await activities.moveGroups.executeWithOptions(fenced('move the groups', deadlineMs), [
      { ...request, boundary: boundary.boundary },
    ]);
    run.report('sync-offsets', moved);
  }
  run.change(stepEnded(run.state, 'sync-offsets', run.now));

  begin(run, 'switch-producers');
  run.report(
    'switch-producers',
    await activities.shutOutMirror.executeWithOptions(fenced(`shut the mirror out of ${plan[opening]}`, deadlineMs), [
      request,
    ]),
  );
  await mirroring;
  if (direction === 'forward' && plan.rollback.reverseMirror) background.start('mirror:reverse');
  run.report(
    'switch-producers',
    await activities.restoreSettings.executeWithOptions(fenced(`restore settings of ${plan[opening]}`, deadlineMs), [
      request,
    ]),
  );
}

function begin(run: Run, step: 'fence' | 'sync-offsets' | 'switch-producers'): void {
  run.change(stepBegun(run.state, step, run.now));
}
