/**
 * Writes docs/benchmarks.md from bench/results/: `node bench/report.ts`. test/bench/report.test.ts holds the two together.
 */
import { writeFileSync } from 'node:fs';
import { type RowResult, readResults } from './result.ts';
import type { Figure, Row, Sample } from './row.ts';
import { rows } from './rows.ts';
import { column, figure } from './statistics.ts';

/** Load average before the bench itself did anything: above it, somebody else was at work. */
const foreignLoadMax = 1;

const documentFile = new URL('../docs/benchmarks.md', import.meta.url);

export function writeBenchmarks(): void {
  writeFileSync(documentFile, renderBenchmarks(readResults()));
}

/** @throws Error when a result belongs to no row */
export function renderBenchmarks(results: readonly RowResult[]): string {
  const byRow = new Map(results.map((result) => [result.row, result]));
  for (const name of byRow.keys()) {
    if (!rows.some((row) => row.name === name)) throw new Error(`bench/results/${name}.json belongs to no row`);
  }
  const lines = [
    '# Benchmarks',
    '',
    'What the exact replicator does, measured by `npm run bench` on brokers that it starts itself: everything (both clusters, the mirror, what',
    'it is compared with) shares one machine, so ratios within a row count and absolute figures do not travel. What two',
    'are compared in runs about, ours, theirs, ours, ..., over the same log; figures are medians, with the least and the most of',
    'the single runs in brackets. Seconds and CPU count from the first record on the target, start-up is stated beside',
    'it; CPU time is user and system of the mirroring process, JVM and all.',
    '',
    'Generated from `bench/results/` by `node bench/report.ts`; do not edit by hand.',
    '',
    '| work | aim | reached | |',
    '|---|---|---|---|',
    ...rows.flatMap((row) => summaryLines(row, byRow.get(row.name))),
    '',
    ...rows.flatMap((row) => {
      const result = byRow.get(row.name);
      return result ? chapter(row, result) : [];
    }),
  ];
  return `${lines.join('\n').trimEnd()}\n`;
}

/** For the terminal. */
export function aimLines(row: Row, result: RowResult): string[] {
  return row.aims.map((aim) => {
    const reached = aim.reached(result);
    return `${met(aim, reached) ? 'met' : 'MISSED'}: ${format(reached)} ${aim.what} (${aimed(aim)})`;
  });
}

function summaryLines(row: Row, result: RowResult | undefined): string[] {
  return row.aims.map((aim) => {
    const cells = [`[${row.name}](#${row.name}): ${row.work}`, `${aimed(aim)} ${aim.what}`];
    if (!result)
      return `| ${[cells[0]?.replace(/\[(.*)\]\(.*?\)/, '$1'), cells[1], 'not measured yet', ''].join(' | ')} |`;
    const reached = aim.reached(result);
    const verdict = met(aim, reached) ? 'met' : '**missed**';
    return `| ${[...cells, format(reached), result.scale === 1 ? verdict : 'a quick look'].join(' | ')} |`;
  });
}

function chapter(row: Row, result: RowResult): string[] {
  const { machine } = result;
  const replicas =
    machine.targetReplicas === 1
      ? 'replication factor 1'
      : `replication factor ${machine.targetReplicas} on the target`;
  const conditions = [
    `${machine.cores} cores (${machine.processor}), ${machine.memoryGB} GB; Node ${machine.node}; Kafka ${machine.kafkaSource} to ${machine.kafkaTarget}, ${replicas}, brokers with 512 MB of heap`,
    `revision ${machine.revision}; load average ${machine.loadAtStart} before the bench began, ${machine.loadDuring} in the row's last minute`,
    ...(machine.loadAtStart > foreignLoadMax
      ? [
          '**provisional**: the machine was at other work too; ratios of runs side by side say something, figures do not',
        ]
      : []),
    ...(result.scale === 1 ? [] : [`scale ${result.scale}: a quick look, not the whole work`]),
    ...Object.entries(result.conditions).map(([name, text]) => `${name}: ${text}`),
  ];
  return [
    `## ${row.name}`,
    '',
    `${row.work}. Measured ${result.measuredAt.slice(0, 16).replace('T', ' ')} UTC, ${result.ours.length === 1 ? 'one run' : `${result.ours.length} runs`}.`,
    '',
    ...figuresTable(row, result),
    '',
    ...conditions.map((line) => `- ${line}`),
    '',
    ...(row.profile ?? []).flatMap((paragraph) => [paragraph, '']),
  ];
}

function figuresTable(row: Row, { ours, peer }: RowResult): string[] {
  const has = (samples: readonly Sample[], name: string) => samples.length > 0 && samples.every((s) => name in s);
  const cellOf = (samples: readonly Sample[], name: string) =>
    has(samples, name) ? format(figure(column(samples, name))) : '';
  const shown = row.shown.filter((name) => has(ours, name) || has(peer, name));
  const head = row.peer ? ['', 'ours', row.peer] : ['', 'ours'];
  return [
    `| ${head.join(' | ')} |`,
    `|${head.map(() => '---|').join('')}`,
    ...shown.map((name) => {
      const cells = [unitsIn(name), cellOf(ours, name), ...(row.peer ? [cellOf(peer, name)] : [])];
      return `| ${cells.join(' | ')} |`;
    }),
  ];
}

/** `copyCpuSeconds` as people say it. */
function unitsIn(name: string): string {
  return name
    .replace(/MBps$/, ' MB/s')
    .replace(/RecordsPerSecond$|recordsPerSecond$/, ' records/s')
    .replace(/Seconds$/, ' s')
    .replace(/Ms$/, ' ms')
    .replace(/MB$/, ' MB')
    .replace(/Percent$/, ' %')
    .replace(/([a-z])([A-Z])/g, (_, before: string, after: string) => `${before} ${after.toLowerCase()}`)
    .replace(/\bcpu\b/g, 'CPU')
    .replace(/\brss\b/g, 'RSS')
    .trim();
}

function met(aim: { wanted: number; better: 'more' | 'less' }, { value }: Figure): boolean {
  return aim.better === 'more' ? value >= aim.wanted : value <= aim.wanted;
}

const aimed = (aim: { wanted: number; better: 'more' | 'less' }) =>
  `${aim.better === 'more' ? 'at least' : 'at most'} ${aim.wanted}`;

function format({ value, least, most }: Figure): string {
  return least === most ? number(value) : `${number(value)} (${number(least)} to ${number(most)})`;
}

function number(value: number): string {
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString('en');
  return String(Number(value.toPrecision(3)));
}

if (import.meta.main) writeBenchmarks();
