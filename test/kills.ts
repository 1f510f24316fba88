/**
 * One migration, and a worker that is killed with SIGKILL at random moments until it has died often enough: there,
 * back, and there again for as long as there are kills left, while two producers and two groups never stop.
 *
 *   npm run test:kills [-- --kills 30] [-- --seed N] [-- --stack DIR] [-- --out FILE]
 *
 * Prints progress to stderr and one JSON object to stdout; writes nothing but `--out`. `--stack` takes one that runs
 * already (`kafka-cutover stack up`), else it starts its own. Exits 0 when nothing was lost, duplicated or reordered.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { attachStack, type Stack, startStack } from '../stack/stack.ts';
import type { Applications } from './e2e/support/applications.ts';
import type { Glance, Migration } from './e2e/support/migration.ts';
import { randomFrom, seedOf } from './e2e/support/random.ts';
import { Scene } from './e2e/support/scene.ts';
import { faults, type Verdict, verdictOf } from './e2e/support/verdict.ts';
import { waitFor } from './e2e/support/waiting.ts';
import type { WorkerProcess } from './e2e/support/worker.ts';

/** Of each of the two producers. */
const history = 10_000;
const recordsPerSecond = 100;
/** After it is ready; long enough for the silence of its predecessor to be noticed (10 s) now and then. */
const lifeMaxMs = 14_000;
/** How often a fence under way is not left in peace, and for how long it is. */
const fenceKillProbability = 0.6;
const fencePeaceMaxMs = 2_000;
/** A step that is killed again and again takes its time. */
const stepTimeoutMs = 1_800_000;
/** What failed for people to see is tried again. */
const steadfast = { retryFailedSteps: true, everyMs: 100 };
/** Records that are written on a cluster before the next move. */
const lingerRecords = 300;

interface Kill {
  readonly step: string;
  readonly truth: string;
}

interface Move {
  readonly direction: 'forward' | 'reverse';
  readonly seconds: number;
  readonly kills: number;
}

interface KillsResult extends Verdict {
  readonly seed: number;
  readonly kills: number;
  /** By step, and where it was in doubt who may write. */
  readonly killsByStep: Readonly<Record<string, number>>;
  readonly killsWhileFenced: number;
  readonly moves: readonly Move[];
  readonly offsetsEqual: boolean;
  /** Steps that failed for people to see, and were told to try again. */
  readonly retried: readonly string[];
  readonly seconds: number;
}

const { values: options } = parseArgs({
  options: {
    kills: { type: 'string', default: '30' },
    seed: { type: 'string' },
    stack: { type: 'string' },
    out: { type: 'string' },
  },
});
const killsWanted = Number(options.kills);
const seed = seedOf(options.seed);
const random = randomFrom(seed);
const kills: Kill[] = [];

await using cleanup = new AsyncDisposableStack();
const stack = await openStack();
const scene = cleanup.use(await Scene.open(stack, { name: `kills-${process.pid}-${Date.now().toString(36)}` }));
scene.say(`seed ${seed}, ${killsWanted} kills; logs in ${scene.dir}`);
const result = await run();
process.stdout.write(`${JSON.stringify(result)}\n`);
if (options.out) writeFileSync(resolve(options.out), `${JSON.stringify(result, null, 2)}\n`);
process.exitCode = result.lost + result.duplicated + result.reordered === 0 && result.offsetsEqual ? 0 : 1;

async function openStack(): Promise<Stack> {
  if (options.stack) return attachStack(options.stack);
  const dir = mkdtempSync(join(tmpdir(), 'kafka-cutover-kills-'));
  cleanup.defer(() => rmSync(dir, { recursive: true, force: true }));
  return cleanup.use(await startStack({ dir, onProgress: (line) => process.stderr.write(`  ${line}\n`) }));
}

