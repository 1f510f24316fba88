/**
 * One change to a cluster: plain data, so that it can be journalled with its inverse before it is made.
 *
 * The order is always: `stateBefore`, `inverseOf`, journal both, `applyChange`. Applying reads the real state,
 * compares, acts and waits until every broker shows it, so applying twice is harmless.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Acl } from '../kafka/acls.ts';
import { aclKey, awaitAcls, createAcls, deleteAcls, describeAcls } from '../kafka/acls.ts';
import { alterBrokerConfigs, sharedBrokerConfigs } from '../kafka/broker-configs.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { alterQuotas, describeQuotas, type QuotaChange, quotaDifference, quotaKey } from '../kafka/quotas.ts';
import { type ReplicaOrder, replicaOrders, restoreReplicaOrders } from '../kafka/replica-orders.ts';
import { SchemaRegistry, sameSchema } from '../kafka/schema-registry.ts';
import { deleteScramUser, describeScramUsers, type ScramMechanism, upsertScramUser } from '../kafka/scram.ts';
import {
  alterTopicConfigs,
  configDifference,
  createTopic,
  deleteTopic,
  type NewTopic,
  sameConfigValue,
  topicConfigs,
} from '../kafka/topics.ts';

export type Side = 'source' | 'target';

export type Change =
  | { readonly kind: 'create-topic'; readonly cluster: Side; readonly topic: NewTopic }
  /**
   * Only ever the inverse of `create-topic`. Replayed only when people asked for it (`removeTarget`) and nobody else
   * wrote to the topic: the caller decides, this file does not.
   */
  | { readonly kind: 'delete-topic'; readonly cluster: Side; readonly topic: string }
  | {
      readonly kind: 'alter-topic-configs';
      readonly cluster: Side;
      readonly topic: string;
      readonly set: Readonly<Record<string, string>>;
      readonly unset: readonly string[];
    }
  /** Of all brokers together (cluster-wide dynamic settings); migrations may share them, as they share access rules. */
  | {
      readonly kind: 'alter-broker-configs';
      readonly cluster: Side;
      readonly set: Readonly<Record<string, string>>;
      readonly unset: readonly string[];
    }
  /** What the mirror does whenever it takes a partition over, not this file: applied it sends nothing, but its inverse puts orders back. */
  | {
      readonly kind: 'move-leaders';
      readonly cluster: Side;
      readonly topics: readonly { readonly name: string; readonly partitions: number }[];
    }
  /** Only ever the inverse of `move-leaders`. */
  | { readonly kind: 'restore-replica-orders'; readonly cluster: Side; readonly orders: readonly ReplicaOrder[] }
  | { readonly kind: 'create-acls'; readonly cluster: Side; readonly acls: readonly Acl[] }
  | { readonly kind: 'delete-acls'; readonly cluster: Side; readonly acls: readonly Acl[] }
  | { readonly kind: 'alter-quotas'; readonly cluster: Side; readonly quotas: readonly QuotaChange[] }
  /** With the passwords of clusters.yaml, which are no part of a change. Never of a user that has a credential already. */
  | { readonly kind: 'create-scram-users'; readonly cluster: Side; readonly users: readonly NamedScramUser[] }
  /** Only ever the inverse of `create-scram-users`. */
  | { readonly kind: 'delete-scram-users'; readonly cluster: Side; readonly users: readonly NamedScramUser[] }
  /** Into the registry of that cluster, as the other one has them; in this order, as one may refer to another before it. */
  | { readonly kind: 'import-schemas'; readonly cluster: Side; readonly versions: readonly NamedSchema[] }
  /** Only ever the inverse of `import-schemas`. */
  | { readonly kind: 'delete-schemas'; readonly cluster: Side; readonly versions: readonly NamedSchema[] }
  /** By subject; the name '' is the whole registry, null what that says. */
  | {
      readonly kind: 'alter-registry';
      readonly cluster: Side;
      readonly modes: Readonly<Record<string, string | null>>;
      readonly levels: Readonly<Record<string, string | null>>;
    };

/** What it says is read from the registry that it comes from. */
export interface NamedSchema {
  readonly subject: string;
  readonly version: number;
  readonly id: number;
  readonly deleted: boolean;
}

export interface NamedScramUser {
  /** Without `User:`. */
  readonly user: string;
  readonly mechanism: ScramMechanism;
}

