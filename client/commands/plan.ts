import { Command } from 'commander';
import type { PreflightResult } from '../../activities/types.ts';
import type { Answering } from '../cli.ts';
import { exitCodes } from '../exit-codes.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import { table } from '../table.ts';
import { type Answer, type Paint, printable, type Terminal } from '../terminal.ts';
import { bytes, count, duration } from '../units.ts';

export function planCommand(answering: Answering): Command {
  return new Command('plan')
    .description('check a plan against both clusters; changes nothing')
    .argument('<file>', 'the plan, YAML or JSON')
    .action(answering(plan));
}

async function plan(terminal: Terminal, file: string): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  const { runPreflight } = await import('../../activities/preflight.ts');
  const result = await withSteps(
    (line) => terminal.progress(line),
    (onStep) => runPreflight(plan, clusters, onStep),
  );
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
        ? `${count(result.blockers)} ${result.blockers === 1 ? 'blocker' : 'blockers'}: remedy or waive each one`
        : `no blockers; next: kafka-cutover start ${file}`,
    ].join('\n'),
  };
}

const saidEveryMs = 2_000;

/** Work that takes longer than two seconds says what it is at, and says so again. */
export async function withSteps<Result>(
  say: (line: string) => void,
  work: (onStep: (step: string) => void) => Promise<Result>,
): Promise<Result> {
  const beganAt = performance.now();
  let step = '';
  const timer = setInterval(() => {
    say(`${step} (${duration(performance.now() - beganAt)})`);
  }, saidEveryMs);
  try {
    return await work((next) => {
      step = next;
    });
  } finally {
    clearInterval(timer);
  }
}

type Finding = PreflightResult['findings'][number];

const order = { blocker: 0, warning: 1, info: 2 } as const;
/** Of one code, the rest is counted: `--json` has them all. */
const placesShownMax = 3;

/** Worst first; findings with the same code, remedy and waiver stand together, and what to do stands below them. */
export function findingLines(findings: PreflightResult['findings'], paint: Paint): string[] {
  const sorted = [...findings].sort((a, b) => order[a.severity] - order[b.severity]);
  const alike = [
    ...Map.groupBy(sorted, ({ code, next, waived }) => JSON.stringify([code, waived ?? next])).values(),
  ] as [Finding, ...Finding[]][];
  const rows = alike.map(([first, ...others]) => {
    const { severity, code, where, message, waived } = first;
    const style = waived || severity === 'info' ? 'dim' : severity === 'blocker' ? 'red' : 'yellow';
    const what = others.length === 0 ? [printable(where), printable(message)] : [`${count(others.length + 1)} places`];
    return [paint(style, waived ? 'waived' : severity), code, ...what];
  });
  return table(rows).flatMap((line, index) => {
    const [first, ...others] = alike[index] as [Finding, ...Finding[]];
    const { severity, waived, next } = first;
    const shown = others.length === 0 ? [] : [first, ...others].slice(0, placesShownMax);
    const rest = others.length + 1 - shown.length;
    return [
      line,
      ...shown.map(({ where, message }) => `    ${printable(where)}: ${printable(message)}`),
      ...(shown.length > 0 && rest > 0 ? [`    and ${count(rest)} more with --json`] : []),
      ...(severity === 'info' ? [] : [`    ${waived ? `waived by ${waived.by}: ${waived.reason}` : `next: ${next}`}`]),
    ];
  });
}
