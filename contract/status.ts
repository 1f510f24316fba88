/**
 * What people and scripts see and send: the status and evidence queries, the messages, the steps and
 * the search attributes. Plain types only, so that workflow code may import this file.
 */
import type { Code, Finding } from './errors.ts';

export const steps = [
  'preflight',
  'prepare-target',
  'mirror',
  'drain-lag',
  'fence',
  'sync-offsets',
  'switch-producers',
  'switch-consumers',
  'verify',
  'finalize',
  'rollback',
] as const;
export type Step = (typeof steps)[number];

export const gateNames = ['start', 'cutover', 'producers', 'consumers', 'finalize', 'unfence', 'rollback'] as const;
export type Gate = (typeof gateNames)[number];

export type SourceOfTruth = 'source' | 'none' | 'target';
export type Outcome = 'completed' | 'rolledBack' | 'aborted' | 'rejected';
export type RunState = 'running' | 'waiting' | 'paused' | 'failed' | Outcome;

/** Every signal and update carries one such object. `by` is a claim unless a proof comes with it. */
export interface GateMessage {
  readonly gate?: Gate;
  readonly wave?: string;
  readonly by: string;
  readonly reason?: string;
  /** The plan digest that the sender saw; the one shown when left out. */
  readonly digest?: string;
  /** When the gate that the sender saw was opened, as it shows; a gate opened again since is another one. */
  readonly openedAt?: string;
  /** Where the gate's proof is required: until when the signature counts, ISO 8601. */
  readonly expiresAt?: string;
  /** Ed25519 over the message's statement (`contract/approval.ts`), base64. */
  readonly signature?: string;
}

export interface AbortMessage extends GateMessage {
  readonly removeTarget?: boolean;
}

export interface DecideMessage extends GateMessage {
  readonly step: Step;
  readonly choice: 'retry' | 'skip' | 'rollback';
  /** When the failure that the sender saw came, as it shows; a step that failed again since waits anew. */
  readonly failedAt?: string;
}

/** Changes `plan.mirror` while it runs; what is left out stays. Not part of what people approve. */
export interface TuneMessage extends GateMessage {
  /** Of all shards together; 0: no limit. */
  readonly maxBytesPerSecond?: number;
  /** 1 to `shardsMax`. */
  readonly shards?: number;
}

/** As in the plan: more than so many shards are refused. */
export const shardsMax = 1_000;

/** Names of the signals, and of the updates of the same shape. */
export const messageNames = ['approve', 'reject', 'pause', 'resume', 'rollback', 'abort', 'decide', 'tune'] as const;
export type MessageName = (typeof messageNames)[number];

export interface Approval {
  readonly by: string;
  /** ISO 8601. */
  readonly at: string;
  readonly how: 'claimed' | 'verified';
  readonly channel: 'signal' | 'update';
}

export interface OpenGate {
  readonly gate: Gate;
  readonly wave: string | null;
  readonly needed: number;
  readonly approvers: readonly string[];
  /** `required`: only signed answers count. */
  readonly proof: 'claimed' | 'required';
  readonly given: readonly Approval[];
  readonly digest: string;
  /** ISO 8601; null waits for ever. */
  readonly deadline: string | null;
  readonly openedAt: string;
  /** What people should know before they approve, one line each. */
  readonly facts: readonly string[];
}

/** How a gate ended that people answered, or whose time ran out. */
export interface AnsweredGate {
  readonly gate: Gate;
  readonly wave: string | null;
  /** Tells it from the same gate opened again. */
  readonly openedAt: string;
  readonly outcome: 'approved' | 'rejected';
  /** Who approved, or who rejected; `timeout` where nobody did. Empty: a window ended that nobody had to answer in. */
  readonly by: readonly Pick<Approval, 'by' | 'how'>[];
  /** ISO 8601; null where nobody answered. */
  readonly at: string | null;
  readonly reason: string;
}

/** What the plan's `notify` webhooks are told; `docs/webhook.md` has the request around it. */
export interface Notice {
  /** The same on every retry, and of nothing else. */
  readonly id: string;
  readonly event: 'gate-opened' | 'step-changed' | 'alarm' | 'ended';
  readonly migration: string;
  /** Null: the plan's. */
  readonly wave: string | null;
  /** ISO 8601. */
  readonly at: string;
  readonly step: Step;
  readonly state: RunState;
  readonly sourceOfTruth: Readonly<Record<string, SourceOfTruth>>;
  /** One line for people. */
  readonly text: string;
  /** The gate that was opened; else null. */
  readonly gate: Omit<OpenGate, 'given'> | null;
}

export interface Refusal {
  readonly message: MessageName;
  readonly by: string;
  readonly at: string;
  readonly code: Code;
  readonly text: string;
}

export interface StepRecord {
  readonly step: Step;
  readonly wave: string | null;
  readonly direction: Direction;
  readonly startedAt: string;
  readonly endedAt: string | null;
  /** What it did, one line. */
  readonly summary: string;
  /** Where applications wait for it: its parts, one after another, in the order in which they ended. Left out elsewhere, and by earlier builds. */
  readonly phases?: readonly PhaseRecord[];
}

