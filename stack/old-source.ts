/**
 * A cluster of an age: one broker of Kafka 2.5, under ZooKeeper, which keeps message formats v0 and v1, knows no topic ids, and does not tell
 * of producers or transactions. The oldest that we read (kafka/older-requests.ts). For tests; no logins.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection, metadataV9 } from '@platformatic/kafka';
import type { LocalCluster } from './cluster.ts';
import { freePorts } from './ports.ts';
import { endProcess, isAlive, launch } from './processes.ts';

/** Runs on Java 17, though it was made for 11. */
export const oldKafkaVersion = '2.5.1';

const readyTimeoutMs = 120_000;
const readyPollMs = 200;
const brokerGraceMs = 10_000;

export interface OldSource {
  /** `host:port`, without a login. */
  readonly bootstrap: string;
  stop(): Promise<void>;
}

/** `kafka` is any before 4.0, whose jars include ZooKeeper. */
export async function startOldSource(dir: string, kafka: Pick<LocalCluster, 'java' | 'classpath'>): Promise<OldSource> {
  const [zooKeeperPort = 0, port = 0] = await freePorts(2);
  mkdirSync(dir, { recursive: true });
  const logging = join(dir, 'log4j.properties');
  writeFileSync(
    logging,
    'log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\nlog4j.appender.out.layout=org.apache.log4j.SimpleLayout\n',
  );
  const settings = {
    'broker.id': 1,
    'zookeeper.connect': `127.0.0.1:${zooKeeperPort}`,
    'zookeeper.connection.timeout.ms': readyTimeoutMs,
    listeners: `PLAINTEXT://127.0.0.1:${port}`,
    'log.dirs': join(dir, 'data'),
    'auto.create.topics.enable': false,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 1,
    'log.cleaner.dedupe.buffer.size': 32 << 20,
  };
  const settingsFile = join(dir, 'server.properties');
  writeFileSync(
    settingsFile,
    Object.entries(settings)
      .map(([key, value]) => `${key}=${value}\n`)
      .join(''),
  );
  const start = (name: string, args: readonly string[]) =>
    launch(join(dir, `${name}.pid`), {
      command: kafka.java,
      args: ['-Xmx384m', '-XX:+UseSerialGC', `-Dlog4j.configuration=file:${logging}`, '-cp', kafka.classpath, ...args],
      cwd: dir,
      logFile: join(dir, `${name}.log`),
    });
  const zooKeeper = start('zookeeper', [
    '-Dzookeeper.admin.enableServer=false',
    'org.apache.zookeeper.server.ZooKeeperServerMain',
    zooKeeperSettings(dir, zooKeeperPort),
  ]);
  const broker = start('broker', ['kafka.Kafka', settingsFile]);
  const stop = async () => {
    await endProcess(broker, brokerGraceMs);
    await endProcess(zooKeeper, 0);
  };
  const deadline = performance.now() + readyTimeoutMs;
  while (!(await answers(port))) {
    if (performance.now() > deadline || !isAlive(broker) || !isAlive(zooKeeper)) {
      await stop();
      throw new Error(`the old source did not start: see ${dir}/broker.log and zookeeper.log`);
    }
    await sleep(readyPollMs);
  }
  return { bootstrap: `127.0.0.1:${port}`, stop };
}

function zooKeeperSettings(dir: string, port: number): string {
  const file = join(dir, 'zookeeper.properties');
  writeFileSync(
    file,
    `dataDir=${join(dir, 'zookeeper')}\nclientPort=${port}\nclientPortAddress=127.0.0.1\ntickTime=2000\n`,
  );
  return file;
}

async function answers(port: number): Promise<boolean> {
  const connection = new Connection('kafka-cutover-stack', { connectTimeout: 2_000, requestTimeout: 5_000 });
  connection.on('error', () => undefined); // tried again
  try {
    await connection.connect('127.0.0.1', port);
    return (await metadataV9.api.async(connection, [])).brokers.length === 1;
  } catch {
    return false;
  } finally {
    await Promise.resolve(connection.close()).catch(() => undefined);
  }
}
