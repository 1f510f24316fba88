/**
 * Kafka Connect's REST API, as far as a replicator needs it: connectors created stopped (KIP-980, from 3.7), their positions read, set and forgotten
 * (KIP-875, from 3.6), paused, resumed, started again when a task fails, removed. Answers are read loosely. Two dozen lines over Node's own https
 * do what a client library would.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { ConnectConfig } from '../kafka/clusters.ts';
import { basicLogin, exchange } from '../kafka/http.ts';

/** Of one answer. */
const timeoutMs = 20_000;
const answerBytesMax = 16 << 20;
/** Characters of an answer that are shown. */
const answerMax = 300;
/** A worker group that rebalances answers 409, a worker that starts 404 or 503: asked again for so long. */
const unsettledMaxMs = 60_000;
const askAgainMs = 300;
/** Until a connector is in the state that was asked for. */
const stateMaxMs = 60_000;
const lookEveryMs = 200;

export type ConnectorState = 'RUNNING' | 'PAUSED' | 'STOPPED' | 'FAILED' | 'UNASSIGNED' | 'RESTARTING' | 'DESTROYED';

export interface ConnectorStatus {
  readonly state: ConnectorState;
  /** First line of why it failed. */
  readonly trace: string;
  readonly tasks: readonly { readonly id: number; readonly state: ConnectorState; readonly trace: string }[];
}

/** One of a source connector's positions, both parts as the connector made them. */
export interface SourceOffset {
  readonly partition: Readonly<Record<string, unknown>>;
  readonly offset: Readonly<Record<string, unknown>> | null;
}

export type Settings = Readonly<Record<string, string>>;

export class Connect {
  readonly #config: ConnectConfig;
  readonly #signal: AbortSignal | undefined;

  constructor(config: ConnectConfig, signal?: AbortSignal) {
    this.#config = config;
    this.#signal = signal;
  }

  /** Of the worker that answers, as in `4.3.1`. @throws CutoverError REPLICATOR_UNREACHABLE, REPLICATOR_REFUSED, as all methods here */
  async version(): Promise<string> {
    const { body } = await this.#ask('GET', '/');
    return String((body as { version?: unknown } | null)?.version ?? '');
  }

  /** Classes of the connectors that it could run. */
  async plugins(): Promise<readonly string[]> {
    const { body } = await this.#ask('GET', '/connector-plugins');
    return Array.isArray(body) ? body.map((entry: { class?: unknown }) => String(entry?.class ?? '')) : [];
  }

  /** What the connector's own validation says is wrong with these settings, one line each. */
  async validate(settings: Settings): Promise<readonly string[]> {
    const type = encodeURIComponent((settings['connector.class'] ?? '').split('.').at(-1) ?? '');
    const { body } = await this.#ask('PUT', `/connector-plugins/${type}/config/validate`, settings);
    const { configs = [] } = (body ?? {}) as { configs?: { value?: { name?: string; errors?: string[] } }[] };
    return configs.flatMap(({ value }) => (value?.errors ?? []).map((error) => `${value?.name}: ${error}`));
  }

  /** Null where there is no such connector. */
  async settings(name: string): Promise<Settings | null> {
    const { status, body } = await this.#ask('GET', `${path(name)}/config`, undefined, [404]);
    return status === 404 ? null : (body as Settings);
  }

  /** @param initially the state that it begins in; it does nothing before it is resumed where that is `STOPPED` */
  async create(name: string, settings: Settings, initially: 'RUNNING' | 'STOPPED'): Promise<void> {
    await this.#ask('POST', '/connectors', { name, config: settings, initial_state: initially });
  }

  async reconfigure(name: string, settings: Settings): Promise<void> {
    await this.#ask('PUT', `${path(name)}/config`, settings);
  }

  /** Null where there is none, or it is not known yet. */
  async status(name: string): Promise<ConnectorStatus | null> {
    const { status, body } = await this.#ask('GET', `${path(name)}/status`, undefined, [404]);
    if (status === 404) return null;
    const { connector, tasks = [] } = (body ?? {}) as RawStatus;
    return {
      state: connector?.state ?? 'UNASSIGNED',
      trace: firstLine(connector?.trace),
      tasks: tasks.map(({ id = -1, state = 'UNASSIGNED', trace }) => ({ id, state, trace: firstLine(trace) })),
    };
  }

  /** Returns when it holds, no task of it runs any more, and all that it has read is either written or forgotten. */
  async stop(name: string): Promise<void> {
    await this.askToStop(name);
    await this.#await(name, 'STOPPED', (found) => found?.state === 'STOPPED' && found.tasks.length === 0);
  }

  /** Does not wait until it has. */
  async askToStop(name: string): Promise<void> {
    await this.#ask('PUT', `${path(name)}/stop`);
  }

  async pause(name: string): Promise<void> {
    await this.#ask('PUT', `${path(name)}/pause`);
    const paused = (found: ConnectorStatus | null) =>
      found?.state === 'PAUSED' && found.tasks.every(({ state }) => state === 'PAUSED');
    await this.#await(name, 'PAUSED', paused);
  }

  /** Out of PAUSED or STOPPED; does not wait. */
  async resume(name: string): Promise<void> {
    await this.#ask('PUT', `${path(name)}/resume`);
  }

