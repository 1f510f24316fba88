import { Command } from 'commander';
import type { PreflightResult } from '../../activities/types.ts';
import type { Outline } from '../../migration/outline.ts';
import { exitCodes } from '../exit-codes.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import { table } from '../table.ts';
import type { Answering } from '../terminal.ts';
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
      `${many(result.topics, 'topic')}, ${many(result.partitions, 'partition')}, ${many(result.groups, 'group')}, ${bytes(result.bytes)}`,
      `digest ${result.digest}`,
      '',
      ...outlineLines(result.changes, plan, terminal.paint()),
      '',
      ...findingLines(result.findings, terminal.paint()),
      '',
      blocked
        ? `${count(result.blockers)} ${result.blockers === 1 ? 'blocker' : 'blockers'}: remedy or waive each one`
        : `no blockers; next: kafka-cutover start ${file}`,
    ].join('\n'),
  };
}

/** More topics than this are counted: `--json` has them all. */
const topicsShownMax = 20;

/** The target beside the source: `+` will be created, `~` is there and will be changed, `=` is there and stays as it is. */
export function outlineLines(
  { topics, rules, quotas }: Outline,
  names: { readonly source: string; readonly target: string },
  paint: Paint,
): string[] {
  if (topics.length === 0) return [];
  const rows = topics
    .slice(0, topicsShownMax)
    .flatMap(({ topic, what, partitions, replicationFactor, settings, leftOut }) => {
      const changed = settings.filter(({ now, final }) => now !== final);
      const mark = what === 'create' ? '+' : changed.length > 0 ? '~' : '=';
      const size = (replicas: number) => `${many(partitions, 'partition')}, ${many(replicas, 'replica')}`;
      const done = what === 'create' ? 'created: ' : '';
      const style = mark === '+' ? 'green' : mark === '~' ? 'yellow' : 'dim';
      return [
        [
          paint(style, `${mark} ${printable(topic)}`),
          size(replicationFactor.source),
          `${done}${size(replicationFactor.target)}`,
        ],
        ...settings.map(({ name, source, now, final }) => [
          `    ${name}`,
          said(source),
          leftOut.includes(name)
            ? `${said(final)} (not carried)`
            : now !== final && what === 'use'
              ? `${said(now)} -> ${said(final)}`
              : said(final),
        ]),
      ];
    });
  const rest = topics.length - topicsShownMax;
  const toAdd = ({ wanted, there }: { wanted: number; there: number }, what: string) =>
    `${wanted - there > 0 ? paint('green', `+ ${many(wanted - there, what)}`) : `= no ${what}`} to add on ${names.target}${there > 0 ? `, ${there} there already` : ''}`;
  return [
    ...table([['', names.source, names.target].map((head) => paint('bold', head)), ...rows]),
    ...(rest > 0 ? [paint('dim', `  ${count(rest)} more topics with --json`)] : []),
    toAdd(rules, 'access rule'),
    toAdd(quotas, 'quota'),
  ];
}

const many = (number: number, what: string) => `${count(number)} ${what}${number === 1 ? '' : 's'}`;
const said = (value: string | null) => (value === null ? 'inherited' : printable(value));

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
