/**
 * The rights that a plan's migration needs, and no more: of our own principal and of the mirrors', on both clusters. The one list of them, for people
 * who grant rights before anything can be read; so it is made of the plan and of names in clusters.yaml alone. `test/e2e/least-rights.test.ts` moves
 * a topic there and back with nothing but these.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import { capabilitiesOf } from '../contract/replicators.ts';
import { type Acl, aclKey, type Operation, type PatternType, type ResourceType } from '../kafka/acls.ts';
import { type ClusterConfig, principalName } from '../kafka/clusters.ts';
import { mirrorAcls, type OurPrincipals, ownershipAcls, writerOf } from './acls.ts';
import { kafkaCluster } from './authorizer.ts';
import type { Side } from './change.ts';
import { poolNames } from './principals-pool.ts';
import { storageTopic } from './storage-topic.ts';

/** Several operations on one resource. Plain data. */
export interface Right {
  readonly side: Side;
  readonly principal: string;
  readonly resource: Named & { readonly type: ResourceType };
  readonly operations: readonly Operation[];
  readonly why: string;
  /** prepare-target grants it, and it is taken away in the end; else people do before. */
  readonly granted: 'by you' | 'by the migration';
}

interface Named {
  readonly pattern: PatternType;
  readonly name: string;
}

const everything: Named = { pattern: 'literal', name: '*' };
const anyName: readonly Named[] = [everything];

/**
 * @throws CutoverError PRINCIPAL_UNKNOWN where clusters.yaml does not say what brokers call one of our logins
 */
export function leastRights(plan: Plan, configs: Readonly<Record<Side, ClusterConfig>>): Right[] {
  return (['source', 'target'] as const).flatMap((side) => {
    const config = configs[side];
    const ours = {
      own: nameOf(config, 'own'),
      forward: nameOf(config, 'forward'),
      reverse: nameOf(config, 'reverse'),
    };
    const own = ownRights(plan, side, ours.own);
    return [...own, ...mirrorRights(plan, side, ours, poolNames(config), own)];
  });
}

/** As access rules, each once. */
export function aclsOf(rights: readonly Right[]): Acl[] {
  const acls = rights.flatMap(({ principal, resource: { type, pattern, name }, operations }) =>
    operations.map(
      (operation): Acl => ({
        resourceType: type,
        patternType: pattern,
        resourceName: name,
        principal,
        host: '*',
        operation,
        permission: 'allow',
      }),
    ),
  );
  return [...new Map(acls.map((acl) => [aclKey(acl), acl])).values()];
}

/**
 * The narrowest rule that covers every name that the regular expression matches: a name, a prefix, or everything, one for each alternative at
 * its top level. READ, WRITE and so on imply DESCRIBE, so what rules leave out of a topic is not even listed.
 */
export function namesOf(expression: string): Named[] {
  return alternativesOf(expression).map((alternative) => {
    const { prefix, whole } = literalStart(alternative);
    if (whole) return { pattern: 'literal', name: prefix };
    return prefix === '' ? everything : { pattern: 'prefixed', name: prefix };
  });
}

/** Our own principal: what is asked of brokers by the inventory, preflight, the journal, the fence, the audit and positions. */
function ownRights(plan: Plan, side: Side, principal: string): Right[] {
  const { ownsTopics, ourProducers } = capabilitiesOf(plan);
  const back = plan.rollback.reverseMirror;
  const isTarget = side === 'target';
  const writtenBack = isTarget || back;
  const right = (type: ResourceType, names: readonly Named[], operations: readonly Operation[], why: string) =>
    names.map(
      (name): Right => ({
        side,
        principal,
        resource: { type, ...name },
        operations,
        why,
        granted: 'by you',
      }),
    );
  const cluster: readonly Named[] = [{ pattern: 'literal', name: kafkaCluster.name }];
  const topics = distinct(plan.topics.include.flatMap(namesOf));
  const groups = plan.groups ? distinct(plan.groups.include.flatMap(namesOf)) : anyName;
  const brokerSettings = ourProducers && writtenBack && plan.mirror.abortedRecords === 'keep';
  const quotas = isTarget && plan.metadata.quotas;
  return [
    ...right('cluster', cluster, ['describe', 'describe-configs'], 'rules, users, disks, settings of brokers, quotas'),
    ...right('cluster', cluster, ['alter'], `rules of the fence${isTarget ? ', users' : ''}, orders of replicas`),
    ...(brokerSettings || quotas
      ? right(
          'cluster',
          cluster,
          ['alter-configs'],
          [quotas ? ['quotas'] : [], brokerSettings ? ['aborted records, old history'] : []].flat().join('; '),
        )
      : []),
    ...right(
      'topic',
      topics,
      isTarget && !ownsTopics ? ['read', 'alter-configs', 'create', 'alter', 'delete'] : ['read', 'alter-configs'],
      isTarget && !ownsTopics ? 'the audit; topics made, grown, taken back' : 'the audit; settings that are suspended',
    ),
    ...right(
      'topic',
      [{ pattern: 'literal', name: storageTopic }],
      ['create', 'read', 'write'],
      'journal, boundary, evidence',
    ),
    ...right('group', anyName, ['describe'], 'whoever else has positions on the topics, or members'),
    ...right(
      'group',
      groups,
      writtenBack ? ['read', 'delete'] : ['describe'],
      writtenBack ? 'positions, read and written' : 'positions, read',
    ),
    ...(!isTarget || back
      ? right('transactional-id', anyName, ['write'], 'open transactions, named, and ended at the fence')
      : []),
  ];
}

