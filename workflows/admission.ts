/**
 * Which message of people is taken, in which state, and what it changes. Pure: the validator of an update
 * asks and throws the answer away, the handler of an update or a signal asks and keeps it.
 */
import type { ApprovalStatement } from '../contract/approval.ts';
import type { Code } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import type { Approval, DecideMessage, Gate, MessageName, MirrorSettings, Step } from '../contract/status.ts';
import { gateNames, shardsMax, steps, waveNames } from '../contract/status.ts';
import {
  type ClosedGate,
  type CutoverState,
  closedGate,
  currentWave,
  decisionNoted,
  type GateState,
  gateRejected,
  isApplicationsWaiting,
  isGoingBack,
  isOpened,
  liveViews,
  type MigrationState,
  mendGate,
  mirrorSettings,
  openGate,
  pauseAsked,
  policyOf,
  requested,
  resumed,
  rollbackRefusal,
  tuned,
  viewOf,
  withView,
} from './state.ts';
import { leading } from './status-view.ts';

/** Longer texts are cut: they live in the state, which travels through continue-as-new. */
const nameMax = 200;
const reasonMax = 1_000;

export type Channel = Approval['channel'];

export interface Accepted<State = MigrationState> {
  readonly accepted: true;
  readonly state: State;
  readonly by: string;
  /** What it did, one line. */
  readonly text: string;
  /** What must be proven before it counts; null where the sender's word is enough. */
  readonly proof: SignedAnswer | null;
}

/** An answer to a gate whose proof is required; `run` is added by whoever has it checked. */
export interface SignedAnswer {
  readonly statement: Omit<ApprovalStatement, 'run'>;
  readonly signature: string;
}

export interface Refused {
  readonly accepted: false;
  readonly by: string;
  readonly code: Code;
  readonly text: string;
}

export type Admission = Accepted | Refused;
/** By one of the waves. */
type Answer = Accepted<CutoverState> | Refused;

interface Message {
  readonly by: string;
  readonly reason: string;
  readonly gate: Gate | null;
  readonly wave: string | null;
  readonly digest: string | null;
  readonly removeTarget: boolean;
  readonly step: Step | null;
  readonly choice: DecideMessage['choice'] | null;
  readonly failedAt: string | null;
  readonly settings: Partial<MirrorSettings>;
  readonly openedAt: string | null;
  readonly expiresAt: string | null;
  readonly signature: string | null;
}

/** One person, however the name is written. */
export function samePerson(a: string, b: string): boolean {
  return a.trim().toLowerCase() === b.trim().toLowerCase();
}

/**
 * Where a proof is required, what it accepts still has to be proven (`proof`), and is then admitted once more.
 *
 * @param at when it arrived, ISO 8601
 */
export function admit(state: MigrationState, name: MessageName, raw: unknown, at: string, channel: Channel): Admission {
  const message = readMessage(raw);
  if (typeof message === 'string') return refuse('', 'MESSAGE_INVALID', message);
  const { by, wave } = message;
  const { plan, ended } = state.shared;
  if (ended !== null) return refuse(by, 'GATE_NOT_OPEN', 'the migration has ended');
  if (plan === null) return refuse(by, 'GATE_NOT_OPEN', 'the plan has not been read yet; send it again in a moment');
  if (wave !== null && !waveNames(plan).includes(wave)) {
    return refuse(
      by,
      'GATE_NOT_OPEN',
      `there is no wave "${wave.slice(0, nameMax)}" (waves: ${waveNames(plan).join(', ')})`,
    );
  }
  const meant = meantViews(state, name, message);
  if ('code' in meant) return meant;
  let next = state;
  let text = '';
  let proof: SignedAnswer | null = null;
  for (const wave of meant) {
    const answer = decide(viewOf(next, wave), plan, name, message, at, channel);
    if (!answer.accepted) return answer;
    next = withView(next, answer.state);
    text = answer.text;
    proof = answer.proof;
  }
  const why = message.reason === '' ? '' : `: ${message.reason}`;
  const which = plan.waves.length > 1 && meant.length === 1 && meant[0] !== null ? ` (wave ${meant[0]})` : '';
  const line = `${at} ${text}${which}, by ${by} (${proof ? 'verified' : 'claimed'}, ${channel})${why}`;
  return { accepted: true, state: withView(next, decisionNoted(viewOf(next, null), line)), by, text, proof };
}

