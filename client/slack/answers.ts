/**
 * What people do in Slack, sent to the workflow: it alone decides whether it counts. Whatever Slack repeats is sent under the same id, so it is
 * one decision.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { CutoverError } from '../../contract/errors.ts';
import type { Gate, MessageName, Step } from '../../contract/status.ts';
import type { CutoverClient, Observation } from '../cutover-client.ts';
import { answerValidMs, signedAnswer } from '../signing.ts';
import { type GateAnswer, receiptAnswer } from '../temporal-answers.ts';
import { type Asked, choiceActions, type Shown, type ShownFailure } from './blocks.ts';
import type { SlackPolicy } from './policy.ts';

const text = z.string().min(1);
const shown = z.looseObject({
  migration: text,
  run: text,
  gate: text,
  wave: text.nullable(),
  openedAt: text,
  digest: text.nullable(),
});
const shownFailure = z.looseObject({
  migration: text,
  run: text,
  step: text,
  wave: text.nullable(),
  failedAt: text,
  choice: z.enum(Object.keys(choiceActions) as [keyof typeof choiceActions]),
});
const asked = z.union([
  shown.extend({ message: z.literal('reject') }),
  shownFailure.extend({ message: z.literal('decide') }),
  z.looseObject({ message: z.literal('rollback'), migration: text, run: text }),
]);

export class Answers {
  readonly #client: CutoverClient;
  readonly #policy: SlackPolicy;

  constructor(client: CutoverClient, policy: SlackPolicy) {
    this.#client = client;
    this.#policy = policy;
  }

  /**
   * @param atMs when Slack says that it was clicked: the same for whatever it repeats
   * @returns what it did, one line
   * @throws CutoverError the code that the workflow refuses it with
   */
  async answer(message: 'approve' | 'reject', about: Shown, user: string, atMs: number, reason = ''): Promise<string> {
    const { migration, run, wave, openedAt, digest } = about;
    const gate = about.gate as Gate;
    const by = this.#policy.users.get(user) ?? (await this.#unlisted(user, about));
    const seen = { gate, wave, openedAt, digest };
    const validMs = atMs + answerValidMs - Date.now();
    const proof =
      this.#policy.key === null
        ? {}
        : signedAnswer(this.#policy.key, { message, migration, run, gate: seen, by }, validMs);
    const said = { gate, by, openedAt, reason: `${reason} (Slack user ${user})`.trim(), ...proof };
    const body = { ...said, ...(wave !== null && { wave }), ...(digest !== null && { digest }) };
    return receiptText(await this.#client.send(migration, message, body, seen, { run }));
  }

  /**
   * Steers a migration; who is on no list of slack.yaml may not.
   *
   * @param occasion what Slack names the command or window by: the same for whatever it repeats
   * @throws CutoverError the code that the workflow refuses it with
   */
  async steer(
    message: 'pause' | 'resume' | 'rollback',
    { migration, run }: { readonly migration: string; readonly run: string },
    user: string,
    occasion: string,
    reason = '',
  ): Promise<string> {
    const by = this.#policy.users.get(user);
    if (by === undefined) throw unlisted(user, `${message} of ${migration}`);
    const id = idOf(`${message} ${user} ${occasion}`);
    const body = { by, reason: `${reason} (Slack user ${user})`.trim() };
    return receiptText(await this.#client.send(migration, message, body, null, { id, run }));
  }

  /**
   * Decides how a failed step goes on; whatever is sent twice is one decision, and none for a later failure of that step.
   *
   * @throws CutoverError the code that the workflow refuses it with
   */
  async decide(
    { migration, run, step, wave, failedAt, choice }: ShownFailure,
    user: string,
    reason = '',
  ): Promise<string> {
    const by = this.#policy.users.get(user);
    if (by === undefined) throw unlisted(user, `${choice} of ${step} of ${migration}`);
    const id = idOf(`decide ${user} ${step} ${wave} ${failedAt} ${choice}`);
    const said = { by, step: step as Step, choice, failedAt, reason: `${reason} (Slack user ${user})`.trim() };
    const body = { ...said, ...(wave !== null && { wave }) };
    return receiptText(await this.#client.send(migration, 'decide', body, null, { id, run }));
  }

  /** The gate as it is now, for whoever wants to see more of it. */
  async look({ migration, run, gate, wave, openedAt }: Shown): Promise<{ look: Observation; gate: GateAnswer }> {
    const look = await this.#client.observe(migration);
    const same = (one: GateAnswer) => one.gate === gate && one.wave === wave && one.openedAt === openedAt;
    const found = look.firstRunId === run && !look.ending ? look.status.gates.find(same) : undefined;
    if (found) return { look, gate: found };
    throw new CutoverError('GATE_NOT_OPEN', { what: `gate ${gate} of ${migration} is not open any more` });
  }

  /**
   * The migration that a command names, or the only one that runs.
   *
   * @throws CutoverError MIGRATION_NOT_FOUND, USAGE
   */
  async named(name: string | undefined): Promise<Observation> {
    if (name !== undefined) return this.#client.observe(name);
    const running = await this.#client.running(runningShownMax);
    const [only, ...others] = running;
    if (only !== undefined && others.length === 0) return this.#client.observe(only);
    throw new CutoverError(only === undefined ? 'MIGRATION_NOT_FOUND' : 'USAGE', {
      what: only === undefined ? 'no migration runs' : 'several migrations run',
      found: running.join(', ') || 'none',
      wanted: "the plan's name",
      next: 'Name it: `/cutover status NAME`.',
    });
  }

  /** Who is on no list goes to the workflow under a name that is on none; where anyone may approve, the list in slack.yaml is the list. */
  async #unlisted(user: string, about: Shown): Promise<string> {
    const { gate } = await this.look(about);
    if (gate.approvers.length === 0) throw unlisted(user, `gate ${gate.gate} of ${about.migration}`);
    return `slack:${user}`;
  }
}

const runningShownMax = 10;
const idOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 32);

function unlisted(user: string, where: string): CutoverError {
  return new CutoverError('NOT_AN_APPROVER', {
    what: `Slack user ${user} is nobody that slack.yaml knows`,
    where,
    next: 'Ask somebody who is, or have yourself added to `users` in slack.yaml.',
  });
}

function receiptText(answer: unknown): string {
  const receipt = receiptAnswer.safeParse(answer);
  return receipt.success ? receipt.data.text : 'received';
}

/** What a button of ours carries. @throws CutoverError MESSAGE_INVALID */
export function readShown(value: unknown): Shown {
  return read(shown, value);
}

/** What a button below a failed step carries. @throws CutoverError MESSAGE_INVALID */
export function readShownFailure(value: unknown): ShownFailure {
  return read(shownFailure, value);
}

/** What a window of ours carries. @throws CutoverError MESSAGE_INVALID */
export function readAsked(value: unknown): Asked {
  return read(asked, value) as Asked;
}

function read<Result>(schema: z.ZodType<Result>, value: unknown): Result {
  try {
    return schema.parse(JSON.parse(String(value)));
  } catch (cause) {
    throw new CutoverError('MESSAGE_INVALID', { what: 'Slack sent what is not ours' }, { cause });
  }
}

export type Steering = Extract<MessageName, 'pause' | 'resume' | 'rollback'>;