/** What a change is about to replace, as it really was. Plain data. */
export interface Before {
  /** create-topic, delete-topic */
  readonly topicExisted?: boolean;
  /** alter-topic-configs, alter-broker-configs: explicit value, or null where it was inherited. */
  readonly configs?: Readonly<Record<string, string | null>>;
  /** move-leaders: of partitions with more than one replica. */
  readonly orders?: readonly ReplicaOrder[];
  /** create-acls, delete-acls: keys (`aclKey`) of those that were there. */
  readonly aclKeys?: readonly string[];
  /** alter-quotas: value per entity (`quotaKey`) and key, or null. */
  readonly quotas?: Readonly<Record<string, Readonly<Record<string, number | null>>>>;
  /** create-scram-users: those that had a credential, whatever its mechanism. */
  readonly scramUsers?: readonly string[];
  /** import-schemas: `schemaKey` of those that were there. */
  readonly schemas?: readonly string[];
  /** alter-registry: what each subject has of its own, or null. */
  readonly registry?: Pick<Extract<Change, { kind: 'alter-registry' }>, 'modes' | 'levels'>;
}

export interface Clusters {
  readonly source: Cluster;
  readonly target: Cluster;
}

/** Reads what the change is about to replace. Changes nothing. */
export async function stateBefore(change: Change, clusters: Clusters): Promise<Before> {
  const cluster = clusters[change.cluster];
  switch (change.kind) {
    case 'create-topic':
      return { topicExisted: (await cluster.metadata([change.topic.name])).topics.has(change.topic.name) };
    case 'delete-topic':
      return { topicExisted: (await cluster.metadata([change.topic])).topics.has(change.topic) };
    case 'alter-topic-configs': {
      const configs = (await topicConfigs(cluster, [change.topic])).get(change.topic);
      const explicit = (name: string) => {
        const entry = configs?.get(name);
        return entry?.source === 'topic' ? entry.value : null;
      };
      const names = [...Object.keys(change.set), ...change.unset];
      return { configs: Object.fromEntries(names.map((name) => [name, explicit(name)])) };
    }
    case 'alter-broker-configs': {
      const shared = await sharedBrokerConfigs(cluster);
      const names = [...Object.keys(change.set), ...change.unset];
      return { configs: Object.fromEntries(names.map((name) => [name, shared.get(name) ?? null])) };
    }
    case 'move-leaders':
      return {
        orders: await replicaOrders(
          cluster,
          change.topics.map((topic) => topic.name),
        ),
      };
    case 'restore-replica-orders':
      return {};
    case 'create-acls':
    case 'delete-acls': {
      const present = new Set((await describeAcls(cluster)).map(aclKey));
      return { aclKeys: change.acls.map(aclKey).filter((key) => present.has(key)) };
    }
    case 'alter-quotas': {
      const present = await describeQuotas(cluster);
      return {
        quotas: Object.fromEntries(
          change.quotas.map((quota) => {
            const key = quotaKey(quota.entity);
            const values = present.find((q) => quotaKey(q.entity) === key)?.values ?? {};
            const names = [...Object.keys(quota.set), ...quota.unset];
            return [key, Object.fromEntries(names.map((name) => [name, values[name] ?? null]))];
          }),
        ),
      };
    }
    case 'create-scram-users':
    case 'delete-scram-users': {
      const present = await describeScramUsers(cluster);
      return { scramUsers: change.users.map(({ user }) => user).filter((user) => present.has(user)) };
    }
    case 'import-schemas':
    case 'delete-schemas': {
      const registry = registryOf(cluster);
      const schemas: string[] = [];
      for (const subject of new Set(change.versions.map((one) => one.subject))) {
        for (const { version } of await registry.versionsOf(subject)) schemas.push(schemaKey({ subject, version }));
      }
      return { schemas };
    }
    case 'alter-registry':
      return { registry: await registrySettings(registryOf(cluster), change) };
  }
}

/** @throws CutoverError REGISTRY_UNKNOWN */
export function registryOf(cluster: Pick<Cluster, 'config' | 'name'>): SchemaRegistry {
  const { registry } = cluster.config;
  if (registry) return new SchemaRegistry(registry, cluster.name);
  throw new CutoverError('REGISTRY_UNKNOWN', {
    what: 'no schema registry is named',
    where: `cluster ${cluster.name}`,
    wanted: `\`registry\` below ${cluster.name} in clusters.yaml`,
  });
}

