/**
 * One migration, seen and steered from outside: started with a plan as plain data, approved by signal, as anybody can
 * from Temporal's UI or command. `glance` needs no worker; everything else that is said about a migration does.
 */
import { type Client, WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import type { CutoverClient } from '../../../client/cutover-client.ts';
import type { StatusAnswer } from '../../../client/temporal-answers.ts';
import type { PlanInput } from '../../../contract/plan.ts';
import { type MessageName, searchAttributes, taskQueues, workflowId, workflowType } from '../../../contract/status.ts';
import { waitFor } from './waiting.ts';

const keys = {
  step: defineSearchAttributeKey(searchAttributes.step, 'KEYWORD'),
  awaiting: defineSearchAttributeKey(searchAttributes.awaitingApproval, 'BOOL'),
  truth: defineSearchAttributeKey(searchAttributes.sourceOfTruth, 'KEYWORD_LIST'),
};

/** PENDING_ACTIVITY_STATE_STARTED */
const activityStarted = 2;

/** What Temporal's server knows by itself. */
export interface Glance {
  readonly step: string;
  /** `source`, `none` or `target` of the only wave. */
  readonly truth: string;
  readonly awaiting: boolean;
  readonly running: boolean;
}

export interface WaitOptions {
  /** A step that fails for people to decide is tried again, as somebody at the desk would. */
  readonly retryFailedSteps?: boolean;
}

export class Migration {
  readonly plan: PlanInput;
  /** Steps that failed for people to see and were told to try again: `code message`. */
  readonly retried: string[] = [];
  readonly #temporal: Client;
  readonly #client: CutoverClient;
  #handle: WorkflowHandle;

  constructor(plan: PlanInput, temporal: Client, client: CutoverClient) {
    this.plan = plan;
    this.#temporal = temporal;
    this.#client = client;
    this.#handle = temporal.workflow.getHandle(workflowId(plan.name));
  }

  /** Starts a run of it; earlier ones must have ended. */
  async start(): Promise<this> {
    const id = workflowId(this.plan.name);
    const started = await this.#temporal.workflow.start(workflowType, {
      workflowId: id,
      taskQueue: taskQueues.control,
      args: [this.plan],
    });
    // Of this run: the next one has the same id.
    this.#handle = this.#temporal.workflow.getHandle(id, undefined, {
      firstExecutionRunId: started.firstExecutionRunId,
    });
    return this;
  }

  async glance(): Promise<Glance> {
    const described = await this.#handle.describe();
    const attributes = described.typedSearchAttributes;
    const truths = attributes.get(keys.truth) ?? ['all=source'];
    return {
      step: attributes.get(keys.step) ?? 'preflight',
      truth: truths.map((pair) => pair.split('=').at(-1)).join(','),
      awaiting: attributes.get(keys.awaiting) ?? false,
      running: described.status.name === 'RUNNING',
    };
  }

  /** The worker of each shard of the mirror that has begun, by activity id. */
  async mirrorShards(): Promise<ReadonlyMap<string, string>> {
    const { raw } = await this.#handle.describe();
    const begun = (raw.pendingActivities ?? []).filter(
      ({ activityType, state }) => activityType?.name === 'mirror' && state === activityStarted,
    );
    return new Map(begun.map((activity) => [activity.activityId ?? '', activity.lastWorkerIdentity ?? '']));
  }

  /** Null while no worker answers. */
  async status(): Promise<StatusAnswer | null> {
    const { status, note } = await this.#client.observe(this.plan.name);
    return note === null ? status : null;
  }

  async signal(name: MessageName, body: Readonly<Record<string, unknown>>): Promise<void> {
    await this.#handle.signal(name, body);
  }

  /** Looks many times a second at what the server knows, through any number of workers. */
  async until(
    what: string,
    timeoutMs: number,
    ready: (seen: Glance) => boolean,
    options: WaitOptions & { readonly everyMs?: number } = {},
  ): Promise<Glance> {
    let standing = '';
    return waitFor(
      `${this.plan.name}: ${what}`,
      timeoutMs,
      async () => {
        const seen = await this.glance();
        standing = JSON.stringify(seen);
        if (ready(seen)) return seen;
        if (!seen.running) throw new Error(`${this.plan.name} ended before ${what}: ${await this.howItEnded()}`);
        const status = seen.awaiting ? await this.status() : null;
        if (status) {
          standing = describe(status);
          await this.#decide(status, options);
        }
        return false;
      },
      { everyMs: options.everyMs ?? 20, standing: () => standing },
    );
  }

  /** Waits, through any number of workers, until the gate is open; its facts. */
  async untilGate(gate: string, timeoutMs: number, options: WaitOptions = {}): Promise<readonly string[]> {
    let standing = '';
    return waitFor(
      `${this.plan.name}: gate ${gate}`,
      timeoutMs,
      async () => {
        const seen = await this.glance();
        standing = JSON.stringify(seen);
        if (!seen.running) throw new Error(`${this.plan.name} ended before gate ${gate}: ${await this.howItEnded()}`);
        if (!seen.awaiting) return null;
        const status = await this.status();
        if (!status) return null;
        standing = describe(status);
        await this.#decide(status, options);
        return status.awaiting?.gate === gate && !status.failedStep ? status.awaiting.facts : null;
      },
      { everyMs: 200, standing: () => standing },
    );
  }

  /** Waits, through any number of workers, until the run has ended; its outcome, which must be the one wanted. */
  async untilEnded(outcome: string, timeoutMs: number, options: WaitOptions = {}): Promise<void> {
    let standing = '';
    await waitFor(
      `${this.plan.name} to end as ${outcome}`,
      timeoutMs,
      async () => {
        const seen = await this.glance();
        standing = JSON.stringify(seen);
        if (!seen.running) return true;
        const status = seen.awaiting ? await this.status() : null;
        if (status) {
          standing = describe(status);
          await this.#decide(status, options);
        }
        return false;
      },
      { everyMs: 200, standing: () => standing },
    );
    const found = await this.howItEnded();
    if (found !== outcome) throw new Error(`${this.plan.name} ended as ${found}, wanted ${outcome}`);
  }

  async #decide(status: StatusAnswer, { retryFailedSteps }: WaitOptions): Promise<void> {
    const { failedStep } = status;
    if (!failedStep) return;
    if (!retryFailedSteps) throw new Error(`${this.plan.name}: ${describe(status)}`);
    this.retried.push(`${failedStep.code} ${failedStep.message}`);
    await this.signal('decide', { step: failedStep.step, choice: 'retry', by: 'kafka-owner' });
  }

  /** Its outcome, or why it failed; waits until it has ended. */
  async howItEnded(): Promise<string> {
    try {
      const result = (await this.#handle.result()) as { outcome?: string };
      return result.outcome ?? JSON.stringify(result);
    } catch (error) {
      if (!(error instanceof WorkflowFailedError)) throw error;
      return `failed: ${error.cause?.message ?? error.message}`;
    }
  }
}

function describe({ state, step, failedStep, awaiting, findings, refused }: StatusAnswer): string {
  return [
    `${state} at ${step}${awaiting ? `, gate ${awaiting.gate}` : ''}`,
    ...(failedStep ? [`${failedStep.step} failed: ${failedStep.code} ${failedStep.message}`] : []),
    ...findings.filter(({ severity }) => severity === 'blocker').map(({ code, message }) => `${code} ${message}`),
    ...refused.map(({ code, text }) => `refused: ${code} ${text}`),
  ].join('\n  ');
}
