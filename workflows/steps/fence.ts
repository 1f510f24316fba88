/**
 * From the fence to the opening decision, in either direction: `forward` closes the source and ends with
 * the decision to open the target; `reverse` is the same with the clusters exchanged. Until the decision
 * everything here can be lifted again; what lifts it is here too.
 */
import { log, patched, sleep } from '@temporalio/workflow';
import type { Fenced } from '../../activities/types.ts';
import { finding } from '../../contract/errors.ts';
import { fenceKinds } from '../../contract/fences.ts';
import type { Plan } from '../../contract/plan.ts';
import type { Direction } from '../../contract/status.ts';
import type { Background } from '../background.ts';
import { isInterruption, type Run } from '../run.ts';
import {
  type BackgroundKind,
  type Failure,
  failureOf,
  fenceBegun,
  fenceLifted,
  gateReopened,
  leftUndone,
  openingBeingDecided,
  openingDecided,
  stepBegun,
  stepEnded,
  truthProven,
  undecidedFailure,
  withFindings,
} from '../state.ts';
import { activities, allOrNone, describeFailure, fenced, insist, isTimeout, peopleAct } from './calls.ts';
import { closeAndHandOverInTurn } from './fence-in-turn.ts';
import { awaitUnfence } from './gates.ts';
import { groupsStay } from './handover.ts';

/** `lifted` with no failure: people asked for a pause or an end, or a background failure waits for them. */
export type FenceOutcome = { readonly decided: true } | { readonly decided: false; readonly failure: Failure | null };

export async function fenceAndDecide(run: Run, background: Background, direction: Direction): Promise<FenceOutcome> {
  if (!isHeldByPeople(run.plan)) return fenceOnce(run, background, direction);
  const unstopped = await awaitStopped(run, direction);
  const outcome = unstopped ?? (await fenceOnce(run, background, direction));
  if (outcome.decided) return outcome;
  // What people stopped may run again by now, so their word is asked for anew, and what failed is shown beside it.
  run.change(gateReopened(run.state, direction === 'forward' ? 'cutover' : 'rollback'));
  if (direction === 'reverse' || outcome.failure === null) return outcome;
  const { code, message } = outcome.failure;
  run.change(withFindings(run.state, [finding(code, 'fence', message)]));
  return { decided: false, failure: null };
}

/** Null once nothing writes any more: people have said so, or said that they see to it. */
async function awaitStopped(run: Run, direction: Direction): Promise<FenceOutcome | null> {
  const { plan } = run;
  const closing = direction === 'forward' ? plan.source : plan.target;
  run.change(stepBegun(run.state, 'fence', run.now, direction));
  try {
    const options = peopleAct(`wait until people have stopped what writes to ${closing}`, plan.fence.stopWithin);
    await run.interruptible(
      () => activities.awaitStopped.executeWithOptions(options, [{ ...run.scope, direction }]),
      () => run.state.paused !== null,
    );
    return null;
  } catch (error) {
    run.change(stepEnded(run.state, 'fence', run.now, direction));
    return { decided: false, failure: whatHappened(run, error) };
  }
}

async function fenceOnce(run: Run, background: Background, direction: Direction): Promise<FenceOutcome> {
  // What is between two settings is back first: its absence would count against the fence.
  if (background.isChanging) await background.settled();
  // Runs of an earlier build do one after the other.
  const sideBySide = patched('fence-beside-proof');
  // Positions may be final only once nobody moves them. Ending takes a heartbeat, and here nobody waits for it.
  if (sideBySide) await background.stopFollowing({ groupsToo: !groupsStay(run.state) });
  const deadlineMs = Date.now() + run.plan.fence.maxHold;
  // Shown before it is done: from the first rule on, some applications cannot write any more.
  run.change(fenceBegun(run.state, direction, run.now));
  const request: Fenced = { ...run.scope, direction, deadlineMs };
  try {
    await run.interruptible(() => (sideBySide ? closeAndHandOver : closeAndHandOverInTurn)(run, background, request));
    run.throwIfInterrupted();
    run.change(openingBeingDecided(run.state, direction));
    // Not interruptible: only its answer, or the refusal to un-fence, says which side we are on.
    const decision = await activities.decideOpening.executeWithOptions(fenced('decide to open', deadlineMs), [request]);
    run.report('switch-producers', decision, 'decision');
    run.change(openingDecided(run.state, direction));
    return { decided: true };
  } catch (error) {
    return lift(run, background, request, error);
  }
}

