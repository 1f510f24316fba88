/**
 * Applications that never stop, each a process of its own: the demo's numbered producers and checking consumers on
 * topics of the test's own, and the deployer that passes kafka-cutover's webhook on to them.
 */
import type { Server } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Login, listen, type RawWebhook, type SwitchRequest } from '../../../examples/demo/application.ts';
import type { ConsumerReport } from '../../../examples/demo/consumer.ts';
import { type Acknowledgement, readAcknowledgements } from '../../../examples/demo/judge.ts';
import type { ProducerReport } from '../../../examples/demo/producer.ts';
import { freePorts } from '../../../stack/ports.ts';
import { Process } from './processes.ts';
import { waitFor } from './waiting.ts';

const requestTimeoutMs = 30_000;
const startTimeoutMs = 90_000;
const producerFile = fileURLToPath(new URL('../../../examples/demo/producer.ts', import.meta.url));
const consumerFile = fileURLToPath(new URL('../../../examples/demo/consumer.ts', import.meta.url));
/** kafkajs 2.2.4 sets timers in the past, which Node 24 warns about and which does no harm. */
const quietWarning = '--disable-warning=TimeoutNegativeWarning';

export interface ApplicationSetup {
  readonly dir: string;
  readonly webhookSecret: string;
  readonly webhookPort: number;
  readonly login: (cluster: string, user: string) => Login;
  /** Partitions by topic. */
  readonly topics: Readonly<Record<string, number>>;
  /** Users that write, one producer each. */
  readonly writers: readonly string[];
  /** Users that read, by their group. */
  readonly readers: Readonly<Record<string, string>>;
  /** Of each producer. */
  readonly recordsPerSecond: number;
  /** Records that each producer writes before anything else. */
  readonly history: number;
}

export interface Reports {
  readonly producers: readonly ProducerReport[];
  readonly consumers: readonly ConsumerReport[];
}

interface Application {
  readonly process: Process;
  readonly port: number;
}

export class Applications {
  readonly #producers: readonly Application[];
  readonly #consumers: readonly Application[];
  readonly #ackFiles: readonly string[];
  readonly #deployer: Server;

  private constructor(
    producers: readonly Application[],
    consumers: readonly Application[],
    ackFiles: readonly string[],
    deployer: Server,
  ) {
    this.#producers = producers;
    this.#consumers = consumers;
    this.#ackFiles = ackFiles;
    this.#deployer = deployer;
  }

  /** Returns when everything writes and reads on `legacy`, and the history is written and read. */
  static async start(setup: ApplicationSetup): Promise<Applications> {
    const groups = Object.entries(setup.readers);
    const ports = await freePorts(setup.writers.length + groups.length);
    const launch = (file: string, name: string, user: string, extra: Record<string, string>): Application => {
      const port = ports.pop() ?? 0;
      const logins = { legacy: setup.login('legacy', user), next: setup.login('next', user) };
      const process = new Process(setup.dir, name, [quietWarning, file], {
        APP_NAME: name,
        APP_PORT: String(port),
        APP_WEBHOOK_SECRET: setup.webhookSecret,
        APP_CLUSTERS: JSON.stringify(logins),
        APP_CLUSTER: 'legacy',
        APP_TOPICS: JSON.stringify(setup.topics),
        ...extra,
      });
      return { process, port };
    };
    const ackFiles = setup.writers.map((_, index) => join(setup.dir, `producer-${index + 1}.acks.jsonl`));
    const producers = setup.writers.map((user, index) =>
      launch(producerFile, `producer-${index + 1}`, user, {
        APP_RATE: String(setup.recordsPerSecond),
        APP_HISTORY: String(setup.history),
        APP_ACKS: ackFiles[index] ?? '',
      }),
    );
    const consumers = groups.map(([group, user]) => launch(consumerFile, group, user, { APP_GROUP: group }));
    const deployer = await listen({
      port: setup.webhookPort,
      webhookSecret: setup.webhookSecret,
      onWebhook: async ({ who }: SwitchRequest, raw) => {
        const concerned = who === 'producers' ? producers : consumers;
        await Promise.all(concerned.map(({ port }) => passOn(port, raw)));
      },
    });
    const applications = new Applications(producers, consumers, ackFiles, deployer);
    const history = setup.history * setup.writers.length;
    let seen = '';
    await waitFor(
      `${history} records of history to be written and read`,
      startTimeoutMs,
      async () => {
        const reports = await applications.reports().catch(() => null);
        if (!reports) return false;
        const written = reports.producers.reduce((sum, producer) => sum + producer.written, 0);
        seen = `written ${written}, read ${reports.consumers.map(({ counts }) => counts.records).join(' and ')}`;
        return written >= history && reports.consumers.every(({ counts }) => counts.records >= history);
      },
      { everyMs: 300, standing: () => seen },
    );
    return applications;
  }

  /** @throws Error when one of them has ended or does not answer */
  async reports(): Promise<Reports> {
    for (const { process } of [...this.#producers, ...this.#consumers]) process.check();
    const [producers, consumers] = await Promise.all([
      Promise.all(this.#producers.map(({ port }) => ask<ProducerReport>(port, 'GET', '/report'))),
      Promise.all(this.#consumers.map(({ port }) => ask<ConsumerReport>(port, 'GET', '/report'))),
    ]);
    return { producers, consumers };
  }

  /** The producers fall silent in the middle of what they do (SIGSTOP), until they are released. */
  holdProducers(): void {
    for (const { process } of this.#producers) process.freeze();
  }

  releaseProducers(): void {
    for (const { process } of this.#producers) process.thaw();
  }

  /** What the producers were told about every batch so far. */
  acknowledgements(): Acknowledgement[] {
    return this.#ackFiles.flatMap(readAcknowledgements);
  }

  /** Records that were acknowledged by the named cluster. */
  acknowledgedBy(cluster: string): number {
    return this.acknowledgements()
      .filter((line) => line.cluster === cluster)
      .reduce((sum, line) => sum + line.count, 0);
  }

  /** The producers send what they still have, and end; gives what they said last. */
  async finishProducers(): Promise<ProducerReport[]> {
    return Promise.all(this.#producers.map(({ port }) => ask<ProducerReport>(port, 'POST', '/finish')));
  }

  async consumers(): Promise<ConsumerReport[]> {
    return Promise.all(this.#consumers.map(({ port }) => ask<ConsumerReport>(port, 'GET', '/report')));
  }

  async close(): Promise<void> {
    this.#deployer.close();
    this.#deployer.closeAllConnections();
    await Promise.all([...this.#producers, ...this.#consumers].map(({ process }) => process.kill()));
  }
}

async function ask<Answer>(port: number, method: string, path: string): Promise<Answer> {
  const signal = AbortSignal.timeout(requestTimeoutMs);
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, signal });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Answer;
}

/** Body and signature go on as they came: every application checks the signature itself. */
async function passOn(port: number, { body, headers }: RawWebhook): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}/webhook`, {
    method: 'POST',
    body,
    headers: { ...headers, 'Content-Type': 'application/json' },
    signal: AbortSignal.timeout(requestTimeoutMs),
  });
  if (!answer.ok) throw new Error(`port ${port} answered ${answer.status}: ${await answer.text()}`);
}
