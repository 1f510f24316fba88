/** preflight: reads the plan, inventories both clusters, and refuses before anything is changed. */
import { ApplicationFailure, sleep, workflowInfo } from '@temporalio/workflow';
import { type Code, codes } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import { isInterruption, type Run } from '../run.ts';
import { inventoried, planRead, stepBegun, stepEnded } from '../state.ts';
import { activities, describeFailure, look, parse } from './calls.ts';

/** How often a look that failed with a retryable code is tried before the run fails. */
const triesMax = 3;
const tryAgainAfterMs = 1_000;

export async function preflight(run: Run, input: unknown): Promise<void> {
  run.change(stepBegun(run.state, 'preflight', run.now));
  run.change(planRead(run.state, await readPlan(input)));
  refuseUnsafe(run.plan);

  const found = await withTries(() =>
    run.interruptible(() => activities.preflight.executeWithOptions(look('inventory'), [{ plan: run.plan }])),
  );
  run.report('preflight', found);
  run.change(stepEnded(inventoried(run.state, found), 'preflight', run.now));
  if (found.blockers === 0) return;
  const blockers = found.findings.filter((entry) => entry.severity === 'blocker' && !entry.waived);
  const list = blockers.map((entry) => `${entry.code} (${entry.where}): ${entry.message}`).join('; ');
  throw failed('BLOCKED', `BLOCKED: preflight found ${found.blockers} blockers: ${list}. Next: ${codes.BLOCKED.next}`);
}

async function readPlan(input: unknown): Promise<Plan> {
  try {
    return await activities.parsePlan.executeWithOptions(parse('read the plan'), [input, workflowInfo().workflowId]);
  } catch (error) {
    const failure = describeFailure(error);
    throw failed(failure.code, failure.message);
  }
}

/** What would be unsafe to leave to a finding, because the runbook itself relies on it. */
function refuseUnsafe(plan: Plan): void {
  if (plan.fourEyes && plan.startedBy.trim() === '') {
    throw failed('PLAN_INVALID', 'PLAN_INVALID: fourEyes needs startedBy. Next: start with --by, or set startedBy');
  }
}

async function withTries<Result>(look: () => Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries++) {
    try {
      return await look();
    } catch (error) {
      if (isInterruption(error)) throw error;
      const failure = describeFailure(error);
      if (!codes[failure.code].retryable || tries === triesMax) throw failed(failure.code, failure.message);
      await sleep(tries * tryAgainAfterMs, { summary: `preflight again after ${failure.code}` });
    }
  }
}

/** Ends the run as Failed: nothing has been changed yet. */
function failed(code: Code, message: string): ApplicationFailure {
  return ApplicationFailure.nonRetryable(message, code);
}