export function schemaKey({ subject, version }: Pick<NamedSchema, 'subject' | 'version'>): string {
  return `${subject}/${version}`;
}

async function registrySettings(
  registry: SchemaRegistry,
  { modes, levels }: NonNullable<Before['registry']>,
): Promise<NonNullable<Before['registry']>> {
  const read = async (names: readonly string[], of: (subject: string | null) => Promise<string | null>) => {
    const values: Record<string, string | null> = {};
    for (const name of names) values[name] = await of(name || null);
    return values;
  };
  return {
    modes: await read(Object.keys(modes), (subject) => registry.mode(subject)),
    levels: await read(Object.keys(levels), (subject) => registry.level(subject)),
  };
}

/**
 * What puts back exactly what `change` replaces, given the state before it; null when there is nothing to put back.
 * A rule, topic or setting that was there already is left alone by the inverse: it is not ours.
 */
export function inverseOf(change: Change, before: Before): Change | null {
  const { cluster } = change;
  switch (change.kind) {
    case 'create-topic':
      return before.topicExisted ? null : { kind: 'delete-topic', cluster, topic: change.topic.name };
    case 'delete-topic':
      return null;
    case 'alter-topic-configs':
      return { kind: 'alter-topic-configs', cluster, topic: change.topic, ...configsBefore(before) };
    case 'alter-broker-configs':
      return { kind: 'alter-broker-configs', cluster, ...configsBefore(before) };
    case 'move-leaders': {
      const { orders = [] } = before;
      return orders.length === 0 ? null : { kind: 'restore-replica-orders', cluster, orders };
    }
    case 'restore-replica-orders':
      return null;
    case 'create-acls': {
      const present = new Set(before.aclKeys);
      const ours = change.acls.filter((acl) => !present.has(aclKey(acl)));
      return ours.length === 0 ? null : { kind: 'delete-acls', cluster, acls: ours };
    }
    case 'delete-acls': {
      const present = new Set(before.aclKeys);
      const gone = change.acls.filter((acl) => present.has(aclKey(acl)));
      return gone.length === 0 ? null : { kind: 'create-acls', cluster, acls: gone };
    }
    case 'alter-quotas':
      return {
        kind: 'alter-quotas',
        cluster,
        quotas: change.quotas.map(({ entity }) => {
          const values = Object.entries(before.quotas?.[quotaKey(entity)] ?? {});
          return {
            entity,
            set: Object.fromEntries(values.filter((e): e is [string, number] => e[1] !== null)),
            unset: values.filter(([, value]) => value === null).map(([name]) => name),
          };
        }),
      };
    case 'create-scram-users': {
      const users = change.users.filter(({ user }) => !before.scramUsers?.includes(user));
      return users.length === 0 ? null : { kind: 'delete-scram-users', cluster, users };
    }
    case 'delete-scram-users':
    case 'delete-schemas':
      return null;
    case 'import-schemas': {
      const versions = change.versions.filter((one) => !before.schemas?.includes(schemaKey(one)));
      return versions.length === 0 ? null : { kind: 'delete-schemas', cluster, versions: versions.toReversed() };
    }
    case 'alter-registry':
      return { kind: 'alter-registry', cluster, modes: {}, levels: {}, ...before.registry };
  }
}

function configsBefore(before: Before): { set: Record<string, string>; unset: string[] } {
  const entries = Object.entries(before.configs ?? {});
  return {
    set: Object.fromEntries(entries.filter((e): e is [string, string] => e[1] !== null)),
    unset: entries.filter(([, value]) => value === null).map(([name]) => name),
  };
}

