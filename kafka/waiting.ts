/** Asking again, within limits: for errors that pass, and for what a cluster makes visible a moment later. */
import { CutoverError } from '../contract/errors.ts';
import type { Broker, Cluster } from './cluster.ts';
import { isRetriableKafkaError, refuseKafkaError } from './kafka-errors.ts';

/** How long an admin request is repeated while the cluster answers with errors that pass. */
export const adminRetryTimeoutMs = 30_000;
/** How long a change may take until every live broker shows it. */
export const visibleTimeoutMs = 30_000;
/** Pause between two tries. */
export const retryPauseMs = 100;

export const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/**
 * Repeats `ask` while `codeOf` finds a Kafka error that passes (leader or controller moving, time-outs),
 * then gives the last answer. `stopAt` codes are the caller's to judge and end the loop, like 0.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED for every other error
 */
export async function answered<Answer>(
  what: string,
  where: string,
  ask: () => Promise<Answer>,
  codeOf: (answer: Answer) => { code: number; message?: string | null },
  stopAt: ReadonlySet<number> = new Set(),
  timeoutMs = adminRetryTimeoutMs,
): Promise<Answer> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    const { code, message } = codeOf(answer);
    if (code === 0 || stopAt.has(code)) return answer;
    if (!isRetriableKafkaError(code) || Date.now() > deadline) refuseKafkaError(code, what, where, message);
    await pause(retryPauseMs);
  }
}

/**
 * Repeats `check` until it gives null; a string says what is still missing.
 *
 * @throws CutoverError KAFKA_REQUEST_FAILED with what was still missing when the time was up
 */
export async function awaited(
  what: string,
  where: string,
  check: () => Promise<string | null>,
  timeoutMs = visibleTimeoutMs,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const missing = await check();
    if (missing === null) return;
    if (Date.now() > deadline) {
      throw new CutoverError('KAFKA_REQUEST_FAILED', {
        what: `${what}, waited ${timeoutMs} ms`,
        where,
        found: missing,
      });
    }
    await pause(retryPauseMs);
  }
}

/**
 * Asks every broker that is alive now, and gives the first complaint. A broker that does not answer is a
 * complaint only while the metadata still lists it.
 */
export async function onEveryBroker(
  cluster: Cluster,
  check: (broker: Broker) => Promise<string | null>,
): Promise<string | null> {
  const { brokers } = await cluster.metadata([]);
  const complaints = await Promise.all(
    brokers.map(async (broker) => {
      try {
        return await check(broker);
      } catch (error) {
        if (error instanceof CutoverError && error.retryable) return `broker ${broker.id}: ${error.message}`;
        throw error;
      }
    }),
  );
  return complaints.find((complaint) => complaint !== null) ?? null;
}
