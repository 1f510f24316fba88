/** verify: parity up to the boundary, groups, configs, ACLs, quotas, and who writes where now. */
import type { Direction } from '../../contract/status.ts';
import type { Run } from '../run.ts';
import { skippedVerify } from '../state.ts';
import { activities, lasting } from './calls.ts';
import { choicesOf } from './switch.ts';

export async function verify(run: Run, direction: Direction): Promise<void> {
  await run.once(`verify:${direction}`, async () => {
    const request = { ...run.scope, direction, boundary: run.boundary(direction) };
    const verified = await run.step(
      'verify',
      async () => {
        const result = await activities.verify.executeWithOptions(lasting('verify'), [request]);
        run.report('verify', result);
        return result;
      },
      { choices: choicesOf(direction) },
    );
    // Partial success is never rounded up: nothing finalizes by itself after a skipped verify.
    if (verified === null) run.change(skippedVerify(run.state));
  });
}
