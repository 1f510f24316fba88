/**
 * A consumer application: one member of one group that checks the numbers of all records it is given. The webhook
 * tells it to leave a cluster (positions committed) and to go on at the other one, from the positions that its
 * group has there.
 *
 * A fence that is made of ACLs alone shows as GROUP_AUTHORIZATION_FAILED: kafkajs gives up. Like a supervisor
 * would, this application tries the same cluster again every second until the webhook names another one.
 *
 * Started by demo.ts; see producer.ts for the settings and the flag.
 */
import type { Consumer } from 'kafkajs';
import { listen, readSettings, type SwitchRequest, until } from './application.ts';
import { SequenceCheck, type SequenceCounts } from './sequence-check.ts';

/** kafka-cutover waits 30 s for an answer. */
const joinTimeoutMs = 20_000;
const restartPauseMs = 1_000;

/** What the demo reads from `GET /report`. */
export interface ConsumerReport {
  readonly name: string;
  readonly group: string;
  readonly cluster: string;
  readonly state: State;
  readonly counts: SequenceCounts;
  /** Per lane (`laneOf`), the highest number seen. */
  readonly reached: Readonly<Record<string, number>>;
}

/** `refused`: the cluster does not let the group in (any more). */
type State = 'starting' | 'reading' | 'refused' | 'stopped';

const settings = readSettings();
const group = process.env.APP_GROUP ?? settings.name;
const check = new SequenceCheck();

let cluster = settings.firstCluster;
let state: State = 'stopped';
let consumer: Consumer | null = null;
let restart: NodeJS.Timeout | undefined;

await listen({
  port: settings.port,
  webhookSecret: settings.webhookSecret,
  onWebhook,
  report: (): ConsumerReport => ({
    name: settings.name,
    group,
    cluster,
    state,
    counts: check.counts(),
    reached: check.reached(),
  }),
});
process.once('SIGTERM', () => stop().finally(() => process.exit()));
await start();

/** Joins the group on the cluster of the moment; returns when kafkajs has started, not when it has joined. */
async function start(): Promise<void> {
  state = 'starting';
  const mine = settings.kafka(cluster).consumer({
    groupId: group,
    sessionTimeout: 10_000,
    heartbeatInterval: 1_000,
    maxWaitTimeInMs: 100,
    // What a supervisor does is ours to do (below), so kafkajs need not restart by itself.
    retry: { initialRetryTime: 50, retries: 5, restartOnFailure: async () => false },
  });
  consumer = mine;
  mine.on(mine.events.GROUP_JOIN, () => {
    if (consumer === mine) state = 'reading';
  });
  mine.on(mine.events.CRASH, ({ payload }) => {
    if (consumer === mine) startAgainLater(payload.error);
  });
  try {
    await mine.connect();
    // Where the group has no position it reads everything: a lost position must show as replays, never as a loss.
    await mine.subscribe({ topics: Object.keys(settings.topics), fromBeginning: true });
    await mine.run({
      eachMessage: async ({ topic, partition, message }) => {
        check.see({
          topic,
          partition,
          offset: BigInt(message.offset),
          producer: String(message.headers?.producer),
          sequence: Number(message.headers?.sequence),
        });
      },
    });
  } catch (error) {
    if (consumer === mine) startAgainLater(error as Error);
  }
}

function startAgainLater(error: Error): void {
  console.error(`${group} on ${cluster}: ${error.message}`);
  state = 'refused';
  const failed = consumer;
  consumer = null;
  failed?.disconnect().catch(() => undefined);
  clearTimeout(restart);
  restart = setTimeout(() => start(), restartPauseMs);
}

/** Finishes the record in hand, commits, and leaves the group. */
async function stop(): Promise<void> {
  clearTimeout(restart);
  const leaving = consumer;
  consumer = null;
  state = 'stopped';
  await leaving?.disconnect();
}

async function onWebhook({ action, who, to }: SwitchRequest): Promise<void> {
  if (who !== 'consumers') return;
  if (action === 'fence') return stop();
  if (action !== 'unfence' && cluster !== to) {
    await stop();
    cluster = to;
  }
  if (state === 'stopped') await start();
  await until(`${group} joining on ${cluster}`, joinTimeoutMs, () => state === 'reading');
}
