/**
 * The worker that people run, with an ear at the points where it can be struck: around every access change and every write of positions
 * that it sends, around every record of the journal, the boundary and the opening decision that it stores, and before Temporal is told
 * that an activity is through. The product has no hooks for this: what is wrapped is the cluster client, the storage, and the activities.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type net from 'node:net';
import { Socket } from 'node:net';
import { Connection } from '@platformatic/kafka';
import { Context } from '@temporalio/activity';
import { pino } from 'pino';
import { createActivities } from '../../activities/activities.ts';
import type { Activities } from '../../activities/types.ts';
import { workflowId } from '../../contract/status.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { readClusters } from '../../kafka/clusters.ts';
import type { JournalEntry } from '../../migration/journal.ts';
import type { Artifact, PutOptions } from '../../migration/storage.ts';
import { TopicStorage } from '../../migration/storage-topic.ts';
import { startWorker } from '../../worker/worker.ts';
import { type Moment, PointFiles } from './points.ts';

interface Doing {
  /** `closeWrites forward` */
  readonly what: string;
  readonly migration: string;
  readonly cluster?: string;
  /** What that cluster is asked. */
  readonly asked?: readonly unknown[];
  /** `boundary`, `decision` or `withdrawal` while one is being stored. */
  readonly storing?: string;
  /** Faults that have put this attempt to sleep. */
  readonly asleep: number[];
}

const dir = process.env.CRASH_DIR ?? '.';
/** Where the brokers are reached, by their own ports: through a proxy that can be cut. */
const proxyPorts = new Map(
  Object.entries(JSON.parse(process.env.CRASH_PROXIES ?? '{}') as Record<string, number>).map(([port, proxy]) => [
    Number(port),
    proxy,
  ]),
);
const clusterNames = { source: 'legacy', target: 'next' } as const;

const doing = new AsyncLocalStorage<Doing>();
/** How often a point was passed by this worker since the only fault of a migration was armed there. */
const counts = new Map<string, number>();

function count(migration: string): number {
  const found = (counts.get(migration) ?? 0) + 1;
  counts.set(migration, found);
  return found;
}

/** @param change what tells it from others of its kind */
function at(thing: string | null, moment: Moment, change = ''): void {
  const here = doing.getStore();
  if (!here) return;
  const point = [here.what, thing, moment].filter((part) => part !== null).join(' ');
  const files = new PointFiles(dir, here.migration);
  files.note(point);
  const armed = files.armed();
  // What is done again after a fault is no other change.
  const rank = files.rank(`${here.what} ${thing} ${/journal/.test(moment)}`, change);
  if (!armed.some((fault) => fault?.point === point)) return;
  const occurrence = armed.length === 1 ? count(here.migration) : rank;
  armed.forEach((fault, index) => {
    if (fault?.point !== point || fault.occurrence !== occurrence || !files.claim(index)) return;
    if (fault.kind === 'kill') process.kill(process.pid, 'SIGKILL');
    if (fault.kind === 'freeze') {
      here.asleep.push(index);
      process.kill(process.pid, 'SIGSTOP');
    } else files.awaitBegun(index);
  });
}

/** CreateAcls, DeleteAcls and OffsetCommit by their API keys. */
const requests = new Map([
  [30, 'create-acls'],
  [31, 'delete-acls'],
  [8, 'offset-commit'],
]);
const produce = 0;

const call = Cluster.prototype.call;
Cluster.prototype.call = function (this: Cluster, ...request: Parameters<typeof call>) {
  const here = doing.getStore();
  const ask = () => call.apply(this, request);
  const [, , ...asked] = request;
  return here ? doing.run({ ...here, cluster: this.name, asked }, ask) : ask();
} as typeof call;

// What is sent has left the process when the call is over: the kernel delivers it whatever becomes of us.
const send = Connection.prototype.send;
Connection.prototype.send = function (this: Connection, ...request: Parameters<typeof send>) {
  const here = doing.getStore();
  const thing = requests.get(request[0]) ?? (request[0] === produce ? here?.storing : undefined);
  if (!here || thing === undefined) return send.apply(this, request);
  const where = `${thing}@${here.cluster}`;
  const change = thing === here.storing ? '' : written(here.asked);
  const answered = request[6];
  request[6] = (...answer) => {
    doing.run(here, () => at(where, 'answered', change));
    answered(...answer);
  };
  send.apply(this, request);
  at(where, 'sent', change);
} as typeof send;

const putAll = TopicStorage.prototype.putAll;
TopicStorage.prototype.putAll = async function (artifacts: readonly Artifact[], options?: PutOptions) {
  const here = doing.getStore();
  const thing = here ? stored(artifacts) : null;
  if (!here || thing === null) return putAll.call(this, artifacts, options);
  const isChange = thing.includes('@');
  const change = isChange ? written(artifacts.map(({ bytes }) => JSON.parse(bytes.toString()).change)) : '';
  at(thing, 'before-journal', change);
  const storing = isChange ? {} : { storing: thing };
  const digests = await doing.run({ ...here, ...storing }, () => putAll.call(this, artifacts, options));
  at(thing, 'after-journal', change);
  return digests;
};

const written = (value: unknown) =>
  JSON.stringify(value, (_key, part) => (typeof part === 'bigint' ? `${part}` : part)) ?? '';

/** Null for what is no access change and no line between two states of the migration. */
function stored([first]: readonly Artifact[]): string | null {
  if (!first) return null;
  if (/\/opening\/.*-withdrawn$/.test(first.name)) return 'withdrawal';
  if (first.name.includes('/opening/')) return 'decision';
  if (first.name.includes('/boundary/')) return 'boundary';
  if (!first.name.includes('/journal/')) return null;
  const { state, change } = JSON.parse(first.bytes.toString()) as JournalEntry;
  return state === 'intended' && change.kind === 'create-acls'
    ? `${change.kind}@${clusterNames[change.cluster]}`
    : null;
}

/** Temporal waits for what comes last. */
function watched(activities: Activities): Activities {
  const wrapped: Record<string, unknown> = {};
  for (const [name, run] of Object.entries(activities) as [string, (...args: unknown[]) => Promise<unknown>][]) {
    wrapped[name] = (...args: unknown[]) => {
      const { direction = 'forward' } = (args[0] ?? {}) as { direction?: string };
      const migration = (Context.current().info.workflowExecution?.workflowId ?? '').slice(workflowId('').length);
      const asleep: number[] = [];
      return doing.run({ what: `${name} ${direction}`, migration, asleep }, async () => {
        try {
          const result = await run(...args);
          at(null, 'before-complete');
          return result;
        } finally {
          for (const index of asleep) new PointFiles(dir, migration).sleptThrough(index);
        }
      });
    };
  }
  return wrapped as unknown as Activities;
}

/** Brokers say where they listen, so the way to them is bent below everything that knows of brokers. */
const connect = Socket.prototype.connect as (...args: unknown[]) => Socket;
Socket.prototype.connect = function (this: Socket, ...args: unknown[]) {
  // Node hands its own functions' arguments on as one list, normalized.
  const [first] = args as [unknown];
  const options = (Array.isArray(first) ? first[0] : first) as net.TcpNetConnectOpts;
  const proxy = proxyPorts.get(Number(options?.port));
  if (proxy !== undefined) options.port = proxy;
  return connect.apply(this, args);
} as typeof Socket.prototype.connect;

const log = pino({ name: 'kafka-cutover', level: process.env.KAFKA_CUTOVER_LOG_LEVEL ?? 'info' }, pino.destination(2));
await using activities = createActivities({ clusters: readClusters(), log });
await startWorker({ activities: watched(activities), log });
process.exit();
