/**
 * A migration: the state of all its waves, shown to people with every change, and their messages. It continues as new
 * when its history is long and every wave rests.
 */
import {
  ApplicationFailure,
  allHandlersFinished,
  CancellationScope,
  condition,
  log,
  makeContinueAsNewFunc,
  patched,
  setCurrentDetails,
  setHandler,
  sleep,
  upsertMemo,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { statementText } from '../contract/approval.ts';
import { finding } from '../contract/errors.ts';
import type { MessageName } from '../contract/status.ts';
import { messageNames } from '../contract/status.ts';
import { type Admission, admit, type Channel, type Refused, type SignedAnswer } from './admission.ts';
import type { cutover } from './cutover.ts';
import * as messages from './messages.ts';
import { TruthMetrics } from './metrics.ts';
import { noticesOf } from './notices.ts';
import { tellProgress } from './progress.ts';
import { Run } from './run.ts';
import { awaitingApproval, migrationStep, sourceCluster, sourceOfTruth, targetCluster } from './search-attributes.ts';
import {
  type CutoverState,
  currentWave,
  isFenced,
  isGoingBack,
  liveViews,
  type MigrationState,
  messageRefused,
  requested,
  rollbackRefusal,
  told,
  toTell,
  undecidedFailure,
  viewOf,
  waveBegun,
  withFindings,
  withView,
} from './state.ts';
import {
  currentDetails,
  evidenceOf,
  isAwaiting,
  leading,
  shownStep,
  sourceOfTruthOf,
  statusOf,
} from './status-view.ts';
import { activities, check, describeFailure, telling } from './steps/calls.ts';

/** How long the end waits until webhooks have heard of it. */
const lastNoticesMs = 60_000;

/** Whoever sends Temporal's cancel is not named to us. */
const canceller = 'temporal cancel';

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

export class Migration {
  readonly #input: unknown;
  #state: MigrationState;
  /** Of the waves under way; the plan's before them. */
  readonly #runs = new Map<string | null, Run>();
  readonly #resting = new Set<Run>();
  #continuing: Promise<void> | null = null;
  #shownAttributes = '';
  readonly #metrics = new TruthMetrics();
  /** False for runs of earlier builds: their histories have neither the digest as a memo nor findings of heartbeats. */
  #showsMore = false;
  /** Webhooks that are being told. */
  readonly #telling = new Set<string>();
  /** Length of the history when the last update was answered. */
  #answeredAt = -1;

  constructor(input: unknown, state: MigrationState) {
    this.#input = input;
    this.#state = state;
  }

  get state(): MigrationState {
    return this.#state;
  }

  get now(): string {
    return new Date().toISOString();
  }

  /** The plan's run, until its waves begin. */
  get plans(): Run {
    return this.#runOf(null);
  }

  /** Begins the wave, or goes on with it. */
  wave(name: string): Run {
    this.change(waveBegun(this.#state, name, this.now));
    return this.#runOf(name);
  }

  #runOf(wave: string | null): Run {
    const run = this.#runs.get(wave) ?? new Run(this, wave);
    this.#runs.set(wave, run);
    return run;
  }

  /** Takes a new state and shows it. */
  change(next: MigrationState): void {
    this.#metrics.show(this.#state.shared, next.shared, Date.now());
    tellProgress(this.#state, next, this.now);
    this.#state = this.#noticed(next);
    this.#show();
    this.#tell();
  }

  get showsMore(): boolean {
    return this.#showsMore;
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
    this.#showsMore = patched('memo-and-heartbeats');
    this.#tell();
    // Temporal's cancel is a message like the others: nothing under way is cancelled by it directly.
    CancellationScope.current().cancelRequested.catch(() => {
      for (const { wave } of liveViews(this.#state)) this.#cancelled(viewOf(this.#state, wave));
    });
  }

  #receive(name: MessageName, raw: unknown): void | Promise<void> {
    const at = this.now;
    const admission = admit(this.#state, name, raw, at, 'signal');
    if (!admission.accepted) return this.#refuse(name, admission);
    if (admission.proof === null) return this.change(admission.state);
    return this.#proven(name, raw, at, 'signal', admission.proof).then((proven) =>
      proven.accepted ? this.change(proven.state) : this.#refuse(name, proven),
    );
  }

  #refuse(name: MessageName, { by, code, text }: Refused): void {
    const plans = viewOf(this.#state, null);
    this.change(withView(this.#state, messageRefused(plans, { message: name, by, at: this.now, code, text })));
    log.warn('message refused', { migration: plans.name, message: name, by, code, text });
  }

  /** Synchronous: Temporal does not await a validator. */
  #validate(name: MessageName, raw: unknown): void {
    const admission = admit(this.#state, name, raw, this.now, 'update');
    if (!admission.accepted) throw ApplicationFailure.nonRetryable(admission.text, admission.code);
  }

  #answer(name: MessageName, raw: unknown): messages.Receipt | Promise<messages.Receipt> {
    const at = this.now;
    const admission = admit(this.#state, name, raw, at, 'update');
    if (!admission.accepted || admission.proof === null) return this.#take(name, admission, at);
    return this.#proven(name, raw, at, 'update', admission.proof).then((proven) => this.#take(name, proven, at));
  }

  #take(name: MessageName, admission: Admission, at: string): messages.Receipt {
    if (!admission.accepted) throw ApplicationFailure.nonRetryable(admission.text, admission.code);
    this.#answeredAt = workflowInfo().historyLength;
    this.change(admission.state);
    return { message: name, by: admission.by, at, text: admission.text };
  }

  /** Has the signature checked; meanwhile people may have answered, so that what it signs is admitted once more. */
  async #proven(
    name: MessageName,
    raw: unknown,
    at: string,
    channel: Channel,
    { statement, signature }: SignedAnswer,
  ): Promise<Admission> {
    const { by } = statement;
    const text = statementText({ ...statement, run: workflowInfo().firstExecutionRunId });
    try {
      const options = check(`check the signature of ${by}`);
      // Temporal's cancel is a message like this one, and does not keep it from being checked.
      await CancellationScope.nonCancellable(() =>
        activities.verifyApproval.executeWithOptions(options, [{ by, statement: text, signature }]),
      );
    } catch (error) {
      const failure = describeFailure(error);
      return { accepted: false, by, code: failure.code, text: failure.message };
    }
    const again = admit(this.#state, name, raw, at, channel);
    if (!again.accepted || JSON.stringify(again.proof?.statement) === JSON.stringify(statement)) return again;
    const changed = `gate ${statement.gate} shows something else than what ${by} signed`;
    return { accepted: false, by, code: 'PROOF_INVALID', text: changed };
  }

  #cancelled(view: CutoverState): void {
    const at = this.now;
    const stage = currentWave(view)?.stage ?? 'source';
    const kind = stage === 'source' || stage === 'closing' ? 'abort' : 'rollback';
    if (kind === 'abort' ? view.aborting : isGoingBack(view)) return;
    const impossible = kind === 'rollback' ? rollbackRefusal(view) : null;
    const request = {
      kind,
      by: canceller,
      at,
      reason: '',
      channel: 'signal',
      removeTarget: false,
      counts: true,
    } as const;
    const text = `cancel means going back, but ${impossible}`;
    const refusal = { message: 'rollback', by: canceller, at, code: 'ROLLBACK_IMPOSSIBLE', text } as const;
    const next = impossible ? messageRefused(view, refusal) : requested(view, request);
    this.change(withView(this.#state, next));
  }

  // ---- Continuing as new, ending

  /** Waits until it holds, or for so long; when the migration continues as new meanwhile, it never comes back. */
  async resting(run: Run, holds: () => boolean, timeoutMs?: number, summary = ''): Promise<void> {
    this.#resting.add(run);
    const awake = () => holds() || this.#mayContinueAsNew(run);
    try {
      if (timeoutMs === undefined) await condition(awake);
      else await condition(awake, timeoutMs, { summary });
    } finally {
      this.#resting.delete(run);
    }
    await this.continueIfLong(run);
  }

  /** Only where nothing but background activities of the wave is under way. */
  async continueIfLong(run: Run): Promise<void> {
    if (this.#continuing === null && this.#mayContinueAsNew(run)) this.#continuing = this.#continueAsNew();
    // No wave begins anything while the others are put to rest.
    if (this.#continuing) await this.#continuing;
  }

  /**
   * Long enough, every other wave at rest, nothing fenced, and no failure that waits for people: the next run starts the
   * background activities again, so a failed one would come back undecided.
   */
  #mayContinueAsNew(run: Run): boolean {
    const { continueAsNewSuggested, historyLength, memo } = workflowInfo();
    // Tests set a low limit: the server suggests it after thousands of events.
    const limit = memo?.continueAsNewAfterEvents;
    const isLong = continueAsNewSuggested || (typeof limit === 'number' && historyLength > limit);
    if (!isLong || this.#continuing) return false;
    const live = liveViews(this.#state);
    if (live.some((view) => isFenced(view) || undecidedFailure(view) !== null)) return false;
    return live.every((view) => {
      const other = this.#runs.get(view.wave);
      return other === run || (other !== undefined && this.#resting.has(other));
    });
  }

  async #continueAsNew(): Promise<void> {
    await Promise.all([...this.#runs.values()].map((run) => run.rest()));
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

  // ---- What webhooks are told

  #noticed(next: MigrationState): MigrationState {
    const webhooks = next.shared.plan?.notify ?? [];
    const notices = webhooks.length === 0 ? [] : noticesOf(this.#state, next, this.now);
    return notices.length === 0 ? next : toTell(next, webhooks, workflowInfo().firstExecutionRunId, notices);
  }

  /** One at a time for each webhook, in order. */
  #tell(): void {
    for (const [webhook, waiting] of Object.entries(this.#state.shared.outbox?.waiting ?? {})) {
      if (waiting.length === 0 || this.#telling.has(webhook)) continue;
      this.#telling.add(webhook);
      CancellationScope.nonCancellable(() => this.#tellAll(webhook)).catch(() => {});
    }
  }

  async #tellAll(webhook: string): Promise<void> {
    for (;;) {
      const notices = this.#state.shared.outbox?.waiting[webhook] ?? [];
      if (notices.length === 0) break;
      try {
        const [first] = notices;
        await activities.notify.executeWithOptions(telling(`tell ${webhook}: ${first?.text ?? ''}`.slice(0, 200)), [
          { webhook, notices },
        ]);
        this.change(told(this.#state, webhook, notices));
      } catch (error) {
        const { message } = describeFailure(error);
        log.warn('a webhook was not told', { migration: this.#state.shared.name, webhook, text: message });
        const given = told(this.#state, webhook, notices);
        const failed = finding(
          'WEBHOOK_FAILED',
          `webhook ${webhook}`,
          `${notices.length} notices were not taken: ${message}`,
        );
        this.change(withView(given, withFindings(viewOf(given, null), [failed])));
      }
    }
    this.#telling.delete(webhook);
  }

  /** Before the end, for a while: what is under way ends with the workflow. */
  async toldAll(): Promise<void> {
    const isQuiet = () => Object.values(this.#state.shared.outbox?.waiting ?? {}).every(({ length }) => length === 0);
    if (!isQuiet()) await condition(isQuiet, lastNoticesMs, { summary: 'let webhooks hear of the end' });
  }

  // ---- What people see

  #show(): void {
    setCurrentDetails(currentDetails(this.#state));
    const { plan } = this.#state.shared;
    if (plan === null) return;
    const { digest } = leading(this.#state);
    if (this.#showsMore && digest !== null && workflowInfo().memo?.digest !== digest) upsertMemo({ digest });
    const shown = {
      step: shownStep(leading(this.#state)),
      awaiting: isAwaiting(this.#state),
      truth: Object.entries(sourceOfTruthOf(this.#state.shared)).map(([wave, value]) => `${wave}=${value}`),
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
}
