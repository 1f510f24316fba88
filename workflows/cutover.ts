/**
 * The runbook of a cutover, from top to bottom; each wave goes through it by itself. Every step and gate is skipped when
 * an earlier run of the same migration has done it, so the same lines serve a run that continues as new.
 */
import { CancellationScope, ContinueAsNew, condition, TemporalFailure, workflowInfo } from '@temporalio/workflow';
import { codes } from '../contract/errors.ts';
import { type CutoverResult, type Outcome, waveNames, workflowId } from '../contract/status.ts';
import { Background } from './background.ts';
import { showHolding } from './holding.ts';
import { Migration } from './migration.ts';
import { isInterruption, type Run } from './run.ts';
import {
  carriedState,
  currentWave,
  ended,
  gateDropped,
  initialState,
  isDone,
  isGoingBack,
  isOpened,
  liveViews,
  openGate,
  outcomeOf,
  outcomesOf,
  pauseAsked,
  stepBegun,
  stepEnded,
  waveOver,
} from './state.ts';
import { evidenceOf, sourceOfTruthOf } from './status-view.ts';
import { drainLag, measure } from './steps/drain-lag.ts';
import { writeEvidence } from './steps/evidence.ts';
import { fenceAndDecide } from './steps/fence.ts';
import { finalize } from './steps/finalize.ts';
import { passGate } from './steps/gates.ts';
import { handOverLater } from './steps/handover.ts';
import { preflight } from './steps/preflight.ts';
import { prepareTarget } from './steps/prepare-target.ts';
import { rollBack } from './steps/rollback.ts';
import { openAndSwitch } from './steps/switch.ts';
import { abort, settleRollback } from './steps/undo.ts';
import { verify } from './steps/verify.ts';

/** How often a fence that failed for a passing reason is tried before people decide. */
const fenceAttemptsMax = 3;

/**
 * @param input the plan as the user wrote it; parsed by the first activity
 * @param carried what an earlier run of this migration hands on; never given by users
 * @throws ApplicationFailure with a code as its type, only before anything was changed
 */
export async function cutover(input: unknown, carried?: unknown): Promise<CutoverResult> {
  const planName = workflowInfo().workflowId.slice(workflowId('').length);
  const migration = new Migration(input, carriedState(carried) ?? initialState(planName, new Date().toISOString()));
  migration.listen();
  // Temporal's cancel is a message to the runbook; nothing is cancelled by it directly.
  return CancellationScope.nonCancellable(async () => {
    try {
      return await end(migration, (await beforeWaves(migration.plans, input)) ?? (await moveWaves(migration)));
    } catch (error) {
      // Anything else than a failure that was meant is a defect, which Temporal tries again until it is mended.
      if (error instanceof ContinueAsNew || !(error instanceof TemporalFailure)) throw error;
      migration.change(ended(migration.state, 'failed'));
      await migration.toldAll();
      await migration.drained();
      throw error;
    }
  });
}

/** Preflight and gate `start`, which are the plan's. Null: its waves may move. */
async function beforeWaves(run: Run, input: unknown): Promise<Outcome | null> {
  try {
    await run.once('preflight', () => preflight(run, input));
    return (await startGate(run)) === 'rejected' ? 'rejected' : null;
  } catch (error) {
    if (isInterruption(error)) return 'aborted';
    throw error;
  }
}

/** One wave after the other, each as soon as the one before is verified: their rollback windows overlap. */
async function moveWaves(migration: Migration): Promise<Outcome> {
  if (migration.showsMore) void showHolding(migration);
  const going: Promise<Outcome>[] = [];
  for (const name of waveNames(migration.plans.plan)) {
    const run = migration.wave(name);
    going.push(moveWave(run));
    const paused = () => liveViews(migration.state).some((view) => view.paused !== null);
    const mayFollow = condition(() => run.state.over !== null || (isDone(run.state, 'verify:forward') && !paused()));
    // Whatever ends the migration in any of them ends it here.
    await Promise.race([mayFollow, Promise.all(going)]);
    // One that did not get there says that those after it should not try.
    if (!isDone(run.state, 'verify:forward')) break;
  }
  await Promise.all(going);
  return outcomeOf(outcomesOf(migration.state, 'aborted'));
}

