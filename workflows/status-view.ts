/**
 * What people see of a state: the two queries, the line and the page that Temporal's UI shows, the search
 * attributes, and the exact command that goes on. Pure.
 */
import type { Finding } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import type {
  EvidencePointer,
  MirrorStatus,
  OpenGate,
  RunState,
  Status,
  Step,
  WaveStatus,
} from '../contract/status.ts';
import { statusListMax, waveNames, workflowId } from '../contract/status.ts';
import {
  answeredGates,
  type CutoverState,
  currentWave,
  type GateState,
  keep,
  liveViews,
  type MigrationState,
  mirrorSettings,
  type SharedState,
  sameSettings,
  undecidedFailure,
  viewOf,
} from './state.ts';

/** The wave that people look at first: the one that waits for them, else the newest under way. */
export function leading(state: MigrationState): CutoverState {
  const live = liveViews(state);
  const last = live.at(-1) ?? viewOf(state, state.own.at(-1)?.wave ?? null);
  return live.find((view) => undecidedFailure(view) !== null) ?? live.findLast((view) => nextMessage(view)) ?? last;
}

export function statusOf(migration: MigrationState): Status {
  const state = leading(migration);
  const failure = undecidedFailure(state);
  const gates = [state, ...liveViews(migration).filter((view) => view.wave !== state.wave)].flatMap(
    (view) => view.gates,
  );
  return {
    name: state.name,
    step: shownStep(state),
    wave: state.wave,
    state: stateOf(migration),
    awaiting: state.gates.map((gate) => shownGate(gate, state.plan)).at(-1) ?? null,
    gates: gates.map((gate) => shownGate(gate, state.plan)),
    answered: keep(answeredGates(state), statusListMax),
    failedStep: failure
      ? {
          step: failure.step,
          code: failure.code,
          message: failure.message,
          choices: failure.choices,
          at: failure.at ?? null,
        }
      : null,
    decisions: keep(viewOf(migration, null).decisions, statusListMax),
    sourceOfTruth: sourceOfTruthOf(state),
    waves: wavesOf(migration),
    lagRecords: state.lagRecords,
    lagAsOf: state.lagAsOf,
    findings: keep(state.findings, statusListMax),
    refused: keep(state.refused, statusListMax),
    steps: keep(
      migration.own.flatMap((own) => own.steps),
      statusListMax,
    ),
    digest: state.digest,
    next: nextCommand(state),
    source: state.plan?.source ?? '',
    target: state.plan?.target ?? '',
    notUndone: keep(state.notUndone, statusListMax),
    mirror: state.plan && mirrorStatus(state),
  };
}

function mirrorStatus(state: CutoverState): MirrorStatus {
  const wanted = mirrorSettings(state);
  const inForce = state.mirrorRunsWith ?? wanted;
  return { ...inForce, tuned: sameSettings(inForce, wanted) ? null : wanted };
}

/** Of the migration as a whole: its waves may be over while what was proven is still being stored. */
function stateOf(migration: MigrationState): RunState {
  const state = leading(migration);
  return state.ended ?? (state.over !== null ? 'running' : runStateOf(state));
}

/** In the order in which they move; those that have not begun have no step yet. */
export function wavesOf(migration: MigrationState): WaveStatus[] {
  const { plan, waves } = migration.shared;
  return (plan === null ? [] : waveNames(plan)).map((wave) => {
    const { sourceOfTruth = 'source', truthSince = null, truthProof = '' } = waves[wave] ?? {};
    const begun = migration.own.some((own) => own.wave === wave) ? viewOf(migration, wave) : null;
    return {
      wave,
      step: begun && shownStep(begun),
      state: begun && runStateOf(begun),
      sourceOfTruth,
      since: truthSince,
      proof: truthProof,
      lagRecords: begun?.lagRecords ?? null,
      lagAsOf: begun?.lagAsOf ?? null,
    };
  });
}

