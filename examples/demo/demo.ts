/**
 * `npm run demo`: a live topic moves between two real Kafka clusters, back, and (but with MirrorMaker 2) there again, while two producers
 * never stop counting and two consumer groups check what they are given. Everything is real: two clusters, Temporal
 * with its UI, a worker, the `kafka-cutover` and `temporal` commands, and people's approvals.
 *
 *   npm run demo [-- --keep] [-- --json] [-- --brokers 3] [-- --replicator mirrormaker2] [-- --dir DIR]
 *
 * Reads from top to bottom as what happens. Exits 0 when nothing was lost, duplicated or reordered, all records are equal and all positions exact, and,
 * with our own replicator, all offsets are equal; else 1; 130 when interrupted.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Kafka } from 'kafkajs';
import { parse, stringify } from 'yaml';
import { CutoverClient } from '../../client/cutover-client.ts';
import { count, duration } from '../../client/units.ts';
import { replicatorKinds } from '../../contract/replicators.ts';
import { readClusters } from '../../kafka/clusters.ts';
import { envFile } from '../../stack/clusters-file.ts';
import { startConnect } from '../../stack/connect.ts';
import { type LocalCluster, startStack } from '../../stack/stack.ts';
import { kafkaClient, type Login } from './application.ts';
import { Applications, historyRecords } from './applications.ts';
import { Children } from './children.ts';
import { Display } from './display.ts';
import { type Inspected, inspect } from './inspect.ts';
import { cutHeads, setUpPlatform } from './platform.ts';
import {
  type DemoResult,
  difference,
  isClean,
  lastSwitch,
  type Move,
  nothingYet,
  positionsOf,
  resultTable,
  stepTimes,
  type Totals,
  worse,
} from './result.ts';
import { Watch, written } from './watch.ts';

const repository = fileURLToPath(new URL('../../', import.meta.url));
const plainPlanFile = fileURLToPath(new URL('./plan.yaml', import.meta.url));
const replicators = ['exact', 'mirrormaker2'] as const;
/** Name of the Connect cluster that MirrorMaker 2 runs on. */
const connectName = 'onprem';
const cli = join(repository, 'bin', 'kafka-cutover.js');
/** The plan's name. */
const migration = 'orders';
const historyTimeoutMs = 60_000;
const commandTimeoutMs = 60_000;
/** How long the applications write on a cluster before the next thing happens. */
const lingerMs = 4_000;

type ClusterName = 'legacy' | 'next';

interface Demo {
  readonly watch: Watch;
  readonly applications: Applications;
  readonly client: CutoverClient;
  readonly kafka: Readonly<Record<ClusterName, Kafka>>;
  readonly env: Readonly<Record<string, string>>;
  readonly planFile: string;
  readonly temporalCli: string;
  readonly uiUrl: string | null;
}

const { values: options } = parseArgs({
  options: {
    keep: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    brokers: { type: 'string', default: '1' },
    replicator: { type: 'string', default: 'exact' },
    dir: { type: 'string', default: join(repository, '.kafka-cutover', 'demo') },
    help: { type: 'boolean', default: false },
  },
});
const replicator = replicators.find((kind) => kind === options.replicator);
if (options.help || !['1', '3'].includes(options.brokers) || !replicator) {
  const choices = `[-- --brokers 1|3] [-- --replicator ${replicators.join('|')}]`;
  console.error(`npm run demo [-- --keep] [-- --json] ${choices} [-- --dir DIR]`);
  process.exit(options.help ? 0 : 2);
}

const { offsetIdentity } = replicatorKinds[replicator];
const display = new Display();
const interruption = new AbortController();
const { signal } = interruption;
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => interruption.abort(new Error(`interrupted by ${name}`)));
}
process.exitCode = await main(resolve(options.dir), options.brokers === '3' ? 3 : 1);

