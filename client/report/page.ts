/** The report as one HTML file that needs nothing else: no network, no script to be read, and nothing that it shows can become one. */
import { createHash } from 'node:crypto';
import type { Finding } from '../../contract/errors.ts';
import { aclKey } from '../../kafka/acls.ts';
import { quotaKey } from '../../kafka/quotas.ts';
import { isPortable, retentionSettings, type TopicShape } from '../../migration/topics.ts';
import type { TopicReport } from '../../migration/verify.ts';
import { bytes, count, duration } from '../units.ts';
import { lagChart, pauseBar, stepName, suffix, timelineChart } from './charts.ts';
import type { ReportDocument } from './document.ts';
import { type Figures, figuresOf, lastMoves, type Move, type TopicParity, type Totals } from './figures.ts';
import { type Child, html, Markup } from './markup.ts';
import { script, style } from './style.ts';

/** Longer lists are cut, and say so: the JSON has all of it. */
const rowsMax = 1_000;

export function reportPage(document: ReportDocument): string {
  const figures = figuresOf(document);
  const body = [
    head(document),
    tiles(figures.totals),
    wavesSection(document),
    pauseSection(figures),
    timelineSection(figures, document),
    lagSection(figures),
    approvalsSection(figures),
    lastMoves(figures.moves).map(parityOf),
    groupsSection(figures, document),
    metadataSection(figures, document),
    findingsSection(figures, document),
    journalSection(document),
    proveSection(figures, document),
  ];
  return page(`${document.name}: report`, body, { script });
}

/**
 * A whole page. Only the given script and style may run: a name that slipped through unescaped would still be no script.
 *
 * @param options.connect the page may ask the server that it came from
 */
export function page(
  title: string,
  body: Child,
  options: { readonly script: string; readonly connect?: boolean },
): string {
  const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  const policy = [
    "default-src 'none'",
    `style-src ${hash(style)}`,
    `script-src ${hash(options.script)}`,
    ...(options.connect ? ["connect-src 'self'"] : []),
    "base-uri 'none'",
    "form-action 'none'",
  ];
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy.join('; ')}">
<title>${title}</title>
<style>${new Markup(style)}</style>
</head>
<body>${body}<script>${new Markup(options.script)}</script></body>
</html>
`.text;
}

/** `2026-11-22 01:00:00.000`: times are UTC throughout. */
export function when(iso: string): string {
  return iso.replace('T', ' ').replace(/Z$/, '');
}

function head({ name, at, outcome, evidence, status, notes }: ReportDocument): Markup {
  const source = evidence?.plan.source ?? status?.source ?? '';
  const target = evidence?.plan.target ?? status?.target ?? '';
  const level = outcome === 'completed' ? 'good' : outcome === null || outcome === 'rolledBack' ? 'warn' : 'bad';
  const partitions = evidence?.inventory?.content?.measured.partitions ?? [];
  const size = partitions.reduce((sum, p) => sum + (p.bytes ?? 0), 0);
  return html`
<h1>${name} <span class="badge ${level}" data-figure="outcome">${outcome ?? 'not ended'}</span></h1>
<p>${source} to ${target}${evidence && `, started by ${evidence.plan.startedBy || 'unknown'}`}${size > 0 && `, ${bytes(size)} on the source's disks at preflight`}</p>
<p class="soft">Report made ${when(at)}${evidence && `, of evidence put together ${when(evidence.writtenAt)}`}. All times are UTC.</p>
${notes.map((note) => html`<p class="warn">${note}</p>`)}`;
}

function tiles(totals: Totals): Child {
  const { partitions, provenPartitions: proven, differences, untranslatable, replayedRecords } = totals;
  if (partitions === 0) return null;
  const checked = totals.settingsCompared + totals.rulesCompared + totals.quotasCompared;
  const all = proven === partitions;
  return html`
