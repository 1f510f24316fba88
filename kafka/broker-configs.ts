/**
 * Dynamic settings that all brokers of a cluster share (`kafka-configs --entity-default`), each change read back on every live
 * broker, since it is in force only where it was seen.
 */
import type { Cluster } from './cluster.ts';
import {
  brokerConfigs,
  type ConfigChange,
  configResource,
  describeConfigs,
  sameConfigValue,
  sendConfigChange,
} from './topics.ts';
import { awaited, onEveryBroker } from './waiting.ts';

/** The name of what all brokers share. */
const everyBroker = '';

/**
 * Explicit cluster-wide settings by name: not defaults, not what server.properties says, not what one broker has for itself.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs DESCRIBE_CONFIGS on the cluster), KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function sharedBrokerConfigs(cluster: Cluster): Promise<Map<string, string | null>> {
  const found = await describeConfigs(cluster, 'any', configResource.broker, [everyBroker]);
  const entries = [...(found.get(everyBroker) ?? [])].filter(([, entry]) => entry.source === 'cluster-dynamic');
  return new Map(entries.map(([name, entry]) => [name, entry.value]));
}

/** By broker id: the value in force of a setting; undefined where the broker does not know it. */
export async function valuesInForce(cluster: Cluster, name: string): Promise<Map<number, string | null | undefined>> {
  const { brokers } = await cluster.metadata([]);
  const values = await Promise.all(
    brokers.map(async ({ id }) => [id, (await brokerConfigs(cluster, id)).get(name)?.value] as const),
  );
  return new Map(values);
}

/**
 * Sets and unsets single cluster-wide settings, leaves the others alone, and waits until every live broker has them in force.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs ALTER_CONFIGS on the cluster), KAFKA_REQUEST_FAILED (also where one broker has another
 *   value for itself, which the message names), CLUSTER_UNREACHABLE
 */
export async function alterBrokerConfigs(cluster: Cluster, change: ConfigChange): Promise<void> {
  const where = `cluster ${cluster.name}, all brokers`;
  const resource = { resourceType: configResource.broker, resourceName: everyBroker };
  const what = 'cannot alter the settings of the brokers';
  if ((await sendConfigChange(cluster, resource, { what, where }, change)) === undefined) return;
  await awaited('altered settings are not in force on every broker', where, () =>
    onEveryBroker(cluster, async ({ id }) => {
      const seen = await brokerConfigs(cluster, id);
      for (const [name, wanted] of Object.entries(change.set)) {
        const value = seen.get(name)?.value ?? null;
        if (!sameConfigValue(value, wanted)) return `broker ${id}: ${name} is ${value}, wanted ${wanted}`;
      }
      const still = change.unset.find((name) => seen.get(name)?.source === 'cluster-dynamic');
      return still === undefined ? null : `broker ${id}: ${still} is still set`;
    }),
  );
}
