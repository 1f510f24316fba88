/**
 * What a cutover knows, and every way in which that changes: pure functions from state to state. The
 * state is JSON, so that continue-as-new carries it whole; times come in as ISO 8601 strings.
 * Which messages people may send when is in `admission.ts`; what people see is in `status-view.ts`.
 *
 * A plan's waves run beside each other, each through the same steps. `MigrationState` holds all of it; the functions here
 * and the steps see `CutoverState`: what the waves share and what is one wave's own, side by side.
 */
import type { Code, Finding } from '../contract/errors.ts';
import type { GatePolicy, Plan } from '../contract/plan.ts';
import type {
  AnsweredGate,
  Approval,
  DecideMessage,
  Direction,
  FailedStep,
  Gate,
  GateRecord,
  MirrorSettings,
  Notice,
  OpenGate,
  Outcome,
  Phase,
  Refusal,
  SourceOfTruth,
  Step,
  StepRecord,
} from '../contract/status.ts';
import { waveNames } from '../contract/status.ts';

/** Lists that people or loops can lengthen are cut to so many entries, the oldest first. */
export const stateListMax = 200;

/**
 * How far a wave has come, in the terms of rule 6. `closing` and `closingBack` may still be undone by
 * lifting the fence; from `deciding` on, only the answer of `decideOpening` or `unfence` says where we are.
 */
export type Stage = 'source' | 'closing' | 'deciding' | 'target' | 'closingBack' | 'decidingBack' | 'back';

/** What was done and is not done again, in either direction; each is one border of the runbook. */
export type Milestone =
  | 'preflight'
  | 'prepare-target'
  | `${'promoted' | 'writes-opened' | 'groups-opened' | 'producers' | 'consumers' | 'verify'}:${Direction}`
  | 'finalize'
  | 'settle-rollback';

export type BackgroundKind =
  | `mirror:${Direction}`
  | 'audit'
  | 'followGroups'
  | 'followMetadata'
  | `watchFence:${'source' | 'target'}`;

export interface WaveState {
  readonly stage: Stage;
  readonly sourceOfTruth: SourceOfTruth;
  /** Names of the stored boundaries, one per direction. */
  readonly boundary: Readonly<Record<Direction, string | null>>;
  /** When the target was opened: the rollback window counts from here. */
  readonly openedAt: string | null;
  /** Why there is no way back any more, or null. */
  readonly noWayBack: string | null;
  /** When the source of truth last changed; null while it never did. */
  readonly truthSince: string | null;
  /** What it rests on, one line; empty while nothing had to be proven. */
  readonly truthProof: string;
}