/**
 * The waves that a message is for, null for the plan itself. Whoever names none means the only one that it can be for; a pause
 * and a resume are for all of them.
 */
function meantViews(state: MigrationState, name: MessageName, message: Message): readonly (string | null)[] | Refused {
  const { by, wave } = message;
  const live = liveViews(state).filter((view) => wave === null || view.wave === null || view.wave === wave);
  const [first] = live;
  if (first === undefined) return refuse(by, 'GATE_NOT_OPEN', `wave ${wave} is not under way`);
  const able = live.filter((view) => concerns(view, name, message));
  if (name === 'pause' || name === 'resume') return live.map((view) => view.wave);
  if (able.length === 0) {
    // Why nobody takes it is for the one to say that has closed the gate with the sender's approval, or that people look at.
    const approved = state.own.find((own) => own.closed.some((gate) => isClosedBy(gate, message)));
    return [(approved ?? live.find((view) => view.wave === leading(state).wave) ?? first).wave];
  }
  if (able.length === 1 || name === 'tune') return able.slice(0, 1).map((view) => view.wave);
  const names = able.map((view) => view.wave).join(', ');
  return refuse(by, 'MESSAGE_INVALID', `several waves can take this (${names}): name one as "wave"`);
}

/** Whether the wave has what the message is about. */
function concerns(view: CutoverState, name: MessageName, { gate, step }: Message): boolean {
  switch (name) {
    case 'approve':
    case 'reject':
      return view.gates.some((open) => open.rejected === null && (gate === null || open.gate === gate));
    case 'decide':
      return view.failures.some((failure) => failure.choice === null && (step === null || failure.step === step));
    case 'abort':
      return !isOpened(view);
    default:
      return true;
  }
}

function decide(
  state: CutoverState,
  plan: Plan,
  name: MessageName,
  message: Message,
  at: string,
  channel: Channel,
): Answer {
  switch (name) {
    case 'approve':
      return approve(state, plan, message, at, channel);
    case 'reject':
      return reject(state, plan, message, at);
    case 'decide':
      return choose(state, plan, message, at, channel);
    default:
  }
  if (!maySteer(plan, message.by)) return notAnApprover(message.by, 'of any gate');
  switch (name) {
    case 'pause':
      return accept(pauseAsked(state, message.by, at, message.reason), message, 'asked for a pause');
    case 'resume':
      return accept(resumed(state), message, 'resumed');
    case 'rollback':
      return rollback(state, plan, message, at, channel);
    case 'abort':
      return abort(state, message, at, channel);
    case 'tune':
      return tune(state, message);
    default:
      return refuse(message.by, 'MESSAGE_INVALID', `there is no message ${String(name)}`);
  }
}

// ---- Gates

function approve(state: CutoverState, plan: Plan, message: Message, at: string, channel: Channel): Answer {
  const gate = namedGate(state, message);
  if ('code' in gate) return gate;
  const refusal = approvalRefusal(plan, gate, message.by);
  if (refusal) return refusal;
  const proof = proofOf(state, plan, gate, 'approve', message, at);
  if (proof && 'code' in proof) return proof;
  const given = [...gate.given, approval(message.by, at, channel, proof ? 'verified' : 'claimed')];
  const text = `approved ${gate.gate}, ${given.length} of ${gate.needed}`;
  return { ...accept(mendGate(state, gate.gate, { given }), message, text), proof };
}

