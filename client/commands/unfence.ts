import { Command } from 'commander';
import { exitCodes } from '../exit-codes.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import type { Answering } from '../terminal.ts';
import { type Answer, printable, type Terminal } from '../terminal.ts';

export function unfenceCommand(answering: Answering): Command {
  return new Command('unfence')
    .description('lift the fence by hand when no worker or no Temporal is alive; refuses once opening was decided')
    .argument('<file>', 'the plan, YAML or JSON')
    .option('--wave <name>', 'the wave (default: every wave that is fenced)')
    .action(answering((terminal, file: string, { wave }: { wave?: string }) => unfence(terminal, file, wave)));
}

async function unfence(terminal: Terminal, file: string, wave?: string): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  const { runUnfence } = await import('../../activities/foreground-unfence.ts');
  const result = await runUnfence(plan, clusters, wave);
  return {
    exitCode: result.notUndone.length > 0 ? exitCodes.failed : exitCodes.done,
    json: { name: plan.name, ...result },
    text: [result.summary, ...result.notUndone.map((line) => `  not undone: ${line}`)]
      .map((l) => printable(l))
      .join('\n'),
  };
}
