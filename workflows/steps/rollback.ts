/**
 * The way back after the opening: the same runbook with the clusters exchanged, so that nothing that was
 * written to the target is lost. Until its own opening decision it can fail back to where the run was.
 */
import { log } from '@temporalio/workflow';
import { finding } from '../../contract/errors.ts';
import { approval, approvalRefusal } from '../admission.ts';
import type { Background } from '../background.ts';
import { isInterruption, type Run } from '../run.ts';
import {
  closedGate,
  type EndRequest,
  type Failure,
  goingBackBegun,
  measured,
  otherGatesDropped,
  policyOf,
  rollbackRefusal,
  stayedOnTarget,
  stepBegun,
  stepEnded,
  withFindings,
} from '../state.ts';
import { activities, describeFailure, lasting, look } from './calls.ts';
import { fenceAndDecide, isHeldByPeople } from './fence.ts';
import { passGate } from './gates.ts';

/** A reverse mirror that does not catch up in this time sends the run back to where it was. */
const reverseDrainMax = '30 minutes';

/** True when opening the source was decided; false when the run stays on the target. */
export async function rollBack(run: Run, background: Background): Promise<boolean> {
  run.change(goingBackBegun(run.state));
  if ((await askPeople(run)) !== 'approved') {
    run.change(stayedOnTarget(run.state));
    return false;
  }
  // Going back was approved: what waits to go forward is over.
  run.change(otherGatesDropped(run.state));

  for (;;) {
    await run.border();
    const outcome = await attempt(run, background);
    if (outcome.decided) return true;
    if (outcome.failure === null && rollbackRefusal(run.state) === null) {
      // Where people hold the fence, it has opened the gate again.
      if (closedGate(run.state, 'rollback') !== null || (await askPeople(run)) === 'approved') continue;
      run.change(stayedOnTarget(run.state));
      return false;
    }
    const { code, message } = outcome.failure ?? {
      code: 'ROLLBACK_IMPOSSIBLE',
      message: rollbackRefusal(run.state) ?? '',
    };
    log.error('rollback failed, the target stays open', { ...run.fields, code, text: message });
    const shown = withFindings(run.state, [finding(code, 'rollback', `the rollback failed: ${message}`)]);
    run.change(stayedOnTarget(shown));
    return false;
  }
}

async function askPeople(run: Run): ReturnType<typeof passGate> {
  // Where people hold the fence, an approval says that they have stopped what writes: asking for a rollback does not.
  const given = isHeldByPeople(run.plan) ? [] : firstApproval(run, run.state.goingBack);
  return passGate(run, 'rollback', { step: 'rollback', facts: await cost(run), given });
}

async function attempt(run: Run, background: Background): ReturnType<typeof fenceAndDecide> {
  try {
    await drainBack(run);
  } catch (error) {
    return { decided: false, failure: isInterruption(error) ? null : describeFailure(error) };
  }
  await run.border();
  return fenceAndDecide(run, background, 'reverse');
}

async function drainBack(run: Run): Promise<void> {
  run.change(stepBegun(run.state, 'drain-lag', run.now, 'reverse'));
  const options = { ...lasting('wait until the way back is short'), scheduleToCloseTimeout: reverseDrainMax } as const;
  const request = { ...run.scope, direction: 'reverse' } as const;
  try {
    const ready = await run.interruptible(
      () => activities.drainLag.executeWithOptions(options, [request]),
      () => rollbackRefusal(run.state) !== null,
    );
    run.change(measured(run.state, ready.lagRecords, ready.asOf));
  } finally {
    run.change(stepEnded(run.state, 'drain-lag', run.now, 'reverse'));
  }
}

/** What going back costs, said before anybody approves it. A cluster that fails must not keep people from it. */
async function cost(run: Run): Promise<readonly string[]> {
  try {
    const request = { ...run.scope, boundary: run.boundary('forward') };
    return await activities.rollbackCost.executeWithOptions(look('what a rollback costs'), [request]);
  } catch (error) {
    const failure: Failure = describeFailure(error);
    return [`the cost could not be measured: ${failure.message}`];
  }
}

/** The sender of `rollback` gives its first approval, where that sender may; where it must be signed, nobody has signed this gate yet. */
function firstApproval(run: Run, request: EndRequest | null) {
  if (!request?.counts || run.plan.gates.rollback.proof === 'required') return [];
  const { approvers } = policyOf(run.plan, 'rollback');
  const refusal = approvalRefusal(run.plan, { gate: 'rollback', approvers, given: [] }, request.by);
  return refusal ? [] : [approval(request.by, request.at, request.channel)];
}
