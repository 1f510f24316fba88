import { Command } from 'commander';
import type { ShardProgress } from '../../activities/types.ts';
import type { Answering } from '../cli.ts';
import { exitCodes } from '../exit-codes.ts';
import { interruptible } from '../interrupt.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import type { Answer, Terminal } from '../terminal.ts';
import { bytes, count } from '../units.ts';

export function mirrorCommand(answering: Answering): Command {
  return new Command('mirror')
    .description("run the exact replicator for a plan's topics in the foreground")
    .argument('<file>', 'the plan, YAML or JSON')
    .option('--until-caught-up', 'end when the target has what the source had at the start')
    .action(answering(mirror));
}

async function mirror(terminal: Terminal, file: string, options: { untilCaughtUp?: true }): Promise<Answer> {
  const startedAt = performance.now();
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  const { runForegroundMirror } = await import('../../activities/foreground-mirror.ts');
  const untilCaughtUp = options.untilCaughtUp === true;
  const { ForegroundProgress } = await import('../foreground.ts');
  using interrupt = interruptible();
  using progress = new ForegroundProgress(terminal, 'mirrored');
  const { signal } = interrupt;
  const onProgress = (now: ShardProgress) => progress.update(now);
  const moved = await runForegroundMirror(plan, clusters, { untilCaughtUp, signal, onProgress }).catch((error) => {
    if (signal.aborted) return progress.totals; // stopped by the user, not by a failure
    throw error;
  });
  const { user, system } = process.cpuUsage();
  const seconds = (performance.now() - startedAt) / 1_000;
  const cpuSeconds = (user + system) / 1e6;
  const { records, bytes: size } = moved;
  const cutShort = untilCaughtUp && signal.aborted;
  return {
    exitCode: cutShort ? exitCodes.failed : exitCodes.done,
    json: { records, bytes: size, seconds, cpuSeconds, ...(cutShort && { interrupted: true }) },
    text: `${cutShort ? 'interrupted: ' : ''}${count(records)} records, ${bytes(size)} in ${seconds.toFixed(1)} s, ${cpuSeconds.toFixed(1)} s of CPU`,
  };
}
