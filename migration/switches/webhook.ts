/**
 * Tells the system that deploys applications to move them: one signed POST, repeated under the same id until it is
 * answered with 2xx.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../../contract/errors.ts';
import type { WebhookConfig } from '../../kafka/clusters.ts';

export const timestampHeader = 'Kafka-Cutover-Timestamp';
export const signatureHeader = 'Kafka-Cutover-Signature';

export interface WebhookCall {
  readonly migration: string;
  readonly wave: string;
  readonly action: 'fence' | 'unfence' | 'switch' | 'rollback';
  readonly who: 'producers' | 'consumers';
  /** Names of the clusters, as in clusters.yaml. */
  readonly from: string;
  readonly to: string;
  /** `host:port` each, of `to`. */
  readonly bootstrap: readonly string[];
  readonly topics: readonly string[];
  readonly groups: readonly string[];
  /** Log end where `from` was fenced, by `topic/partition`; null before there is one. */
  readonly boundary: ReadonlyMap<string, bigint> | null;
  /**
   * What sets this move apart from an earlier one of the same kind, such as the name of the stored boundary. The same
   * on every retry, so that the id is too.
   */
  readonly occasion: string;
}

export interface WebhookOptions {
  /** How long one answer may take; 30 s by default. */
  readonly timeoutMs?: number;
  /** How long the call is repeated; 60 s by default. */
  readonly giveUpAfterMs?: number;
  readonly signal?: AbortSignal;
  /** Right before each attempt; throws when it must not be made any more. */
  readonly beforeEach?: () => void;
  /** Told of each failed attempt, in words for people. */
  readonly onAttempt?: (failure: string) => void;
}

export interface WebhookResult {
  readonly id: string;
  readonly status: number;
  readonly attempts: number;
  /** Its JSON, or null where it is none, or too long. */
  readonly answer: unknown;
}

export const webhookTimeoutMs = 30_000;
export const webhookGiveUpAfterMs = 60_000;
const firstPauseMs = 250;
const pauseMaxMs = 5_000;
/** Characters of an answer that are shown. */
const answerMax = 200;
/** Of an answer that is read. */
const answerBytesMax = 4 << 20;
/** How old a signature may be before receivers should refuse it. */
export const signatureToleranceMs = 300_000;

/**
 * Calls the webhook until it answers 2xx.
 *
 * @throws CutoverError WEBHOOK_FAILED with the last status and the first 200 characters of the answer
 */
export async function callWebhook(
  webhook: WebhookConfig,
  call: WebhookCall,
  options: WebhookOptions = {},
): Promise<WebhookResult> {
  const what = `${call.action} of the ${call.who}`;
  return callSigned(webhook, { id: webhookId(call), body: webhookBody(call), what }, options);
}

/**
 * Sends one body until it is answered 2xx.
 *
 * @param call.what named in the error: what was not confirmed
 * @throws CutoverError WEBHOOK_FAILED with the last status and the first 200 characters of the answer
 */
export async function callSigned(
  webhook: WebhookConfig,
  { id, body, what }: { readonly id: string; readonly body: string; readonly what: string },
  options: WebhookOptions = {},
): Promise<WebhookResult> {
  const deadline = Date.now() + (options.giveUpAfterMs ?? webhookGiveUpAfterMs);
  for (let attempts = 1, pauseMs = firstPauseMs; ; attempts++, pauseMs = Math.min(pauseMs * 2, pauseMaxMs)) {
    options.signal?.throwIfAborted();
    options.beforeEach?.();
    const outcome = await post(webhook, body, options);
    if (typeof outcome === 'object') return { id, attempts, ...outcome };
    options.onAttempt?.(outcome);
    if (Date.now() + pauseMs > deadline) {
      throw new CutoverError('WEBHOOK_FAILED', {
        what: `${what} was not confirmed after ${attempts} ${attempts === 1 ? 'call' : 'calls'}`,
        where: `webhook ${webhook.name}, call ${id}`,
        found: outcome,
        wanted: '2xx',
      });
    }
    await sleep(pauseMs, undefined, options.signal && { signal: options.signal });
  }
}

/** The same for every retry of one call, and for nothing else. */
export function webhookId(call: WebhookCall): string {
  const identity = [call.migration, call.wave, call.action, call.who, call.from, call.to, call.occasion];
  return createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 32);
}

/** The request's body, byte for byte the same on every retry. */
export function webhookBody(call: WebhookCall): string {
  return JSON.stringify({
    id: webhookId(call),
    migration: call.migration,
    wave: call.wave,
    action: call.action,
    who: call.who,
    from: call.from,
    to: call.to,
    bootstrap: call.bootstrap.join(','),
    topics: call.topics,
    groups: call.groups,
    boundary: call.boundary && Object.fromEntries([...call.boundary].map(([key, offset]) => [key, offset.toString()])),
  });
}

/** `v1=<hex HMAC-SHA256 of timestamp.body>`; the timestamp is in seconds since 1970. */
export function sign(secret: string, timestamp: string, body: string): string {
  return `v1=${createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')}`;
}

/**
 * For receivers: whether a call is ours and recent. Takes the same time whatever is wrong with the signature.
 *
 * @param timestamp the value of `Kafka-Cutover-Timestamp`, seconds since 1970
 * @param body the request's body as received, before any parsing
 * @param signature the value of `Kafka-Cutover-Signature`
 */
export function verifySignature(
  secret: string,
  timestamp: string,
  body: string,
  signature: string,
  options: { readonly toleranceMs?: number; readonly nowMs?: number } = {},
): boolean {
  const wanted = Buffer.from(sign(secret, timestamp, body));
  const given = Buffer.from(signature);
  const same = given.length === wanted.length && timingSafeEqual(given, wanted);
  const ageMs = Math.abs((options.nowMs ?? Date.now()) - Number(timestamp) * 1000);
  return same && /^\d+$/.test(timestamp) && ageMs <= (options.toleranceMs ?? signatureToleranceMs);
}

/** The answer when it is 2xx, else what went wrong. */
async function post(
  webhook: WebhookConfig,
  body: string,
  options: WebhookOptions,
): Promise<Pick<WebhookResult, 'status' | 'answer'> | string> {
  const timestamp = String(Math.floor(Date.now() / 1000));
  const timeoutMs = options.timeoutMs ?? webhookTimeoutMs;
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(webhook.url, {
      method: 'POST',
      // A redirect would hand the signed call to an address that nobody configured.
      redirect: 'manual',
      headers: {
        'content-type': 'application/json',
        [timestampHeader]: timestamp,
        [signatureHeader]: sign(webhook.secret, timestamp, body),
      },
      body,
      signal: options.signal ? AbortSignal.any([timeout, options.signal]) : timeout,
    });
    if (response.ok) {
      return { status: response.status, answer: jsonOrNull(await beginning(response, answerBytesMax)) };
    }
    // Cut only then: half a secret is one too.
    const said = (await beginning(response, answerMax + webhook.secret.length)).replaceAll(webhook.secret, '***');
    const answer = said.slice(0, answerMax).replace(/\s+/g, ' ').trim();
    return `status ${response.status}${answer ? `: ${answer}` : ''}`;
  } catch (error) {
    options.signal?.throwIfAborted();
    if (timeout.aborted) return `no answer within ${timeoutMs} ms`;
    const cause = (error as { cause?: { code?: string; message?: string } }).cause;
    return `no answer: ${cause?.code ?? cause?.message ?? (error as Error).message}`;
  }
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The first characters of an answer, however long it is. */
async function beginning(response: Response, max: number): Promise<string> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    if (text.length >= max) break;
  }
  return text.slice(0, max);
}
