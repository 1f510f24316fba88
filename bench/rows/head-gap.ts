/** A log that begins at 1,000,000,000: how long until the copy begins there too, and what it takes on disk meanwhile. */
import { existsSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { proveIdentical } from '../completeness.ts';
import { batchesOf, fill } from '../fill.ts';
import { newProducerIds, startOurMirror } from '../mirroring.ts';
import { costOf } from '../process-cost.ts';
import type { Row, RowContext } from '../row.ts';
import { column, figure } from '../statistics.ts';
import {
  createSourceTopic,
  createTargetTopic,
  logBytes,
  partitionsOf,
  readableEnds,
  removeTopic,
} from '../topic-pair.ts';

const topic = 'bench-head';
const gapWanted = 1_000_000_000;
const shape = { valueBytes: 1_024, recordsPerBatch: 15, codec: 'none', randomShare: 1 } as const;
const batches = 100;
const pollMs = 200;
const timeoutMs = 900_000;

export const headGap: Row = {
  name: 'head-gap',
  work: 'a log whose first 1,000,000,000 offsets are trimmed away, 1,500 records behind them',
  aims: [{ what: 'seconds', wanted: 180, better: 'less', reached: ({ ours }) => figure(column(ours, 'wholeSeconds')) }],
  shown: ['wholeSeconds', 'wholeCpuSeconds', 'targetBrokerCpuSeconds', 'diskMostMB', 'diskAfterMB', 'rssMaxMB'],
  runsMax: 1,
  run: async (context) => {
    const { source, target, say, scale, stack } = context;
    const gap = BigInt(Math.round(gapWanted * scale));
    await createSourceTopic(source, topic, 1);
    await beginAt(context, gap);
    await fill(source, partitionsOf(topic, 1), batchesOf(shape), batches);
    const [end] = await readableEnds(source, topic, 1);
    say(`the source begins at ${gap} and ends at ${end}`);
    await createTargetTopic(target, topic, 1);
    const ids = await newProducerIds(target, 1);
    const broker = stack.target?.brokers[0]?.pid ?? process.pid;
    const brokerBefore = costOf(broker).cpuSeconds;
    const startedAt = performance.now();
    let diskMostMB = 0;
    let cost = { cpuSeconds: 0, rssMaxMB: 0 };
    {
      await using mirroring = await startOurMirror(context, partitionsOf(topic, 1), ids);
      const work = async () => {
        for (let saidAt = 0; ; ) {
          const [position = 0n] = await readableEnds(target, topic, 1);
          diskMostMB = Math.max(diskMostMB, (await logBytes(target, topic)) / 1e6);
          cost = costOf(mirroring.pid);
          if (position === end) return;
          const elapsed = performance.now() - startedAt;
          if (elapsed > timeoutMs) throw new Error(`at ${position} after ${timeoutMs} ms`);
          if (elapsed - saidAt > 15_000) {
            say(`at ${position}`);
            saidAt = elapsed;
          }
          await sleep(pollMs);
        }
      };
      await Promise.race([work(), mirroring.died]);
    }
    const wholeSeconds = (performance.now() - startedAt) / 1_000;
    const targetBrokerCpuSeconds = costOf(broker).cpuSeconds - brokerBefore;
    await proveIdentical(stack, topic);
    await sleep(5_000); // the broker removes deleted segments a second later, in its own time
    const diskAfterMB = (await logBytes(target, topic)) / 1e6;
    await removeTopic(target, topic);
    await removeTopic(source, topic);
    return {
      ours: [
        {
          wholeSeconds,
          wholeCpuSeconds: cost.cpuSeconds,
          targetBrokerCpuSeconds,
          diskMostMB,
          diskAfterMB,
          rssMaxMB: cost.rssMaxMB,
        },
      ],
      peer: [],
      conditions: {
        log: `made by moving an empty log to offset ${gap} on the stopped source broker's disk, then ${batches * shape.recordsPerBatch} records of 1 KB`,
        proof: "log start, log end, count and checksum equal through Apache's consumer",
      },
    };
  },
};

/** Makes the source's empty log begin at `offset`, as one whose head was deleted: nobody can write a thousand million records each time. */
async function beginAt({ stack, source }: RowContext, offset: bigint): Promise<void> {
  const broker = stack.source?.brokers[0];
  if (!broker) throw new Error("the source must be the bench's own");
  await broker.kill('SIGTERM');
  const folder = join(stack.dir, 'source', `data-${broker.id}`, `${topic}-0`);
  if (!existsSync(folder)) throw new Error(`no log in ${folder}`);
  for (const name of readdirSync(folder)) {
    const rest = /^0{20}(\..+)$/.exec(name)?.[1];
    if (rest) renameSync(join(folder, name), join(folder, `${String(offset).padStart(20, '0')}${rest}`));
  }
  await broker.start();
  const places = partitionsOf(topic, 1);
  const deadline = performance.now() + 30_000;
  for (;;) {
    const [end] = await readableEnds(source, topic, 1).catch(() => []);
    if (end === offset) return;
    if (performance.now() > deadline) throw new Error(`${places[0]?.topic} begins at ${end}, wanted ${offset}`);
    await sleep(100);
  }
}
