/**
 * One local Kafka cluster: KRaft in combined mode, authorizer on, every listener behind SASL.
 *
 * Applications and our own principals come in through the CLIENT listener (SCRAM). Brokers speak to each
 * other and to the controllers as `User:broker` over SASL/PLAIN: controllers cannot do SCRAM, as its
 * secrets live in the metadata that they are only about to load.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Connection, metadataV12 } from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';
import { freePorts } from './ports.ts';
import {
  endProcess,
  excerpt,
  isAlive,
  launch,
  logExcerpt,
  type ProcessIdentity,
  readIdentity,
  signalProcess,
} from './processes.ts';
import type { KafkaProgram } from './programs.ts';

const run = promisify(execFile);

/** How long a cluster or a restarted broker may take until it answers over the client listener. */
const readyTimeoutMs = 60_000;
/** How long `kill('SIGTERM')` waits: a controlled shutdown moves leaders away first. */
export const brokerGraceMs = 30_000;
const readyPollMs = 100;
const heap = '-Xmx512m';

/** A listener beside the SCRAM one, for clients that come in another way. */
export interface ExtraListener {
  readonly protocol: 'PLAINTEXT' | 'SSL' | 'SASL_PLAINTEXT' | 'SASL_SSL';
  /** Its own settings, without the prefix `listener.name.<name>.`: `ssl.client.auth`, `sasl.enabled.mechanisms`, ... */
  readonly config?: Readonly<Record<string, string>>;
  /** Where the only broker sends its clients instead of its own port: a way there that somebody else makes. */
  readonly advertisedPort?: number;
}

/** By name: lower-case letters and digits. */
export type ExtraListeners = Readonly<Record<string, ExtraListener>>;

export interface ClusterSpec {
  readonly name: 'source' | 'target';
  readonly folder: string;
  readonly pidFolder: string;
  readonly program: KafkaProgram;
  readonly java: string;
  readonly brokers: 1 | 3;
  readonly users: readonly string[];
  readonly brokerConfig: Readonly<Record<string, string>>;
  readonly listeners?: ExtraListeners;
  /** For the brokers' JVMs: `-D<name>=<value>`. */
  readonly systemProperties?: Readonly<Record<string, string>>;
}

/** What stack.json keeps of a cluster: enough to use it, restart its brokers and stop it. */
export interface ClusterRecord {
  readonly name: 'source' | 'target';
  readonly version: string;
  readonly classpath: string;
  readonly java: string;
  readonly folder: string;
  readonly pidFolder: string;
  readonly users: Record<string, string>;
  readonly brokers: readonly {
    readonly id: number;
    readonly port: number;
    readonly listenerPorts?: Readonly<Record<string, number>>;
  }[];
  readonly systemProperties?: Readonly<Record<string, string>>;
}

export interface LocalBroker {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  /** Of the running process, or of the last one. */
  readonly pid: number;
  readonly logFile: string;
  /** Sends a signal; waits until the process is gone for SIGKILL and SIGTERM. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same ports and data, and waits until it answers. STACK_UNAVAILABLE if it dies. */
  start(): Promise<void>;
}

export interface LocalCluster {
  readonly name: 'source' | 'target';
  /** Apache Kafka's, `3.9.2`. */
  readonly version: string;
  /** `host:port,...` of the SCRAM listener. */
  readonly bootstrap: string;
  /** `host:port,...` of each extra listener, by its name. */
  readonly listeners: Readonly<Record<string, string>>;
  /** For `java -cp`: Apache's own tools of this version (`java-tools.ts` runs them). */
  readonly classpath: string;
  readonly java: string;
  readonly brokers: LocalBroker[];
  /** Passwords by SCRAM user. `cutover` is a super user, the others have no rights until given. */
  readonly users: Record<string, string>;
  /** A Java client's `client.properties` to log in as one of `users`, without bootstrap.servers. */
  clientProperties(user: string): string;
}

