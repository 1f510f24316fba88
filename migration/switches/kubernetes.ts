/**
 * The few requests to Kubernetes' API that a switch needs, as its API reference (v1, apps/v1) describes them. Plain requests over Node's own
 * https: four endpoints do not weigh a client library of sixteen dependencies.
 */
import { readFileSync } from 'node:fs';
import { type Code, CutoverError } from '../../contract/errors.ts';
import type { KubernetesConfig } from '../../kafka/clusters.ts';
import { exchange } from '../../kafka/http.ts';

export type ObjectKind = 'ConfigMap' | 'Secret';

export interface KeyedObject {
  readonly resourceVersion: string;
  /** Values as applications read them: those of a Secret decoded. */
  readonly data: ReadonlyMap<string, string>;
}

/** As much of a Deployment as its rollout shows by; counts that Kubernetes leaves out are 0. */
export interface Deployment {
  readonly name: string;
  readonly paused: boolean;
  readonly wanted: number;
  readonly generation: number;
  readonly observedGeneration: number;
  readonly replicas: number;
  readonly updatedReplicas: number;
  readonly availableReplicas: number;
  readonly conditions: readonly {
    readonly type: string;
    readonly status: string;
    readonly reason: string;
    readonly message: string;
  }[];
}

export interface Place {
  readonly namespace: string;
  readonly name: string;
}

/** Of one answer. */
const timeoutMs = 10_000;
const answerBytesMax = 4 << 20;
/** Characters of an answer that are shown. */
const answerMax = 200;
/** What `kubectl rollout restart` sets: a template that differs makes new pods. */
const restartedAt = 'kubectl.kubernetes.io/restartedAt';

export class Kubernetes {
  readonly #config: KubernetesConfig;
  readonly #signal: AbortSignal | undefined;

  constructor(config: KubernetesConfig, signal?: AbortSignal) {
    this.#config = config;
    this.#signal = signal;
  }

  /** @throws CutoverError KUBERNETES_REFUSED, KUBERNETES_UNREACHABLE, as all methods here */
  async read(kind: ObjectKind, place: Place): Promise<KeyedObject> {
    const { body } = await this.#ask('GET', objectPath(kind, place));
    const { metadata, data } = body as { metadata?: { resourceVersion?: string }; data?: Record<string, string> };
    const decode = (value: string) => (kind === 'Secret' ? Buffer.from(value, 'base64').toString('utf8') : value);
    return {
      resourceVersion: metadata?.resourceVersion ?? '',
      data: new Map(Object.entries(data ?? {}).map(([key, value]) => [key, decode(value)])),
    };
  }

  /**
   * Sets one key, unless the object has changed since it was read.
   *
   * @returns false when it has: read it again
   */
  async set(kind: ObjectKind, place: Place, key: string, value: string, resourceVersion: string): Promise<boolean> {
    const encoded = kind === 'Secret' ? Buffer.from(value).toString('base64') : value;
    const patch = { metadata: { resourceVersion }, data: { [key]: encoded } };
    const hidden = kind === 'Secret' ? [value, encoded] : [];
    const { status } = await this.#ask('PATCH', objectPath(kind, place), { patch, hidden, conflict: true });
    return status !== 409;
  }

  async deployment(place: Place): Promise<Deployment> {
    const { body } = await this.#ask('GET', deploymentPath(place));
    const { metadata, spec, status } = body as RawDeployment;
    return {
      name: place.name,
      paused: spec?.paused === true,
      wanted: spec?.replicas ?? 1,
      generation: metadata?.generation ?? 0,
      observedGeneration: status?.observedGeneration ?? 0,
      replicas: status?.replicas ?? 0,
      updatedReplicas: status?.updatedReplicas ?? 0,
      availableReplicas: status?.availableReplicas ?? 0,
      conditions: (status?.conditions ?? []).map(({ type = '', status: holds = '', reason = '', message = '' }) => ({
        type,
        status: holds,
        reason,
        message,
      })),
    };
  }

  /** Asked twice with the same time, it restarts once. @param at ISO 8601 */
  async restart(place: Place, at: string): Promise<void> {
    const patch = { spec: { template: { metadata: { annotations: { [restartedAt]: at } } } } };
    await this.#ask('PATCH', deploymentPath(place), { patch });
  }

