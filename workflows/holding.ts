/**
 * Findings that running activities heartbeat, for Temporal's UI: a workflow does not see heartbeats, so an activity reads them and ends when
 * they say something else. Until then it costs nothing.
 */
import { log } from '@temporalio/workflow';
import type { Migration } from './migration.ts';
import { heldNow, heldRestMs } from './state.ts';
import { activities, describeFailure, unattended } from './steps/calls.ts';

/** Never rejects; goes on until the run ends. */
export async function showHolding(migration: Migration): Promise<void> {
  try {
    for (;;) {
      const { shared } = migration.state;
      const request = {
        migration: shared.name,
        shown: shared.holding?.findings ?? [],
        restMs: heldRestMs(shared),
      };
      const how = unattended('read findings from the heartbeats of what runs');
      const { findings } = await activities.readHolding.executeWithOptions(how, [request]);
      const { plans } = migration;
      plans.change(heldNow(plans.state, findings, plans.now));
    }
  } catch (error) {
    // `status` shows them without it.
    log.warn('findings of heartbeats are not shown any more', { text: describeFailure(error).message });
  }
}
