/**
 * Shows of each check that it is needed: a migration is struck, or meddled with, twice. As the product is, all is well, or it waits and says
 * why; with the check's lines left out of a copy of the sources, what the check is there for must be seen.
 *
 *   npm run test:crash:guards [-- --only TEXT] [-- --out FILE] [-- --stop-file FILE] [-- --table]
 *
 * `--out` keeps what was seen; what stands there already of this build, and was right, is not run again. `--stop-file` ends it once that file is there.
 * `--table` prints what was seen for docs/crash-matrix.md and runs nothing.
 */
import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { startStack } from '../../stack/stack.ts';
import { type CellResult, runCell } from './cell.ts';
import { type Edit, type Guard, guards, partsAround } from './guard-list.ts';
import { applicationListener, Lane, laneUsers } from './lane.ts';
import type { Fault } from './points.ts';
import { productBuild } from './results.ts';

const root = join(import.meta.dirname, '../..');
const everyMs = 10;
const maxHoldMs = 15_000;
const freezeMaxHoldMs = 10_000;
/** What is left out may keep a migration from ever ending. */
const brokenTimeoutMs = 180_000;
/** Of what was wrong. */
const linesShown = 4;
const tableChars = 240;

interface Shown {
  readonly guard: string;
  /** Files whose lines were left out. */
  readonly leftOut: readonly string[];
  readonly struckBy: string;
  /** Null where nothing happens but a migration: the matrix begins with those. */
  readonly withIt: string | null;
  readonly withoutIt: string;
  /** What is not as it has to be, one line each. */
  readonly problems: readonly string[];
  readonly build: string;
  readonly date: string;
}

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    out: { type: 'string' },
    table: { type: 'boolean', default: false },
    'stop-file': { type: 'string' },
  },
});
const out = options.out ? resolve(options.out) : null;
const known = new Map<string, Shown>(
  (out && existsSync(out) ? (JSON.parse(readFileSync(out, 'utf8')) as Shown[]) : []).map((one) => [one.guard, one]),
);
if (options.table) process.stdout.write(`${table()}\n`);
else await showAll();

async function showAll(): Promise<void> {
  const build = productBuild();
  if (out && build === null) throw new Error('the product has changes that are not committed');
  for (const edit of guards.flatMap(({ leftOut, spoilt = [] }) => [...leftOut, ...spoilt])) partsAround(root, edit);
  process.env.KAFKA_CUTOVER_STACK_JAVA_OPTIONS ??= '-XX:TieredStopAtLevel=1';
  await using cleanup = new AsyncDisposableStack();
  const dir = mkdtempSync(join(tmpdir(), 'kafka-cutover-guards-'));
  cleanup.defer(() => rmSync(dir, { recursive: true, force: true }));
  process.env.NODE_COMPILE_CACHE = join(dir, 'compiled');
  const chosen = guards.filter(({ name }) => {
    const seen = known.get(name);
    return name.includes(options.only) && !(seen?.build === build && seen.problems.length === 0);
  });
  const users = chosen.flatMap((_, index) => [`with-${index}`, `without-${index}`]);
  const superUsers = { 'super.users': ['broker', 'cutover', ...users].map((user) => `User:${user}`).join(';') };
  const applicationPassword = randomBytes(18).toString('hex');
  const stack = cleanup.use(
    await startStack({
      dir: join(dir, 'stack'),
      users: users.flatMap((user) => Object.values(laneUsers(user))),
      brokerConfig: { source: superUsers, target: superUsers },
      listeners: applicationListener(applicationPassword),
    }),
  );
  const strike = async (name: string, guard: Guard, edits: readonly Edit[], timeoutMs?: number) => {
    const tree = edits.length > 0 ? copyWith(join(dir, name), edits) : root;
    await using lane = await Lane.open(stack, { name, principal: name, applicationPassword, tree });
    const { strike: at, meddle, path, restMs } = guard;
    const faults: Fault[] = at ? [{ occurrence: 1, lastsMs: 0, ...at }] : [];
    const hold = at?.kind === 'freeze' ? freezeMaxHoldMs : maxHoldMs;
    return await runCell(lane, {
      name: `${name}-${path}`,
      path,
      faults,
      everyMs,
      maxHoldMs: hold,
      ...(timeoutMs && { timeoutMs }),
      ...(meddle && { meddle }),
      ...(restMs && { restMs }),
    });
  };
  let problems = 0;
  for (const [index, guard] of chosen.entries()) {
    if (options['stop-file'] && existsSync(options['stop-file'])) break;
    const spoilt = guard.spoilt ?? [];
    const needed = guard.strike !== undefined || spoilt.length > 0;
    const before = needed
      ? await strike(`with-${index}`, guard, spoilt, spoilt.length > 0 ? brokenTimeoutMs : 0)
      : null;
    const after = await strike(`without-${index}`, guard, [...spoilt, ...guard.leftOut], brokenTimeoutMs);
    const shown: Shown = {
      guard: guard.name,
      leftOut: [...new Set(guard.leftOut.map(({ file }) => file))],
      struckBy: guard.strike ? `${guard.path}: ${guard.strike.point}: ${guard.strike.kind}` : guard.path,
      withIt: before && toldOf(before),
      withoutIt: toldOf(after),
      problems: [...(before ? problemsWith(guard, before) : []), ...problemsWithout(guard, after)],
      build: build ?? 'with changes',
      date: new Date().toISOString(),
    };
    problems += shown.problems.length;
    known.set(guard.name, shown);
    process.stderr.write(`${JSON.stringify(shown, null, 1)}\n`);
    if (shown.problems.length > 0) process.stderr.write(`${[...(before?.faults ?? []), ...after.faults].join('\n')}\n`);
    if (out) writeFileSync(out, `${JSON.stringify([...known.values()], null, 1)}\n`);
  }
  process.exitCode = problems === 0 ? 0 : 1;
}

