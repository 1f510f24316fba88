/**
 * The crash matrix: whole migrations, there, there and back, given up within the fence, and with groups that move later, struck by faults at named points. First one
 * migration of each path notes the points that it passes; the cells are those points times the faults.
 *
 *   npm run test:crash [-- --out FILE] [-- --minutes 15] [-- --stop-file FILE] [-- --seed N] [-- --only TEXT] [-- --faults kill,cut] [-- --lanes 2] [-- --list] [-- --table]
 *   npm run test:crash -- --cell 'forward: closeWrites forward create-acls@legacy sent: kill'
 *
 * `--out` is the result file: cells that stand in it for this build are not run again, and new ones are added to it, so any number of runs
 * of some minutes add up; one ends early when the file of `--stop-file` is there. It is refused while the product has changes that are not committed. `--only` takes cells whose name holds the text,
 * `--list` shows the names and runs nothing else, `--table` prints what the result file says of every step, `--cell` (as often as you like) runs those
 * alone and notes no points first. Prints progress to stderr and one JSON object to stdout. Exits 0 when nothing was wrong with any cell of this run.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
import { type Path, paths, runCell } from './cell.ts';
import { cellNamed, cellsOf, faultOf, inOrder, nextStrikes, type PointsByLeg, type Strikes } from './cells.ts';
import { applicationListener, Lane, laneUsers } from './lane.ts';
import { type FaultKind, faultKinds } from './points.ts';
import { productBuild, Results } from './results.ts';

/** Enough for three workers that die in it, on a machine that does other things too. */
const maxHoldMs = 40_000;
/** Of a migration through all its faults. */
const timeoutMs = 900_000;
/** A sleeper must sleep for longer than its fence may last, and be missed outside of it too (10 s). */
const freezeMaxHoldMs = 10_000;
const everyMs = 10;

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string' },
    seed: { type: 'string' },
    only: { type: 'string', default: '' },
    cell: { type: 'string', multiple: true, default: [] },
    faults: { type: 'string', default: faultKinds.join(',') },
    lanes: { type: 'string', default: '2' },
    list: { type: 'boolean', default: false },
    table: { type: 'boolean', default: false },
    out: { type: 'string' },
    'stop-file': { type: 'string' },
  },
});
const seed = seedOf(options.seed);
const random = randomFrom(seed);
const began = performance.now();
const say = (line: string) =>
  process.stderr.write(`${((performance.now() - began) / 1000).toFixed(0).padStart(5)} s  ${line}\n`);

let replaying: Promise<unknown> = Promise.resolve();
const results = new Results(options.out ? resolve(options.out) : null);
if (options.table) {
  process.stdout.write(`${results.tables()}\n`);
  process.exit();
}
const build = productBuild();
if (options.out && build === null) {
  throw new Error('the product has changes that are not committed: commit them, or leave --out away');
}

process.env.KAFKA_CUTOVER_STACK_JAVA_OPTIONS ??= '-XX:TieredStopAtLevel=1';
await using cleanup = new AsyncDisposableStack();
const dir = mkdtempSync(join(tmpdir(), 'kafka-cutover-crash-'));
cleanup.defer(() => rmSync(dir, { recursive: true, force: true }));
process.env.NODE_COMPILE_CACHE = join(dir, 'compiled');
const log = pino({ level: 'silent' });
Runtime.install({ logger: temporalLogger(log) });
const bundle = join(dir, 'workflow-bundle.js');
writeFileSync(bundle, (await bundleWorkflows(log)).code);
process.env.KAFKA_CUTOVER_WORKFLOW_BUNDLE = bundle;

// Each with clusters and a Temporal server of its own, which may die without anybody else taking note.
const lanes = await Promise.all(
  Array.from({ length: Number(options.lanes) }, (_, index) => openLane(`lane-${index + 1}`)),
);
say(`seed ${seed}, build ${build ?? 'with changes'}; ${lanes.length} lanes are ready`);

if (options.cell.length === 0) await notePoints();
const { done, alone } = results.standing(build ?? '');
const all = results.points === null || options.cell.length > 0 ? options.cell.map(cellNamed) : cellsOf(results.points);
const kinds = new Set(options.faults.split(','));
const wanted = all.filter(({ name, kind }) => name.includes(options.only) && kinds.has(kind));
if (options.list) for (const { name } of wanted) process.stdout.write(`${name}\n`);
else await strikeAll();

