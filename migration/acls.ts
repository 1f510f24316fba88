/** Which access rules a migration carries, adds for itself, and adds to keep applications out. */
import type { Plan } from '../contract/plan.ts';
import { type Acl, aclKey, type Operation, type ResourceType } from '../kafka/acls.ts';
import { markerOperations } from '../kafka/markers.ts';
import { ownershipIds, ownershipPrefix } from '../mirror/ownership.ts';
import {
  type AccessRules,
  covering,
  covers,
  everybody,
  kafkaCluster,
  mayDo,
  type Resource,
  readersOf,
  writersOf,
} from './authorizer.ts';
import type { Change, Side } from './change.ts';

/** Under which principals we work on one cluster; null where the user name is not known (mutual TLS). */
export interface OurPrincipals {
  readonly own: string | null;
  readonly forward: string | null;
  readonly reverse: string | null;
}

export interface Moved {
  readonly topics: readonly string[];
  readonly groups: readonly string[];
}

/** A principal of the source as the target knows it. */
export function mappedPrincipal(plan: Pick<Plan, 'principals'>, principal: string): string {
  return plan.principals.find((pair) => pair.source === principal)?.target ?? principal;
}

/**
 * Rules of the source that the target needs for the moved topics and groups, with mapped principals, sorted:
 * - rules on the topics and groups: by name and by prefix as they are; those on `*` narrowed to what moves, because
 *   carried as they are they would open (or close) everything else on the target;
 * - rules on transactional ids, and IDEMPOTENT_WRITE, of principals that may write a moved topic;
 * - of principals with rights on what moves: what they may see of the cluster, all that is denied to them there, and their rights on
 *   users and delegation tokens, as far as these are about principals with rights on what moves.
 * Rules of our own principals are left out: they are made by `mirrorAcls`.
 */
export function carriedAcls(
  rules: AccessRules,
  moved: Moved,
  plan: Pick<Plan, 'principals'>,
  ours: OurPrincipals,
): Acl[] {
  const concerned = whoIsConcerned(rules, moved);
  return distinct(
    rules.acls
      .filter((acl) => !isOurs(acl.principal, ours))
      .flatMap((acl) => carry(acl, moved, concerned, plan))
      .map((acl) => ({ ...acl, principal: mappedPrincipal(plan, acl.principal) })),
  );
}

/**
 * Rules of principals with rights on what moves that `carriedAcls` leaves out, as they would give them something over all of the target, or
 * name what is on the source alone: to alter the cluster or to act as a broker, to create any topic, single delegation tokens.
 */
export function aclsLeftOut(
  rules: AccessRules,
  moved: Moved,
  plan: Pick<Plan, 'principals'>,
  ours: OurPrincipals,
): Acl[] {
  const concerned = whoIsConcerned(rules, moved);
  return distinct(
    rules.acls.filter(
      (acl) =>
        beyondRecords.has(acl.resourceType) &&
        concerned.principals.has(acl.principal) &&
        !isOurs(acl.principal, ours) &&
        carry(acl, moved, concerned, plan).length === 0,
    ),
  );
}

/** Principals that some rule allows something on a moved topic or group. */
export function principalsOf(
  acls: readonly Acl[],
  topics: readonly string[],
  groups: readonly string[],
): ReadonlySet<string> {
  const resources: Resource[] = [
    ...topics.map((name) => ({ type: 'topic' as const, name })),
    ...groups.map((name) => ({ type: 'group' as const, name })),
  ];
  const about = resources.flatMap((resource) => covering(acls, resource));
  return new Set(about.filter((acl) => acl.permission === 'allow').map((acl) => acl.principal));
}

interface Concerned {
  readonly writers: ReadonlySet<string>;
  readonly principals: ReadonlySet<string>;
}

function whoIsConcerned(rules: AccessRules, { topics, groups }: Moved): Concerned {
  const writers = new Set<string>();
  for (const topic of topics) {
    const { named, everybody: open } = writersOf(rules, topic);
    for (const principal of named) writers.add(principal);
    if (open) writers.add(everybody);
  }
  return { writers, principals: principalsOf(rules.acls, topics, groups) };
}

/**
 * What the mirrors need on one cluster: to read where they copy from; to write, and to delete filler records, where
 * they copy to. Those that the rules grant already are left out.
 */
export function mirrorAcls(
  side: Side,
  rules: AccessRules,
  topics: readonly string[],
  ours: OurPrincipals,
  directions: { readonly forward: boolean; readonly reverse: boolean },
): Acl[] {
  const reads: readonly Operation[] = ['read', 'describe'];
  const writes: readonly Operation[] = ['write', 'read', 'describe', 'delete'];
  const wanted: Acl[] = [];
  for (const direction of ['forward', 'reverse'] as const) {
    const principal = ours[direction];
    if (!directions[direction] || principal === null || principal === ours.own) continue;
    const readsHere = (direction === 'forward') === (side === 'source');
    for (const topic of topics) {
      for (const operation of readsHere ? reads : writes) {
        const resource = { type: 'topic', name: topic } as const;
        if (!mayDo(rules, principal, '*', operation, resource)) wanted.push(allow(principal, operation, topic));
      }
    }
  }
  return distinct(wanted);
}