export interface GateState extends Omit<OpenGate, 'proof'> {
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

/** How a gate ended: `status` and the evidence each show a part of it. */
export interface Answer extends Omit<GateRecord, 'passedAt'> {
  /** ISO 8601. */
  readonly endedAt: string;
  /** Null: it passed, by what was given or because its window was over. */
  readonly rejected: { readonly by: string; readonly how: Approval['how']; readonly reason: string } | null;
}

export interface PendingFailure extends Omit<FailedStep, 'at'> {
  /** Absent where an earlier build noted it. */
  readonly at?: string;
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

/** What all waves of a migration share. */
export interface SharedState {
  readonly name: string;
  /** Null until the first activity has read it. */
  readonly plan: Plan | null;
  readonly startedAt: string;
  /** Null while the run goes on. */
  readonly ended: Outcome | 'failed' | null;
  readonly findings: readonly Finding[];
  /** Of every wave of the plan, also those that have not begun. */
  readonly waves: Readonly<Record<string, WaveState>>;
  /** What people changed of `plan.mirror` since; null: the plan's. */
  readonly tuned: MirrorSettings | null;
  readonly refused: readonly Refusal[];
  readonly decisions: readonly string[];
  /** Gates that are over, the oldest first. */
  readonly answers: readonly Answer[];
  readonly notUndone: readonly string[];
  readonly evidence: string | null;
  /** What the plan's webhooks have not been told yet, and how many notices there were. Left out where nobody is told. */
  readonly outbox?: Outbox;
  /** Left out before there were any. */
  readonly holding?: Held;
}

/** Findings that running activities heartbeat, as they were when last read. */
export interface Held {
  readonly findings: readonly Finding[];
  /** ISO 8601. */
  readonly asOf: string;
  /** How often they changed without a long rest in between. */
  readonly changes: number;
}

export interface Outbox {
  readonly count: number;
  readonly waiting: Readonly<Record<string, readonly Notice[]>>;
}

/** What is one wave's own; before the first wave begins, the plan's. */
export interface OwnState {
  /** Null: the plan's, from preflight to gate `start`. */
  readonly wave: string | null;
  readonly step: Step;
  readonly stepSince: string;
  readonly direction: Direction;
  /** How the wave ended; null while it goes on. */
  readonly over: Outcome | null;
  readonly done: readonly Milestone[];
  readonly digest: string | null;
  readonly inventory: string | null;
  readonly gates: readonly GateState[];
  readonly closed: readonly ClosedGate[];
  readonly background: readonly BackgroundKind[];
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
}

/** The migration as one of its waves sees it. */
export type CutoverState = SharedState & OwnState;

export interface MigrationState {
  readonly version: 2;
  readonly shared: SharedState;
  /** The plan's first, then the waves in the order in which they began. */
  readonly own: readonly [OwnState, ...OwnState[]];
}

/** Every key of `SharedState`: tells the two halves of a `CutoverState` apart. */
const sharedKeys: Readonly<Record<keyof SharedState, true>> = {
  name: true,
  plan: true,
  startedAt: true,
  ended: true,
  findings: true,
  waves: true,
  tuned: true,
  refused: true,
  decisions: true,
  answers: true,
  notUndone: true,
  evidence: true,
  outbox: true,
  holding: true,
};

const newOwn = {
  wave: null,
  step: 'preflight',
  direction: 'forward',
  over: null,
  done: [],
  digest: null,
  inventory: null,
  gates: [],
  closed: [],
  background: [],
  mirrorRunsWith: null,
  balance: { forward: null, reverse: null },
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
} as const satisfies Omit<OwnState, 'stepSince'>;

const newWave: WaveState = {
  stage: 'source',
  sourceOfTruth: 'source',
  boundary: { forward: null, reverse: null },
  openedAt: null,
  noWayBack: null,
  truthSince: null,
  truthProof: '',
};

export function initialState(name: string, at: string): MigrationState {
  const shared: SharedState = {
    name,
    plan: null,
    startedAt: at,
    ended: null,
    findings: [],
    waves: {},
    tuned: null,
    refused: [],
    decisions: [],
    answers: [],
    notUndone: [],
    evidence: null,
  };
  return { version: 2, shared, own: [{ ...newOwn, stepSince: at }] };
}

/** The state that an earlier run of the same workflow left, or null for a first start. */
export function carriedState(value: unknown): MigrationState | null {
  if (typeof value !== 'object' || value === null) return null;
  const { version, own } = value as { version?: unknown; own?: unknown };
  if (version === 2 && Array.isArray(own) && own.length > 0) return completed(value as MigrationState);
  return version === 1 ? ofOneWave(value as Partial<CutoverState>) : null;
}

/** Of an earlier build, which kept what `status` shows of answers beside what the evidence does. */
interface EarlierAnswers {
  readonly shared: { readonly passed?: readonly GateRecord[] };
  readonly own: readonly { readonly answered?: readonly AnsweredGate[] }[];
}

/** With what an earlier build did not keep yet, or kept otherwise. */
function completed(state: MigrationState): MigrationState {
  const { answers }: Partial<SharedState> = state.shared;
  if (answers) return state;
  const earlier = state as unknown as EarlierAnswers;
  const passed = (earlier.shared.passed ?? []).map(
    ({ passedAt, ...record }): Answer => ({ ...record, endedAt: passedAt, rejected: null }),
  );
  const rejected = earlier.own
    .flatMap(({ answered = [] }) => answered)
    .flatMap(({ gate, wave, openedAt, outcome, by: [who], at, reason }): Answer[] => {
      if (outcome === 'approved' || !who) return [];
      const unknown = { needed: 0, given: [], digest: '', direction: 'forward' } as const;
      return [{ ...unknown, gate, wave, openedAt, endedAt: at ?? openedAt, rejected: { ...who, reason } }];
    });
  const all = [...passed, ...rejected].sort((a, b) => (a.endedAt < b.endedAt ? -1 : 1));
  return { ...state, shared: { ...state.shared, answers: all } };
}

/** Runs of an earlier build, which knew one wave, hand on both halves as one object. */
function ofOneWave({ version: _, ...carried }: Partial<CutoverState> & { version?: unknown }): MigrationState {
  const { shared, own } = halves({ ...newOwn, tuned: null, answers: [], ...carried } as CutoverState);
  const known = Object.entries(shared.waves).map(([name, wave]) => [name, { ...newWave, ...wave }] as const);
  const approved = own.closed.some((closed) => closed.gate === 'start');
  const plans: OwnState = { ...own, wave: null, background: [], steps: approved ? [] : own.steps };
  return {
    version: 2,
    shared: { ...shared, waves: Object.fromEntries(known) },
    own: approved ? [plans, own] : [plans],
  };
}

function halves(state: CutoverState): { shared: SharedState; own: OwnState } {
  const entries = Object.entries(state);
  const pick = (wanted: boolean) => Object.fromEntries(entries.filter(([key]) => key in sharedKeys === wanted));
  return { shared: pick(true) as unknown as SharedState, own: pick(false) as unknown as OwnState };
}

// ---- Waves of one migration

/** As the wave sees it; null: as the plan does. */
export function viewOf(state: MigrationState, wave: string | null): CutoverState {
  const own = state.own.find((one) => one.wave === wave) ?? state.own[0];
  return { ...state.shared, ...own };
}

/** Takes over what changed as one of its waves saw it. */
export function withView(state: MigrationState, view: CutoverState): MigrationState {
  const { shared, own } = halves(view);
  const [first, ...others] = state.own.map((one) => (one.wave === own.wave ? own : one));
  return { ...state, shared, own: [first ?? own, ...others] };
}

/** Of what goes on: the waves under way; before the first of them, the plan. */
export function liveViews(state: MigrationState): CutoverState[] {
  const [plans, ...waves] = state.own;
  const live = waves.length === 0 ? [plans] : waves.filter((own) => own.over === null);
  return live.map((own) => ({ ...state.shared, ...own }));
}

/** From here on the wave has steps of its own; it starts from what the plan was approved with. */
export function waveBegun(state: MigrationState, wave: string, at: string): MigrationState {
  if (state.own.some((own) => own.wave === wave)) return state;
  const [plans, ...earlier] = state.own;
  const { digest, inventory, step, stepSince, request, paused } = plans;
  const begun: OwnState = { ...newOwn, wave, digest, inventory, step, stepSince: at };
  // What was asked for before any wave began is for the first one.
  const own = earlier.length === 0 ? { ...begun, stepSince, request, paused } : begun;
  return { ...state, own: [plans, ...earlier, own] };
}

/**
 * How every wave of the plan ended.
 *
 * @param otherwise of those that never began
 */
export function outcomesOf(state: MigrationState, otherwise: Outcome): Readonly<Record<string, Outcome>> {
  const { plan } = state.shared;
  const over = (name: string) => state.own.find((own) => own.wave === name)?.over ?? otherwise;
  return Object.fromEntries((plan === null ? [] : waveNames(plan)).map((name) => [name, over(name)]));
}

/** Completed only where every wave is; never rounded up. */
export function outcomeOf(outcomes: Readonly<Record<string, Outcome>>): Outcome {
  const found = new Set(Object.values(outcomes));
  return (['rolledBack', 'aborted', 'rejected'] as const).find((worse) => found.has(worse)) ?? 'completed';
}

// ---- The plan and what preflight found

export function planRead(state: CutoverState, plan: Plan): CutoverState {
  const waves = Object.fromEntries(waveNames(plan).map((name) => [name, newWave]));
  return { ...state, name: plan.name, plan, waves };
}

export function inventoried(
  state: CutoverState,
  found: { digest: string; inventory: string; findings: readonly Finding[] },
): CutoverState {
  // An inventory says nothing about what went wrong elsewhere.
  const others = state.findings.filter(({ code }) => code === 'WEBHOOK_FAILED');
  return { ...state, digest: found.digest, inventory: found.inventory, findings: keep([...others, ...found.findings]) };
}

/** Adds findings; the same code at the same place is replaced, not repeated. */
export function withFindings(state: CutoverState, findings: readonly Finding[] = []): CutoverState {
  if (findings.length === 0) return state;
  const same = (a: Finding, b: Finding) => a.code === b.code && a.where === b.where;
  const others = state.findings.filter((old) => !findings.some((added) => same(old, added)));
  return { ...state, findings: keep([...others, ...findings]) };
}

/** A heartbeat says something else than before; after a long rest changes are counted anew. */
export function heldNow(state: CutoverState, findings: readonly Finding[], asOf: string): CutoverState {
  const { holding } = state;
  const rested = holding === undefined || Date.parse(asOf) - Date.parse(holding.asOf) >= 2 * heldRestMaxMs;
  return { ...state, holding: { findings, asOf, changes: rested ? 1 : holding.changes + 1 } };
}

const heldRestMinMs = 15_000;
const heldRestMaxMs = 3_600_000;

/** How long they stay as they are at least: findings that come and go all day must not fill the history (six events each). */
export function heldRestMs({ holding }: Pick<SharedState, 'holding'>): number {
  return holding ? Math.min(heldRestMaxMs, heldRestMinMs * 4 ** (holding.changes - 1)) : 0;
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

/** A part of the step is over that applications waited for. */
export function phaseEnded(state: CutoverState, step: Step, name: Phase, endedAt: string): CutoverState {
  return mendRecord(state, step, (record) => ({ ...record, phases: [...(record.phases ?? []), { name, endedAt }] }));
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
export function fenceBegun(state: CutoverState, direction: Direction, at: string): CutoverState {
  const stage = direction === 'forward' ? 'closing' : 'closingBack';
  return withWave({ ...state, direction }, { stage, sourceOfTruth: 'none', truthSince: at, truthProof: '' });
}

/** What says that the source of truth is what we say it is. */
export function truthProven(state: CutoverState, truthProof: string): CutoverState {
  return withWave(state, { truthProof });
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

export function fenceLifted(state: CutoverState, direction: Direction, at: string): CutoverState {
  const side = direction === 'forward' ? 'source' : 'target';
  const back: Partial<WaveState> = { stage: side, sourceOfTruth: side, truthSince: at, truthProof: '' };
  return withWave({ ...state, direction: 'forward' }, back);
}

export function writesOpened(state: CutoverState, direction: Direction, at: string): CutoverState {
  const open: Partial<WaveState> =
    direction === 'forward' ? { sourceOfTruth: 'target', openedAt: at } : { sourceOfTruth: 'source' };
  return withWave(state, { ...open, truthSince: at });
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

export function gateClosed(state: CutoverState, gate: Gate, at: string): CutoverState {
  const open = openGate(state, gate);
  const closed: ClosedGate = {
    gate,
    direction: state.direction,
    digest: open?.digest ?? state.digest ?? '',
    approvedBy: open?.given.map((approval) => approval.by) ?? [],
  };
  const others = state.closed.filter((old) => old.gate !== gate || old.direction !== state.direction);
  return { ...gateDropped(answered(state, open, at, null), gate), closed: [...others, closed] };
}

/** It stays open until the run has gone where that leads. */
export function gateRejected(
  state: CutoverState,
  gate: Gate,
  rejected: NonNullable<GateState['rejected']>,
  how: Approval['how'],
): CutoverState {
  const { by, at, reason } = rejected;
  return mendGate(answered(state, openGate(state, gate), at, { by, how, reason }), gate, { rejected });
}

function answered(
  state: CutoverState,
  open: GateState | null,
  endedAt: string,
  rejected: Answer['rejected'],
): CutoverState {
  // A gate that waits for nobody is never open.
  if (open === null) return state;
  const { gate, wave, needed, given, digest, openedAt, direction } = open;
  const answer = { gate, wave, needed, given, digest, openedAt, direction, endedAt, rejected };
  return { ...state, answers: keep([...state.answers, answer]) };
}

/** Those that people passed; a window that ended has nobody to name. */
export function passedGates({ answers }: Pick<SharedState, 'answers'>): GateRecord[] {
  return answers.flatMap(({ endedAt, rejected, ...record }) =>
    rejected === null && record.given.length > 0 ? [{ ...record, passedAt: endedAt }] : [],
  );
}

/** As `status` tells them. */
export function answeredGates({ answers }: Pick<SharedState, 'answers'>): AnsweredGate[] {
  return answers.map(({ gate, wave, openedAt, given, endedAt, rejected }) => {
    if (rejected) {
      const { by, how, reason } = rejected;
      return { gate, wave, openedAt, outcome: 'rejected', by: [{ by, how }], at: endedAt, reason };
    }
    const by = given.map(({ by: name, how }) => ({ by: name, how }));
    return { gate, wave, openedAt, outcome: 'approved', by, at: given.at(-1)?.at ?? null, reason: '' };
  });
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

export function waveOver(state: CutoverState, outcome: Outcome): CutoverState {
  return { ...state, over: outcome, gates: [], background: [], paused: null, request: null };
}

export function ended(state: MigrationState, how: Outcome | 'failed'): MigrationState {
  const [plans, ...waves] = state.own.map((own) => ({ ...own, gates: [], paused: null, request: null }));
  return { ...state, shared: { ...state.shared, ended: how }, own: [plans ?? state.own[0], ...waves] };
}

export function messageRefused(state: CutoverState, refusal: Refusal): CutoverState {
  return { ...state, refused: keep([...state.refused, refusal]) };
}

export function decisionNoted(state: CutoverState, line: string): CutoverState {
  return { ...state, decisions: keep([...state.decisions, line]) };
}

/** More than so many are not kept for a webhook that does not answer: the oldest are dropped. */
const outboxMax = 100;

/** Notices that every one of these webhooks is to be told. */
export function toTell(
  state: MigrationState,
  webhooks: readonly string[],
  run: string,
  notices: readonly Omit<Notice, 'id'>[],
): MigrationState {
  const { count = 0, waiting = {} } = state.shared.outbox ?? {};
  const added = notices.map((notice, index) => ({ id: `${run}/${count + index}`, ...notice }));
  const next = Object.fromEntries(
    webhooks.map((name) => [name, keep([...(waiting[name] ?? []), ...added], outboxMax)]),
  );
  const outbox = { count: count + added.length, waiting: { ...waiting, ...next } };
  return { ...state, shared: { ...state.shared, outbox } };
}

/** Whether it was told, or given up, makes no difference here. */
export function told(state: MigrationState, webhook: string, notices: readonly Notice[]): MigrationState {
  const { outbox } = state.shared;
  if (!outbox) return state;
  const left = (outbox.waiting[webhook] ?? []).filter(({ id }) => !notices.some((one) => one.id === id));
  return {
    ...state,
    shared: { ...state.shared, outbox: { ...outbox, waiting: { ...outbox.waiting, [webhook]: left } } },
  };
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