<div class="tiles">
${tile('provenPartitions', `${count(proven)} of ${count(partitions)}`, 'partitions equal up to the boundary', all ? 'good' : 'bad')}
${tile('records', count(totals.records), 'records compared on both clusters')}
${tile('differences', count(differences), 'differences', differences === 0 ? 'good' : 'bad')}
${tile('pauseMs', totals.pauseMs === null ? '-' : duration(totals.pauseMs), 'longest pause for writers, fence to open')}
${tile('exact', count(totals.exact), 'group positions carried exactly')}
${tile('replays', count(totals.replays), `positions that read records again (${count(replayedRecords)} records)`)}
${tile('untranslatable', count(untranslatable), 'positions without a place in the log', untranslatable === 0 ? '' : 'warn')}
${tile('checked', count(checked), 'settings, access rules and quotas checked')}
</div>`;
}

/** `figure` names the number for whoever checks it against the JSON. */
function tile(figure: string, value: string, label: string, level = ''): Markup {
  return html`<div class="tile"><b class="${level}" data-figure="${figure}">${value}</b><span>${label}</span></div>`;
}

function wavesSection({ evidence, status }: ReportDocument): Child {
  const running = (status?.waves ?? []).map((wave) => ({ ...wave, outcome: wave.state ?? 'not begun' }));
  const waves = evidence?.waves.length ? evidence.waves : running;
  if (waves.length === 0) return null;
  return html`
<h2>Source of truth</h2>
<table>
<tr><th>wave<th>ended<th>may be written<th>since<th>proof</tr>
${waves.map(
  ({ wave, outcome, sourceOfTruth, since, proof }) =>
    html`<tr><td>${wave}<td>${outcome}<td><b>${sourceOfTruth === 'none' ? 'neither' : sourceOfTruth}</b><td class="t">${since ? when(since) : 'before the migration'}<td>${proof}</tr>`,
)}
</table>`;
}

function pauseSection({ pauses }: Figures): Child {
  if (pauses.length === 0) return null;
  return html`
<h2>Fence to release</h2>
<p class="soft">From the first rule that closes a cluster until applications write again. <i>clients</i> is what passed from the
opening until applications stamped a new record, by their own clocks.</p>
${pauses.map(
  (pause) => html`
<h3>${when(pause.startedAt)}${suffix(pause)}: ${
    pause.closedMs === null
      ? 'lifted, nothing was opened'
      : html`closed for <span data-figure="pause">${duration(pause.closedMs)}</span>`
  }</h3>
${pauseBar(pause)}`,
)}`;
}

function timelineSection({ steps, decisions }: Figures, { at }: ReportDocument): Child {
  if (steps.length === 0) return null;
  const now = Date.parse(at);
  const entries = [
    ...steps.map((step) => {
      const took = (step.endedAt ? Date.parse(step.endedAt) : now) - Date.parse(step.startedAt);
      const row = html`<td class="t">${stepName(step)}<td class="n">${duration(took)}${!step.endedAt && ' so far'}<td>${step.summary}`;
      return { at: step.startedAt, row };
    }),
    ...decisions.map((decision) => ({
      at: decision.at,
      row: html`<td class="t"><b>decision</b><td><td>${decision.text}`,
    })),
  ].sort((a, b) => (a.at < b.at ? -1 : 1));
  return html`
<h2>Timeline</h2>
${timelineChart(steps, now)}
<table>
<tr><th>began<th>step<th class="n">took<th>what</tr>
${entries.map((entry) => html`<tr><td class="t">${when(entry.at)}${entry.row}</tr>`)}
</table>`;
}

function lagSection({ lag }: Figures): Child {
  const chart = lagChart(lag);
  return chart && html`<h2>Lag</h2>${chart}`;
}

function approvalsSection({ gates }: Figures): Child {
  if (gates.length === 0) return null;
  return html`
