/**
 * The report's page, made of the evidence that a real migration left (`report-of-orders.json`, the demo's last move): its figures against
 * the JSON, in a real browser; what hostile names do in it; and how large it gets.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { largeReport } from '../../bench/large-report.ts';
import type { ReportDocument } from '../../client/report/document.ts';
import { figuresOf } from '../../client/report/figures.ts';
import { reportPage } from '../../client/report/page.ts';
import { count } from '../../client/units.ts';
import { finding } from '../../contract/errors.ts';
import { Chromium, type Page, withoutChromium } from '../support/chromium.ts';

const document = JSON.parse(
  readFileSync(join(import.meta.dirname, 'report-of-orders.json'), 'utf8'),
) as ReportDocument & { evidence: NonNullable<ReportDocument['evidence']> };
const { evidence } = document;

interface Boundary {
  readonly boundary: Record<string, string>;
  readonly audit: readonly { topic: string; partition: number; records: number; digest: string }[];
}
/** Two moves of earlier runs stand beside it in storage. */
const lastBoundary = evidence.boundaries['orders/boundary/all/1795412818307-forward'] as Boundary;

describe('the figures of a report', () => {
  it('are those of this run alone, though storage holds earlier ones of the same name', () => {
    assert.equal(Object.keys(evidence.boundaries).length, 3);
    const { moves, totals } = figuresOf(document);
    assert.deepEqual(
      moves.map(({ wave, direction, opened }) => [wave, direction, opened]),
      [['all', 'forward', true]],
    );
    assert.equal(
      totals.records,
      lastBoundary.audit.reduce((sum, p) => sum + p.records, 0),
    );
    assert.deepEqual([totals.partitions, totals.provenPartitions, totals.differences], [5, 5, 0]);
  });

  it('split the pause into its parts, which add up to the time from the fence to the opening', () => {
    const [pause, ...others] = figuresOf(document).pauses;
    assert.deepEqual(others, []);
    const names = ['fence', 'proof', 'transactions', 'drain', 'audit', 'offsets', 'opening', 'clients'];
    assert.deepEqual(
      pause?.parts.map(({ part }) => part),
      names,
    );
    const closed = pause?.parts.filter(({ part }) => part !== 'clients').reduce((sum, { ms }) => sum + ms, 0);
    assert.equal(closed, pause?.closedMs);
    const fence = evidence.steps.find(({ step }) => step === 'fence');
    const open = evidence.steps.find(({ step }) => step === 'switch-producers')?.phases?.at(-1);
    assert.equal(pause?.closedMs, Date.parse(open?.endedAt ?? '') - Date.parse(fence?.startedAt ?? ''));
  });

  it('never round a partition up that was compared a record short, or differs', () => {
    const [first, second, ...others] = lastBoundary.audit as [Boundary['audit'][0], Boundary['audit'][0]];
    const short = { ...first, position: String(BigInt((first as unknown as { position: string }).position) - 1n) };
    const different = { ...second, differences: 2 };
    const boundaries = {
      'orders/boundary/all/1795412818307-forward': { ...lastBoundary, audit: [short, different, ...others] },
    };
    const { totals, moves } = figuresOf({ ...document, evidence: { ...evidence, boundaries } });
    assert.deepEqual([totals.provenPartitions, totals.partitions, totals.differences], [3, 5, 2]);
    assert.equal(moves[0]?.topics.flatMap(({ partitions }) => partitions).filter(({ proven }) => !proven).length, 2);
  });

  it('add up the lag of all shards, each for as long as it ran', () => {
    const curve = { kind: 'mirror', wave: 'all', direction: 'forward', shards: 2 } as const;
    const at = Date.parse(evidence.steps[0]?.startedAt ?? '');
    const samples = [
      [
        [at, 0, 10],
        [at + 2_000, 10, 10],
      ],
      [
        [at + 1_000, 0, 5],
        [at + 3_000, 4, 5],
      ],
    ] as const;
    const lag = samples.map((own, shard) => ({ ...curve, shard, samples: own }));
    const [series] = figuresOf({ ...document, evidence: { ...evidence, lag } }).lag;
    assert.deepEqual(
      series?.points.map(([atMs, records]) => [atMs - at, records]),
      [
        [0, 10],
        [1_000, 15],
        [2_000, 5],
        [3_000, 1],
      ],
    );
  });
});

describe('what others may name', () => {
  const hostile = `</script><img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\u202e'"&`;

  it('is text in the page, wherever it stands', () => {
    const html = reportPage(everywhere(hostile));
    assert.ok(html.split('&lt;img src=x').length > 15, 'it stands in many places');
    assert.doesNotMatch(html, /<img/);
    assert.doesNotMatch(html, /\u202e/);
    assert.equal(html.split('<script>').length, 2);
  });

  it('is no script to a browser', { skip: withoutChromium }, async () => {
    const page = await opened(reportPage(everywhere(hostile)));
    assert.deepEqual(
      await page.value('[window.pwned ?? 0, document.images.length, document.scripts.length]'),
      [0, 0, 1],
    );
    assert.match(await page.value('document.querySelector(".topic summary span").textContent'), /<img src=x onerror/);
  });
});

