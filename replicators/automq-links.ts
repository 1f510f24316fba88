/**
 * AutoMQ's Kafka Linking over the control plane of an environment, as its Terraform provider uses it (AutoMQ/terraform-provider-automq): links, and mirror
 * topics below them. Requests are signed in the manner of AWS's signature 4, with names of AutoMQ's own.
 */
import { createHash, createHmac } from 'node:crypto';
import type { AutomqPlace } from '../kafka/replicator-places.ts';
import type { Clusters } from '../migration/change.ts';
import type { Wave } from '../migration/wave.ts';
import { secretsOf } from './cluster-linking-settings.ts';
import { type Method, RestApi } from './rest.ts';
import { awaitTopics } from './waiting.ts';

const pageSize = 50;
/** Pages of one list: more topics than a plan could have. */
const pagesMax = 1_000;

/** What the provider knows; the control plane may show others on the way. */
export type MirrorState = 'LINKING' | 'PAUSED' | 'PROMOTED';

export interface AutomqMirror {
  readonly topic: string;
  readonly id: string;
  readonly state: string;
  readonly error: string;
  /** Records that are not copied yet, of all partitions; null where it is not told. */
  readonly lag: number | null;
}

/** As the source is reached, with its login. */
export interface SourceCluster {
  readonly endpoint: string;
  readonly securityProtocol: string;
  readonly saslMechanism?: string;
  readonly user?: string;
  readonly password?: string;
  readonly truststoreCertificates?: string;
  readonly keystoreCertificateChain?: string;
  readonly keystoreKey?: string;
}

export class AutomqLinks {
  readonly #api: RestApi;
  readonly #links: string;
  readonly #signal: AbortSignal | undefined;

  constructor(place: AutomqPlace, name: string, secrets: readonly string[], signal?: AbortSignal) {
    const { url, ca, secretAccessKey } = place;
    this.#api = new RestApi(
      {
        name,
        url,
        ...(ca && { ca }),
        secrets: [...secrets, secretAccessKey],
        headers: (method, at, body) => signedHeaders(place, method, at, body, new Date()),
        said: saidBy,
      },
      signal,
    );
    this.#links = `/api/v1/instances/${encodeURIComponent(place.instance)}/kafka-links`;
    this.#signal = signal;
  }

  get name(): string {
    return this.#api.name;
  }

  /** Null where there is none. @throws CutoverError REPLICATOR_UNREACHABLE, REPLICATOR_REFUSED, as all methods here */
  async link(link: string): Promise<{ readonly status: string; readonly error: string } | null> {
    const { status, body } = await this.#api.ask('GET', this.#at(link), undefined, [404]);
    if (status === 404) return null;
    const { status: state = '', errorMessage } = (body ?? {}) as { status?: string; errorMessage?: string | null };
    return { status: state, error: this.#api.shown(errorMessage ?? '') };
  }

  /** From the start of the source's logs. */
  async create(link: string, sourceCluster: SourceCluster): Promise<void> {
    await this.#api.ask('POST', this.#links, { linkId: link, startOffsetTime: 'earliest', sourceCluster });
  }

  /** By topic of the source. */
  async mirrors(link: string): Promise<ReadonlyMap<string, AutomqMirror>> {
    const mirrors = new Map<string, AutomqMirror>();
    for (let page = 1; page <= pagesMax; page++) {
      const path = `${this.#at(link)}/kafka-link-mirror-topics?page=${page}&size=${pageSize}`;
      const { body } = await this.#api.ask('GET', path);
      const { list = [] } = (body ?? {}) as { list?: readonly RawMirror[] };
      for (const raw of list) {
        mirrors.set(raw.sourceTopicName ?? '', {
          topic: raw.sourceTopicName ?? '',
          id: raw.mirrorTopicId ?? '',
          state: raw.state?.state ?? '',
          error: raw.state?.errorCode ?? '',
          lag: raw.statistics?.linkingLag ?? null,
        });
      }
      if (list.length < pageSize) return mirrors;
    }
    return mirrors;
  }

  async createMirrors(link: string, topics: readonly string[]): Promise<void> {
    const sourceTopics = topics.map((topicName) => ({ topicName }));
    await this.#api.ask('POST', `${this.#at(link)}/kafka-link-mirror-topics`, { sourceTopics });
  }

  async setState(link: string, mirror: AutomqMirror, state: MirrorState): Promise<void> {
    const path = `${this.#at(link)}/kafka-link-mirror-topics/${encodeURIComponent(mirror.id)}`;
    await this.#api.ask('PATCH', path, { state });
  }

  /**
   * Waits until `done` holds for every one of the topics.
   *
   * @throws CutoverError REPLICATOR_FAILED when it does not in `maxMs`, or one of them shows an error
   */
  async await(
    link: string,
    topics: readonly string[],
    wanted: string,
    done: (mirror: AutomqMirror | undefined) => boolean,
    maxMs: number,
  ): Promise<void> {
    await awaitTopics({
      look: () => this.mirrors(link),
      topics,
      wanted,
      done,
      failed: ({ error }) => error !== '',
      said: (mirror) =>
        mirror ? [mirror.state, mirror.error, mirror.lag && `lag ${mirror.lag}`].filter(Boolean).join(', ') : 'none',
      where: `${this.name}, link ${link}`,
      maxMs,
      signal: this.#signal,
    });
  }

  #at(link: string): string {
    return `${this.#links}/${encodeURIComponent(link)}`;
  }
}

