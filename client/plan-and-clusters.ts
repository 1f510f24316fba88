/** Reads a plan together with the clusters file that it needs; for the commands that talk to Kafka themselves. */
import type { Plan } from '../contract/plan.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import type { PlanFile } from './plan-file.ts';

export interface PlanAndClusters extends PlanFile {
  readonly clusters: ClustersFile;
}

/**
 * Reads a plan and the clusters file that it needs, and checks that every name in the one is in the other.
 *
 * @throws CutoverError PLAN_INVALID, CLUSTERS_INVALID, CLUSTER_UNKNOWN, WEBHOOK_UNKNOWN
 */
export async function readPlanAndClusters(file: string, env: NodeJS.ProcessEnv): Promise<PlanAndClusters> {
  const [{ readPlanFile }, { readClusters }] = await Promise.all([
    import('./plan-file.ts'),
    import('../kafka/clusters.ts'),
  ]);
  const planFile = readPlanFile(file);
  const clusters = readClusters(undefined, env);
  checkNames(planFile.plan, clusters);
  return { ...planFile, clusters };
}

function checkNames({ source, target, fence, producers, consumers }: Plan, clusters: ClustersFile): void {
  clusters.cluster(source);
  clusters.cluster(target);
  for (const { webhook } of [fence, producers, consumers]) if (webhook) clusters.webhook(webhook);
}
