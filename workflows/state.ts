/**
 * What a cutover knows, and every way in which that changes: pure functions from state to state. The
 * state is JSON, so that continue-as-new carries it whole; times come in as ISO 8601 strings.
 * Which messages people may send when is in `admission.ts`; what people see is in `status-view.ts`.
 */
import type { Code, Finding } from '../contract/errors.ts';
import type { GatePolicy, onlyWave, Plan } from '../contract/plan.ts';
import type {
  Approval,
  DecideMessage,
  Direction,
  FailedStep,
  Gate,
  MirrorSettings,
  OpenGate,
  Outcome,
  Refusal,
  SourceOfTruth,
  Step,
  StepRecord,
} from '../contract/status.ts';

/** Lists that people or loops can lengthen are cut to so many entries, the oldest first. */
export const stateListMax = 200;

/** The one wave of a plan that names none; a constant of its own because plan.ts brings zod along. */
const unnamedWave: typeof onlyWave = 'all';

/**
 * How far a wave has come, in the terms of rule 6. `closing` and `closingBack` may still be undone by
 * lifting the fence; from `deciding` on, only the answer of `decideOpening` or `unfence` says where we are.
 */
export type Stage = 'source' | 'closing' | 'deciding' | 'target' | 'closingBack' | 'decidingBack' | 'back';

/** What was done and is not done again, in either direction; each is one border of the runbook. */
export type Milestone =
  | 'preflight'
  | 'prepare-target'
  | `${'writes-opened' | 'groups-opened' | 'producers' | 'consumers' | 'verify'}:${Direction}`
  | 'finalize'
  | 'settle-rollback';

export type BackgroundKind = `mirror:${Direction}` | 'audit' | 'followGroups' | `watchFence:${'source' | 'target'}`;

export interface WaveState {
  readonly stage: Stage;
  readonly sourceOfTruth: SourceOfTruth;
  /** Names of the stored boundaries, one per direction. */
  readonly boundary: Readonly<Record<Direction, string | null>>;
  /** When the target was opened: the rollback window counts from here. */
  readonly openedAt: string | null;
  /** Why there is no way back any more, or null. */
  readonly noWayBack: string | null;
}

export interface GateState extends OpenGate {
  readonly direction: Direction;
  readonly rejected: { readonly by: string; readonly at: string; readonly reason: string } | null;
}

/** Closed gates stay closed; the digest says what was approved. */
export interface ClosedGate {
  readonly gate: Gate;
  readonly direction: Direction;
  readonly digest: string;
  readonly approvedBy: readonly string[];
}

export interface PendingFailure extends FailedStep {
  /** The step, or the background activity, that failed. */
  readonly id: string;
  readonly choice: DecideMessage['choice'] | null;
}

/** Somebody wants the run to end or to go back. */
export interface EndRequest {
  readonly kind: 'abort' | 'rollback';
  readonly by: string;
  readonly at: string;
  readonly reason: string;
  readonly channel: Approval['channel'];
  readonly removeTarget: boolean;
  /** Whether a rollback's sender gives the first approval; who rejects a gate does not. */
  readonly counts: boolean;
}

export interface Pause {
  readonly by: string;
  readonly at: string;
  readonly reason: string;
  /** The run really stands still, at a border. */
  readonly held: boolean;
}