async function main(dir: string, brokers: 1 | 3): Promise<number> {
  await using cleanup = new AsyncDisposableStack();
  try {
    const demo = await setTheScene(dir, brokers, cleanup);
    const result = await tellTheStory(demo);
    display.end();
    const print = options.json ? console.error : console.log;
    print(`\n${resultTable(result).join('\n')}`);
    if (options.json) console.log(JSON.stringify(result));
    if (options.keep) await keepRunning(dir, demo);
    return isClean(result, offsetIdentity) ? 0 : 1;
  } catch (error) {
    display.end();
    if (signal.aborted) {
      display.say((signal.reason as Error).message);
      return 130;
    }
    display.say((error as Error).message);
    display.say(`logs: ${join(dir, 'logs')}, and those of the brokers and of Temporal below ${join(dir, 'stack')}`);
    if (options.keep) {
      display.say('what runs is left running: Ctrl-C ends it');
      await untilInterrupted();
    }
    return 1;
  }
}

/** Clusters, Temporal, topics, rights, applications and a worker: everything that is there before a migration. */
async function setTheScene(dir: string, brokers: 1 | 3, cleanup: AsyncDisposableStack): Promise<Demo> {
  display.chapter('Two Kafka clusters, Temporal, and four applications');
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const children = await Children.in(dir);
  cleanup.defer(() => children.stop());
  const onProgress = (line: string) => display.say(line);
  const stack = await startStack({ dir: join(dir, 'stack'), brokers, onProgress, signal });
  cleanup.defer(() => stack.stop());
  cleanup.defer(() => children.stop()); // last in, first out: before the clusters that they use
  cleanup.defer(() => display.say('ending the applications, the worker and the clusters'));
  const { source, target, temporal } = stack;
  if (!source || !target || !temporal) {
    throw new Error('the demo needs clusters of its own: unset KAFKA_CUTOVER_STACK_SOURCE and _TARGET');
  }
  const clusters = { legacy: source, next: target };
  const login = (cluster: string, user: string): Login => {
    const { bootstrap, users } = clusters[cluster as ClusterName];
    return { bootstrap, username: user, password: users[user] ?? '' };
  };
  const kafka = {
    legacy: kafkaClient('demo', login('legacy', 'cutover')),
    next: kafkaClient('demo', login('next', 'cutover')),
  };
  await setUpPlatform(readClusters(stack.clustersFile, stack.env).cluster('legacy'), brokers);
  // A log whose oldest records are gone, as any that has been there for longer: no copy that is written anew has its offsets.
  if (!offsetIdentity) await cutHeads(kafka.legacy);
  const connects = await startReplicator(dir, target, cleanup);

  const webhookSecret = randomBytes(24).toString('hex');
  const applications = await Applications.start({
    children,
    login,
    firstCluster: 'legacy',
    clusters: Object.keys(clusters),
    webhookSecret,
    onWebhook: ({ action, who, to }, state, ms) => {
      const what = `webhook: ${action} ${who}${action === 'fence' ? '' : ` to ${to}`}`;
      display.say(state === 'asked' ? what : `${what}: done in ${duration(ms)}`);
    },
  });
  cleanup.defer(() => applications.close());

  // What a user writes by hand: clusters.yaml with the webhook, and the environment that holds the secrets.
  const clustersFile = join(dir, 'clusters.yaml');
  const webhooks = { deployer: { url: applications.webhookUrl, secret: { env: 'DEMO_WEBHOOK_SECRET' } } };
  const clustersYaml = stringify({ ...parse(readFileSync(stack.clustersFile, 'utf8')), webhooks, ...connects });
  writeFileSync(clustersFile, clustersYaml, { mode: 0o600 });
  const env = {
    ...stack.env,
    KAFKA_CUTOVER_CLUSTERS: clustersFile,
    DEMO_WEBHOOK_SECRET: webhookSecret,
    ...(temporal.uiUrl && { KAFKA_CUTOVER_UI: temporal.uiUrl }),
  };
  writeFileSync(join(dir, 'env'), envFile(env), { mode: 0o600 });
  children.start('worker', [cli, 'worker'], env);

  const client = await CutoverClient.connect({ ...process.env, ...env });
  cleanup.use(client);
  const planFile = writePlan(dir);
  const watch = new Watch({ migration, applications, client, children, display, signal });
  return { watch, applications, client, kafka, env, planFile, temporalCli: temporal.cliPath, uiUrl: temporal.uiUrl };
}