<h2>Approvals</h2>
<p class="soft"><i>claimed</i>: a name that the sender gave, as trustworthy as access to Temporal; <i>verified</i>: the approval was signed,
and the signature checked.</p>
<table>
<tr><th>gate<th>passed<th>open for<th>approved by<th>what (plan digest)</tr>
${gates.map((gate) => {
  const openFor = duration(Date.parse(gate.passedAt) - Date.parse(gate.openedAt));
  const given = gate.given.map(
    ({ by, how, channel, at }) =>
      html`<div data-approval="${by}">${by} <span class="soft">${how}, by ${channel}, ${when(at)}</span></div>`,
  );
  return html`<tr data-gate="${gate.gate}"><td class="t">${gate.gate}${suffix(gate)}<td class="t">${when(gate.passedAt)}<td class="n">${openFor}<td>${given}<span class="soft">${gate.given.length} of ${gate.needed} needed</span><td><code>${gate.digest}</code></tr>`;
})}
</table>`;
}

function parityOf(move: Move): Markup {
  const { boundaryAt, topics } = move;
  return html`
<h2>Parity${suffix(move)}</h2>
<p class="soft">Every record up to the boundary, taken ${when(boundaryAt)}, was read from both clusters and compared: offset, timestamp, key,
value, headers. The digest is a SHA-256 over all of them in their order.</p>
${topics.length > 5 && html`<input class="find" type="search" placeholder="find a topic" aria-label="find a topic">`}
<div class="heads"><span>topic</span><span class="n">equal partitions</span><span class="n">records</span><span class="n">differences</span><span class="n">new since</span><span class="n">carried back</span></div>
${topics.map(topicRow)}`;
}

function topicRow({ topic, partitions, proven, records, differences, abortedNotKept, since }: TopicParity): Markup {
  const cells: (readonly [text: string, level: string])[] = [
    [`${count(proven)} of ${count(partitions.length)}`, proven === partitions.length ? 'good' : 'bad'],
    [count(records), ''],
    [count(differences), differences === 0 ? '' : 'bad'],
    [since === null ? '-' : since.traffic === 'silent' ? 'silent' : count(since.newRecords), ''],
    [since === null ? '-' : count(since.carriedBack), ''],
  ];
  return html`
<details class="topic" data-topic="${topic}">
<summary><span>${topic}</span>${cells.map(([text, level]) => html`<span class="n ${level}">${text}</span>`)}</summary>
${abortedNotKept > 0 && html`<p class="soft">${count(abortedNotKept)} records of aborted transactions hold nothing on the copy.</p>`}
<table>
<tr><th class="n">#<th class="n">from<th class="n">boundary<th class="n">compared to<th class="n">records<th class="n">no record<th class="n">differ<th>digest</tr>
${partitions.map(
  (p) =>
    // As few characters as can be: there may be ten thousand of these.
    html`<tr${!p.proven && html` class=bad`}><td class=n>${p.partition}<td class=n>${p.start}<td class=n>${p.boundary}<td class=n>${p.audited}<td class=n>${p.records}<td class=n>${p.withoutRecord}<td class=n>${p.differences}<td><code>${p.digest}</code>`,
)}
</table>
</details>`;
}

function groupsSection({ moves }: Figures, { evidence }: ReportDocument): Child {
  const measured = evidence?.inventory?.content?.measured.groups ?? [];
  const before = new Map(measured.map((group) => [group.group, group]));
  return lastMoves(moves).map((move) => {
    if (!move.groups || move.groups.groups.length === 0) return null;
    const { groups, positions, at } = move.groups;
    const byGroup = Map.groupBy(positions, (position) => position.group);
    let room = rowsMax;
    const rows = groups.map(({ group, exact, replays, untranslatable, replayedRecords }) => {
      const own = (byGroup.get(group) ?? []).toSorted(worstFirst);
      const shown = own.slice(0, Math.max(0, room));
      room -= shown.length;
      const then = before.get(group);
      const was = then && ` (at preflight: ${then.state}, ${then.members} members, lag ${count(then.lag)})`;
      return html`
