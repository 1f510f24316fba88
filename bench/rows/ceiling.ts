/** Against the ceiling: what these brokers take when one process produces from memory while another reads the source. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ceilingShape } from '../ceiling-process.ts';
import { endWithBench } from '../child.ts';
import { batchesOf, fill } from '../fill.ts';
import { newProducerIds, startOurMirror } from '../mirroring.ts';
import type { Row, RowContext, Sample } from '../row.ts';
import { column, ratio } from '../statistics.ts';
import { brokersOf, timedCopy } from '../timed-copy.ts';
import {
  createSourceTopic,
  createTargetTopic,
  logBytes,
  partitionsOf,
  readableEnds,
  removeTopic,
} from '../topic-pair.ts';

const partitions = 4;
const recordsWanted = 1_000_000;
const sourceShape = { valueBytes: 1_024, recordsPerBatch: 15, codec: 'none', randomShare: 1 } as const;
const topic = 'bench-ceiling';

export const ceiling: Row = {
  name: 'ceiling',
  work: 'the same 1 GB, against producing it directly in 512 KB batches while the source is read',
  peer: 'the ceiling',
  aims: [
    {
      what: "% of the ceiling's throughput",
      wanted: 70,
      better: 'more',
      reached: ({ ours, peer }) =>
        ratio(
          column(ours, 'MBps').map((value) => value * 100),
          column(peer, 'MBps'),
        ),
    },
  ],
  shown: ['MBps', 'copySeconds', 'copyCpuSeconds', 'brokersCpuSeconds', 'rssMaxMB'],
  run: async (context) => {
    const { source, target, say, scale } = context;
    await createSourceTopic(source, topic, partitions);
    say('filling the source');
    const batchesEach = Math.ceil((recordsWanted * scale) / sourceShape.recordsPerBatch / partitions);
    await fill(source, partitionsOf(topic, partitions), batchesOf(sourceShape), batchesEach);
    const endsTotal = (await readableEnds(source, topic, partitions)).reduce((sum, end) => sum + end, 0n);
    const bytes = await logBytes(source, topic);
    const places = partitionsOf(topic, partitions);
    const ours: Sample[] = [];
    const peer: Sample[] = [];
    for (let run = 0; run < context.runs; run++) {
      await createTargetTopic(target, topic, partitions);
      const ids = await newProducerIds(target, partitions);
      const copy = { into: target, topic, partitions, endsTotal, bytes, brokers: brokersOf(context.stack) };
      ours.push(await timedCopy(copy, () => startOurMirror(context, places, ids)));
      await removeTopic(target, topic);
      await createTargetTopic(target, topic, partitions);
      const copySeconds = await produceWhileReading(context, Number(endsTotal));
      // Whole batches in each partition: a few more records than there are in the source.
      peer.push({ copySeconds, MBps: (await logBytes(target, topic)) / 1e6 / copySeconds });
      await removeTopic(target, topic);
      say(
        `run ${run + 1} of ${context.runs}: ours ${ours.at(-1)?.MBps?.toFixed(0)} MB/s, the ceiling ${peer.at(-1)?.MBps?.toFixed(0)}`,
      );
    }
    await removeTopic(source, topic);
    return {
      ours,
      peer,
      conditions: {
        log: `${endsTotal} records in ${partitions} partitions, ${(bytes / 1e6).toFixed(0)} MB as stored, 16 KB batches`,
        'the ceiling': `batches of ${ceilingShape.recordsPerBatch} records out of memory over two connections, 4 requests in flight each, acks=all; the source read over two connections, 8 MB an answer; until both are done`,
      },
    };
  },
};

/** Seconds until both halves are done. */
async function produceWhileReading(context: RowContext, records: number): Promise<number> {
  const halves = ['write', 'read'].map((half) => {
    const script = join(import.meta.dirname, '..', 'ceiling-process.ts');
    const child = endWithBench(
      spawn(process.execPath, [script, half, topic, String(partitions), String(records)], {
        env: { ...process.env, ...context.stack.env },
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
    );
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const exited = once(child, 'close');
    const expect = async (wanted: string) => {
      const { value } = await lines.next();
      if (value !== wanted) throw new Error(`the ceiling's ${half} half said ${value} in place of ${wanted}`);
    };
    return { child, expect, exited };
  });
  try {
    for (const { expect } of halves) await expect('ready');
    const startedAt = performance.now();
    for (const { child } of halves) child.stdin.write('go\n');
    await Promise.all(halves.map(({ expect }) => expect('done')));
    return (performance.now() - startedAt) / 1_000;
  } finally {
    for (const { child, exited } of halves) {
      child.kill('SIGKILL'); // no effect on one that has ended
      await exited;
    }
  }
}