async function closeAndHandOver(run: Run, background: Background, request: Fenced): Promise<void> {
  const { direction, deadlineMs, plan } = request;
  const closed = direction === 'forward' ? 'source' : 'target';
  const opening = direction === 'forward' ? 'target' : 'source';
  const does = (summary: string) => fenced(summary, deadlineMs);

  begin(run, 'fence');
  run.report(
    'fence',
    await activities.closeWrites.executeWithOptions(does(`close ${plan[closed]}`), [request]),
    'close',
  );
  let boundary = '';
  // What nobody notices needs the rules, not yet their proof; the boundary says itself when somebody wrote.
  await allOrNone([
    async () => {
      const proving = does(`prove that ${plan[closed]} is closed`);
      const proven = await activities.proveFence.executeWithOptions(proving, [request]);
      run.report('fence', proven, 'prove');
      run.change(truthProven(run.state, `${plan[closed]} closed: ${proven.summary}`));
      background.start(`watchFence:${closed}`);
    },
    async () => {
      run.report(
        'fence',
        await activities.endTransactions.executeWithOptions(does('end transactions'), [request]),
        'transactions',
      );
      const drain = does('copy and audit the last records');
      const drained = await activities.drainToBoundary.executeWithOptions(drain, [request]);
      run.report('fence', drained, 'drain');
      boundary = drained.boundary;
      // It has nothing left to copy.
      const mirroring = background.stop(`mirror:${direction}`);
      await allOrNone([
        async () => {
          const shutOut = does(`shut the mirror out of ${plan[opening]}`);
          const shut = await activities.shutOutMirror.executeWithOptions(shutOut, [request]);
          run.report('fence', shut, 'shut-out');
          // Where a rule keeps it out, its own end, which takes a heartbeat, need not be awaited.
          if (!shut.byRule) await mirroring;
        },
        async () => {
          const restore = does(`restore settings of ${plan[opening]}`);
          run.report('fence', await activities.restoreSettings.executeWithOptions(restore, [request]), 'settings');
        },
      ]);
    },
  ]);
  run.change(stepEnded(run.state, 'fence', run.now));
  if (direction === 'forward' && plan.rollback.reverseMirror) background.start('mirror:reverse');

  begin(run, 'sync-offsets');
  if (groupsStay(run.state)) {
    run.report('sync-offsets', { summary: `groups stay on ${plan.source}; their positions on ${plan.target} follow` });
  } else {
    const moving = { ...request, boundary };
    run.report(
      'sync-offsets',
      await activities.moveGroups.executeWithOptions(does('move the groups'), [moving]),
      'positions',
    );
  }
  run.change(stepEnded(run.state, 'sync-offsets', run.now));
  begin(run, 'switch-producers');
}

/**
 * Gives the closed cluster back to its applications, and mirrors on. When un-fencing is refused, opening
 * was decided after all (the answer was lost): then the run goes forward.
 */