export interface CutoverState {
  readonly version: 1;
  readonly name: string;
  /** Null until the first activity has read it. */
  readonly plan: Plan | null;
  readonly startedAt: string;
  readonly step: Step;
  readonly stepSince: string;
  readonly direction: Direction;
  readonly wave: string | null;
  /** Null while the run goes on. */
  readonly ended: Outcome | 'failed' | null;
  readonly done: readonly Milestone[];
  readonly digest: string | null;
  readonly inventory: string | null;
  readonly findings: readonly Finding[];
  readonly gates: readonly GateState[];
  readonly closed: readonly ClosedGate[];
  readonly waves: Readonly<Record<string, WaveState>>;
  readonly background: readonly BackgroundKind[];
  /** What people changed of `plan.mirror` since; null: the plan's. */
  readonly tuned: MirrorSettings | null;
  /** What the mirror was last started with; null before. */
  readonly mirrorRunsWith: MirrorSettings | null;
  /** Names of the stored weights by which partitions are spread over shards; null: by their sizes in the inventory. */
  readonly balance: Readonly<Record<Direction, string | null>>;
  readonly request: EndRequest | null;
  /** A rollback after the opening that was asked for, until the run stays on the target after all. */
  readonly goingBack: EndRequest | null;
  readonly paused: Pause | null;
  readonly failures: readonly PendingFailure[];
  /** What was done is being undone: nothing else can be asked for. */
  readonly aborting: boolean;
  /** From here on the way back is being taken away. */
  readonly finalizing: boolean;
  /** Then nothing finalizes by itself. */
  readonly verifySkipped: boolean;
  readonly lagRecords: number | null;
  readonly lagAsOf: string | null;
  readonly steps: readonly StepRecord[];
  readonly refused: readonly Refusal[];
  readonly decisions: readonly string[];
  readonly notUndone: readonly string[];
  readonly evidence: string | null;
}

const untuned = { tuned: null, mirrorRunsWith: null, balance: { forward: null, reverse: null } } as const;

export function initialState(name: string, at: string): CutoverState {
  return {
    version: 1,
    name,
    plan: null,
    startedAt: at,
    step: 'preflight',
    stepSince: at,
    direction: 'forward',
    wave: null,
    ended: null,
    done: [],
    digest: null,
    inventory: null,
    findings: [],
    gates: [],
    closed: [],
    waves: {},
    background: [],
    ...untuned,
    request: null,
    goingBack: null,
    paused: null,
    failures: [],
    aborting: false,
    finalizing: false,
    verifySkipped: false,
    lagRecords: null,
    lagAsOf: null,
    steps: [],
    refused: [],
    decisions: [],
    notUndone: [],
    evidence: null,
  };
}

/** The state that an earlier run of the same workflow left, or null for a first start. */
export function carriedState(value: unknown): CutoverState | null {
  if (typeof value !== 'object' || value === null) return null;
  if ((value as { version?: unknown }).version !== 1) return null;
  // Runs of an earlier build hand on a state without these.
  return { ...untuned, ...(value as CutoverState) };
}

// ---- The plan and what preflight found

/** This version moves one wave: the plan's only one. */
export function planRead(state: CutoverState, plan: Plan): CutoverState {
  const wave = plan.waves[0]?.name ?? unnamedWave;
  const fresh: WaveState = {
    stage: 'source',
    sourceOfTruth: 'source',
    boundary: { forward: null, reverse: null },
    openedAt: null,
    noWayBack: null,
  };
  return { ...state, name: plan.name, plan, wave, waves: { [wave]: fresh } };
}

export function inventoried(
  state: CutoverState,
  found: { digest: string; inventory: string; findings: readonly Finding[] },
): CutoverState {
  return { ...state, digest: found.digest, inventory: found.inventory, findings: keep(found.findings) };
}

/** Adds findings; the same code at the same place is replaced, not repeated. */
export function withFindings(state: CutoverState, findings: readonly Finding[] = []): CutoverState {
  if (findings.length === 0) return state;
  const same = (a: Finding, b: Finding) => a.code === b.code && a.where === b.where;
  const others = state.findings.filter((old) => !findings.some((added) => same(old, added)));
  return { ...state, findings: keep([...others, ...findings]) };
}

export function measured(state: CutoverState, lagRecords: number, asOf: string): CutoverState {
  return { ...state, lagRecords, lagAsOf: asOf };
}

// ---- Steps

export function isDone(state: CutoverState, milestone: Milestone): boolean {
  return state.done.includes(milestone);
}

export function reached(state: CutoverState, milestone: Milestone): CutoverState {
  return isDone(state, milestone) ? state : { ...state, done: [...state.done, milestone] };
}

/** At a gate, the step that it guards. */
export function stepAwaited(state: CutoverState, step: Step, at: string): CutoverState {
  return state.step === step ? state : { ...state, step, stepSince: at };
}

