/**
 * Requests to the control APIs of vendors' replicators: JSON over HTTP, answers read loosely, errors made ours. A client library would do no more, and
 * Node's fetch takes no certificate authority of a user's own.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import { basicLogin, exchange } from '../kafka/http.ts';

/** Of one answer. */
const timeoutMs = 30_000;
const answerBytesMax = 16 << 20;
/** Characters of an answer that are shown. */
const answerMax = 300;
/** What is answered with 408, 429 or 5xx is asked again for so long, a moment apart. */
const unsettledMaxMs = 30_000;
const askAgainMs = 300;

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface Answer {
  readonly status: number;
  /** Null where it was none, or no JSON. */
  readonly body: unknown;
}

export interface Endpoint {
  /** As people know it, such as `Confluent REST of next`. */
  readonly name: string;
  /** Without a slash at the end. */
  readonly url: string;
  readonly basic?: { readonly username: string; readonly password: string };
  /** PEM; the system's authorities count without it. */
  readonly ca?: string;
  /** More headers, made for each attempt, such as a signature. */
  readonly headers?: (method: Method, url: URL, body: string) => Readonly<Record<string, string>>;
  /** Taken out of whatever is shown. */
  readonly secrets?: readonly string[];
  /** Error text of an answer, in the API's own form; its whole text by default. */
  readonly said?: (body: unknown) => string | null;
}

export class RestApi {
  readonly #endpoint: Endpoint;
  readonly #signal: AbortSignal | undefined;

  constructor(endpoint: Endpoint, signal?: AbortSignal) {
    this.#endpoint = endpoint;
    this.#signal = signal;
  }

  get name(): string {
    return this.#endpoint.name;
  }

  /**
   * @param taken statuses that are answers too, beside 2xx
   * @throws CutoverError REPLICATOR_UNREACHABLE, REPLICATOR_REFUSED; neither holds a secret
   */
  async ask(method: Method, path: string, sent?: object, taken: readonly number[] = []): Promise<Answer> {
    const where = `${this.name}, ${method} ${path}`;
    const until = performance.now() + unsettledMaxMs;
    for (;;) {
      let answer: { status: number; text: string } | null = null;
      let failure: (Error & { code?: string }) | null = null;
      try {
        answer = await this.#send(method, path, sent);
      } catch (error) {
        this.#signal?.throwIfAborted();
        failure = error as Error & { code?: string };
      }
      if (answer) {
        const body = parsed(answer.text);
        const { status } = answer;
        if ((status >= 200 && status < 300) || taken.includes(status)) return { status, body };
        if (!isUnsettled(status) || performance.now() >= until) throw this.#refusal(answer, body, where);
      } else if (performance.now() >= until || failure?.code === 'ECONNREFUSED' || failure?.code === 'ENOTFOUND') {
        throw new CutoverError(
          'REPLICATOR_UNREACHABLE',
          { what: 'the control API does not answer', where, found: failure?.code ?? failure?.message },
          { cause: failure },
        );
      }
      await sleep(askAgainMs, undefined, this.#signal && { signal: this.#signal });
    }
  }

  #refusal({ status, text }: { status: number; text: string }, body: unknown, where: string): CutoverError {
    const unsettled = isUnsettled(status);
    const said = this.#endpoint.said?.(body) ?? text;
    return new CutoverError(unsettled ? 'REPLICATOR_UNREACHABLE' : 'REPLICATOR_REFUSED', {
      what: unsettled ? 'the control API cannot answer now' : 'the control API refuses',
      where,
      found: `status ${status}${said ? `, ${this.shown(said)}` : ''}`,
      ...(status === 401 && { next: 'Check the login of this API in clusters.yaml.' }),
      ...(status === 403 && { next: 'Give our login at this API the right that the message names.' }),
    });
  }

  /** A text of theirs as it may be shown: one line, cut, without anything that we hold secret. */
  shown(text: string): string {
    const { basic, secrets = [] } = this.#endpoint;
    const hidden = [...secrets, ...(basic ? [basic.password] : [])].filter((secret) => secret.length > 0);
    const without = hidden.reduce((all, secret) => all.replaceAll(secret, '***'), text);
    return without.replace(/\s+/g, ' ').trim().slice(0, answerMax);
  }

  #send(method: Method, path: string, sent?: object): Promise<{ status: number; text: string }> {
    const { url: base, basic, ca, headers } = this.#endpoint;
    const body = sent ? JSON.stringify(sent) : '';
    const url = new URL(`${base}${path}`);
    return exchange(url, {
      method,
      headers: {
        accept: 'application/json',
        ...(basic && { authorization: basicLogin(basic) }),
        ...(body && { 'content-type': 'application/json' }),
        ...headers?.(method, url, body),
      },
      body,
      ca,
      timeoutMs,
      bytesMax: answerBytesMax,
      signal: this.#signal,
    });
  }
}

function isUnsettled(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
