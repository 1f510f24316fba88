/** A user of the target who may do what a mirror does, but nothing on the cluster: no markers, no leader moves. */
import { type Acl, awaitAcls, createAcls, deleteAcls } from '../../../kafka/acls.ts';
import type { Cluster } from '../../../kafka/cluster.ts';
import type { ClusterConfig } from '../../../kafka/clusters.ts';
import { upsertScramUser } from '../../../kafka/scram.ts';
import { ownershipPrefix } from '../../../mirror/ownership.ts';
import { uniqueName } from '../../support/stack.ts';

export interface User {
  readonly username: string;
  readonly password: string;
}

export function configAs(config: ClusterConfig, { username, password }: User): ClusterConfig {
  const sasl = { mechanism: 'scram-sha-512', username, password } as const;
  return { ...config, credentials: { ...config.credentials, own: { ...config.credentials.own, sasl } } };
}

export async function userWithoutMarkerRights(target: Cluster): Promise<User> {
  const user = { username: uniqueName('plain'), password: 'secret-of-a-test' };
  await upsertScramUser(target, user.username, user.password);
  const topics = { resourceType: 'topic', resourceName: '*', patternType: 'literal' } as const;
  const acls = [
    ...(['write', 'read', 'describe', 'delete'] as const).map((operation) => allow(user, { ...topics, operation })),
    idRule(user),
  ];
  await createAcls(target, acls);
  await awaitAcls(target, { present: acls });
  return user;
}

/** WRITE on the transactional ids of owners. */
export function idRule(user: User): Acl {
  const ids = { resourceType: 'transactional-id', resourceName: ownershipPrefix, patternType: 'prefixed' } as const;
  return allow(user, { ...ids, operation: 'write' });
}

/** Gives or takes the right to write markers. */
export async function setMarkerRight(target: Cluster, user: User, granted: boolean): Promise<void> {
  const cluster = { resourceType: 'cluster', resourceName: 'kafka-cluster', patternType: 'literal' } as const;
  const rules = (['alter', 'describe'] as const).map((operation) => allow(user, { ...cluster, operation }));
  await (granted ? createAcls(target, rules) : deleteAcls(target, rules));
  await awaitAcls(target, granted ? { present: rules } : { absent: rules });
}

function allow(
  { username }: User,
  rule: Pick<Acl, 'resourceType' | 'resourceName' | 'patternType' | 'operation'>,
): Acl {
  return { ...rule, principal: `User:${username}`, host: '*', permission: 'allow' };
}
