/**
 * A producer application that never stops counting. It numbers its records per partition, keeps one batch per
 * partition in flight, and sends a refused batch again, unchanged, until a cluster takes it. The webhook tells it
 * which cluster that is.
 *
 * What the fence of a cutover is to it: TOPIC_AUTHORIZATION_FAILED for a second or two. kafkajs hands that error
 * to the application at once, so the application must be the one that keeps the batch and tries again.
 *
 * Started by demo.ts with the settings of application.ts in its environment, and
 * `--disable-warning=TimeoutNegativeWarning` (kafkajs 2.2.4 on Node 24 sets timers in the past; harmless).
 */
import { createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectProducer, listen, readSettings, type SwitchRequest, until } from './application.ts';
import type { Acknowledgement } from './judge.ts';
import { laneOf } from './sequence-check.ts';

/** Records of one partition sent in one batch at most. */
const batchMax = 500;
/** Records of one partition that may wait; a queue this long would be two minutes of refusals. */
const queueMax = 50_000;
const retryPauseMs = 20;
const tickMs = 20;
/** How long a switch may take before the webhook is answered with an error (and repeated). */
const switchTimeoutMs = 20_000;
const orders = 5_000;

/** What the demo reads from `GET /report`. */
export interface ProducerReport {
  readonly name: string;
  readonly cluster: string;
  readonly written: number;
  readonly waiting: number;
  /** Batches refused by a cluster: none of their records was written. */
  readonly refused: number;
  /** Batches given up without a clear answer, so that moving on may write them twice. */
  readonly unclear: number;
  /** Per lane (`laneOf`), the highest number acknowledged. */
  readonly acknowledged: Readonly<Record<string, number>>;
  /** Per lane, the stretches between switches, oldest first. */
  readonly stints: Readonly<Record<string, readonly Stint[]>>;
}

/** One partition's acknowledgements from one cluster until the next switch. */
export interface Stint {
  readonly cluster: string;
  /** Milliseconds since 1970. */
  readonly firstAt: number;
  lastAt: number;
  records: number;
}

interface Message {
  readonly key: string;
  readonly value: string;
  readonly headers: Record<string, string>;
}

interface Lane {
  readonly topic: string;
  readonly partition: number;
  nextSequence: number;
  readonly waiting: Message[];
  /** Sent or about to be, and kept until a cluster has acknowledged it. */
  batch: Message[];
  /** A request is on its way. */
  outstanding: boolean;
  /** The last answer about `batch` left open whether it was written. */
  unclear: boolean;
  acknowledged: number;
  readonly stints: Stint[];
}

const settings = readSettings();
const recordsPerSecond = Number(process.env.APP_RATE ?? 200);
/** Records written as fast as possible at the start, so that there is a history to move. */
const history = Number(process.env.APP_HISTORY ?? 0);
const acknowledgements = process.env.APP_ACKS ? createWriteStream(process.env.APP_ACKS) : null;

const lanes: Lane[] = Object.entries(settings.topics).flatMap(([topic, partitions]) =>
  Array.from({ length: partitions }, (_, partition) => ({
    topic,
    partition,
    nextSequence: 0,
    waiting: [],
    batch: [],
    outstanding: false,
    unclear: false,
    acknowledged: -1,
    stints: [],
  })),
);
const topicNames = Object.keys(settings.topics);

let cluster = settings.firstCluster;
let producer = await connectProducer(settings, cluster, switchTimeoutMs);
let sending = true;
let counting = true;
let recordNumber = 0;
let refused = 0;
let unclear = 0;

await listen({ port: settings.port, webhookSecret: settings.webhookSecret, onWebhook, report, finish });
count();
await Promise.all(lanes.map(run));
await producer.disconnect();
acknowledgements?.end();

/** Makes records at a steady rate, whether or not a cluster takes them. */
function count(): void {
  for (let i = 0; i < history; i++) makeRecord();
  const began = performance.now();
  let made = 0;
  const timer = setInterval(() => {
    if (!counting) return clearInterval(timer);
    const due = Math.floor(((performance.now() - began) * recordsPerSecond) / 1000);
    for (; made < due; made++) makeRecord();
  }, tickMs);
}

function makeRecord(): void {
  const number = recordNumber++;
  // Every order is written to each topic: created, then paid.
  const order = Math.floor(number / topicNames.length) % orders;
  const topic = topicNames[number % topicNames.length];
  const partition = order % (settings.topics[topic ?? ''] ?? 1);
  const lane = lanes.find((candidate) => candidate.topic === topic && candidate.partition === partition);
  if (!lane || lane.waiting.length >= queueMax) return;
  const sequence = lane.nextSequence++;
  lane.waiting.push({
    key: `order-${order}`,
    value: JSON.stringify({ order, amount: (number * 7) % 1_000, producer: settings.name, sequence, at: Date.now() }),
    headers: { producer: settings.name, sequence: String(sequence) },
  });
}

