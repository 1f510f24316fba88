/**
 * The crash matrix: whole migrations, there, there and back, and given up within the fence, each struck by one fault at one point. First one
 * migration of each path notes the points that it passes; the cells are those points times the faults.
 *
 *   npm run test:crash [-- --cells 100] [-- --minutes 15] [-- --seed N] [-- --only TEXT] [-- --faults kill,cut] [-- --lanes 3] [-- --list] [-- --out FILE]
 *   npm run test:crash -- --cell 'forward: closeWrites forward create-acls@legacy sent: kill'
 *
 * Without `--cells` and `--minutes` it runs all of them, in an order that the seed decides. `--only` takes cells whose name holds the text,
 * `--list` shows the names and runs nothing else, `--cell`
 * (as often as you like) runs those alone and notes no points first. Prints progress to stderr and one JSON object to stdout; `--out` gets the result with every
 * cell. Exits 0 when no cell shows anything that may not be and every history replays.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Runtime, Worker } from '@temporalio/worker';
import { pino } from 'pino';
import { startStack } from '../../stack/stack.ts';
import { bundleWorkflows } from '../../worker/bundle.ts';
import { temporalLogger } from '../../worker/logging.ts';
import { noTraces } from '../../worker/traces.ts';
import { randomFrom, seedOf } from '../e2e/support/random.ts';
import { type CellResult, type Path, paths, runCell } from './cell.ts';
import { Lane, laneUsers } from './lane.ts';
import { type Fault, type FaultKind, faultKinds, sharedFaults } from './points.ts';

const maxHoldMs = 15_000;
/** Endless activities pass a point again and again; once is enough. */
const endless = /^(mirror|audit|followGroups|watchFence|balanceShards) /;

/** What only looks is read again, whoever dies. */
const looks = /^(parsePlan|preflight|takeDigest|drainLag|rollbackCost|writeEvidence) /;

interface Cell {
  readonly name: string;
  readonly path: Path;
  readonly fault: Fault;
}

const { values: options } = parseArgs({
  options: {
    cells: { type: 'string' },
    minutes: { type: 'string' },
    seed: { type: 'string' },
    only: { type: 'string', default: '' },
    cell: { type: 'string', multiple: true, default: [] },
    faults: { type: 'string', default: faultKinds.join(',') },
    lanes: { type: 'string', default: '3' },
    every: { type: 'string', default: '10' },
    list: { type: 'boolean', default: false },
    out: { type: 'string' },
  },
});
const seed = seedOf(options.seed);
const random = randomFrom(seed);
const everyMs = Number(options.every);
const began = performance.now();
const say = (line: string) =>
  process.stderr.write(`${((performance.now() - began) / 1000).toFixed(0).padStart(5)} s  ${line}\n`);

process.env.KAFKA_CUTOVER_STACK_JAVA_OPTIONS ??= '-XX:TieredStopAtLevel=1';
await using cleanup = new AsyncDisposableStack();
const dir = mkdtempSync(join(tmpdir(), 'kafka-cutover-crash-'));
cleanup.defer(() => rmSync(dir, { recursive: true, force: true }));
process.env.NODE_COMPILE_CACHE = join(dir, 'compiled');
const log = pino({ level: 'silent' });
const bundle = join(dir, 'workflow-bundle.js');
writeFileSync(bundle, (await bundleWorkflows(log)).code);
process.env.KAFKA_CUTOVER_WORKFLOW_BUNDLE = bundle;

const laneNames = Array.from({ length: Number(options.lanes) }, (_, index) => `lane-${index + 1}`);
const superUsers = { 'super.users': ['broker', 'cutover', ...laneNames].map((user) => `User:${user}`).join(';') };
const stack = cleanup.use(
  await startStack({
    dir: join(dir, 'stack'),
    users: laneNames.flatMap((name) => Object.values(laneUsers(name))),
    brokerConfig: { source: superUsers, target: superUsers },
    onProgress: say,
  }),
);
const lanes: Lane[] = [];
for (const name of laneNames) lanes.push(cleanup.use(await Lane.open(stack, { name, principal: name })));
const [first] = lanes as [Lane];
say(`seed ${seed}; the stack and ${lanes.length} lanes are ready`);

