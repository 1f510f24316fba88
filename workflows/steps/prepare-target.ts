/** prepare-target: claims, topics, settings, ACLs, quotas, and protection of the target until it opens. */
import type { Run } from '../run.ts';
import { activities, prepare } from './calls.ts';

export async function prepareTarget(run: Run): Promise<void> {
  const summary = `prepare ${run.plan.target}`;
  await run.step(
    'prepare-target',
    async () => {
      run.report('prepare-target', await activities.prepareTarget.executeWithOptions(prepare(summary), [run.scope]));
    },
    { choices: ['retry', 'rollback'] },
  );
}
