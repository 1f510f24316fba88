/**
 * Answers to gates by HTTPS, from systems that cannot reach Temporal: one signed POST each, as our own webhooks are signed. A message
 * that is sent again is the same decision; one that is older than the gate which it means is none.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Logger } from 'pino';
import { z } from 'zod';
import { type Code, CutoverError } from '../contract/errors.ts';
import { gateNames } from '../contract/status.ts';
import type { SenderConfig } from '../kafka/clusters.ts';
import { signatureHeader, timestampHeader, verifySignature } from '../migration/switches/webhook.ts';
import type { CutoverClient } from './cutover-client.ts';
import { bodyOf, type Listening, listenAt, type Place } from './listening.ts';
import { receiptAnswer } from './temporal-answers.ts';

export const answersPath = '/v1/answers';
export const senderHeader = 'Kafka-Cutover-Sender';
const healthPath = '/healthz';

/** A larger body is refused unread. */
export const bodyMax = 64 * 1024;

const body = z.looseObject({
  /** The sender's own: one id is one decision, however often it arrives. */
  id: z.string().min(1).max(200),
  migration: z.string().min(1).max(63),
  message: z.enum(['approve', 'reject']),
  gate: z.enum(gateNames),
  wave: z.string().min(1).max(63).optional(),
  by: z.string().trim().min(1).max(200),
  reason: z.string().max(1_000).optional(),
  digest: z.string().max(200).optional(),
});

/** @throws CutoverError USAGE where it would listen to others without TLS */
export function startListener(options: {
  readonly client: CutoverClient;
  readonly senders: ReadonlyMap<string, SenderConfig>;
  readonly log: Logger;
  readonly place: Place;
}): Promise<Listening> {
  const { client, senders, log, place } = options;
  return listenAt(place, (request, response) => {
    answer(client, senders, request)
      .catch((error: unknown) => failed(error, log))
      .then(({ status, json }) => {
        response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
        response.end(`${JSON.stringify(json)}\n`);
      });
  });
}

interface Said {
  readonly status: number;
  readonly json: object;
}

/** What HTTP has a word for; every other refusal is a conflict with where the migration stands. */
const statusOf: Partial<Record<Code, number>> = {
  MESSAGE_INVALID: 400,
  SENDER_REFUSED: 401,
  NOT_AN_APPROVER: 403,
  FOUR_EYES: 403,
  PROOF_REQUIRED: 403,
  PROOF_INVALID: 403,
  MIGRATION_NOT_FOUND: 404,
  NOT_CONFIRMED: 503,
  TEMPORAL_UNREACHABLE: 503,
};

async function answer(
  client: CutoverClient,
  senders: ReadonlyMap<string, SenderConfig>,
  request: IncomingMessage,
): Promise<Said> {
  const path = (request.url ?? '').split('?')[0];
  if (request.method === 'GET' && path === healthPath) return { status: 200, json: { ok: true } };
  if (path !== answersPath) return { status: 404, json: { error: `nothing is at ${path?.slice(0, 100)}` } };
  if (request.method !== 'POST') return { status: 405, json: { error: 'wanted POST' } };
  const raw = await bodyOf(request, bodyMax);
  if (raw === null) return { status: 413, json: { error: `wanted at most ${bodyMax} bytes` } };

  const header = (name: string) => String(request.headers[name.toLowerCase()] ?? '');
  const name = header(senderHeader);
  const sender = senders.get(name);
  const timestamp = header(timestampHeader);
  // Who is unknown takes as long as who signs wrongly.
  const signed = verifySignature(sender?.secret ?? 'nobody', timestamp, raw, header(signatureHeader));
  if (!sender || !signed) {
    throw new CutoverError('SENDER_REFUSED', {
      what: 'no sender that clusters.yaml lists has signed this, or not just now',
    });
  }
  const message = read(raw);
  const { migration, gate, wave, by, reason, digest } = message;
  if (!sender.as.some((one) => one.toLowerCase() === by.toLowerCase())) {
    throw new CutoverError('NOT_AN_APPROVER', {
      what: `sender ${name} may not answer as ${by}`,
      wanted: sender.as.join(', '),
    });
  }
  const { status, firstRunId: run, note } = await client.observe(migration);
  const meant = status.gates.filter((open) => open.gate === gate && (wave === undefined || open.wave === wave));
  const [open] = meant;
  // Nobody can mean a gate that was opened later; a second is what the timestamp counts in.
  if (note === null && open && Date.parse(open.openedAt) >= (Number(timestamp) + 1) * 1_000) {
    const what = `gate ${gate} of ${migration} was opened after this was signed`;
    throw new CutoverError('GATE_NOT_OPEN', { what, found: open.openedAt });
  }
  const id = createHash('sha256')
    .update(JSON.stringify([name, message.id]))
    .digest('hex')
    .slice(0, 32);
  const said = { gate, by, reason: `${reason ?? ''} (sender ${name})`.trim() };
  const sent = {
    ...said,
    ...(wave !== undefined && { wave }),
    ...(digest !== undefined && { digest }),
    ...(open && meant.length === 1 && { openedAt: open.openedAt }),
  };
  const receipt = receiptAnswer.safeParse(await client.send(migration, message.message, sent, null, { id, run }));
  return { status: 200, json: { migration, gate, by, text: receipt.success ? receipt.data.text : 'received' } };
}

function read(raw: string): z.infer<typeof body> {
  let found = 'no JSON';
  try {
    const parsed = body.safeParse(JSON.parse(raw));
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    found = `${issue?.path.join('.')}: ${issue?.message}`;
  } catch {
    // not JSON
  }
  const wanted = '{ id, migration, message: approve | reject, gate, by, wave?, reason?, digest? }';
  throw new CutoverError('MESSAGE_INVALID', { what: 'the body cannot be read', found, wanted });
}

function failed(error: unknown, log: Logger): Said {
  if (!(error instanceof CutoverError)) {
    log.error({ text: (error as Error).message }, 'an answer could not be handled');
    return { status: 500, json: { error: 'not handled; the log says why' } };
  }
  log.warn({ code: error.code, text: error.message }, 'an answer was refused');
  return { status: statusOf[error.code] ?? 409, json: { code: error.code, error: error.message } };
}
