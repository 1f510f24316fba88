/** The live page: the report's pictures, of a migration that runs. What changes is sent as HTML that is made, and escaped, here. */
import { type Direction, onlyWave } from '../../contract/status.ts';
import type { Look } from '../follow.ts';
import type { TopicLive } from '../live.ts';
import { lagChart, pauseBar, stepName, suffix, timelineChart } from '../report/charts.ts';
import { figuresOf, type LagSeries } from '../report/figures.ts';
import { type Child, html, type Markup } from '../report/markup.ts';
import { page, when } from '../report/page.ts';
import { named, sumOf, topicsShownMax } from '../status-screen.ts';
import type { GateAnswer, StatusAnswer } from '../temporal-answers.ts';
import { bytes, count, duration, roughly } from '../units.ts';
import { script } from './script.ts';

/** So many looks back goes the picture of the lag; an hour. */
const lagPointsMax = 3_600;

/** Lag since the page's server began to look at a migration. */
export class LagMemory {
  #series = new Map<string, { wave: string; direction: Direction; points: (readonly [number, number])[] }>();

  /** Notes a look. */
  add({ shards, live }: Pick<Look, 'shards' | 'live'>, now: number): readonly LagSeries[] {
    if (shards.length > 0) {
      const { direction, lag } = sumOf(live);
      const known = this.#series.get(direction);
      const points = [...(known?.points ?? []), [now, lag] as const].slice(-lagPointsMax);
      this.#series.set(direction, { wave: onlyWave, direction, points });
    }
    return [...this.#series.values()].map((one) => ({ ...one, kind: 'mirror' }));
  }
}

/** All migrations that Temporal knows. */
export function indexPage(
  migrations: readonly { readonly name: string; readonly state: string; readonly startedAt: string }[],
): string {
  const rows = migrations.map(
    ({ name, state, startedAt }) =>
      html`<tr><td><a href="/m/${encodeURIComponent(name)}">${name}</a><td>${state}<td class="t">${when(startedAt)}</tr>`,
  );
  const list = html`<table><tr><th>migration<th>workflow<th>started (UTC)</tr>${rows}</table>`;
  return page('migrations', html`<h1>Migrations</h1>${rows.length > 0 ? list : html`<p>Temporal knows of none.</p>`}`, {
    script: '',
  });
}

/** The frame of a migration's page; `lookContent` fills it. */
export function livePage(name: string, mayApprove: boolean): string {
  const body = html`
<main data-migration="${name}"><p class="soft">looking ...</p></main>
<p class="soft screen"><span data-connection>connecting</span>. ${mayApprove ? 'Approving needs the token that this page was started with.' : 'Read-only: started without a token.'}</p>
${mayApprove && approveDialog()}`;
  return page(`${name}: live`, body, { script, connect: true });
}

/** Beside what is drawn over every second, so that nothing typed is lost. */
function approveDialog(): Markup {
  return html`
<dialog>
<form method="dialog">
<h2></h2>
<p class="mono" data-digest></p>
<p><label>your name<br><input class="find" name="by" required autocomplete="username"></label></p>
<p><label>reason (may be left out)<br><input class="find" name="reason"></label></p>
<p><label>token<br><input class="find" name="token" type="password" required autocomplete="off"></label></p>
<p data-answer role="status"></p>
<p><button value="approve">Approve</button> <button value="reject">Reject</button> <button value="close" formnovalidate>Close</button></p>
</form>
</dialog>`;
}

export function lookContent(look: Look, lag: readonly LagSeries[], now: number, mayApprove: boolean): string {
  const { status, live, note, retrying, ending, awaySince } = look;
  const steps = status.steps;
  const { pauses } = figuresOf({ evidence: null, status });
  return html`
<h1>${status.name} <span class="badge ${levelOf(ending?.outcome ?? status.state)}" data-figure="state">${ending?.outcome ?? status.state}</span></h1>
<p>${status.source} to ${status.target}, at <b data-figure="step">${status.step}</b>${named(status.wave) && ` (${status.wave})`}</p>
${note && html`<p class="warn">${note}</p>`}
${awaySince !== null && html`<p class="warn">Temporal has not answered for ${duration(now - awaySince)}; this is the last look.</p>`}
${ending?.message && html`<p class="bad">${ending.code ?? ''} ${ending.message}</p>`}
${truth(status)}
${status.gates.map((gate) => gateSection(gate, now, mayApprove && ending === null))}
${failed(status)}
${retrying.map(({ activity, attempt, message }) => html`<p class="warn">${activity} is tried again (attempt ${attempt}): ${message}</p>`)}
${progress(live)}
${lagChart(lag)}
${pauses.length > 0 && html`<h2>Fence to release</h2>${pauses.map((pause) => html`<h3>${when(pause.startedAt)}${suffix(pause)}</h3>${pauseBar(pause)}`)}`}
${steps.length > 0 && html`<h2>Timeline</h2>${timelineChart(steps, now)}`}
<table><tr><th>began (UTC)<th>step<th class="n">took<th>what</tr>
${steps.map((step) => html`<tr><td class="t">${when(step.startedAt)}<td class="t">${stepName(step)}<td class="n">${duration((step.endedAt ? Date.parse(step.endedAt) : now) - Date.parse(step.startedAt))}<td>${step.summary}</tr>`)}
</table>
${findings(status)}`.text;
}

function levelOf(state: string): string {
  if (state === 'running' || state === 'completed') return 'good';
  return state === 'waiting' || state === 'paused' || state === 'rolledBack' ? 'warn' : 'bad';
}

function truth({ waves, sourceOfTruth }: StatusAnswer): Child {
  const rows =
    waves.length > 0
      ? waves
      : Object.entries(sourceOfTruth).map(([wave, side]) => ({ wave, sourceOfTruth: side, since: null, proof: '' }));
  return html`<p>source of truth: ${rows.map(({ wave, sourceOfTruth: side, since, proof }) => html`<span title="${proof}">${named(wave) && `${wave}: `}<b data-figure="truth">${side === 'none' ? 'neither (fenced)' : side}</b>${since && ` since ${when(since)}`}</span> `)}</p>`;
}

function gateSection(gate: GateAnswer, now: number, mayApprove: boolean): Markup {
  const given = gate.given.map(({ by, how, channel }) => `${by} (${how}, ${channel})`).join(', ') || 'nobody';
  const who = gate.approvers.length > 0 ? gate.approvers.join(', ') : 'anyone';
  const button = html`<p class="screen"><button data-gate="${gate.gate}" data-wave="${gate.wave ?? ''}" data-digest="${gate.digest ?? ''}">Approve or reject</button></p>`;
  return html`
<div class="gate" data-open-gate="${gate.gate}">
<h3 class="warn">Gate ${gate.gate}${named(gate.wave) && ` (${gate.wave})`}: <span data-figure="given">${gate.given.length} of ${gate.needed}</span> approvals</h3>
<p>given by ${given}; may approve: ${who}; open for ${duration(now - Date.parse(gate.openedAt))}${gate.deadline && `, until ${when(gate.deadline)}`}</p>
<ul>${gate.facts.map((fact) => html`<li>${fact}</li>`)}</ul>
<p class="soft">digest <code>${gate.digest ?? '-'}</code></p>
${mayApprove && gate.given.length < gate.needed && button}
</div>`;
}

function failed({ name, failedStep }: StatusAnswer): Child {
  if (!failedStep) return null;
  return html`<p class="bad">${failedStep.step} failed: ${failedStep.message || failedStep.code}</p><pre>${failedStep.choices.map((choice) => `kafka-cutover decide ${name} ${failedStep.step} ${choice} --by WHO`).join('\n')}</pre>`;
}

function progress(live: Look['live']): Child {
  const topics = Object.entries(live);
  if (topics.length === 0) return null;
  const shown = topics.slice(0, topicsShownMax);
  const rows = [...shown, ...(topics.length > 1 ? [[`all ${topics.length} topics`, sumOf(live)] as const] : [])];
  return html`
<h2>Mirror</h2>
<table><tr><th>topic<th>copied<th class="n">position<th class="n">lag<th class="n">rate<th class="n">ETA<th class="n">compared</tr>
${rows.map(([topic, at]) => progressRow(topic, at))}
</table>`;
}

function progressRow(topic: string, at: TopicLive): Markup {
  const { position, end, lag, rate, bytesPerSecond, etaMs, audited } = at;
  return html`<tr data-topic="${topic}"><td>${topic}${at.direction === 'reverse' && ' (back)'}<td><progress max="${Math.max(1, end)}" value="${end === 0 ? 1 : position}"></progress><td class="n">${count(position)} of ${count(end)}<td class="n" data-lag="${lag}">${count(lag)}<td class="n">${rate === null ? '-' : `${roughly(rate)}/s`}${bytesPerSecond ? `, ${bytes(bytesPerSecond)}/s` : ''}<td class="n">${etaMs ? duration(etaMs) : '-'}<td class="n">${audited === null ? '-' : count(audited)}</tr>`;
}

function findings({ findings: found }: StatusAnswer): Child {
  const telling = found.filter(({ severity }) => severity !== 'info');
  if (telling.length === 0) return null;
  return html`<h2>Findings</h2><table>${telling.map(({ severity, code, where, message, waived }) => html`<tr><td class="t ${severity === 'blocker' && !waived ? 'bad' : 'warn'}">${waived ? `waived ${severity}` : severity}<td class="t"><code>${code}</code><td>${where}<td>${message}</tr>`)}</table>`;
}
