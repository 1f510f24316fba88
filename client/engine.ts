/**
 * What the commands that work without Temporal need of the engine. Each part is loaded by the command that
 * uses it, and only then: Kafka's client alone takes longer to load than `--help` may.
 */
import { extname } from 'node:path';
import { CutoverError } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import type { ProgressTotals } from './foreground.ts';
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

export interface ForegroundOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: ProgressTotals) => void;
}

/** Loads a part of the engine; one that this version does not have yet is a coded refusal, not a crash. */
export async function load<Module>(specifier: string, what: string): Promise<Module> {
  // Built, this file and what it loads end in .js.
  const url = new URL(specifier.replace(/\.ts$/, extname(import.meta.url)), import.meta.url).href;
  try {
    return (await import(url)) as Module;
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND';
    if (!missing || (error as { url?: string }).url !== url) throw error;
    throw new CutoverError(
      'NOT_SUPPORTED_YET',
      { what: `${what} is not part of this version`, next: 'Use `kafka-cutover help` for what there is.' },
      { cause: error },
    );
  }
}
