/** The result file: every migration that was struck, on which build, and what the whole says. Runs add to it. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomically } from '../../stack/processes.ts';
import type { Path } from './cell.ts';
import { type Cell, cellsOf, type Points } from './cells.ts';
import { type FaultKind, faultKinds } from './points.ts';

export interface Struck {
  /** Names, in the order of the migration's legs. */
  readonly cells: readonly string[];
  readonly path: Path;
  readonly reached: readonly boolean[];
  /** How long each fault lasted, where it lasted. */
  readonly lastsMs: readonly number[];
  readonly maxHoldMs: number;
  readonly outcome: string;
  readonly waits: readonly string[];
  /** What is wrong, one line each. */
  readonly faults: readonly string[];
  readonly accepted: number;
  readonly refused: number;
  readonly unclear: number;
  readonly compared: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly seconds: number;
  /** The last commit that changed the product, all of which was committed. */
  readonly build: string;
  readonly seed: number;
  readonly date: string;
}

interface ResultFile {
  readonly points: Points | null;
  /** Build whose migrations passed those points. */
  readonly pointsOf: string | null;
  readonly migrations: readonly Struck[];
}

/** Of paths whose steps others have too. */
const titles: Partial<Record<Path, string>> = { reverse: ', on the way back', later: ', of groups that move later' };
const root = join(import.meta.dirname, '../..');
const product = ['activities', 'contract', 'kafka', 'migration', 'mirror', 'replicators', 'worker', 'workflows'];

/** Null when the product has changes that are not committed: what it does then nobody can look up. */
export function productBuild(): string | null {
  const git = (...args: readonly string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
  const paths = ['--', ...product, 'package-lock.json'];
  if (git('status', '--porcelain', ...paths) !== '') return null;
  return git('log', '-1', '--format=%h', ...paths);
}

export class Results {
  readonly #file: string | null;
  points: Points | null = null;
  pointsOf: string | null = null;
  readonly migrations: Struck[] = [];

  /** @param file where earlier results are, and where these are added; null keeps none */
  constructor(file: string | null) {
    this.#file = file;
    if (file === null || !existsSync(file)) return;
    const earlier = JSON.parse(readFileSync(file, 'utf8')) as ResultFile;
    this.points = earlier.points;
    this.pointsOf = earlier.pointsOf;
    this.migrations.push(...earlier.migrations);
  }

  /** Cells that need not be run again on this build, and those that need to be by themselves. */
  standing(build: string): { readonly done: ReadonlySet<string>; readonly alone: ReadonlySet<string> } {
    const done = new Set<string>();
    const alone = new Set<string>();
    for (const { cells, reached, faults } of this.migrations.filter((one) => one.build === build)) {
      cells.forEach((name, index) => {
        if (cells.length === 1 || (faults.length === 0 && reached[index])) done.add(name);
        else alone.add(name);
      });
    }
    return { done, alone };
  }

  add(struck: Struck): void {
    this.migrations.push(struck);
    this.write();
  }

  write(): void {
    if (this.#file === null) return;
    const { points, pointsOf, migrations } = this;
    const head = JSON.stringify({ ...this.summary(), pointsOf, points }, null, 1).slice(0, -2);
    const lines = migrations.map((one) => JSON.stringify(one)).join(',\n');
    writeFileAtomically(this.#file, `${head},\n "migrations": [\n${lines}\n]}\n`);
  }

  /** Each cell counts once, as it went last. */
  summary() {
    const all = this.points === null ? [] : cellsOf(this.points);
    const last = this.#last();
    const builds: Record<string, number> = {};
    for (const { build } of last.values()) builds[build] = (builds[build] ?? 0) + 1;
    const sum = (of: (one: Struck) => number) => this.migrations.reduce((total, one) => total + of(one), 0);
    const dates = this.migrations.map(({ date }) => date).sort();
    return {
      from: dates.at(0) ?? null,
      to: dates.at(-1) ?? null,
      cellsInAll: all.length,
      cells: last.size,
      cellsByBuild: builds,
      byFault: Object.fromEntries(faultKinds.map((kind) => [kind, this.#row(kind, all, last)])),
      migrationsInAll: this.migrations.length,
      accepted: sum(({ accepted }) => accepted),
      refused: sum(({ refused }) => refused),
      compared: sum(({ compared }) => compared),
      lost: sum(({ lost }) => lost),
      duplicated: sum(({ duplicated }) => duplicated),
      reordered: sum(({ reordered }) => reordered),
      notReached: [...last].filter(([name, one]) => !one.reached[one.cells.indexOf(name)]).map(([name]) => name),
      wrong: this.migrations.filter(({ faults }) => faults.length > 0).map(({ cells }) => cells.join(' + ')),
    };
  }

  /** For docs/crash-matrix.md: how each fault went, then cells that were run of all that there are, of every step and fault. */
  tables(): string {
    const { byFault } = this.summary();
    const faults = Object.entries(byFault).map(
      ([kind, { of, cells, reached, waited, wrong }]) =>
        `| \`${kind}\` | ${cells} of ${of} | ${reached} | ${waited} | ${wrong} |`,
    );
    const head = '| fault | cells | point reached | waited for people, with a code | wrong |\n|---|---|---|---|---|';
    return [head, ...faults, '', this.#steps()].join('\n');
  }

  #steps(): string {
    const all = this.points === null ? [] : cellsOf(this.points);
    const last = this.#last();
    const rows = new Map<string, Map<FaultKind, { run: number; all: number }>>();
    for (const { name, path, step, kind } of all) {
      const title = step.replace(/ (forward|reverse)$/, '') + (titles[path] ?? '');
      const row = rows.get(title) ?? new Map();
      rows.set(title, row);
      const place = row.get(kind) ?? { run: 0, all: 0 };
      row.set(kind, { run: place.run + (last.has(name) ? 1 : 0), all: place.all + 1 });
    }
    const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
    return [
      line(['', ...faultKinds.map((kind) => `\`${kind}\``)]),
      `|${'---|'.repeat(faultKinds.length + 1)}`,
      ...[...rows].map(([title, row]) =>
        line([title, ...faultKinds.map((kind) => `${row.get(kind)?.run ?? 0} of ${row.get(kind)?.all ?? 0}`)]),
      ),
    ].join('\n');
  }

  #last(): ReadonlyMap<string, Struck> {
    return new Map(this.migrations.flatMap((one) => one.cells.map((name) => [name, one] as const)));
  }

  #row(kind: FaultKind, all: readonly Cell[], last: ReadonlyMap<string, Struck>) {
    const known = [...last].filter(([name]) => name.endsWith(`: ${kind}`));
    const count = (of: (one: Struck, name: string) => boolean) => known.filter(([name, one]) => of(one, name)).length;
    return {
      of: all.filter((one) => one.kind === kind).length,
      cells: known.length,
      reached: count((one, name) => one.reached[one.cells.indexOf(name)] === true),
      waited: count(({ waits }) => waits.length > 0),
      wrong: count(({ faults }) => faults.length > 0),
    };
  }
}
