/**
 * The live page's server, for one machine: reads what the workflow says and shows it. Decisions only with the token it was started with, in a
 * header that no other site's page can send. Each request must name this server by an address of its own, so that a name which was made to
 * point here (DNS rebinding) reads nothing.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { streamSSE } from 'hono/streaming';
import { z } from 'zod';
import { CutoverError, codes } from '../../contract/errors.ts';
import { gateNames } from '../../contract/status.ts';
import type { CutoverClient } from '../cutover-client.ts';
import { exitCodeOfError, exitCodes } from '../exit-codes.ts';
import { follow } from '../follow.ts';
import { receiptAnswer } from '../temporal-answers.ts';
import { indexPage, LagMemory, livePage, lookContent } from './page.ts';

export interface DashboardOptions {
  readonly client: CutoverClient;
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Null: read-only. */
  readonly token: string | null;
  /** Names that requests may call this server by, beside `host` and this machine's own. */
  readonly names: readonly string[];
  /** Ends all that is under way. */
  readonly signal: AbortSignal;
}

export interface Dashboard extends AsyncDisposable {
  readonly url: string;
}

/** Pages that are looked at, at once; each asks the worker once a second. */
export const viewersMax = 50;
const decisionBytesMax = 16_384;

/** @throws CutoverError USAGE where it cannot listen there */
export async function serveDashboard(options: DashboardOptions): Promise<Dashboard> {
  const app = dashboardApp(options);
  const server = createAdaptorServer({ fetch: app.fetch });
  const { host, port } = options;
  await new Promise<void>((done, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const what = 'cannot listen there';
      reject(
        new CutoverError('USAGE', { what, where: `${host}:${port}`, found: cause.code ?? cause.message }, { cause }),
      );
    });
    server.listen(port, host, () => done());
  });
  const { port: taken } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${taken}/`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((done) => server.close(done));
      if ('closeAllConnections' in server) server.closeAllConnections();
      await closed;
    },
  };
}

export function dashboardApp({ client, host, token, names, signal }: Omit<DashboardOptions, 'port'>): Hono {
  const app = new Hono();
  const ownNames = new Set([host, ...names, 'localhost', '127.0.0.1', '::1'].map((name) => name.toLowerCase()));
  let viewers = 0;

  app.use(async (context, next) => {
    if (!ownNames.has(nameOf(context.req.header('host') ?? ''))) {
      return context.text('this page is not served under that name; start it with --allow-host to allow one\n', 403);
    }
    await next();
    context.header('X-Content-Type-Options', 'nosniff');
    context.header('Referrer-Policy', 'no-referrer');
    context.header('X-Frame-Options', 'DENY');
    context.header('Cache-Control', 'no-store');
  });
  app.onError((error, context) => failure(context, error));
  app.notFound((context) => context.text('no such page\n', 404));

  app.get('/', async (context) => context.html(indexPage(await client.list())));
  app.get('/m/:name', (context) => context.html(livePage(context.req.param('name'), token !== null)));

  app.get('/m/:name/events', (context) => {
    if (viewers >= viewersMax) return context.text(`${viewersMax} pages are open already\n`, 503);
    viewers++;
    return streamSSE(context, async (stream) => {
      const gone = new AbortController();
      stream.onAbort(() => gone.abort());
      const lag = new LagMemory();
      const send = (event: string, data: string) => stream.writeSSE({ event, data: JSON.stringify(data) });
      try {
        let shown = '';
        for await (const look of follow(client, context.req.param('name'), AbortSignal.any([signal, gone.signal]))) {
          const now = Date.now();
          const content = lookContent(look, lag.add(look, now), now, token !== null);
          if (content !== shown) await send('look', content);
          shown = content;
        }
        await send('end', signal.aborted ? 'the server of this page was stopped' : 'it has ended');
      } catch (error) {
        await send('end', (error as Error).message);
      } finally {
        viewers--;
      }
    });
  });

  app.post(
    '/m/:name/decisions',
    bodyLimit({ maxSize: decisionBytesMax, onError: (context) => context.json(refusal('too long'), 413) }),
    async (context) => {
      if (token === null) return context.json(refusal('started without a token: this page is read-only'), 403);
      if (!holds(context.req.header('authorization') ?? '', token)) return context.json(refusal('not the token'), 401);
      const body = decision.safeParse(await context.req.json().catch(() => null));
      if (!body.success) return context.json(refusal(z.prettifyError(body.error)), 400);
      const { message, gate, wave, digest, by, reason } = body.data;
      const name = context.req.param('name');
      const { status } = await client.observe(name);
      const open = status.gates.find((one) => one.gate === gate && (wave === '' || one.wave === wave)) ?? null;
      const sent = { gate, by, ...(wave && { wave }), ...(reason && { reason }), ...(digest && { digest }) };
      const answer = receiptAnswer.safeParse(await client.send(name, message, sent, open));
      return context.json({ text: answer.success ? answer.data.text : `${message} received` });
    },
  );
  return app;
}

const decision = z.object({
  message: z.enum(['approve', 'reject']),
  gate: z.enum(gateNames),
  wave: z.string().default(''),
  digest: z.string().default(''),
  by: z.string().trim().min(1),
  reason: z.string().default(''),
});

const refusal = (message: string) => ({ error: { code: 'USAGE', message } });

function failure(context: Context, error: Error): Response {
  if (!(error instanceof CutoverError))
    return context.json({ error: { code: 'INTERNAL', message: error.message } }, 500);
  const { code, message, detail } = error;
  const refused = exitCodeOfError(code) === exitCodes.refused;
  return context.json({ error: { code, message, next: detail.next ?? codes[code].next } }, refused ? 409 : 502);
}

/** `Host` without its port: `[::1]:80` is `::1`. */
function nameOf(host: string): string {
  return host
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase();
}

/** In a time that says nothing about the token. */
function holds(authorization: string, token: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(authorization), digest(`Bearer ${token}`));
}
