/**
 * `mirrorPrincipals` of clusters.yaml: logins that a mirror owns its markers under, one after the other, where a topic has one replica and no
 * leader can be moved between two owners (mirror/principals.ts). They get the rights of the mirror that writes there, and are shut out with it.
 */
import { Cluster } from '../kafka/cluster.ts';
import { type ClusterConfig, principalName } from '../kafka/clusters.ts';
import { type MirrorPrincipal, MirrorPrincipals } from '../mirror/principals.ts';

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