function reject(state: CutoverState, plan: Plan, message: Message, at: string): Answer {
  const gate = namedGate(state, message);
  if ('code' in gate) return gate;
  if (!isListed(gate.approvers, message.by)) return notAnApprover(message.by, `of gate ${gate.gate}`);
  if (gate.gate === 'unfence') {
    return refuse(message.by, 'MESSAGE_INVALID', 'gate unfence cannot be rejected: it waits until the fence is lifted');
  }
  const leadsBack = gate.gate === 'producers' || gate.gate === 'consumers' || gate.gate === 'finalize';
  const noWay = gate.direction === 'reverse' ? 'this is the way back already' : rollbackRefusal(state);
  if (leadsBack && noWay) {
    return refuse(message.by, 'ROLLBACK_IMPOSSIBLE', `rejecting gate ${gate.gate} means going back, but ${noWay}`);
  }
  const proof = proofOf(state, plan, gate, 'reject', message, at);
  if (proof && 'code' in proof) return proof;
  const rejected = { by: message.by, at, reason: message.reason };
  const next = gateRejected(state, gate.gate, rejected, proof ? 'verified' : 'claimed');
  return { ...accept(next, message, `rejected ${gate.gate}`), proof };
}

/** What the answer's signature must be of: what the gate shows, not what the sender says. Null where none is wanted. */
function proofOf(
  state: CutoverState,
  plan: Plan,
  gate: GateState,
  name: ApprovalStatement['message'],
  { by, expiresAt, signature }: Message,
  at: string,
): SignedAnswer | Refused | null {
  if (plan.gates[gate.gate].proof !== 'required') return null;
  if (signature === null || expiresAt === null) {
    return refuse(by, 'PROOF_REQUIRED', `gate ${gate.gate} counts signed answers only, and this one is not signed`);
  }
  if (!(Date.parse(expiresAt) > Date.parse(at))) {
    return refuse(by, 'PROOF_INVALID', `the answer of ${by} was signed to count until ${expiresAt}`);
  }
  const { gate: which, wave, digest, openedAt } = gate;
  const statement = { message: name, migration: state.name, gate: which, wave, digest, openedAt, by, expiresAt };
  return { statement, signature };
}

/** Why this person's approval does not count for this gate, or null. */
export function approvalRefusal(
  plan: Plan,
  gate: { readonly gate: Gate; readonly approvers: readonly string[]; readonly given: readonly Approval[] },
  by: string,
): Refused | null {
  if (!isListed(gate.approvers, by)) return notAnApprover(by, `of gate ${gate.gate}`);
  if (plan.fourEyes && samePerson(by, plan.startedBy)) {
    return refuse(by, 'FOUR_EYES', `${by} started this migration, so somebody else must approve`);
  }
  if (gate.given.some((approval) => samePerson(approval.by, by))) {
    return refuse(by, 'ALREADY_APPROVED', `${by} has approved gate ${gate.gate} already`);
  }
  return null;
}

export function approval(by: string, at: string, channel: Channel, how: Approval['how'] = 'claimed'): Approval {
  return { by, at, how, channel };
}

/** The open gate that the message means, or why there is none. */
function namedGate(state: CutoverState, message: Message): GateState | Refused {
  const { by } = message;
  const waiting = state.gates.filter((gate) => gate.rejected === null);
  const meant = waiting.filter(
    (gate) =>
      (message.gate === null || gate.gate === message.gate) &&
      (message.wave === null || gate.wave === null || gate.wave === message.wave),
  );
  const [gate, ...others] = meant;
  if (gate === undefined) return noSuchGate(state, message, waiting);
  if (others.length > 0) {
    const names = meant.map((open) => open.gate).join(', ');
    return refuse(by, 'MESSAGE_INVALID', `several gates are open (${names}): name one as "gate"`);
  }
  if (message.openedAt !== null && message.openedAt !== gate.openedAt) {
    return refuse(
      by,
      'GATE_NOT_OPEN',
      `gate ${gate.gate} was opened again at ${gate.openedAt}: look at what it shows now`,
    );
  }
  if (message.digest !== null && message.digest !== gate.digest) {
    return refuse(by, 'DIGEST_MISMATCH', `gate ${gate.gate} shows digest ${gate.digest}, not ${message.digest}`);
  }
  return gate;
}