const recorded: { path: Path; result: CellResult }[] = [];
for (const path of options.cell.length > 0 ? [] : paths) {
  const result = await runCell(first, { name: `record-${path}`, path, faults: [], everyMs, maxHoldMs });
  if (result.faults.length > 0) throw new Error(`${path}, undisturbed: ${result.faults.join('; ')}`);
  say(`${path}: ${result.points.length} points, ${result.seconds} s, ${result.accepted} records`);
  recorded.push({ path, result });
}
const all =
  options.cell.length > 0
    ? options.cell.map(cellNamed)
    : recorded.flatMap(({ path, result }) => cellsOf(path, result.points));
const chosen = sample(all.filter(({ name }) => name.includes(options.only)));
say(`${chosen.length} of ${all.length} cells`);
if (options.list) {
  for (const { name } of chosen) process.stdout.write(`${name}\n`);
} else {
  await runAll();
}

async function runAll(): Promise<void> {
  const deadline = options.minutes ? began + Number(options.minutes) * 60_000 : Number.POSITIVE_INFINITY;
  const results: (Omit<CellResult, 'points' | 'history'> & { readonly cell: string })[] = [];
  const histories = recorded.map(({ result }) => result.history);
  const write = (notReplayed: readonly string[] | null) => {
    const summary = summaryOf(results, notReplayed);
    if (options.out) {
      writeFileSync(resolve(options.out), `${JSON.stringify({ ...summary, points: pointsOf(), results }, null, 1)}\n`);
    }
    return summary;
  };
  const run = async (lane: Lane, { name, path, fault }: Cell, number: number) => {
    try {
      const result = await runCell(lane, { name: `${lane.name}-${number}`, path, faults: [fault], everyMs, maxHoldMs });
      const { points: _, history, ...kept } = result;
      histories.push(history);
      results.push({ cell: name, ...kept });
      const wrong = result.faults.length > 0 ? `: ${result.faults.join('; ')}` : '';
      const waited = result.waits.length > 0 ? `, waited: ${result.waits.join(', ')}` : '';
      const missed = result.reached[0] ? '' : ', NOT REACHED';
      say(`${results.length}. ${name}: ${result.outcome} in ${result.seconds} s${waited}${missed}${wrong}`);
      if (wrong) writeFileSync(join(tmpdir(), `crash-${seed}-${lane.name}-${number}.log`), lane.log);
    } finally {
      await lane.settle();
    }
    write(null);
  };
  // A lane by itself where the others would notice.
  const shared = chosen.filter(({ fault }) => sharedFaults.has(fault.kind));
  const own = chosen.filter(({ fault }) => !sharedFaults.has(fault.kind));
  // Where time is short the shared ones have their part of it.
  const share = shared.length === 0 ? 0 : 0.4;
  const ownDeadline = began + (deadline - began) * (1 - share);
  let number = 0;
  await Promise.all(
    lanes.map(async (lane) => {
      for (let cell = own.shift(); cell && performance.now() < ownDeadline; cell = own.shift()) {
        await run(lane, cell, ++number);
      }
    }),
  );
  for (const cell of shared) if (performance.now() < deadline) await run(first, cell, ++number);

  const notReplayed = await replay(histories);
  const summary = write(notReplayed);
  process.stdout.write(`${JSON.stringify(summary)}\n`);
  process.exitCode = summary.cellsWrong.length + notReplayed.length === 0 && summary.cells > 0 ? 0 : 1;
}

