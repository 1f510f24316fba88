/**
 * A real schema registry: Apicurio's, which serves Confluent's API and keeps what it knows in a topic of the cluster. It gives ids of its own alone:
 * in no mode does it take others'. For tests.
 */
import { mkdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalCluster } from './cluster.ts';
import { freePorts } from './ports.ts';
import { endProcess, isAlive, launch } from './processes.ts';
import { findSchemaRegistry, registryJar } from './programs.ts';

/** The last that runs on Java 17. */
export const registryVersion = '3.0.9';

const readyTimeoutMs = 120_000;
const readyPollMs = 100;

export interface LocalRegistry {
  /** Of Confluent's API. */
  readonly url: string;
  stop(): Promise<void>;
}

/** @param topic that it keeps its schemas in; it and `<topic>-snapshots` must be there, with one partition */
export async function startSchemaRegistry(
  dir: string,
  cluster: Pick<LocalCluster, 'java' | 'bootstrap' | 'clientProperties'>,
  user: string,
  topic: string,
): Promise<LocalRegistry> {
  const program = await findSchemaRegistry(registryVersion, { environment: process.env, onProgress: () => undefined });
  const [port = 0] = await freePorts(1);
  mkdirSync(dir, { recursive: true });
  const login = cluster
    .clientProperties(user)
    .split('\n')
    .map((line) => /^([^=]+)=(.*)$/.exec(line))
    .filter((pair) => pair !== null)
    .map(([, name, value]) => [`apicurio.kafka.common.${name}`, value ?? ''] as const);
  const settings = [
    ['quarkus.http.port', String(port)],
    ['quarkus.http.host', '127.0.0.1'],
    ['apicurio.storage.kind', 'kafkasql'],
    ['apicurio.kafkasql.bootstrap.servers', cluster.bootstrap],
    ['apicurio.kafkasql.topic', topic],
    ['apicurio.kafkasql.snapshots.topic', `${topic}-snapshots`],
    ['apicurio.kafkasql.topic.auto-create', 'false'],
    // Without that topic each change would wait for it for a minute.
    ['apicurio.events.kafka.topic', `${topic}-snapshots`],
    ['apicurio.kafkasql.consumer.poll.timeout', '50'],
    ['apicurio.storage.snapshot.location', dir],
    ...login,
  ];
  // As environment variables: passwords on a command line are for everybody to see.
  const variables = settings.map(([name, value]) => [
    String(name)
      .toUpperCase()
      .replace(/[^A-Z0-9]/g, '_'),
    value,
  ]);
  const registry = launch(join(dir, 'registry.pid'), {
    command: cluster.java,
    args: [
      '-Xmx256m',
      '-XX:+UseSerialGC',
      '-XX:TieredStopAtLevel=1',
      '-jar',
      join(program, registryJar(registryVersion)),
    ],
    cwd: dir,
    env: { ...process.env, ...Object.fromEntries(variables) },
    logFile: join(dir, 'registry.log'),
  });
  const stop = () => endProcess(registry, 0);
  const url = `http://127.0.0.1:${port}/apis/ccompat/v7`;
  const deadline = performance.now() + readyTimeoutMs;
  while (!(await answers(`${url}/subjects`))) {
    if (performance.now() > deadline || !isAlive(registry)) {
      await stop();
      throw new Error(`the schema registry did not start: see ${dir}/registry.log`);
    }
    await sleep(readyPollMs);
  }
  return { url, stop };
}

function answers(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asking = request(url, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    asking.on('error', () => resolve(false));
    asking.end();
  });
}
