/** finalize: the rollback window, then what takes the way back away. */
import type { Background } from '../background.ts';
import type { Run } from '../run.ts';
import { currentWave, finalizingBegun, leftUndone } from '../state.ts';
import { activities, settle } from './calls.ts';
import { passGate } from './gates.ts';
import { goBack } from './switch.ts';

export async function finalize(run: Run, background: Background): Promise<void> {
  await run.once('finalize', async () => {
    if (!run.state.finalizing) {
      await run.border();
      await awaitFinalizeGate(run);
      await run.border();
      run.change(finalizingBegun(run.state));
    }
    await background.stopAll();
    const finalized = await run.step(
      'finalize',
      async () => {
        const result = await activities.finalizeWave.executeWithOptions(settle('finalize'), [run.scope]);
        run.report('finalize', result);
        return result;
      },
      { choices: ['retry', 'skip'], insist: true },
    );
    const skipped = ['finalize was skipped: retention, replica orders and mirror rights are as they were'];
    run.change(leftUndone(run.state, finalized?.notUndone ?? skipped));
  });
}

async function awaitFinalizeGate(run: Run): Promise<void> {
  const { target, rollback } = run.plan;
  const openedAt = Date.parse(currentWave(run.state)?.openedAt ?? run.now);
  const passesAtMs = openedAt + rollback.window;
  const until = new Date(passesAtMs).toISOString();
  const answer = await passGate(run, 'finalize', {
    step: 'finalize',
    facts: [
      rollback.reverseMirror
        ? `until this gate is approved, rollback carries what was written to ${target} back`
        : 'there is no way back: the plan says rollback.reverseMirror: false',
      `the rollback window ends at ${until}`,
    ],
    passesAtMs,
    approvalsMin: run.state.verifySkipped ? 1 : 0,
  });
  if (answer === 'rejected') goBack(run, 'finalize');
}
