/**
 * One wave's run of the runbook, or the plan's before the waves begin: shows every change of its state to people, and
 * stands between the steps, where it waits, is paused, is asked to end, and where the migration continues as new.
 */
import { ApplicationFailure, CancellationScope, condition, log } from '@temporalio/workflow';
import type { Scope, StepResult } from '../activities/types.ts';
import type { Code } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import type { DecideMessage, Phase, Step } from '../contract/status.ts';
import type { Migration } from './migration.ts';
import {
  boundaryTaken,
  type CutoverState,
  currentWave,
  type Failure,
  failureOf,
  failureSettled,
  isDone,
  isFenced,
  type Milestone,
  pauseHeld,
  phaseEnded,
  reached,
  stepBegun,
  stepEnded,
  stepFailed,
  stepSaid,
  undecidedFailure,
  viewOf,
  withFindings,
  withView,
} from './state.ts';
import { shownStep } from './status-view.ts';
import { describeFailure } from './steps/calls.ts';

type Choice = DecideMessage['choice'];

/** Carries the work under way out of its step; caught by the runbook, never seen outside. */
const interruptionType = 'INTERRUPTED';

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
  readonly #migration: Migration;
  readonly #wave: string | null;
  /** Puts the background activities to rest before the run continues as new. */
  #beforeContinuing: () => Promise<void> = async () => {};

  constructor(migration: Migration, wave: string | null) {
    this.#migration = migration;
    this.#wave = wave;
  }

  get state(): CutoverState {
    return viewOf(this.#migration.state, this.#wave);
  }

  get now(): string {
    return new Date().toISOString();
  }

  get plan(): Plan {
    const { plan } = this.state;
    if (plan === null) throw ApplicationFailure.nonRetryable('the plan has not been read', 'INTERNAL' satisfies Code);
    return plan;
  }

  get scope(): Scope {
    return { plan: this.plan, wave: this.state.wave ?? '', inventory: this.state.inventory ?? '' };
  }

  boundary(direction: 'forward' | 'reverse'): string {
    return currentWave(this.state)?.boundary[direction] ?? '';
  }

  /** Takes a new state and shows it. */
  change(next: CutoverState): void {
    this.#migration.change(withView(this.#migration.state, next));
  }

  beforeContinuing(rest: () => Promise<void>): void {
    this.#beforeContinuing = rest;
  }

  /** The state keeps wanting what was under way: the next run starts it again. */
  rest(): Promise<void> {
    return this.#beforeContinuing();
  }

  // ---- Steps and their borders

  /** Runs a step once, however often the runbook comes by. */
  async once(milestone: Milestone, work: () => Promise<void>): Promise<void> {
    if (isDone(this.state, milestone)) return;
    await work();
    this.change(reached(this.state, milestone));
  }

  /**
   * A step between two borders. When it fails, people decide; gives null when they skip it.
   * @throws the interruption when somebody wants the run to end or to go back
   */
  async step<Result>(step: Step, work: () => Promise<Result>, options: StepOptions): Promise<Result | null> {
    for (;;) {
      if (!options.insist) await this.border();
      this.change(stepBegun(this.state, step, this.now));
      try {
        const result = options.insist ? await work() : await this.interruptible(work);
        if (!options.goesOn) this.change(stepEnded(this.state, step, this.now));
        return result;
      } catch (error) {
        if (isInterruption(error)) throw error;
        const choice = await this.askDecision(step, describeFailure(error), options.choices);
        if (choice !== 'skip') continue;
        this.report(step, { summary: 'skipped by decision' });
        this.change(stepEnded(this.state, step, this.now));
        return null;
      }
    }
  }

  /** Notes what an activity did, and that the part of the step that applications waited for is over with it. */
  report(step: Step, result: StepResult & { readonly boundary?: string }, phase?: Phase): void {
    const said = stepSaid(this.state, step, result.summary);
    this.change(withFindings(phase ? phaseEnded(said, step, phase, this.now) : said, result.findings));
    if (result.boundary) this.change(boundaryTaken(this.state, this.state.direction, result.boundary));
  }

  /** Shows a failure and waits until somebody says how to go on. Going back is thrown as the interruption. */
  async askDecision(step: Step, failure: Failure, choices: readonly Choice[]): Promise<Choice> {
    const id = `step ${step}`;
    this.change(stepFailed(this.state, { id, step, ...failure, choices, at: this.now }));
    log.error('step failed, waiting for decide', {
      ...this.fields,
      step,
      code: failure.code,
      text: failure.message,
    });
    await condition(() => this.state.request !== null || failureOf(this.state, id)?.choice !== null);
    const choice = failureOf(this.state, id)?.choice ?? 'retry';
    this.change(failureSettled(this.state, id));
    this.throwIfRequested();
    return choice;
  }

  /** Where there is no other way than through: waits until somebody says `retry`, whatever else is asked for. */
  async insistOnRetry(step: Step, failure: Failure): Promise<void> {
    const id = `step ${step}`;
    this.change(stepFailed(this.state, { id, step, ...failure, choices: ['retry'], at: this.now }));
    log.error('step failed, waiting for retry', { ...this.fields, step, code: failure.code, text: failure.message });
    await condition(() => failureOf(this.state, id)?.choice !== null);
    this.change(failureSettled(this.state, id));
  }

  /** Where pauses act, failures in the background hold the run up, and it may continue as new. */
  async border(): Promise<void> {
    for (;;) {
      this.throwIfRequested();
      const standsStill = () => this.state.paused !== null || undecidedFailure(this.state) !== null;
      if (!standsStill()) break;
      if (this.state.paused) this.change(pauseHeld(this.state));
      await this.await(() => this.state.request !== null || !standsStill());
    }
    await this.#migration.continueIfLong(this);
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
    if (this.state.request) return 'request';
    if (!isFenced(this.state)) return null;
    if (this.state.paused) return 'pause';
    return undecidedFailure(this.state) ? 'failure' : null;
  }

  throwIfRequested(): void {
    if (this.state.request) throw interruption();
  }

  throwIfInterrupted(): void {
    if (this.stopReason() !== null) throw interruption();
  }

  /** Waits where nothing but background activities is under way, so that the migration may continue as new meanwhile. */
  async await(holds: () => boolean, timeoutMs?: number, summary?: string): Promise<void> {
    await this.#migration.resting(this, holds, timeoutMs, summary);
  }

  /** What every line of the log says. */
  get fields(): Record<string, unknown> {
    return { migration: this.state.name, wave: this.state.wave, step: shownStep(this.state) };
  }
}

/** Thrown to leave a step because of what people asked; the state says what. */
export function interruption(): ApplicationFailure {
  return ApplicationFailure.nonRetryable('interrupted', interruptionType);
}

export function isInterruption(error: unknown): boolean {
  return error instanceof ApplicationFailure && error.type === interruptionType;
}
