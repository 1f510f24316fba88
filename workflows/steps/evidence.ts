/** The record of what was proven and decided, stored at the end of every run. */
import { log } from '@temporalio/workflow';
import type { Outcome } from '../../contract/status.ts';
import type { Run } from '../run.ts';
import { evidenceWritten } from '../state.ts';
import { activities, describeFailure, settle } from './calls.ts';

/** An end must not hang on its record: after this time the run ends without one, and says so. */
const writeMax = '5 minutes';

export async function writeEvidence(run: Run, outcome: Outcome): Promise<void> {
  const { inventory, steps, decisions } = run.state;
  const options = { ...settle('store the evidence'), scheduleToCloseTimeout: writeMax } as const;
  const request = { plan: run.plan, inventory, outcome, steps, decisions };
  try {
    run.change(evidenceWritten(run.state, await activities.writeEvidence.executeWithOptions(options, [request])));
  } catch (error) {
    const { code, message } = describeFailure(error);
    log.error('evidence could not be stored', { migration: run.state.name, code, text: message });
  }
}
