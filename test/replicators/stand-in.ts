/** An HTTP server in this process that stands in for a vendor's control API: it keeps what was asked, and answers what a test says. */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after } from 'node:test';

export interface Asked {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  /** Null where there is none, or no JSON. */
  readonly body: unknown;
}

export interface Reply {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Ends with the file. @returns its address, without a slash at the end */
export async function standIn(answer: (asked: Asked) => Reply | Promise<Reply>): Promise<string> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString('utf8');
    const url = new URL(request.url ?? '/', 'http://stand-in');
    let reply: Reply;
    try {
      reply = await answer({
        method: request.method ?? '',
        url,
        headers: request.headers,
        text,
        body: text === '' ? null : JSON.parse(text),
      });
    } catch (error) {
      // A defect of the stand-in, which no test may take for an answer.
      reply = { status: 400, body: { message: `stand-in: ${(error as Error).stack}` } };
    }
    const body = reply.body === undefined ? '' : JSON.stringify(reply.body);
    response.writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What is wrong with an object: keys that nobody defined, and required ones that are missing. Empty: nothing. */
export function wrongKeys(body: unknown, known: readonly string[], required: readonly string[] = []): string {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return 'not an object';
  const keys = Object.keys(body);
  const unknown = keys.filter((key) => !known.includes(key));
  const missing = required.filter((key) => !keys.includes(key));
  return [
    ...unknown.map((key) => `Unrecognized field: ${key}`),
    ...missing.map((key) => `Missing required field: ${key}`),
  ].join('; ');
}
