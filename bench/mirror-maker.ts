/**
 * MirrorMaker 2 as its users run it: dedicated mode, one process, tuned for throughput as the guides of Strimzi and Red Hat say
 * ("Handling high volumes of messages": batch.size 327680, linger.ms 100, fetch.max.bytes 52428800), with a task a partition.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LocalCluster } from '../stack/cluster.ts';
import { logsToStdout } from '../stack/connect.ts';
import { findJava, findMirrorMaker, type KafkaProgram } from '../stack/programs.ts';
import { launchMirroring, type Mirroring } from './mirroring.ts';
import type { RowContext } from './row.ts';

export const mirrorMakerVersion = '4.3.1';

/** connect-mirror-maker.sh and kafka-run-class.sh of the release. */
const jvmOptions = [
  '-Xms256M',
  '-Xmx2G',
  '-server',
  '-XX:+UseG1GC',
  '-XX:MaxGCPauseMillis=20',
  '-XX:InitiatingHeapOccupancyPercent=35',
  '-XX:+ExplicitGCInvokesConcurrent',
  '-Djava.awt.headless=true',
];

/** Of the producers and consumers that copy; the rest is as it comes. */
export const mirrorMakerTuning = {
  producer: {
    acks: 'all',
    'batch.size': '327680',
    'linger.ms': '100',
    'buffer.memory': '67108864',
    'max.request.size': '4194304',
  },
  consumer: {
    'fetch.max.bytes': '52428800',
    'max.partition.fetch.bytes': '8388608',
    'max.poll.records': '5000',
    'receive.buffer.bytes': '1048576',
  },
} as const;

export interface MirrorMakerRun {
  /** Of the source cluster: new for each run, so that nothing is remembered of the one before. */
  readonly alias: string;
  readonly topic: string;
  readonly tasks: number;
  readonly producer?: Readonly<Record<string, string>>;
  readonly consumer?: Readonly<Record<string, string>>;
}

/** What the topic is called where it is written. */
export function mirroredTopic({ alias, topic }: Pick<MirrorMakerRun, 'alias' | 'topic'>): string {
  return `${alias}.${topic}`;
}

export function mirrorMakerProperties(
  run: MirrorMakerRun,
  source: LocalCluster,
  target: LocalCluster,
): Record<string, string> {
  const from = run.alias;
  const login = (prefix: string, cluster: LocalCluster) =>
    cluster
      .clientProperties('cutover')
      .trim()
      .split('\n')
      .map((line): [string, string] => {
        const at = line.indexOf('=');
        return [`${prefix}.${line.slice(0, at)}`, line.slice(at + 1)];
      });
  const prefixed = (prefix: string, settings: Readonly<Record<string, string>>) =>
    Object.entries(settings).map(([key, value]): [string, string] => [`${prefix}.${key}`, value]);
  return {
    clusters: `${from}, target`,
    [`${from}.bootstrap.servers`]: source.bootstrap,
    'target.bootstrap.servers': target.bootstrap,
    ...Object.fromEntries([...login(from, source), ...login('target', target)]),
    [`${from}->target.enabled`]: 'true',
    [`target->${from}.enabled`]: 'false',
    [`${from}->target.topics`]: run.topic,
    'tasks.max': String(run.tasks),
    'replication.factor': '1',
    'offset-syncs.topic.replication.factor': '1',
    'checkpoints.topic.replication.factor': '1',
    'heartbeats.topic.replication.factor': '1',
    'offset.storage.replication.factor': '1',
    'status.storage.replication.factor': '1',
    'config.storage.replication.factor': '1',
    'sync.topic.acls.enabled': 'false',
    // The topics are there already, with the same settings as for our runs.
    'sync.topic.configs.enabled': 'false',
    'dedicated.mode.enable.internal.rest': 'false',
    ...Object.fromEntries(prefixed('target.producer', { ...mirrorMakerTuning.producer, ...run.producer })),
    ...Object.fromEntries(prefixed(`${from}.consumer`, { ...mirrorMakerTuning.consumer, ...run.consumer })),
  };
}

export async function prepareMirrorMaker(say: (line: string) => void): Promise<KafkaProgram & { java: string }> {
  const options = { environment: process.env, onProgress: say };
  const [program, java] = await Promise.all([findMirrorMaker(mirrorMakerVersion, options), findJava(options)]);
  return { ...program, java };
}

export async function startMirrorMaker(context: RowContext, run: MirrorMakerRun): Promise<Mirroring> {
  const { source, target } = context.stack;
  if (!source || !target) throw new Error('MirrorMaker 2 needs clusters that the bench has started');
  const { classpath, java } = await prepareMirrorMaker(context.say);
  const folder = join(context.folder, run.alias);
  mkdirSync(folder, { recursive: true });
  const properties = Object.entries(mirrorMakerProperties(run, source, target));
  const file = join(folder, 'mm2.properties');
  writeFileSync(file, properties.map(([key, value]) => `${key}=${value}\n`).join(''), { mode: 0o600 });
  const logging = join(folder, 'log4j2.properties');
  writeFileSync(logging, logsToStdout);
  const main = 'org.apache.kafka.connect.mirror.MirrorMaker';
  const args = [...jvmOptions, `-Dlog4j2.configurationFile=${logging}`, '-cp', classpath, main, file];
  return launchMirroring(java, args, { logFile: join(folder, 'mm2.log'), cwd: folder, env: process.env });
}