async function strikeAll(): Promise<void> {
  const byThemselves = new Set(options.cell.length > 0 ? options.cell : alone);
  let pending = inOrder(
    wanted.filter(({ name }) => options.cell.length > 0 || !done.has(name)),
    random,
  );
  say(`${pending.length} of ${all.length} cells`);
  const deadline = options.minutes ? began + Number(options.minutes) * 60_000 : Number.POSITIVE_INFINITY;
  let migrations = 0;
  const wrong: string[] = [];
  const take = () => {
    const over = performance.now() > deadline || (options['stop-file'] && existsSync(options['stop-file']));
    const next = over ? null : nextStrikes(pending, byThemselves);
    const taken = new Set(next?.cells);
    pending = pending.filter((one) => !taken.has(one));
    return next;
  };
  await Promise.all(
    lanes.map(async (lane) => {
      for (let next = take(); next; next = take()) {
        const again = await strike(lane, next, ++migrations);
        if (again !== null) wrong.push(again);
      }
    }),
  );
  process.stdout.write(`${JSON.stringify({ ...results.summary(), wrongNow: wrong, left: pending.length })}\n`);
  process.exitCode = wrong.length === 0 && migrations > 0 ? 0 : 1;
}

/** Null when nothing is wrong with it. */
async function strike(lane: Lane, { path, cells }: Strikes, number: number): Promise<string | null> {
  const name = `${lane.name}-${number}`;
  const hold = cells.some(({ kind }) => kind === 'freeze') ? freezeMaxHoldMs : maxHoldMs;
  const struckBy = cells.map((cell) => faultOf(cell, lastsMs(cell.kind)));
  const names = cells.map((cell) => cell.name);
  const {
    points: _,
    history,
    ...result
  } = await runCell(lane, {
    name,
    path,
    faults: struckBy,
    everyMs,
    maxHoldMs: hold,
    timeoutMs,
  });
  const laneLog = lane.log;
  await lane.settle();
  const faults = [...result.faults, ...(await replay(history))];
  results.add({
    cells: names,
    lastsMs: struckBy.map(({ lastsMs }) => lastsMs),
    maxHoldMs: hold,
    ...result,
    faults,
    build: build ?? 'with changes',
    seed,
    date: new Date().toISOString(),
  });
  const waited = result.waits.length > 0 ? `, waited: ${result.waits.join(', ')}` : '';
  const missed = names.filter((_name, index) => !result.reached[index]).map((one) => `, NOT REACHED: ${one}`);
  const problem = faults.length > 0 ? `: WRONG: ${faults.join('; ')}` : '';
  say(`${number}. ${names.join(' + ')}: ${result.outcome} in ${result.seconds} s${waited}${missed.join('')}${problem}`);
  if (!problem) return null;
  const kept = join(tmpdir(), `crash-${seed}-${name}`);
  writeFileSync(`${kept}.log`, laneLog);
  writeFileSync(`${kept}.history.json`, readFileSync(history));
  return names.join(' + ');
}

/** Of paths that nobody has noted of this build. */
async function notePoints(): Promise<void> {
  const known = results.pointsOf === build ? results.points : null;
  const noted = new Map<Path, PointsByLeg>(Object.entries(known ?? {}) as [Path, PointsByLeg][]);
  const left = paths.filter((path) => !noted.has(path));
  await Promise.all(
    lanes.map(async (lane) => {
      for (let path = left.shift(); path; path = left.shift()) {
        const result = await runCell(lane, { name: `note-${path}`, path, faults: [], everyMs, maxHoldMs, timeoutMs });
        const faults = [...result.faults, ...(await replay(result.history))];
        if (faults.length > 0) throw new Error(`${path}, undisturbed: ${faults.join('; ')}`);
        say(`${path}: undisturbed in ${result.seconds} s, ${result.accepted} records`);
        noted.set(path, result.points);
      }
    }),
  );
  results.points = Object.fromEntries(noted);
  results.pointsOf = build;
  results.write();
}

async function openLane(name: string): Promise<Lane> {
  const superUsers = { 'super.users': ['broker', 'cutover', name].map((user) => `User:${user}`).join(';') };
  const applicationPassword = randomBytes(18).toString('hex');
  const stack = cleanup.use(
    await startStack({
      dir: join(dir, name),
      users: Object.values(laneUsers(name)),
      brokerConfig: { source: superUsers, target: superUsers },
      listeners: applicationListener(applicationPassword),
    }),
  );
  return cleanup.use(await Lane.open(stack, { name, principal: name, applicationPassword, workers: 2 }));
}

/** From shorter than a worker's silence may be (5 s within the fence) to longer, which one in four is. */
function lastsMs(kind: FaultKind): number {
  const chance = random();
  if (kind === 'freeze') return Math.round(freezeMaxHoldMs + 1_000 + chance * 2_000);
  return Math.round(chance < 0.75 ? 1_000 + chance * 4_000 : 6_000 + (chance - 0.75) * 16_000);
}

/** The code of today must say the same about the run. One at a time: the SDK ends its runtime with the last worker, while another may be in the making. */
function replay(file: string): Promise<string[]> {
  const replayed = replaying.then(() => replayNow(file));
  replaying = replayed;
  return replayed;
}

function replayNow(file: string): Promise<string[]> {
  const history = JSON.parse(readFileSync(file, 'utf8'));
  return Worker.runReplayHistory({ workflowBundle: { codePath: bundle }, sinks: noTraces.sinks }, history).then(
    () => [],
    (error: unknown) => [`the history does not replay: ${String(error)}`],
  );
}