  /** The connector and those of its tasks that have failed (KIP-745). */
  async restartFailed(name: string): Promise<void> {
    await this.#ask('POST', `${path(name)}/restart?includeTasks=true&onlyFailed=true`);
  }

  async offsets(name: string): Promise<readonly SourceOffset[]> {
    const { body } = await this.#ask('GET', `${path(name)}/offsets`);
    return ((body as { offsets?: SourceOffset[] } | null)?.offsets ?? []) as readonly SourceOffset[];
  }

  /** Of a stopped connector; positions that are not named stay. */
  async setOffsets(name: string, offsets: readonly SourceOffset[]): Promise<void> {
    await this.#ask('PATCH', `${path(name)}/offsets`, { offsets });
  }

  /** Of a stopped connector: it begins again as if it had never run. A removed connector's positions would wait for the next of its name. */
  async forgetOffsets(name: string): Promise<void> {
    await this.#ask('DELETE', `${path(name)}/offsets`);
  }

  /** @returns false where there was none */
  async remove(name: string): Promise<boolean> {
    const { status } = await this.#ask('DELETE', path(name), undefined, [404]);
    return status !== 404;
  }

  async #await(name: string, wanted: string, holds: (found: ConnectorStatus | null) => boolean): Promise<void> {
    const until = performance.now() + stateMaxMs;
    for (;;) {
      const found = await this.status(name);
      if (holds(found)) return;
      if (performance.now() > until) {
        const tasks = found?.tasks.map(({ id, state }) => `task ${id} ${state}`).join(', ');
        throw new CutoverError('REPLICATOR_FAILED', {
          what: `the connector is not ${wanted} after ${stateMaxMs / 1000} s`,
          where: `Connect ${this.#config.name}, connector ${name}`,
          found: found ? `${found.state}${tasks ? `, ${tasks}` : ''}` : 'no such connector',
          wanted,
        });
      }
      await sleep(lookEveryMs, undefined, this.#signal && { signal: this.#signal });
    }
  }

  async #ask(
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    at: string,
    sent?: object,
    alsoTaken: readonly number[] = [],
  ): Promise<{ status: number; body: unknown }> {
    const where = `Connect ${this.#config.name}, ${method} ${at}`;
    const until = performance.now() + unsettledMaxMs;
    for (;;) {
      const answer = await this.#send(method, at, sent).catch((error: Error & { code?: string }) => {
        this.#signal?.throwIfAborted();
        throw new CutoverError(
          'REPLICATOR_UNREACHABLE',
          { what: 'Kafka Connect does not answer', where, found: error.code ?? error.message },
          { cause: error },
        );
      });
      const { status, text } = answer;
      const body = parsed(text);
      if ((status >= 200 && status < 300) || alsoTaken.includes(status)) return { status, body };
      const unsettled = status === 409 || status === 429 || status >= 500;
      if (unsettled && performance.now() < until && !isAnswer(body)) {
        await sleep(askAgainMs, undefined, this.#signal && { signal: this.#signal });
        continue;
      }
      const said = String((body as { message?: unknown } | null)?.message ?? text);
      throw new CutoverError(unsettled ? 'REPLICATOR_UNREACHABLE' : 'REPLICATOR_REFUSED', {
        what: unsettled ? 'Kafka Connect cannot answer now' : 'Kafka Connect refuses',
        where,
        // Its settings hold logins, and an answer may repeat them.
        found: `status ${status}, ${withoutLogins(said).replace(/\s+/g, ' ').trim().slice(0, answerMax)}`,
      });
    }
  }

  #send(method: string, at: string, sent?: object): Promise<{ status: number; text: string }> {
    const { url: base, basic, ca } = this.#config;
    const body = sent && JSON.stringify(sent);
    const url = new URL(`${base}${at}`);
    return exchange(url, {
      method,
      headers: {
        accept: 'application/json',
        ...(basic && { authorization: basicLogin(basic) }),
        ...(body && { 'content-type': 'application/json' }),
      },
      body,
      ca,
      timeoutMs,
      bytesMax: answerBytesMax,
      signal: this.#signal,
    });
  }
}

interface RawStatus {
  readonly connector?: { readonly state?: ConnectorState; readonly trace?: string };
  readonly tasks?: readonly { readonly id?: number; readonly state?: ConnectorState; readonly trace?: string }[];
}

const path = (name: string): string => `/connectors/${encodeURIComponent(name)}`;

function firstLine(trace: string | undefined): string {
  return (trace ?? '').split('\n')[0]?.slice(0, answerMax) ?? '';
}

/** A 500 with a reason of the connector's own is not a group that rebalances: asking again would not help. */
function isAnswer(body: unknown): boolean {
  const { message = '', error_code = 0 } = (body ?? {}) as { message?: string; error_code?: number };
  return error_code === 500 && !/rebalance|timed out|timeout|not available|starting/i.test(message);
}

/** JAAS lines and passwords, wherever they stand in a text. */
export function withoutLogins(text: string): string {
  return text.replace(/(password|secret)(["']?\s*[=:]\s*)("[^"]*"|\S+)/gi, '$1$2***');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
