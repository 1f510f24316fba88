/** The write pause of whole cutovers: the last acknowledgement on the source to the first one on the target, and what it was spent on. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { parse, stringify } from 'yaml';
import { CutoverClient } from '../../client/cutover-client.ts';
import { type PlanInput, parsePlan } from '../../contract/plan.ts';
import { workflowId } from '../../contract/status.ts';
import { type Acl, awaitAcls, createAcls } from '../../kafka/acls.ts';
import { commitOffsets } from '../../kafka/groups.ts';
import { freePorts } from '../../stack/ports.ts';
import { startStack } from '../../stack/stack.ts';
import { endWithBench } from '../child.ts';
import type { Row, RowContext, Sample } from '../row.ts';
import { column, figure } from '../statistics.ts';
import type { Stint, SwitchReport } from '../switching-producers.ts';
import { createSourceTopic, partitionsOf, readableEnds } from '../topic-pair.ts';

const migration = 'bench-pause';
const topic = 'bench-pause.events';
const partitions = 100;
const groups = Array.from({ length: 50 }, (_, n) => `bench-pause-${n}`);
const recordsPerSecond = 5_000;
const valueBytes = 1_000;
const writer = 'app-writer-1';
/** Before the first run, not counted: brokers and workers that run for months are measured. */
const warmUps = 2;
/** Between two moves. */
const writingMs = 3_000;
const moveTimeoutMs = 120_000;

/** In the order in which they follow one another without a gap: together they are the pause. */
const phases = ['fenceMs', 'proofMs', 'offsetsMs', 'openingMs', 'clientMs'] as const;

export const writePause: Row = {
  name: 'write-pause',
  work: 'a cutover under 5 MB/s of live writes, 100 partitions, 50 groups: last acknowledgement on the source to the first on the target',
  aims: [
    { what: 'ms, median', wanted: 1_000, better: 'less', reached: ({ ours }) => figure(column(ours, 'pauseMs')) },
    {
      what: 'ms, largest',
      wanted: 3_000,
      better: 'less',
      reached: ({ ours }) => ({ ...figure(column(ours, 'pauseMs')), value: Math.max(...column(ours, 'pauseMs')) }),
    },
  ],
  shown: ['pauseMs', ...phases, 'drainMs', 'auditMs', 'backMs'],
  run,
};

async function run(context: RowContext): ReturnType<Row['run']> {
  const { source, runs, say } = context;
  const places = partitionsOf(topic, partitions);
  await createSourceTopic(source, topic, partitions);
  const allowed = (['write', 'describe'] as const).map(
    (operation): Acl => ({
      principal: `User:${writer}`,
      host: '*',
      operation,
      permission: 'allow',
      resourceType: 'topic',
      patternType: 'literal',
      resourceName: topic,
    }),
  );
  await createAcls(source, allowed);
  await awaitAcls(source, { present: allowed });
  const commit = async (n: number) => {
    const positions = places.map((place) => ({ ...place, offset: BigInt(n), metadata: null }));
    for (const group of groups) await commitOffsets(source, group, positions);
  };
  await commit(0);

  await using estate = await startEstate(context);
  const ours: Sample[] = [];
  for (let n = -warmUps; n < runs; n++) {
    await sleep(writingMs);
    // Positions that differ from run to run, so that each of them has to be written.
    await commit(n + warmUps + 1);
    const sample = await estate.thereAndBack();
    if (n >= 0) ours.push(sample);
    const split = phases.map((phase) => `${phase.replace('Ms', '')} ${sample[phase]}`).join(', ');
    say(
      `${n < 0 ? 'warming up' : `run ${n + 1} of ${runs}`}: ${sample.pauseMs} ms (${split}); back ${sample.backMs} ms`,
    );
  }
  const { acknowledged } = await estate.finish();
  // The application is at home on the source again, with all that the target took in between.
  const ends = await readableEnds(source, topic, partitions);
  const written = ends.reduce((sum, end) => sum + end, 0n);
  if (written !== BigInt(acknowledged)) throw new Error(`${written} records where ${acknowledged} were acknowledged`);
  return {
    ours,
    peer: [],
    conditions: {
      load: `${recordsPerSecond} records of ${valueBytes} bytes a second from two kafkajs producers, one request of all partitions at a time; what is refused is sent again until a cluster takes it; the webhook answers once both have an acknowledgement`,
      groups: `${groups.length} with positions on all partitions, new ones in every run, without members`,
      plan: 'ACL fence, fence.quiet 300 ms, webhook switch, no approvals; rolled back after each move and started again; figures of the way back beside it',
      phases:
        "fence: last acknowledgement to rules in force; proof: fence proven, beside it what is left copied and audited, the mirror shut out, settings restored; opening: decision, rules gone; client: webhook to first acknowledgement; from Temporal's history and the producers' clocks, same machine",
      proof: `after all moves the source held as many records as were acknowledged`,
      warmUp: `${warmUps} moves there and back, not counted`,
    },
  };
}

