/** Reads a migration's evidence from where it is kept: on the clusters, so Temporal need not be there. */
import type { StepRecord } from '../contract/status.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { evidenceSoFar, readEvidence, type StoredEvidence } from '../migration/evidence.ts';
import { findStored } from './stored.ts';

/**
 * The evidence that was written when the migration ended, else what is stored of it so far; null when nothing is.
 *
 * @param between the plan's two clusters when they are known; else every pair of the clusters file is tried
 * @param running the steps of a migration that goes on: what an earlier run of its name has written is not asked for
 * @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_AUTH_FAILED, CLUSTER_ACCESS_DENIED, STORAGE_CORRUPT
 */
export function storedEvidence(
  clusters: ClustersFile,
  migration: string,
  between: { readonly source: string; readonly target: string } | null,
  env: NodeJS.ProcessEnv,
  running: readonly StepRecord[] | null,
): Promise<StoredEvidence | null> {
  return findStored(clusters, between, env, async ({ storage }) => {
    const written = running === null ? await readEvidence(storage, migration) : null;
    return written ?? evidenceSoFar(storage, migration, running ?? []);
  });
}