function cellsOf(path: Path, points: readonly string[]): Cell[] {
  const cells: Cell[] = [];
  const passed = new Map<string, number>();
  for (const point of points) {
    const occurrence = (passed.get(point) ?? 0) + 1;
    passed.set(point, occurrence);
    if (looks.test(point) || (occurrence > 1 && endless.test(point))) continue;
    // What a way shares with another is struck there.
    if (path === 'abort' && !/^(unfence|undoAll) /.test(point)) continue;
    for (const kind of faultKinds) {
      const fault = { point, occurrence, kind, lastsMs: lastsMs(kind) };
      cells.push({ name: `${path}: ${point}${occurrence > 1 ? ` #${occurrence}` : ''}: ${kind}`, path, fault });
    }
  }
  return cells;
}

function cellNamed(name: string): Cell {
  const [, path, point, occurrence = '1', kind] = /^(\w+): (.+?)(?: #(\d+))?: ([a-z-]+)$/.exec(name) ?? [];
  const [knownPath, knownKind] = [paths.find((one) => one === path), faultKinds.find((one) => one === kind)];
  if (!knownPath || !knownKind || !point) throw new Error(`no cell has the name ${name}`);
  const fault = { point, occurrence: Number(occurrence), kind: knownKind, lastsMs: lastsMs(knownKind) };
  return { name, path: knownPath, fault };
}

/** From shorter than a worker's silence may be (5 s within the fence) to longer. */
function lastsMs(kind: FaultKind): number {
  return kind === 'freeze' ? maxHoldMs + 1_000 + random() * 4_000 : 1_000 + random() * 9_000;
}

/** In an order that is the seed's: kinds of faults in turn, so that a part of it has some of each. */
function sample(from: readonly Cell[]): Cell[] {
  const kinds = new Set(options.faults.split(','));
  const shuffled = from
    .filter(({ fault }) => kinds.has(fault.kind))
    .map((cell) => ({ cell, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ cell }) => cell);
  const turns = new Map<FaultKind, number>();
  const inTurn = shuffled.map((cell) => {
    const turn = turns.get(cell.fault.kind) ?? 0;
    turns.set(cell.fault.kind, turn + 1);
    return { cell, turn };
  });
  const ordered = inTurn.sort((a, b) => a.turn - b.turn).map(({ cell }) => cell);
  return options.cells ? ordered.slice(0, Number(options.cells)) : ordered;
}

function pointsOf(): Record<string, readonly string[]> {
  return Object.fromEntries(recorded.map(({ path, result }) => [path, [...new Set(result.points)]]));
}

function summaryOf(
  results: readonly (Omit<CellResult, 'points' | 'history'> & { cell: string })[],
  notReplayed: readonly string[] | null,
) {
  const sum = (of: (one: (typeof results)[number]) => number) => results.reduce((total, one) => total + of(one), 0);
  const byFault: Record<string, { cells: number; reached: number; waited: number; wrong: number }> = {};
  for (const { cell, reached, waits, faults } of results) {
    const kind = cell.split(': ').at(-1) ?? '';
    byFault[kind] ??= { cells: 0, reached: 0, waited: 0, wrong: 0 };
    const row = byFault[kind];
    row.cells++;
    if (reached[0]) row.reached++;
    if (waits.length > 0) row.waited++;
    if (faults.length > 0) row.wrong++;
  }
  return {
    date: new Date().toISOString(),
    seed,
    kafka: { source: stack.source?.version, target: stack.target?.version },
    node: process.version,
    cellsInAll: all.length,
    cells: results.length,
    notReached: results.filter(({ reached }) => !reached[0]).map(({ cell }) => cell),
    cellsWrong: results.filter(({ faults }) => faults.length > 0).map(({ cell }) => cell),
    byFault,
    accepted: sum(({ accepted }) => accepted),
    refused: sum(({ refused }) => refused),
    compared: sum(({ compared }) => compared),
    lost: sum(({ lost }) => lost),
    duplicated: sum(({ duplicated }) => duplicated),
    reordered: sum(({ reordered }) => reordered),
    /** Null while it is not known. */
    notReplayed,
    minutes: Math.round((performance.now() - began) / 6_000) / 10,
  };
}

/** The code of today must say the same about every run that there was. */
async function replay(files: readonly string[]): Promise<string[]> {
  Runtime.install({ logger: temporalLogger(log) });
  const wrong: string[] = [];
  for (const file of files) {
    const history = JSON.parse(readFileSync(file, 'utf8'));
    await Worker.runReplayHistory({ workflowBundle: { codePath: bundle }, sinks: noTraces.sinks }, history).catch(
      (error: unknown) => wrong.push(`${file}: ${String(error)}`),
    );
  }
  say(`${files.length} histories replayed, ${wrong.length} do not say the same`);
  return wrong;
}
