/**
 * Confluent's Cluster Linking over REST API v3 (docs.confluent.io, "Cluster Linking (v3)"): links, their settings, mirror topics. What alters mirror
 * topics is accepted first and done later: an answer says accepted or refused, one line a topic, and the state tells when it is done.
 */
import { CutoverError } from '../contract/errors.ts';
import type { RestPlace } from '../kafka/replicator-places.ts';
import { RestApi } from './rest.ts';
import { awaitTopics } from './waiting.ts';

/** Topics that one request alters. */
const topicsAtOnceMax = 100;

export type MirrorStatus =
  | 'ACTIVE'
  | 'PAUSED'
  | 'FAILED'
  | 'STOPPED'
  | 'LINK_FAILED'
  | 'LINK_PAUSED'
  | 'SOURCE_UNAVAILABLE'
  | 'PENDING_STOPPED'
  | 'PENDING_MIRROR'
  | 'PENDING_SYNCHRONIZE'
  | 'PENDING_SETUP_FOR_RESTORE'
  | 'PENDING_RESTORE';

export interface Mirror {
  readonly topic: string;
  readonly sourceTopic: string;
  readonly status: MirrorStatus;
  /** Why it failed, or why its state does not change; empty where nothing is wrong. */
  readonly error: string;
  readonly lags: readonly MirrorLag[];
}

export interface MirrorLag {
  readonly partition: number;
  readonly lag: number;
  readonly lastSourceFetchOffset: number;
}

export interface Link {
  readonly name: string;
  readonly state: string;
  readonly error: string;
}

/** `reverse-...` and `truncate-...` are for bidirectional links. */
export type MirrorVerb =
  | 'promote'
  | 'failover'
  | 'pause'
  | 'resume'
  | 'reverse-and-start-mirror'
  | 'truncate-and-restore';

export class ClusterLinks {
  readonly #api: RestApi;
  readonly #cluster: string;
  readonly #signal: AbortSignal | undefined;

  /** @param clusterId Kafka's own, of the cluster whose links these are */
  constructor(place: RestPlace, name: string, clusterId: string, secrets: readonly string[], signal?: AbortSignal) {
    this.#api = new RestApi({ ...place, name, secrets, said: saidBy }, signal);
    this.#cluster = `/clusters/${encodeURIComponent(clusterId)}`;
    this.#signal = signal;
  }

  get name(): string {
    return this.#api.name;
  }