/** Writes the configuration, formats the data folders and launches the brokers; `whenReady` waits for them. */
export async function launchCluster(spec: ClusterSpec, signal: AbortSignal): Promise<ClusterRecord> {
  const extra = Object.keys(spec.listeners ?? {});
  const portsEach = 3 + extra.length;
  const ports = await freePorts(spec.brokers * portsEach);
  const nodes = Array.from({ length: spec.brokers }, (_, index) => {
    const [client = 0, internal = 0, controller = 0, ...others] = ports.slice(index * portsEach);
    const listenerPorts = Object.fromEntries(extra.map((name, place) => [name, others[place] ?? 0]));
    return { id: index + 1, client, internal, controller, listenerPorts };
  });
  const users = Object.fromEntries(spec.users.map((user) => [user, randomBytes(18).toString('hex')]));
  const brokerPassword = randomBytes(18).toString('hex');
  const voters = nodes.map((node) => `${node.id}@127.0.0.1:${node.controller}`).join(',');

  mkdirSync(spec.folder, { recursive: true, mode: 0o700 });
  writeLogConfig(spec.folder);
  for (const node of nodes) {
    const settings = brokerSettings(node, voters, brokerPassword, join(spec.folder, `data-${node.id}`), spec);
    const lines = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
    writeFileSync(settingsFile(spec.folder, node.id), `${lines.join('\n')}\n`, { mode: 0o600 });
  }

  const clusterId = kafkaUuid();
  await format(spec, clusterId, users, signal);
  for (const node of nodes.slice(1)) copyFormatted(spec.folder, node.id);
  const record: ClusterRecord = {
    name: spec.name,
    version: spec.program.version,
    classpath: spec.program.classpath,
    java: spec.java,
    folder: spec.folder,
    pidFolder: spec.pidFolder,
    users,
    brokers: nodes.map(({ id, client, listenerPorts }) => ({ id, port: client, listenerPorts })),
    ...(spec.systemProperties && { systemProperties: spec.systemProperties }),
  };
  signal.throwIfAborted();
  for (const node of nodes) launchBroker(record, node.id);
  return record;
}

/** Waits until `cutover` can log in to every broker and sees all of them. */
export async function whenClusterReady(record: ClusterRecord, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + readyTimeoutMs;
  await Promise.all(record.brokers.map((broker) => whenBrokerReady(record, broker.id, deadline, signal)));
}

export function localCluster(record: ClusterRecord): LocalCluster {
  const { name, version, classpath, java, users } = record;
  const clientProperties = (user: string) => {
    const password = users[user];
    if (password === undefined) throw new Error(`the ${name} cluster has no user ${user}`);
    return `${[
      'security.protocol=SASL_PLAINTEXT',
      'sasl.mechanism=SCRAM-SHA-512',
      `sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="${user}" password="${password}";`,
    ].join('\n')}\n`;
  };
  const listenerNames = Object.keys(record.brokers[0]?.listenerPorts ?? {});
  return {
    name,
    version,
    classpath,
    java,
    users,
    clientProperties,
    listeners: Object.fromEntries(
      listenerNames.map((listener) => [
        listener,
        record.brokers.map((broker) => `127.0.0.1:${broker.listenerPorts?.[listener]}`).join(','),
      ]),
    ),
    bootstrap: record.brokers.map((broker) => `127.0.0.1:${broker.port}`).join(','),
    brokers: record.brokers.map((broker) => localBroker(record, broker.id, broker.port)),
  };
}

function localBroker(record: ClusterRecord, id: number, port: number): LocalBroker {
  // Another process that is attached may have restarted the broker: the pid file knows.
  const identity = (): ProcessIdentity => readIdentity(pidFile(record, id)) ?? { pid: -1, started: '' };
  return {
    id,
    port,
    host: '127.0.0.1',
    logFile: logFile(record, id),
    get pid() {
      return identity().pid;
    },
    async kill(signal) {
      const target = identity();
      if (signal === 'SIGTERM') return endProcess(target, brokerGraceMs);
      if (signal === 'SIGKILL') return endProcess(target, 0);
      signalProcess(target, signal);
    },
    async start() {
      if (isAlive(identity())) throw new Error(`broker ${id} of the ${record.name} cluster runs already`);
      launchBroker(record, id);
      await whenBrokerReady(record, id, performance.now() + readyTimeoutMs, new AbortController().signal);
    },
  };
}

