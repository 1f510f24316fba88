/** Which versions of a request each broker serves, and what that says about the cluster's age. */
import { apiVersionsV3 } from '@platformatic/kafka';
import type { Cluster } from './cluster.ts';
import { refuseKafkaError } from './kafka-errors.ts';

export interface BrokerVersions {
  /** Highest version served by API key; a key that is missing is not served at all. */
  readonly max: ReadonlyMap<number, number>;
  /** Finalized features by name, such as `metadata.version` 25 or `kraft.version` 1. Empty without KRaft. */
  readonly features: ReadonlyMap<string, number>;
}

const known = new WeakMap<Cluster, Map<number, Promise<BrokerVersions>>>();

/** Asked once per broker and connection object: a broker's version changes only with a restart, which few calls outlive. */
export function brokerVersions(cluster: Cluster, broker: number): Promise<BrokerVersions> {
  let ofCluster = known.get(cluster);
  if (!ofCluster) {
    ofCluster = new Map();
    known.set(cluster, ofCluster);
  }
  let versions = ofCluster.get(broker);
  if (!versions) {
    versions = askVersions(cluster, broker);
    ofCluster.set(broker, versions);
    versions.catch(() => known.get(cluster)?.delete(broker));
  }
  return versions;
}

/** Whether this broker serves this version of a request. */
export async function serves(cluster: Cluster, broker: number, apiKey: number, version: number): Promise<boolean> {
  return ((await brokerVersions(cluster, broker)).max.get(apiKey) ?? -1) >= version;
}

/** Whether all brokers do. */
export async function everyBrokerServes(cluster: Cluster, apiKey: number, version: number): Promise<boolean> {
  const served = await Promise.all(cluster.brokers.map(({ id }) => serves(cluster, id, apiKey, version)));
  return served.every(Boolean);
}

async function askVersions(cluster: Cluster, broker: number): Promise<BrokerVersions> {
  const answer = await cluster.call({ broker }, apiVersionsV3.api, 'kafka-cutover', '0');
  refuseKafkaError(answer.errorCode, 'cannot read the served versions', `cluster ${cluster.name}, broker ${broker}`);
  return {
    max: new Map(answer.apiKeys.map((api) => [api.apiKey, api.maxVersion])),
    features: new Map((answer.finalizedFeatures ?? []).map((feature) => [feature.name, feature.maxVersionLevel])),
  };
}
