/** What the commands that send a message to a migration have in common: who sends, what comes back. */
import { userInfo } from 'node:os';
import { Option } from 'commander';
import { CutoverError } from '../contract/errors.ts';
import type { DecideMessage, Gate, MessageName, Step } from '../contract/status.ts';
import type { Message } from './cutover-client.ts';
import { readDuration } from './durations.ts';
import { type Answer, printable, type Terminal } from './terminal.ts';

export interface SenderOptions {
  readonly by?: string;
  readonly wave?: string;
  readonly reason?: string;
  readonly digest?: string;
  /** File of the key that signs the answer. */
  readonly key?: string;
  readonly validFor?: string;
}

/** What a message says beside who sends it. */
export interface MessageFields {
  readonly gate?: Gate;
  readonly removeTarget?: boolean;
  readonly step?: Step;
  readonly choice?: DecideMessage['choice'];
  readonly failedAt?: string;
  readonly maxBytesPerSecond?: number;
  readonly shards?: number;
}

/** Options are made anew for each command. */
export const byOption = () => new Option('--by <who>', 'who says so (default: $USER)');
export const waveOption = () =>
  new Option('--wave <name>', 'the wave; may be left out when only one can be meant (pause and resume: all)');
export const reasonOption = () => new Option('--reason <text>', 'why; shown in status and report');

export const keyOption = () => new Option('--key <file>', 'sign it with this Ed25519 key (gates with proof: required)');
export const validForOption = () =>
  new Option('--valid-for <duration>', 'how long the signed answer counts (default: 10m)');

/** @throws CutoverError USAGE when nobody is named */
export function sender(by: string | undefined, env: NodeJS.ProcessEnv): string {
  const who = (by ?? (env.USER || userInfo().username)).trim(); // containers often have no $USER
  if (who) return who;
  throw new CutoverError('USAGE', {
    what: 'nobody is named as the sender',
    found: 'an empty name',
    wanted: '--by WHO',
  });
}

/**
 * Sends one message and says what it led to. `name` is the plan's.
 *
 * @throws CutoverError what `CutoverClient.send` throws
 */
export async function sendMessage(
  terminal: Terminal,
  name: string,
  message: MessageName,
  fields: MessageFields,
  options: SenderOptions,
): Promise<Answer> {
  const [{ CutoverClient, unanswered }, { receiptAnswer }, { readSigningKey, signedAnswer }] = await Promise.all([
    import('./cutover-client.ts'),
    import('./temporal-answers.ts'),
    import('./signing.ts'),
  ]);
  const by = sender(options.by, terminal.env);
  const body: Message = {
    ...fields,
    ...(options.wave && { wave: options.wave }),
    by,
    ...(options.reason && { reason: options.reason }),
    ...(options.digest && { digest: options.digest }),
  };
  const key = options.key === undefined ? null : readSigningKey(options.key);
  const validMs = options.validFor === undefined ? undefined : await readDuration(options.validFor, '--valid-for');
  await using client = await CutoverClient.connect(terminal.env);
  const before = await client.observe(name);
  if (before.ending) {
    throw new CutoverError('MIGRATION_ENDED', {
      what: `${name} has ended already`,
      found: `outcome ${before.ending.outcome}`,
      wanted: 'a migration that runs',
      next: `Look at it: \`kafka-cutover status ${name}\`.`,
    });
  }
  if (before.note) throw unanswered(name, message, body, `${message} was not sent`);
  const gate =
    before.status.gates.find(
      (open) => open.gate === fields.gate && (options.wave === undefined || open.wave === options.wave),
    ) ?? null;
  const proof =
    key && gate && (message === 'approve' || message === 'reject')
      ? signedAnswer(
          key,
          { message, migration: name, run: before.firstRunId, gate, by, digest: options.digest },
          validMs,
        )
      : {};
  const answer = await client.send(name, message, { ...body, ...proof }, gate);
  const after = await client.observe(name);
  const still = after.status.gates.find((open) => open.gate === fields.gate && open.wave === gate?.wave);
  const approvals = gate && { given: still ? still.given.length : gate.needed, needed: gate.needed };
  const receipt = receiptAnswer.safeParse(answer);
  const now = after.ending ? `ended: ${after.ending.outcome}` : `${after.status.state} at ${after.status.step}`;
  return {
    json: {
      name,
      message,
      ...body,
      approvals,
      answer: answer ?? null,
      state: after.status.state,
      step: after.status.step,
    },
    text: `${name}: ${printable(receipt.success ? receipt.data.text : `${message} received`)}, by ${by}; now ${now}`,
  };
}
