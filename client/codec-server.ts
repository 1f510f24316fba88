/**
 * Shows encrypted payloads to Temporal's UI and command line (docs.temporal.io, "Codec Server"): POST /decode and /encode with payloads as
 * JSON. Whoever reaches it reads plain text, so it listens to this machine alone, or behind something that knows who asks.
 */
import type { IncomingMessage } from 'node:http';
import type { Payload } from '@temporalio/common';
import { z } from 'zod';
import { CutoverError } from '../contract/errors.ts';
import type { EncryptionCodec } from '../worker/codec.ts';
import { bodyOf, type Listening, listenAt, type Place } from './listening.ts';

/** A page of a history in one request. */
const bodyMax = 16 * 1024 * 1024;

/** As protobuf writes itself in JSON: bytes in base64. */
const asked = z.looseObject({
  payloads: z
    .array(z.looseObject({ metadata: z.record(z.string(), z.string()).default({}), data: z.string().default('') }))
    .default([]),
});

/**
 * @param options.origin of Temporal's UI, such as `http://localhost:8233`: only pages from there may read answers
 * @throws CutoverError USAGE
 */
export function startCodecServer(options: {
  readonly codec: EncryptionCodec;
  readonly origin: string;
  readonly place: Place;
}): Promise<Listening> {
  const { codec, origin, place } = options;
  return listenAt(place, (request, response) => {
    // Another page's requests are not answered in a way that it could read.
    if (request.headers.origin === origin) {
      response.setHeader('access-control-allow-origin', origin);
      response.setHeader('access-control-allow-headers', 'content-type, x-namespace, authorization');
      response.setHeader('access-control-allow-methods', 'POST');
      response.setHeader('access-control-allow-credentials', 'true');
    }
    response.setHeader('vary', 'origin');
    answer(codec, origin, request).then(
      ({ status, json }) => {
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(json === null ? '' : JSON.stringify(json));
      },
      () => response.writeHead(500).end(),
    );
  });
}

async function answer(
  codec: EncryptionCodec,
  origin: string,
  request: IncomingMessage,
): Promise<{ status: number; json: object | null }> {
  if (request.method === 'OPTIONS') return { status: 204, json: null };
  const path = (request.url ?? '').split('?')[0] ?? '';
  const way = path.endsWith('/decode') ? 'decode' : path.endsWith('/encode') ? 'encode' : null;
  if (way === null || request.method !== 'POST')
    return { status: 404, json: { error: 'wanted POST /decode or /encode' } };
  const from = request.headers.origin;
  if (from !== undefined && from !== origin) return { status: 403, json: { error: 'not from this page' } };
  const raw = await bodyOf(request, bodyMax);
  if (raw === null) return { status: 413, json: { error: `wanted at most ${bodyMax} bytes` } };
  try {
    const payloads = asked.parse(JSON.parse(raw)).payloads.map(
      ({ metadata, data }): Payload => ({
        metadata: Object.fromEntries(
          Object.entries(metadata).map(([key, value]) => [key, Buffer.from(value, 'base64')]),
        ),
        data: Buffer.from(data, 'base64'),
      }),
    );
    const done = await codec[way](payloads);
    return { status: 200, json: { payloads: done.map(written) } };
  } catch (error) {
    const text =
      error instanceof CutoverError ? error.message : 'wanted { payloads: [{ metadata, data }] }, bytes in base64';
    return { status: 400, json: { error: text } };
  }
}

function written({ metadata, data }: Payload): object {
  const base64 = (bytes: Uint8Array | null | undefined) => Buffer.from(bytes ?? []).toString('base64');
  return {
    metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([key, value]) => [key, base64(value)])),
    data: base64(data),
  };
}
