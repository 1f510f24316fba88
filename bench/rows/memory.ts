/** The real command over a backlog far larger than its memory: what it holds at most. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { endWithBench } from '../child.ts';
import { batchesOf, fill } from '../fill.ts';
import { costOf } from '../process-cost.ts';
import type { Row } from '../row.ts';
import { column, figure } from '../statistics.ts';
import { createSourceTopic, partitionsOf, readableEnds, removeTopic } from '../topic-pair.ts';

const topics = Array.from({ length: 20 }, (_, index) => `bench-memory-${index}`);
const partitions = 50;
const shape = { valueBytes: 1_024, recordsPerBatch: 15, codec: 'none', randomShare: 1 } as const;
/** 2 MB a partition, 2 GB in all. */
const batchesEach = 130;
const pollMs = 50;
const timeoutMs = 600_000;

export const memory: Row = {
  name: 'memory-1000',
  work: '`kafka-cutover mirror` alone over 1,000 partitions in 20 topics with a backlog of 2 GB',
  aims: [
    {
      what: 'MB resident, whatever the backlog',
      wanted: 256,
      better: 'less',
      reached: ({ ours }) => figure(column(ours, 'rssMaxMB')),
    },
  ],
  shown: ['rssMaxMB', 'wholeSeconds', 'wholeCpuSeconds', 'backlogMB'],
  runsMax: 1,
  run: async (context) => {
    const { source, target, say, scale, stack } = context;
    say('making topics and filling them');
    for (const topic of topics) await createSourceTopic(source, topic, partitions);
    const places = topics.flatMap((topic) => partitionsOf(topic, partitions));
    const each = Math.max(1, Math.ceil(batchesEach * scale));
    const batches = batchesOf(shape);
    await fill(source, places, batches, each);
    const backlogMB = (places.length * each * (batches[0]?.byteLength ?? 0)) / 1e6;

    const plan = join(context.folder, 'plan.yaml');
    writeFileSync(
      plan,
      stringify({ name: 'bench-memory', source: 'legacy', target: 'next', topics: { include: ['bench-memory-.*'] } }),
    );
    const command = join(import.meta.dirname, '..', '..', 'bin', 'kafka-cutover.js');
    const profiling = context.profile ? ['--cpu-prof', `--cpu-prof-dir=${context.profile}`] : [];
    const startedAt = performance.now();
    const child = endWithBench(
      spawn(process.execPath, [...profiling, command, 'mirror', plan, '--until-caught-up', '--json'], {
        cwd: context.folder,
        env: { ...process.env, ...stack.env },
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    );
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said = (said + text).slice(-4_000);
      });
    }
    const closed = once(child, 'close');
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    let cost = { cpuSeconds: 0, rssMaxMB: 0 };
    while (child.exitCode === null && child.signalCode === null) {
      try {
        cost = costOf(child.pid ?? -1);
      } catch {
        break; // it ended while we looked
      }
      await sleep(pollMs);
    }
    await closed;
    clearTimeout(timer);
    const wholeSeconds = (performance.now() - startedAt) / 1_000;
    if (child.exitCode !== 0)
      throw new Error(`kafka-cutover mirror ended with ${child.exitCode ?? child.signalCode}: ${said}`);
    for (const topic of topics) {
      const ends = await readableEnds(target, topic, partitions);
      const wrong = ends.findIndex((end) => end !== BigInt(each * shape.recordsPerBatch));
      if (wrong >= 0) throw new Error(`${topic}/${wrong} ends at ${ends[wrong]}`);
    }
    for (const topic of topics) {
      await removeTopic(target, topic);
      await removeTopic(source, topic);
    }
    return {
      ours: [{ rssMaxMB: cost.rssMaxMB, wholeSeconds, wholeCpuSeconds: cost.cpuSeconds, backlogMB }],
      peer: [],
      conditions: {
        log: `${each} batches of 16 KB in each partition`,
        command:
          '`kafka-cutover mirror plan.yaml --until-caught-up`, preflight and preparation included; VmHWM of its process',
        proof: 'log ends equal on both sides',
      },
    };
  },
};