/** Of KAFKA_CUTOVER_STACK_JAVA_OPTIONS, after our own. */
function brokerJavaOptions(): string[] {
  return (process.env.KAFKA_CUTOVER_STACK_JAVA_OPTIONS ?? '').split(' ').filter((option) => option !== '');
}

function launchBroker(record: ClusterRecord, id: number): void {
  const logging = join(record.folder, 'log4j');
  launch(pidFile(record, id), {
    command: record.java,
    args: [
      heap,
      '-Xms128m',
      '-XX:+UseSerialGC',
      ...brokerJavaOptions(),
      '-Djava.awt.headless=true',
      `-Dkafka.logs.dir=${record.folder}`,
      // 3.9 brings reload4j, which reads the first; 4.x brings log4j 2, which reads the second.
      `-Dlog4j.configuration=file:${logging}.properties`,
      `-Dlog4j2.configurationFile=${logging}2.properties`,
      ...Object.entries(record.systemProperties ?? {}).map(([name, value]) => `-D${name}=${value}`),
      '-cp',
      record.classpath,
      'kafka.Kafka',
      settingsFile(record.folder, id),
    ],
    cwd: record.folder,
    logFile: logFile(record, id),
  });
}

async function whenBrokerReady(record: ClusterRecord, id: number, deadline: number, signal: AbortSignal) {
  const port = record.brokers.find((broker) => broker.id === id)?.port ?? 0;
  const identity = readIdentity(pidFile(record, id));
  const failed = (what: string) =>
    new CutoverError('STACK_UNAVAILABLE', {
      what: `broker ${id} of the ${record.name} cluster (Kafka ${record.version}) ${what}`,
      where: logFile(record, id),
      found: `in its log:\n${logExcerpt(logFile(record, id))}\n`,
      next: 'Read its log. After "Address already in use", start again: other ports are chosen.',
    });
  let reason = '';
  for (;;) {
    signal.throwIfAborted();
    if (!identity || !isAlive(identity)) throw failed('ended while it started');
    const answer = await probe(port, record, id);
    if (answer === null) return;
    reason = answer;
    if (performance.now() > deadline) throw failed(`was not ready after ${readyTimeoutMs / 1000} s (${reason})`);
    await sleep(readyPollMs, undefined, { signal });
  }
}

/**
 * Asks one broker, logged in as `cutover`, who is in its cluster; null when it is and everybody else too.
 * A broker lists itself only once the controller has let it in (unfenced it).
 */
async function probe(port: number, record: ClusterRecord, id: number): Promise<string | null> {
  const connection = new Connection('kafka-cutover-stack', {
    sasl: { mechanism: 'SCRAM-SHA-512', username: 'cutover', password: record.users.cutover ?? '' },
    connectTimeout: 2000,
    requestTimeout: 5000,
  });
  // For good: one that breaks twice (a broker dying while it authenticates) emits again after the first was caught.
  connection.on('error', () => undefined);
  try {
    await connection.connect('127.0.0.1', port);
    const { brokers } = await metadataV12.api.async(connection, []);
    const listed = new Set(brokers.map((broker) => broker.nodeId));
    if (!listed.has(id)) return 'it is not part of its cluster yet';
    return record.brokers.every((broker) => listed.has(broker.id) || !isUp(record, broker.id))
      ? null
      : `it sees ${listed.size} of ${record.brokers.length} brokers`;
  } catch (error) {
    return (error as Error).message;
  } finally {
    await Promise.resolve(connection.close()).catch(() => undefined);
  }
}

