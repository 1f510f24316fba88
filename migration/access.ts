/** What our own principals really may do, found out by asking, and what that says about the authorizer. */

import { randomUUID } from 'node:crypto';
import { type Acl, grantedOnCluster, type Operation } from '../kafka/acls.ts';
import { Cluster } from '../kafka/cluster.ts';
import type { Role } from '../kafka/clusters.ts';
import { mayDescribeGroup } from '../kafka/groups.ts';
import { brokerConfigs, mayDescribeTopic } from '../kafka/topics.ts';
import type { OurPrincipals } from './acls.ts';
import { covers, kafkaCluster, mayDo } from './authorizer.ts';
import { ourPrincipals } from './inventory.ts';

/** Plain data. */
export interface Access {
  readonly principals: OurPrincipals;
  /** Operations on the cluster that the broker grants. */
  readonly clusterOperations: Readonly<Record<Role, readonly Operation[]>>;
  /** Null where it cannot be told. */
  readonly superUser: Readonly<Record<Role, boolean | null>>;
  /** `allow.everyone.if.no.acl.found`; brokers hide its value. Null where it cannot be told. */
  readonly allowEveryone: boolean | null;
}

const roles: readonly Role[] = ['own', 'forward', 'reverse'];

/**
 * Logs in as each of our principals and asks what it may do. Changes nothing.
 *
 * A principal that may do what no rule grants it is a super user, unless everybody may because no rule speaks about the
 * resource (`allow.everyone.if.no.acl.found`). A principal that is refused such a resource proves that setting false; one that sees a
 * topic which rules close to it is a super user all the same.
 *
 * @param acls null without an authorizer
 * @throws CutoverError CLUSTER_AUTH_FAILED, CLUSTER_UNREACHABLE: also those of a mirror's principal
 */
export async function probeAccess(cluster: Cluster, acls: readonly Acl[] | null): Promise<Access> {
  const principals = ourPrincipals(cluster.config);
  const clusterOperations: Record<Role, readonly Operation[]> = { own: [], forward: [], reverse: [] };
  const superUser: Record<Role, boolean | null> = { own: null, forward: null, reverse: null };
  // Its default is false, and brokers list it, without its value, only where somebody set it.
  const listed = (await brokerConfigs(cluster)).has('allow.everyone.if.no.acl.found');
  let allowEveryone: boolean | null = listed ? null : false;
  const undecided: Role[] = [];

  for (const role of roles) {
    if (role !== 'own' && !cluster.config.hasOwnPrincipal[role]) {
      clusterOperations[role] = clusterOperations.own;
      continue;
    }
    await using connected = role === 'own' ? undefined : await Cluster.connect(cluster.config, { as: role });
    const asRole = connected ?? cluster;
    clusterOperations[role] = await grantedOnCluster(asRole);
    const principal = principals[role];
    if (acls === null || principal === null) continue;
    const explained = clusterOperations[role].every((operation) =>
      mayDo({ acls }, principal, '*', operation, kafkaCluster),
    );
    if (explained) {
      superUser[role] = false;
      allowEveryone ??= await mayReachUnknownGroup(asRole, acls);
    } else if (acls.some((acl) => covers(acl, kafkaCluster))) superUser[role] = true;
    else if (role === 'own' && (await reachesWhatIsClosed(asRole, acls, principal))) superUser.own = true;
    else undecided.push(role);
  }
  // No rule speaks about the cluster, and these may do things there all the same.
  for (const role of undecided) superUser[role] = allowEveryone === false ? true : null;
  for (const role of ['forward', 'reverse'] as const) {
    if (!cluster.config.hasOwnPrincipal[role]) superUser[role] = superUser.own;
  }
  return { principals, clusterOperations, superUser, allowEveryone };
}

/** Whether the principal sees a topic that rules close to it, as super users alone do. */
async function reachesWhatIsClosed(cluster: Cluster, acls: readonly Acl[], principal: string): Promise<boolean> {
  const closed = acls.find(
    ({ resourceType, resourceName: name }) =>
      resourceType === 'topic' && name !== '*' && !mayDo({ acls }, principal, '*', 'describe', { type: 'topic', name }),
  );
  return closed !== undefined && mayDescribeTopic(cluster, closed.resourceName);
}

/** Whether a principal that is not a super user reaches a group that no rule covers; null where rules cover every group. */
async function mayReachUnknownGroup(cluster: Cluster, acls: readonly Acl[]): Promise<boolean | null> {
  const group = `kafka-cutover-probe-${randomUUID()}`;
  if (acls.some((acl) => covers(acl, { type: 'group', name: group }))) return null;
  return mayDescribeGroup(cluster, group);
}