/** More of clusters.yaml. */
async function startReplicator(dir: string, target: LocalCluster, cleanup: AsyncDisposableStack): Promise<object> {
  if (replicator !== 'mirrormaker2') return {};
  display.say('starting Kafka Connect, for MirrorMaker 2');
  const worker = await startConnect({
    cluster: target,
    user: 'cutover',
    folder: join(dir, 'connect'),
    groupId: 'demo-connect',
  });
  cleanup.defer(() => worker[Symbol.asyncDispose]());
  return { connects: { [connectName]: { url: worker.url } } };
}

/** The plan as it is, or with the replicator that was asked for. */
function writePlan(dir: string): string {
  if (replicator !== 'mirrormaker2') return plainPlanFile;
  const file = join(dir, 'plan.yaml');
  const text = readFileSync(plainPlanFile, 'utf8').trimEnd();
  writeFileSync(file, `${text}\nreplicator: { kind: ${replicator}, connect: ${connectName} }\n`);
  return file;
}

/** The three moves. */
async function tellTheStory(demo: Demo): Promise<DemoResult> {
  const { watch, client } = demo;
  const history = historyRecords * 2;
  await watch.until('the applications to write and read their history', historyTimeoutMs, ({ reports }) => {
    return written(reports) >= history && reports.consumers.every(({ counts }) => counts.records >= history);
  });
  display.say(`${count(history)} records of history are on legacy, and both producers go on`);

  display.chapter('1. There: from legacy to next');
  await cutOver(demo);
  const there = await finishMove(demo, 'forward', 0, nothingYet);

  display.chapter('2. Back: rolled back, with what was written on next');
  await linger(demo, 'the applications write on next');
  const stepsBefore = (await client.observe(migration)).status.steps.length;
  await run(demo, ['rollback', migration, '--by', 'kafka-owner', '--reason', 'to show the way back']);
  await watch.untilEnded('rolledBack');
  const back = await finishMove(demo, 'reverse', stepsBefore, there.totals);

  if (!offsetIdentity) {
    // Its copies on next would have to be deleted first: what a run has left is gone on with only where offsets are the same.
    display.chapter('The last look: everything that was ever acknowledged');
    if (!options.keep) await watch.meanwhile(demo.applications.finishProducers());
    const last = await lookAt(demo, 'legacy', false);
    const found = difference(last.totals, there.totals);
    return { moves: [there.move, worse(back.move, found, last)], seconds: secondsSoFar() };
  }

  display.chapter('3. There again, for good');
  await linger(demo, 'the applications write on legacy');
  await cutOver(demo);
  const again = await finishMove(demo, 'forward', 0, back.totals);
  await run(demo, ['approve', migration, 'finalize', '--by', 'orders-owner']);
  await watch.untilEnded('completed');
  const steps = stepTimes((await client.observe(migration)).status.steps);

  display.chapter('The last look: everything that was ever acknowledged');
  if (!options.keep) await watch.meanwhile(demo.applications.finishProducers());
  const last = await lookAt(demo, 'next', false);
  const lastMove = worse({ ...again.move, steps }, difference(last.totals, back.totals), last);
  return {
    moves: [there.move, back.move, lastMove],
    seconds: secondsSoFar(),
  };
}

function secondsSoFar(): number {
  return Math.round(performance.now() / 100) / 10;
}

/** Starts the plan and has two people approve it: one with Temporal's own command, one with ours. */
async function cutOver(demo: Demo): Promise<void> {
  await run(demo, ['start', demo.planFile, '--by', 'demo']);
  demo.watch.started = true;
  const gate = await demo.watch.untilGate('cutover');
  for (const fact of gate.facts) display.detail(fact);
  const approval = JSON.stringify({ gate: 'cutover', by: 'kafka-owner' });
  const what = ['workflow', 'signal', '--workflow-id', `cutover/${migration}`];
  await typed(demo, 'temporal', demo.temporalCli, [...what, '--name', 'approve', '--input', approval]);
  await run(demo, ['approve', migration, 'cutover', '--by', 'orders-owner']);
  await demo.watch.untilGate('finalize');
}

