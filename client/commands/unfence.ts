import { Command } from 'commander';
import type { UndoResult } from '../../activities/types.ts';
import type { Plan } from '../../contract/plan.ts';
import type { ClustersFile } from '../../kafka/clusters.ts';
import type { Answering } from '../cli.ts';
import { load, readPlanAndClusters } from '../engine.ts';
import { exitCodes } from '../exit-codes.ts';
import { type Answer, printable, type Terminal } from '../terminal.ts';

type UnfenceModule = { runUnfence(plan: Plan, clusters: ClustersFile): Promise<UndoResult> };

export function unfenceCommand(answering: Answering): Command {
  return new Command('unfence')
    .description('lift the fence by hand when no worker or no Temporal is alive; refuses once opening was decided')
    .argument('<file>', 'the plan, YAML or JSON')
    .action(answering(unfence));
}

async function unfence(terminal: Terminal, file: string): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  const { runUnfence } = await load<UnfenceModule>('../activities/foreground-unfence.ts', 'unfence');
  const result = await runUnfence(plan, clusters);
  return {
    exitCode: result.notUndone.length > 0 ? exitCodes.failed : exitCodes.done,
    json: { name: plan.name, ...result },
    text: [result.summary, ...result.notUndone.map((line) => `  not undone: ${line}`)]
      .map((l) => printable(l))
      .join('\n'),
  };
}