async function run(): Promise<KillsResult> {
  const began = performance.now();
  const worker = scene.worker().start();
  const [applications] = await Promise.all([scene.startApplications({ recordsPerSecond, history }), worker.ready()]);
  scene.say('both producers write, both groups read, the worker is ready');
  const migration = scene.migration({ mirror: { maxBytesPerSecond: 400_000, shards: 2 } });
  const killing = killAgainAndAgain(worker, migration);
  killing.catch(() => undefined); // awaited below, perhaps after a move has failed
  const moves = await moveUntilKilledOften(migration, applications);
  await killing;
  await applications.finishProducers();
  const verdict = await verdictOf(scene, applications, { home: 'next', mirrored: true, java: true });
  await migration.signal('approve', { gate: 'finalize', by: 'orders-owner' });
  await migration.untilEnded('completed', stepTimeoutMs);
  const byStep: Record<string, number> = {};
  for (const { step } of kills) byStep[step] = (byStep[step] ?? 0) + 1;
  return {
    seed,
    kills: kills.length,
    killsByStep: byStep,
    killsWhileFenced: kills.filter(({ truth }) => truth === 'none').length,
    moves,
    ...verdict,
    offsetsEqual: faults(verdict).differences.length === 0,
    retried: migration.retried,
    seconds: Math.round((performance.now() - began) / 1000),
  };
}

/** There and back while kills are left; ends on the target. */
async function moveUntilKilledOften(migration: Migration, applications: Applications): Promise<Move[]> {
  const moves: Move[] = [];
  for (let home: 'legacy' | 'next' = 'legacy'; home === 'legacy' || kills.length < killsWanted; ) {
    const [began, killedBefore] = [performance.now(), kills.length];
    const direction = home === 'legacy' ? 'forward' : 'reverse';
    scene.say(`move ${moves.length + 1}: ${direction}`);
    if (home === 'legacy') {
      await migration.start();
      await migration.untilGate('cutover', stepTimeoutMs, steadfast);
      await migration.signal('approve', { gate: 'cutover', by: 'kafka-owner' });
      await migration.untilGate('finalize', stepTimeoutMs, steadfast);
      home = 'next';
    } else {
      await rollBack(migration);
      home = 'legacy';
    }
    const seconds = Math.round((performance.now() - began) / 1000);
    moves.push({ direction, seconds, kills: kills.length - killedBefore });
    scene.say(`move ${moves.length} done in ${seconds} s, applications are on ${home}`);
    const before = applications.acknowledgedBy(home);
    await waitFor(`${lingerRecords} more records on ${home}`, 60_000, () => {
      return applications.acknowledgedBy(home) >= before + lingerRecords;
    });
  }
  return moves;
}

/** A rollback whose fence is killed until its time is up leaves the target open, and is asked for again. */
async function rollBack(migration: Migration): Promise<void> {
  const atFinalize = ({ step, awaiting }: Glance) => step === 'finalize' && awaiting;
  for (;;) {
    await migration.signal('rollback', { by: 'kafka-owner', reason: 'there and back' });
    await migration.until('the rollback to begin', stepTimeoutMs, (seen) => !atFinalize(seen), steadfast);
    const over = (seen: Glance) => !seen.running || atFinalize(seen);
    if (!(await migration.until('the rollback to end', stepTimeoutMs, over, steadfast)).running) break;
    scene.say('the rollback failed, the target is open: asked for again');
    migration.retried.push('rollback');
  }
  await migration.untilEnded('rolledBack', stepTimeoutMs);
}

async function killAgainAndAgain(worker: WorkerProcess, migration: Migration): Promise<void> {
  // The first one finds it at work already, and not where it starts.
  await waitFor('the migration to be started', 60_000, () => migration.glance().catch(() => null));
  while (kills.length < killsWanted) {
    await worker.ready();
    await aWhile(migration);
    await worker.kill();
    const { step, truth } = await migration.glance();
    kills.push({ step, truth });
    scene.say(`kill ${kills.length} of ${killsWanted}: ${step}, source of truth ${truth}`);
    worker.start();
  }
  await worker.ready();
}

/** A random time; cut short, now and then, by a fence that is under way, though not by the one that was just killed. */
async function aWhile(migration: Migration): Promise<void> {
  const deadline = performance.now() + random() * lifeMaxMs;
  const peaceMs = random() * fencePeaceMaxMs;
  const mercy = random() >= fenceKillProbability || kills.at(-1)?.truth === 'none';
  while (performance.now() < deadline) {
    if (!mercy && (await migration.glance()).truth === 'none') return sleep(peaceMs);
    await sleep(100);
  }
}