/** Sends one partition's records, in order, one batch at a time, until the demo is over and nothing waits. */
async function run(lane: Lane): Promise<void> {
  for (;;) {
    if (lane.batch.length === 0) lane.batch = lane.waiting.splice(0, batchMax);
    if (lane.batch.length === 0 && !counting) return;
    if (lane.batch.length === 0 || !sending) {
      await sleep(tickMs / 2);
      continue;
    }
    lane.outstanding = true;
    try {
      const messages = lane.batch.map((message) => ({ ...message, partition: lane.partition }));
      const [answer] = await producer.send({ topic: lane.topic, messages, acks: -1 });
      acknowledge(lane, answer?.baseOffset ?? '-1');
    } catch (error) {
      noteFailure(lane, error as Error & { type?: string });
      await sleep(retryPauseMs);
    } finally {
      lane.outstanding = false;
    }
  }
}

function acknowledge(lane: Lane, baseOffset: string): void {
  const at = Date.now();
  const { topic, partition } = lane;
  const count = lane.batch.length;
  const last = lane.stints.at(-1);
  if (last?.cluster === cluster) {
    last.lastAt = at;
    last.records += count;
  } else {
    lane.stints.push({ cluster, firstAt: at, lastAt: at, records: count });
  }
  const line: Acknowledgement = {
    at,
    cluster,
    topic,
    partition,
    baseOffset,
    producer: settings.name,
    firstSequence: lane.acknowledged + 1,
    count,
  };
  acknowledgements?.write(`${JSON.stringify(line)}\n`);
  lane.acknowledged += count;
  lane.batch = [];
  lane.unclear = false;
}

/**
 * A refusal by name is clear: nothing was written. After anything else the batch may stand in the log; sending it
 * again to the same cluster is safe (idempotent: same producer id, same sequence numbers), moving on is not.
 */
function noteFailure(lane: Lane, error: Error & { type?: string }): void {
  if (error.type?.endsWith('_AUTHORIZATION_FAILED')) {
    refused++;
    return;
  }
  lane.unclear = true;
  console.error(`${lane.topic}-${lane.partition} on ${cluster}: ${error.message}`);
}

async function onWebhook({ action, who, to }: SwitchRequest): Promise<void> {
  if (who !== 'producers') return;
  if (action === 'fence') return quiet();
  if (action === 'unfence') {
    sending = true;
    return;
  }
  await moveTo(to);
}

/** Stops sending and waits for the answers that are still owed. */
async function quiet(): Promise<void> {
  sending = false;
  await until(`answers from ${cluster}`, switchTimeoutMs, () => lanes.every((lane) => !lane.outstanding));
}

/** Done when the new cluster has acknowledged something. */
async function moveTo(to: string): Promise<void> {
  if (cluster !== to) {
    await quiet();
    const previous = producer;
    producer = await connectProducer(settings, to, switchTimeoutMs);
    unclear += lanes.filter((lane) => lane.unclear).length;
    cluster = to;
    previous.disconnect().catch((error: Error) => console.error(error.message));
  }
  sending = true;
  await until(`an acknowledgement from ${to}`, switchTimeoutMs, () =>
    lanes.some((lane) => lane.stints.at(-1)?.cluster === to),
  );
}

/** Stops counting and sends what is left. */
async function finish(): Promise<void> {
  counting = false;
  await until('the last records', switchTimeoutMs, () =>
    lanes.every((lane) => lane.batch.length === 0 && lane.waiting.length === 0),
  );
  // Whoever asked reads them next; they may have been ended already.
  if (acknowledgements) await finished(acknowledgements.end());
}

function report(): ProducerReport {
  const byLane = <T>(of: (lane: Lane) => T) =>
    Object.fromEntries(lanes.map((lane) => [laneOf(settings.name, lane.topic, lane.partition), of(lane)]));
  const sum = (of: (lane: Lane) => number) => lanes.reduce((total, lane) => total + of(lane), 0);
  return {
    name: settings.name,
    cluster,
    written: sum((lane) => lane.acknowledged + 1),
    waiting: sum((lane) => lane.waiting.length + lane.batch.length),
    refused,
    unclear,
    acknowledged: byLane((lane) => lane.acknowledged),
    stints: byLane((lane) => lane.stints),
  };
}
