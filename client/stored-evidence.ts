/** Reads a migration's evidence from where it is kept: on the clusters, so Temporal need not be there. */
import { CutoverError } from '../contract/errors.ts';
import { Cluster } from '../kafka/cluster.ts';
import type { ClusterConfig, ClustersFile } from '../kafka/clusters.ts';
import { type Evidence, readEvidence } from '../migration/evidence.ts';
import { storageFor } from '../migration/storage.ts';

/**
 * The evidence that was written when the migration ended; null when none was written yet.
 *
 * @param between the plan's two clusters when they are known; else every pair of the clusters file is tried
 * @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_AUTH_FAILED, CLUSTER_ACCESS_DENIED, STORAGE_CORRUPT
 */
export async function storedEvidence(
  clusters: ClustersFile,
  migration: string,
  between: { readonly source: string; readonly target: string } | null,
  env: NodeJS.ProcessEnv,
): Promise<Evidence | null> {
  const pairs = between
    ? [[clusters.cluster(between.source), clusters.cluster(between.target)] as const]
    : everyPair([...clusters.clusters.values()]);
  let failure: unknown = null;
  for (const [one, other] of pairs) {
    try {
      await using source = await Cluster.connect(one);
      await using target = await Cluster.connect(other);
      const evidence = await readEvidence(storageFor({ source, target }, env), migration);
      if (evidence) return evidence;
    } catch (error) {
      if (between || !(error instanceof CutoverError)) throw error;
      failure = error; // a cluster of another migration
    }
  }
  if (failure) throw failure;
  return null;
}

function everyPair(configs: readonly ClusterConfig[]): (readonly [ClusterConfig, ClusterConfig])[] {
  return configs.flatMap((one, index) => configs.slice(index + 1).map((other) => [one, other] as const));
}
