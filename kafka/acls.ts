/** Access rules: read, added and deleted one by one, and awaited on every live broker. */
import { createAclsV2, deleteAclsV2, describeAclsV2, describeClusterV0, metadataV9 } from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';
import { everyBrokerServes } from './broker-versions.ts';
import type { Cluster } from './cluster.ts';
import { kafkaError, refuseKafkaError } from './kafka-errors.ts';
import { answered, awaited, onEveryBroker, visibleTimeoutMs } from './waiting.ts';

// Numbers of ResourceType, PatternType, AclOperation and AclPermissionType in Kafka's clients.
const resourceTypes = {
  topic: 2,
  group: 3,
  cluster: 4,
  'transactional-id': 5,
  'delegation-token': 6,
  user: 7,
} as const;
const patternTypes = { literal: 3, prefixed: 4 } as const;
const operations = {
  all: 2,
  read: 3,
  write: 4,
  create: 5,
  delete: 6,
  alter: 7,
  describe: 8,
  'cluster-action': 9,
  'describe-configs': 10,
  'alter-configs': 11,
  'idempotent-write': 12,
  'create-tokens': 13,
  'describe-tokens': 14,
  'two-phase-commit': 15,
} as const;
const permissions = { deny: 2, allow: 3 } as const;
const any = 1;

export type ResourceType = keyof typeof resourceTypes;
export type PatternType = keyof typeof patternTypes;
export type Operation = keyof typeof operations;

/** One access rule. A literal rule on the name `*` holds for every resource of the type. */
export interface Acl {
  readonly resourceType: ResourceType;
  readonly patternType: PatternType;
  readonly resourceName: string;
  /** `User:name`; `User:*` is everybody. */
  readonly principal: string;
  /** An address, or `*`. */
  readonly host: string;
  readonly operation: Operation;
  readonly permission: 'allow' | 'deny';
}

/** Rules in one request; a KRaft controller takes at most 10,000 records per request. */
const aclBatchMax = 500;

/** Equal for equal rules, and readable: `deny write topic orders for User:a from *`. */
export function aclKey(acl: Acl): string {
  const prefixed = acl.patternType === 'prefixed' ? 'prefixed ' : '';
  const resource = `${acl.resourceType} ${prefixed}${JSON.stringify(acl.resourceName)}`;
  return `${acl.permission} ${acl.operation} ${resource} for ${acl.principal} from ${acl.host}`;
}

/**
 * Every rule, as one broker sees it (any broker by default), sorted by `aclKey`.
 *
 * @throws CutoverError ACL_AUTHORIZER_ABSENT, CLUSTER_ACCESS_DENIED (needs DESCRIBE on the cluster), KAFKA_REQUEST_FAILED
 */
export async function describeAcls(cluster: Cluster, options: { readonly broker?: number } = {}): Promise<Acl[]> {
  const destination = options.broker === undefined ? 'any' : { broker: options.broker };
  const place = `cluster ${cluster.name}${options.broker === undefined ? '' : `, broker ${options.broker}`}`;
  const filter = {
    resourceType: any as never,
    resourceName: null,
    resourcePatternType: any as never,
    principal: null,
    host: null,
    operation: any as never,
    permissionType: any as never,
  };
  const answer = await answered(
    'cannot read the access rules',
    place,
    () => cluster.call(destination, describeAclsV2.api, filter),
    ({ errorCode, errorMessage }) => ({ code: errorCode, message: errorMessage ?? null }),
    new Set([kafkaError.securityDisabled]),
  );
  refuseNoAuthorizer(cluster, answer.errorCode);
  return answer.resources
    .flatMap((resource) =>
      resource.acls.map((acl) => ({
        resourceType: word(resourceTypes, resource.resourceType, place),
        patternType: word(patternTypes, resource.resourcePatternType, place),
        resourceName: resource.resourceName,
        principal: acl.principal,
        host: acl.host,
        operation: word(operations, acl.operation, place),
        permission: word(permissions, acl.permissionType, place),
      })),
    )
    .map((acl) => ({ acl, key: aclKey(acl) }))
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    .map(({ acl }) => acl);
}

/**
 * Adds rules. Rules that exist stay as they are. Not yet seen by every broker when it returns: `awaitAcls`.
 *
 * @throws CutoverError ACL_AUTHORIZER_ABSENT, CLUSTER_ACCESS_DENIED (needs ALTER on the cluster), KAFKA_REQUEST_FAILED
 */
export async function createAcls(cluster: Cluster, acls: readonly Acl[]): Promise<void> {
  for (let i = 0; i < acls.length; i += aclBatchMax) {
    const batch = acls.slice(i, i + aclBatchMax);
    const request = batch.map(toWire);
    const answer = await answered(
      'cannot add access rules',
      `cluster ${cluster.name}`,
      () => cluster.call('controller', createAclsV2.api, request),
      ({ results }) => {
        const index = results.findIndex((r) => r.errorCode !== 0);
        const failed = results[index];
        const acl = batch[index];
        return { code: failed?.errorCode ?? 0, message: `${failed?.errorMessage ?? ''} (${acl ? aclKey(acl) : ''})` };
      },
      new Set([kafkaError.securityDisabled]),
    );
    refuseNoAuthorizer(cluster, answer.results[0]?.errorCode ?? 0);
  }
}

