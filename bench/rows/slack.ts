/** From a click in Slack to the workflow's decision: Socket Mode, app, Temporal and worker on one machine, Slack itself a stand-in. */
import { pino } from 'pino';
import { CutoverClient } from '../../client/cutover-client.ts';
import { startSlackApp } from '../../client/slack/app.ts';
import { SlackStandIn } from '../../test/slack/stand-in.ts';
import { Bench } from '../../test/workflows/support/bench.ts';
import type { Row, Sample } from '../row.ts';
import { column, figure, percentile } from '../statistics.ts';

const migrationsWanted = 5;
/** As many as a gate can want. */
const approversEach = 20;

export const slack: Row = {
  name: 'slack-click',
  work: 'a click on Approve in Slack, until the workflow has counted it',
  aims: [
    {
      what: 'ms, 95th percentile',
      wanted: 1_000,
      better: 'less',
      reached: ({ ours }) => figure(column(ours, 'p95Ms')),
    },
  ],
  shown: ['p50Ms', 'p95Ms', 'mostMs', 'acknowledgedP95Ms', 'clicks'],
  run: async ({ runs, scale, say }) => {
    const approvers = Array.from({ length: approversEach }, (_, index) => `approver-${index}`);
    const users = Object.fromEntries(approvers.map((name, index) => [`U0${index}`, name]));
    const migrations = Math.max(1, Math.round(migrationsWanted * scale));
    const ours: Sample[] = [];
    await using bench = await Bench.start();
    await using client = await CutoverClient.connect({ TEMPORAL_ADDRESS: bench.env.address });
    await using stand = await SlackStandIn.start();
    const stop = new AbortController();
    const log = pino({ level: 'silent' });
    const app = await startSlackApp({ policy: stand.policy(users), client, log, signal: stop.signal });
    for (let run = 0; run < runs; run++) {
      const decidedMs: number[] = [];
      const acknowledgedMs: number[] = [];
      for (let index = 0; index < migrations; index++) {
        const migration = await bench.migrate({ gates: { cutover: { approvals: approversEach, approvers } } });
        const gate = await stand.gate(migration.scenario.name, 'cutover');
        for (const [user, name] of Object.entries(users)) {
          const click = stand.click(gate, 'Approve', user);
          const clickedAtMs = Date.now();
          await stand.send(click);
          acknowledgedMs.push(Date.now() - clickedAtMs);
          const { answered, awaiting } = await migration.until('it counts', (status) =>
            [...(status.awaiting?.given ?? []), ...status.answered.flatMap(({ by }) => by)].some(
              ({ by }) => by === name,
            ),
          );
          const at = awaiting?.given.find(({ by }) => by === name)?.at ?? answered.at(-1)?.at ?? '';
          decidedMs.push(Date.parse(at) - clickedAtMs);
        }
        await migration.ends();
      }
      const sample = {
        p50Ms: percentile(decidedMs, 0.5),
        p95Ms: percentile(decidedMs, 0.95),
        mostMs: Math.max(...decidedMs),
        acknowledgedP95Ms: percentile(acknowledgedMs, 0.95),
        clicks: decidedMs.length,
      };
      ours.push(sample);
      say(`run ${run + 1}: ${sample.clicks} clicks, p95 ${sample.p95Ms} ms`);
    }
    stop.abort();
    await app.ended;
    return {
      ours,
      peer: [],
      conditions: {
        clicks: `one after the other by ${approversEach} approvers of ${migrations} migrations, from the request of Slack to the time that the workflow has noted`,
        slack: 'a stand-in on the same machine: the way to Slack and back is not in it',
      },
    };
  },
};
