/**
 * Traces by OpenTelemetry, where its own variables ask for them: a span for each migration, step and gate (`workflows/progress.ts`) and for each attempt of an
 * activity. Nothing of it is loaded otherwise.
 *
 * A trace is one run of a workflow, and its id follows from the run's; so do those of steps and gates. Workers that take over from each other, and those that
 * carry mirrors, write one trace without telling each other anything.
 */
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import type { ActivityInterceptorsFactory, InjectedSinks } from '@temporalio/worker';
import type { Logger } from 'pino';
import { CutoverError } from '../contract/errors.ts';
import type { TraceSinks } from '../workflows/progress.ts';
import { namesIn } from './activity-names.ts';

export interface Traces {
  /** What each worker of the process is made with: what workflows tell goes there... */
  readonly sinks: InjectedSinks<TraceSinks>;
  /** ...and what watches its activities. */
  readonly activity: readonly ActivityInterceptorsFactory[];
  /** Sends what has not been sent, within seconds. */
  end(): Promise<void>;
}

/** Somebody waits for the process to end. */
const lastSpansMs = 3_000;

/** The workflow tells its spans whether or not anybody listens. */
const unheard: InjectedSinks<TraceSinks> = { traces: { ended: { fn: () => {} } } };
export const noTraces: Traces = { sinks: unheard, activity: [], end: async () => {} };

/**
 * @param env OpenTelemetry's variables; OTEL_EXPORTER_OTLP_ENDPOINT switches traces on
 * @throws CutoverError USAGE
 */
export async function startTraces(env: NodeJS.ProcessEnv, log: Logger): Promise<Traces> {
  if (!isWanted(env)) return noTraces;
  const protocol = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL || env.OTEL_EXPORTER_OTLP_PROTOCOL || 'http/protobuf';
  if (protocol !== 'http/protobuf') {
    throw new CutoverError('USAGE', {
      what: 'traces are not sent that way',
      where: 'OTEL_EXPORTER_OTLP_PROTOCOL',
      found: protocol,
      wanted: 'http/protobuf',
    });
  }
  const { api, sdk, resources, exporter } = await load();
  const warn = (text: string) => log.warn({ part: 'traces', text: reasonIn(text) }, 'OpenTelemetry complains');
  const quiet = () => {};
  const logger = { error: warn, warn, info: quiet, debug: quiet, verbose: quiet };
  api.diag.setLogger(logger, { logLevel: api.DiagLogLevel.WARN, suppressOverrideMessage: true });
  const own = { 'service.name': 'kafka-cutover', 'service.instance.id': `${process.pid}@${hostname()}` };
  const random = new sdk.RandomIdGenerator();
  let given: SpanIds | null = null;
  const provider = new sdk.TracerProvider({
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word.
    resource: resources
      .resourceFromAttributes(own)
      .merge(resources.detectResources({ detectors: [resources.envDetector] })),
    spanProcessors: [new sdk.BatchSpanProcessor({ exporter: new exporter.OTLPTraceExporter() })],
    idGenerator: {
      generateTraceId: () => given?.traceId ?? random.generateTraceId(),
      generateSpanId: () => given?.spanId ?? random.generateSpanId(),
    },
  });
  const tracer = provider.getTracer('kafka-cutover');
  const childOf = (runId: string) => {
    const parent = { ...idsOf(runId, rootKey), traceFlags: api.TraceFlags.SAMPLED, isRemote: true };
    return api.trace.setSpanContext(api.ROOT_CONTEXT, parent);
  };

  const sinks: InjectedSinks<TraceSinks> = {
    traces: {
      ended: {
        fn({ runId, workflowId }, { kind, name, migration, wave, startedAt, endedAt, attributes, events }) {
          const isRoot = kind === 'migration';
          const own = { migration, ...(wave !== null && { wave }), [kind]: name, ...attributes };
          given = idsOf(runId, isRoot ? rootKey : `${kind} ${wave} ${name} ${startedAt}`);
          const span = tracer.startSpan(
            isRoot ? `${kind} ${migration}` : `${kind} ${name}`,
            { startTime: new Date(startedAt), attributes: { ...own, 'temporal.workflow_id': workflowId } },
            isRoot ? api.ROOT_CONTEXT : childOf(runId),
          );
          given = null;
          for (const event of events) span.addEvent(event.name, new Date(event.at));
          span.end(new Date(endedAt));
        },
      },
    },
  };

  const activity: ActivityInterceptorsFactory = ({ info }) => ({
    inbound: {
      async execute(input, next) {
        const { activityType, attempt, taskQueue, workflowExecution } = info;
        if (!workflowExecution) return next(input);
        const attributes = {
          ...namesIn(input.args[0]),
          attempt,
          'temporal.task_queue': taskQueue,
          'temporal.workflow_id': workflowExecution.workflowId,
        };
        const span = tracer.startSpan(`activity ${activityType}`, { attributes }, childOf(workflowExecution.runId));
        try {
          return await next(input);
        } catch (error) {
          const code = error instanceof ApplicationFailure ? (error.type ?? 'Error') : (error as Error).name;
          span.setAttribute('error.type', code);
          // The code alone: messages name brokers, topics and people, and a codec may encrypt them elsewhere.
          if (!(error instanceof CancelledFailure)) span.setStatus({ code: api.SpanStatusCode.ERROR, message: code });
          throw error;
        } finally {
          span.end();
        }
      },
    },
  });

  return {
    sinks,
    activity: [activity],
    end: async () => {
      const late = setTimeout(lastSpansMs, undefined, { ref: false });
      await Promise.race([provider.shutdown(), late]).catch((error: Error) => warn(error.message));
    },
  };
}

/** It writes errors out whole, with the collector's answer, which may repeat our login. */
function reasonIn(text: string): string {
  try {
    const { message, code } = JSON.parse(text) as { message?: unknown; code?: unknown };
    return [message, code].filter(Boolean).join(' ');
  } catch {
    return text;
  }
}

function isWanted(env: NodeJS.ProcessEnv): boolean {
  if (env.OTEL_SDK_DISABLED?.toLowerCase() === 'true' || env.OTEL_TRACES_EXPORTER === 'none') return false;
  return Boolean(env.OTEL_EXPORTER_OTLP_ENDPOINT || env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT);
}

/** Optional: most workers trace nothing. */
async function load() {
  try {
    const [api, sdk, resources, exporter] = await Promise.all([
      import('@opentelemetry/api'),
      import('@opentelemetry/sdk-trace'),
      import('@opentelemetry/resources'),
      import('@opentelemetry/exporter-trace-otlp-proto'),
    ]);
    return { api, sdk, resources, exporter };
  } catch {
    throw new CutoverError('USAGE', {
      what: 'traces need the packages of OpenTelemetry',
      where: 'OTEL_EXPORTER_OTLP_ENDPOINT',
      wanted: 'an installation without `--omit=optional`, or the variable unset',
    });
  }
}

interface SpanIds {
  readonly traceId: string;
  readonly spanId: string;
}

/** The span that stands for the whole run. */
const rootKey = 'migration';

function idsOf(runId: string, key: string): SpanIds {
  const hash = (text: string) => createHash('sha256').update(text).digest('hex');
  return { traceId: hash(runId).slice(0, 32), spanId: hash(`${runId} ${key}`).slice(0, 16) };
}
