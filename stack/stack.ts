/**
 * The local stack: two real Kafka clusters and a real Temporal dev server, without Docker. The demo, the
 * tests and `kafka-cutover stack up|down` share it.
 *
 * What runs is on disk in `dir`: stack.json says what there is, `pids/` which processes. Any process can
 * attach to a stack and stop it.
 */
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CutoverError } from '../contract/errors.ts';
import {
  type ClusterRecord,
  type ExtraListeners,
  type LocalCluster,
  launchCluster,
  localCluster,
  whenClusterReady,
} from './cluster.ts';
import { clusterEntry, clusterEnvironment, clustersYaml, entryFromOutside, envFile } from './clusters-file.ts';
import {
  endProcess,
  identitiesIn,
  isAlive,
  type ProcessIdentity,
  startIdentity,
  writeFileAtomically,
} from './processes.ts';
import { findJava, findKafka, findTemporal, type ProgramOptions } from './programs.ts';
import { type LocalTemporal, startTemporal } from './temporal.ts';

export type { LocalBroker, LocalCluster } from './cluster.ts';
export type { LocalTemporal } from './temporal.ts';

export type StackPart = 'source' | 'target' | 'temporal';

const defaultVersions = { source: '3.9.2', target: '4.3.1' } as const;
const ownUsers = ['cutover', 'mirror-forward', 'mirror-reverse'];
export const applicationUsers = ['app-writer-1', 'app-writer-2', 'app-reader-1', 'app-reader-2'];
/**
 * How long a process may take to end by itself in `stop()`. One broker needs 1 s; three that lose their
 * quorum together would wait for it for minutes. The data is not kept, so SIGKILL loses nothing.
 */
const stopGraceMs = 3000;

export interface StackOptions {
  /** Holds data, logs, stack.json, clusters.yaml and env. What an earlier stack left there is deleted. */
  readonly dir: string;
  /** Per cluster; 1 by default. 3 have replication factor 3 and min.insync.replicas 2. */
  readonly brokers?: 1 | 3 | { readonly source: 1 | 3; readonly target: 1 | 3 };
  /** All three by default. */
  readonly parts?: readonly StackPart[];
  /** Apache Kafka's versions; 3.9.2 and 4.3.1 by default. KAFKA_HOME_SOURCE and _TARGET say their own. */
  readonly sourceVersion?: string;
  readonly targetVersion?: string;
  /** SCRAM users beside our own three and the four demo applications. */
  readonly users?: readonly string[];
  /** Added to server.properties; wins over ours. */
  readonly brokerConfig?: {
    readonly source?: Readonly<Record<string, string>>;
    readonly target?: Readonly<Record<string, string>>;
  };
  /** Listeners beside the SCRAM one, the same on both clusters; `systemProperties` go to the brokers' JVMs. */
  readonly listeners?: ExtraListeners;
  readonly systemProperties?: Readonly<Record<string, string>>;
  readonly onProgress?: (line: string) => void;
  /** Aborting ends what was started and rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Where programs and addresses from outside are looked up; process.env by default. */
  readonly environment?: NodeJS.ProcessEnv;
}

export interface Stack extends AsyncDisposable {
  readonly dir: string;
  /** Undefined when not asked for, or when it comes from outside. */
  readonly source?: LocalCluster;
  readonly target?: LocalCluster;
  readonly temporal?: LocalTemporal;
  /** A clusters.yaml with `legacy` (source) and `next` (target). */
  readonly clustersFile: string;
  /** What clustersFile refers to, KAFKA_CUTOVER_CLUSTERS, TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE. */
  readonly env: Record<string, string>;
  /** Ends every process of the stack and waits for it; logs stay. Safe to call twice. */
  stop(): Promise<void>;
}

interface StackRecord {
  readonly version: 1;
  readonly state: 'starting' | 'running';
  readonly starter: ProcessIdentity;
  readonly source?: ClusterRecord;
  readonly target?: ClusterRecord;
  readonly temporal?: LocalTemporal;
  readonly env: Record<string, string>;
}