/** A broker that a test keeps down is not waited for when another one is restarted. */
function isUp(record: ClusterRecord, id: number): boolean {
  const identity = readIdentity(pidFile(record, id));
  return identity !== null && isAlive(identity);
}

/** Formats the first node's data folder, with all SCRAM users in it. */
async function format(
  spec: ClusterSpec,
  clusterId: string,
  users: Record<string, string>,
  signal: AbortSignal,
): Promise<void> {
  // Both mechanisms for everybody; 4096 iterations is Kafka's minimum (ScramMechanism), kept for speed.
  const scram = Object.entries(users).flatMap(([name, password]) =>
    ['SCRAM-SHA-512', 'SCRAM-SHA-256'].flatMap((mechanism) => [
      '--add-scram',
      `${mechanism}=[name=${name},iterations=4096,password=${password}]`,
    ]),
  );
  const quick = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto'];
  const logging = [
    `-Dlog4j.configuration=file:${spec.folder}/log4j.properties`,
    `-Dlog4j2.configurationFile=${spec.folder}/log4j2.properties`,
  ];
  const tool = ['kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', settingsFile(spec.folder, 1)];
  await run(spec.java, [...quick, ...logging, '-cp', spec.program.classpath, ...tool, ...scram], { signal }).catch(
    (error: Error & { stdout?: string; stderr?: string }) => {
      signal.throwIfAborted();
      // Not error.message: it repeats the command line and the passwords on it.
      throw new CutoverError('STACK_UNAVAILABLE', {
        what: `the data folder of the ${spec.name} cluster (Kafka ${spec.program.version}) could not be formatted`,
        where: join(spec.folder, 'data-1'),
        found: `kafka.tools.StorageTool saying:\n${excerpt(`${error.stdout ?? ''}\n${error.stderr ?? ''}`)}\n`,
        next: 'Check brokerConfig, and the space and rights in the folder.',
      });
    },
  );
}

/**
 * The other nodes hold what the first one does, under their own node and directory id. Copying saves a JVM
 * a node (1.2 CPU-seconds each), and all controllers begin with the same users, whichever leads first.
 */
function copyFormatted(folder: string, id: number): void {
  const first = join(folder, 'data-1');
  const data = join(folder, `data-${id}`);
  cpSync(first, data, { recursive: true });
  const meta = readFileSync(join(first, 'meta.properties'), 'utf8')
    .replace(/^node\.id=.*$/m, `node.id=${id}`)
    .replace(/^directory\.id=.*$/m, `directory.id=${kafkaUuid()}`);
  writeFileSync(join(data, 'meta.properties'), meta);
}

/** As `Uuid.randomUuid` makes them: never with a leading dash, which a command line takes for an option. */
function kafkaUuid(): string {
  return randomBytes(16).toString('base64url').replace(/^-/, 'A');
}

