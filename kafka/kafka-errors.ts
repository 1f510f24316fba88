/** Kafka's error numbers, and how the clients' failures become ours. */
import { protocolErrors, protocolErrorsCodesById } from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';

/** `29` becomes `TOPIC_AUTHORIZATION_FAILED (29)`. */
export function kafkaErrorName(code: number): string {
  return `${protocolErrorsCodesById[code] ?? 'UNKNOWN'} (${code})`;
}

export function isRetriableKafkaError(code: number): boolean {
  const id = protocolErrorsCodesById[code];
  return id !== undefined && protocolErrors[id]?.canRetry === true;
}

/** TOPIC, GROUP, CLUSTER and TRANSACTIONAL_ID_AUTHORIZATION_FAILED. */
const accessErrors: ReadonlySet<number> = new Set([29, 30, 31, 53]);

/** Numbers of Kafka errors that the code asks for by name. */
export const kafkaError = {
  offsetOutOfRange: 1,
  unknownTopicOrPartition: 3,
  leaderNotAvailable: 5,
  notLeaderOrFollower: 6,
  requestTimedOut: 7,
  messageTooLarge: 10,
  topicAuthorizationFailed: 29,
  clusterAuthorizationFailed: 31,
  topicAlreadyExists: 36,
  outOfOrderSequence: 45,
  duplicateSequence: 46,
  invalidProducerEpoch: 47,
  transactionalIdAuthorizationFailed: 53,
  securityDisabled: 54,
  nonEmptyGroup: 68,
  groupIdNotFound: 69,
  fencedLeaderEpoch: 74,
  unknownLeaderEpoch: 75,
  resourceNotFound: 91,
} as const;

/**
 * @throws CutoverError CLUSTER_ACCESS_DENIED or KAFKA_REQUEST_FAILED when `code` is an error
 */
export function refuseKafkaError(code: number, what: string, where: string, message?: string | null): void {
  if (code === 0) return;
  throw new CutoverError(accessErrors.has(code) ? 'CLUSTER_ACCESS_DENIED' : 'KAFKA_REQUEST_FAILED', {
    what,
    where,
    found: `${kafkaErrorName(code)}${message ? `: ${message}` : ''}`,
  });
}

/** Network and time-out failures become CLUSTER_UNREACHABLE, refused logins CLUSTER_AUTH_FAILED. */
export function toCutoverError(error: unknown, where: string): CutoverError {
  if (error instanceof CutoverError) return error;
  const chain: { name?: string; code?: string; message?: string; apiCode?: number }[] = [];
  for (let e = error as { cause?: unknown; errors?: unknown[] } | undefined; e && chain.length < 8; ) {
    chain.push(e as { message?: string });
    e = (e.cause ?? e.errors?.[0]) as typeof e;
  }
  const found =
    chain
      .map((e) => e.message)
      .filter(Boolean)
      .join(' <- ') || String(error);
  const has = (test: (e: (typeof chain)[number]) => boolean) => chain.some(test);
  if (has((e) => e.code === 'PLT_KFK_AUTHENTICATION' || e.apiCode === 58 || e.apiCode === 33 || e.apiCode === 34)) {
    return new CutoverError('CLUSTER_AUTH_FAILED', { what: 'login refused', where, found }, { cause: error });
  }
  if (has((e) => e.apiCode !== undefined && accessErrors.has(e.apiCode))) {
    return new CutoverError('CLUSTER_ACCESS_DENIED', { what: 'operation refused', where, found }, { cause: error });
  }
  if (has((e) => e.code === 'PLT_KFK_NETWORK' || e.code === 'PLT_KFK_TIMEOUT' || /^E[A-Z]+$/.test(e.code ?? ''))) {
    return new CutoverError('CLUSTER_UNREACHABLE', { what: 'no answer', where, found }, { cause: error });
  }
  return new CutoverError('KAFKA_REQUEST_FAILED', { what: 'request failed', where, found }, { cause: error });
}