<details data-group="${group}">
<summary><b>${group}</b>: ${count(exact)} exact, ${count(replays)} read ${count(replayedRecords)} records again, ${count(untranslatable)} untranslatable<span class="soft">${was ?? ''}</span></summary>
<table>
<tr><th>partition<th class="n">before<th class="n">after<th>class</tr>
${shown.map(
  (p) =>
    html`<tr><td>${p.topic}/${p.partition}<td class="n">${p.committed}<td class="n">${p.written}<td>${p.class}${p.replays > 0 && `, ${count(p.replays)} records again`}</tr>`,
)}
</table>
${moreThan(own.length - shown.length, 'positions')}
</details>`;
    });
    return html`
<h2>Groups${suffix(move)}</h2>
<p class="soft">Positions read where the groups lived, written where they went, and read back ${when(at)}. <i>exact</i>: goes on with the very
record that it would have read next; <i>untranslatable</i>: named no place in the log.</p>
${rows}`;
  });
}

type Position = NonNullable<Move['groups']>['positions'][number];

/** What is not exact stands first, then by topic and partition. */
function worstFirst(a: Position, b: Position): number {
  const [first, second] = [a, b].map((p) => Number(p.class === 'exact')) as [number, number];
  return first - second || (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition);
}

function moreThan(rest: number, what: string): Child {
  return rest > 0 && html`<p class="soft">${count(rest)} more ${what} are in the JSON.</p>`;
}

/** What the source had beside what was read back where applications write now. */
function metadataSection({ moves }: Figures, { evidence }: ReportDocument): Child {
  const structural = evidence?.inventory?.content?.structural;
  if (!evidence || !structural) return null;
  const verified = lastMoves(moves).flatMap(({ direction, verify }) =>
    direction === 'forward' && verify ? verify.topics : [],
  );
  const live = new Map(verified.map((topic) => [topic.topic, topic]));
  const rows = structural.topics.flatMap((topic) => settingRows(topic, live.get(topic.name)));
  const rules = structural.acls.map(aclKey);
  const quotas = structural.quotas.map(({ entity, values }) => `${quotaKey(entity)}: ${JSON.stringify(values)}`);
  const list = (lines: readonly string[], what: string) =>
    html`<details><summary>${count(lines.length)} ${what}</summary><pre>${lines.slice(0, rowsMax).join('\n')}</pre>${moreThan(lines.length - rowsMax, what)}</details>`;
  return html`
<h2>Settings and access</h2>
<details>
<summary>${count(structural.topics.length)} topics: source, and as read back from the target when it was verified</summary>
<table><tr><th>topic<th>setting<th>source<th>target<th></tr>${rows.slice(0, rowsMax)}</table>
${moreThan(rows.length - rowsMax, 'settings')}
</details>
${list(rules, `access rules that the target must have${evidence.plan.metadata.acls ? '' : ' (metadata.acls is off)'}`)}
${list(quotas, `quotas that the target must have${evidence.plan.metadata.quotas ? '' : ' (metadata.quotas is off)'}`)}`;
}

function settingRows(topic: TopicShape, now: TopicReport | undefined): Markup[] {
  const row = (what: string, source: string, target: string | undefined, note: string) => {
    const level = note === 'same' ? 'good' : note === 'differs' ? 'warn' : '';
    return html`<tr><td>${topic.name}<td>${what}<td>${source}<td>${target ?? '-'}<td class="${level}">${target === undefined ? 'not read back' : note}</tr>`;
  };
  const names = new Set([...Object.keys(topic.configs), ...Object.keys(now?.settings ?? {})]);
  const settings = [...names].sort().map((name) => {
    const [had, has] = [topic.configs[name] ?? 'inherited', now?.settings && (now.settings[name] ?? 'inherited')];
    if (had === has) return row(name, had, has, 'same');
    if (retentionSettings.includes(name)) return row(name, had, has, 'held until finalize, then as on the source');
    return row(name, had, has, isPortable(name) ? 'differs' : "not carried: it is about one cluster's machines");
  });
  const replicas = now?.replicationFactor;
  const note = replicas === topic.replicationFactor ? 'same' : 'as many as the target takes';
  return [row('replicas', String(topic.replicationFactor), replicas?.toString(), note), ...settings];
}

function findingsSection({ findings }: Figures, { evidence }: ReportDocument): Markup {
  const waivers = evidence?.plan.waivers ?? [];
  const level = ({ severity, waived }: Finding) =>
    waived || severity === 'info' ? 'soft' : severity === 'blocker' ? 'bad' : 'warn';
  const rows = findings.slice(0, rowsMax).map((found) => {
    const { severity, code, where, message, waived } = found;
    return html`<tr data-finding="${code}"><td class="t ${level(found)}">${waived ? `waived ${severity}` : severity}<td class="t"><code>${code}</code><td>${where}<td>${message}${waived && html`<div class="soft">waived by ${waived.by}: ${waived.reason}</div>`}</tr>`;
  });
  return html`
