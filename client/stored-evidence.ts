/** Reads a migration's evidence from where it is kept: on the clusters, so Temporal need not be there. */
import type { ClustersFile } from '../kafka/clusters.ts';
import { type Evidence, readEvidence } from '../migration/evidence.ts';
import { findStored } from './stored.ts';

/**
 * The evidence that was written when the migration ended; null when none was written yet.
 *
 * @param between the plan's two clusters when they are known; else every pair of the clusters file is tried
 * @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_AUTH_FAILED, CLUSTER_ACCESS_DENIED, STORAGE_CORRUPT
 */
export function storedEvidence(
  clusters: ClustersFile,
  migration: string,
  between: { readonly source: string; readonly target: string } | null,
  env: NodeJS.ProcessEnv,
): Promise<Evidence | null> {
  return findStored(clusters, between, env, ({ storage }) => readEvidence(storage, migration));
}
