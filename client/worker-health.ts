/**
 * Whether the worker beside us takes work, by its own metrics: it polls Temporal's task queues only once it is connected and registered.
 * For health checks of containers, which run a command.
 */
import { CutoverError } from '../contract/errors.ts';

/** Orchestrators give a check a few seconds, of which Node takes the first half. */
const answerTimeoutMs = 2_000;

/**
 * @param address of the Prometheus endpoint, as KAFKA_CUTOVER_METRICS has it
 * @throws CutoverError USAGE without an address, WORKER_UNHEALTHY
 */
export async function askHealth(address: string | undefined): Promise<{ readonly pollers: number }> {
  if (!address) {
    throw new CutoverError('USAGE', {
      what: 'the worker is asked at its metrics endpoint, and there is none',
      where: 'KAFKA_CUTOVER_METRICS',
      wanted: 'the address that the worker was started with, such as 127.0.0.1:9464',
    });
  }
  // What listens to every address is asked at this machine's own.
  const host = address.replace(/^0\.0\.0\.0:/, '127.0.0.1:').replace(/^\[::\]:/, '[::1]:');
  const where = `http://${host}/metrics`;
  let text: string;
  try {
    text = await (await fetch(where, { signal: AbortSignal.timeout(answerTimeoutMs) })).text();
  } catch (error) {
    const { cause, message } = error as Error;
    throw unhealthy(where, cause instanceof Error ? cause.message : message, error);
  }
  const pollers = [...text.matchAll(/^temporal_num_pollers\{[^\n]*\} ([\d.]+)$/gm)].reduce(
    (sum, [, value]) => sum + Number(value),
    0,
  );
  if (!(pollers > 0)) throw unhealthy(where, 'no poller');
  return { pollers };
}

function unhealthy(where: string, found: string, cause?: unknown): CutoverError {
  const detail = { what: 'the worker takes no work', where, found, wanted: 'temporal_num_pollers above 0' };
  return new CutoverError('WORKER_UNHEALTHY', detail, { cause });
}
