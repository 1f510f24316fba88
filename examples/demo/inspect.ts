/**
 * What can be said after a move: by both groups, once they have read all that is acknowledged, and by both
 * clusters' logs, read from the first record to the last.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Kafka } from 'kafkajs';
import { count } from '../../client/units.ts';
import type { Applications, Reports } from './applications.ts';
import type { Display } from './display.ts';
import { judge, logBounds, readLogs } from './judge.ts';
import { topics } from './platform.ts';
import type { Totals } from './result.ts';
import { WaitedTooLong, type Watch } from './watch.ts';

/** How long readers and mirror may take to catch up before the rest is called lost, or not equal. */
const catchUpTimeoutMs = 30_000;
const lookEveryMs = 300;
const topicNames = Object.keys(topics);

export interface Inspected {
  readonly totals: Totals;
  readonly recordsEqual: boolean;
  readonly offsetsEqual: boolean;
  readonly reports: Reports;
}

export interface Inspection {
  readonly watch: Watch;
  readonly applications: Applications;
  readonly display: Display;
  /** The cluster that is written to. */
  readonly homeName: string;
  readonly home: Kafka;
  readonly other: Kafka;
  /** Whether a mirror still carries what is written to home to the other cluster. */
  readonly mirrored: boolean;
  /** Records have the same offset on both clusters. */
  readonly offsetIdentity: boolean;
}

export async function inspect(inspection: Inspection): Promise<Inspected> {
  const { watch, applications, display, homeName, home, other, mirrored, offsetIdentity } = inspection;
  const producers = (await applications.reports()).producers;
  const acknowledged: Record<string, number> = Object.assign({}, ...producers.map((one) => one.acknowledged));
  const unread = ({ consumers }: Reports) =>
    Math.max(...consumers.map(({ reached }) => recordsBetween(reached, acknowledged)));
  await watch
    .until('both groups to read all that is acknowledged', catchUpTimeoutMs, ({ reports }) => unread(reports) === 0)
    .catch((error) => {
      if (!(error instanceof WaitedTooLong)) throw error;
      display.say(error.message); // what is unread is counted as lost below
    });
  const carried = !mirrored || (await mirrorCaughtUp(inspection));
  if (!carried) display.say(`the mirror has not carried everything that was written to ${homeName}`);

  // Acknowledgements first, the cluster that was left next: home is then never behind any of them.
  const acknowledgements = applications.acknowledgements();
  const otherLogs = await watch.meanwhile(readLogs(other, topicNames));
  const homeLogs = await watch.meanwhile(readLogs(home, topicNames));
  const verdict = judge(homeName, homeLogs, otherLogs, acknowledgements, offsetIdentity);
  display.say(`${count(verdict.compared)} records compared on both clusters, one by one`);
  for (const line of verdict.differences) display.detail(line);

  const reports = await applications.reports();
  for (const { name, unclear } of reports.producers) {
    if (unclear > 0)
      display.detail(`${name} left ${unclear} batches without a clear answer: it may have written twice`);
  }
  const counts = [...reports.consumers.map((consumer) => consumer.counts), verdict.counts];
  const most = (key: keyof (typeof counts)[number]) => Math.max(...counts.map((one) => one[key]));
  return {
    totals: {
      lost: most('lost') + unread(reports),
      duplicated: most('duplicated'),
      reordered: most('reordered'),
      replayed: reports.consumers.reduce((sum, consumer) => sum + consumer.counts.replayed, 0),
    },
    recordsEqual: verdict.equal && carried,
    offsetsEqual: verdict.equal && verdict.offsetsEqual && carried && most('diverged') === 0,
    reports,
  };
}

/** How many records lie between two sets of highest numbers by lane. */
function recordsBetween(reached: Readonly<Record<string, number>>, wanted: Readonly<Record<string, number>>): number {
  return Object.entries(wanted).reduce((sum, [lane, last]) => sum + Math.max(0, last - (reached[lane] ?? -1)), 0);
}

/** Whether the other cluster came to hold as many records as home held at the beginning of the wait: none of them is a marker. */
async function mirrorCaughtUp({ watch, home, other }: Inspection): Promise<boolean> {
  const held = async (kafka: Kafka) =>
    new Map([...(await logBounds(kafka, topicNames))].map(([place, { start, end }]) => [place, end - start]));
  const wanted = await held(home);
  const deadline = performance.now() + catchUpTimeoutMs;
  for (;;) {
    const found = await watch.meanwhile(held(other));
    if ([...wanted].every(([place, count]) => (found.get(place) ?? 0n) >= count)) return true;
    if (performance.now() > deadline) return false;
    await sleep(lookEveryMs);
  }
}