/** Begins a step, or goes on with it when it is open. */
export function stepBegun(state: CutoverState, step: Step, at: string, direction = state.direction): CutoverState {
  const since = state.step === step ? state.stepSince : at;
  const next: CutoverState = { ...state, step, stepSince: since };
  if (openRecord(next, step, direction) !== -1) return next;
  const record: StepRecord = {
    step,
    wave: step === 'preflight' ? null : state.wave,
    direction,
    startedAt: at,
    endedAt: null,
    summary: '',
  };
  return { ...next, steps: keep([...state.steps, record]) };
}

export function stepSaid(state: CutoverState, step: Step, summary: string): CutoverState {
  return mendRecord(state, step, (record) => ({
    ...record,
    summary: record.summary === '' ? summary : `${record.summary}; ${summary}`.slice(0, 1_000),
  }));
}

export function stepEnded(state: CutoverState, step: Step, at: string, direction = state.direction): CutoverState {
  return mendRecord(state, step, (record) => ({ ...record, endedAt: at }), direction);
}

function openRecord(state: CutoverState, step: Step, direction: Direction): number {
  return state.steps.findLastIndex(
    (record) => record.step === step && record.direction === direction && record.endedAt === null,
  );
}

function mendRecord(
  state: CutoverState,
  step: Step,
  mend: (record: StepRecord) => StepRecord,
  direction = state.direction,
): CutoverState {
  const index = openRecord(state, step, direction);
  const record = state.steps[index];
  return record === undefined ? state : { ...state, steps: state.steps.with(index, mend(record)) };
}

// ---- The wave: fence, boundary, opening

export function currentWave(state: CutoverState): WaveState | null {
  return state.wave === null ? null : (state.waves[state.wave] ?? null);
}

export function withWave(state: CutoverState, change: Partial<WaveState>): CutoverState {
  const wave = currentWave(state);
  if (state.wave === null || wave === null) return state;
  return { ...state, waves: { ...state.waves, [state.wave]: { ...wave, ...change } } };
}

/** Before the first rule that closes the cluster is sent. */
export function fenceBegun(state: CutoverState, direction: Direction): CutoverState {
  const stage = direction === 'forward' ? 'closing' : 'closingBack';
  return withWave({ ...state, direction }, { stage, sourceOfTruth: 'none' });
}

export function boundaryTaken(state: CutoverState, direction: Direction, boundary: string): CutoverState {
  const wave = currentWave(state);
  return wave ? withWave(state, { boundary: { ...wave.boundary, [direction]: boundary } }) : state;
}

/** From here on `abort` is refused: the answer of `decideOpening` is under way. */
export function openingBeingDecided(state: CutoverState, direction: Direction): CutoverState {
  return withWave(state, { stage: direction === 'forward' ? 'deciding' : 'decidingBack' });
}

/** No un-fence from here on: forward, or rollback. */
export function openingDecided(state: CutoverState, direction: Direction): CutoverState {
  return withWave(state, { stage: direction === 'forward' ? 'target' : 'back' });
}

export function fenceLifted(state: CutoverState, direction: Direction): CutoverState {
  const back: Partial<WaveState> =
    direction === 'forward'
      ? { stage: 'source', sourceOfTruth: 'source' }
      : { stage: 'target', sourceOfTruth: 'target' };
  return withWave({ ...state, direction: 'forward' }, back);
}

export function writesOpened(state: CutoverState, direction: Direction, at: string): CutoverState {
  const open: Partial<WaveState> =
    direction === 'forward' ? { sourceOfTruth: 'target', openedAt: at } : { sourceOfTruth: 'source' };
  return withWave(state, open);
}

/** Applications write to the target, or are about to. */
export function isOpened(state: CutoverState): boolean {
  const stage = currentWave(state)?.stage ?? 'source';
  return stage !== 'source' && stage !== 'closing' && stage !== 'deciding';
}

/** Somebody asked to go back after the opening. */
export function isGoingBack(state: CutoverState): boolean {
  return state.request !== null || state.goingBack !== null;
}

/** Between the fence and the opening decision, in either direction. */
export function isFenced(state: CutoverState): boolean {
  const stage = currentWave(state)?.stage;
  return stage === 'closing' || stage === 'deciding' || stage === 'closingBack' || stage === 'decidingBack';
}

