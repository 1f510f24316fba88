import { Command, Option } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import type { Answering } from '../cli.ts';
import type { Answer, Terminal } from '../terminal.ts';

export function workerCommand(answering: Answering): Command {
  return new Command('worker')
    .description('run migrations: polls Temporal, talks to both clusters')
    .addOption(
      new Option('--only <what>', 'the workflow and short activities, or the shards of mirrors and audits').choices([
        'control',
        'mirror',
      ]),
    )
    .action(answering(worker));
}

async function worker(terminal: Terminal, options: { readonly only?: 'control' | 'mirror' }): Promise<Answer> {
  const [{ pino }, { readClusters }] = await Promise.all([import('pino'), import('../../kafka/clusters.ts')]);
  const clusters = readClusters(undefined, terminal.env);
  // Logs go to stderr: stdout is for answers.
  const log = pino(
    { name: 'kafka-cutover', level: terminal.env.KAFKA_CUTOVER_LOG_LEVEL ?? 'info' },
    pino.destination(2),
  );
  const [{ createActivities }, { startWorker }] = await Promise.all([
    import('../../activities/activities.ts'),
    import('../../worker/worker.ts'),
  ]);
  const balanceAfterMs = await balanceAfter(terminal.env.KAFKA_CUTOVER_BALANCE_AFTER);
  await using activities = createActivities({ clusters, log, balanceAfterMs });
  await startWorker({ ...(options.only && { only: options.only }), activities, log });
  return { json: { stopped: true }, text: 'worker stopped' };
}

/** @throws CutoverError USAGE */
async function balanceAfter(text: string | undefined): Promise<number | undefined> {
  if (!text) return undefined;
  const { durationMs } = await import('../../contract/plan.ts');
  const parsed = durationMs(text);
  if (parsed !== null && parsed > 0) return parsed;
  const where = 'KAFKA_CUTOVER_BALANCE_AFTER';
  throw new CutoverError('USAGE', { what: 'not a duration', where, found: text, wanted: 'such as 90s or 10m' });
}