/** Parts of `fence`, `sync-offsets`, `switch-producers` and `switch-consumers`; those from `prove` to `settings` run side by side. */
export const phases = [
  'close',
  'prove',
  'transactions',
  'drain',
  'shut-out',
  'settings',
  'positions',
  'decision',
  'open-writes',
  'open-groups',
] as const;
export type Phase = (typeof phases)[number];

/** What of the pause it took: from the end of the one before it, the first one from the beginning of its step. */
export interface PhaseRecord {
  readonly name: Phase;
  /** ISO 8601. */
  readonly endedAt: string;
}

/** A gate that was passed: who approved what, and when. */
export interface GateRecord extends Pick<OpenGate, 'gate' | 'wave' | 'needed' | 'given' | 'digest' | 'openedAt'> {
  readonly direction: Direction;
  readonly passedAt: string;
}

/** `forward` is source to target; `reverse` is the way back. */
export type Direction = 'forward' | 'reverse';

export interface FailedStep {
  readonly step: Step;
  readonly code: Code;
  readonly message: string;
  readonly choices: readonly DecideMessage['choice'][];
  /** When it failed, ISO 8601: the same step may fail the same way again. Null where an earlier build noted it. */
  readonly at: string | null;
}

export interface MirrorSettings {
  /** Of all shards together; 0: no limit. */
  readonly maxBytesPerSecond: number;
  readonly shards: number;
}

/** The settings that the mirror runs with. */
export interface MirrorStatus extends MirrorSettings {
  /** Asked for by `tune` and not in force yet: a mirror is not stopped between fence and opening. */
  readonly tuned: MirrorSettings | null;
}

/** Where one wave stands. */
export interface WaveStatus {
  readonly wave: string;
  /** Null: it has not begun. */
  readonly step: Step | null;
  readonly state: RunState | null;
  /** The one cluster that applications may write its topics to. */
  readonly sourceOfTruth: SourceOfTruth;
  /** ISO 8601; null: since before the migration. */
  readonly since: string | null;
  /** What that rests on, one line; empty where nothing had to be proven. */
  readonly proof: string;
  readonly lagRecords: number | null;
  readonly lagAsOf: string | null;
}

/** How one wave ended. */
export interface WaveOutcome extends Pick<WaveStatus, 'wave' | 'sourceOfTruth' | 'since' | 'proof'> {
  readonly outcome: Outcome;
}

/**
 * The `status` query. Lists are capped at 50; the rest is in the evidence. `step`, `state`, `awaiting`, `failedStep`, lag and mirror
 * are those of one wave, `wave`: the one that people are awaited for, else the newest under way.
 */
export interface Status {
  readonly name: string;
  readonly step: Step;
  readonly wave: string | null;
  readonly state: RunState;
  readonly awaiting: OpenGate | null;
  readonly gates: readonly OpenGate[];
  /** Gates that are over, of all waves, the newest last. */
  readonly answered: readonly AnsweredGate[];
  readonly failedStep: FailedStep | null;
  /** What people decided, one line each, the newest last. */
  readonly decisions: readonly string[];
  readonly sourceOfTruth: Readonly<Record<string, SourceOfTruth>>;
  /** All waves of the plan, in the order in which they move. */
  readonly waves: readonly WaveStatus[];
  readonly lagRecords: number | null;
  readonly lagAsOf: string | null;
  readonly findings: readonly Finding[];
  readonly refused: readonly Refusal[];
  readonly steps: readonly StepRecord[];
  readonly digest: string | null;
  /** The exact command that goes on from here, or null when nobody is awaited. */
  readonly next: string | null;
  readonly source: string;
  readonly target: string;
  readonly notUndone: readonly string[];
  /** Null before the plan was read. */
  readonly mirror: MirrorStatus | null;
}

/** The `evidence` query. */
export interface EvidencePointer {
  readonly digest: string | null;
  /** Name of the stored artifact, or null before anything was stored. */
  readonly artifact: string | null;
  readonly summary: string;
}

/** What the workflow returns. */
export interface CutoverResult {
  /** `completed` only where every wave is. */
  readonly outcome: Outcome;
  readonly waves: Readonly<Record<string, Outcome>>;
  readonly evidence: EvidencePointer;
  readonly sourceOfTruth: Readonly<Record<string, SourceOfTruth>>;
  readonly notUndone: readonly string[];
}

export const searchAttributes = {
  step: 'MigrationStep',
  sourceCluster: 'SourceCluster',
  targetCluster: 'TargetCluster',
  awaitingApproval: 'AwaitingApproval',
  sourceOfTruth: 'SourceOfTruth',
} as const;

export const taskQueues = { control: 'kafka-cutover', mirror: 'kafka-cutover-mirror' } as const;

/** The workflow's type and the start of its id: `cutover/<plan name>`. */
export const workflowType = 'cutover';
export const workflowId = (planName: string): string => `cutover/${planName}`;

/** Lists in a status hold at most so many entries. */
export const statusListMax = 50;

/** The one wave of a plan that names none. */
export const onlyWave = 'all';

/** All waves of a plan, in the order in which they move. */
export function waveNames(plan: { readonly waves: readonly { readonly name: string }[] }): readonly string[] {
  return plan.waves.length === 0 ? [onlyWave] : plan.waves.map((wave) => wave.name);
}
