/**
 * Temporal's Worker Versioning, for whoever rolls workers out that way: each build is a version of a worker deployment, and Temporal gives tasks to
 * the current one.
 *
 * Migrations move on to the current version with their next task (AUTO_UPGRADE), rather than staying with the build that they began with (PINNED):
 * they last for weeks, a fix of the mirror must reach those that are under way, and a fence must be lifted by whatever worker is alive, while a pinned
 * one would wait for a build that nobody runs any more. What makes that safe is what makes it safe without versions: `patched()` and kept histories.
 */
import type { WorkerOptions } from '@temporalio/worker';
import { CutoverError } from '../contract/errors.ts';

/** As Temporal's Worker Controller for Kubernetes sets them. */
export const versionVariables = {
  deployment: 'TEMPORAL_DEPLOYMENT_NAME',
  buildId: 'TEMPORAL_WORKER_BUILD_ID',
} as const;

export interface WorkerVersion {
  readonly deployment: string;
  readonly buildId: string;
}

/**
 * Null where neither is given: then Temporal gives tasks to every worker alike.
 *
 * @throws CutoverError USAGE where one is given and the other is not
 */
export function workerVersion(given: Partial<WorkerVersion>, env: NodeJS.ProcessEnv): WorkerVersion | null {
  const deployment = given.deployment ?? env[versionVariables.deployment] ?? '';
  const buildId = given.buildId ?? env[versionVariables.buildId] ?? '';
  if (deployment === '' && buildId === '') return null;
  if (deployment !== '' && buildId !== '') return { deployment, buildId };
  throw new CutoverError('USAGE', {
    what: 'a versioned worker needs the name of its deployment and its build id',
    where: 'worker',
    found: deployment === '' ? `build id ${buildId} alone` : `deployment ${deployment} alone`,
    wanted: `--deployment and --build-id, or ${versionVariables.deployment} and ${versionVariables.buildId}`,
  });
}

export function versionOptions(version: WorkerVersion | null): Pick<WorkerOptions, 'workerDeploymentOptions'> {
  if (version === null) return {};
  return {
    workerDeploymentOptions: {
      version: { deploymentName: version.deployment, buildId: version.buildId },
      useWorkerVersioning: true,
      defaultVersioningBehavior: 'AUTO_UPGRADE',
    },
  };
}