async function moveWave(run: Run): Promise<Outcome> {
  if (run.state.over !== null) return run.state.over;
  const background = new Background(run);
  let outcome: Outcome;
  try {
    outcome = await runbook(run, background);
  } catch (error) {
    if (!isInterruption(error)) throw error;
    await abort(run, background);
    outcome = 'aborted';
  }
  run.change(waveOver(run.state, outcome));
  return outcome;
}

async function runbook(run: Run, background: Background): Promise<Outcome> {
  await run.once('prepare-target', () => prepareTarget(run));

  if (!isOpened(run.state)) await moveToTarget(run, background);

  for (;;) {
    if (currentWave(run.state)?.stage === 'back') return backOnSource(run, background);
    if (!isGoingBack(run.state)) {
      try {
        return await onTarget(run, background);
      } catch (error) {
        if (!isInterruption(error)) throw error;
      }
    }
    await rollBack(run, background);
  }
}

async function startGate(run: Run): ReturnType<typeof passGate> {
  const facts = run.state.steps.map((record) => record.summary).filter((summary) => summary !== '');
  return passGate(run, 'start', { step: 'prepare-target', facts, digestIsFresh: true });
}

/** Mirrors, waits for people, and fences until opening the target is decided. */
async function moveToTarget(run: Run, background: Background): Promise<void> {
  startMirroring(run, background);
  for (let attempt = 1; ; ) {
    const facts = await drainLag(run);
    const gate = { step: 'fence', facts, refresh: () => measure(run, 'forward'), recheck: true } as const;
    const answer = await passGate(run, 'cutover', gate);
    if (answer === 'rejected') {
      waitForResume(run);
      continue;
    }
    if (answer === 'changed') {
      // It makes changes of its own on the target, by what people approved before.
      await background.stop('followMetadata');
      await prepareTarget(run);
      await Promise.all((['mirror:forward', 'audit', 'followGroups'] as const).map((kind) => background.restart(kind)));
      background.follow();
      continue;
    }
    // People may have waited for hours: the numbers are taken again right before the fence.
    await drainLag(run);
    await run.border();
    const outcome = await fenceAndDecide(run, background, 'forward');
    if (outcome.decided) {
      run.change(stepEnded(run.state, 'mirror', run.now));
      return;
    }
    if (outcome.failure === null) continue;
    if (codes[outcome.failure.code].retryable && attempt < fenceAttemptsMax) {
      attempt++;
      continue;
    }
    await run.askDecision('fence', outcome.failure, ['retry', 'rollback']);
    attempt = 1;
  }
}

/** Applications write to the target; until someone finalizes, they can be taken back. */
async function onTarget(run: Run, background: Background): Promise<Outcome> {
  await openAndSwitch(run, background, 'forward');
  await verify(run, 'forward');
  await handOverLater(run, background);
  await finalize(run, background);
  return 'completed';
}

/** Opening the source again was decided. */
async function backOnSource(run: Run, background: Background): Promise<Outcome> {
  await openAndSwitch(run, background, 'reverse');
  await verify(run, 'reverse');
  await settleRollback(run, background);
  return 'rolledBack';
}

function startMirroring(run: Run, background: Background): void {
  if (!run.state.background.includes('mirror:forward')) {
    run.change(stepBegun(run.state, 'mirror', run.now));
  }
  background.start('mirror:forward');
  background.start('audit');
  background.follow();
}

/** A rejected cutover: the mirror goes on, and the gate opens again when somebody sends `resume`. */
function waitForResume(run: Run): void {
  const { by = 'nobody', reason = '' } = openGate(run.state, 'cutover')?.rejected ?? {};
  const why = `gate cutover was rejected. ${reason}`.trim();
  run.change(pauseAsked(gateDropped(run.state, 'cutover'), by, run.now, why));
}

async function end(migration: Migration, outcome: Outcome): Promise<CutoverResult> {
  if (migration.state.shared.plan) await writeEvidence(migration, outcome);
  migration.change(ended(migration.state, outcome));
  await migration.toldAll();
  await migration.drained();
  const { shared } = migration.state;
  return {
    outcome,
    waves: outcomesOf(migration.state, outcome === 'rejected' ? 'rejected' : 'aborted'),
    evidence: evidenceOf(migration.state),
    sourceOfTruth: sourceOfTruthOf(shared),
    notUndone: shared.notUndone,
  };
}
