import { Command } from 'commander';
import type { PreflightResult } from '../../activities/types.ts';
import type { Answering } from '../cli.ts';
import { exitCodes } from '../exit-codes.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import { table } from '../table.ts';
import { type Answer, type Paint, printable, type Terminal } from '../terminal.ts';
import { bytes, count } from '../units.ts';

export function planCommand(answering: Answering): Command {
  return new Command('plan')
    .description('check a plan against both clusters; changes nothing')
    .argument('<file>', 'the plan, YAML or JSON')
    .action(answering(plan));
}

async function plan(terminal: Terminal, file: string): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  const { runPreflight } = await import('../../activities/preflight.ts');
  const result = await runPreflight(plan, clusters);
  const blocked = result.blockers > 0;
  return {
    exitCode: blocked ? exitCodes.refused : exitCodes.done,
    json: { name: plan.name, ...result },
    text: [
      `${plan.name}: ${plan.source} to ${plan.target}`,
      `${count(result.topics)} topics, ${count(result.partitions)} partitions, ${count(result.groups)} groups, ${bytes(result.bytes)}`,
      `digest ${result.digest}`,
      ...findingLines(result.findings, terminal.paint()),
      '',
      blocked
        ? `${result.blockers} ${result.blockers === 1 ? 'blocker' : 'blockers'}: remedy or waive each one`
        : `no blockers; next: kafka-cutover start ${file}`,
    ].join('\n'),
  };
}

const order = { blocker: 0, warning: 1, info: 2 } as const;

/** Worst first; what to do stands below each one. */
function findingLines(findings: PreflightResult['findings'], paint: Paint): string[] {
  const sorted = [...findings].sort((a, b) => order[a.severity] - order[b.severity]);
  const rows = sorted.map(({ severity, code, where, message, waived }) => [
    paint(
      waived || severity === 'info' ? 'dim' : severity === 'blocker' ? 'red' : 'yellow',
      waived ? 'waived' : severity,
    ),
    code,
    printable(where),
    printable(message),
  ]);
  return table(rows).flatMap((line, index) => {
    const finding = sorted[index];
    if (!finding || finding.severity === 'info') return [line];
    const { waived, next } = finding;
    return [line, `    ${waived ? `waived by ${waived.by}: ${waived.reason}` : `next: ${next}`}`];
  });
}