function noSuchGate(state: CutoverState, message: Message, waiting: readonly GateState[]): Refused {
  const { by } = message;
  const open = waiting.map((gate) => gate.gate).join(', ') || 'none';
  const wanted = message.gate ?? 'none was named';
  const closed = state.closed.find((old) => isClosedBy(old, message));
  if (closed) {
    return refuse(by, 'ALREADY_APPROVED', `${by} has approved gate ${closed.gate}, which is closed`);
  }
  const wave = message.wave === null ? '' : ` of wave ${message.wave}`;
  return refuse(by, 'GATE_NOT_OPEN', `gate ${wanted}${wave} is not open (open: ${open})`);
}

function isClosedBy(closed: ClosedGate, { gate, by }: Message): boolean {
  return closed.gate === gate && closed.approvedBy.some((name) => samePerson(name, by));
}

// ---- Steering

function rollback(state: CutoverState, plan: Plan, message: Message, at: string, channel: Channel): Answer {
  const stage = currentWave(state)?.stage ?? 'source';
  if (stage === 'source' || stage === 'closing') return abort(state, message, at, channel);
  if ((stage !== 'deciding' && stage !== 'target') || closedGate(state, 'rollback')) {
    return refuse(message.by, 'GATE_NOT_OPEN', 'the rollback is under way already');
  }
  const impossible = rollbackRefusal(state);
  if (impossible) return refuse(message.by, 'ROLLBACK_IMPOSSIBLE', `no rollback: ${impossible}`);
  const gate = openGate(state, 'rollback');
  if (gate) return approve(state, plan, { ...message, gate: 'rollback' }, at, channel);
  if (isGoingBack(state)) return accept(state, message, 'asked for a rollback again');
  const { by, reason } = message;
  const request = { kind: 'rollback', by, at, reason, channel, removeTarget: false, counts: true } as const;
  return accept(requested(state, request), message, 'asked for a rollback');
}

function abort(state: CutoverState, message: Message, at: string, channel: Channel): Answer {
  const stage = currentWave(state)?.stage ?? 'source';
  if (stage !== 'source' && stage !== 'closing') {
    return refuse(message.by, 'USE_ROLLBACK', 'opening the target is decided, or being decided: send rollback');
  }
  if (state.request || state.aborting) return accept(state, message, 'asked for an abort again');
  const { by, reason, removeTarget } = message;
  const request = { kind: 'abort', by, at, reason, channel, removeTarget, counts: true } as const;
  return accept(requested(state, request), message, 'asked for an abort');
}

function tune(state: CutoverState, message: Message): Answer {
  const { by, settings } = message;
  if (Object.keys(settings).length === 0) {
    return refuse(by, 'MESSAGE_INVALID', 'wanted { maxBytesPerSecond, shards, by }: one of the two, or both');
  }
  const next = tuned(state, settings);
  const { maxBytesPerSecond, shards } = mirrorSettings(next);
  const limit = maxBytesPerSecond === 0 ? 'no limit' : `${maxBytesPerSecond} bytes a second`;
  const when = isApplicationsWaiting(state) ? ', once the fence is over' : '';
  return accept(next, message, `tuned the mirror to ${limit}, ${shards} ${shards === 1 ? 'shard' : 'shards'}${when}`);
}

function choose(state: CutoverState, plan: Plan, message: Message, at: string, channel: Channel): Answer {
  const { by, step, choice, failedAt } = message;
  if (!maySteer(plan, by)) return notAnApprover(by, 'of any gate');
  if (step === null || choice === null) {
    return refuse(by, 'MESSAGE_INVALID', 'wanted { step, choice: retry | skip | rollback, by }');
  }
  const pending = state.failures.filter((failure) => failure.step === step && failure.choice === null);
  if (pending.length === 0) {
    return refuse(by, 'NOTHING_TO_DECIDE', `step ${step} does not wait for a decision`);
  }
  const [seen] = pending;
  if (failedAt !== null && seen?.at !== undefined && pending.every(({ at: since }) => since !== failedAt)) {
    return refuse(by, 'NOTHING_TO_DECIDE', `step ${step} failed again at ${seen.at}: look at it anew`);
  }
  const allowed = pending.every((failure) => failure.choices.includes(choice));
  if (!allowed) {
    const choices = pending[0]?.choices.join(', ');
    return refuse(by, 'MESSAGE_INVALID', `step ${step} cannot be decided with ${choice} (possible: ${choices})`);
  }
  const text = `decided ${choice} for ${step}`;
  const decided: CutoverState = {
    ...state,
    failures: state.failures.map((failure) => (pending.includes(failure) ? { ...failure, choice } : failure)),
  };
  if (choice !== 'rollback') return accept(decided, message, text);
  const back = isOpened(state) ? rollback(decided, plan, message, at, channel) : abort(decided, message, at, channel);
  return back.accepted ? { ...back, text } : back;
}

