/** MirrorMaker 2 as people run it: on a Kafka Connect worker (distributed mode), or as a dedicated process. For tests, the demo and benchmarks. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { LocalCluster } from './cluster.ts';
import { freePorts } from './ports.ts';
import { endProcess, isAlive, launch, logExcerpt, type ProcessIdentity } from './processes.ts';
import { findJava, findMirrorMaker } from './programs.ts';

/** For `-Dlog4j2.configurationFile`: every line of INFO and above. */
export const logsToStdout = `rootLogger.level=info
rootLogger.appenderRef.stdout.ref=stdout
appender.stdout.type=Console
appender.stdout.name=stdout
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=[%d] %p %m (%c)%n
`;

/** Of the MirrorMaker 2 and the Connect worker that are started. */
export const connectVersion = '4.3.1';

const readyTimeoutMs = 90_000;
const readyPollMs = 100;
const endGraceMs = 15_000;

export interface ConnectWorker extends AsyncDisposable {
  /** Of its REST API. */
  readonly url: string;
  readonly pid: number;
  readonly logFile: string;
  /** SIGKILL, as a machine that is lost. */
  kill(): Promise<void>;
}

export interface ConnectOptions {
  /** Where it keeps its own three topics. */
  readonly cluster: LocalCluster;
  /** A user of that cluster who may create topics. */
  readonly user: string;
  /** Holds its settings and its log. */
  readonly folder: string;
  /** Of the Connect cluster: workers of one group share connectors. */
  readonly groupId: string;
  readonly settings?: Readonly<Record<string, string>>;
}

/** Returns when its REST API answers. */
export async function startConnect(options: ConnectOptions): Promise<ConnectWorker> {
  const { cluster, user, folder, groupId, settings = {} } = options;
  const programs = { environment: process.env, onProgress: () => {} };
  const [{ classpath }, java] = await Promise.all([findMirrorMaker(connectVersion, programs), findJava(programs)]);
  const [port = 0] = await freePorts(1);
  const url = `http://127.0.0.1:${port}`;
  const login = cluster
    .clientProperties(user)
    .trim()
    .split('\n')
    .map((line): [string, string] => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]);
  const replicas = String(cluster.brokers.length);
  const properties = Object.entries({
    'bootstrap.servers': cluster.bootstrap,
    'group.id': groupId,
    listeners: url,
    'config.storage.topic': `${groupId}-configs`,
    'offset.storage.topic': `${groupId}-offsets`,
    'status.storage.topic': `${groupId}-status`,
    'config.storage.replication.factor': replicas,
    'offset.storage.replication.factor': replicas,
    'status.storage.replication.factor': replicas,
    'offset.storage.partitions': '1',
    'status.storage.partitions': '1',
    'key.converter': 'org.apache.kafka.connect.converters.ByteArrayConverter',
    'value.converter': 'org.apache.kafka.connect.converters.ByteArrayConverter',
    // The default of 3 s would be most of a test.
    'group.initial.rebalance.delay.ms': '0',
    'scheduled.rebalance.max.delay.ms': '0',
    'offset.flush.interval.ms': '1000',
    ...Object.fromEntries(['', 'producer.', 'consumer.', 'admin.'].flatMap((p) => login.map(([k, v]) => [p + k, v]))),
    ...settings,
  });
  const { identity, logFile } = launchJava(
    { classpath, java },
    {
      name: 'connect',
      main: 'org.apache.kafka.connect.cli.ConnectDistributed',
      folder,
      properties: properties.map(([key, value]) => `${key}=${value}\n`).join(''),
    },
  );
  const worker: ConnectWorker = {
    url,
    pid: identity.pid,
    logFile,
    kill: () => endProcess(identity, 0),
    [Symbol.asyncDispose]: () => endProcess(identity, endGraceMs),
  };
  const deadline = performance.now() + readyTimeoutMs;
  while (!(await answers(url))) {
    const ended = !isAlive(identity);
    if (ended || performance.now() > deadline) {
      await worker.kill();
      throw new CutoverError('STACK_UNAVAILABLE', {
        what: `the Connect worker ${ended ? 'ended while it started' : `was not ready after ${readyTimeoutMs / 1000} s`}`,
        where: logFile,
        found: `in its log:\n${logExcerpt(logFile)}\n`,
        next: 'Read its log.',
      });
    }
    await sleep(readyPollMs);
  }
  return worker;
}

/** Ends with SIGTERM. */
export interface DedicatedMirrorMaker extends AsyncDisposable {
  readonly pid: number;
  readonly logFile: string;
  /** @throws Error with the end of its log when it has ended */
  check(): void;
}

/** What `connect-mirror-maker.sh FILE` starts; it says nothing when it is ready. @param secrets what the file takes from the environment */
export async function startDedicated(options: {
  readonly properties: string;
  readonly secrets: Readonly<Record<string, string>>;
  /** Holds its file and its log. */
  readonly folder: string;
}): Promise<DedicatedMirrorMaker> {
  const { properties, secrets, folder } = options;
  const programs = { environment: process.env, onProgress: () => {} };
  const [{ classpath }, java] = await Promise.all([findMirrorMaker(connectVersion, programs), findJava(programs)]);
  const { identity, logFile } = launchJava(
    { classpath, java },
    {
      name: 'mirror-maker',
      main: 'org.apache.kafka.connect.mirror.MirrorMaker',
      folder,
      properties,
      env: { ...process.env, ...secrets },
    },
  );
  return {
    pid: identity.pid,
    logFile,
    check() {
      if (!isAlive(identity)) throw new Error(`MirrorMaker 2 has ended: ${logExcerpt(logFile)}`);
    },
    [Symbol.asyncDispose]: () => endProcess(identity, endGraceMs),
  };
}

/** @param run.name of its files in the folder */
function launchJava(
  { classpath, java }: { readonly classpath: string; readonly java: string },
  run: {
    readonly name: string;
    readonly main: string;
    readonly folder: string;
    readonly properties: string;
    readonly env?: Record<string, string | undefined>;
  },
): { readonly identity: ProcessIdentity; readonly logFile: string } {
  const { name, main, folder, properties, env } = run;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `${name}.properties`);
  writeFileSync(file, properties, { mode: 0o600 });
  const logging = join(folder, `${name}-log4j2.properties`);
  writeFileSync(logging, logsToStdout);
  const logFile = join(folder, `${name}.log`);
  const settings = ['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', `-Dlog4j2.configurationFile=${logging}`];
  const args = [...settings, '-cp', classpath, main, file];
  const identity = launch(join(folder, `${name}.pid.json`), {
    command: java,
    args,
    cwd: folder,
    logFile,
    ...(env && { env }),
  });
  return { identity, logFile };
}

/** It takes requests for connectors only once it has joined its group. */
async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/connectors`)).ok;
  } catch {
    return false;
  }
}