/**
 * Makes the change unless it already holds, and waits until every live broker shows it.
 *
 * @returns whether anything had to be done
 * @throws CutoverError CLUSTER_ACCESS_DENIED, TOPIC_MISSING, ACL_AUTHORIZER_ABSENT, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function applyChange(change: Change, clusters: Clusters): Promise<boolean> {
  const cluster = clusters[change.cluster];
  switch (change.kind) {
    case 'create-topic':
      return (await createTopic(cluster, change.topic)) === 'created';
    case 'delete-topic': {
      const existed = (await cluster.metadata([change.topic])).topics.has(change.topic);
      if (existed) await deleteTopic(cluster, change.topic);
      return existed;
    }
    case 'alter-topic-configs': {
      const configs = (await topicConfigs(cluster, [change.topic])).get(change.topic);
      if (configs && configDifference(configs, change) === null) return false;
      await alterTopicConfigs(cluster, change.topic, change);
      return true;
    }
    case 'alter-broker-configs': {
      const shared = await sharedBrokerConfigs(cluster);
      const holds = (name: string, value: string) => sameConfigValue(shared.get(name) ?? null, value);
      const done =
        Object.entries(change.set).every(([name, value]) => holds(name, value)) &&
        change.unset.every((name) => !shared.has(name));
      // Also when nothing was missing: an earlier attempt may have ended before every broker knew.
      await alterBrokerConfigs(cluster, change);
      return !done;
    }
    case 'move-leaders':
      return false;
    case 'restore-replica-orders':
      return restoreReplicaOrders(cluster, change.orders);
    case 'create-acls': {
      const present = new Set((await describeAcls(cluster)).map(aclKey));
      const missing = change.acls.filter((acl) => !present.has(aclKey(acl)));
      await createAcls(cluster, missing);
      // Also when nothing was missing: an earlier attempt may have ended before every broker knew.
      await awaitAcls(cluster, { present: change.acls });
      return missing.length > 0;
    }
    case 'delete-acls': {
      const deleted = await deleteAcls(cluster, change.acls);
      await awaitAcls(cluster, { absent: change.acls });
      return deleted > 0;
    }
    case 'alter-quotas': {
      const present = await describeQuotas(cluster);
      const missing = change.quotas.filter((quota) => quotaDifference(present, quota) !== null);
      await alterQuotas(cluster, missing);
      return missing.length > 0;
    }
    case 'create-scram-users': {
      const present = await describeScramUsers(cluster);
      const missing = change.users.filter(({ user }) => !present.has(user));
      for (const { user, mechanism } of missing) {
        await upsertScramUser(cluster, user, passwordOf(cluster, user), mechanism);
      }
      return missing.length > 0;
    }
    case 'delete-scram-users': {
      const present = await describeScramUsers(cluster);
      const standing = change.users.filter(({ user, mechanism }) =>
        present.get(user)?.some((credential) => credential.mechanism === mechanism),
      );
      for (const { user, mechanism } of standing) await deleteScramUser(cluster, user, mechanism);
      return standing.length > 0;
    }
    case 'import-schemas': {
      const from = clusters[change.cluster === 'target' ? 'source' : 'target'];
      return importSchemas(registryOf(from), registryOf(cluster), change.versions);
    }
    case 'delete-schemas': {
      const registry = registryOf(cluster);
      for (const { subject, version } of change.versions) await registry.deleteVersion(subject, version, 'forGood');
      return true;
    }
    case 'alter-registry':
      return alterRegistry(registryOf(cluster), change);
  }
}

/**
 * Registers under the same versions and ids what is not there yet, and reads it back.
 *
 * @throws CutoverError SCHEMA_NOT_WRITTEN, REGISTRY_REFUSED, REGISTRY_UNREACHABLE
 */
async function importSchemas(
  from: SchemaRegistry,
  into: SchemaRegistry,
  versions: readonly NamedSchema[],
): Promise<boolean> {
  let registered = 0;
  for (const { subject, version, id } of versions) {
    const wanted = await from.version(subject, version);
    // Deleted for good since: nothing is left that could be registered.
    if (!wanted || wanted.id !== id) continue;
    if (!(await into.version(subject, version))) {
      await into.register(wanted);
      registered++;
    }
    const found = await into.version(subject, version);
    if (found?.id === id && sameSchema(found, wanted)) continue;
    throw new CutoverError('SCHEMA_NOT_WRITTEN', {
      what: 'a schema is not there as it was sent',
      where: `${into.where}, subject ${subject}, version ${version}`,
      found: found === null ? 'no such version' : found.id === id ? 'another text' : `id ${found.id}`,
      wanted: `id ${id}`,
    });
  }
  for (const { subject, version } of versions.filter(({ deleted }) => deleted)) {
    await into.deleteVersion(subject, version, 'soft');
  }
  return registered > 0;
}

