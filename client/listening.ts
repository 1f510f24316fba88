/** Where a command listens that answers other processes: this machine alone, or anywhere over TLS. */
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Option } from 'commander';
import { CutoverError } from '../contract/errors.ts';

/** How long a client may take for a whole request. */
const requestTimeoutMs = 10_000;
const connectionsMax = 100;

export interface Place {
  readonly host: string;
  readonly port: number;
  /** PEM each. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
}

export interface Listening extends AsyncDisposable {
  readonly port: number;
}

/** @throws CutoverError USAGE where it would talk to other machines without TLS, or cannot listen */
export async function listenAt(
  { host, port, tls }: Place,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Listening> {
  if (!tls && !['127.0.0.1', '::1', 'localhost'].includes(host)) {
    throw new CutoverError('USAGE', {
      what: 'other machines are answered over TLS only',
      where: `--host ${host}`,
      wanted: '--cert and --key, or --host 127.0.0.1 with a proxy in front',
    });
  }
  const server = tls ? createHttpsServer({ ...tls }, handle) : createHttpServer(handle);
  Object.assign(server, { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs });
  server.maxConnections = connectionsMax;
  await new Promise<void>((ready, refused) => server.once('error', refused).listen(port, host, ready)).catch(
    (cause: Error) => {
      const where = `${host}:${port}`;
      throw new CutoverError('USAGE', { what: 'cannot listen', where, found: cause.message }, { cause });
    },
  );
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

/** Null where it is longer than so many bytes: the rest is not read. */
export async function bodyOf(request: IncomingMessage, bytesMax: number): Promise<string | null> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > bytesMax) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

export interface PlaceOptions {
  readonly host: string;
  readonly port: string;
  readonly cert?: string;
  readonly key?: string;
}

/** Options are made anew for each command. */
export const placeOptions = (port: number): Option[] => [
  new Option('--host <address>', 'where to listen').default('127.0.0.1'),
  new Option('--port <port>', 'where to listen').default(String(port)),
  new Option('--cert <file>', 'certificate in PEM; wanted for any other address than this machine'),
  new Option('--key <file>', "the certificate's key in PEM"),
];

/** @throws CutoverError USAGE */
export function readPlace({ host, port: text, cert, key }: PlaceOptions): Place {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new CutoverError('USAGE', { what: 'not a port', where: '--port', found: text });
  }
  if ((cert === undefined) !== (key === undefined)) {
    throw new CutoverError('USAGE', { what: '--cert and --key belong together' });
  }
  return { host, port, tls: cert && key ? { cert: pem(cert), key: pem(key) } : undefined };
}

function pem(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const found = (cause as NodeJS.ErrnoException).code;
    throw new CutoverError('USAGE', { what: 'cannot read the file', where: path, found }, { cause });
  }
}
