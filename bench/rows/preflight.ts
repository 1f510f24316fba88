/** The real command over a large estate: how long `plan` takes, and how many requests of which kind it sends. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createTopicsV7, protocolAPIsById } from '@platformatic/kafka';
import { stringify } from 'yaml';
import type { Cluster } from '../../kafka/cluster.ts';
import { commitOffsets, deleteGroup } from '../../kafka/groups.ts';
import { kafkaErrorName } from '../../kafka/kafka-errors.ts';
import { isPassing, listOffsets } from '../../kafka/offsets.ts';
import { endWithBench } from '../child.ts';
import { batchesOf, fill } from '../fill.ts';
import { costOf } from '../process-cost.ts';
import type { Row, Sample } from '../row.ts';
import { column, figure, ratio } from '../statistics.ts';
import { type NamedPartition, partitionsOf, removeTopic } from '../topic-pair.ts';

const topicCount = 1_000;
const partitions = 10;
/** Topics in one request, topics and groups at work at once. */
const createBatch = 50;
const atOnce = 20;
const createTimeoutMs = 60_000;
const ledTimeoutMs = 300_000;
const shape = { valueBytes: 200, recordsPerBatch: 5, codec: 'none', randomShare: 1 } as const;
const pollMs = 50;
const timeoutMs = 600_000;

export const preflight: Row = {
  name: 'preflight-1000',
  work: '`kafka-cutover plan` over 1,000 topics, 10,000 partitions and 1,000 groups',
  aims: [
    { what: 'seconds', wanted: 15, better: 'less', reached: ({ ours }) => figure(column(ours, 'wholeSeconds')) },
    {
      what: 'times the requests that two topics and two groups take',
      wanted: 1.1,
      better: 'less',
      reached: ({ ours }) => ratio(column(ours, 'requests'), column(ours, 'requestsForTwoTopics')),
    },
  ],
  shown: ['wholeSeconds', 'wholeCpuSeconds', 'rssMaxMB', 'requests', 'requestsForTwoTopics'],
  run: async (context) => {
    const { source, say, scale } = context;
    const count = Math.max(2, Math.round(topicCount * scale));
    const topics = Array.from({ length: count }, (_, index) => `bench-preflight-${index}`);
    say(`making ${count} topics and as many groups`);
    await createTopics(source, topics);
    const places = topics.flatMap((topic) => partitionsOf(topic, partitions));
    await untilLed(source, places);
    await fill(source, places, batchesOf(shape), 1);
    await inLanes(topics, (topic) =>
      commitOffsets(
        source,
        `${topic}-group`,
        partitionsOf(topic, partitions).map((p) => ({ ...p, offset: 3n })),
      ),
    );
    const all = join(context.folder, 'all.yaml');
    const two = join(context.folder, 'two.yaml');
    writeFileSync(all, planOf('bench-preflight-.*'));
    writeFileSync(two, planOf('bench-preflight-[01]'));

    const few = await runPlan(context, two);
    const ours: Sample[] = [];
    let kinds = '';
    for (let run = 0; run < context.runs; run++) {
      const { sample, counts, answer } = await runPlan(context, all);
      if (answer.topics !== count || answer.groups !== count)
        throw new Error(`${answer.topics} topics, ${answer.groups} groups`);
      ours.push({ ...sample, requestsForTwoTopics: few.sample.requests ?? 0 });
      kinds = kindsOf(counts);
      say(`run ${run + 1} of ${context.runs}: ${sample.wholeSeconds?.toFixed(2)} s, ${sample.requests} requests`);
    }
    await inLanes(topics, (topic) => deleteGroup(source, `${topic}-group`));
    for (const topic of topics) await removeTopic(source, topic);
    return {
      ours,
      peer: [],
      conditions: {
        estate: `${count} topics of ${partitions} partitions with a batch of 5 records each, ${count} groups with positions on 10 partitions each, on the source; the target empty`,
        command: '`kafka-cutover plan FILE --json`, start of the process included',
        requests: kinds,
      },
    };
  },
};

const planOf = (topics: string) =>
  stringify({ name: 'bench-preflight', source: 'legacy', target: 'next', topics: { include: [topics] } });

async function createTopics(cluster: Cluster, topics: readonly string[]): Promise<void> {
  for (let i = 0; i < topics.length; i += createBatch) {
    const batch = topics
      .slice(i, i + createBatch)
      .map((name) => ({ name, numPartitions: partitions, replicationFactor: 1, assignments: [], configs: [] }));
    const answer = await cluster.call('controller', createTopicsV7.api, batch, createTimeoutMs, false);
    const refused = answer.topics.find((topic) => topic.errorCode !== 0);
    if (refused) throw new Error(`${refused.name} is not created: ${kafkaErrorName(refused.errorCode)}`);
  }
}

/** Ten thousand new partitions get their leaders within seconds, and are refused until then. */
async function untilLed(cluster: Cluster, places: readonly NamedPartition[]): Promise<void> {
  const deadline = performance.now() + ledTimeoutMs;
  for (;;) {
    try {
      await listOffsets(cluster, places, 'logEnd');
      return;
    } catch (error) {
      if (!isPassing(error) || performance.now() > deadline) throw error;
    }
  }
}

async function inLanes<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const left = [...items];
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
    }),
  );
}

async function runPlan(
  { stack, folder, profile }: Parameters<Row['run']>[0],
  plan: string,
): Promise<{ sample: Sample; counts: Record<string, number>; answer: { topics: number; groups: number } }> {
  const command = join(import.meta.dirname, '..', '..', 'bin', 'kafka-cutover.js');
  const counted = join(folder, 'requests.json');
  const counter = pathToFileURL(join(import.meta.dirname, '..', 'count-requests.ts'));
  counter.searchParams.set('to', counted);
  const counting = ['--import', counter.href];
  const profiling = profile ? ['--cpu-prof', `--cpu-prof-dir=${profile}`] : [];
  const startedAt = performance.now();
  const child = endWithBench(
    spawn(process.execPath, [...counting, ...profiling, command, 'plan', plan, '--json'], {
      cwd: folder,
      env: { ...process.env, ...stack.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  );
  let out = '';
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4_000);
  });
  const closed = once(child, 'close');
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  let cost = { cpuSeconds: 0, rssMaxMB: 0 };
  const watch = setInterval(() => {
    try {
      cost = costOf(child.pid ?? -1);
    } catch {
      // It ended while we looked.
    }
  }, pollMs);
  await closed;
  clearTimeout(timer);
  clearInterval(watch);
  const wholeSeconds = (performance.now() - startedAt) / 1_000;
  if (child.exitCode !== 0)
    throw new Error(`kafka-cutover plan ended with ${child.exitCode}: ${said} ${out.slice(0, 2_000)}`);
  const counts = JSON.parse(readFileSync(counted, 'utf8')) as Record<string, number>;
  const requests = Object.values(counts).reduce((sum, n) => sum + n, 0);
  return {
    sample: { wholeSeconds, wholeCpuSeconds: cost.cpuSeconds, rssMaxMB: cost.rssMaxMB, requests },
    counts,
    answer: JSON.parse(out.trim().split('\n').at(-1) ?? '{}') as { topics: number; groups: number },
  };
}

/** `ListOffsets 4, Fetch 2, ...`, most first. */
function kindsOf(counts: Readonly<Record<string, number>>): string {
  const names = protocolAPIsById as Readonly<Record<string, string>>;
  return Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([key, n]) => `${names[key] ?? key} ${n}`)
    .join(', ');
}
