/**
 * The process that runs migrations: one worker for the workflow and the short activities, one for the
 * shards of mirrors and audits. Connects as the `temporal` command does: TEMPORAL_* variables and profiles.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import type { Logger } from 'pino';
import type { Activities } from '../activities/types.ts';
import { CutoverError } from '../contract/errors.ts';
import { taskQueues } from '../contract/status.ts';
import { logNames } from './activity-names.ts';
import { workflowBundle } from './bundle.ts';
import { dataConverterOf, type EncryptionCodec } from './codec.ts';
import { temporalLogger } from './logging.ts';
import { metricsTelemetry } from './metrics.ts';
import { registerSearchAttributes } from './search-attributes.ts';
import { noTraces, type Traces } from './traces.ts';
import { versionOptions, type WorkerVersion } from './versioning.ts';

export type WorkerPart = keyof typeof taskQueues;

export interface StartWorkerOptions {
  /** Default: both parts. */
  readonly only?: WorkerPart;
  readonly activities: Activities;
  readonly log: Logger;
  /** Encrypts what Temporal stores. */
  readonly codec?: EncryptionCodec | null;
  /** Address of the Prometheus endpoint, `host:port`; none where it is left out. */
  readonly metrics?: string | undefined;
  /** Spans of steps and activities; none where it is left out. */
  readonly traces?: Traces;
  /** Of which deployment it is a version; by default of none. */
  readonly version?: WorkerVersion | null;
  /** Stops the worker; SIGINT and SIGTERM do so by themselves. */
  readonly signal?: AbortSignal;
}

/** A migration waits most of the time; each cached one costs about 360 KB. */
const maxCachedWorkflows = 50;
/** How long activities may go on after a stop was asked for, before they are cancelled. */
const shutdownGraceMs = 2_000;
/** After that the process ends whether or not they have. */
export const shutdownForceMs = 20_000;
/**
 * Heartbeats are sent at most this often. Temporal's default is 80% of the heartbeat timeout, 8 s for a
 * mirror: a cancellation travels back with a heartbeat, and at the switch applications wait for it.
 */
const heartbeatEveryMs = 500;
/**
 * How long Temporal holds the workflow's next step for the worker that has it in its cache, dead or not; then any worker takes it, and replays.
 * Its default is 10 s: that long applications waited within the fence for a worker that had died.
 */
const cachedWorkerWaitMs = 2_000;
/** A server that starts beside us (compose, Kubernetes) may take this long. */
const connectWithinMs = 60_000;
const connectAgainMs = 1_000;

/**
 * Runs until SIGINT, SIGTERM or `signal`, then lets activities finish or cancels them.
 *
 * @throws CutoverError TEMPORAL_UNREACHABLE when the server does not answer, or search attributes are missing
 */
export async function startWorker({
  only,
  activities,
  log,
  codec = null,
  metrics,
  traces = noTraces,
  version = null,
  signal,
}: StartWorkerOptions): Promise<void> {
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals) => {
    log.info({ signal: name }, 'stopping');
    stop.abort();
  };
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  const stopping = signal ? AbortSignal.any([stop.signal, signal]) : stop.signal;
  installRuntime(log, metrics);
  const { connection, namespace, address } = await connect(log, stopping);
  try {
    await registerSearchAttributes(connection, namespace, log);
    const parts: readonly WorkerPart[] = only ? [only] : ['control', 'mirror'];
    const workers: Worker[] = [];
    for (const part of parts) {
      const options = part === 'control' ? await controlOptions(activities, log, codec) : mirrorOptions(activities);
      const dataConverter = dataConverterOf(codec);
      const watched = { sinks: traces.sinks, interceptors: { activity: [logNames, ...traces.activity] } };
      const common = { connection, namespace, ...versionOptions(version), ...(dataConverter && { dataConverter }) };
      workers.push(await Worker.create({ ...common, ...options, ...watched }));
    }
    log.info({ address, namespace, parts, ...version }, 'worker is ready');
    await runUntil(workers, stopping);
    log.info('worker stopped');
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    // Refused while a half-created worker holds it; the failure that led here must not be hidden by that.
    await connection.close().catch((error) => log.warn({ err: error }, 'the connection was not closed'));
    await traces.end();
  }
}

/** The workflow and the short activities. */
export async function controlOptions(
  activities: Activities,
  log: Logger,
  codec: EncryptionCodec | null = null,
): Promise<WorkerOptions> {
  const { mirror: _mirror, audit: _audit, ...control } = activities;
  return {
    ...shared,
    taskQueue: taskQueues.control,
    activities: control,
    workflowBundle: await workflowBundle(log, codec !== null),
    maxCachedWorkflows,
    stickyQueueScheduleToStartTimeout: cachedWorkerWaitMs,
  };
}

/** The shards that move and compare records. */
export function mirrorOptions({ mirror, audit }: Activities): WorkerOptions {
  return { ...shared, taskQueue: taskQueues.mirror, activities: { mirror, audit } };
}

const shared = {
  shutdownGraceTime: shutdownGraceMs,
  shutdownForceTime: shutdownForceMs,
  maxHeartbeatThrottleInterval: heartbeatEveryMs,
  defaultHeartbeatThrottleInterval: heartbeatEveryMs,
} as const;

/** When one part fails the other one stops too: half a worker looks like a whole one from outside. */
async function runUntil(workers: readonly Worker[], stopping: AbortSignal): Promise<void> {
  const stopAll = () => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  const running = workers.map((worker) => worker.run());
  if (stopping.aborted) stopAll();
  stopping.addEventListener('abort', stopAll, { once: true });
  try {
    await Promise.all(running);
  } finally {
    stopAll();
    await Promise.allSettled(running);
    stopping.removeEventListener('abort', stopAll);
  }
}

let runtimeInstalled = false;

/** Once a process: Temporal's native core has one logger. */
function installRuntime(log: Logger, metrics: string | undefined): void {
  if (runtimeInstalled) return;
  runtimeInstalled = true;
  Runtime.install({
    logger: temporalLogger(log),
    telemetryOptions: {
      logging: { filter: { core: 'WARN', other: 'WARN' }, forward: {} },
      ...metricsTelemetry(metrics),
    },
    // We stop by ourselves, both workers together.
    shutdownSignals: [],
  });
}

async function connect(log: Logger, stopping: AbortSignal) {
  const { connectionOptions, namespace = 'default' } = loadClientConnectConfig();
  const address = connectionOptions.address ?? 'localhost:7233';
  const deadline = performance.now() + connectWithinMs;
  for (let told = false; ; told = true) {
    try {
      return { connection: await NativeConnection.connect(connectionOptions), namespace, address };
    } catch (error) {
      if (stopping.aborted || performance.now() > deadline) {
        throw new CutoverError(
          'TEMPORAL_UNREACHABLE',
          { what: 'no connection to Temporal', where: address, found: (error as Error).message },
          { cause: error },
        );
      }
      if (!told) log.warn({ address, text: (error as Error).message }, 'Temporal does not answer yet');
      await sleep(connectAgainMs, undefined, { signal: stopping }).catch(() => {});
    }
  }
}