/** Which mirror writes to a cluster. */
export function writerOf(side: Side): 'forward' | 'reverse' {
  return side === 'target' ? 'forward' : 'reverse';
}

/**
 * What writing markers takes on one cluster: for the mirror that writes there ALTER on the cluster and the transactional ids of
 * ownership, for ourselves those ids too, since the switch ends ownership.
 *
 * Given in every migration and not only where a topic is known to need it: preflight sees a sample of each log, and a marker or a hole that it did not see
 * would stop the mirror in the middle of the night. Who does not want that denies it: a DENY stands, and preflight says what follows from it.
 *
 * Only what no other rule than these very ones grants: several migrations rely on them, and each must hold them.
 */
export function ownershipAcls(
  side: Side,
  rules: AccessRules,
  ours: OurPrincipals,
  directions: { readonly forward: boolean; readonly reverse: boolean },
): Acl[] {
  if (!directions[writerOf(side)]) return [];
  const writer = ours[writerOf(side)];
  const ids = [writer, ours.own].flatMap((principal) =>
    principal === null ? [] : ownershipIdAcls(principal, ownershipPrefix),
  );
  const wanted = [...(writer === null ? [] : [clusterAcl(writer, 'alter')]), ...ids];
  const keys = new Set(wanted.map(aclKey));
  const others = { ...rules, acls: rules.acls.filter((acl) => !keys.has(aclKey(acl))) };
  return distinct(wanted).filter(
    ({ principal, operation, resourceType: type, resourceName: name }) =>
      !mayDo(others, principal, '*', operation, { type, name }),
  );
}

/** Whether it may have the transactional ids of ownership under these rules: without a right on the cluster, they are what markers take. */
export function mayOwn(rules: AccessRules, principal: string): boolean {
  return ownershipIdAcls(principal, ownershipPrefix).every((acl) =>
    mayDo(rules, principal, '*', acl.operation, { type: acl.resourceType, name: acl.resourceName }),
  );
}

/** Whether it may write markers under these rules. */
export function mayWriteMarkers(rules: AccessRules, principal: string): boolean {
  return (
    mayOwn(rules, principal) &&
    markerOperations.some((operation) => mayDo(rules, principal, '*', operation, kafkaCluster))
  );
}

function clusterAcl(principal: string, operation: Operation): Acl {
  const { type: resourceType, name: resourceName } = kafkaCluster;
  return { resourceType, patternType: 'literal', resourceName, principal, host: '*', operation, permission: 'allow' };
}

function ownershipIdAcls(principal: string, prefix: string): Acl[] {
  return (['write', 'describe'] as const).map((operation) => ({
    resourceType: 'transactional-id',
    patternType: 'prefixed',
    resourceName: prefix,
    principal,
    host: '*',
    operation,
    permission: 'allow',
  }));
}

/** Which of our principals lack a right that `mirrorAcls` cannot give them: something denies it. */
export function deniedToUs(
  side: Side,
  rules: AccessRules,
  topics: readonly string[],
  ours: OurPrincipals,
  directions: { readonly forward: boolean; readonly reverse: boolean },
): Acl[] {
  const granted = { ...rules, acls: [...rules.acls, ...mirrorAcls(side, rules, topics, ours, directions)] };
  return mirrorAcls(side, granted, topics, ours, directions);
}

export interface FenceOptions {
  /** Principals that the plan names because rules leave a topic open to everybody. */
  readonly principals: readonly string[];
  /** Never denied: the mirror that writes here. */
  readonly exempt: OurPrincipals;
  /** Our principals are all super users, so everybody may be denied at once. */
  readonly denyEverybody?: boolean;
}

export interface Fence {
  /** DENY rules, sorted. */
  readonly acls: readonly Acl[];
  /** Topics or groups that stay open to principals that nobody named. */
  readonly openEnded: readonly string[];
}

/** DENY WRITE on each topic for each principal that may write it. Nothing that allows is removed. */
export function fenceAcls(rules: AccessRules, topics: readonly string[], options: FenceOptions): Fence {
  return closing('topic', 'write', topics, (topic) => writersOf(rules, topic), options);
}

/**
 * What keeps applications off the target until it opens: DENY WRITE on the topics, and DENY READ on the groups, which
 * stops members from joining and committing.
 *
 * @param rules the target's, with the carried rules that are about to be added
 */
export function protectionAcls(rules: AccessRules, moved: Moved, options: FenceOptions): Fence {
  const topics = fenceAcls(rules, moved.topics, options);
  const groups = closing('group', 'read', moved.groups, (group) => readersOf(rules, group), options);
  return { acls: distinct([...topics.acls, ...groups.acls]), openEnded: [...topics.openEnded, ...groups.openEnded] };
}

