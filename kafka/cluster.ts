/**
 * One live Kafka cluster seen under one name: who its brokers are, and a way to ask them things.
 *
 * Requests are the typed APIs of `@platformatic/kafka` or our own (`wire.ts`), each named at one version that
 * Kafka 3.1 to 4.3 serves; older brokers are asked in older ones (`older-requests.ts`). Answers are returned also when
 * they carry errors for single topics or partitions: the caller looks at `errorCode`. A broken or timed-out connection is thrown away, never
 * used again, because what was sent on it may still arrive.
 */
import { type API, type Connection, findCoordinatorV4, metadataV12 } from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';
import { answerOf } from './answers.ts';
import type { ClusterConfig, ConnectAs } from './clusters.ts';
import { isRetriableKafkaError, kafkaErrorName, toCutoverError } from './kafka-errors.ts';
import { type LoginOptions, openConnection } from './login.ts';
import { streamlined } from './streamlined.ts';
import { inTheirVersion } from './versions.ts';

export interface Broker {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly rack: string | null;
}

export interface PartitionMetadata {
  readonly partition: number;
  /** -1 when there is no leader. */
  readonly leader: number;
  readonly leaderEpoch: number;
  readonly replicas: readonly number[];
  readonly inSyncReplicas: readonly number[];
}

export interface TopicMetadata {
  readonly name: string;
  /** UUID; all zeros from brokers without topic ids. */
  readonly topicId: string;
  readonly internal: boolean;
  readonly partitions: readonly PartitionMetadata[];
}

export interface ClusterMetadata {
  readonly clusterId: string;
  readonly controllerId: number;
  readonly brokers: readonly Broker[];
  readonly topics: ReadonlyMap<string, TopicMetadata>;
}

/** Which broker a request goes to. */
export type Destination =
  | 'any'
  | 'controller'
  | { readonly broker: number }
  | { readonly group: string }
  | { readonly transactionalId: string };

export interface ClusterOptions extends LoginOptions {
  readonly signal?: AbortSignal;
}

const coordinatorAttemptsMax = 40;
const coordinatorRetryMs = 150;

type AnyApi<Args extends unknown[], Answer> = API<Args, Answer>;

export class Cluster implements AsyncDisposable {
  readonly name: string;
  readonly config: ClusterConfig;
  /** Under whose credentials it was connected. */
  readonly as: ConnectAs;
  /** The cluster's own id, read when connecting. */
  readonly clusterId: string;
  #options: ClusterOptions;
  #brokers: readonly Broker[];
  #controllerId: number;
  #connections = new Map<string, Promise<Connection>>();
  #coordinators = new Map<string, number>();
  #closed = false;

  private constructor(config: ClusterConfig, options: ClusterOptions, first: ClusterMetadata) {
    this.name = config.name;
    this.config = config;
    this.as = options.as ?? 'own';
    this.#options = options;
    this.clusterId = first.clusterId;
    this.#brokers = first.brokers;
    this.#controllerId = first.controllerId;
  }

  /**
   * Connects to the first bootstrap address that answers.
   *
   * @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_AUTH_FAILED
   */
  static async connect(config: ClusterConfig, options: ClusterOptions = {}): Promise<Cluster> {
    let last: CutoverError | undefined;
    for (const address of config.bootstrap) {
      const separator = address.lastIndexOf(':');
      const host = address.slice(0, separator).replace(/^\[|\]$/g, '');
      let connection: Connection | undefined;
      try {
        connection = await openConnection(config, options, host, Number(address.slice(separator + 1)));
        const request = await inTheirVersion(connection, metadataV12.api);
        const metadata = toMetadata(await answerOf(request.async(connection, [], false, false)));
        return new Cluster(config, options, metadata);
      } catch (error) {
        last = toCutoverError(error, `cluster ${config.name}, bootstrap ${address}`);
        if (last.code === 'CLUSTER_AUTH_FAILED') throw last;
      } finally {
        await connection?.close();
      }
    }
    throw (
      last ?? new CutoverError('CLUSTER_UNREACHABLE', { what: 'no bootstrap address', where: `cluster ${config.name}` })
    );
  }

