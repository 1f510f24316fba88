/**
 * A migration's status as people read it: steps, progress, who is awaited and what to type. Pure: takes
 * what was observed and the time, gives lines.
 */
import { type Gate, onlyWave, steps as stepOrder, workflowId } from '../contract/status.ts';
import type { Ending, Observation } from './cutover-client.ts';
import type { Live, TopicLive } from './live.ts';
import { percent, progressBar } from './progress-bar.ts';
import { sparkline } from './sparkline.ts';
import { cut, table } from './table.ts';
import type { GateAnswer, StatusAnswer, StepAnswer, WaveAnswer } from './temporal-answers.ts';
import { noPaint, type Paint, printable, type Style } from './terminal.ts';
import { bytes, count, duration, roughly } from './units.ts';

export interface ScreenStyle {
  readonly paint: Paint;
  readonly unicode: boolean;
  readonly columns: number;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export const plainStyle = (now: number): ScreenStyle => ({ paint: noPaint, unicode: false, columns: 120, now });

/** More topics than this are summed up in one line. */
export const topicsShownMax = 20;
const findingsShownMax = 20;
const refusalsShownMax = 5;

export type Shown = Pick<Observation, 'status' | 'note' | 'retrying' | 'ending'> & {
  readonly live: Live;
  readonly lags?: readonly number[];
  readonly awaySince: number | null;
};

export function statusLines(shown: Shown, style: ScreenStyle): string[] {
  const look = safe(shown);
  const { status } = look;
  return [
    ...headLines(look, style),
    ...section(stepLines(status, style)),
    ...section([...topicLines(look.live, style), ...lagLines(look.lags ?? [], style)]),
    ...section(look.retrying.map((r) => style.paint('yellow', `${r.activity} attempt ${r.attempt}: ${r.message}`))),
    ...section(failedLines(status, style)),
    ...status.gates.flatMap((gate) => section(gateLines(status.name, gate, style))),
    ...section(findingLines(status, style)),
    ...section(refusedLines(status, style)),
    ...section(status.notUndone.map((line) => style.paint('red', `not undone: ${line}`))),
    ...section(look.ending ? endingLines(look.ending, style) : nextLines(status, style)),
  ];
}

function section(lines: readonly string[]): readonly string[] {
  return lines.length > 0 ? ['', ...lines] : [];
}

function headLines({ status, note, awaySince }: Shown, { paint, now }: ScreenStyle): string[] {
  const truth = Object.entries(status.sourceOfTruth);
  const onlyOne = truth.length === 1;
  const wave = status.wave && !onlyOne ? `, wave ${status.wave}` : '';
  const lines = [
    `${paint('bold', status.name)}  ${status.source} to ${status.target}  ${paint(stateStyle(status.state), status.state)} at ${status.step}${wave}`,
  ];
  if (status.waves.length > 1) lines.push(...waveLines(status.waves));
  else if (truth.length > 0) {
    const said = truth.map(([name, side]) => (onlyOne ? truthOf(side) : `${name}: ${truthOf(side)}`));
    const [{ since = null, proof = '' } = {}] = status.waves;
    lines.push(`source of truth: ${said.join(', ')}${since ? ` since ${since}` : ''}${proof ? ` (${proof})` : ''}`);
  }
  if (status.lagRecords !== null) {
    const age = status.lagAsOf ? `, as of ${duration(now - Date.parse(status.lagAsOf))} ago` : '';
    lines.push(`lag: ${count(status.lagRecords)} ${status.lagRecords === 1 ? 'record' : 'records'}${age}`);
  }
  if (status.mirror && isTelling(status.mirror)) lines.push(mirrorLine(status.mirror));
  if (note) lines.push(paint('yellow', `note: ${note}`));
  if (awaySince !== null) {
    lines.push(
      paint('yellow', `note: Temporal has not answered for ${duration(now - awaySince)}; this is the last look`),
    );
  }
  return lines;
}

/** One line per wave: where it stands, and which cluster may be written since when and on what proof. */
function waveLines(waves: readonly WaveAnswer[]): string[] {
  const rows = waves.map(({ wave, step, state, sourceOfTruth, since, proof }) => [
    `  ${wave}`,
    step === null ? 'not begun' : `${state} at ${step}`,
    `source of truth: ${truthOf(sourceOfTruth)}`,
    `${since ? `since ${since}` : ''}${proof ? ` (${proof})` : ''}`,
  ]);
  return ['waves', ...table(rows)];
}

/** One shard without a limit goes without saying. */
function isTelling({ maxBytesPerSecond, shards, tuned }: NonNullable<StatusAnswer['mirror']>): boolean {
  return maxBytesPerSecond > 0 || shards > 1 || tuned !== null;
}

function mirrorLine({ tuned, ...inForce }: NonNullable<StatusAnswer['mirror']>): string {
  const said = ({ maxBytesPerSecond, shards }: { maxBytesPerSecond: number; shards: number }) =>
    `${maxBytesPerSecond > 0 ? `at most ${bytes(maxBytesPerSecond)}/s` : 'no limit'}, ${shards} ${shards === 1 ? 'shard' : 'shards'}`;
  const later = tuned ? `; once applications write again: ${said(tuned)}` : '';
  return `mirror: ${said(inForce)}${later}`;
}

function truthOf(side: string): string {
  return side === 'none' ? 'none (fenced: nobody may write)' : side;
}

function stateStyle(state: string): Style {
  if (state === 'waiting' || state === 'paused') return 'yellow';
  if (state === 'completed' || state === 'running') return 'green';
  return 'red';
}

function stepLines(status: StatusAnswer, { paint, unicode, now }: ScreenStyle): string[] {
  const marks = unicode
    ? { done: '✔', now: '▶', waits: '⏸', later: '·' }
    : { done: 'x', now: '>', waits: '=', later: ' ' };
  const waves = new Set(status.steps.map((step) => step.wave).filter(Boolean)).size;
  const name = (step: StepAnswer) =>
    `${step.step}${waves > 1 && step.wave ? ` ${step.wave}` : ''}${step.direction === 'reverse' ? ' (back)' : ''}`;
  const rows = status.steps.map((step) => {
    if (step.endedAt) {
      const took = duration(Date.parse(step.endedAt) - Date.parse(step.startedAt));
      return [`  ${paint('green', marks.done)} ${name(step)}`, took, paint('dim', step.summary)];
    }
    const here = waitingWith(status, waves > 1 ? step.wave : null);
    const waits = here.gates.length > 0 || here.state === 'paused';
    const mark = waits ? paint('yellow', marks.waits) : paint('cyan', marks.now);
    const so = waits && !step.summary ? waitsFor(here) : step.summary;
    return [`  ${mark} ${paint('bold', name(step))}`, duration(now - Date.parse(step.startedAt)), so];
  });
  return table([...rows, ...laterSteps(status).map((step) => [`  ${marks.later} ${paint('dim', step)}`, '', ''])], [1]);
}

/** What a step of the wave waits with; of the whole migration without one. */
function waitingWith(
  { gates, state, waves }: StatusAnswer,
  wave: string | null,
): Pick<StatusAnswer, 'gates' | 'state'> {
  if (wave === null) return { gates, state };
  const own = waves.find((one) => one.wave === wave);
  return { gates: gates.filter((gate) => gate.wave === wave), state: own?.state ?? state };
}

function waitsFor(status: Pick<StatusAnswer, 'gates' | 'state'>): string {
  if (status.state === 'paused') return 'paused';
  return status.gates.map((gate) => `waits at gate ${gate.gate}`).join(', ');
}

/** The steps that the last wave still has before it, on the way forward. */
function laterSteps(status: StatusAnswer): string[] {
  const last = status.steps.at(-1);
  const goesOn = ['running', 'waiting', 'paused'].includes(status.state);
  if (!last || !goesOn || status.steps.some((step) => step.direction === 'reverse' || step.step === 'rollback'))
    return [];
  const forward = stepOrder.filter((step) => step !== 'rollback') as string[];
  return forward.slice(forward.indexOf(last.step) + 1);
}

/** One line per topic: bar, position, rate, lag, ETA, audit; and their sum. */
export function topicLines(live: Live, style: ScreenStyle): string[] {
  const topics = Object.entries(live);
  if (topics.length === 0) return [];
  const shown = topics.slice(0, topicsShownMax);
  const rest = topics.length - shown.length;
  const rows = shown.map(([topic, at]) => topicRow(topic, at, style));
  if (topics.length > 1) rows.push(topicRow(rest > 0 ? `all ${topics.length} topics` : 'all', sumOf(live), style));
  const lines = table(rows, [2, 3, 4, 5]).map((line) => cut(line, style.columns - 1));
  return rest > 0 ? [...lines, style.paint('dim', `  ${rest} more topics are in the sum`)] : lines;
}

function topicRow(topic: string, at: TopicLive, { unicode, columns }: ScreenStyle): string[] {
  const width = columns >= 120 ? 30 : columns >= 90 ? 16 : 8;
  const back = at.direction === 'reverse' ? ' (back)' : '';
  const speed = at.bytesPerSecond ? `, ${bytes(at.bytesPerSecond)}/s` : '';
  return [
    `  ${cut(topic, 40)}${back}`,
    progressBar(at.position, at.end, { width, unicode }),
    percent(at.position, at.end),
    `${count(at.position)}/${count(at.end)}`,
    at.rate === null ? '-' : `${roughly(at.rate)}/s${speed}`,
    `lag ${roughly(at.lag)}`,
    [
      at.etaMs ? `ETA ${duration(at.etaMs)}` : '',
      at.audited === null ? '' : `audited ${percent(at.audited, at.end).trim()}`,
    ]
      .filter(Boolean)
      .join(', '),
  ];
}

/** How lag went while somebody watched. */
function lagLines(lags: readonly number[], { paint, unicode }: ScreenStyle): string[] {
  if (!unicode || lags.length < 2) return [];
  const most = Math.max(...lags);
  return [
    `  lag ${paint('cyan', sparkline(lags))} ${roughly(lags.at(-1) ?? 0)}, most ${roughly(most)} in ${lags.length} looks`,
  ];
}

/** All topics as one. */
export function sumOf(live: Live): TopicLive {
  const all = Object.values(live);
  const sum = (of: (at: TopicLive) => number | null) => all.reduce((total, at) => total + (of(at) ?? 0), 0);
  const rate = all.every((at) => at.rate === null) ? null : sum((at) => at.rate);
  const lag = sum((at) => at.lag);
  return {
    direction: all[0]?.direction ?? 'forward',
    position: sum((at) => at.position),
    end: sum((at) => at.end),
    lag,
    rate,
    bytesPerSecond: rate === null ? null : sum((at) => at.bytesPerSecond),
    etaMs: lag === 0 ? 0 : rate ? Math.ceil((lag * 1_000) / rate) : null,
    records: sum((at) => at.records),
    bytes: sum((at) => at.bytes),
    audited: all.some((at) => at.audited === null) ? null : sum((at) => at.audited),
    asOf: all.map((at) => at.asOf).sort()[0] ?? new Date(0).toISOString(),
  };
}

/** An open gate: what it guards, who has approved, who is awaited, and the exact words to type. */
export function gateLines(name: string, gate: GateAnswer, { paint, now }: ScreenStyle): string[] {
  const given = gate.given.map((approval) => approval.by);
  const lower = new Set(given.map((by) => by.trim().toLowerCase()));
  const awaited = gate.approvers.filter((approver) => !lower.has(approver.trim().toLowerCase()));
  const missing = Math.max(0, gate.needed - given.length);
  const who = gate.approvers.length === 0 ? 'anyone' : awaited.join(', ') || 'nobody is left on the list';
  const wave = named(gate.wave) ? ` (wave ${gate.wave})` : '';
  const until = gate.deadline ? Date.parse(gate.deadline) - now : null;
  const then = gate.needed === 0 ? 'goes on by itself' : 'rejects';
  const deadline =
    until === null ? 'none' : `${gate.deadline} (${until < 0 ? 'now' : `in ${duration(until)}`}), then ${then}`;
  const by = gate.given.map((a) => `${a.by} (${a.how}, ${a.channel}, ${a.at})`).join(', ');
  const rows = [
    ...(gate.needed === 0
      ? []
      : [
          ['given', by || 'none'],
          ['awaited', `${missing} of ${gate.needed} from: ${who}`],
        ]),
    ['open since', gate.openedAt ? `${gate.openedAt} (${duration(now - Date.parse(gate.openedAt))})` : '-'],
    ['deadline', deadline],
    ['digest', gate.digest ?? '-'],
    ...gate.facts.map((fact, index) => [index === 0 ? 'to know' : '', fact]),
    ['approve', paint('cyan', approveCommand(name, gate))],
    ['', `or: ${signalCommand(name, gate)}`],
  ];
  const needs = missing === 0 ? 'is open' : `waits for ${missing} ${missing === 1 ? 'approval' : 'approvals'}`;
  return [
    paint('yellow', `gate ${gate.gate}${wave} ${needs}`),
    ...table(rows.map(([label = '', value = '']) => [`  ${label}`, value])),
  ];
}

export function approveCommand(name: string, gate: Pick<GateAnswer, 'gate' | 'wave'>): string {
  return `kafka-cutover approve ${name} ${gate.gate}${named(gate.wave) ? ` --wave ${gate.wave}` : ''} --by WHO`;
}

/** Whether a wave has a name that people gave it. */
export function named(wave: string | null): boolean {
  return wave !== null && wave !== onlyWave;
}

/** The same without our command line, for whoever has only Temporal's. */
export function signalCommand(name: string, gate: Pick<GateAnswer, 'gate' | 'wave'>): string {
  const input = JSON.stringify({ gate: gate.gate as Gate, ...(named(gate.wave) && { wave: gate.wave }), by: 'WHO' });
  return `temporal workflow signal --workflow-id ${workflowId(name)} --name approve --input '${input}'`;
}

function failedLines({ name, failedStep }: StatusAnswer, { paint }: ScreenStyle): string[] {
  if (!failedStep) return [];
  return [
    paint('red', `${failedStep.step} failed: ${failedStep.message || failedStep.code}`),
    ...failedStep.choices.map((choice) => `  kafka-cutover decide ${name} ${failedStep.step} ${choice} --by WHO`),
  ];
}

function findingLines({ findings }: StatusAnswer, { paint }: ScreenStyle): string[] {
  const telling = findings.filter((finding) => finding.severity !== 'info');
  const lines = telling.slice(0, findingsShownMax).map((finding) => {
    const waived = finding.waived ? ` (waived by ${finding.waived.by}: ${finding.waived.reason})` : '';
    const style = finding.severity === 'blocker' && !finding.waived ? 'red' : 'yellow';
    return `  ${paint(style, finding.severity)} ${finding.code} ${finding.where}: ${finding.message}${waived}`;
  });
  if (lines.length === 0) return [];
  const rest = telling.length - lines.length;
  return ['findings', ...lines, ...(rest > 0 ? [`  ${rest} more with --json`] : [])];
}

function refusedLines({ refused }: StatusAnswer, { paint }: ScreenStyle): string[] {
  if (refused.length === 0) return [];
  const last = refused.slice(-refusalsShownMax);
  return [
    'refused messages',
    ...last.map((r) =>
      paint('dim', `  ${r.at} ${r.message} by ${r.by}: ${r.text.startsWith(r.code) ? '' : `${r.code}: `}${r.text}`),
    ),
  ];
}

function nextLines({ next, gates, failedStep }: StatusAnswer, { paint }: ScreenStyle): string[] {
  // Gates and failed steps have said what to type already.
  return next && gates.length === 0 && !failedStep ? [`next: ${paint('cyan', next)}`] : [];
}

export function endingLines(ending: Ending, { paint }: Pick<ScreenStyle, 'paint'>): string[] {
  const style = ending.outcome === 'completed' ? 'green' : ending.outcome === 'failed' ? 'red' : 'yellow';
  const why = ending.code
    ? `: ${(ending.message ?? '').startsWith(ending.code) ? '' : `${ending.code}: `}${ending.message ?? ''}`
    : '';
  const plainWhy = !ending.code && ending.message ? `: ${ending.message}` : '';
  const lines = [paint(style, `ended: ${ending.outcome}${why}${plainWhy}`)];
  if (ending.evidence?.summary) lines.push(ending.evidence.summary);
  if (ending.evidence?.artifact) lines.push(`evidence: ${ending.evidence.artifact}`);
  return lines;
}

/** Every text of it without control characters. */
function safe<Value>(value: Value): Value {
  if (typeof value === 'string') return printable(value) as Value;
  if (Array.isArray(value)) return value.map(safe) as Value;
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [printable(key), safe(inner)])) as Value;
}
