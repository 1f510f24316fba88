/**
 * How long the history of a migration gets while it waits for people: `node test/histories/length.ts [MINUTES]`. Activities answer at
 * once, the gate `cutover` is open in real time (10 minutes by default: two measurements), then five people approve four gates.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Bench } from '../workflows/support/bench.ts';

const minutes = Number(process.argv[2] ?? 10);
const lookEveryMs = 5_000;
const one = { approvals: 1 };

await using bench = await Bench.start();
const migration = await bench.migrate({
  producers: { switch: 'manual' },
  consumers: { switch: 'manual' },
  gates: { cutover: { approvals: 2 }, producers: one, consumers: one, finalize: one },
});
await migration.gate('cutover');
const events = async () => (await migration.handle.describe()).historyLength;
const startedAt = Date.now();
let last = await events();
console.log(`gate cutover is open after ${last} events`);
while (Date.now() - startedAt < minutes * 60_000) {
  await sleep(lookEveryMs);
  const now = await events();
  if (now > last) console.log(`${Math.round((Date.now() - startedAt) / 1_000)} s: ${now} events, ${now - last} more`);
  last = now;
}
for (const by of ['ana', 'ben']) await migration.send('approve', { gate: 'cutover', by });
for (const gate of ['producers', 'consumers', 'finalize'] as const) {
  await migration.gate(gate);
  await migration.send('approve', { gate, by: 'ana' });
}
await migration.handle.result();
console.log(`the whole migration: ${await events()} events`);
