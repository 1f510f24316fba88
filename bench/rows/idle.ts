/** A mirror of many partitions, all copied, nothing new: what it costs to wait. */
import { setTimeout as sleep } from 'node:timers/promises';
import { batchesOf, fill } from '../fill.ts';
import { newProducerIds, startOurMirror } from '../mirroring.ts';
import { costOf } from '../process-cost.ts';
import type { Row, Sample } from '../row.ts';
import { column, figure } from '../statistics.ts';
import { createSourceTopic, createTargetTopic, partitionsOf, removeTopic, watchEnds } from '../topic-pair.ts';

const topics = Array.from({ length: 10 }, (_, index) => `bench-idle-${index}`);
const partitions = 100;
const shape = { valueBytes: 1_024, recordsPerBatch: 15, codec: 'none', randomShare: 1 } as const;
const windowMs = 60_000;
/** Between the last record and the first window: takeovers, first long polls, garbage. */
const settleMs = 10_000;
const copyTimeoutMs = 180_000;

export const idle: Row = {
  name: 'idle-1000',
  work: '1,000 partitions in 10 topics without traffic, 60 s at a time',
  aims: [
    { what: '% of a core', wanted: 2, better: 'less', reached: ({ ours }) => figure(column(ours, 'cpuPercent')) },
    { what: 'MB resident', wanted: 200, better: 'less', reached: ({ ours }) => figure(column(ours, 'rssMB')) },
  ],
  shown: ['cpuPercent', 'sourceBrokerCpuPercent', 'rssMB', 'rssMaxMB'],
  run: async (context) => {
    const { source, target, say, scale, stack } = context;
    say('making topics');
    for (const topic of topics) {
      await createSourceTopic(source, topic, partitions);
      await createTargetTopic(target, topic, partitions);
    }
    const places = topics.flatMap((topic) => partitionsOf(topic, partitions));
    await fill(source, places, batchesOf(shape), 1);
    const ids = await newProducerIds(target, places.length);
    const samples: Sample[] = [];
    const sourceBroker = stack.source?.brokers[0]?.pid ?? process.pid;
    {
      await using mirroring = await startOurMirror(context, places, ids);
      const copied = topics.map((topic) =>
        watchEnds(target, topic, partitions, {
          everyMs: () => 500,
          timeoutMs: copyTimeoutMs,
          done: (ends) => ends.every((end) => end === BigInt(shape.recordsPerBatch)),
        }),
      );
      await Promise.race([Promise.all(copied), mirroring.died]);
      say('all copied');
      await sleep(settleMs);
      for (let run = 0; run < context.runs; run++) {
        const before = costOf(mirroring.pid);
        const brokerBefore = costOf(sourceBroker);
        const startedAt = performance.now();
        await Promise.race([sleep(windowMs * scale), mirroring.died]);
        const seconds = (performance.now() - startedAt) / 1_000;
        const now = costOf(mirroring.pid);
        samples.push({
          cpuPercent: ((now.cpuSeconds - before.cpuSeconds) / seconds) * 100,
          sourceBrokerCpuPercent: ((costOf(sourceBroker).cpuSeconds - brokerBefore.cpuSeconds) / seconds) * 100,
          rssMB: now.rssMB,
          rssMaxMB: now.rssMaxMB,
        });
        say(
          `window ${run + 1} of ${context.runs}: ${samples.at(-1)?.cpuPercent?.toFixed(2)} % of a core, ${now.rssMB.toFixed(0)} MB`,
        );
      }
    }
    for (const topic of topics) {
      await removeTopic(target, topic);
      await removeTopic(source, topic);
    }
    return {
      ours: samples,
      peer: [],
      conditions: {
        log: 'one batch of 15 records in each partition, copied before; then windows one after another in one process',
      },
    };
  },
};
