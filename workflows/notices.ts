/** What the plan's `notify` webhooks are told of a change: gates that opened, steps, alarms, the end. Pure. */
import type { Notice } from '../contract/status.ts';
import { type CutoverState, isDone, liveViews, type MigrationState, undecidedFailure, viewOf } from './state.ts';
import { leading, runStateOf, shownGate, shownStep, sourceOfTruthOf } from './status-view.ts';

type Unnumbered = Omit<Notice, 'id'>;

export function noticesOf(before: MigrationState, after: MigrationState, at: string): Unnumbered[] {
  const { name, plan, ended, findings } = after.shared;
  const sourceOfTruth = sourceOfTruthOf(after.shared);
  const notice = (
    event: Notice['event'],
    view: CutoverState,
    text: string,
    gate: Notice['gate'] = null,
  ): Unnumbered => {
    const { wave } = view;
    const line = text.slice(0, textMax);
    return {
      event,
      migration: name,
      wave,
      at,
      step: shownStep(view),
      state: runStateOf(view),
      sourceOfTruth,
      text: line,
      gate,
    };
  };
  const told: Unnumbered[] = [];
  for (const view of liveViews(after)) {
    // A wave that has just begun goes on from where the plan is.
    const was = viewOf(before, view.wave);
    const of = view.wave === null || (plan?.waves.length ?? 0) < 2 ? '' : ` of wave ${view.wave}`;
    const truth = view.wave === null ? '' : `, source of truth: ${sourceOfTruth[view.wave] ?? 'source'}`;
    const step = shownStep(view);
    if (was.plan === null || shownStep(was) !== step || truthOf(was) !== truthOf(view)) {
      told.push(notice('step-changed', view, `${name}: ${step}${of}${truth}`));
    }
    for (const gate of view.gates) {
      const known = was.gates.some((one) => one.gate === gate.gate && one.openedAt === gate.openedAt);
      if (known || gate.needed === 0) continue;
      const { given: _, ...shown } = shownGate(gate, plan);
      told.push(notice('gate-opened', view, `${name}: gate ${gate.gate}${of} wants ${gate.needed} approvals`, shown));
    }
    const failure = undecidedFailure(view);
    if (failure && undecidedFailure(was)?.message !== failure.message) {
      told.push(
        notice('alarm', view, `${name}: ${failure.step}${of} failed and waits for a decision: ${failure.message}`),
      );
    }
  }
  const view = leading(after);
  // What preflight finds, people approve; what comes later they would not see.
  if (isDone(viewOf(before, null), 'preflight')) {
    const known = new Set(before.shared.findings.map(({ code, where }) => `${code} ${where}`));
    for (const { code, severity, where, message, waived } of findings) {
      if (severity === 'info' || waived || known.has(`${code} ${where}`)) continue;
      told.push(notice('alarm', view, `${name}: ${code} (${where}): ${message}`));
    }
  }
  if (ended !== null && before.shared.ended === null) told.push(notice('ended', view, `${name} has ended: ${ended}`));
  return told;
}

const textMax = 1_000;

function truthOf(view: CutoverState): string {
  return (view.wave === null ? undefined : view.waves[view.wave]?.sourceOfTruth) ?? 'source';
}
