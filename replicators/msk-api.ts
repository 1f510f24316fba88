/**
 * MSK's replicators and their metrics, by AWS's own clients. These are optional dependencies, loaded only where a plan asks for them: they bring credentials,
 * signatures and retries of AWS's kind, which nobody should write again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { CloudWatchClient, MetricDataQuery } from '@aws-sdk/client-cloudwatch';
import type {
  CreateReplicatorCommandInput,
  DescribeReplicatorCommandOutput,
  KafkaClient,
  UpdateReplicationInfoCommandInput,
} from '@aws-sdk/client-kafka';
import { CutoverError } from '../contract/errors.ts';
import type { MskReplicatorPlace } from '../kafka/replicator-places.ts';

/** Of one attempt; the client makes three. */
const timeoutMs = 20_000;
const attemptsMax = 3;
/** Characters of an answer that are shown. */
const answerMax = 300;
/** CloudWatch keeps a replicator's metrics by the minute; the newest ones arrive a few minutes late. */
const metricPeriodSeconds = 60;
const metricWindowMs = 600_000;
/** Metrics that one request asks for, as CloudWatch allows. */
const queriesMax = 500;
const pageMax = 100;

export type Described = Pick<
  DescribeReplicatorCommandOutput,
  'ReplicatorArn' | 'ReplicatorState' | 'StateInfo' | 'CurrentVersion' | 'ReplicationInfoList' | 'Tags'
>;

/** Newest values of one topic; null where CloudWatch has none. */
export interface TopicMetrics {
  /** Messages that the replicator has not read yet. It is not how far the copy is behind: what it has read it may not have written. */
  readonly messageLag: number | null;
  /** Milliseconds. Zero while records are produced means that it may not read or write the topic. */
  readonly replicationLatency: number | null;
}

export interface ReplicatorMetrics {
  /** Logins that failed, of any connection; topics that it may not touch do not count here. */
  readonly authErrors: number;
  readonly topics: ReadonlyMap<string, TopicMetrics>;
}

export interface MskClusterFacts {
  readonly state: string;
  readonly serverless: boolean;
  /** `express.m7g.large` and the like; empty where serverless. */
  readonly instanceType: string;
  readonly version: string;
  readonly iam: boolean;
}

export class MskApi {
  readonly #kafka: KafkaClient;
  readonly #cloudWatch: CloudWatchClient;
  readonly #where: string;
  readonly #signal: AbortSignal | undefined;

  private constructor(kafka: KafkaClient, cloudWatch: CloudWatchClient, where: string, signal?: AbortSignal) {
    this.#kafka = kafka;
    this.#cloudWatch = cloudWatch;
    this.#where = where;
    this.#signal = signal;
  }

  /** @throws CutoverError CLUSTERS_INVALID where AWS's clients are not installed */
  static async open(place: MskReplicatorPlace, region: string, signal?: AbortSignal): Promise<MskApi> {
    const where = `Amazon MSK in ${region}`;
    const [kafka, cloudWatch] = await Promise.all([
      import('@aws-sdk/client-kafka'),
      import('@aws-sdk/client-cloudwatch'),
    ]).catch(() => {
      throw new CutoverError('CLUSTERS_INVALID', {
        what: "msk-replicator needs AWS's clients",
        where,
        found: 'no package @aws-sdk/client-kafka or @aws-sdk/client-cloudwatch',
        next: 'Install without `--omit=optional`, or add them: `npm install @aws-sdk/client-kafka @aws-sdk/client-cloudwatch`.',
      });
    });
    const common = {
      region,
      maxAttempts: attemptsMax,
      ...(place.profile && { profile: place.profile }),
      requestHandler: { requestTimeout: timeoutMs, connectionTimeout: timeoutMs },
    };
    const { kafka: kafkaUrl, cloudwatch: cloudWatchUrl } = place.endpoints;
    return new MskApi(
      new kafka.KafkaClient({ ...common, ...(kafkaUrl && { endpoint: kafkaUrl }) }),
      new cloudWatch.CloudWatchClient({ ...common, ...(cloudWatchUrl && { endpoint: cloudWatchUrl }) }),
      where,
      signal,
    );
  }

  close(): void {
    this.#kafka.destroy();
    this.#cloudWatch.destroy();
  }