  /**
   * A cluster that did not answer just now. Each call tries its bootstrap addresses again; until one answers, it throws
   * CLUSTER_UNREACHABLE. For what must be done on the other cluster without waiting for this one.
   */
  static unreached(config: ClusterConfig, options: ClusterOptions = {}): Cluster {
    return new Cluster(config, options, { clusterId: '', controllerId: -1, brokers: [], topics: new Map() });
  }

  /** Brokers as of the last `metadata()`; at least one. */
  get brokers(): readonly Broker[] {
    return this.#brokers;
  }

  /** Live brokers and the named topics (all topics when `null`). Topics that do not exist are left out. */
  async metadata(topics: readonly string[] | null): Promise<ClusterMetadata> {
    const answer = await this.call('any', metadataV12.api, topics === null ? null : [...topics], false, false);
    const metadata = toMetadata(answer);
    this.#brokers = metadata.brokers;
    this.#controllerId = metadata.controllerId;
    return metadata;
  }

  /**
   * Sends one request and gives its answer. Where the destination is a role (any, controller, coordinator),
   * a broker that is down or no longer holds it is replaced and the request sent again, so use roles
   * only for requests that may be sent twice. Errors inside the answer are the caller's to read.
   *
   * @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_AUTH_FAILED, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED
   */
  async call<Args extends unknown[], Answer>(
    destination: Destination,
    api: AnyApi<Args, Answer>,
    ...args: Args
  ): Promise<Answer> {
    if (destination === 'any') return this.#callAny(api, args);
    if (typeof destination === 'object' && 'broker' in destination) {
      return this.#callBroker(destination.broker, api, args);
    }
    let last: unknown;
    for (let attempt = 0; attempt < coordinatorAttemptsMax; attempt++) {
      this.#options.signal?.throwIfAborted();
      try {
        const broker = await this.#locate(destination);
        const answer = await this.#callBroker(broker, api, args);
        const stale = topLevelError(answer);
        if (stale === 0 || !movedErrors.has(stale)) return answer;
        last = new CutoverError('KAFKA_REQUEST_FAILED', {
          what: kafkaErrorName(stale),
          where: this.#where(destination),
        });
      } catch (error) {
        last = error;
        if (!(error instanceof CutoverError) || !error.retryable) throw error;
      }
      await this.#forget(destination);
      await new Promise((done) => setTimeout(done, coordinatorRetryMs));
    }
    throw toCutoverError(last, this.#where(destination));
  }

  /** A connection of the caller's own, not shared and not pooled, made for large requests and answers; the caller closes it. */
  async open(brokerId: number): Promise<Connection> {
    const broker = await this.#broker(brokerId);
    return streamlined(await openConnection(this.config, this.#options, broker.host, broker.port), this.#options);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const open = [...this.#connections.values()];
    this.#connections.clear();
    await Promise.allSettled(open.map(async (connection) => (await connection).close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #callAny<Args extends unknown[], Answer>(api: AnyApi<Args, Answer>, args: Args): Promise<Answer> {
    let last: unknown;
    for (const broker of [...this.#brokers].sort(() => Math.random() - 0.5)) {
      try {
        return await this.#send(broker.host, broker.port, api, args);
      } catch (error) {
        last = error;
        if (!(error instanceof CutoverError) || !error.retryable) throw error;
      }
    }
    // Every broker that we knew may have moved: the bootstrap addresses are what the user vouches for.
    for (const address of this.config.bootstrap) {
      const separator = address.lastIndexOf(':');
      try {
        const host = address.slice(0, separator).replace(/^\[|\]$/g, '');
        return await this.#send(host, Number(address.slice(separator + 1)), api, args);
      } catch (error) {
        last = error;
        if (!(error instanceof CutoverError) || !error.retryable) throw error;
      }
    }
    throw toCutoverError(last, `cluster ${this.name}`);
  }

  async #callBroker<Args extends unknown[], Answer>(
    id: number,
    api: AnyApi<Args, Answer>,
    args: Args,
  ): Promise<Answer> {
    const broker = await this.#broker(id);
    return this.#send(broker.host, broker.port, api, args);
  }

  async #broker(id: number): Promise<Broker> {
    const known = this.#brokers.find((broker) => broker.id === id);
    if (known) return known;
    await this.metadata([]);
    const found = this.#brokers.find((broker) => broker.id === id);
    if (found) return found;
    throw new CutoverError('CLUSTER_UNREACHABLE', { what: `broker ${id} is not alive`, where: `cluster ${this.name}` });
  }

  async #send<Args extends unknown[], Answer>(
    host: string,
    port: number,
    api: AnyApi<Args, Answer>,
    args: Args,
  ): Promise<Answer> {
    if (this.#closed) throw new CutoverError('INTERNAL', { what: 'the cluster client is closed', where: this.name });
    const key = `${host}:${port}`;
    let opening = this.#connections.get(key);
    if (!opening) {
      opening = openConnection(this.config, this.#options, host, port);
      this.#connections.set(key, opening);
    }
    try {
      const connection = await opening;
      if (!connection.isConnected())
        throw new CutoverError('CLUSTER_UNREACHABLE', { what: 'connection lost', where: key });
      return await answerOf((await inTheirVersion(connection, api)).async(connection, ...args));
    } catch (error) {
      // Nothing was sent.
      if (error instanceof CutoverError && error.code === 'VERSION_UNSUPPORTED') throw error;
      if (this.#connections.get(key) === opening) this.#connections.delete(key);
      opening.then((connection) => connection.close()).catch(() => {});
      throw toCutoverError(error, `cluster ${this.name}, broker ${key}`);
    }
  }

  async #locate(destination: Exclude<Destination, 'any' | { broker: number }>): Promise<number> {
    if (destination === 'controller') {
      if (this.#controllerId < 0) await this.metadata([]);
      return this.#controllerId;
    }
    const [keyType, key] =
      'group' in destination ? ([0, destination.group] as const) : ([1, destination.transactionalId] as const);
    const cacheKey = `${keyType}:${key}`;
    const known = this.#coordinators.get(cacheKey);
    if (known !== undefined) return known;
    const answer = await this.#callAny(findCoordinatorV4.api, [keyType, [key]]);
    const { errorCode, nodeId } = answer.coordinators[0] ?? { errorCode: 15, nodeId: -1 };
    if (errorCode !== 0) {
      throw new CutoverError(isRetriableKafkaError(errorCode) ? 'KAFKA_REQUEST_FAILED' : 'CLUSTER_ACCESS_DENIED', {
        what: `no coordinator: ${kafkaErrorName(errorCode)}`,
        where: this.#where(destination),
      });
    }
    this.#coordinators.set(cacheKey, nodeId);
    return nodeId;
  }

  async #forget(destination: Destination): Promise<void> {
    this.#coordinators.clear();
    if (destination === 'controller') await this.metadata([]).catch(() => {});
  }

  #where(destination: Destination): string {
    return `cluster ${this.name}, ${typeof destination === 'string' ? destination : JSON.stringify(destination)}`;
  }
}

/** NOT_CONTROLLER, and the three that mean that a coordinator is elsewhere or not ready. */
const movedErrors: ReadonlySet<number> = new Set([14, 15, 16, 41]);

function topLevelError(answer: unknown): number {
  const body = answer as { errorCode?: number; topics?: { errorCode?: number }[]; groups?: { errorCode?: number }[] };
  if (body?.errorCode) return body.errorCode;
  const nested = body?.groups?.[0]?.errorCode ?? body?.topics?.[0]?.errorCode ?? 0;
  return movedErrors.has(nested) ? nested : 0;
}

function toMetadata(answer: Awaited<ReturnType<typeof metadataV12.api.async>>): ClusterMetadata {
  return {
    clusterId: answer.clusterId ?? '',
    controllerId: answer.controllerId,
    brokers: answer.brokers.map((b) => ({ id: b.nodeId, host: b.host, port: b.port, rack: b.rack ?? null })),
    topics: new Map(
      answer.topics
        .filter((topic) => topic.errorCode === 0 && topic.name)
        .map((topic) => [
          topic.name as string,
          {
            name: topic.name as string,
            topicId: topic.topicId,
            internal: topic.isInternal,
            partitions: topic.partitions
              .map((p) => ({
                partition: p.partitionIndex,
                leader: p.leaderId,
                leaderEpoch: p.leaderEpoch,
                replicas: p.replicaNodes,
                inSyncReplicas: p.isrNodes,
              }))
              .sort((a, b) => a.partition - b.partition),
          },
        ]),
    ),
  };
}