/** @throws CutoverError SCHEMA_IMPORT_UNSUPPORTED where a mode is not kept, REGISTRY_REFUSED, REGISTRY_UNREACHABLE */
async function alterRegistry(
  registry: SchemaRegistry,
  wanted: Extract<Change, { kind: 'alter-registry' }>,
): Promise<boolean> {
  const now = await registrySettings(registry, wanted);
  let changed = 0;
  for (const [subject, mode] of Object.entries(wanted.modes)) {
    if (now.modes[subject] === mode) continue;
    await registry.setMode(subject, mode);
    changed++;
    const found = await registry.mode(subject);
    if (found === mode) continue;
    throw new CutoverError('SCHEMA_IMPORT_UNSUPPORTED', {
      what: 'the registry does not keep the mode of a subject',
      where: `${registry.where}, subject ${subject}`,
      found: found ?? 'none',
      wanted: mode ?? 'none of its own',
    });
  }
  for (const [subject, level] of Object.entries(wanted.levels)) {
    if (now.levels[subject] === level) continue;
    await registry.setLevel(subject || null, level);
    changed++;
  }
  return changed > 0;
}

/** @throws CutoverError CLUSTERS_INVALID where the file of this process names no such user */
function passwordOf(cluster: Cluster, user: string): string {
  const known = cluster.config.scramUsers.get(user);
  if (known) return known.password;
  throw new CutoverError('CLUSTERS_INVALID', {
    what: 'no password for a SCRAM user that is to be created',
    where: `cluster ${cluster.name}`,
    wanted: `scramUsers.${user}`,
  });
}

/** One line for people: `target: create topic orders (3 partitions)`. */
export function describeChange(change: Change): string {
  switch (change.kind) {
    case 'create-topic':
      return `${change.cluster}: create topic ${change.topic.name} (${change.topic.partitions} partitions)`;
    case 'delete-topic':
      return `${change.cluster}: delete topic ${change.topic}`;
    case 'alter-topic-configs': {
      const set = Object.entries(change.set).map(([name, value]) => `${name}=${value}`);
      return `${change.cluster}: topic ${change.topic}: ${[...set, ...change.unset.map((name) => `${name} unset`)].join(', ')}`;
    }
    case 'alter-broker-configs': {
      const set = Object.entries(change.set).map(([name, value]) => `${name}=${value}`);
      return `${change.cluster}: all brokers: ${[...set, ...change.unset.map((name) => `${name} unset`)].join(', ')}`;
    }
    case 'move-leaders':
      return `${change.cluster}: leaders of ${change.topics.length} topics move from broker to broker`;
    case 'restore-replica-orders':
      return `${change.cluster}: order of the replicas of ${change.orders.length} partitions as it was`;
    case 'create-acls':
    case 'delete-acls': {
      const verb = change.kind === 'create-acls' ? 'add' : 'delete';
      return `${change.cluster}: ${verb} ${change.acls.length} access rules: ${change.acls.slice(0, 3).map(aclKey).join('; ')}${change.acls.length > 3 ? '; ...' : ''}`;
    }
    case 'alter-quotas':
      return `${change.cluster}: quotas of ${change.quotas.map((quota) => quotaKey(quota.entity)).join('; ')}`;
    case 'create-scram-users':
    case 'delete-scram-users': {
      const verb = change.kind === 'create-scram-users' ? 'create' : 'delete';
      return `${change.cluster}: ${verb} SCRAM users ${change.users.map(({ user, mechanism }) => `${user} (${mechanism})`).join(', ')}`;
    }
    case 'import-schemas':
    case 'delete-schemas': {
      const verb = change.kind === 'import-schemas' ? 'import' : 'delete';
      const shown = change.versions.slice(0, 3).map((one) => `${schemaKey(one)} (id ${one.id})`);
      return `${change.cluster}: ${verb} ${change.versions.length} schemas: ${shown.join(', ')}${change.versions.length > 3 ? ', ...' : ''}`;
    }
    case 'alter-registry': {
      const said = (what: string, values: Readonly<Record<string, string | null>>) =>
        Object.entries(values).map(([subject, value]) => `${what} of ${subject || 'all'} ${value ?? 'inherited'}`);
      const all = [...said('mode', change.modes), ...said('compatibility', change.levels)];
      return `${change.cluster}: registry: ${all.slice(0, 3).join(', ')}${all.length > 3 ? ` and ${all.length - 3} more` : ''}`;
    }
  }
}