/** Why a rollback after the opening cannot be had, or null. */
export function rollbackRefusal(state: CutoverState): string | null {
  const wave = currentWave(state);
  if (state.plan?.rollback.reverseMirror === false) {
    return 'the plan says rollback.reverseMirror: false, so what was written to the target is not on the source';
  }
  if (wave?.noWayBack) return wave.noWayBack;
  if (state.finalizing) return 'finalizing has begun';
  return null;
}

// ---- Gates

export function policyOf(plan: Plan, gate: Gate): GatePolicy {
  const policy = plan.gates[gate];
  const inherits = gate === 'rollback' && policy.approvers.length === 0;
  return inherits ? { ...policy, approvers: plan.gates.cutover.approvers } : policy;
}

/** `start` is for the plan, all other gates are per wave. */
export function gateOpened(
  state: CutoverState,
  gate: Gate,
  opening: {
    readonly needed: number;
    readonly approvers: readonly string[];
    readonly digest: string;
    readonly deadline: string | null;
    readonly facts: readonly string[];
    readonly at: string;
    readonly given?: readonly Approval[];
  },
): CutoverState {
  const { at, given = [], ...rest } = opening;
  const wave = gate === 'start' ? null : state.wave;
  const opened: GateState = {
    ...rest,
    gate,
    wave,
    given,
    openedAt: at,
    direction: state.direction,
    rejected: null,
  };
  return { ...state, gates: [...state.gates.filter((other) => other.gate !== gate), opened] };
}

export function openGate(state: CutoverState, gate: Gate): GateState | null {
  return state.gates.find((candidate) => candidate.gate === gate) ?? null;
}

export function mendGate(state: CutoverState, gate: Gate, change: Partial<GateState>): CutoverState {
  return { ...state, gates: state.gates.map((open) => (open.gate === gate ? { ...open, ...change } : open)) };
}

/** What is approved is no longer what would be done. */
export function approvalsDropped(state: CutoverState, gate: Gate, digest: string, facts: readonly string[]) {
  return mendGate({ ...state, digest }, gate, { given: [], digest, facts });
}

/** Takes the gate away without an approval: it was rejected, or the run goes elsewhere. */
export function gateDropped(state: CutoverState, gate: Gate): CutoverState {
  return { ...state, gates: state.gates.filter((open) => open.gate !== gate) };
}

/** Going back was approved: the gates that lead forward are over. */
export function otherGatesDropped(state: CutoverState): CutoverState {
  return { ...state, gates: state.gates.filter((open) => open.gate === 'rollback') };
}

export function gateClosed(state: CutoverState, gate: Gate): CutoverState {
  const open = openGate(state, gate);
  const closed: ClosedGate = {
    gate,
    direction: state.direction,
    digest: open?.digest ?? state.digest ?? '',
    approvedBy: open?.given.map((approval) => approval.by) ?? [],
  };
  const others = state.closed.filter((old) => old.gate !== gate || old.direction !== state.direction);
  return { ...gateDropped(state, gate), closed: [...others, closed] };
}

export function closedGate(state: CutoverState, gate: Gate): ClosedGate | null {
  return state.closed.find((closed) => closed.gate === gate && closed.direction === state.direction) ?? null;
}

export function gateReopened(state: CutoverState, gate: Gate): CutoverState {
  return {
    ...state,
    closed: state.closed.filter((closed) => closed.gate !== gate || closed.direction !== state.direction),
  };
}

// ---- Failed steps

export function stepFailed(state: CutoverState, failure: Omit<PendingFailure, 'choice'>): CutoverState {
  const others = state.failures.filter((old) => old.id !== failure.id);
  return { ...state, failures: [...others, { ...failure, choice: null }] };
}

export function failureOf(state: CutoverState, id: string): PendingFailure | null {
  return state.failures.find((failure) => failure.id === id) ?? null;
}

export function undecidedFailure(state: CutoverState): PendingFailure | null {
  return state.failures.find((failure) => failure.choice === null) ?? null;
}

export function failureSettled(state: CutoverState, id: string): CutoverState {
  return { ...state, failures: state.failures.filter((failure) => failure.id !== id) };
}

// ---- Requests and pauses

export function requested(state: CutoverState, request: EndRequest): CutoverState {
  return { ...state, request };
}