  /** By its whole name; null where there is none. @throws CutoverError REPLICATOR_UNREACHABLE, REPLICATOR_REFUSED, as all methods here */
  async find(name: string): Promise<Described | null> {
    const { ListReplicatorsCommand } = await import('@aws-sdk/client-kafka');
    let token: string | undefined;
    do {
      const NextToken = token;
      const page = await this.#ask(`list replicators ${name}`, (options) =>
        this.#kafka.send(
          new ListReplicatorsCommand({ ReplicatorNameFilter: name, MaxResults: pageMax, NextToken }),
          options,
        ),
      );
      // The filter takes beginnings of names too.
      const found = page.Replicators?.find(({ ReplicatorName }) => ReplicatorName === name);
      if (found?.ReplicatorArn) return this.describe(found.ReplicatorArn);
      token = page.NextToken;
    } while (token);
    return null;
  }

  /** Null once it is gone. */
  async describe(arn: string): Promise<Described | null> {
    const { DescribeReplicatorCommand } = await import('@aws-sdk/client-kafka');
    return this.#orGone(
      this.#ask(`describe replicator ${nameIn(arn)}`, (options) =>
        this.#kafka.send(new DescribeReplicatorCommand({ ReplicatorArn: arn }), options),
      ),
    );
  }

  async create(input: CreateReplicatorCommandInput): Promise<void> {
    const { CreateReplicatorCommand } = await import('@aws-sdk/client-kafka');
    await this.#ask(`create replicator ${input.ReplicatorName}`, (options) =>
      this.#kafka.send(new CreateReplicatorCommand(input), options),
    );
  }

  async update(input: UpdateReplicationInfoCommandInput): Promise<void> {
    const { UpdateReplicationInfoCommand } = await import('@aws-sdk/client-kafka');
    await this.#ask(`update replicator ${nameIn(input.ReplicatorArn ?? '')}`, (options) =>
      this.#kafka.send(new UpdateReplicationInfoCommand(input), options),
    );
  }

  /** Asks for it; it is gone when `describe` says so. */
  async delete(arn: string): Promise<void> {
    const { DeleteReplicatorCommand } = await import('@aws-sdk/client-kafka');
    await this.#orGone(
      this.#ask(`delete replicator ${nameIn(arn)}`, (options) =>
        this.#kafka.send(new DeleteReplicatorCommand({ ReplicatorArn: arn }), options),
      ),
    );
  }

  async cluster(arn: string): Promise<MskClusterFacts> {
    const { DescribeClusterV2Command } = await import('@aws-sdk/client-kafka');
    const { ClusterInfo } = await this.#ask(`describe cluster ${nameIn(arn)}`, (options) =>
      this.#kafka.send(new DescribeClusterV2Command({ ClusterArn: arn }), options),
    );
    const { Provisioned, Serverless, State = 'unknown' } = ClusterInfo ?? {};
    return {
      state: State,
      serverless: Serverless !== undefined,
      instanceType: Provisioned?.BrokerNodeGroupInfo?.InstanceType ?? '',
      version: Provisioned?.CurrentBrokerSoftwareInfo?.KafkaVersion ?? '',
      iam: Serverless !== undefined || Provisioned?.ClientAuthentication?.Sasl?.Iam?.Enabled === true,
    };
  }

  async metrics(replicator: string, topics: readonly string[]): Promise<ReplicatorMetrics> {
    const { GetMetricDataCommand } = await import('@aws-sdk/client-cloudwatch');
    const query = (id: string, metric: string, stat: string, topic?: string): MetricDataQuery => ({
      Id: id,
      MetricStat: {
        Metric: {
          Namespace: 'AWS/Kafka',
          MetricName: metric,
          Dimensions: [
            { Name: 'ReplicatorName', Value: replicator },
            ...(topic === undefined ? [] : [{ Name: 'Topic', Value: topic }]),
          ],
        },
        Period: metricPeriodSeconds,
        Stat: stat,
      },
    });
    const queries = [
      query('auth', 'AuthError', 'Sum'),
      ...topics.flatMap((topic, index) => [
        query(`lag${index}`, 'MessageLag', 'Sum', topic),
        query(`latency${index}`, 'ReplicationLatency', 'Maximum', topic),
      ]),
    ];
    const newest = new Map<string, number>();
    const now = Date.now();
    for (let first = 0; first < queries.length; first += queriesMax) {
      let token: string | undefined;
      do {
        const NextToken = token;
        const page = await this.#ask(`metrics of replicator ${replicator}`, (options) =>
          this.#cloudWatch.send(
            new GetMetricDataCommand({
              MetricDataQueries: queries.slice(first, first + queriesMax),
              StartTime: new Date(now - metricWindowMs),
              EndTime: new Date(now),
              ScanBy: 'TimestampDescending',
              NextToken,
            }),
            options,
          ),
        );
        for (const { Id, Values } of page.MetricDataResults ?? []) {
          const [value] = Values ?? [];
          if (Id !== undefined && value !== undefined && !newest.has(Id)) newest.set(Id, value);
        }
        token = page.NextToken;
      } while (token);
    }
    return {
      authErrors: newest.get('auth') ?? 0,
      topics: new Map(
        topics.map((topic, index) => [
          topic,
          {
            messageLag: newest.get(`lag${index}`) ?? null,
            replicationLatency: newest.get(`latency${index}`) ?? null,
          },
        ]),
      ),
    };
  }

  /**
   * Waits until a replicator is as wanted.
   *
   * @throws CutoverError REPLICATOR_FAILED when it is not in `maxMs`
   */
  async await(
    name: string,
    wanted: string,
    done: (found: Described | null) => boolean,
    { maxMs, everyMs }: { readonly maxMs: number; readonly everyMs: number },
  ): Promise<Described | null> {
    const until = performance.now() + maxMs;
    for (;;) {
      const found = await this.find(name);
      if (done(found)) return found;
      if (performance.now() > until || found?.ReplicatorState === 'FAILED') {
        throw new CutoverError('REPLICATOR_FAILED', {
          what: 'the replicator does not come into the state that was asked for',
          where: `${this.#where}, replicator ${name}`,
          found: stateOf(found),
          wanted,
        });
      }
      await sleep(everyMs, undefined, this.#signal && { signal: this.#signal });
    }
  }

  async #ask<Answer>(
    what: string,
    send: (options: { readonly abortSignal?: AbortSignal }) => Promise<Answer>,
  ): Promise<Answer> {
    try {
      return await send(this.#signal ? { abortSignal: this.#signal } : {});
    } catch (error) {
      this.#signal?.throwIfAborted();
      throw coded(error, `${this.#where}, ${what}`);
    }
  }

  async #orGone<Answer>(asking: Promise<Answer>): Promise<Answer | null> {
    return asking.catch((error: unknown) => {
      const { name } = (error as { cause?: { name?: string } }).cause ?? {};
      if (name === 'NotFoundException') return null;
      throw error;
    });
  }
}