/** The rules that prepare-target would add on a cluster where there are no others than ours. */
function mirrorRights(
  plan: Plan,
  side: Side,
  ours: OurPrincipals,
  pool: readonly string[],
  own: readonly Right[],
): Right[] {
  const writer = writerOf(side);
  const directions = { forward: true, reverse: plan.rollback.reverseMirror };
  const writes = { forward: false, reverse: false, [writer]: directions[writer] };
  const markers = capabilitiesOf(plan).ourProducers;
  const rules = { acls: aclsOf(own) };
  const names = new Map(plan.topics.include.flatMap(namesOf).map((named) => [named.name, named]));
  // A mirror without a login of its own works under ours, which then needs its rights too.
  const each: readonly (readonly [OurPrincipals, typeof directions])[] = [
    [ours, directions],
    ...pool.map((name) => [{ ...ours, [writer]: name }, writes] as const),
  ];
  const acls = each.flatMap(([principals, which]) => [
    ...mirrorAcls(side, rules, [...names.keys()], { ...principals, own: null }, which),
    ...(markers ? ownershipAcls(side, rules, principals, which) : []),
  ]);
  const byResource = Map.groupBy(new Map(acls.map((acl) => [aclKey(acl), acl])).values(), (acl) =>
    JSON.stringify([acl.principal, acl.resourceType, acl.resourceName]),
  );
  return [...byResource.values()].flatMap((some) => {
    const [first] = some;
    if (!first) return [];
    const { principal, resourceType: type, patternType, resourceName } = first;
    const named = (type === 'topic' && names.get(resourceName)) || { pattern: patternType, name: resourceName };
    const writing = some.some(({ operation }) => operation === 'write');
    return [
      {
        side,
        principal,
        resource: { type, ...named },
        operations: some.map(({ operation }) => operation),
        why: type === 'topic' ? (writing ? 'records; trimmed heads' : 'records') : 'markers and who owns them',
        granted: plan.metadata.acls && principal !== ours.own ? 'by the migration' : 'by you',
      } satisfies Right,
    ];
  });
}

function nameOf(config: ClusterConfig, role: 'own' | 'forward' | 'reverse'): string {
  const name = principalName(config.credentials[role]);
  if (name !== null) return name;
  throw new CutoverError('PRINCIPAL_UNKNOWN', {
    what: 'rights are granted by name, and what brokers call this login is not known',
    where: `clusters.yaml, ${config.name}${role === 'own' ? '' : `.${role}`}`,
    wanted: '`principal` beside the login, such as "User:CN=cutover"',
  });
}

function distinct(names: readonly Named[]): Named[] {
  return [...new Map(names.map((named) => [`${named.pattern} ${named.name}`, named])).values()];
}

/** Cut at each `|` that stands in no group and no class. */
function alternativesOf(expression: string): string[] {
  const found = [''];
  let depth = 0;
  let inClass = false;
  for (const token of expression.match(/\\.|./gsu) ?? []) {
    if (inClass) inClass = token !== ']';
    else if (token === '[') inClass = true;
    else if (token === '(') depth++;
    else if (token === ')') depth--;
    if (token === '|' && depth === 0 && !inClass) found.push('');
    else found[found.length - 1] += token;
  }
  return found;
}

/** Characters at the start that every match has; `whole` where that is all of it. */
function literalStart(alternative: string): { readonly prefix: string; readonly whole: boolean } {
  // The whole name is matched, so these say nothing.
  const tokens = alternative.replace(/^\^/, '').match(/\\.|./gsu) ?? [];
  const end = tokens.at(-1) === '$' ? tokens.length - 1 : tokens.length;
  let prefix = '';
  for (let i = 0; i < end; i++) {
    const token = tokens[i] ?? '';
    const literal = /^\\[^\p{L}\p{N}]$/u.test(token)
      ? token.slice(1)
      : /^[^\\.[\](){}*+?|^$]$/u.test(token)
        ? token
        : '';
    // What may be left out, or stand several times, is no longer what every match has here.
    if (literal === '' || (i + 1 < end && /^[*+?{]$/.test(tokens[i + 1] ?? ''))) return { prefix, whole: false };
    prefix += literal;
  }
  return { prefix, whole: true };
}
