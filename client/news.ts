/**
 * What has changed between two looks at a migration, one line each: for logs, pipes and `start --wait`,
 * where a screen cannot be redrawn.
 */
import type { Look } from './follow.ts';
import { approveCommand, named, sumOf } from './status-screen.ts';
import type { FindingAnswer, GateAnswer, StatusAnswer, StepAnswer } from './temporal-answers.ts';
import { printable } from './terminal.ts';
import { count, duration, roughly } from './units.ts';

/** Between two lines about the mirror's progress. */
export const progressEveryMs = 10_000;

/** Remembers what was said. One per migration followed. */
export class News {
  #last: Look | null = null;
  #progressAtMs = Number.NEGATIVE_INFINITY;
  #told = '';

  /** The lines that are new in this look, each starting with the time. */
  of(look: Look, now = Date.now()): string[] {
    const lines = [...changes(this.#last, look)];
    const { position, end, lag, rate, etaMs } = sumOf(look.live);
    const moved = `${position}/${end}`;
    if (end > 0 && moved !== this.#told && now - this.#progressAtMs >= progressEveryMs && look.ending === null) {
      this.#progressAtMs = now;
      this.#told = moved;
      const speed = rate === null ? '' : `, ${roughly(rate)}/s`;
      const eta = etaMs ? `, ETA ${duration(etaMs)}` : '';
      lines.push(`mirrored ${count(position)} of ${count(end)}, lag ${count(lag)}${speed}${eta}`);
    }
    this.#last = look;
    const time = new Date(now).toISOString().slice(11, 19);
    return lines.map((line) => `${time} ${printable(line)}`);
  }
}

function* changes(before: Look | null, look: Look): Generator<string> {
  const { status } = look;
  if (look.note && look.note !== before?.note) yield `note: ${look.note}`;
  if (look.awaySince !== null && before?.awaySince === null) yield 'note: Temporal does not answer; trying again';

  const stepKey = (step: StepAnswer) => `${step.step}/${step.wave}/${step.direction}/${step.startedAt}`;
  const known = new Map(before?.status.steps.map((step) => [stepKey(step), step]));
  for (const step of status.steps) {
    const earlier = known.get(stepKey(step));
    const back = step.direction === 'reverse' ? ' (back)' : '';
    const name = `${step.step}${back}${named(step.wave) ? ` (${step.wave})` : ''}`;
    if (step.endedAt && !earlier?.endedAt) {
      const took = duration(Date.parse(step.endedAt) - Date.parse(step.startedAt));
      yield `${name}: done in ${took}${step.summary ? `, ${step.summary}` : ''}`;
    } else if (!earlier) {
      yield `${name}: started`;
    }
  }
  if (status.state === 'paused' && before?.status.state !== 'paused') {
    yield `paused: go on with kafka-cutover resume ${status.name}`;
  }
  for (const [wave, side] of Object.entries(status.sourceOfTruth)) {
    if (before && before.status.sourceOfTruth[wave] !== side)
      yield `source of truth${named(wave) ? ` of ${wave}` : ''} is now: ${side}`;
  }
  const gateKey = (gate: GateAnswer) => `${gate.gate}/${gate.wave}/${gate.openedAt}/${gate.digest}`;
  const gates = new Map(before?.status.gates.map((gate) => [gateKey(gate), gate]));
  for (const gate of status.gates) {
    const earlier = gates.get(gateKey(gate));
    const given = `${gate.given.length} of ${gate.needed} approvals`;
    if (!earlier) {
      const awaits = gate.given.length < gate.needed ? `: ${approveCommand(status.name, gate)}` : '';
      yield `gate ${gate.gate} is open, ${given}${awaits}`;
      for (const fact of gate.facts) yield `  ${fact}`;
    } else if (earlier.given.length !== gate.given.length) {
      yield `gate ${gate.gate}: ${given}`;
    }
  }
  const failed = status.failedStep;
  const earlier = before?.status.failedStep;
  if (failed && (failed.message !== earlier?.message || failed.at !== earlier.at)) {
    yield `${failed.step} failed: ${failed.message || failed.code}`;
    for (const choice of failed.choices)
      yield `  kafka-cutover decide ${status.name} ${failed.step} ${choice} --by WHO`;
  }
  const refusalKey = (refusal: StatusAnswer['refused'][number]) => `${refusal.at}/${refusal.message}/${refusal.by}`;
  const told = new Set(before?.status.refused.map(refusalKey));
  for (const refusal of status.refused) {
    if (told.has(refusalKey(refusal))) continue;
    yield `refused ${refusal.message} by ${refusal.by}: ${refusal.text || refusal.code}`;
  }
  // Where they are tells them apart: how long they have been open changes from look to look.
  const placeOf = ({ code, where }: FindingAnswer) => `${code} ${where}`;
  const held = new Set(before?.holding.map(placeOf));
  const holds = new Set(look.holding.map(placeOf));
  for (const found of look.holding) if (!held.has(placeOf(found))) yield `found ${placeOf(found)}: ${found.message}`;
  for (const place of held) if (!holds.has(place)) yield `holds no more: ${place}`;
  for (const { activity, attempt, message } of look.retrying) {
    const earlier = before?.retrying.find((other) => other.activity === activity);
    if (earlier?.message !== message) yield `${activity} is tried again (attempt ${attempt}): ${message}`;
  }
}