/** The link that people have, or ours, which is of this wave alone. */
export function automqLinkName({
  migration,
  wave,
  plan: { replicator },
}: Pick<Wave, 'migration' | 'wave' | 'plan'>): string {
  const named = replicator.kind === 'automq-linking' ? replicator.link : undefined;
  return named ?? `kafka-cutover-${migration}-${wave}`;
}

export function automqLinks(place: AutomqPlace, clusters: Clusters, signal?: AbortSignal): AutomqLinks {
  return new AutomqLinks(place, `AutoMQ control plane of ${clusters.target.name}`, secretsOf(clusters), signal);
}

interface RawMirror {
  readonly sourceTopicName?: string;
  readonly mirrorTopicId?: string | null;
  readonly state?: { readonly state?: string | null; readonly errorCode?: string | null } | null;
  readonly statistics?: { readonly linkingLag?: number | null } | null;
}

function saidBy(body: unknown): string | null {
  const { error } = (body ?? {}) as { error?: { code?: string; message?: string; detail?: string } };
  return error ? [error.code, error.message, error.detail].filter(Boolean).join(' ') : null;
}

const algorithm = 'AUTOMQ-HMAC-SHA256';
/** What the provider signs for, wherever the environment is. */
const [region, service, ending] = ['private', 'cmp', 'cmp_request'];

/** Exported for tests: everything that the control plane looks at, signed. */
export function signedHeaders(
  { environment, accessKeyId, secretAccessKey }: Pick<AutomqPlace, 'environment' | 'accessKeyId' | 'secretAccessKey'>,
  method: Method,
  url: URL,
  body: string,
  now: Date,
): Record<string, string> {
  const time = now.toISOString().replace(/[-:]|\.\d{3}/g, '');
  const day = time.slice(0, 8);
  const sha = (text: string) => createHash('sha256').update(text).digest('hex');
  const hmac = (key: string | Buffer, text: string) => createHmac('sha256', key).update(text).digest();
  const headers: Record<string, string> = {
    'accept-language': 'en',
    'content-type': 'application/json',
    'x-automq-date': time,
    'x-automq-environment-id': environment,
  };
  const canonical = Object.entries({ ...headers, host: url.host }).sort(([a], [b]) => (a < b ? -1 : 1));
  const names = canonical.map(([name]) => name).join(';');
  const query = new URLSearchParams([...url.searchParams].sort(([a], [b]) => (a < b ? -1 : 1)));
  const request = [
    method,
    url.pathname,
    query.toString().replaceAll('+', '%20'),
    `${canonical.map(([name, value]) => `${name}:${value.trim()}`).join('\n')}\n`,
    names,
    sha(body),
  ].join('\n');
  const scope = [day, region, service, ending].join('/');
  const key = [day, region, service, ending].reduce<string | Buffer>(hmac, `AUTOMQ${secretAccessKey}`);
  const signature = hmac(key, [algorithm, time, scope, sha(request)].join('\n')).toString('hex');
  return {
    ...headers,
    authorization: `${algorithm} Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`,
  };
}