  async #ask(
    method: 'GET' | 'PATCH',
    path: string,
    options: { readonly patch?: object; readonly hidden?: readonly string[]; readonly conflict?: boolean } = {},
  ): Promise<{ status: number; body: unknown }> {
    const where = `Kubernetes ${this.#config.name}, ${method} ${path}`;
    const answer = await this.#send(method, path, options.patch).catch((error: Error & { code?: string }) => {
      this.#signal?.throwIfAborted();
      const found = error.code ?? error.message;
      throw new CutoverError('KUBERNETES_UNREACHABLE', { what: 'no answer', where, found }, { cause: error });
    });
    const { status, text } = answer;
    const body = parsed(text);
    if (status >= 200 && status < 300) return { status, body };
    if (status === 409 && options.conflict) return { status, body };
    const { reason, message } = (body ?? {}) as { reason?: string; message?: string };
    // An answer may repeat what was sent.
    const said = (options.hidden ?? []).reduce(
      (words, secret) => words.replaceAll(secret, '***'),
      `${reason ?? 'no reason'}: ${message ?? text}`,
    );
    const passing = status === 409 || status === 429 || status >= 500;
    const code: Code = passing ? 'KUBERNETES_UNREACHABLE' : 'KUBERNETES_REFUSED';
    throw new CutoverError(code, {
      what: passing ? 'Kubernetes cannot answer now' : 'Kubernetes refuses',
      where,
      found: `status ${status}, ${said.replace(/\s+/g, ' ').trim().slice(0, answerMax)}`,
    });
  }

  #send(method: string, path: string, patch?: object): Promise<{ status: number; text: string }> {
    const { server, ca, cert, key, token } = this.#config;
    const bearer = token && ('value' in token ? token.value : readFileSync(token.path, 'utf8').trim());
    const headers = {
      accept: 'application/json',
      ...(bearer && { authorization: `Bearer ${bearer}` }),
      // RFC 7386: what is not named stays as it is.
      ...(patch && { 'content-type': 'application/merge-patch+json' }),
    };
    const body = patch && JSON.stringify(patch);
    const limits = { timeoutMs, bytesMax: answerBytesMax, signal: this.#signal };
    return exchange(new URL(`${server}${path}`), { method, headers, body, ca, cert, key, ...limits });
  }
}

/**
 * What a rollout still waits for, in words; null when every replica is a new one and available. The conditions are those of
 * `kubectl rollout status`.
 */
export function rolloutWaitsFor(deployment: Deployment): string | null {
  const { wanted, replicas, updatedReplicas, availableReplicas } = deployment;
  if (deployment.observedGeneration < deployment.generation) return 'the restart has not been seen by its controller';
  if (updatedReplicas < wanted) return `${updatedReplicas} of ${wanted} replicas are new`;
  if (replicas > updatedReplicas) return `${replicas - updatedReplicas} old replicas still run`;
  if (availableReplicas < updatedReplicas) return `${availableReplicas} of ${updatedReplicas} replicas are available`;
  return null;
}

/** Why it will never come about by itself, or null. */
export function rolloutGivenUp(deployment: Deployment): string | null {
  if (deployment.paused) return 'the Deployment is paused';
  const found = deployment.conditions.find(
    ({ type, reason }) => type === 'Progressing' && reason === 'ProgressDeadlineExceeded',
  );
  // An older rollout may have left the condition behind: it counts for the one that its controller has seen.
  return found && deployment.observedGeneration >= deployment.generation ? `${found.reason}: ${found.message}` : null;
}

interface RawDeployment {
  readonly metadata?: { readonly generation?: number };
  readonly spec?: { readonly replicas?: number; readonly paused?: boolean };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly updatedReplicas?: number;
    readonly availableReplicas?: number;
    readonly conditions?: readonly { type?: string; status?: string; reason?: string; message?: string }[];
  };
}

function objectPath(kind: ObjectKind, { namespace, name }: Place): string {
  const plural = kind === 'Secret' ? 'secrets' : 'configmaps';
  return `/api/v1/namespaces/${encodeURIComponent(namespace)}/${plural}/${encodeURIComponent(name)}`;
}

function deploymentPath({ namespace, name }: Place): string {
  return `/apis/apps/v1/namespaces/${encodeURIComponent(namespace)}/deployments/${encodeURIComponent(name)}`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
