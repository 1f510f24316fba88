/** What one connection tells of the broker at its other end: the version of a request that it serves, and how far away it is. */
import { apiVersionsV3, type Connection } from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';
import { type Request, requestUpTo } from './older-requests.ts';

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
