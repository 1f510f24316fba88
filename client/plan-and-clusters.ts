/** Reads a plan together with the clusters file that it needs; for the commands that talk to Kafka themselves. */
import type { ClustersFile } from '../kafka/clusters.ts';
import type { PlanFile } from './plan-file.ts';

export interface PlanAndClusters extends PlanFile {
  readonly clusters: ClustersFile;
}

/**
 * Reads a plan and the clusters file that it needs. That both clusters are in it is checked; other names are where they are used, so that
 * `unfence` works where a switch could not.
 *
 * @throws CutoverError PLAN_INVALID, CLUSTERS_INVALID, CLUSTER_UNKNOWN
 */
export async function readPlanAndClusters(file: string, env: NodeJS.ProcessEnv): Promise<PlanAndClusters> {
  const [{ readPlanFile }, { readClusters }] = await Promise.all([
    import('./plan-file.ts'),
    import('../kafka/clusters.ts'),
  ]);
  const planFile = readPlanFile(file);
  const clusters = readClusters(undefined, env);
  for (const name of [planFile.plan.source, planFile.plan.target]) clusters.cluster(name);
  return { ...planFile, clusters };
}
