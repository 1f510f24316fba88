/** Finds what a migration has stored: on two clusters of the clusters file, so that Temporal need not be there. */
import { CutoverError } from '../contract/errors.ts';
import { Cluster } from '../kafka/cluster.ts';
import type { ClusterConfig, ClustersFile } from '../kafka/clusters.ts';
import { type Storage, storageFor } from '../migration/storage.ts';

export interface StoredOn {
  readonly storage: Storage;
  /** Under their names in the clusters file. */
  readonly clusters: ReadonlyMap<string, Cluster>;
}

/**
 * Asks every pair of clusters until one has an answer.
 *
 * @param between the two clusters, where they are known
 * @param look gives null where nothing is stored of what it looks for
 * @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_AUTH_FAILED, CLUSTER_ACCESS_DENIED, STORAGE_CORRUPT when no pair has an answer and one could not be asked; what
 *   `look` throws once the two clusters are known
 */
export async function findStored<Found>(
  file: ClustersFile,
  between: { readonly source: string; readonly target: string } | null,
  env: NodeJS.ProcessEnv,
  look: (on: StoredOn) => Promise<Found | null>,
): Promise<Found | null> {
  const pairs = between
    ? [[file.cluster(between.source), file.cluster(between.target)] as const]
    : everyPair([...file.clusters.values()]);
  let failure: unknown = null;
  for (const [one, other] of pairs) {
    try {
      await using source = await Cluster.connect(one);
      await using target = await Cluster.connect(other);
      const clusters = new Map([source, target].map((cluster) => [cluster.name, cluster]));
      const found = await look({ storage: storageFor({ source, target }, env), clusters });
      if (found !== null) return found;
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