/**
 * Starts the parts that are asked for, all at once, and returns when each of them answers.
 *
 * @throws CutoverError STACK_UNAVAILABLE: a program is missing, a broker died (with the end of its log), or
 *   a stack runs in `dir` already. Whatever had been started is ended first.
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const dir = resolve(options.dir);
  const parts = new Set(options.parts ?? (['source', 'target', 'temporal'] as const));
  const users = [...new Set([...ownUsers, ...applicationUsers, ...(options.users ?? [])])];
  const odd = users.find((user) => !/^[A-Za-z0-9._-]+$/.test(user) || user === 'broker');
  if (odd !== undefined) throw new Error(`user ${odd}: letters, digits, dot, dash and underscore only, and not broker`);
  const environment = options.environment ?? process.env;
  const onProgress = options.onProgress ?? (() => undefined);
  options.signal?.throwIfAborted();

  const starter = claimFolder(dir);
  const failure = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, failure.signal]) : failure.signal;
  const programs: ProgramOptions = { environment, onProgress, signal };
  const began = performance.now();
  const say = (line: string) => onProgress(`${line} (${((performance.now() - began) / 1000).toFixed(1)} s)`);
  const outside = { source: environment.KAFKA_CUTOVER_STACK_SOURCE, target: environment.KAFKA_CUTOVER_STACK_TARGET };

  const startKafka = async (name: 'source' | 'target') => {
    if (!parts.has(name)) return {};
    if (outside[name]) {
      const entry = entryFromOutside(environment.KAFKA_CUTOVER_STACK_CLUSTERS, name, outside[name]);
      say(`${name}: ${outside[name]}, from outside`);
      return { entry };
    }
    const wanted = (name === 'source' ? options.sourceVersion : options.targetVersion) ?? defaultVersions[name];
    const [java, program] = await Promise.all([findJava(programs), findKafka(name, wanted, programs)]);
    const { brokers: wantedBrokers = 1 } = options;
    const brokers = typeof wantedBrokers === 'object' ? wantedBrokers[name] : wantedBrokers;
    onProgress(`${name}: starting Apache Kafka ${program.version}, ${brokers} ${brokers === 1 ? 'broker' : 'brokers'}`);
    const record = await launchCluster(
      {
        name,
        folder: join(dir, name),
        pidFolder: join(dir, 'pids'),
        program,
        java,
        brokers,
        users,
        brokerConfig: options.brokerConfig?.[name] ?? {},
        ...(options.listeners && { listeners: options.listeners }),
        ...(options.systemProperties && { systemProperties: options.systemProperties }),
      },
      signal,
    );
    await whenClusterReady(record, signal);
    const cluster = localCluster(record);
    say(`${name}: Apache Kafka ${record.version} at ${cluster.bootstrap}`);
    return { record, entry: clusterEntry(cluster), env: clusterEnvironment(cluster) };
  };

  const startTemporalServer = async (): Promise<LocalTemporal | undefined> => {
    if (!parts.has('temporal')) return undefined;
    const cliPath = await findTemporal(programs);
    const address = temporalFromOutside(environment);
    if (address) {
      say(`temporal: ${address}, from outside`);
      const namespace = environment.TEMPORAL_NAMESPACE || 'default';
      return { address, namespace, uiUrl: null, cliPath, pid: null };
    }
    const server = await startTemporal(join(dir, 'temporal'), join(dir, 'pids', 'temporal.json'), cliPath, signal);
    say(`temporal: ${server.address}, UI ${server.uiUrl}`);
    return server;
  };

  const starting = [startKafka('source'), startKafka('target'), startTemporalServer()] as const;
  try {
    const [source, target, temporal] = await Promise.all(starting);
    const env: Record<string, string> = {
      ...source.env,
      ...target.env,
      KAFKA_CUTOVER_CLUSTERS: join(dir, 'clusters.yaml'),
      ...(temporal && { TEMPORAL_ADDRESS: temporal.address, TEMPORAL_NAMESPACE: temporal.namespace }),
      ...(temporal?.pid && { KAFKA_CUTOVER_STACK_TEMPORAL: temporal.address }),
      ...(temporal?.uiUrl && { KAFKA_CUTOVER_UI: temporal.uiUrl }),
    };
    writeFileAtomically(join(dir, 'clusters.yaml'), clustersYaml({ source: source.entry, target: target.entry }));
    writeFileAtomically(join(dir, 'env'), envFile(env));
    const record: StackRecord = {
      version: 1,
      state: 'running',
      starter,
      ...(source.record && { source: source.record }),
      ...(target.record && { target: target.record }),
      ...(temporal && { temporal }),
      env,
    };
    writeFileAtomically(join(dir, 'stack.json'), JSON.stringify(record, null, 1));
    return stackOf(dir, record);
  } catch (error) {
    failure.abort(error);
    await Promise.allSettled(starting); // nobody launches anything any more once these have ended
    await stopStack(dir);
    throw error;
  }
}

/**
 * The stack that another process started in `dir`.
 *
 * @throws CutoverError STACK_UNAVAILABLE when none runs there, or part of it has died
 */
