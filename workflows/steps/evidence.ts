/** The record of what was proven and decided, stored at the end of every run. */
import { log } from '@temporalio/workflow';
import type { Outcome } from '../../contract/status.ts';
import type { Migration } from '../migration.ts';
import { evidenceWritten, outcomesOf, passedGates } from '../state.ts';
import { wavesOf } from '../status-view.ts';
import { activities, describeFailure, settle } from './calls.ts';

/** An end must not hang on its record: after this time the run ends without one, and says so. */
const writeMax = '5 minutes';

export async function writeEvidence({ plans, state }: Migration, outcome: Outcome): Promise<void> {
  const { name, decisions } = state.shared;
  const options = { ...settle('store the evidence'), scheduleToCloseTimeout: writeMax } as const;
  const inventory = state.own.at(-1)?.inventory ?? null;
  const steps = state.own.flatMap((own) => own.steps);
  const outcomes = outcomesOf(state, outcome === 'rejected' ? outcome : 'aborted');
  const waves = wavesOf(state).map(({ wave, sourceOfTruth, since, proof }) => ({
    wave,
    outcome: outcomes[wave] ?? outcome,
    sourceOfTruth,
    since,
    proof,
  }));
  const request = { plan: plans.plan, inventory, outcome, waves, steps, decisions, gates: passedGates(state.shared) };
  try {
    const stored = await activities.writeEvidence.executeWithOptions(options, [request]);
    plans.change(evidenceWritten(plans.state, stored));
  } catch (error) {
    const { code, message } = describeFailure(error);
    log.error('evidence could not be stored', { migration: name, code, text: message });
  }
}
