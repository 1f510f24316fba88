/** SCRAM users: which exist and with which mechanism, created and deleted. Secrets cannot be read, so they cannot be copied. */
import { pbkdf2Sync, randomBytes } from 'node:crypto';
import { alterUserScramCredentialsV0, describeUserScramCredentialsV0 } from '@platformatic/kafka';
import { serves } from './broker-versions.ts';
import type { Cluster } from './cluster.ts';
import { kafkaError, refuseKafkaError } from './kafka-errors.ts';
import { answered, awaited, onEveryBroker } from './waiting.ts';

export type ScramMechanism = 'scram-sha-256' | 'scram-sha-512';

export interface ScramCredential {
  readonly mechanism: ScramMechanism;
  readonly iterations: number;
}

const mechanisms = { 'scram-sha-256': 1, 'scram-sha-512': 2 } as const;
const digests = { 'scram-sha-256': ['sha256', 32], 'scram-sha-512': ['sha512', 64] } as const;
const describeUserScramCredentialsKey = 50;

/**
 * Credentials by user name (without `User:`). Empty where brokers do not serve the request.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs DESCRIBE on the cluster), KAFKA_REQUEST_FAILED
 */
export async function describeScramUsers(
  cluster: Cluster,
  options: { readonly broker?: number } = {},
): Promise<Map<string, ScramCredential[]>> {
  const broker = options.broker ?? cluster.brokers[0]?.id ?? -1;
  if (!(await serves(cluster, broker, describeUserScramCredentialsKey, 0))) return new Map();
  const answer = await answered(
    'cannot read the SCRAM users',
    `cluster ${cluster.name}`,
    () => cluster.call({ broker }, describeUserScramCredentialsV0.api, []),
    ({ errorCode, errorMessage }) => ({ code: errorCode, message: errorMessage ?? null }),
  );
  return new Map(
    answer.results
      .filter((result) => result.errorCode === 0)
      .map((result) => [
        result.user,
        result.credentialInfos.map((info) => ({
          mechanism: info.mechanism === mechanisms['scram-sha-256'] ? 'scram-sha-256' : 'scram-sha-512',
          iterations: info.iterations,
        })),
      ]),
  );
}

/**
 * Creates a user or gives it another password, and waits until every broker knows it.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs ALTER on the cluster), KAFKA_REQUEST_FAILED
 */
export async function upsertScramUser(
  cluster: Cluster,
  user: string,
  password: string,
  mechanism: ScramMechanism = 'scram-sha-512',
  iterations = 4_096,
): Promise<void> {
  const [digest, length] = digests[mechanism];
  const salt = randomBytes(24);
  const saltedPassword = pbkdf2Sync(password.normalize('NFKC'), salt, iterations, length, digest);
  const upsertion = { name: user, mechanism: mechanisms[mechanism], iterations, salt, saltedPassword };
  const answer = await answered(
    'cannot write a SCRAM user',
    `cluster ${cluster.name}, user ${user}`,
    () => cluster.call('controller', alterUserScramCredentialsV0.api, [], [upsertion]),
    ({ results }) => ({ code: results[0]?.errorCode ?? 0, message: results[0]?.errorMessage ?? null }),
  );
  refuseKafkaError(answer.results[0]?.errorCode ?? 0, 'cannot write a SCRAM user', `cluster ${cluster.name}`);
  await awaited('a SCRAM user is not known on every broker', `cluster ${cluster.name}, user ${user}`, () =>
    onEveryBroker(cluster, async ({ id }) => {
      const seen = (await describeScramUsers(cluster, { broker: id })).get(user);
      return seen?.some((credential) => credential.mechanism === mechanism) ? null : `broker ${id}`;
    }),
  );
}

/**
 * Takes one credential of a user away, and waits until no broker knows it. One that is gone already is fine.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs ALTER on the cluster), KAFKA_REQUEST_FAILED
 */
export async function deleteScramUser(cluster: Cluster, user: string, mechanism: ScramMechanism): Promise<void> {
  const where = `cluster ${cluster.name}, user ${user}`;
  const deletion = { name: user, mechanism: mechanisms[mechanism] };
  await answered(
    'cannot delete a SCRAM user',
    where,
    () => cluster.call('controller', alterUserScramCredentialsV0.api, [deletion], []),
    ({ results }) => ({ code: results[0]?.errorCode ?? 0, message: results[0]?.errorMessage ?? null }),
    new Set([kafkaError.resourceNotFound]),
  );
  await awaited('a deleted SCRAM user is still known', where, () =>
    onEveryBroker(cluster, async ({ id }) => {
      const seen = (await describeScramUsers(cluster, { broker: id })).get(user);
      return seen?.some((credential) => credential.mechanism === mechanism) ? `broker ${id}` : null;
    }),
  );
}