export async function attachStack(dir: string): Promise<Stack> {
  const folder = resolve(dir);
  const refuse = (found: string, next: string) =>
    new CutoverError('STACK_UNAVAILABLE', { what: 'no stack to attach to', where: folder, found, next });
  const record = readRecord(folder);
  if (!record) throw refuse('no stack.json', 'Start one: `kafka-cutover stack up`.');
  if (record.state === 'starting') throw refuse('one that is still starting, or died at it', 'Wait for it.');
  const dead = [...identitiesIn(join(folder, 'pids'))].filter(([, identity]) => !isAlive(identity));
  if (dead.length > 0) {
    const names = dead.map(([name]) => name).join(', ');
    throw refuse(`${names} not running`, 'Stop the rest and start again: `kafka-cutover stack down`, `stack up`.');
  }
  return stackOf(folder, record);
}

/**
 * Ends every process of the stack in `dir`, whoever started it, and forgets it. Logs and data stay until
 * the next start. Does nothing where no stack is. A process is signalled only when its pid and start time
 * are the ones written down.
 */
export async function stopStack(dir: string): Promise<void> {
  const folder = resolve(dir);
  const pids = join(folder, 'pids');
  const record = readRecord(folder);
  if (record?.state === 'starting' && record.starter.pid !== process.pid && isAlive(record.starter)) {
    throw new CutoverError('STACK_UNAVAILABLE', {
      what: 'the stack is still being started, and would start more once this has stopped it',
      where: folder,
      found: `process ${record.starter.pid}`,
      next: 'Interrupt that process, which ends what it started, or wait for it.',
    });
  }
  await Promise.all([...identitiesIn(pids).values()].map((identity) => endProcess(identity, stopGraceMs)));
  rmSync(pids, { recursive: true, force: true });
  rmSync(join(folder, 'env'), { force: true });
  rmSync(join(folder, 'stack.json'), { force: true });
}

function stackOf(dir: string, record: StackRecord): Stack {
  const stop = () => stopStack(dir);
  return {
    dir,
    ...(record.source && { source: localCluster(record.source) }),
    ...(record.target && { target: localCluster(record.target) }),
    ...(record.temporal && { temporal: record.temporal }),
    clustersFile: join(dir, 'clusters.yaml'),
    env: record.env,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/**
 * Makes `dir` ours: one starter at a time, nothing running, and empty of what an earlier stack left.
 * stack.json is created exclusively, so of two starters one is refused.
 */
function claimFolder(dir: string): ProcessIdentity {
  const starter: ProcessIdentity = { pid: process.pid, started: startIdentity(process.pid) ?? '' };
  const marker = join(dir, '.kafka-cutover-stack');
  const refuse = (what: string, found: string, next: string) =>
    new CutoverError('STACK_UNAVAILABLE', { what, where: dir, found, next });

  mkdirSync(dir, { recursive: true, mode: 0o700 });
  if (!existsSync(marker) && readdirSync(dir).length > 0) {
    throw refuse('the folder holds other things than a stack', 'files that are not ours', 'Choose an empty folder.');
  }
  const alive = [...identitiesIn(join(dir, 'pids'))].filter(([, identity]) => isAlive(identity)).map(([name]) => name);
  if (alive.length > 0) {
    throw refuse('a stack runs there already', alive.join(', '), 'Use it, or stop it: `kafka-cutover stack down`.');
  }
  const earlier = readRecord(dir);
  if (earlier?.state === 'starting' && isAlive(earlier.starter)) {
    throw refuse('a stack is being started there', `by process ${earlier.starter.pid}`, 'Wait for it.');
  }
  const file = join(dir, 'stack.json');
  if (earlier) rmSync(file, { force: true });
  const claim: StackRecord = { version: 1, state: 'starting', starter, env: {} };
  try {
    const descriptor = openSync(file, 'wx', 0o600);
    writeFileSync(descriptor, JSON.stringify(claim));
    closeSync(descriptor);
  } catch (error) {
    throw refuse('a stack is being started there', (error as Error).message, 'Wait for it.');
  }
  writeFileSync(marker, 'kafka-cutover deletes and rewrites what is in this folder.\n');
  for (const name of ['source', 'target', 'temporal', 'pids', 'clusters.yaml', 'env']) {
    rmSync(join(dir, name), { recursive: true, force: true });
  }
  mkdirSync(join(dir, 'pids'), { mode: 0o700 });
  return starter;
}

function readRecord(dir: string): StackRecord | null {
  try {
    return JSON.parse(readFileSync(join(dir, 'stack.json'), 'utf8')) as StackRecord;
  } catch {
    return null;
  }
}

/**
 * TEMPORAL_ADDRESS, unless it is a stack's own: a shell that has sourced one stack's `env` would otherwise
 * start the next stack without a server and find the old address dead.
 */
function temporalFromOutside(environment: NodeJS.ProcessEnv): string | null {
  const address = environment.TEMPORAL_ADDRESS;
  return address && address !== environment.KAFKA_CUTOVER_STACK_TEMPORAL ? address : null;
}