/** server.properties. `brokerConfig` comes last and wins. */
function brokerSettings(
  node: {
    id: number;
    client: number;
    internal: number;
    controller: number;
    listenerPorts: Readonly<Record<string, number>>;
  },
  voters: string,
  brokerPassword: string,
  dataFolder: string,
  spec: ClusterSpec,
): Record<string, string> {
  const replicas = String(spec.brokers);
  const minInSync = spec.brokers === 3 ? '2' : '1';
  const plain = `org.apache.kafka.common.security.plain.PlainLoginModule required username="broker" password="${brokerPassword}" user_broker="${brokerPassword}";`;
  const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule required;';
  const extra = Object.entries(spec.listeners ?? {});
  const listeners = (portOf: (name: string, of: ExtraListener) => number | undefined) => [
    `CLIENT://127.0.0.1:${node.client}`,
    `BROKER://127.0.0.1:${node.internal}`,
    ...extra.map(([name, of]) => `${name.toUpperCase()}://127.0.0.1:${portOf(name, of)}`),
  ];
  const own = (name: string) => node.listenerPorts[name];
  const protocols = ['CLIENT', 'BROKER', 'CONTROLLER'].map((name) => `${name}:SASL_PLAINTEXT`);
  return {
    'process.roles': 'broker,controller',
    'node.id': String(node.id),
    'controller.quorum.voters': voters,
    listeners: [...listeners(own), `CONTROLLER://127.0.0.1:${node.controller}`].join(','),
    'advertised.listeners': listeners((name, { advertisedPort }) => advertisedPort ?? own(name)).join(','),
    'listener.security.protocol.map': [
      ...protocols,
      ...extra.map(([name, { protocol }]) => `${name.toUpperCase()}:${protocol}`),
    ].join(','),
    'inter.broker.listener.name': 'BROKER',
    'controller.listener.names': 'CONTROLLER',

    'sasl.mechanism.inter.broker.protocol': 'PLAIN',
    'sasl.mechanism.controller.protocol': 'PLAIN',
    'listener.name.client.sasl.enabled.mechanisms': 'SCRAM-SHA-512,SCRAM-SHA-256',
    'listener.name.client.scram-sha-512.sasl.jaas.config': scram,
    'listener.name.client.scram-sha-256.sasl.jaas.config': scram,
    'listener.name.broker.sasl.enabled.mechanisms': 'PLAIN',
    'listener.name.broker.plain.sasl.jaas.config': plain,
    'listener.name.controller.sasl.enabled.mechanisms': 'PLAIN',
    'listener.name.controller.plain.sasl.jaas.config': plain,
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users': 'User:broker;User:cutover',
    'allow.everyone.if.no.acl.found': 'false',

    'log.dirs': dataFolder,
    'auto.create.topics.enable': 'false',
    'num.partitions': '1',
    'default.replication.factor': replicas,
    'min.insync.replicas': minInSync,
    'offsets.topic.replication.factor': replicas,
    'offsets.topic.num.partitions': '5',
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': minInSync,
    'transaction.state.log.num.partitions': '5',
    ...(Number.parseInt(spec.program.version, 10) >= 4 && {
      'share.coordinator.state.topic.replication.factor': replicas,
      'share.coordinator.state.topic.min.isr': minInSync,
      'share.coordinator.state.topic.num.partitions': '5',
    }),
    'group.initial.rebalance.delay.ms': '0',

    'num.network.threads': '2',
    'num.io.threads': '4',
    'background.threads': '2',
    'num.recovery.threads.per.data.dir': '1',
    'log.cleaner.dedupe.buffer.size': String(32 << 20), // of the 512 MB heap; the default takes 128
    // A killed broker is missed, and may register again, after one session: the default is 9 s.
    'broker.heartbeat.interval.ms': '500',
    'broker.session.timeout.ms': '3000',
    ...Object.fromEntries(
      extra.flatMap(([name, { config = {} }]) =>
        Object.entries(config).map(([key, value]) => [`listener.name.${name}.${key}`, value]),
      ),
    ),
    ...spec.brokerConfig,
  };
}

/** INFO to stdout (the log file) for brokers; reload4j and log4j 2 want a file each. */
function writeLogConfig(folder: string): void {
  writeFileSync(
    join(folder, 'log4j.properties'),
    `log4j.rootLogger=INFO, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=[%d] %p %m (%c)%n
`,
  );
  writeFileSync(
    join(folder, 'log4j2.properties'),
    `rootLogger.level=info
rootLogger.appenderRef.stdout.ref=stdout
appender.stdout.type=Console
appender.stdout.name=stdout
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=[%d] %p %m (%c)%n
`,
  );
}

const settingsFile = (folder: string, id: number) => join(folder, `server-${id}.properties`);
const logFile = (record: Pick<ClusterRecord, 'folder'>, id: number) => join(record.folder, `broker-${id}.log`);
const pidFile = (record: Pick<ClusterRecord, 'pidFolder' | 'name'>, id: number) =>
  join(record.pidFolder, `${record.name}-${id}.json`);
