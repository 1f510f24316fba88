/** drain-lag: waits until what is left fits into the time that a fence may be held. */
import type { Measurement } from '../../activities/types.ts';
import type { Direction } from '../../contract/status.ts';
import type { Run } from '../run.ts';
import { measured } from '../state.ts';
import { activities, lasting, look } from './calls.ts';

/** @throws an interruption when people end the run meanwhile */
export async function drainLag(run: Run): Promise<readonly string[]> {
  const request = { ...run.scope, direction: 'forward' } as const;
  const measurement = await run.step(
    'drain-lag',
    async () => {
      const ready = await activities.drainLag.executeWithOptions(lasting('wait until the lag fits the fence'), [
        request,
      ]);
      run.report('drain-lag', { summary: describe(ready) });
      return ready;
    },
    { choices: ['retry', 'rollback'] },
  );
  return measurement ? note(run, measurement) : [];
}

/** Facts for a gate, measured now. */
export async function measure(run: Run, direction: Direction): Promise<readonly string[]> {
  const request = { ...run.scope, direction };
  return note(run, await activities.measure.executeWithOptions(look('measure'), [request]));
}

function note(run: Run, measurement: Measurement): readonly string[] {
  run.change(measured(run.state, measurement.lagRecords, measurement.asOf));
  return [...measurement.facts, `measured at ${measurement.asOf}: ${describe(measurement)}`];
}

function describe({ lagRecords, auditLagRecords, expectedPauseMs }: Measurement): string {
  return `lag ${lagRecords} records, audit ${auditLagRecords} behind, expected pause ${expectedPauseMs} ms`;
}