export function goingBackBegun(state: CutoverState): CutoverState {
  return { ...state, request: null, goingBack: state.goingBack ?? state.request };
}

/** The rollback was rejected or failed: the run is where it was. */
export function stayedOnTarget(state: CutoverState): CutoverState {
  return { ...gateReopened(gateDropped(state, 'rollback'), 'rollback'), goingBack: null };
}

export function pauseAsked(state: CutoverState, by: string, at: string, reason: string): CutoverState {
  return { ...state, paused: state.paused ?? { by, at, reason, held: false } };
}

export function pauseHeld(state: CutoverState): CutoverState {
  return state.paused && !state.paused.held ? { ...state, paused: { ...state.paused, held: true } } : state;
}

export function resumed(state: CutoverState): CutoverState {
  return { ...state, paused: null };
}

// ---- The mirror's settings

/** What the mirror is to run with: the plan's, unless people changed it. */
export function mirrorSettings(state: CutoverState): MirrorSettings {
  const { maxBytesPerSecond = 0, shards = 1 } = state.tuned ?? state.plan?.mirror ?? {};
  return { maxBytesPerSecond, shards };
}

export function sameSettings(a: MirrorSettings, b: MirrorSettings): boolean {
  return a.maxBytesPerSecond === b.maxBytesPerSecond && a.shards === b.shards;
}

export function tuned(state: CutoverState, change: Partial<MirrorSettings>): CutoverState {
  return { ...state, tuned: { ...mirrorSettings(state), ...change } };
}

export function mirrorStarted(state: CutoverState, settings: MirrorSettings): CutoverState {
  return { ...state, mirrorRunsWith: settings };
}

export function balanced(state: CutoverState, direction: Direction, weights: string): CutoverState {
  return { ...state, balance: { ...state.balance, [direction]: weights } };
}

/** From the fence until applications write again: a mirror that is stopped now makes them wait. */
export function isApplicationsWaiting(state: CutoverState): boolean {
  return currentWave(state)?.sourceOfTruth === 'none';
}

// ---- Background, undoing, the end

export function backgroundWanted(state: CutoverState, kind: BackgroundKind): CutoverState {
  return state.background.includes(kind) ? state : { ...state, background: [...state.background, kind] };
}

export function backgroundUnwanted(state: CutoverState, kind: BackgroundKind): CutoverState {
  const background = state.background.filter((other) => other !== kind);
  return failureSettled({ ...state, background }, kind);
}

/** People go on without it: without the reverse mirror there is no way back. */
export function backgroundGivenUp(state: CutoverState, kind: BackgroundKind): CutoverState {
  const without = backgroundUnwanted(state, kind);
  if (kind !== 'mirror:reverse') return without;
  return withWave(without, { noWayBack: 'the reverse mirror failed and was given up' });
}

export function leftUndone(state: CutoverState, lines: readonly string[]): CutoverState {
  return { ...state, notUndone: keep([...state.notUndone, ...lines]) };
}

/** A pause or an open gate means nothing any more. */
export function abortBegun(state: CutoverState): CutoverState {
  return { ...state, request: null, paused: null, gates: [], failures: [], aborting: true };
}

export function finalizingBegun(state: CutoverState): CutoverState {
  return { ...state, finalizing: true };
}

export function skippedVerify(state: CutoverState): CutoverState {
  return { ...state, verifySkipped: true };
}

export function evidenceWritten(state: CutoverState, evidence: string): CutoverState {
  return { ...state, evidence };
}

export function ended(state: CutoverState, how: Outcome | 'failed'): CutoverState {
  return { ...state, ended: how, gates: [], background: [], paused: null, request: null };
}

export function messageRefused(state: CutoverState, refusal: Refusal): CutoverState {
  return { ...state, refused: keep([...state.refused, refusal]) };
}

export function decisionNoted(state: CutoverState, line: string): CutoverState {
  return { ...state, decisions: keep([...state.decisions, line]) };
}

/** A failure in the words of the error list. */
export interface Failure {
  readonly code: Code;
  readonly message: string;
}

/** The newest entries. */
export function keep<T>(list: readonly T[], max = stateListMax): readonly T[] {
  return list.length > max ? list.slice(-max) : list;
}