/** Pause, resume, rollback, abort, tune and decide: anyone on any list of approvers; anyone where there is none. */
function maySteer(plan: Plan, by: string): boolean {
  return isListed(
    gateNames.flatMap((gate) => policyOf(plan, gate).approvers),
    by,
  );
}

function isListed(approvers: readonly string[], by: string): boolean {
  return approvers.length === 0 || approvers.some((approver) => samePerson(approver, by));
}

// ---- Reading: named fields are taken, the rest is ignored

function readMessage(raw: unknown): Message | string {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) return 'wanted one object such as {"by":"who"}';
  const fields = raw as Record<string, unknown>;
  const text = (key: string): string | null => {
    const value = fields[key];
    return typeof value === 'string' && value.trim() !== '' ? value.trim() : null;
  };
  for (const key of ['by', 'gate', 'wave', 'reason', 'digest', 'step', 'choice']) {
    const value = fields[key];
    if (value !== undefined && value !== null && typeof value !== 'string') return `"${key}" must be a text`;
  }
  const by = text('by');
  if (by === null) return 'wanted "by": who sends this';
  if (by.length > nameMax) return `"by" is longer than ${nameMax} characters`;
  const gate = text('gate');
  if (gate !== null && !isOneOf(gateNames, gate)) return `there is no gate "${gate.slice(0, nameMax)}"`;
  const step = text('step');
  if (step !== null && !isOneOf(steps, step)) return `there is no step "${step.slice(0, nameMax)}"`;
  const choice = text('choice');
  if (choice !== null && !isOneOf(['retry', 'skip', 'rollback'] as const, choice)) {
    return `there is no choice "${choice.slice(0, nameMax)}"`;
  }
  const settings = readSettings(fields);
  if (typeof settings === 'string') return settings;
  return {
    by,
    reason: (text('reason') ?? '').slice(0, reasonMax),
    gate,
    wave: text('wave'),
    digest: text('digest'),
    removeTarget: fields.removeTarget === true,
    step,
    choice,
    failedAt: short(fields.failedAt),
    settings,
    openedAt: short(fields.openedAt),
    expiresAt: short(fields.expiresAt),
    signature: short(fields.signature),
  };
}

/** Times and signatures: what is none is none. */
function short(value: unknown): string | null {
  return typeof value === 'string' && value !== '' && value.length <= nameMax ? value : null;
}

function readSettings(fields: Record<string, unknown>): Partial<MirrorSettings> | string {
  const settings: { maxBytesPerSecond?: number; shards?: number } = {};
  for (const [key, min, max] of [
    ['maxBytesPerSecond', 0, Number.MAX_SAFE_INTEGER],
    ['shards', 1, shardsMax],
  ] as const) {
    const value = fields[key];
    if (value === undefined || value === null) continue;
    if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max) {
      return `"${key}" must be a whole number from ${min} to ${max}`;
    }
    settings[key] = value as number;
  }
  return settings;
}

function isOneOf<Word extends string>(words: readonly Word[], word: string): word is Word {
  return (words as readonly string[]).includes(word);
}

function accept(state: CutoverState, message: Message, text: string): Accepted<CutoverState> {
  return { accepted: true, state, by: message.by, text, proof: null };
}

function refuse(by: string, code: Code, text: string): Refused {
  return { accepted: false, by, code, text };
}

function notAnApprover(by: string, what: string): Refused {
  return refuse(by, 'NOT_AN_APPROVER', `${by} is not an approver ${what}`);
}