function copyWith(tree: string, edits: readonly Edit[]): string {
  const left = new Set(['.git', 'node_modules', 'dist']);
  cpSync(root, tree, { recursive: true, filter: (path) => !left.has(path.slice(root.length + 1)) });
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
  for (const { file, text, instead = '' } of edits) {
    writeFileSync(join(tree, file), partsAround(tree, { file, text }).join(instead));
  }
  return tree;
}

function problemsWith({ says = [], spoilt, strike }: Guard, result: CellResult): string[] {
  const problems: string[] = [];
  if (strike && !result.reached[0]) problems.push('with it: the point was not reached');
  const waited = result.waits.filter((code) => !says.includes(code));
  if (waited.length > 0) problems.push(`with it: it waited with ${waited.join(', ')}`);
  if (spoilt && result.outcome !== 'stuck') problems.push(`with it: ${result.outcome}`);
  if (!spoilt && result.faults.length > 0) problems.push(`with it: ${result.faults.join('; ')}`);
  return problems;
}

function problemsWithout({ seen, strike }: Guard, result: CellResult): string[] {
  const problems: string[] = [];
  if (strike && !result.reached[0]) problems.push('without it: the point was not reached');
  if (!seen.test(toldOf(result))) problems.push(`without it: nothing like ${seen} was seen`);
  return problems;
}

/** In one line. */
function toldOf({ outcome, waits, faults }: CellResult): string {
  const codes = [...new Set(waits)].join(', ');
  // What comes first and what comes last say most.
  const shown = faults.length <= linesShown ? faults : [...faults.slice(0, linesShown - 1), ...faults.slice(-1)];
  const lines = shown.map((line) => (line.split('\n')[0] ?? '').slice(0, 200));
  return [outcome, ...(codes ? [`waited: ${codes}`] : []), ...lines].join('; ');
}

function table(): string {
  const cut = (line: string) => line.slice(0, tableChars);
  const rows = [...known.values()].map(
    ({ guard, struckBy, withIt, withoutIt, problems }) =>
      `| ${guard} | \`${struckBy}\` | ${cut(withIt ?? 'as every undisturbed run')} | ${problems.length > 0 ? '**not shown**: ' : ''}${cut(withoutIt)} |`,
  );
  return ['| check | struck by | with it | without it |', '|---|---|---|---|', ...rows].join('\n');
}