<h2>Findings and waivers</h2>
${rows.length === 0 ? html`<p>none</p>` : html`<table><tr><th>severity<th>code<th>where<th>what</tr>${rows}</table>`}
${moreThan(findings.length - rowsMax, 'findings')}
${
  waivers.length > 0 &&
  html`<h3>Waivers of the plan</h3>
<table><tr><th>code<th>by<th>reason</tr>${waivers.map(({ code, by, reason }) => html`<tr><td><code>${code}</code><td>${by}<td>${reason}</tr>`)}</table>`
}`;
}

function journalSection({ evidence }: ReportDocument): Child {
  if (!evidence || evidence.journal.length === 0) return null;
  const { journal, standing } = evidence;
  const rows = journal
    .slice(0, rowsMax)
    .map(
      (entry) =>
        html`<tr><td class="t">${when(entry.at)}<td class="t">${entry.purpose}<td>${entry.state}<td>${entry.change}<td>${entry.inverse}</tr>`,
    );
  return html`
<h2>Changes to the clusters</h2>
<p>${count(journal.length)} changes were recorded, each with its inverse before it was made; <span data-figure="standing">${count(standing.length)}</span> of them stand.</p>
<details>
<summary>all of them</summary>
<table><tr><th>when<th>purpose<th>state<th>change<th>inverse</tr>${rows}</table>
${moreThan(journal.length - rowsMax, 'changes')}
</details>`;
}

function proveSection({ moves }: Figures, { name, evidence, evidenceSha256 }: ReportDocument): Markup {
  const commands = [
    `kafka-cutover status ${name} --prove    # who may write where, read from every live broker now`,
    `kafka-cutover verify PLAN.yaml    # every record on both clusters, compared again`,
    `kafka-cutover report ${name} --out ${name}.json    # what this page is made of, from storage on the clusters`,
  ];
  return html`
<h2>Prove it again</h2>
<p>Nothing here has to be believed: what it is made of stands on both clusters, and both clusters can be asked.</p>
<pre>${commands.join('\n')}</pre>
${
  evidence &&
  html`<table>
<tr><td>plan digest<td><code data-figure="digest">${evidence.digest ?? '-'}</code></tr>
<tr><td>evidence<td><code>${evidence.plan.name}/evidence</code>${
    evidenceSha256
      ? html`, SHA-256 <code data-figure="evidenceSha256">${evidenceSha256}</code>`
      : ', not written yet: put together when this report was made'
  }</tr>
<tr><td>source<td>${evidence.plan.source}, cluster id <code>${evidence.clusters?.sourceId ?? '-'}</code></tr>
<tr><td>target<td>${evidence.plan.target}, cluster id <code>${evidence.clusters?.targetId ?? '-'}</code></tr>
<tr><td>boundaries<td>${moves.map(({ artifact }) => html`<div><code>${artifact}</code></div>`)}</tr>
</table>`
}`;
}
