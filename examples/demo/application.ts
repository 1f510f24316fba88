/**
 * What both demo applications have in common: their settings, their Kafka client, and the small HTTP endpoint
 * that hears kafka-cutover's webhook. Your applications need the same: an endpoint (or a job) that checks the
 * signature, does what the webhook says, and answers 2xx only when it is done.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel, type Producer } from 'kafkajs';
import { z } from 'zod';
import { signatureHeader, timestampHeader, verifySignature } from '../../migration/switches/webhook.ts';

const bodyBytesMax = 1 << 20;
const connectPauseMs = 20;

/** The part of the webhook's body that applications need; the rest is ignored. */
const switchRequest = z.object({
  /** The same for every repetition of one request. */
  id: z.string().min(1),
  action: z.enum(['fence', 'unfence', 'switch', 'rollback']),
  who: z.enum(['producers', 'consumers']),
  from: z.string(),
  /** The cluster to use from now on (`switch` and `rollback`). */
  to: z.string(),
});
export type SwitchRequest = z.output<typeof switchRequest>;

const login = z.object({ bootstrap: z.string(), username: z.string(), password: z.string() });
const settingsSchema = z.object({
  APP_NAME: z.string(),
  /** Of the HTTP endpoint, on 127.0.0.1. */
  APP_PORT: z.coerce.number(),
  /** Shared with kafka-cutover: the secret that webhooks are signed with. */
  APP_WEBHOOK_SECRET: z.string().min(1),
  /** JSON: how to log in to each cluster, by the cluster's name in clusters.yaml. */
  APP_CLUSTERS: z.string().transform((text) => z.record(z.string(), login).parse(JSON.parse(text))),
  /** The cluster to begin with. */
  APP_CLUSTER: z.string(),
  APP_TOPICS: z.string().transform((text) => z.record(z.string(), z.number()).parse(JSON.parse(text))),
});

export interface Settings {
  readonly name: string;
  readonly port: number;
  readonly webhookSecret: string;
  readonly firstCluster: string;
  /** Partitions by topic. */
  readonly topics: Readonly<Record<string, number>>;
  /** A client of the named cluster, logged in as this application. */
  kafka(cluster: string): Kafka;
}

export function readSettings(env: NodeJS.ProcessEnv = process.env): Settings {
  const settings = settingsSchema.parse(env);
  return {
    name: settings.APP_NAME,
    port: settings.APP_PORT,
    webhookSecret: settings.APP_WEBHOOK_SECRET,
    firstCluster: settings.APP_CLUSTER,
    topics: settings.APP_TOPICS,
    kafka(cluster) {
      const found = settings.APP_CLUSTERS[cluster];
      if (!found) throw new Error(`${settings.APP_NAME} has no login for the cluster ${cluster}`);
      return kafkaClient(settings.APP_NAME, found);
    },
  };
}

export interface Login {
  readonly bootstrap: string;
  readonly username: string;
  readonly password: string;
}

export function kafkaClient(clientId: string, { bootstrap, username, password }: Login): Kafka {
  return new Kafka({
    clientId,
    brokers: bootstrap.split(','),
    sasl: { mechanism: 'scram-sha-512', username, password },
    logLevel: logLevel.ERROR,
    retry: { initialRetryTime: 50, maxRetryTime: 1_000 },
  });
}

/** An idempotent producer that is ready. A cluster may still refuse it for a moment: it needs WRITE to be given an id. */
export async function connectProducer(settings: Settings, cluster: string, timeoutMs: number): Promise<Producer> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const fresh = settings.kafka(cluster).producer({ idempotent: true, maxInFlightRequests: 1 });
    try {
      await fresh.connect();
      return fresh;
    } catch (error) {
      await fresh.disconnect().catch(() => undefined);
      if (performance.now() > deadline) throw error;
      await sleep(connectPauseMs);
    }
  }
}

export interface Endpoint {
  readonly port: number;
  /** Does what a webhook asks; resolves when it is done. */
  readonly onWebhook: (request: SwitchRequest, raw: RawWebhook) => Promise<void>;
  readonly webhookSecret: string;
  /** What `GET /report` shows. */
  readonly report?: () => unknown;
  /** What `POST /finish` does: the demo is over. */
  readonly finish?: () => Promise<void>;
}

/** A webhook as it came, for somebody who passes it on. */
export interface RawWebhook {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Listens on 127.0.0.1. A webhook repeated under the same id is answered as the first one was, and done once. */
export function listen({ port, webhookSecret, onWebhook, report, finish }: Endpoint): Promise<Server> {
  const done = new Map<string, Promise<void>>();

  const once = (request: SwitchRequest, raw: RawWebhook): Promise<void> => {
    const earlier = done.get(request.id);
    if (earlier) return earlier;
    const work = onWebhook(request, raw);
    done.set(request.id, work);
    // A failure is not an answer to remember: the next repetition tries again.
    work.catch(() => done.delete(request.id));
    return work;
  };

  const answer = async (incoming: IncomingMessage): Promise<[status: number, body: unknown]> => {
    const route = `${incoming.method} ${incoming.url}`;
    if (route === 'GET /report' && report) return [200, report()];
    if (route === 'POST /finish' && finish) {
      await finish();
      return [200, report?.()];
    }
    if (route !== 'POST /webhook') return [404, { error: `no ${route}` }];
    const body = await bodyOf(incoming);
    const timestamp = String(incoming.headers[timestampHeader.toLowerCase()] ?? '');
    const signature = String(incoming.headers[signatureHeader.toLowerCase()] ?? '');
    if (!verifySignature(webhookSecret, timestamp, body, signature)) {
      return [401, { error: 'wrong signature' }];
    }
    const request = switchRequest.safeParse(JSON.parse(body));
    if (!request.success) return [400, { error: z.prettifyError(request.error) }];
    const headers = { [timestampHeader]: timestamp, [signatureHeader]: signature };
    await once(request.data, { body, headers });
    return [200, { done: request.data.id }];
  };

  const server = createServer((incoming, outgoing) => {
    answer(incoming)
      .catch((error: Error): [number, unknown] => [500, { error: error.message }])
      .then(([status, body]) => {
        outgoing.writeHead(status, { 'Content-Type': 'application/json' });
        outgoing.end(JSON.stringify(body));
      });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

async function bodyOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bodyBytesMax) throw new Error(`more than ${bodyBytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Waits until `ready` says so. Rejects with `what` when `timeoutMs` have passed. */
export async function until(what: string, timeoutMs: number, ready: () => boolean): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!ready()) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
