/**
 * What people see of a state: the two queries, the line and the page that Temporal's UI shows, the search
 * attributes, and the exact command that goes on. Pure.
 */
import type { EvidencePointer, MirrorStatus, OpenGate, RunState, Status, Step } from '../contract/status.ts';
import { statusListMax, workflowId } from '../contract/status.ts';
import {
  type CutoverState,
  currentWave,
  type GateState,
  keep,
  mirrorSettings,
  sameSettings,
  undecidedFailure,
} from './state.ts';

export function statusOf(state: CutoverState): Status {
  const failure = undecidedFailure(state);
  const gates = state.gates.map(shownGate);
  return {
    name: state.name,
    step: shownStep(state),
    wave: state.wave,
    state: runStateOf(state),
    awaiting: gates.at(-1) ?? null,
    gates,
    failedStep: failure
      ? { step: failure.step, code: failure.code, message: failure.message, choices: failure.choices }
      : null,
    sourceOfTruth: sourceOfTruthOf(state),
    lagRecords: state.lagRecords,
    lagAsOf: state.lagAsOf,
    findings: keep(state.findings, statusListMax),
    refused: keep(state.refused, statusListMax),
    steps: keep(state.steps, statusListMax),
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

export function evidenceOf(state: CutoverState): EvidencePointer {
  const done = state.steps.filter((record) => record.endedAt !== null).length;
  const decisions = state.decisions.length;
  const summary = `${runStateOf(state)} at ${shownStep(state)}: ${done} steps done, ${decisions} decisions by people, ${state.notUndone.length} changes not undone`;
  return { digest: state.digest, artifact: state.evidence, summary };
}

export function sourceOfTruthOf(state: CutoverState): Status['sourceOfTruth'] {
  return Object.fromEntries(Object.entries(state.waves).map(([name, wave]) => [name, wave.sourceOfTruth]));
}

export function runStateOf(state: CutoverState): RunState {
  if (state.ended !== null) return state.ended;
  if (undecidedFailure(state)) return 'waiting';
  if (state.paused && (state.paused.held || state.gates.length > 0)) return 'paused';
  return state.gates.length > 0 ? 'waiting' : 'running';
}

/** On the way back every step is `rollback`; the records say which one. */
export function shownStep(state: CutoverState): Step {
  if (state.ended === 'rolledBack') return 'rollback';
  return state.direction === 'reverse' || state.goingBack !== null ? 'rollback' : state.step;
}

/** Somebody must do something. */
export function isAwaiting(state: CutoverState): boolean {
  return state.ended === null && nextMessage(state) !== null;
}

export interface NextMessage {
  readonly name: 'approve' | 'resume' | 'decide';
  readonly input: Readonly<Record<string, string>>;
}

/** The message that goes on from here; WHO stands for the sender. */
export function nextMessage(state: CutoverState): NextMessage | null {
  if (state.ended !== null) return null;
  const failure = undecidedFailure(state);
  if (failure) {
    return { name: 'decide', input: { step: failure.step, choice: failure.choices[0] ?? 'retry', by: 'WHO' } };
  }
  const gate = state.gates.at(-1);
  if (gate && gate.needed > 0 && !isApproved(gate)) {
    return { name: 'approve', input: { gate: gate.gate, by: 'WHO' } };
  }
  if (state.paused && (state.paused.held || gate)) return { name: 'resume', input: { by: 'WHO' } };
  return null;
}

export function nextCommand(state: CutoverState): string | null {
  const next = nextMessage(state);
  if (next === null) return null;
  const { by: _, ...what } = next.input;
  return ['kafka-cutover', next.name, state.name, ...Object.values(what), '--by WHO'].join(' ');
}

export function temporalCommand(state: CutoverState, next: NextMessage): string {
  const input = JSON.stringify(next.input);
  return `temporal workflow signal --workflow-id ${workflowId(state.name)} --name ${next.name} --input '${input}'`;
}

export function isApproved(gate: Pick<GateState, 'needed' | 'given'>): boolean {
  return gate.given.length >= gate.needed;
}

/** Markdown for Temporal's UI: where it stands, since when, who is awaited, and how to go on. */
export function currentDetails(state: CutoverState): string {
  const wave = currentWave(state);
  const lines = [`**${shownStep(state)}** (${runStateOf(state)}) since ${state.stepSince}`, ''];
  if (wave) lines.push(`- source of truth: **${wave.sourceOfTruth}**`);
  if (state.lagRecords !== null) lines.push(`- lag: ${state.lagRecords} records at ${state.lagAsOf}`);
  if (state.digest !== null) lines.push(`- plan digest: \`${state.digest}\``);
  if (state.paused) lines.push(`- pause asked by ${state.paused.by} at ${state.paused.at} ${state.paused.reason}`);
  const failure = undecidedFailure(state);
  if (failure) {
    lines.push('', `### Failed: ${failure.step}`, failure.message, '', `Choices: ${failure.choices.join(', ')}`);
  }
  for (const gate of state.gates) lines.push('', ...gateLines(gate));
  const next = nextMessage(state);
  if (next) {
    const commands = new Set([nextCommand(state), temporalCommand(state, next)]);
    lines.push('', '### To go on', '```', ...[...commands].filter((command) => command !== null), '```');
  }
  const last = state.steps.findLast((record) => record.summary !== '');
  if (last) lines.push('', `Last: ${last.step}: ${last.summary}`);
  return lines.join('\n').slice(0, detailsMax);
}

/** Temporal takes 20 KB. */
const detailsMax = 16_000;

function gateLines(gate: GateState): string[] {
  const who = gate.approvers.length === 0 ? 'anyone' : gate.approvers.join(', ');
  const given = gate.given.map((approval) => approval.by).join(', ') || 'nobody';
  const until = gate.deadline === null ? '' : `, until ${gate.deadline}`;
  return [
    `### Gate ${gate.gate}: ${gate.given.length} of ${gate.needed} approvals`,
    `Open since ${gate.openedAt}${until}. Approvers: ${who}. Given by: ${given}.`,
    ...gate.facts.map((fact) => `- ${fact}`),
  ];
}

function shownGate(gate: GateState): OpenGate {
  const { gate: name, wave, needed, approvers, given, digest, deadline, openedAt, facts } = gate;
  return { gate: name, wave, needed, approvers, given, digest, deadline, openedAt, facts: keep(facts, statusListMax) };
}
