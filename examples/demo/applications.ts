/**
 * The four applications, each a process of its own, and their deployer: the one place that kafka-cutover calls,
 * which passes the webhook on to every application concerned and answers when all of them have done it.
 */
import type { Server } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from '../../stack/ports.ts';
import { type Login, listen, type RawWebhook, type SwitchRequest } from './application.ts';
import type { Children } from './children.ts';
import type { ConsumerReport } from './consumer.ts';
import { type Acknowledgement, readAcknowledgements } from './judge.ts';
import { readers, topics, writers } from './platform.ts';
import type { ProducerReport } from './producer.ts';

/** Records a second that each producer writes. */
const recordsPerSecond = 200;
/** Records that each producer has written before the demo's clock starts. */
export const historyRecords = 10_000;
const reportTimeoutMs = 5_000;
/** kafka-cutover waits 30 s for an answer, and repeats its call. */
const webhookTimeoutMs = 25_000;

/** kafkajs 2.2.4 sets timers in the past, which Node 24 warns about and which does no harm. */
const quietWarning = '--disable-warning=TimeoutNegativeWarning';

export interface ApplicationSetup {
  readonly children: Children;
  /** Login of a user, by the cluster's name. */
  readonly login: (cluster: string, user: string) => Login;
  readonly firstCluster: string;
  readonly clusters: readonly string[];
  readonly webhookSecret: string;
  /** A webhook has come, and when it has been done: for whoever watches. */
  readonly onWebhook: (request: SwitchRequest, state: 'asked' | 'done', ms: number) => void;
}

export interface Reports {
  readonly producers: readonly ProducerReport[];
  readonly consumers: readonly ConsumerReport[];
}

export class Applications {
  /** Where kafka-cutover is to send webhooks. */
  readonly webhookUrl: string;
  readonly #producers: Map<string, number>;
  readonly #consumers: Map<string, number>;
  readonly #ackFiles: readonly string[];
  readonly #deployer: Server;

  private constructor(
    webhookUrl: string,
    producers: Map<string, number>,
    consumers: Map<string, number>,
    ackFiles: readonly string[],
    deployer: Server,
  ) {
    this.webhookUrl = webhookUrl;
    this.#producers = producers;
    this.#consumers = consumers;
    this.#ackFiles = ackFiles;
    this.#deployer = deployer;
  }

  static async start(setup: ApplicationSetup): Promise<Applications> {
    const groups = Object.entries(readers);
    const ports = await freePorts(1 + writers.length + groups.length);
    const nextPort = () => ports.pop() as number;
    const logins = (user: string) => Object.fromEntries(setup.clusters.map((name) => [name, setup.login(name, user)]));
    const launch = (file: string, name: string, user: string, extra: Record<string, string>): number => {
      const port = nextPort();
      setup.children.start(name, [quietWarning, fileURLToPath(new URL(file, import.meta.url))], {
        APP_NAME: name,
        APP_PORT: String(port),
        APP_WEBHOOK_SECRET: setup.webhookSecret,
        APP_CLUSTERS: JSON.stringify(logins(user)),
        APP_CLUSTER: setup.firstCluster,
        APP_TOPICS: JSON.stringify(topics),
        ...extra,
      });
      return port;
    };

    const ackFiles: string[] = [];
    const producers = new Map(
      writers.map((user, index) => {
        const name = `producer-${index + 1}`;
        const file = join(setup.children.logFolder, `${name}.acks.jsonl`);
        ackFiles.push(file);
        const extra = { APP_RATE: String(recordsPerSecond), APP_HISTORY: String(historyRecords), APP_ACKS: file };
        return [name, launch('./producer.ts', name, user, extra)];
      }),
    );
    const consumers = new Map(
      groups.map(([group, user]) => [group, launch('./consumer.ts', group, user, { APP_GROUP: group })]),
    );

    const port = nextPort();
    const deployer = await listen({
      port,
      webhookSecret: setup.webhookSecret,
      onWebhook: async (request, raw) => {
        const began = performance.now();
        setup.onWebhook(request, 'asked', 0);
        const concerned = request.who === 'producers' ? producers : consumers;
        await Promise.all([...concerned].map(([name, appPort]) => passOn(name, appPort, raw)));
        setup.onWebhook(request, 'done', performance.now() - began);
      },
    });
    return new Applications(`http://127.0.0.1:${port}/webhook`, producers, consumers, ackFiles, deployer);
  }

  async reports(): Promise<Reports> {
    const [producers, consumers] = await Promise.all([
      Promise.all([...this.#producers.values()].map((port) => ask<ProducerReport>(port, 'GET', '/report'))),
      Promise.all([...this.#consumers.values()].map((port) => ask<ConsumerReport>(port, 'GET', '/report'))),
    ]);
    return { producers, consumers };
  }

  /** What the producers were told about every batch so far. */
  acknowledgements(): Acknowledgement[] {
    return this.#ackFiles.flatMap(readAcknowledgements);
  }

  /** The producers send what they still have, and end. */
  async finishProducers(): Promise<void> {
    await Promise.all([...this.#producers.values()].map((port) => ask(port, 'POST', '/finish', webhookTimeoutMs)));
  }

  close(): void {
    this.#deployer.close();
    this.#deployer.closeAllConnections();
  }
}

async function ask<Answer>(port: number, method: string, path: string, timeoutMs = reportTimeoutMs): Promise<Answer> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, signal: AbortSignal.timeout(timeoutMs) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Answer;
}

/** Body and signature go on as they came, so that every application can check the signature itself. */
async function passOn(name: string, port: number, { body, headers }: RawWebhook): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}/webhook`, {
    method: 'POST',
    body,
    headers: { ...headers, 'Content-Type': 'application/json' },
    signal: AbortSignal.timeout(webhookTimeoutMs),
  });
  if (!answer.ok) throw new Error(`${name} answered ${answer.status}: ${await answer.text()}`);
}
