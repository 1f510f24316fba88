/** Gates: where the run waits for people. Approvals live in the state, so they survive any crash. */
import { CancellationScope, condition, log, patched } from '@temporalio/workflow';
import type { DigestResult } from '../../activities/types.ts';
import { finding } from '../../contract/errors.ts';
import type { Approval, Gate, Step } from '../../contract/status.ts';
import { isInterruption, type Run } from '../run.ts';
import {
  approvalsDropped,
  type CutoverState,
  closedGate,
  type GateState,
  gateClosed,
  gateOpened,
  gateRejected,
  gateReopened,
  inventoried,
  isOpened,
  mendGate,
  openGate,
  policyOf,
  rollbackRefusal,
  stepAwaited,
  undecidedFailure,
  withFindings,
} from '../state.ts';
import { isApproved } from '../status-view.ts';
import { activities, describeFailure, look, unattended } from './calls.ts';

/** First wait between two measurements for an open gate; each next wait is so many times as long, up to a day: two on the first day. */
const firstRefreshMs = 60_000;
const refreshGrowth = 60;
const refreshMaxMs = 86_400_000;
/** A plan may ask for more reminders than a history should hold. */
const remindEveryMinMs = 60_000;

export interface GateOptions {
  /** The step that it guards. */
  readonly step: Step;
  /** What people should know, one line each. */
  readonly facts: readonly string[];
  /** Takes the facts again while the gate stays open. */
  readonly refresh?: () => Promise<readonly string[]>;
  /** With approvals 0, the moment (ms since 1970) at which it passes; without it such a gate never waits. */
  readonly passesAtMs?: number;
  /** At least so many approvals, whatever the plan says. */
  readonly approvalsMin?: number;
  /** Approvals that came with what opened the gate. */
  readonly given?: readonly Approval[];
  /** Preflight has taken the digest a moment ago. */
  readonly digestIsFresh?: boolean;
  /** A gate that was closed passes again only for the digest that it was closed with. */
  readonly recheck?: boolean;
}

/** `changed`: the estate is another one than was prepared; the gate stays open with the new digest. */
export type GateAnswer = 'approved' | 'rejected' | 'changed';

export async function passGate(run: Run, gate: Gate, options: GateOptions): Promise<GateAnswer> {
  const needed = Math.max(policyOf(run.plan, gate).approvals, options.approvalsMin ?? 0);
  const closed = closedGate(run.state, gate);
  if (closed) {
    if (!options.recheck) return 'approved';
    const taken = await takeDigest(run, gate);
    if (taken === null || taken.digest === closed.digest) return 'approved';
    run.change(gateReopened(run.state, gate));
    if (needed > 0) open(run, gate, needed, options, taken.digest);
    digestChanged(run, gate, taken);
    return 'changed';
  }
  if (openGate(run.state, gate) === null) {
    if (needed === 0 && options.passesAtMs === undefined) {
      run.change(gateClosed(run.state, gate, run.now));
      return 'approved';
    }
    const taken = options.digestIsFresh ? null : await takeDigest(run, gate);
    const known = run.state.digest ?? '';
    open(run, gate, needed, options, taken?.digest ?? known);
    if (taken && taken.digest !== known && digestChanged(run, gate, taken)) return 'changed';
  } else {
    // Continued as new, or prepared again: the numbers are newer than those shown.
    run.change(mendGate(run.state, gate, { facts: options.facts }));
  }
  return awaitPeople(run, gate, options);
}

/**
 * The gate that nothing passes by: people hold the fence, so whatever else is asked for waits until they say that they lifted it. It neither
 * times out nor can be rejected.
 */
export async function awaitUnfence(run: Run, facts: readonly string[]): Promise<void> {
  const gate = 'unfence';
  const { approvals } = policyOf(run.plan, gate);
  open(run, gate, Math.max(1, approvals), { step: 'fence', facts }, run.state.digest ?? '');
  run.change(mendGate(run.state, gate, { deadline: null }));
  const reminders = remind(run, gate);
  await condition(() => isApproved(currentGate(run.state, gate)));
  reminders?.cancel();
  run.change(gateClosed(run.state, gate, run.now));
}

