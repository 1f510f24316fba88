/**
 * The seam between the workflow and the world: what each activity takes and gives. Plain, small and
 * JSON-safe (offsets are decimal strings); everything long lives in storage and is named here.
 * Every activity is safe to run twice: it reads the real state, compares, acts, and reads back.
 * Every one but `parsePlan` heartbeats at least once a second: a worker that was killed is noticed by its
 * silence alone (5 s inside the fence, 10 s elsewhere), and a cancellation arrives with a heartbeat.
 * Failures are `ApplicationFailure`s whose `type` is a code of `contract/errors.ts`.
 */
import type { Finding } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import type { Direction, Gate, GateRecord, Notice, StepRecord, WaveOutcome } from '../contract/status.ts';

/** One wave of one plan, as inventoried: every activity about a wave starts from this. */
export interface Scope {
  readonly plan: Plan;
  readonly wave: string;
  /** Name of the stored inventory that people approve. */
  readonly inventory: string;
}

/** The cluster whose applications are closed out or let in. */
export type Side = 'source' | 'target';

/** A scope and the moment (milliseconds since 1970) after which no access change may be sent. */
export interface Fenced extends Scope {
  readonly direction: Direction;
  readonly deadlineMs: number;
}

export interface PreflightResult {
  readonly digest: string;
  /** Name of the stored inventory. */
  readonly inventory: string;
  readonly findings: readonly Finding[];
  readonly blockers: number;
  readonly topics: number;
  readonly partitions: number;
  readonly groups: number;
  readonly bytes: number;
  /** One line for people. */
  readonly summary: string;
}

export interface DigestResult {
  readonly digest: string;
  readonly inventory: string;
  /** What changed against the inventory given, one line each. */
  readonly difference: readonly string[];
  readonly findings: readonly Finding[];
}

export interface Measurement {
  /** ISO 8601. */
  readonly asOf: string;
  readonly lagRecords: number;
  /** Records that the audit still has to compare. */
  readonly auditLagRecords: number;
  readonly recordsPerSecond: number;
  /** Expected time from fence to opening, milliseconds. */
  readonly expectedPauseMs: number;
  readonly fitsFence: boolean;
  readonly openTransactions: readonly string[];
  readonly groups: { readonly exact: number; readonly replays: number; readonly untranslatable: number };
  /** Lines for the gate: what will happen, what applications will see. */
  readonly facts: readonly string[];
  /** What holds the mirror back at this moment: OPEN_TRANSACTION. Workers of earlier builds send none. */
  readonly findings?: readonly Finding[];
}

export interface StepResult {
  /** What was done, one line for people. */
  readonly summary: string;
  readonly findings?: readonly Finding[];
}

export interface ShutOutResult extends StepResult {
  /** The cluster itself refuses the mirror from now on, whether or not its process has ended. */
  readonly byRule: boolean;
}

export interface BoundaryResult extends StepResult {
  /** Name of the stored boundary: per partition, the log end of the fenced cluster. */
  readonly boundary: string;
  readonly partitions: number;
}

export interface GroupsResult extends StepResult {
  readonly moved: number;
  readonly exact: number;
  readonly replays: number;
  readonly untranslatable: number;
}

export interface UndoResult extends StepResult {
  readonly undone: number;
  /** What could not be undone, one line each, with what to do by hand. */
  readonly notUndone: readonly string[];
}