export function evidenceOf(migration: MigrationState): EvidencePointer {
  const state = leading(migration);
  const done = migration.own.flatMap((own) => own.steps).filter((record) => record.endedAt !== null).length;
  const decisions = state.decisions.length;
  const summary = `${stateOf(migration)} at ${shownStep(state)}: ${done} steps done, ${decisions} decisions by people, ${state.notUndone.length} changes not undone`;
  return { digest: state.digest, artifact: state.evidence, summary };
}

export function sourceOfTruthOf({ waves }: Pick<SharedState, 'waves'>): Status['sourceOfTruth'] {
  return Object.fromEntries(Object.entries(waves).map(([name, wave]) => [name, wave.sourceOfTruth]));
}

export function runStateOf(state: CutoverState): RunState {
  const end = state.over ?? state.ended;
  if (end !== null) return end;
  if (undecidedFailure(state)) return 'waiting';
  if (state.paused && (state.paused.held || state.gates.length > 0)) return 'paused';
  return state.gates.length > 0 ? 'waiting' : 'running';
}

/** On the way back every step is `rollback`; the records say which one. */
export function shownStep(state: CutoverState): Step {
  if ((state.over ?? state.ended) === 'rolledBack') return 'rollback';
  return state.direction === 'reverse' || state.goingBack !== null ? 'rollback' : state.step;
}

/** Somebody must do something. */
export function isAwaiting(state: MigrationState): boolean {
  return liveViews(state).some((view) => nextMessage(view) !== null);
}

export interface NextMessage {
  readonly name: 'approve' | 'resume' | 'decide';
  readonly input: Readonly<Record<string, string>>;
}

/** The message that goes on from here; WHO stands for the sender. */
export function nextMessage(state: CutoverState): NextMessage | null {
  if (state.ended !== null || state.over !== null) return null;
  const which = state.wave !== null && (state.plan?.waves.length ?? 0) > 1 ? { wave: state.wave } : {};
  const failure = undecidedFailure(state);
  if (failure) {
    return {
      name: 'decide',
      input: { step: failure.step, choice: failure.choices[0] ?? 'retry', ...which, by: 'WHO' },
    };
  }
  const gate = state.gates.at(-1);
  if (gate && gate.needed > 0 && !isApproved(gate)) {
    return { name: 'approve', input: { gate: gate.gate, ...which, by: 'WHO' } };
  }
  if (state.paused && (state.paused.held || gate)) return { name: 'resume', input: { ...which, by: 'WHO' } };
  return null;
}

export function nextCommand(state: CutoverState): string | null {
  const next = nextMessage(state);
  if (next === null) return null;
  const { by: _, wave, ...what } = next.input;
  const which = wave === undefined ? [] : ['--wave', wave];
  return ['kafka-cutover', next.name, state.name, ...Object.values(what), ...which, '--by WHO'].join(' ');
}

export function temporalCommand(state: CutoverState, next: NextMessage): string {
  const input = JSON.stringify(next.input);
  return `temporal workflow signal --workflow-id ${workflowId(state.name)} --name ${next.name} --input '${input}'`;
}

export function isApproved(gate: Pick<GateState, 'needed' | 'given'>): boolean {
  return gate.given.length >= gate.needed;
}

/** Markdown for Temporal's UI: where it stands, since when, who is awaited, and how to go on. */
export function currentDetails(migration: MigrationState): string {
  const state = leading(migration);
  const several = (state.plan?.waves.length ?? 0) > 1;
  const lines = [`**${shownStep(state)}** (${runStateOf(state)}) since ${state.stepSince}`, ''];
  const wave = currentWave(state);
  if (wave && !several) lines.push(`- source of truth: **${wave.sourceOfTruth}**`);
  if (several) lines.push(...wavesOf(migration).map(waveLine));
  if (state.lagRecords !== null) lines.push(`- lag: ${state.lagRecords} records at ${state.lagAsOf}`);
  if (state.digest !== null) lines.push(`- plan digest: \`${state.digest}\``);
  const live = liveViews(migration);
  for (const view of live) lines.push(...waitingLines(view, several));
  lines.push(...heldLines(state), ...findingLines(state));
  // The one that people look at first comes last.
  const waiting = [...live.filter((view) => view.wave !== state.wave), state].filter((view) => nextMessage(view));
  const commands = new Set(waiting.reverse().flatMap((view) => commandsOf(view)));
  if (commands.size > 0) lines.push('', '### To go on', '```', ...commands, '```');
  const last = migration.own.flatMap((own) => own.steps).findLast((record) => record.summary !== '');
  if (last) lines.push('', `Last: ${last.step}: ${last.summary}`);
  return lines.join('\n').slice(0, detailsMax);
}

