/** Client quotas: all of them read in one request, single values set and removed. */
import { alterClientQuotasV1, describeClientQuotasV1 } from '@platformatic/kafka';
import { everyBrokerServes } from './broker-versions.ts';
import type { Cluster } from './cluster.ts';
import { refuseKafkaError } from './kafka-errors.ts';
import { answered, awaited, onEveryBroker } from './waiting.ts';

/** Whom a quota is for. A name is an entity, null is the default of that kind, a missing key is not part of it. */
export interface QuotaEntity {
  /** Without `User:`. */
  readonly user?: string | null;
  readonly clientId?: string | null;
  readonly ip?: string | null;
}

export interface Quota {
  readonly entity: QuotaEntity;
  /** By key, such as `producer_byte_rate` (bytes a second) or `request_percentage`. */
  readonly values: Readonly<Record<string, number>>;
}

export interface QuotaChange {
  readonly entity: QuotaEntity;
  readonly set: Readonly<Record<string, number>>;
  readonly unset: readonly string[];
}

const entityTypes = { user: 'user', clientId: 'client-id', ip: 'ip' } as const;
type EntityKind = keyof typeof entityTypes;
const kinds = Object.keys(entityTypes) as EntityKind[];

/** Equal for equal entities, and readable: `user "a", client-id default`. */
export function quotaKey(entity: QuotaEntity): string {
  return kinds
    .filter((kind) => entity[kind] !== undefined)
    .map((kind) => `${entityTypes[kind]} ${entity[kind] === null ? 'default' : JSON.stringify(entity[kind])}`)
    .join(', ');
}

/**
 * Every quota, sorted by `quotaKey`. Empty where a broker does not tell (before Kafka 2.6).
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs DESCRIBE_CONFIGS on the cluster), KAFKA_REQUEST_FAILED
 */
export async function describeQuotas(cluster: Cluster, options: { readonly broker?: number } = {}): Promise<Quota[]> {
  const destination = options.broker === undefined ? 'any' : { broker: options.broker };
  if (!(await everyBrokerServes(cluster, describeClientQuotasV1.api.key, 0))) return [];
  const answer = await answered(
    'cannot read the quotas',
    `cluster ${cluster.name}`,
    () => cluster.call(destination, describeClientQuotasV1.api, [], false),
    ({ errorCode, errorMessage }) => ({ code: errorCode, message: errorMessage ?? null }),
  );
  return (answer.entries ?? [])
    .map(({ entity, values }) => ({
      entity: Object.fromEntries(
        kinds.flatMap((kind) => {
          const part = entity.find((e) => e.entityType === entityTypes[kind]);
          return part ? [[kind, part.entityName ?? null]] : [];
        }),
      ) as QuotaEntity,
      values: Object.fromEntries(values.map(({ key, value }) => [key, value])),
    }))
    .sort((a, b) => (quotaKey(a.entity) < quotaKey(b.entity) ? -1 : 1));
}

/**
 * Sets and removes single values and waits until every broker shows it.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs ALTER_CONFIGS on the cluster), KAFKA_REQUEST_FAILED
 */
export async function alterQuotas(cluster: Cluster, changes: readonly QuotaChange[]): Promise<void> {
  const entries = changes
    .filter((change) => Object.keys(change.set).length + change.unset.length > 0)
    .map((change) => ({
      entities: kinds
        .filter((kind) => change.entity[kind] !== undefined)
        .map((kind) => ({ entityType: entityTypes[kind], entityName: change.entity[kind] ?? null })),
      ops: [
        ...Object.entries(change.set).map(([key, value]) => ({ key, value, remove: false })),
        ...change.unset.map((key) => ({ key, value: 0, remove: true })),
      ],
    }));
  if (entries.length === 0) return;
  const answer = await answered(
    'cannot alter quotas',
    `cluster ${cluster.name}`,
    () => cluster.call('controller', alterClientQuotasV1.api, entries as never, false),
    ({ entries: answers }) => {
      const failed = answers.find((entry) => entry.errorCode !== 0);
      return { code: failed?.errorCode ?? 0, message: failed?.errorMessage ?? null };
    },
  );
  for (const entry of answer.entries) {
    refuseKafkaError(entry.errorCode, 'cannot alter a quota', `cluster ${cluster.name}`, entry.errorMessage);
  }
  await awaited('altered quotas are not visible on every broker', `cluster ${cluster.name}`, () =>
    onEveryBroker(cluster, async ({ id }) => {
      const seen = await describeQuotas(cluster, { broker: id });
      const missing = changes.map((change) => quotaDifference(seen, change)).find((line) => line !== null);
      return missing ? `broker ${id}: ${missing}` : null;
    }),
  );
}

/** What is still to be done for `change` to hold, or null. */
export function quotaDifference(quotas: readonly Quota[], change: QuotaChange): string | null {
  const key = quotaKey(change.entity);
  const values = quotas.find((quota) => quotaKey(quota.entity) === key)?.values ?? {};
  for (const [name, wanted] of Object.entries(change.set)) {
    if (values[name] !== wanted) return `${key}: ${name} is ${values[name] ?? 'not set'}, wanted ${wanted}`;
  }
  const still = change.unset.find((name) => values[name] !== undefined);
  return still === undefined ? null : `${key}: ${still} is still set`;
}