export function stateOf(found: Described | null): string {
  if (found === null) return 'no replicator';
  const { Code, Message } = found.StateInfo ?? {};
  return [found.ReplicatorState, Code, Message].filter(Boolean).join(', ').slice(0, answerMax);
}

/** Of a replicator's or cluster's ARN, `...:replicator/<name>/<id>`. */
function nameIn(arn: string): string {
  return arn.split('/')[1] ?? arn;
}

function coded(error: unknown, where: string): CutoverError {
  const { name, message, $fault, $metadata } = error as Error & {
    $fault?: 'client' | 'server';
    $metadata?: { httpStatusCode?: number };
  };
  const status = $metadata?.httpStatusCode;
  const withoutLogin = name === 'CredentialsProviderError';
  const passes = !withoutLogin && (status === undefined || status === 429 || status >= 500 || $fault === 'server');
  return new CutoverError(
    passes ? 'REPLICATOR_UNREACHABLE' : 'REPLICATOR_REFUSED',
    {
      what: passes ? 'AWS does not answer, or cannot now' : withoutLogin ? 'no credentials for AWS' : 'AWS refuses',
      where,
      found: [status && `status ${status}`, `${name}: ${message}`.replace(/\s+/g, ' ').slice(0, answerMax)]
        .filter(Boolean)
        .join(', '),
      ...(withoutLogin && { next: "Give credentials by AWS's default chain, or `profile` in clusters.yaml." }),
      ...((status === 401 || status === 403) && { next: 'Allow our identity the IAM action that the message names.' }),
    },
    { cause: error },
  );
}