async function awaitPeople(run: Run, gate: Gate, options: GateOptions): Promise<GateAnswer> {
  const reminders = remind(run, gate);
  try {
    return await awaitAnswer(run, gate, options, reminders === null);
  } finally {
    reminders?.cancel();
  }
}

/**
 * Reminds people for as long as the gate is open, in an activity: a timer in here would add five events an hour.
 *
 * @returns what ends it; null where there is nobody to remind, and for runs of an earlier build, which remind from in here
 */
function remind(run: Run, gate: Gate): CancellationScope | null {
  const { needed, openedAt } = currentGate(run.state, gate);
  // Nobody is awaited where only a window has to end.
  if (needed === 0 || !patched('remind-by-activity')) return null;
  const { name: migration, wave } = run.state;
  const everyMs = Math.max(policyOf(run.plan, gate).remindEvery, remindEveryMinMs);
  const scope = new CancellationScope({ cancellable: true });
  const how = unattended(`remind of gate ${gate}`);
  scope
    .run(() => activities.remind.executeWithOptions(how, [{ migration, wave, gate, needed, openedAt, everyMs }]))
    // The gate is open without it.
    .catch(() => {});
  return scope;
}

async function awaitAnswer(run: Run, gate: Gate, options: GateOptions, remindsHere: boolean): Promise<GateAnswer> {
  const remindEvery =
    remindsHere && currentGate(run.state, gate).needed > 0
      ? Math.max(policyOf(run.plan, gate).remindEvery, remindEveryMinMs)
      : Number.POSITIVE_INFINITY;
  let refreshMs = firstRefreshMs;
  let nextRefresh = options.refresh ? Date.now() + refreshMs : Number.POSITIVE_INFINITY;
  let nextReminder = Date.now() + remindEvery;
  for (;;) {
    run.throwIfRequested();
    const state = currentGate(run.state, gate);
    if (state.rejected) return 'rejected';
    const deadline = state.deadline === null ? Number.POSITIVE_INFINITY : Date.parse(state.deadline);
    if (mayPass(run.state, state, options)) {
      const answer = await confirm(run, gate);
      if (answer !== 'again') return answer;
      continue;
    }
    if (Date.now() >= deadline) {
      timedOut(run, gate);
      continue;
    }
    if (Date.now() >= nextReminder) {
      remindHere(run, state);
      nextReminder = Date.now() + remindEvery;
    }
    if (options.refresh && Date.now() >= nextRefresh) {
      refreshMs = Math.min(refreshMs * refreshGrowth, refreshMaxMs);
      nextRefresh = Date.now() + refreshMs;
      await refresh(run, gate, options.refresh);
      continue;
    }
    const passesAt = state.needed === 0 ? (options.passesAtMs ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY;
    // A window that is over waits for people alone, such as for a resume.
    const windowEnd = passesAt > Date.now() ? passesAt : Number.POSITIVE_INFINITY;
    const wakeAt = Math.min(deadline, nextRefresh, nextReminder, windowEnd);
    const something = () => {
      const now = currentGate(run.state, gate);
      return run.state.request !== null || now.rejected !== null || mayPass(run.state, now, options);
    };
    const waitMs = Number.isFinite(wakeAt) ? Math.max(1, wakeAt - Date.now()) : undefined;
    await run.await(something, waitMs, `gate ${gate} waits for people`);
  }
}

/** Approved by enough people (or its window is over), and nothing holds the run up. */
function mayPass(state: CutoverState, gate: GateState, options: GateOptions): boolean {
  if (state.paused !== null || undecidedFailure(state) !== null) return false;
  if (gate.needed === 0) return Date.now() >= (options.passesAtMs ?? 0);
  return isApproved(gate);
}

/** The digest is taken once more with the last approval; somebody may have changed their mind meanwhile. */
async function confirm(run: Run, gate: Gate): Promise<GateAnswer | 'again'> {
  const taken = await takeDigest(run, gate);
  const state = currentGate(run.state, gate);
  if (taken && taken.digest !== state.digest) {
    return digestChanged(run, gate, taken) ? 'changed' : 'again';
  }
  if (state.rejected || run.state.request || run.state.paused || undecidedFailure(run.state)) return 'again';
  run.change(gateClosed(run.state, gate, run.now));
  return 'approved';
}

function open(run: Run, gate: Gate, needed: number, options: GateOptions, digest: string): void {
  const { approvers, timeout } = policyOf(run.plan, gate);
  const now = Date.now();
  run.change(stepAwaited(run.state, options.step, run.now));
  run.change(
    gateOpened(run.state, gate, {
      needed,
      approvers,
      digest,
      deadline: timeout === null ? null : new Date(now + timeout).toISOString(),
      facts: options.facts,
      at: run.now,
      given: options.given ?? [],
    }),
  );
  log.info('gate opened', { ...run.fields, gate, needed });
}

/**
 * Approvals of the open gate are dropped, with the difference as a finding. Until the opening the new
 * inventory is taken over; afterwards new topics wait. True when what was prepared must be prepared again.
 */
function digestChanged(run: Run, gate: Gate, taken: DigestResult): boolean {
  const difference = taken.difference.join('; ') || 'no line says what';
  const changed = finding('DIGEST_CHANGED', `gate ${gate}`, `what would be done has changed: ${difference}`);
  const facts = taken.difference.map((line) => `changed: ${line}`);
  log.warn('digest changed', { ...run.fields, gate, difference });
  if (isOpened(run.state)) {
    run.change(withFindings(approvalsDropped(run.state, gate, taken.digest, facts), [changed]));
    return false;
  }
  const adopted = inventoried(approvalsDropped(run.state, gate, taken.digest, facts), taken);
  run.change(withFindings(adopted, [changed]));
  return gate !== 'start';
}

/**
 * Null when it cannot be taken after the opening: a cluster that fails must not keep people from going
 * back. Before the opening the failure is a step that waits for a decision.
 */
async function takeDigest(run: Run, gate: Gate): Promise<DigestResult | null> {
  const request = { plan: run.plan, inventory: run.state.inventory ?? '' };
  for (;;) {
    try {
      return await run.interruptible(() =>
        activities.takeDigest.executeWithOptions(look(`digest for gate ${gate}`), [request]),
      );
    } catch (error) {
      if (isInterruption(error)) throw error;
      const failure = describeFailure(error);
      if (isOpened(run.state)) {
        log.warn('digest not taken', { ...run.fields, gate, code: failure.code, text: failure.message });
        return null;
      }
      await run.askDecision(run.state.step, failure, ['retry', 'rollback']);
    }
  }
}

async function refresh(run: Run, gate: Gate, takeFacts: () => Promise<readonly string[]>): Promise<void> {
  try {
    const facts = await run.interruptible(takeFacts);
    run.change(mendGate(run.state, gate, { facts }));
  } catch (error) {
    if (isInterruption(error)) throw error;
    // The older facts stay, with their times.
    log.warn('gate facts not taken', { ...run.fields, gate, text: describeFailure(error).message });
  }
}

/** A timeout never approves. Where rejecting would lead nowhere, the gate waits on. */
function timedOut(run: Run, gate: Gate): void {
  const state = currentGate(run.state, gate);
  const leadsBack = gate === 'producers' || gate === 'consumers' || gate === 'finalize';
  if (leadsBack && (state.direction === 'reverse' || rollbackRefusal(run.state) !== null)) {
    log.error('gate timed out, and there is no way back: it waits on', { ...run.fields, gate });
    run.change(mendGate(run.state, gate, { deadline: null }));
    return;
  }
  log.warn('gate timed out: rejected', { ...run.fields, gate });
  const rejected = { by: 'timeout', at: run.now, reason: 'nobody answered in time' };
  run.change(gateRejected(run.state, gate, rejected, 'claimed'));
}

function remindHere(run: Run, gate: GateState): void {
  const { needed, given, openedAt } = gate;
  log.warn('gate still waits', { ...run.fields, gate: gate.gate, needed, given: given.length, openedAt });
}

/** Gone when somebody else took it away; then the run leaves by its own request. */
function currentGate(state: CutoverState, gate: Gate): GateState {
  const found = openGate(state, gate);
  if (found) return found;
  const nothing = {
    wave: null,
    needed: 0,
    approvers: [],
    given: [],
    digest: '',
    deadline: null,
    openedAt: '',
    facts: [],
  };
  return { ...nothing, gate, direction: state.direction, rejected: { by: 'nobody', at: '', reason: 'gate is gone' } };
}