/**
 * Deletes exactly these rules and no others; gives how many there were. Rules that do not exist are fine.
 *
 * @throws CutoverError ACL_AUTHORIZER_ABSENT, CLUSTER_ACCESS_DENIED (needs ALTER on the cluster), KAFKA_REQUEST_FAILED
 */
export async function deleteAcls(cluster: Cluster, acls: readonly Acl[]): Promise<number> {
  let deleted = 0;
  // The same rule twice in one request is counted twice by the broker.
  const distinct = [...new Map(acls.map((acl) => [aclKey(acl), acl])).values()];
  for (let i = 0; i < distinct.length; i += aclBatchMax) {
    const request = distinct.slice(i, i + aclBatchMax).map(toWire);
    const answer = await answered(
      'cannot delete access rules',
      `cluster ${cluster.name}`,
      () => cluster.call('controller', deleteAclsV2.api, request),
      ({ filterResults }) => {
        const failed = filterResults
          .flatMap((result) => [result, ...result.matchingAcls])
          .find((result) => result.errorCode !== 0);
        return { code: failed?.errorCode ?? 0, message: failed?.errorMessage ?? null };
      },
      new Set([kafkaError.securityDisabled]),
    );
    refuseNoAuthorizer(cluster, answer.filterResults[0]?.errorCode ?? 0);
    deleted += answer.filterResults.reduce((sum, result) => sum + result.matchingAcls.length, 0);
  }
  return deleted;
}

/**
 * Waits until DescribeAcls on every live broker shows all of `present` and none of `absent`. Brokers learn rules
 * from the metadata log, each at its own time, so a rule is in force only once each of them shows it.
 *
 * @throws CutoverError KAFKA_REQUEST_FAILED naming a broker and a rule, ACL_AUTHORIZER_ABSENT, CLUSTER_ACCESS_DENIED
 */
export async function awaitAcls(
  cluster: Cluster,
  wanted: { readonly present?: readonly Acl[]; readonly absent?: readonly Acl[] },
  options: { readonly timeoutMs?: number } = {},
): Promise<void> {
  const present = (wanted.present ?? []).map(aclKey);
  const absent = (wanted.absent ?? []).map(aclKey);
  await awaited(
    'access rules are not in force on every broker',
    `cluster ${cluster.name}`,
    () =>
      onEveryBroker(cluster, async ({ id }) => {
        const seen = new Set((await describeAcls(cluster, { broker: id })).map(aclKey));
        const missing = present.find((key) => !seen.has(key));
        if (missing !== undefined) return `broker ${id} does not show: ${missing}`;
        const left = absent.find((key) => seen.has(key));
        return left === undefined ? null : `broker ${id} still shows: ${left}`;
      }),
    options.timeoutMs ?? visibleTimeoutMs,
  );
}

/**
 * What the principal of this connection may do on the cluster itself, as a broker grants it: super users may do all.
 *
 * @throws CutoverError KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function grantedOnCluster(cluster: Cluster): Promise<Operation[]> {
  // One bit per number of AclOperation (KIP-430).
  const granted = (await everyBrokerServes(cluster, describeClusterV0.api.key, 0))
    ? await grantedBits(cluster)
    : (await cluster.call('any', metadataV9.api, [], false, false, true)).clusterAuthorizedOperations;
  return (Object.keys(operations) as Operation[]).filter((operation) => (granted & (1 << operations[operation])) !== 0);
}

/** DescribeCluster, from Kafka 2.8 on; before, Metadata says it. */
async function grantedBits(cluster: Cluster): Promise<number> {
  const answer = await cluster.call('any', describeClusterV0.api, true, 1);
  refuseKafkaError(answer.errorCode, 'cannot ask for our rights', `cluster ${cluster.name}`, answer.errorMessage);
  return answer.clusterAuthorizedOperations;
}

function toWire(acl: Acl) {
  return {
    resourceType: resourceTypes[acl.resourceType],
    resourceName: acl.resourceName,
    resourcePatternType: patternTypes[acl.patternType],
    principal: acl.principal,
    host: acl.host,
    operation: operations[acl.operation],
    permissionType: permissions[acl.permission],
  };
}

function refuseNoAuthorizer(cluster: Cluster, code: number): void {
  if (code === kafkaError.securityDisabled) {
    throw new CutoverError('ACL_AUTHORIZER_ABSENT', {
      what: 'the brokers have no authorizer',
      where: `cluster ${cluster.name}`,
      found: 'SECURITY_DISABLED',
    });
  }
  refuseKafkaError(code, 'access rules refused', `cluster ${cluster.name}`);
}

/** A rule of a kind that we do not know could open or close anything: better no answer than a wrong one. */
function word<Word extends string>(numbers: Readonly<Record<Word, number>>, number: number, place: string): Word {
  const found = (Object.keys(numbers) as Word[]).find((key) => numbers[key] === number);
  if (found === undefined) {
    throw new CutoverError('KAFKA_REQUEST_FAILED', {
      what: 'an access rule of a kind that this version does not know',
      where: place,
      found: `number ${number}`,
      wanted: Object.keys(numbers).join(', '),
    });
  }
  return found;
}