/** Short activities on the queue `kafka-cutover`. */
export interface ControlActivities {
  /** Checks what the user sent, and that the workflow's id is the plan's. PLAN_INVALID, WORKFLOW_ID_MISMATCH. */
  parsePlan(input: unknown, workflowId: string): Promise<Plan>;
  /** Whether a key that clusters.yaml lists for this person made the signature. PROOF_INVALID. */
  verifyApproval(request: {
    readonly by: string;
    /** `statementText` of `contract/approval.ts`. */
    readonly statement: string;
    /** Base64. */
    readonly signature: string;
  }): Promise<void>;
  /** Tells one webhook, in order, as `docs/webhook.md` has it. WEBHOOK_FAILED, WEBHOOK_UNKNOWN. */
  notify(request: { readonly webhook: string; readonly notices: readonly Notice[] }): Promise<void>;
  /** Inventories both clusters; stores the inventory; changes nothing. */
  preflight(request: { readonly plan: Plan }): Promise<PreflightResult>;
  /** Takes the digest again and says what changed since `inventory`. */
  takeDigest(request: { readonly plan: Plan; readonly inventory: string }): Promise<DigestResult>;
  /** Claims, topics, configs, ACLs, quotas, protection, producer ids of both mirrors. CLAIMED_BY_OTHER. */
  prepareTarget(scope: Scope): Promise<StepResult>;
  /**
   * Deletes and prepares anew the target topics that the audit found spoiled; the forward mirror must not run. PARITY_FAILED when
   * one of them may not be deleted.
   */
  remirror(scope: Scope): Promise<StepResult>;
  /** Waits until lag and audit fit into the fence budget; heartbeats `Measurement`. */
  drainLag(request: Scope & { readonly direction: Direction }): Promise<Measurement>;
  /** One measurement, for a gate that stays open. */
  measure(request: Scope & { readonly direction: Direction }): Promise<Measurement>;
  /** Where people hold the fence, before it begins: waits until nothing writes and groups are empty. FENCE_NOT_PROVEN, GROUP_ACTIVE. */
  awaitStopped(request: Scope & { readonly direction: Direction }): Promise<StepResult>;
  /** Takes the cluster that `direction` moves away from out of applications' hands. FENCE_EXPIRED. */
  closeWrites(request: Fenced): Promise<StepResult>;
  /** Log ends still; of an ACL fence, its rules seen on every broker and nobody left who may write. FENCE_NOT_PROVEN. */
  proveFence(request: Fenced): Promise<StepResult>;
  /** Transactions waited for, then ended. TRANSACTION_STUCK. */
  endTransactions(request: Fenced): Promise<StepResult>;
  /** Waits until the other cluster holds everything, audits the tail, stores the boundary. PARITY_FAILED. */
  drainToBoundary(request: Fenced): Promise<BoundaryResult>;
  /** Groups stopped or fenced where they are, final positions read stable, written, read back, classed. */
  moveGroups(
    request: Fenced & {
      /** Name of the stored boundary; null when they move later than the producers, up to where the logs end. */
      readonly boundary: string | null;
    },
  ): Promise<GroupsResult>;
  /** Undoes a `moveGroups` that was not through: the groups read on where they were. */
  keepGroups(request: Fenced): Promise<UndoResult>;
  /** Denies the direction's mirror on the cluster that it writes; seen on every broker. */
  shutOutMirror(request: Fenced): Promise<ShutOutResult>;
  /** Message settings of the cluster that is about to be opened. Retention waits for the end. */
  restoreSettings(request: Fenced): Promise<StepResult>;
  /** Stores the opening decision on both clusters unless the deadline has passed or somebody wrote meanwhile. FENCE_EXPIRED, FENCE_NOT_PROVEN. */
  decideOpening(request: Fenced): Promise<StepResult>;
  /**
   * Only where the replicator's `promotion` is not `none`, after `decideOpening`: the topics of the cluster that `direction` moves to take writes
   * when it returns. REPLICATOR_FAILED.
   */
  promote(request: Scope & { readonly direction: Direction }): Promise<StepResult>;
  /** Opens the cluster that `direction` moves to, with `groupsToo` for its groups as well; only after `decideOpening`. */
  openWrites(request: Scope & { readonly direction: Direction; readonly groupsToo?: boolean }): Promise<StepResult>;
  /** Groups are let in where they move to. */
  openGroups(request: Scope & { readonly direction: Direction }): Promise<StepResult>;
  /**
   * Lifts the fence of that deadline unless opening was decided: applications write again where they did, the
   * mirror that was shut out may write again, restored settings are suspended again. UNFENCE_REFUSED.
   */
  unfence(request: Fenced): Promise<UndoResult>;
  /** Calls the switch webhook, or changes the ConfigMap (a manual switch is a gate, not an activity). WEBHOOK_FAILED, ROLLOUT_STUCK. */
  callSwitch(
    request: Scope & {
      readonly direction: Direction;
      readonly who: 'producers' | 'consumers';
      readonly boundary: string;
    },
  ): Promise<StepResult>;
  /** Parity up to the boundary, groups, configs, ACLs, quotas; who writes where now. PARITY_FAILED. */
  verify(request: Scope & { readonly direction: Direction; readonly boundary: string }): Promise<StepResult>;
  /** What a rollback would carry back, in numbers, one line each. */
  rollbackCost(request: Scope & { readonly boundary: string }): Promise<readonly string[]>;
  /** After the rollback window: retention restored, mirrors' rights removed, the source as the plan says. */
  finalizeWave(scope: Scope): Promise<UndoResult>;
  /** After a rollback: the source as it was before, claims released. The target stays closed. */
  settleRollback(scope: Scope): Promise<UndoResult>;
  /** Replays every inverse of the wave, newest first; a failing one never stops the others. */
  undoAll(request: Scope & { readonly removeTarget: boolean }): Promise<UndoResult>;
  /** Writes the evidence artifact and gives its name. */
  writeEvidence(request: {
    readonly plan: Plan;
    readonly inventory: string | null;
    readonly outcome: string;
    readonly waves: readonly WaveOutcome[];
    readonly steps: readonly StepRecord[];
    readonly decisions: readonly string[];
    /** Left out by runs of earlier builds. */
    readonly gates?: readonly GateRecord[];
  }): Promise<string>;
}

