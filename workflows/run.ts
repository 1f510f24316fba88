/**
 * One run of the runbook: holds the state, shows every change of it to people, takes their messages, and
 * stands between the steps: where it waits, is paused, is asked to end, and continues as new.
 */
import {
  ApplicationFailure,
  allHandlersFinished,
  CancellationScope,
  condition,
  log,
  makeContinueAsNewFunc,
  setCurrentDetails,
  setHandler,
  sleep,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { Scope, StepResult } from '../activities/types.ts';
import type { Code } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import type { DecideMessage, MessageName, Step } from '../contract/status.ts';
import { messageNames } from '../contract/status.ts';
import { admit } from './admission.ts';
import type { cutover } from './cutover.ts';
import * as messages from './messages.ts';
import { awaitingApproval, migrationStep, sourceCluster, sourceOfTruth, targetCluster } from './search-attributes.ts';
import {
  boundaryTaken,
  type CutoverState,
  currentWave,
  type Failure,
  failureOf,
  failureSettled,
  isDone,
  isFenced,
  isGoingBack,
  type Milestone,
  messageRefused,
  pauseHeld,
  reached,
  requested,
  rollbackRefusal,
  stepBegun,
  stepEnded,
  stepFailed,
  stepSaid,
  undecidedFailure,
  withFindings,
} from './state.ts';
import { currentDetails, evidenceOf, isAwaiting, shownStep, sourceOfTruthOf, statusOf } from './status-view.ts';
import { describeFailure } from './steps/calls.ts';

type Choice = DecideMessage['choice'];

/** Whoever sends Temporal's cancel is not named to us. */
const canceller = 'temporal cancel';
/** Carries the work under way out of its step; caught by the runbook, never seen outside. */
const interruptionType = 'INTERRUPTED';

const updates = {
  approve: messages.approveUpdate,
  reject: messages.rejectUpdate,
  pause: messages.pauseUpdate,
  resume: messages.resumeUpdate,
  rollback: messages.rollbackUpdate,
  abort: messages.abortUpdate,
  decide: messages.decideUpdate,
  tune: messages.tuneUpdate,
} as const satisfies Record<MessageName, unknown>;

const signals = {
  approve: messages.approveSignal,
  reject: messages.rejectSignal,
  pause: messages.pauseSignal,
  resume: messages.resumeSignal,
  rollback: messages.rollbackSignal,
  abort: messages.abortSignal,
  decide: messages.decideSignal,
  tune: messages.tuneSignal,
} as const satisfies Record<MessageName, unknown>;

export interface StepOptions {
  /** What people may decide when it fails. */
  readonly choices: readonly Choice[];
  /**
   * After the opening decision: begins at once and is not interrupted, because both clusters are closed
   * until it is through.
   */
  readonly insist?: boolean;
  /** The step is not over when the work is: its record stays open. */
  readonly goesOn?: boolean;
}

export class Run {
  readonly #input: unknown;
  #state: CutoverState;
  #shownAttributes = '';
  /** Length of the history when the last update was answered. */
  #answeredAt = -1;
  /** Puts the background activities to rest before the run continues as new. */
  #beforeContinuing: () => Promise<void> = async () => {};

  constructor(input: unknown, state: CutoverState) {
    this.#input = input;
    this.#state = state;
  }

  get state(): CutoverState {
    return this.#state;
  }

  get now(): string {
    return new Date().toISOString();
  }

  get plan(): Plan {
    const { plan } = this.#state;
    if (plan === null) throw ApplicationFailure.nonRetryable('the plan has not been read', 'INTERNAL' satisfies Code);
    return plan;
  }

  get scope(): Scope {
    return { plan: this.plan, wave: this.#state.wave ?? '', inventory: this.#state.inventory ?? '' };
  }

  boundary(direction: 'forward' | 'reverse'): string {
    return currentWave(this.#state)?.boundary[direction] ?? '';
  }

  /** Takes a new state and shows it. */
  change(next: CutoverState): void {
    this.#state = next;
    this.#show();
  }

  beforeContinuing(rest: () => Promise<void>): void {
    this.#beforeContinuing = rest;
  }

  // ---- Messages

  /** Sets every handler. Must run before the first await: messages may arrive with the first task. */
  listen(): void {
    setHandler(messages.statusQuery, () => statusOf(this.#state), { description: 'Where the migration stands.' });
    setHandler(messages.evidenceQuery, () => evidenceOf(this.#state), {
      description: 'Where the record of what was proven is stored.',
    });
    for (const name of messageNames) {
      const description = messages.messageDescriptions[name];
      setHandler(signals[name], (raw: unknown) => this.#receive(name, raw), { description });
      setHandler(updates[name], (raw: unknown) => this.#answer(name, raw), {
        description,
        validator: (raw: unknown) => this.#validate(name, raw),
      });
    }
    // Temporal's cancel is a message like the others: nothing under way is cancelled by it directly.
    CancellationScope.current().cancelRequested.catch(() => this.#cancelled());
  }

  #receive(name: MessageName, raw: unknown): void {
    const admission = admit(this.#state, name, raw, this.now, 'signal');
    if (admission.accepted) {
      this.change(admission.state);
      return;
    }
    const { by, code, text } = admission;
    this.change(messageRefused(this.#state, { message: name, by, at: this.now, code, text }));
    log.warn('message refused', { ...this.#fields(), message: name, by, code, text });
  }

  /** Synchronous: Temporal does not await a validator. */
  #validate(name: MessageName, raw: unknown): void {
    const admission = admit(this.#state, name, raw, this.now, 'update');
    if (!admission.accepted) throw ApplicationFailure.nonRetryable(admission.text, admission.code);
  }

  #answer(name: MessageName, raw: unknown): messages.Receipt {
    const at = this.now;
    const admission = admit(this.#state, name, raw, at, 'update');
    if (!admission.accepted) throw ApplicationFailure.nonRetryable(admission.text, admission.code);
    this.#answeredAt = workflowInfo().historyLength;
    this.change(admission.state);
    return { message: name, by: admission.by, at, text: admission.text };
  }

  #cancelled(): void {
    const at = this.now;
    const stage = currentWave(this.#state)?.stage ?? 'source';
    const kind = stage === 'source' || stage === 'closing' ? 'abort' : 'rollback';
    if (kind === 'abort' ? this.#state.aborting : isGoingBack(this.#state)) return;
    const impossible = kind === 'rollback' ? rollbackRefusal(this.#state) : null;
    if (impossible) {
      const text = `cancel means going back, but ${impossible}`;
      const refusal = { message: 'rollback', by: canceller, at, code: 'ROLLBACK_IMPOSSIBLE', text } as const;
      this.change(messageRefused(this.#state, refusal));
      return;
    }
    const request = {
      kind,
      by: canceller,
      at,
      reason: '',
      channel: 'signal',
      removeTarget: false,
      counts: true,
    } as const;
    this.change(requested(this.#state, request));
  }

  // ---- Steps and their borders

  /** Runs a step once, however often the runbook comes by. */
  async once(milestone: Milestone, work: () => Promise<void>): Promise<void> {
    if (isDone(this.#state, milestone)) return;
    await work();
    this.change(reached(this.#state, milestone));
  }

  /**
   * A step between two borders. When it fails, people decide; gives null when they skip it.
   * @throws the interruption when somebody wants the run to end or to go back
   */
  async step<Result>(step: Step, work: () => Promise<Result>, options: StepOptions): Promise<Result | null> {
    for (;;) {
      if (!options.insist) await this.border();
      this.change(stepBegun(this.#state, step, this.now));
      try {
        const result = options.insist ? await work() : await this.interruptible(work);
        if (!options.goesOn) this.change(stepEnded(this.#state, step, this.now));
        return result;
      } catch (error) {
        if (isInterruption(error)) throw error;
        const choice = await this.askDecision(step, describeFailure(error), options.choices);
        if (choice !== 'skip') continue;
        this.report(step, { summary: 'skipped by decision' });
        this.change(stepEnded(this.#state, step, this.now));
        return null;
      }
    }
  }

  /** Notes what an activity did. */
  report(step: Step, result: StepResult & { readonly boundary?: string }): void {
    this.change(withFindings(stepSaid(this.#state, step, result.summary), result.findings));
    if (result.boundary) this.change(boundaryTaken(this.#state, this.#state.direction, result.boundary));
  }

  /** Shows a failure and waits until somebody says how to go on. Going back is thrown as the interruption. */
  async askDecision(step: Step, failure: Failure, choices: readonly Choice[]): Promise<Choice> {
    const id = `step ${step}`;
    this.change(stepFailed(this.#state, { id, step, ...failure, choices }));
    log.error('step failed, waiting for decide', {
      ...this.#fields(),
      step,
      code: failure.code,
      text: failure.message,
    });
    await condition(() => this.#state.request !== null || failureOf(this.#state, id)?.choice !== null);
    const choice = failureOf(this.#state, id)?.choice ?? 'retry';
    this.change(failureSettled(this.#state, id));
    this.throwIfRequested();
    return choice;
  }

  /** Where there is no other way than through: waits until somebody says `retry`, whatever else is asked for. */
  async insistOnRetry(step: Step, failure: Failure): Promise<void> {
    const id = `step ${step}`;
    this.change(stepFailed(this.#state, { id, step, ...failure, choices: ['retry'] }));
    log.error('step failed, waiting for retry', { ...this.#fields(), step, code: failure.code, text: failure.message });
    await condition(() => failureOf(this.#state, id)?.choice !== null);
    this.change(failureSettled(this.#state, id));
  }

  /** Where pauses act, failures in the background hold the run up, and it may continue as new. */
  async border(): Promise<void> {
    for (;;) {
      this.throwIfRequested();
      const standsStill = () => this.#state.paused !== null || undecidedFailure(this.#state) !== null;
      if (!standsStill()) break;
      if (this.#state.paused) this.change(pauseHeld(this.#state));
      await condition(() => this.#state.request !== null || !standsStill() || this.mayContinueAsNew);
      await this.continueIfLong();
    }
    await this.continueIfLong();
  }

  /**
   * Runs work that people may interrupt; what it has under way is cancelled and awaited first, because an
   * inverse may start only after the act has ended.
   * @param also another reason to stop
   */
  async interruptible<Result>(work: () => Promise<Result>, also: () => boolean = () => false): Promise<Result> {
    const scope = new CancellationScope({ cancellable: true });
    let settled = false;
    const working = scope.run(work);
    working.then(
      () => {
        settled = true;
      },
      () => {
        settled = true;
      },
    );
    const mustStop = () => this.stopReason() !== null || also();
    await condition(() => settled || mustStop());
    if (settled) return working;
    scope.cancel();
    try {
      // It may have been through when the cancellation came: then it counts.
      return await working;
    } catch {
      throw interruption();
    }
  }

  /** Why work that may be interrupted must stop now. */
  stopReason(): 'request' | 'pause' | 'failure' | null {
    if (this.#state.request) return 'request';
    if (!isFenced(this.#state)) return null;
    if (this.#state.paused) return 'pause';
    return undecidedFailure(this.#state) ? 'failure' : null;
  }

  throwIfRequested(): void {
    if (this.#state.request) throw interruption();
  }

  throwIfInterrupted(): void {
    if (this.stopReason() !== null) throw interruption();
  }

  // ---- Continuing as new, ending

  /**
   * Long enough, nothing fenced, and no failure that waits for people: the next run starts the background
   * activities again, so a failed one would come back undecided.
   */
  get mayContinueAsNew(): boolean {
    const { continueAsNewSuggested, historyLength, memo } = workflowInfo();
    // Tests set a low limit: the server suggests it after thousands of events.
    const limit = memo?.continueAsNewAfterEvents;
    const isLong = continueAsNewSuggested || (typeof limit === 'number' && historyLength > limit);
    return isLong && !isFenced(this.#state) && undecidedFailure(this.#state) === null;
  }

  /** Only where nothing but background activities is under way. */
  async continueIfLong(): Promise<void> {
    if (!this.mayContinueAsNew) return;
    await this.#beforeContinuing();
    await this.drained();
    const { memo } = workflowInfo();
    const next = makeContinueAsNewFunc<typeof cutover>(memo ? { memo } : {});
    await next(this.#input, this.#state);
  }

  /** Every handler has ended, and answered updates have left in a task of their own (temporal#6375). */
  async drained(): Promise<void> {
    await condition(allHandlersFinished);
    if (this.#answeredAt === workflowInfo().historyLength) await sleep(1, { summary: 'let the last answer leave' });
  }

  // ---- What people see

  #show(): void {
    setCurrentDetails(currentDetails(this.#state));
    const { plan } = this.#state;
    if (plan === null) return;
    const shown = {
      step: shownStep(this.#state),
      awaiting: isAwaiting(this.#state),
      truth: Object.entries(sourceOfTruthOf(this.#state)).map(([wave, value]) => `${wave}=${value}`),
    };
    const text = JSON.stringify(shown);
    if (text === this.#shownAttributes) return;
    const first = this.#shownAttributes === '';
    this.#shownAttributes = text;
    upsertSearchAttributes([
      ...(first
        ? [
            { key: sourceCluster, value: plan.source },
            { key: targetCluster, value: plan.target },
          ]
        : []),
      { key: migrationStep, value: shown.step },
      { key: awaitingApproval, value: shown.awaiting },
      { key: sourceOfTruth, value: shown.truth },
    ]);
  }

  #fields(): Record<string, unknown> {
    return { migration: this.#state.name, wave: this.#state.wave, step: shownStep(this.#state) };
  }
}

/** Thrown to leave a step because of what people asked; the state says what. */
export function interruption(): ApplicationFailure {
  return ApplicationFailure.nonRetryable('interrupted', interruptionType);
}

export function isInterruption(error: unknown): boolean {
  return error instanceof ApplicationFailure && error.type === interruptionType;
}