  /** @throws CutoverError REPLICATOR_UNREACHABLE, REPLICATOR_REFUSED, as all methods here */
  async links(): Promise<readonly Link[]> {
    const { body } = await this.#api.ask('GET', `${this.#cluster}/links`);
    return dataOf<RawLink>(body).map((raw) => this.#linkOf(raw));
  }

  /** Null where there is none. */
  async link(link: string): Promise<Link | null> {
    const { status, body } = await this.#api.ask('GET', this.#at(link), undefined, [404]);
    return status === 404 ? null : this.#linkOf(body as RawLink);
  }

  async settings(link: string): Promise<ReadonlyMap<string, string>> {
    const { body } = await this.#api.ask('GET', `${this.#at(link)}/configs`);
    return new Map(
      dataOf<{ name?: string; value?: string }>(body).map(({ name = '', value = '' }) => [name, value ?? '']),
    );
  }

  /** @param remote id of the other cluster; `bidirectional` links are made on both */
  async create(
    link: string,
    remote: string,
    settings: Readonly<Record<string, string>>,
    bidirectional: boolean,
  ): Promise<void> {
    const configs = Object.entries(settings).map(([name, value]) => ({ name, value }));
    await this.#api.ask('POST', `${this.#cluster}/links?link_name=${encodeURIComponent(link)}`, {
      ...(bidirectional ? { remote_cluster_id: remote } : { source_cluster_id: remote }),
      configs,
    });
  }

  async set(link: string, name: string, value: string): Promise<void> {
    await this.#api.ask('PUT', `${this.#at(link)}/configs/${encodeURIComponent(name)}`, { value });
  }

  /** @returns false where there was none */
  async remove(link: string): Promise<boolean> {
    const { status } = await this.#api.ask('DELETE', this.#at(link), undefined, [404]);
    return status !== 404;
  }

  /** By topic on this cluster. */
  async mirrors(link: string): Promise<ReadonlyMap<string, Mirror>> {
    const { body } = await this.#api.ask('GET', `${this.#at(link)}/mirrors`);
    return new Map(
      dataOf<RawMirror>(body)
        .map(mirrorOf)
        .map((mirror) => [mirror.topic, mirror]),
    );
  }

  async createMirror(link: string, topic: string): Promise<void> {
    await this.#api.ask('POST', `${this.#at(link)}/mirrors`, { source_topic_name: topic });
  }

  /**
   * Asks for it, or, with `validateOnly`, whether it would be taken.
   *
   * @returns records that would be, or are, deleted by `truncate-and-restore`
   * @throws CutoverError REPLICATOR_REFUSED with the first topic that is refused, and why
   */
  async alter(
    link: string,
    verb: MirrorVerb,
    topics: readonly string[],
    options: { readonly validateOnly?: boolean } = {},
  ): Promise<{ readonly truncated: number }> {
    let truncated = 0;
    for (let first = 0; first < topics.length; first += topicsAtOnceMax) {
      const asked = topics.slice(first, first + topicsAtOnceMax);
      const path = `${this.#at(link)}/mirrors:${verb}${options.validateOnly ? '?validate_only=true' : ''}`;
      const { body } = await this.#api.ask('POST', path, { mirror_topic_names: asked });
      const results = dataOf<RawAltered>(body);
      const refused = results.filter(({ error_code }) => (error_code ?? 0) !== 0);
      const unanswered = asked.filter((topic) => !results.some((result) => result.mirror_topic_name === topic));
      const [bad] = refused;
      if (bad || unanswered.length > 0) {
        throw new CutoverError('REPLICATOR_REFUSED', {
          what: `${verb} is refused for ${refused.length + unanswered.length} of ${asked.length} mirror topics`,
          where: `${this.name}, link ${link}, topic ${bad?.mirror_topic_name ?? unanswered[0]}`,
          found: bad ? `${bad.error_code}, ${this.#api.shown(bad.error_message ?? '')}` : 'no word about it',
        });
      }
      truncated += results.reduce((sum, { messages_truncated }) => sum + Number(messages_truncated ?? 0), 0);
    }
    return { truncated };
  }

  /**
   * Waits until `done` holds for every one of the topics.
   *
   * @throws CutoverError REPLICATOR_FAILED when it does not in `maxMs`, or one of them has failed
   */
  async await(
    link: string,
    topics: readonly string[],
    wanted: string,
    done: (mirror: Mirror | undefined) => boolean,
    maxMs: number,
  ): Promise<void> {
    await awaitTopics({
      look: () => this.mirrors(link),
      topics,
      wanted,
      done,
      failed: ({ status }) => status === 'FAILED',
      said: (mirror) => (mirror ? [mirror.status, mirror.error].filter(Boolean).join(', ') : 'no mirror topic'),
      where: `${this.name}, link ${link}`,
      maxMs,
      signal: this.#signal,
    });
  }

  #at(link: string): string {
    return `${this.#cluster}/links/${encodeURIComponent(link)}`;
  }

  #linkOf({ link_name = '', link_state = 'UNKNOWN', link_error, link_error_message }: RawLink): Link {
    const error = link_error && link_error !== 'NO_ERROR' ? `${link_error} ${link_error_message ?? ''}` : '';
    return { name: link_name, state: link_state, error: this.#api.shown(error) };
  }
}

interface RawLink {
  readonly link_name?: string;
  readonly link_state?: string;
  readonly link_error?: string | null;
  readonly link_error_message?: string | null;
}

interface RawMirror {
  readonly mirror_topic_name?: string;
  readonly source_topic_name?: string;
  readonly mirror_status?: MirrorStatus;
  readonly mirror_topic_error?: string;
  readonly mirror_state_transition_errors?: readonly {
    readonly error_code?: string;
    readonly error_message?: string;
  }[];
  readonly mirror_lags?: readonly {
    readonly partition?: number;
    readonly lag?: number;
    readonly last_source_fetch_offset?: number;
  }[];
}

interface RawAltered {
  readonly mirror_topic_name?: string;
  readonly error_code?: number | null;
  readonly error_message?: string | null;
  readonly messages_truncated?: number | string | null;
}

function mirrorOf(raw: RawMirror): Mirror {
  const topicError = raw.mirror_topic_error ?? '';
  const errors = [
    ...(['', 'NOT_SET', 'NO_ERROR'].includes(topicError) ? [] : [topicError]),
    ...(raw.mirror_state_transition_errors ?? []).map(
      ({ error_code, error_message }) => `${error_code} ${error_message}`,
    ),
  ];
  return {
    topic: raw.mirror_topic_name ?? '',
    sourceTopic: raw.source_topic_name ?? raw.mirror_topic_name ?? '',
    status: raw.mirror_status ?? 'FAILED',
    error: errors.join('; '),
    lags: (raw.mirror_lags ?? []).map(({ partition = -1, lag = 0, last_source_fetch_offset = -1 }) => ({
      partition,
      lag,
      lastSourceFetchOffset: last_source_fetch_offset,
    })),
  };
}

function dataOf<Entry>(body: unknown): readonly Entry[] {
  const { data } = (body ?? {}) as { data?: unknown };
  return Array.isArray(data) ? (data as Entry[]) : [];
}

function saidBy(body: unknown): string | null {
  const { error_code, message } = (body ?? {}) as { error_code?: number; message?: string };
  return message ? `${error_code ?? ''} ${message}`.trim() : null;
}
