import { Command, Option } from 'commander';
import { readDuration } from '../durations.ts';
import type { Answer, Answering, Terminal } from '../terminal.ts';

export function workerCommand(answering: Answering): Command {
  return new Command('worker')
    .description('run migrations: polls Temporal, talks to both clusters')
    .addOption(
      new Option('--only <what>', 'the workflow and short activities, or the shards of mirrors and audits').choices([
        'control',
        'mirror',
      ]),
    )
    .option('--deployment <name>', 'a version of this worker deployment; with --build-id')
    .option('--build-id <id>', 'which version; Temporal gives tasks to the current one')
    .option('--health', 'ask the worker at $KAFKA_CUTOVER_METRICS whether it takes work; for health checks')
    .action(answering(worker));
}

interface Options {
  readonly only?: 'control' | 'mirror';
  readonly deployment?: string;
  readonly buildId?: string;
  readonly health?: boolean;
}

async function worker(terminal: Terminal, options: Options): Promise<Answer> {
  if (options.health) return health(terminal.env.KAFKA_CUTOVER_METRICS);
  const [{ openLog }, { readClusters }, { workerVersion }] = await Promise.all([
    import('../../worker/logging.ts'),
    import('../../kafka/clusters.ts'),
    import('../../worker/versioning.ts'),
  ]);
  const version = workerVersion(options, terminal.env);
  const clusters = readClusters(undefined, terminal.env);
  const log = openLog(terminal.env);
  const [{ createActivities }, { startWorker }, { readCodec }, { readMetricsBy }, { startTraces }] = await Promise.all([
    import('../../activities/activities.ts'),
    import('../../worker/worker.ts'),
    import('../../worker/codec.ts'),
    import('../../worker/metrics.ts'),
    import('../../worker/traces.ts'),
  ]);
  const codec = readCodec(terminal.env);
  const after = terminal.env.KAFKA_CUTOVER_BALANCE_AFTER;
  const balanceAfterMs = after ? await readDuration(after, 'KAFKA_CUTOVER_BALANCE_AFTER') : undefined;
  const metricsBy = readMetricsBy(terminal.env.KAFKA_CUTOVER_METRICS_BY);
  await using activities = createActivities({ clusters, log, balanceAfterMs, metricsBy });
  await startWorker({
    ...(options.only && { only: options.only }),
    activities,
    log,
    codec,
    metrics: terminal.env.KAFKA_CUTOVER_METRICS,
    traces: await startTraces(terminal.env, log),
    version,
  });
  return { json: { stopped: true }, text: 'worker stopped' };
}

async function health(address: string | undefined): Promise<Answer> {
  const { askHealth } = await import('../worker-health.ts');
  const { pollers } = await askHealth(address);
  return { json: { healthy: true, pollers }, text: `the worker takes work: ${pollers} pollers` };
}