function waveLine({ wave, step, state, sourceOfTruth }: WaveStatus): string {
  const where = step === null ? 'has not begun' : `${step} (${state})`;
  return `- wave ${wave}: ${where}, source of truth: **${sourceOfTruth}**`;
}

/** What of a wave waits for people. */
function waitingLines(state: CutoverState, several: boolean): string[] {
  const of = several && state.wave !== null ? ` of wave ${state.wave}` : '';
  const lines: string[] = [];
  if (state.paused) lines.push(`- pause${of} asked by ${state.paused.by} at ${state.paused.at} ${state.paused.reason}`);
  const failure = undecidedFailure(state);
  if (failure) {
    lines.push('', `### Failed: ${failure.step}${of}`, failure.message, '', `Choices: ${failure.choices.join(', ')}`);
  }
  for (const gate of state.gates) lines.push('', ...gateLines(gate, of));
  return lines;
}

/** What running activities say in their heartbeats, which `status` reads at every look. */
function heldLines({ holding }: CutoverState): string[] {
  return holding ? listed(`Found by what runs, as of ${holding.asOf}`, holding.findings) : [];
}

/** What people should have read, blockers first; what was waived they have. */
function findingLines({ findings }: CutoverState): string[] {
  return listed(
    'Findings',
    findings.filter(({ severity, waived }) => severity !== 'info' && !waived),
  );
}

function listed(title: string, open: readonly Finding[]): string[] {
  if (open.length === 0) return [];
  const sorted = [...open].sort((a, b) => (a.severity < b.severity ? -1 : a.severity > b.severity ? 1 : 0));
  const shown = sorted.slice(0, findingsShownMax).map(({ code, where, message }) => `- ${code} (${where}): ${message}`);
  const rest = sorted.length - shown.length;
  return ['', `### ${title}`, ...shown, ...(rest > 0 ? [`- ${rest} more in \`kafka-cutover status\``] : [])];
}

/** In Temporal's UI. */
const findingsShownMax = 10;

function commandsOf(state: CutoverState): string[] {
  const next = nextMessage(state);
  const ours = nextCommand(state);
  return next && ours ? [ours, temporalCommand(state, next)] : [];
}

/** Temporal takes 20 KB. */
const detailsMax = 16_000;

function gateLines(gate: GateState, of: string): string[] {
  const who = gate.approvers.length === 0 ? 'anyone' : gate.approvers.join(', ');
  const given = gate.given.map((approval) => approval.by).join(', ') || 'nobody';
  const until = gate.deadline === null ? '' : `, until ${gate.deadline}`;
  return [
    `### Gate ${gate.gate}${of}: ${gate.given.length} of ${gate.needed} approvals`,
    `Open since ${gate.openedAt}${until}. Approvers: ${who}. Given by: ${given}.`,
    ...gate.facts.map((fact) => `- ${fact}`),
  ];
}

export function shownGate(gate: GateState, plan: Plan | null): OpenGate {
  const { gate: name, wave, needed, approvers, given, digest, deadline, openedAt } = gate;
  const proof = plan?.gates[name].proof ?? 'claimed';
  const facts = keep(gate.facts, statusListMax);
  return { gate: name, wave, needed, approvers, proof, given, digest, deadline, openedAt, facts };
}