interface Estate extends AsyncDisposable {
  thereAndBack(): Promise<Sample>;
  finish(): Promise<SwitchReport>;
}

/** Temporal, a worker and the application, each a process of its own. */
async function startEstate({ stack, folder }: RowContext): Promise<Estate> {
  await using disposal = new AsyncDisposableStack();
  const { source, target } = stack;
  if (!source || !target) throw new Error("both clusters must be the bench's own");
  const server = disposal.use(await startStack({ dir: join(folder, 'temporal'), parts: ['temporal'] }));
  const [port = 0] = await freePorts(1);
  const secret = randomBytes(24).toString('hex');
  const clustersFile = join(folder, 'clusters.yaml');
  const webhooks = { deployer: { url: `http://127.0.0.1:${port}/webhook`, secret: { env: 'BENCH_WEBHOOK_SECRET' } } };
  writeFileSync(clustersFile, stringify({ ...parse(readFileSync(stack.clustersFile, 'utf8')), webhooks }));
  const env = {
    ...stack.env,
    ...server.env,
    KAFKA_CUTOVER_CLUSTERS: clustersFile,
    BENCH_WEBHOOK_SECRET: secret,
  };
  const start = (name: string, file: string, args: readonly string[], own: Record<string, string>) => {
    const log = openSync(join(folder, `${name}.log`), 'a');
    const path = join(import.meta.dirname, '..', '..', file);
    const child = spawn(process.execPath, ['--disable-warning=TimeoutNegativeWarning', path, ...args], {
      env: { ...process.env, ...own },
      stdio: ['ignore', log, log],
    });
    disposal.defer(() => void endWithBench(child).kill('SIGKILL'));
  };
  const logins = { legacy: source, next: target };
  start('producers', 'bench/switching-producers.ts', [], {
    APP_NAME: 'bench-pause',
    APP_PORT: String(port),
    APP_WEBHOOK_SECRET: secret,
    APP_CLUSTERS: JSON.stringify(
      Object.fromEntries(
        Object.entries(logins).map(([name, { bootstrap, users }]) => [
          name,
          { bootstrap, username: writer, password: users[writer] },
        ]),
      ),
    ),
    APP_CLUSTER: 'legacy',
    APP_TOPICS: JSON.stringify({ [topic]: partitions }),
    APP_RATE: String(recordsPerSecond),
    APP_VALUE_BYTES: String(valueBytes),
  });
  start('worker', 'bin/kafka-cutover.js', ['worker'], env);
  const client = disposal.use(await CutoverClient.connect({ ...process.env, ...env }));
  const connection = await Connection.connect({ address: server.env.TEMPORAL_ADDRESS ?? '' });
  disposal.defer(() => connection.close());
  const histories = new Client({ connection, namespace: server.env.TEMPORAL_NAMESPACE ?? 'default' });

  const application = `http://127.0.0.1:${port}`;
  const report = async () => (await (await fetch(`${application}/report`)).json()) as SwitchReport;
  const owned = disposal.move();
  return {
    async thereAndBack() {
      const input: PlanInput = {
        name: migration,
        source: 'legacy',
        target: 'next',
        topics: { include: [topic.replace('.', '\\.')] },
        groups: { include: [`${migration}-\\d+`] },
        producers: { switch: 'webhook', webhook: 'deployer' },
        consumers: { switch: 'webhook', webhook: 'deployer' },
        gates: { cutover: { approvals: 0 } },
      };
      await client.start(input, parsePlan(input, migration));
      await when(async () => {
        const { status, ending } = await client.observe(migration);
        if (ending || (status.state === 'waiting' && !status.gates.some(({ gate }) => gate === 'finalize'))) {
          throw new Error(`stopped: ${JSON.stringify({ ...status, steps: undefined })} ${JSON.stringify(ending)}`);
        }
        return status.gates.some(({ gate }) => gate === 'finalize');
      });
      const there = await report();
      const spent = await phasesOf(histories);
      await sleep(writingMs);
      await client.send(migration, 'rollback', { by: 'bench', reason: 'the next run' }, null);
      await when(async () => (await client.observe(migration)).ending !== null);
      const back = await report();
      return { ...split(pauseOf(there.stints), spent), backMs: pauseOf(back.stints).ms };
    },
    finish: async () => (await (await fetch(`${application}/finish`, { method: 'POST' })).json()) as SwitchReport,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

interface Pause {
  readonly lastAt: number;
  readonly firstAt: number;
  readonly ms: number;
}

/** The longest of the producers' own. */
function pauseOf(stints: readonly (readonly Stint[])[]): Pause {
  const pauses = stints.map((own) => {
    const [left, entered] = [own.at(-2), own.at(-1)];
    if (!left || !entered) throw new Error('a producer has not moved');
    return { lastAt: left.lastAt, firstAt: entered.firstAt, ms: entered.firstAt - left.lastAt };
  });
  return pauses.reduce((longest, one) => (one.ms > longest.ms ? one : longest));
}

interface Phases {
  /** When each but the last was over; milliseconds since 1970. */
  readonly ends: readonly number[];
  /** Beside the proof. */
  readonly drainMs: number;
  readonly auditMs: number;
}

async function phasesOf(client: Client): Promise<Phases> {
  const { events = [] } = await client.workflow.getHandle(workflowId(migration)).fetchHistory();
  const names = new Map<string, string>();
  const ended = new Map<string, { readonly at: number; readonly said: string }>();
  for (const event of events ?? []) {
    const scheduled = event.activityTaskScheduledEventAttributes;
    if (scheduled) names.set(String(event.eventId), scheduled.activityType?.name ?? '');
    const completed = event.activityTaskCompletedEventAttributes;
    if (!completed) continue;
    const name = names.get(String(completed.scheduledEventId)) ?? '';
    const { seconds, nanos } = event.eventTime ?? {};
    const said = Buffer.from(completed.result?.payloads?.[0]?.data ?? []).toString();
    ended.set(name, { at: Number(seconds) * 1_000 + Number(nanos) / 1e6, said });
  }
  const end = (name: string) => {
    const found = ended.get(name);
    if (!found) throw new Error(`${name} is not in the history`);
    return found;
  };
  const took = (what: RegExp) => Number(what.exec(end('drainToBoundary').said)?.[1]);
  const held = Math.max(...['proveFence', 'shutOutMirror', 'restoreSettings'].map((name) => end(name).at));
  return {
    ends: [end('closeWrites').at, held, end('moveGroups').at, end('openWrites').at],
    drainMs: took(/settled in (\d+) ms/) + took(/copied in (\d+) ms/),
    auditMs: took(/audited in (\d+) ms/),
  };
}

function split({ lastAt, firstAt, ms }: Pause, { ends, drainMs, auditMs }: Phases): Sample {
  const marks = [lastAt, ...ends, firstAt];
  const sample: Record<string, number> = { pauseMs: ms, drainMs, auditMs };
  phases.forEach((phase, n) => {
    sample[phase] = Math.round((marks[n + 1] as number) - (marks[n] as number));
  });
  return sample;
}

async function when(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + moveTimeoutMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${moveTimeoutMs} ms`);
    await sleep(100);
  }
}
