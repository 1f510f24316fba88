import { Command } from 'commander';
import type { Choice } from '../../replicators/advice.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import { table } from '../table.ts';
import type { Answering } from '../terminal.ts';
import { type Answer, type Paint, printable, type Terminal } from '../terminal.ts';
import { withSteps } from './plan.ts';

export function adviseCommand(answering: Answering): Command {
  return new Command('advise')
    .description('say which replicator suits a plan, and what each keeps and risks here; changes nothing')
    .argument('<file>', 'the plan, YAML or JSON')
    .action(answering(advise));
}

const marks = { fits: 'fits', costs: 'at a price', no: 'not here' } as const;

async function advise(terminal: Terminal, file: string): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  const { runAdvise } = await import('../../activities/foreground-advise.ts');
  const advice = await withSteps(
    (line) => terminal.progress(line),
    (onStep) => runAdvise(plan, clusters, onStep),
  );
  const paint = terminal.paint();
  const { recommended, choices, reasons } = advice;
  const next = advice.next.map((line) => line.replace('FILE', file));
  const { rpo, rto } = recommended.facts;
  const suits = recommended.verdict !== 'no';
  const text = [
    `${plan.name}: ${plan.source} to ${plan.target}`,
    '',
    ...table(choices.map(({ kind, verdict, because }) => [kind, marks[verdict], printable(because[0] ?? '')])),
    ...choices.filter(({ verdict }) => verdict !== 'no').flatMap((choice) => described(choice, paint)),
    '',
    ...(suits
      ? [`recommended: replicator: { kind: ${recommended.kind} }`, `  RPO: ${rpo}`, `  RTO: ${rto}`]
      : ['no recommendation']),
    ...reasons.map((line) => `  - ${printable(line)}`),
    'next:',
    ...next.map((line) => `  ${printable(line)}`),
  ];
  return {
    json: {
      name: plan.name,
      recommended: suits ? recommended.kind : null,
      reasons,
      ...(suits && { rpo, rto }),
      next,
      replicators: choices.map(({ kind, verdict, because, facts, capabilities }) => ({
        kind,
        verdict,
        because,
        ...capabilities,
        ...facts,
      })),
    },
    text: text.join('\n'),
  };
}

/** One that could be used here; of the others `--json` has the facts. */
function described({ facts, verdict, because }: Choice, paint: Paint): string[] {
  const dim = (name: string, value: string) => `    ${paint('dim', `${name}:`)} ${printable(value)}`;
  return [
    '',
    `${facts.title} - ${marks[verdict]}`,
    ...because.map((line) => `    ${printable(line)}`),
    ...facts.keeps.map((line) => dim('keeps', line)),
    ...facts.risks.map((line) => dim('risks', line)),
    dim('who runs it', facts.runs),
    dim('scales', facts.scales),
    dim('upgrades', facts.upgrades),
    dim('debugs', facts.debugs),
    dim('RPO', facts.rpo),
    dim('RTO', facts.rto),
    dim('limits', facts.limits.join('; ')),
    dim('tried', facts.triedHow),
  ];
}
