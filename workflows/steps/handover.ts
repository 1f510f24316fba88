/**
 * Groups that move later than the producers (`consumers.when: later`): they read on where they are, through the reverse mirror, until
 * people approve gate `consumers`. Then they are stopped there, their final positions are carried, and the target lets them in.
 */
import type { Fenced } from '../../activities/types.ts';
import type { Background } from '../background.ts';
import { isInterruption, type Run } from '../run.ts';
import { type CutoverState, isDone, leftUndone, reached, stepBegun, stepEnded } from '../state.ts';
import { activities, describeFailure, fenced, insist, isTimeout } from './calls.ts';
import { passGate } from './gates.ts';
import { callSwitch, goBack, openGroups } from './switch.ts';

/** Whether the groups of the wave still have their home on the source. */
export function groupsStay(state: CutoverState): boolean {
  return state.plan?.consumers.when === 'later' && !isDone(state, 'groups-opened:forward');
}

export async function handOverLater(run: Run, background: Background): Promise<void> {
  while (groupsStay(run.state)) {
    await run.border();
    run.change(stepBegun(run.state, 'switch-consumers', run.now));
    const { source, target } = run.plan;
    const facts = [
      `the groups read on on ${source}, where the reverse mirror brings what is written to ${target}`,
      `approved, they are stopped on ${source} (members see GROUP_AUTHORIZATION_FAILED), their final positions are carried, and ${target} lets them in`,
      ...(run.plan.consumers.switch === 'manual' ? [`then point the consumers at ${target}`] : []),
    ];
    // Nobody hands them over but people: a plan with approvals 0 would not have said `later`.
    const gate = { step: 'switch-consumers', facts, approvalsMin: 1 } as const;
    if ((await passGate(run, 'consumers', gate)) === 'rejected') goBack(run, 'consumers');
    await run.border();
    await handOver(run, background);
  }
  if (run.plan.consumers.switch === 'manual') run.change(reached(run.state, 'consumers:forward'));
  else await run.once('consumers:forward', () => callSwitch(run, 'forward', 'consumers'));
  run.change(stepEnded(run.state, 'switch-consumers', run.now));
}

async function handOver(run: Run, background: Background): Promise<void> {
  const deadlineMs = Date.now() + run.plan.fence.maxHold;
  const request = { ...run.scope, direction: 'forward', deadlineMs } as const;
  try {
    // Positions may be final only once nobody moves them.
    await background.stop('followGroups');
    const moved = await run.interruptible(() =>
      activities.moveGroups.executeWithOptions(fenced('hand the groups over', deadlineMs), [
        { ...request, boundary: null },
      ]),
    );
    run.report('switch-consumers', moved);
    // From here on there is no other way than through.
    await openGroups(run, 'forward');
  } catch (error) {
    await letReadOn(run, request);
    background.start('followGroups');
    if (isInterruption(error)) throw error;
    const failure = describeFailure(error, isTimeout(error) ? 'FENCE_EXPIRED' : 'INTERNAL');
    await run.askDecision('switch-consumers', failure, ['retry', 'rollback']);
  }
}

/** They were stopped where they are, and nobody else lets them go on: tried until it works. */
async function letReadOn(run: Run, request: Fenced): Promise<void> {
  for (;;) {
    try {
      const how = insist(`let groups read on on ${run.plan.source}`);
      const kept = await activities.keepGroups.executeWithOptions(how, [request]);
      run.report('switch-consumers', kept);
      run.change(leftUndone(run.state, kept.notUndone));
      return;
    } catch (error) {
      await run.insistOnRetry('switch-consumers', describeFailure(error));
    }
  }
}