async function lift(run: Run, background: Background, request: Fenced, error: unknown): Promise<FenceOutcome> {
  const { direction, deadlineMs } = request;
  const closed = direction === 'forward' ? 'source' : 'target';
  const failure = whatHappened(run, error);
  const interrupting = isInterruption(error) ? undecidedFailure(run.state)?.id : undefined;
  const { code, message } = failure ?? { code: null, message: 'asked for by people' };
  log.warn('lifting the fence', { ...run.fields, direction, code, text: message });

  // From here on nobody listens to it any more: applications that write again at once are no intruders. Its end, which takes a
  // heartbeat, is not awaited: they wait for the fence to be lifted.
  if (patched('watch-ends-before-lift')) void background.stop(`watchFence:${closed}`);
  if (!(await unfence(run, request))) {
    if (direction === 'forward' && run.plan.rollback.reverseMirror) background.start('mirror:reverse');
    background.start(`watchFence:${closed}`);
    run.change(openingDecided(run.state, direction));
    return { decided: true };
  }
  for (const step of ['fence', 'sync-offsets', 'switch-producers'] as const) {
    // What is tried again by itself is seen nowhere else.
    if (failure) run.report(step, { summary: `not held: ${failure.message}` });
    run.change(stepEnded(run.state, step, run.now));
  }
  // Back from deciding: nothing will be opened. Where people hold it, nothing is said to be open before they say so.
  run.change(
    isHeldByPeople(run.plan) ? fenceBegun(run.state, direction, run.now) : fenceLifted(run.state, direction, run.now),
  );
  const stopping: BackgroundKind[] = [`watchFence:${closed}`];
  if (direction === 'forward') stopping.push('mirror:reverse');
  await Promise.all(stopping.map((kind) => background.stop(kind)));
  if (isTimeout(error) && Date.now() < deadlineMs) {
    // A silent attempt may be asleep on a stopped machine and still close something before the deadline.
    await sleep(deadlineMs - Date.now(), { summary: 'until a silent attempt can do nothing any more' });
    await unfence(run, request);
  }
  background.start(`mirror:${direction}`);
  if (direction === 'forward') background.follow();
  if (isHeldByPeople(run.plan)) await awaitLiftedByPeople(run, direction, failure);
  // Somebody may have decided meanwhile what interrupted the attempt; what was stopped here asks nobody any more.
  const goesOn = interrupting !== undefined && !stopping.some((kind) => kind === interrupting);
  return { decided: false, failure: failure && !goesOn ? stillToBeShown(run, failure) : null };
}

async function awaitLiftedByPeople(run: Run, direction: Direction, failure: Failure | null): Promise<void> {
  const [closed, other] = direction === 'forward' ? ['source', 'target'] : ['target', 'source'];
  const { plan } = run;
  const [stopped, notOpened] = [plan[closed as 'source'], plan[other as 'target']];
  await awaitUnfence(run, [
    `the move did not come about: ${failure?.message ?? 'people asked for a pause or an end'}`,
    `${notOpened} stays closed, and nothing will be opened under this fence; ${stopped} is mirrored on`,
    `start on ${stopped} again what was stopped there, then approve: until somebody does, nothing is said to be open`,
  ]);
  run.change(fenceLifted(run.state, direction, run.now));
}

/** False when it is refused because opening was decided. Anything else is tried until it works. */
async function unfence(run: Run, request: Fenced): Promise<boolean> {
  const { direction, plan } = request;
  const closed = direction === 'forward' ? 'source' : 'target';
  for (;;) {
    try {
      const undone = await activities.unfence.executeWithOptions(insist(`lift the fence of ${plan[closed]}`), [
        request,
      ]);
      run.report('fence', undone);
      run.change(leftUndone(run.state, undone.notUndone));
      return true;
    } catch (error) {
      const failure = describeFailure(error);
      if (failure.code === 'UNFENCE_REFUSED') return false;
      await run.insistOnRetry('fence', failure);
    }
  }
}

/**
 * Null when people asked, or have decided meanwhile what stopped it; a failure in the background counts as
 * the attempt's own.
 */
function whatHappened(run: Run, error: unknown): Failure | null {
  if (!isInterruption(error)) return describeFailure(error, isTimeout(error) ? 'FENCE_EXPIRED' : 'INTERNAL');
  if (run.state.request || run.state.paused) return null;
  const pending = undecidedFailure(run.state);
  return pending && { code: pending.code, message: pending.message };
}

/** A background activity that goes on waiting for a decision holds the run up by itself. */
function stillToBeShown(run: Run, failure: Failure): Failure | null {
  const waiting = run.state.failures.find((pending) => pending.message === failure.message);
  return waiting && failureOf(run.state, waiting.id) ? null : failure;
}

export function isHeldByPeople({ fence }: Plan): boolean {
  return !fenceKinds[fence.kind].reversible;
}

function begin(run: Run, step: 'fence' | 'sync-offsets' | 'switch-producers'): void {
  run.change(stepBegun(run.state, step, run.now));
}