/**
 * What shuts a mirror out of the topics that it wrote to, and of nothing else, as it may mirror for other migrations too: DENY WRITE; DENY
 * DELETE, since one that slept through the switch could otherwise still delete records there; and DENY for the ids of its ownership, without which it
 * writes no marker once `endOwnership` has raised the term.
 *
 * @param own ends the ownership under those ids: allowed, as a rule on an id that had none closes it for everybody else
 */
export function shutOutAcls(principal: string, topics: readonly string[], own: string | null): Acl[] {
  const operations: readonly Operation[] = ['write', 'delete'];
  const denied = topics.flatMap((topic) => [
    ...operations.map((operation) => allow(principal, operation, topic)),
    ...ownershipIdAcls(principal, ownershipIds(topic)).filter(({ operation }) => operation === 'write'),
  ]);
  const allowed = own === null ? [] : topics.flatMap((topic) => ownershipIdAcls(own, ownershipIds(topic)));
  return distinct([...denied.map((acl): Acl => ({ ...acl, permission: 'deny' })), ...allowed]);
}

/** The change that adds those of `wanted` that are not there, or null. A rule that exists is not ours and stays out. */
export function missingAcls(cluster: Side, wanted: readonly Acl[], existing: readonly Acl[]): Change | null {
  const present = new Set(existing.map(aclKey));
  const acls = wanted.filter((acl) => !present.has(aclKey(acl)));
  return acls.length === 0 ? null : { kind: 'create-acls', cluster, acls };
}

/** What applications need to see of a cluster; everything else on it is power over what other applications have there. */
const seesOnCluster: ReadonlySet<Operation> = new Set(['describe', 'describe-configs']);
const beyondRecords: ReadonlySet<ResourceType> = new Set(['cluster', 'user', 'delegation-token']);

function carry(acl: Acl, moved: Moved, { writers, principals }: Concerned, plan: Pick<Plan, 'principals'>): Acl[] {
  switch (acl.resourceType) {
    case 'topic':
      return narrowed(acl, moved.topics);
    case 'group':
      return narrowed(acl, moved.groups);
    case 'transactional-id':
      return writers.has(acl.principal) ? [acl] : [];
    case 'cluster':
      if (acl.operation === 'idempotent-write') return writers.has(acl.principal) ? [acl] : [];
      return principals.has(acl.principal) && (acl.permission === 'deny' || seesOnCluster.has(acl.operation))
        ? [acl]
        : [];
    case 'user':
      // Its resources are principals. On all of them it would be power over everybody's tokens there.
      return principals.has(acl.principal)
        ? [...principals]
            .filter((name) => name !== everybody && covers(acl, { type: 'user', name }))
            .map((name) => ({ ...acl, patternType: 'literal', resourceName: mappedPrincipal(plan, name) }))
        : [];
    case 'delegation-token':
      // Tokens have ids of their own on each cluster.
      return principals.has(acl.principal) && acl.resourceName === '*' ? [acl] : [];
  }
}

function narrowed(acl: Acl, names: readonly string[]): Acl[] {
  const type = acl.resourceType;
  const covered = names.filter((name) => covers(acl, { type, name }));
  if (acl.patternType === 'literal' && acl.resourceName === '*') {
    return covered.map((resourceName) => ({ ...acl, resourceName }));
  }
  return covered.length > 0 ? [acl] : [];
}

function closing(
  resourceType: 'topic' | 'group',
  operation: 'write' | 'read',
  names: readonly string[],
  who: (name: string) => { readonly named: readonly string[]; readonly everybody: boolean },
  options: FenceOptions,
): Fence {
  const acls: Acl[] = [];
  const openEnded: string[] = [];
  for (const resourceName of names) {
    const { named, everybody: open } = who(resourceName);
    if (open && options.principals.length === 0 && !options.denyEverybody) openEnded.push(resourceName);
    const closed = options.denyEverybody ? [everybody] : [...named, ...(open ? options.principals : [])];
    for (const principal of closed) {
      if (isOurs(principal, options.exempt)) continue;
      acls.push({
        resourceType,
        patternType: 'literal',
        resourceName,
        principal,
        host: '*',
        operation,
        permission: 'deny',
      });
    }
  }
  return { acls: distinct(acls), openEnded };
}

function allow(principal: string, operation: Operation, topic: string): Acl {
  return {
    resourceType: 'topic',
    patternType: 'literal',
    resourceName: topic,
    principal,
    host: '*',
    operation,
    permission: 'allow',
  };
}

function isOurs(principal: string, ours: OurPrincipals): boolean {
  return principal === ours.own || principal === ours.forward || principal === ours.reverse;
}

function distinct(acls: readonly Acl[]): Acl[] {
  const byKey = new Map(acls.map((acl) => [aclKey(acl), acl]));
  return [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, acl]) => acl);
}
