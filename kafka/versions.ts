/** Which versions of a request each broker serves, and what that says about the cluster's age. */
import { apiVersionsV3, type Connection } from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from './cluster.ts';
import { refuseKafkaError } from './kafka-errors.ts';
import { type Request, requestUpTo } from './older-requests.ts';

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

/** Round trips that are measured, and one so short that no further one tells more. */
const roundTrips = 3;
const roundTripShortMs = 5;

/** Highest version by API key. */
type Served = ReadonlyMap<number, number>;

const servedOn = new WeakMap<Connection, Promise<Served>>();

/**
 * The request at the newest version that we know and the broker at the other end serves. Brokers hang up at any other, so they are asked
 * first, once a connection.
 *
 * @throws CutoverError VERSION_UNSUPPORTED; what the connection throws
 */
export async function inTheirVersion<Args extends unknown[], Answer>(
  connection: Connection,
  request: Request<Args, Answer>,
): Promise<Request<Args, Answer>> {
  if (request.key === apiVersionsV3.api.key) return request;
  let served = servedOn.get(connection);
  if (!served) {
    served = askServed(connection);
    servedOn.set(connection, served);
  }
  const max = (await served).get(request.key) ?? -1;
  const spoken = requestUpTo(request, max);
  if (spoken) return spoken;
  throw new CutoverError('VERSION_UNSUPPORTED', {
    what: 'the broker does not serve a request',
    where: `${connection.host}:${connection.port}`,
    found: `API key ${request.key} ${max < 0 ? 'not at all' : `up to version ${max}`}`,
    wanted: `version ${request.version}`,
  });
}

async function askServed(connection: Connection): Promise<Served> {
  const { apiKeys } = await apiVersionsV3.api.async(connection, 'kafka-cutover', '0');
  return new Map(apiKeys.map((api) => [api.apiKey, api.maxVersion]));
}

/** How long the smallest request takes there and back, in milliseconds: of a few the quickest, since a busy broker looks like one far away. */
export async function roundTripMs(connection: Connection): Promise<number> {
  let shortest = Number.POSITIVE_INFINITY;
  for (let n = 0; n < roundTrips && shortest > roundTripShortMs; n++) {
    const startedAt = performance.now();
    await askServed(connection);
    shortest = Math.min(shortest, performance.now() - startedAt);
  }
  return shortest;
}

async function askVersions(cluster: Cluster, broker: number): Promise<BrokerVersions> {
  const answer = await cluster.call({ broker }, apiVersionsV3.api, 'kafka-cutover', '0');
  refuseKafkaError(answer.errorCode, 'cannot read the served versions', `cluster ${cluster.name}, broker ${broker}`);
  return {
    max: new Map(answer.apiKeys.map((api) => [api.apiKey, api.maxVersion])),
    features: new Map((answer.finalizedFeatures ?? []).map((feature) => [feature.name, feature.maxVersionLevel])),
  };
}