/** Everything consumed and compared after a move, and what it was like. */
async function finishMove(
  demo: Demo,
  direction: Move['direction'],
  stepsBefore: number,
  before: Totals,
): Promise<{ move: Move; totals: Totals }> {
  const forward = direction === 'forward';
  // After a move there the reverse mirror runs; after a rollback the migration has ended, and its mirrors with it.
  const { totals, recordsEqual, offsetsEqual, reports } = await lookAt(demo, forward ? 'next' : 'legacy', forward);
  const { status } = await demo.client.observe(migration);
  const steps = stepTimes(status.steps.slice(stepsBefore));
  const positions = positionsOf(status.steps.slice(stepsBefore));
  const { records, writePauseMs } = lastSwitch(reports);
  const found = difference(totals, before);
  display.say(`${count(records)} records moved, write pause ${duration(writePauseMs)}`);
  display.say(
    `${found.lost} lost, ${found.duplicated} duplicated, ${found.reordered} reordered, ${found.replayed} replayed; ` +
      `records ${recordsEqual ? 'equal' : 'NOT EQUAL'}, offsets ${offsetsEqual ? 'equal' : 'NOT EQUAL'}`,
  );
  return { move: { direction, records, ...found, recordsEqual, offsetsEqual, positions, writePauseMs, steps }, totals };
}

function lookAt({ watch, applications, kafka }: Demo, homeName: ClusterName, mirrored: boolean): Promise<Inspected> {
  const other = kafka[homeName === 'next' ? 'legacy' : 'next'];
  return inspect({ watch, applications, display, homeName, home: kafka[homeName], other, mirrored, offsetIdentity });
}

async function linger({ watch }: Demo, why: string): Promise<void> {
  display.say(`${why} for ${duration(lingerMs)}`);
  await watch.meanwhile(sleep(lingerMs));
}

/** Runs `kafka-cutover` as a person would. */
function run(demo: Demo, args: readonly string[]): Promise<void> {
  return typed(demo, 'kafka-cutover', process.execPath, args, [cli]);
}

async function typed(
  { watch, env, planFile }: Demo,
  name: string,
  program: string,
  args: readonly string[],
  before: readonly string[] = [],
): Promise<void> {
  const shown = args.map((arg) => (arg === planFile ? relative(repository, arg) : arg));
  const line = [name, ...shown].map((word) => (/[\s{]/.test(word) ? `'${word}'` : word)).join(' ');
  display.say(`$ ${line}`);
  const ran = new Promise<string>((done, reject) => {
    const how = { env: { ...process.env, ...env }, timeout: commandTimeoutMs, signal };
    execFile(program, [...before, ...args], how, (error, stdout, stderr) => {
      if (!error) done(stdout.trim());
      else reject(new Error(`${line}\n${`${stdout}\n${stderr}`.trim() || error.message}`));
    });
  });
  const said = (await watch.meanwhile(ran)).split('\n');
  for (const text of said.filter((one) => one && !one.startsWith('next:'))) display.detail(text);
}

async function keepRunning(dir: string, { uiUrl }: Demo): Promise<void> {
  console.error(`
Everything keeps running, and the applications keep writing, until Ctrl-C.
  Temporal's UI   ${uiUrl ?? 'that of your Temporal server'}
  in a new shell  . ${relative(process.cwd(), join(dir, 'env'))}
                  npx kafka-cutover status ${migration}
                  npx kafka-cutover report ${migration}
`);
  await untilInterrupted();
}

function untilInterrupted(): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  const alive = setInterval(() => undefined, 60_000);
  return new Promise((done) => {
    signal.addEventListener('abort', () => {
      clearInterval(alive);
      done();
    });
  });
}
