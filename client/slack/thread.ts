/**
 * What the thread of a migration's card says, one entry each: steps, answers, alarms, the end. Pure: which entries are new follows from
 * their keys, which the messages in Slack carry, so that nobody has to remember what was said.
 */
import { createHash } from 'node:crypto';
import type { Ending } from '../cutover-client.ts';
import { named } from '../status-screen.ts';
import type { StatusAnswer, StepAnswer } from '../temporal-answers.ts';
import { duration } from '../units.ts';
import { answeredText, plain } from './blocks.ts';

export interface Entry {
  /** Eight characters, the same at every look. */
  readonly key: string;
  readonly text: string;
  /** People must act: it is shown in the channel too. */
  readonly alarm: boolean;
}

export function entriesOf(status: StatusAnswer, ending: Ending | null): Entry[] {
  return [
    ...status.steps.map(stepEntry),
    ...status.answered.map((answered) =>
      entry(
        ['answered', answered.gate, answered.wave, answered.openedAt],
        `gate ${answered.gate}${of(answered.wave)} ${answeredText(answered)}`,
      ),
    ),
    // Answers at gates are said once the gate is over.
    ...status.decisions
      .filter((line) => !/^\S+ (?:approved|rejected) /.test(line))
      .map((line) => entry(['decision', line], line)),
    ...status.waves
      .filter(({ since }) => since !== null)
      .map(({ wave, since, sourceOfTruth, proof }) =>
        entry(
          ['truth', wave, since],
          `source of truth${of(wave)} is ${sourceOfTruth} since ${since}${proof ? `: ${proof}` : ''}`,
        ),
      ),
    ...status.findings
      .filter(({ severity, waived }) => severity !== 'info' && !waived)
      .map(({ code, where, message }) => entry(['finding', code, where], `:warning: ${code} (${where}): ${message}`)),
    ...status.refused.map(({ message, by, at, code, text }) =>
      entry(['refused', message, by, at], `refused ${message} by ${by}: ${text || code}`),
    ),
    ...failure(status),
    ...(ending ? [end(status, ending)] : []),
  ];
}

function stepEntry(step: StepAnswer): Entry {
  const back = step.direction === 'reverse' ? ' (back)' : '';
  const title = `${step.step}${back}${of(step.wave)}`;
  const identity = [step.step, step.wave, step.direction, step.startedAt];
  if (step.endedAt === null) return entry(['started', ...identity], `${title}: started`);
  const took = duration(Date.parse(step.endedAt) - Date.parse(step.startedAt));
  return entry(['done', ...identity], `${title}: done in ${took}${step.summary ? `, ${step.summary}` : ''}`);
}

function failure({ name, failedStep, waves, wave }: StatusAnswer): Entry[] {
  if (!failedStep) return [];
  const { step, message, code, choices, at } = failedStep;
  const which = waves.length > 1 && wave ? ` --wave ${wave}` : '';
  const commands = choices.map((choice) => `\`kafka-cutover decide ${name} ${step} ${choice}${which} --by WHO\``);
  const said = `:rotating_light: ${step} of ${name} failed: ${message || code}`;
  // With a time it is a message of the channel, with buttons.
  return [{ ...entry(['failed', step, wave, message, at], said, commands), alarm: at === null }];
}

function end({ name, sourceOfTruth, notUndone }: StatusAnswer, { outcome, code, message, evidence }: Ending): Entry {
  const truth = Object.entries(sourceOfTruth).map(([wave, side]) => (named(wave) ? `${wave}: ${side}` : side));
  const lines = [
    ...(message ? [`${code ?? ''} ${message}`.trim()] : []),
    ...(truth.length > 0 ? [`source of truth: ${truth.join(', ')}`] : []),
    ...(evidence ? [`evidence: ${evidence.summary} (plan digest ${evidence.digest ?? 'none'})`] : []),
    ...notUndone.map((line) => `not undone: ${line}`),
  ].map(plain);
  const said = entry(['end', outcome], `${name} has ended: ${outcome}`, [
    ...lines,
    `report: \`kafka-cutover report ${name}\``,
  ]);
  return { ...said, alarm: outcome === 'failed' };
}

/** @param more lines that are escaped already */
function entry(identity: readonly (string | null)[], text: string, more: readonly string[] = []): Entry {
  const key = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 8);
  return { key, text: [plain(text), ...more].join('\n'), alarm: false };
}

const of = (wave: string | null): string => (named(wave) ? ` (wave ${wave})` : '');