describe('the page in a browser', { skip: withoutChromium }, () => {
  let page: Page;
  before(async () => {
    page = await opened(reportPage(document));
  });

  it('shows the figures of the JSON', async () => {
    const shown = await page.value<Record<string, string>>(
      'Object.fromEntries([...document.querySelectorAll("[data-figure]")].map(e => [e.dataset.figure, e.textContent]))',
    );
    const groups = evidence.groups['orders/groups/all/1795412818307-forward'] as { positions: { class: string }[] };
    const verified = evidence.verifications['orders/verify/all/1795412818307-forward'] as Record<string, number>;
    const checked = ['configsCompared', 'aclsCompared', 'quotasCompared'].reduce(
      (sum, key) => sum + (verified[key] ?? 0),
      0,
    );
    const { pause: _, pauseMs: __, ...rest } = shown;
    assert.deepEqual(rest, {
      outcome: 'completed',
      provenPartitions: '5 of 5',
      records: count(verified.recordsCompared ?? 0),
      differences: '0',
      exact: String(groups.positions.filter((p) => p.class === 'exact').length),
      replays: '0',
      untranslatable: '0',
      checked: String(checked),
      standing: String(evidence.standing.length),
      digest: evidence.digest,
      evidenceSha256: document.evidenceSha256,
    });
    assert.equal(shown.pause, shown.pauseMs);
  });

  it('shows every partition with the digest of the JSON', async () => {
    const rows = await page.value<string[][]>(
      `[...document.querySelectorAll('[data-topic]')].flatMap(topic => [...topic.querySelectorAll('tr')].slice(1).map(row =>
        [topic.dataset.topic + '/' + row.cells[0].textContent, row.cells[2].textContent, row.cells[7].textContent.trim()]))`,
    );
    const wanted = lastBoundary.audit.map(({ topic, partition, digest }) => {
      const key = `${topic}/${partition}`;
      return [key, lastBoundary.boundary[key], digest.split(':').at(-1)];
    });
    assert.deepEqual(rows.sort(), wanted.sort());
  });

  it('shows who approved what, what was found, and each step', async () => {
    const approvals = await page.value(
      '[...document.querySelectorAll("[data-gate]")].map(g => [g.dataset.gate, ...[...g.querySelectorAll("[data-approval]")].map(a => a.dataset.approval)])',
    );
    assert.deepEqual(approvals, [
      ['cutover', 'kafka-owner', 'orders-owner'],
      ['finalize', 'orders-owner'],
    ]);
    const codes = await page.value<string[]>(
      '[...document.querySelectorAll("[data-finding]")].map(f => f.dataset.finding)',
    );
    assert.deepEqual(new Set(codes), new Set(evidence.inventory?.findings.map(({ code }) => code)));
    assert.equal(await page.value('document.querySelectorAll("rect.done").length'), evidence.steps.length);
  });

  it('keeps to its own policy, asks nothing of any network, and looks different in the dark', async () => {
    assert.deepEqual(page.problems, []);
    assert.equal(await page.value('performance.getEntriesByType("resource").length'), 0);
    const light = await page.screenshot();
    await page.media({ scheme: 'dark' });
    const dark = await page.screenshot();
    assert.ok(!light.equals(dark));
    await page.media({ scheme: 'light' });
    if (process.env.KAFKA_CUTOVER_WRITE_PICTURES)
      writePicture('report.png', await page.screenshot({ width: 1_200, height: 1_360 }));
  });

  it('prints what has to be opened on a screen', async () => {
    const visible = 'document.querySelector("[data-topic] table").checkVisibility()';
    assert.equal(await page.value(visible), false);
    await page.media({ print: true });
    assert.equal(await page.value(visible), true);
    await page.media({ scheme: 'light' });
  });
});

describe('ten thousand partitions', () => {
  const html = reportPage(largeReport(10_000));

  it('stay below 3 MB, with every digest', () => {
    assert.ok(Buffer.byteLength(html) < 3_000_000, `${Buffer.byteLength(html)} bytes`);
    assert.equal(html.match(/<code>[0-9a-f]{64}<\/code>/g)?.length, 10_000);
  });

  it('are found by name', { skip: withoutChromium }, async () => {
    const page = await opened(html);
    const shown = '[...document.querySelectorAll("[data-topic]")].filter(t => !t.hidden).map(t => t.dataset.topic)';
    assert.equal((await page.value<string[]>(shown)).length, 1_000);
    await page.value(
      '{ const f = document.querySelector(".find"); f.value = "v777"; f.dispatchEvent(new Event("input")); }',
    );
    assert.deepEqual(await page.value(shown), ['team-17.orders.v777']);
  });
});

// ---- Support

const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-report-'));
let browser: Chromium | undefined;
let pages = 0;

after(async () => {
  await browser?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function opened(html: string): Promise<Page> {
  const file = join(folder, `page-${pages++}.html`);
  writeFileSync(file, html);
  browser ??= await Chromium.start();
  return browser.open(pathToFileURL(file).href);
}

function writePicture(name: string, png: Buffer): void {
  writeFileSync(join(import.meta.dirname, '..', '..', 'docs', name), png);
}

/** The same report with that name in place of everything that somebody else chose. */
function everywhere(name: string): ReportDocument {
  const text = JSON.stringify(document, (key, value: unknown) => {
    if (
      ['by', 'reason', 'summary', 'message', 'where', 'group', 'startedBy', 'proof', 'change', 'inverse'].includes(key)
    )
      return name;
    return value;
  });
  const changed = JSON.parse(text.replaceAll('orders.created', JSON.stringify(name).slice(1, -1))) as typeof document;
  return {
    ...changed,
    name,
    notes: [name],
    evidence: {
      ...changed.evidence,
      decisions: [`${document.at} approved cutover by ${name}`, name],
      plan: { ...changed.evidence.plan, waivers: [{ code: name, by: name, reason: name }] },
      inventory: changed.evidence.inventory && {
        ...changed.evidence.inventory,
        findings: [{ ...finding('TOPIC_COMPACTED', name, name), waived: { by: name, reason: name } }],
      },
    },
  };
}
