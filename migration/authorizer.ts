/**
 * A model of Kafka's StandardAuthorizer: who may do what under a set of access rules. The fence relies on it, so a test
 * compares it with a real broker on random rules.
 *
 * Facts, from `StandardAuthorizerData` (Kafka 3.0 to 4.3):
 * - A rule matches a resource literally, by prefix, or as the literal name `*`.
 * - It matches its own principal, or everybody as `User:*`; its own host, or every host as `*`.
 * - DENY wins over ALLOW, whichever pattern is longer.
 * - ALL stands for every operation. READ, WRITE, DELETE and ALTER imply DESCRIBE, ALTER_CONFIGS implies
 *   DESCRIBE_CONFIGS, but only where they are allowed: denying READ does not deny DESCRIBE.
 * - `allow.everyone.if.no.acl.found` decides only for resources that no rule of anybody matches, so adding any rule
 *   to such a resource, even an ALLOW for ourselves, closes it for everybody else.
 * - Super users are not asked about.
 */
import type { Acl, Operation, ResourceType } from '../kafka/acls.ts';

export interface AccessRules {
  readonly acls: readonly Acl[];
  /** `User:name` each; as far as we know them, since no API lists them. */
  readonly superUsers?: ReadonlySet<string>;
  /** `allow.everyone.if.no.acl.found`; false by default, as in Kafka. */
  readonly allowEveryone?: boolean;
}

export interface Resource {
  readonly type: ResourceType;
  readonly name: string;
}

export interface WhoMay {
  /** Principals that a rule names and that may, from at least one host, sorted. Super users are not among them. */
  readonly named: readonly string[];
  /** Whether a principal that no rule names may as well. */
  readonly everybody: boolean;
}

/** The one resource of type `cluster`. */
export const kafkaCluster: Resource = { type: 'cluster', name: 'kafka-cluster' };
export const everybody = 'User:*';

const impliesDescribe: ReadonlySet<Operation> = new Set(['describe', 'read', 'write', 'delete', 'alter']);
const impliesDescribeConfigs: ReadonlySet<Operation> = new Set(['describe-configs', 'alter-configs']);
/** Stand for whoever and wherever no rule names. A principal or an address cannot look like this. */
const nobodyNamed = 'User:\u0000nobody named';
const nowhereNamed = '\u0000nowhere named';

/** Whether the rule is about this resource, whoever it is for. */
export function covers(acl: Acl, resource: Resource): boolean {
  if (acl.resourceType !== resource.type) return false;
  return acl.patternType === 'prefixed'
    ? resource.name.startsWith(acl.resourceName)
    : acl.resourceName === resource.name || acl.resourceName === '*';
}

/** Rules by what they are about: there are thousands, and each topic and group is asked about. */
interface RuleIndex {
  readonly size: number;
  /** By type and name; those on the name `*` among them. */
  readonly literal: ReadonlyMap<string, readonly Acl[]>;
  /** By type. */
  readonly prefixed: ReadonlyMap<string, readonly Acl[]>;
}

const indexes = new WeakMap<readonly Acl[], RuleIndex>();
const nameKey = (type: ResourceType, name: string) => `${type} ${name}`;

/** Those of the rules that are about this resource, whoever they are for. */
export function covering(acls: readonly Acl[], { type, name }: Resource): readonly Acl[] {
  let index = indexes.get(acls);
  if (index?.size !== acls.length) {
    index = {
      size: acls.length,
      literal: Map.groupBy(
        acls.filter((acl) => acl.patternType !== 'prefixed'),
        (acl) => nameKey(acl.resourceType, acl.resourceName),
      ),
      prefixed: Map.groupBy(
        acls.filter((acl) => acl.patternType === 'prefixed'),
        (acl) => acl.resourceType,
      ),
    };
    indexes.set(acls, index);
  }
  return [
    ...(index.literal.get(nameKey(type, name)) ?? []),
    ...(name === '*' ? [] : (index.literal.get(nameKey(type, '*')) ?? [])),
    ...(index.prefixed.get(type) ?? []).filter((acl) => name.startsWith(acl.resourceName)),
  ];
}

/** Whether `principal`, coming from the address `host`, may do `operation` on `resource`. */
export function mayDo(
  rules: AccessRules,
  principal: string,
  host: string,
  operation: Operation,
  resource: Resource,
): boolean {
  if (rules.superUsers?.has(principal)) return true;
  return decide(covering(rules.acls, resource), rules.allowEveryone === true, principal, host, operation);
}

/** Who may do `operation` on `resource` from at least one host. */
export function whoMay(rules: AccessRules, operation: Operation, resource: Resource): WhoMay {
  const acls = covering(rules.acls, resource);
  const hosts = [...new Set([...acls.map((acl) => acl.host).filter((host) => host !== '*'), nowhereNamed])];
  const may = (principal: string) =>
    hosts.some((host) => decide(acls, rules.allowEveryone === true, principal, host, operation));
  const principals = new Set(acls.map((acl) => acl.principal).filter((principal) => principal !== everybody));
  return {
    named: [...principals].filter((principal) => !rules.superUsers?.has(principal) && may(principal)).sort(),
    everybody: may(nobodyNamed),
  };
}

/** Who may write records to a topic. */
export function writersOf(rules: AccessRules, topic: string): WhoMay {
  return whoMay(rules, 'write', { type: 'topic', name: topic });
}

/** Who may be a member of a group or commit its positions. */
export function readersOf(rules: AccessRules, group: string): WhoMay {
  return whoMay(rules, 'read', { type: 'group', name: group });
}

/** `acls` are those that cover the resource. */
function decide(
  acls: readonly Acl[],
  allowEveryone: boolean,
  principal: string,
  host: string,
  operation: Operation,
): boolean {
  if (acls.length === 0) return allowEveryone;
  let allowed = false;
  for (const acl of acls) {
    if (acl.principal !== principal && acl.principal !== everybody) continue;
    if (acl.host !== '*' && acl.host !== host) continue;
    if (!reaches(acl, operation)) continue;
    if (acl.permission === 'deny') return false;
    allowed = true;
  }
  return allowed;
}

function reaches(acl: Acl, operation: Operation): boolean {
  if (acl.operation === 'all' || acl.operation === operation) return true;
  if (acl.permission === 'deny') return false;
  if (operation === 'describe') return impliesDescribe.has(acl.operation);
  return operation === 'describe-configs' && impliesDescribeConfigs.has(acl.operation);
}
