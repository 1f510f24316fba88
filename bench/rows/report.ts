/** The report of a large migration: how long the page takes to make, how large it is, and how soon a browser shows it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { reportPage } from '../../client/report/page.ts';
import { Chromium, withoutChromium } from '../../test/support/chromium.ts';
import { largeReport } from '../large-report.ts';
import type { Row, Sample } from '../row.ts';
import { column, figure } from '../statistics.ts';

const partitionsWanted = 10_000;

export const report: Row = {
  name: 'report',
  work: "a migration's report of 10,000 partitions, opened in Chromium",
  aims: [
    { what: 'MB', wanted: 3, better: 'less', reached: ({ ours }) => figure(column(ours, 'MB')) },
    { what: 'seconds to open', wanted: 2, better: 'less', reached: ({ ours }) => figure(column(ours, 'openSeconds')) },
  ],
  shown: ['MB', 'openSeconds', 'makeSeconds'],
  run: async ({ folder, runs, scale, say }) => {
    if (withoutChromium) throw new Error(withoutChromium);
    const document = largeReport(Math.round(partitionsWanted * scale));
    const ours: Sample[] = [];
    let version = '';
    for (let run = 0; run < runs; run++) {
      const startedAt = performance.now();
      const html = reportPage(document);
      const makeSeconds = (performance.now() - startedAt) / 1_000;
      const file = join(folder, 'report.html');
      writeFileSync(file, html);
      // A new browser each time: nothing is warm.
      await using browser = await Chromium.start();
      version = String((await browser.send('Browser.getVersion')).product);
      const page = await browser.open(pathToFileURL(file).href);
      const openMs = await page.value<number>(painted);
      ours.push({ MB: Buffer.byteLength(html) / 1e6, openSeconds: openMs / 1_000, makeSeconds });
      say(`run ${run + 1}: shown after ${openMs.toFixed(0)} ms`);
    }
    return {
      ours,
      peer: [],
      conditions: {
        browser: version,
        report:
          '1,000 topics of 10 partitions with digests, 200 groups with 10,000 positions, 1,000 changes, 300 findings',
        open: 'from the start of the navigation, in a browser that was just started, to the first frame after the page was loaded',
      },
    };
  },
};

/** Milliseconds from the start of the navigation to a frame that shows the whole page. */
const painted = `new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>
  done(Math.max(performance.now(), performance.getEntriesByType('navigation')[0].loadEventEnd)))))`;
