/** Pictures as inline SVG. Colours are classes of the style sheet; every value that a picture shows stands beside it as text too. */

import { named } from '../status-screen.ts';
import type { StepAnswer } from '../temporal-answers.ts';
import { count, duration, roughly } from '../units.ts';
import type { LagSeries, Pause } from './figures.ts';
import { html, type Markup } from './markup.ts';

const width = 960;

/** One row a step, over the time of the whole migration; what is too short to be seen is drawn as a stroke. */
export function timelineChart(steps: readonly StepAnswer[], now: number): Markup | null {
  const [first] = steps;
  if (!first) return null;
  const begin = Date.parse(first.startedAt);
  const spans = steps.map((step) => ({
    step,
    from: Date.parse(step.startedAt),
    until: step.endedAt ? Date.parse(step.endedAt) : now,
  }));
  const all = Math.max(1, ...spans.map(({ until }) => until - begin));
  const [left, row] = [210, 18];
  const x = (at: number) => left + ((at - begin) / all) * (width - left - 10);
  return html`<svg class="chart" viewBox="0 0 ${width} ${spans.length * row + 24}" role="img" aria-label="steps over time">${spans.map(
    ({ step, from, until }, index) =>
      html`<text class="label" x="${left - 8}" y="${index * row + 14}" text-anchor="end">${stepName(step)}</text><rect class="${step.endedAt ? 'done' : 'open'}" x="${x(from).toFixed(1)}" y="${index * row + 4}" width="${Math.max(2, x(until) - x(from)).toFixed(1)}" height="${row - 6}" rx="2"><title>${stepName(step)}: ${duration(until - from)}</title></rect>`,
  )}<text class="tick" x="${left}" y="${spans.length * row + 18}">${first.startedAt}</text><text class="tick" x="${width - 10}" y="${spans.length * row + 18}" text-anchor="end">${duration(all)} later</text></svg>`;
}

export function stepName(step: Pick<StepAnswer, 'step' | 'wave' | 'direction'>): string {
  return `${step.step}${suffix(step)}`;
}

/** Which of several waves, and that it is the way back. */
export function suffix({ wave, direction }: { readonly wave: string | null; readonly direction: string }): string {
  return `${named(wave) ? ` ${wave}` : ''}${direction === 'reverse' ? ' (back)' : ''}`;
}

/** What applications waited for, part by part. */
export function pauseBar({ parts }: Pick<Pause, 'parts'>): Markup {
  const all = Math.max(
    1,
    parts.reduce((sum, { ms }) => sum + ms, 0),
  );
  let x = 0;
  const bars = parts.map(({ part, ms }) => {
    const wide = (ms / all) * width;
    const bar = html`<rect class="part-${part}" x="${x.toFixed(1)}" y="0" width="${wide.toFixed(1)}" height="34"><title>${part}: ${duration(ms)}</title></rect>`;
    x += wide;
    return bar;
  });
  return html`<svg class="bar" viewBox="0 0 ${width} 34" preserveAspectRatio="none" role="img" aria-label="parts of the pause">${bars}</svg><ul class="legend">${parts.map(
    ({ part, ms }) => html`<li><i class="part-${part}"></i>${part} <b>${duration(ms)}</b></li>`,
  )}</ul>`;
}

/** Lag over time, in records; each series is a line. */
export function lagChart(series: readonly LagSeries[]): Markup | null {
  const points = series.flatMap((one) => one.points);
  if (points.length < 2) return null;
  const times = points.map(([at]) => at);
  const [from, until] = [Math.min(...times), Math.max(...times)];
  const most = Math.max(1, ...points.map(([, lag]) => lag));
  const [left, top, height] = [60, 10, 180];
  const x = (at: number) => left + ((at - from) / Math.max(1, until - from)) * (width - left - 10);
  const y = (lag: number) => top + height - (lag / most) * height;
  const grid = [0, 0.5, 1].map(
    (share) =>
      html`<line class="grid" x1="${left}" x2="${width - 10}" y1="${y(most * share)}" y2="${y(most * share)}"/><text class="tick" x="${left - 6}" y="${y(most * share) + 4}" text-anchor="end">${roughly(most * share)}</text>`,
  );
  const lines = series.map((one) => {
    const path = one.points.map(([at, lag]) => `${x(at).toFixed(1)},${y(lag).toFixed(1)}`).join(' ');
    return html`<polyline class="line ${lineClass(one)}" points="${path}"/>`;
  });
  return html`<svg class="chart" viewBox="0 0 ${width} ${top + height + 24}" role="img" aria-label="lag over time">${grid}${lines}<text class="tick" x="${left}" y="${top + height + 18}">${new Date(from).toISOString()}</text><text class="tick" x="${width - 10}" y="${top + height + 18}" text-anchor="end">${new Date(until).toISOString()}</text></svg><ul class="legend">${series.map(
    (one) =>
      html`<li><i class="${lineClass(one)}"></i>${seriesName(one)}: most ${count(Math.max(0, ...one.points.map(([, lag]) => lag)))}, last ${count(one.points.at(-1)?.[1] ?? 0)}</li>`,
  )}</ul>`;
}

const lineClass = ({ kind, direction }: LagSeries) => `line-${kind}-${direction}`;

function seriesName(series: LagSeries): string {
  const what = series.kind === 'mirror' ? 'records still to be copied' : 'records still to be compared';
  return `${what}${suffix(series)}`;
}
