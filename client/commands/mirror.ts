import { Command, Option } from 'commander';
import type { ShardProgress } from '../../activities/types.ts';
import { CutoverError } from '../../contract/errors.ts';
import { workflowId } from '../../contract/status.ts';
import { exitCodes } from '../exit-codes.ts';
import { interruptible } from '../interrupt.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import type { Answering } from '../terminal.ts';
import { type Answer, printable, type Terminal } from '../terminal.ts';
import { bytes, count } from '../units.ts';

export function mirrorCommand(answering: Answering): Command {
  return new Command('mirror')
    .description("run the exact replicator for a plan's topics in the foreground")
    .argument('<file>', 'the plan, YAML or JSON')
    .option('--until-caught-up', 'end when the target has what the source had at the start')
    .addOption(
      new Option('--end', 'carry nothing: put back what the mirror changed on both clusters').conflicts(
        'untilCaughtUp',
      ),
    )
    .option('--wave <name>', 'the wave, where the plan has several')
    .option('--remove-target', 'with --end: also delete the topics that we created and nobody else wrote to')
    .action(
      answering((terminal, file: string, options: MirrorOptions) => {
        if (options.end) return end(terminal, file, options);
        if (options.removeTarget) throw new CutoverError('USAGE', { what: '--remove-target goes with --end' });
        return mirror(terminal, file, options);
      }),
    );
}

interface MirrorOptions {
  readonly untilCaughtUp?: true;
  readonly end?: true;
  readonly removeTarget?: true;
  readonly wave?: string;
}

async function mirror(terminal: Terminal, file: string, options: MirrorOptions): Promise<Answer> {
  const startedAt = performance.now();
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  const { runForegroundMirror } = await import('../../activities/foreground-mirror.ts');
  const untilCaughtUp = options.untilCaughtUp === true;
  const { ForegroundProgress } = await import('../foreground.ts');
  using interrupt = interruptible();
  using progress = new ForegroundProgress(terminal, 'mirrored');
  const { signal } = interrupt;
  const onProgress = (now: ShardProgress) => progress.update(now);
  const moved = await runForegroundMirror(plan, clusters, {
    wave: options.wave,
    untilCaughtUp,
    signal,
    onProgress,
  }).catch((error) => {
    if (signal.aborted) return progress.totals; // stopped by the user, not by a failure
    throw error;
  });
  const { user, system } = process.cpuUsage();
  const seconds = (performance.now() - startedAt) / 1_000;
  const cpuSeconds = (user + system) / 1e6;
  const { records, bytes: size } = moved;
  const cutShort = untilCaughtUp && signal.aborted;
  terminal.progress(
    `The target stays prepared and closed to applications. \`kafka-cutover mirror ${printable(file)}\` goes on; with --end it puts back what was changed.`,
  );
  return {
    exitCode: cutShort ? exitCodes.failed : exitCodes.done,
    json: { records, bytes: size, seconds, cpuSeconds, ...(cutShort && { interrupted: true }) },
    text: `${cutShort ? 'interrupted: ' : ''}${count(records)} records, ${bytes(size)} in ${seconds.toFixed(1)} s, ${cpuSeconds.toFixed(1)} s of CPU`,
  };
}

async function end(terminal: Terminal, file: string, options: MirrorOptions): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  await refuseRunning(terminal, plan.name);
  const { endForegroundMirror } = await import('../../activities/foreground-end.ts');
  const result = await endForegroundMirror(plan, clusters, {
    removeTarget: options.removeTarget === true,
    wave: options.wave,
  });
  const lines = [
    ...result.changes.map((line) => `  ${line}`),
    ...result.notUndone.map((line) => `  not undone: ${line}`),
  ];
  return {
    exitCode: result.notUndone.length > 0 ? exitCodes.failed : exitCodes.done,
    json: { name: plan.name, ...result },
    text: [result.summary, ...lines].map((line) => printable(line)).join('\n'),
  };
}

/**
 * The workflow of the same plan relies on what would be put back. Asked only where the environment says where Temporal is: this command works
 * without it, also where it is down.
 *
 * @throws CutoverError ALREADY_RUNNING
 */
async function refuseRunning(terminal: Terminal, name: string): Promise<void> {
  if (!terminal.env.TEMPORAL_ADDRESS && !terminal.env.TEMPORAL_PROFILE) return;
  if (!(await isRunning(terminal, name))) return;
  throw new CutoverError('ALREADY_RUNNING', {
    what: 'the migration of this plan is running',
    where: `workflow ${workflowId(name)}`,
    next: 'Use `kafka-cutover abort`: it undoes the same, and more.',
  });
}

async function isRunning(terminal: Terminal, name: string): Promise<boolean> {
  const { CutoverClient } = await import('../cutover-client.ts');
  try {
    await using client = await CutoverClient.connect(terminal.env);
    return (await client.observe(name)).ending === null;
  } catch (error) {
    if (!(error instanceof CutoverError)) throw error;
    if (error.code === 'MIGRATION_NOT_FOUND') return false;
    if (error.code !== 'TEMPORAL_UNREACHABLE') throw error;
    terminal.progress(`Whether a migration of this plan is running was not found out: ${printable(error.message)}`);
    return false;
  }
}