export interface MirrorShard {
  readonly direction: Direction;
  readonly shard: number;
  readonly shards: number;
  /** Of all shards together; 0: no limit. Left out by runs of earlier builds: the plan's. */
  readonly maxBytesPerSecond?: number;
  /** Name of the stored weights by which partitions are spread; null or left out: by their sizes in the inventory. */
  readonly weights?: string | null;
}

export interface ShardWeights {
  /** Name of the stored weights. */
  readonly weights: string;
  /** Why, one line for people. */
  readonly summary: string;
}

/** Long-running activities; they end only by cancellation or a failure that people must see. */
export interface BackgroundActivities {
  /** On `kafka-cutover-mirror`: one shard of the exact replicator. */
  mirror(request: Scope & MirrorShard): Promise<void>;
  /** On `kafka-cutover-mirror`: one shard of the audit; compares source and target, whichever way records flow. */
  audit(request: Scope & { readonly shard: number; readonly shards: number }): Promise<void>;
  /**
   * On `kafka-cutover`: watches how the shards of a mirror get on. Ends when what is left would be done much sooner if it
   * were spread anew, not earlier than ten minutes after it began.
   */
  balanceShards(request: Scope & Omit<MirrorShard, 'shard' | 'maxBytesPerSecond'>): Promise<ShardWeights>;
  /** On `kafka-cutover`: keeps positions of groups that still live on the source alive on the target. */
  followGroups(scope: Scope): Promise<void>;
  /**
   * On `kafka-cutover`: from prepare-target until the fence, carries changes of settings, access rules and quotas over, and heartbeats what is
   * otherwise on the source than people approved (`Holding`).
   */
  followMetadata(scope: Scope): Promise<void>;
  /** On `kafka-cutover`: says in the worker's log, every so often, that the gate still waits for people. */
  remind(request: {
    readonly migration: string;
    readonly wave: string | null;
    readonly gate: Gate;
    readonly needed: number;
    /** ISO 8601. */
    readonly openedAt: string;
    readonly everyMs: number;
  }): Promise<void>;
  /**
   * On `kafka-cutover`: ends when running activities of this migration heartbeat (`Holding`) other findings than those shown, not before `restMs`
   * have passed.
   */
  readHolding(request: {
    readonly migration: string;
    readonly shown: readonly Finding[];
    readonly restMs: number;
  }): Promise<Holding>;
  /**
   * On `kafka-cutover`: watches what the fence relies on, and heartbeats what changes on a source that nothing follows any more (`Holding`).
   * ACCESS_CHANGED, SOURCE_WRITTEN_AFTER_FENCE.
   */
  watchFence(request: Scope & { readonly side: Side }): Promise<void>;
}

/** Heartbeats of `drainLag`, `followMetadata` and `watchFence`: findings that hold at this moment; `status` shows them before the others, Temporal's UI by `readHolding`. */
export interface Holding {
  readonly findings: readonly Finding[];
}

export type Activities = ControlActivities & BackgroundActivities;

/** What `mirror` and `audit` heartbeat; `status --json` shows it under `live`. */
export interface ShardProgress {
  readonly kind: 'mirror' | 'audit';
  /**
   * What partitions have stood at for long, a few of them: `orders/3: source last stable offset 120 of 180, for 31 s`; of a mirror in the
   * foreground, the transactions that hold it back.
   */
  readonly waiting?: readonly string[];
  readonly direction: Direction;
  readonly wave: string;
  readonly topics: Readonly<
    Record<
      string,
      { readonly position: number; readonly end: number; readonly records: number; readonly bytes: number }
    >
  >;
}
