/**
 * `mirrorPrincipals` of clusters.yaml: logins that a mirror owns its markers under, one after the other, where a topic has one replica and no
 * leader can be moved between two owners (mirror/principals.ts). They get the rights of the mirror that writes there, and are shut out with it.
 *
 * One pool is for one owner at a time: two that took turns with the same principals would deny each other for ever. So one shard carries all
 * partitions that need the pool, and preflight refuses a second migration that would use it.
 */
import { Cluster } from '../kafka/cluster.ts';
import { type ClusterConfig, principalName } from '../kafka/clusters.ts';
import { partitionKey } from '../kafka/offsets.ts';
import { type MirrorPrincipal, MirrorPrincipals } from '../mirror/principals.ts';
import type { Side } from './change.ts';
import type { OthersEntry } from './journal.ts';

/** Fewer cannot take turns. */
const poolLeast = 2;

/** Their names; none where there are too few of them, or where what brokers call them is not known. */
export function poolNames(config: ClusterConfig): string[] {
  const names = config.mirrorPrincipals.map(principalName).filter((name) => name !== null);
  return names.length === config.mirrorPrincipals.length && names.length >= poolLeast ? names : [];
}

/**
 * Nothing is connected before it is needed. To be closed by whoever opens it.
 *
 * @param admin under our own principal
 */
export function openPool(admin: Cluster): MirrorPrincipals | undefined {
  const { config } = admin;
  const principals = poolNames(config).map(
    (name, index): MirrorPrincipal => ({
      name,
      connect: () => Cluster.connect(config, { as: { mirrorPrincipal: index } }),
    }),
  );
  return principals.length > 0 ? new MirrorPrincipals({ admin, principals }) : undefined;
}

/** `topic/partition` of those that are owned through the pool, as the cluster is now; none without a pool. */
export async function pooledPartitions(cluster: Cluster, topics: readonly string[]): Promise<ReadonlySet<string>> {
  if (poolNames(cluster.config).length === 0) return new Set();
  const { topics: found } = await cluster.metadata(topics);
  return new Set(
    [...found.values()].flatMap(({ name, partitions }) =>
      partitions.filter((p) => p.replicas.length === 1).map((p) => partitionKey(name, p.partition)),
    ),
  );
}

/** Migrations whose mirrors have rights for principals of the cluster's pool, by the entries of others' journals. */
export function poolUsers(config: ClusterConfig, others: readonly OthersEntry[], side: Side): string[] {
  const names = new Set(poolNames(config));
  const users = others.filter(
    ({ change }) =>
      change.kind === 'create-acls' && change.cluster === side && change.acls.some((acl) => names.has(acl.principal)),
  );
  return [...new Set(users.map((entry) => entry.migration))].sort();
}
