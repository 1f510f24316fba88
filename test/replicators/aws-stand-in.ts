/**
 * Amazon MSK and CloudWatch, as far as replicators need them. Every request, and every answer of this stand-in's own, is checked by AWS's model of the
 * service; what a model does not say (how states follow one another, what is refused when) is from AWS's developer guide. Nothing was ever compared with AWS.
 *
 * A replicator comes into its next state when it has been looked at twice.
 */
import { operationOf, type ServiceModel, wrongBy } from '../support/service-model.ts';
import { type Asked, type Reply, standIn } from './stand-in.ts';

type State = 'RUNNING' | 'CREATING' | 'UPDATING' | 'DELETING' | 'FAILED';

export interface StoodIn {
  readonly arn: string;
  state: State;
  looks: number;
  version: number;
  /** As it was sent, on the wire's names. */
  readonly input: Record<string, unknown>;
  tags: Record<string, string>;
}

export interface AwsStandIn {
  readonly url: string;
  readonly replicators: Map<string, StoodIn>;
  /** By ARN. */
  readonly clusters: Map<string, object>;
  /** By metric and topic, as in `MessageLag orders`; without a topic for the replicator as a whole. */
  readonly metrics: Map<string, number>;
  /** Operations, in the order of their requests. */
  readonly asked: string[];
  /** Answers to come instead of real ones. */
  readonly failures: Reply[];
  /** Regions that requests were signed for. */
  readonly regions: Set<string>;
}

const account = '123456789012';
const looksMax = 2;

export const arnOf = (region: string, name: string) =>
  `arn:aws:kafka:${region}:${account}:cluster/${name}/11111111-2222`;

export function provisioned(instanceType: string, version: string, options: { state?: string; iam?: boolean } = {}) {
  return {
    clusterType: 'PROVISIONED',
    state: options.state ?? 'ACTIVE',
    provisioned: {
      brokerNodeGroupInfo: { clientSubnets: ['subnet-1'], instanceType },
      numberOfBrokerNodes: 3,
      currentBrokerSoftwareInfo: { kafkaVersion: version },
      clientAuthentication: { sasl: { iam: { enabled: options.iam ?? true }, scram: { enabled: true } } },
    },
  };
}

export async function awsStandIn(kafka: ServiceModel, cloudWatch: ServiceModel): Promise<AwsStandIn> {
  const aws = {
    url: '',
    replicators: new Map<string, StoodIn>(),
    clusters: new Map<string, object>(),
    metrics: new Map<string, number>(),
    asked: [] as string[],
    failures: [] as Reply[],
    regions: new Set<string>(),
  };
  const url = await standIn((asked) => {
    const [, region, service] =
      /Credential=[^/]+\/\d{8}\/([^/]+)\/([^/]+)\/aws4_request/.exec(asked.headers.authorization ?? '') ?? [];
    if (!region) return failed('UnauthorizedException', 401, 'not signed');
    aws.regions.add(region);
    const failure = aws.failures.shift();
    if (failure) return failure;
    return service === 'kafka' ? onKafka(aws, kafka, asked, region) : onCloudWatch(aws, cloudWatch, asked);
  });
  aws.url = url;
  return aws;
}

export function failed(type: string, status: number, message: string): Reply {
  return { status, headers: { 'x-amzn-errortype': type }, body: { message, invalidParameter: null } };
}

function onKafka(aws: AwsStandIn, model: ServiceModel, { method, url, body }: Asked, region: string): Reply {
  const found = operationOf(model, method, url);
  if (!found) return failed('NotFoundException', 404, `no operation ${method} ${url.pathname}`);
  const { operation, parameters } = found;
  const wrong = [...found.wrong, ...(operation.input ? wrongBy(model, operation.input.shape, body ?? {}) : [])];
  if (wrong.length > 0) return failed('BadRequestException', 400, wrong.join('; '));
  aws.asked.push(operation.name);
  const answer = answers[operation.name]?.(aws, (body ?? {}) as Record<string, unknown>, parameters, region);
  if (!answer) return failed('InternalServerErrorException', 500, `stand-in without ${operation.name}`);
  if (!('status' in answer)) return checked(model, operation.output?.shape ?? '', answer);
  const reply = answer as Reply;
  const type = reply.headers?.['x-amzn-errortype'];
  if (!operation.errors?.some(({ shape }) => shape === type))
    throw new Error(`${operation.name} never answers ${type}`);
  return reply;
}

function checked(model: ServiceModel, shape: string, body: object): Reply {
  const wrong = wrongBy(model, shape, JSON.parse(JSON.stringify(body)));
  if (wrong.length > 0) throw new Error(`an answer that AWS never gives: ${wrong.join('; ')}`);
  return { status: 200, body };
}

type Answer = (
  aws: AwsStandIn,
  body: Record<string, unknown>,
  parameters: Readonly<Record<string, string>>,
  region: string,
) => object | Reply;

const answers: Readonly<Record<string, Answer>> = {
  CreateReplicator(aws, body, _, region) {
    const name = String(body.replicatorName);
    if (aws.replicators.has(name)) return failed('ConflictException', 409, `Replicator ${name} already exists`);
    const [info] = body.replicationInfoList as Record<string, string>[];
    const target = info?.targetKafkaClusterArn ?? '';
    if (!target.includes(`:${region}:`)) {
      return failed('BadRequestException', 400, `a replicator is made in the region of its target, ${target}`);
    }
    const clusters = JSON.stringify(body.kafkaClusters);
    for (const end of [target, info?.sourceKafkaClusterArn ?? info?.sourceKafkaClusterId ?? 'none']) {
      if (!clusters.includes(end)) return failed('BadRequestException', 400, `${end} is not among kafkaClusters`);
    }
    const replicator: StoodIn = {
      arn: `arn:aws:kafka:${region}:${account}:replicator/${name}/33333333-4444`,
      state: 'CREATING',
      looks: 0,
      version: 1,
      input: body,
      tags: (body.tags ?? {}) as Record<string, string>,
    };
    aws.replicators.set(name, replicator);
    return { replicatorArn: replicator.arn, replicatorName: name, replicatorState: replicator.state };
  },

  ListReplicators(aws, _, { replicatorNameFilter = '' }) {
    const replicators = [...aws.replicators]
      .filter(([name]) => name.startsWith(replicatorNameFilter))
      .map(([name, { arn, state, version }]) => ({
        replicatorName: name,
        replicatorArn: arn,
        replicatorState: state,
        currentVersion: `V${version}`,
        isReplicatorReference: false,
      }));
    return { replicators };
  },

  DescribeReplicator(aws, _, { replicatorArn = '' }) {
    const found = byArn(aws, replicatorArn);
    if (!found) return failed('NotFoundException', 404, `no replicator ${replicatorArn}`);
    const [name, replicator] = found;
    const described = {
      replicatorArn,
      replicatorName: name,
      replicatorState: replicator.state,
      currentVersion: `V${replicator.version}`,
      serviceExecutionRoleArn: String(replicator.input.serviceExecutionRoleArn),
      tags: replicator.tags,
      ...(replicator.state === 'FAILED' && {
        stateInfo: { code: 'ACCESS_DENIED', message: 'cannot reach the source' },
      }),
      replicationInfoList: (replicator.input.replicationInfoList as Record<string, unknown>[]).map((info) => ({
        consumerGroupReplication: info.consumerGroupReplication,
        targetCompressionType: info.targetCompressionType,
        topicReplication: info.topicReplication,
      })),
    };
    look(aws, name, replicator);
    return described;
  },

  UpdateReplicationInfo(aws, body, { replicatorArn = '' }) {
    const found = byArn(aws, replicatorArn);
    if (!found) return failed('NotFoundException', 404, `no replicator ${replicatorArn}`);
    const [, replicator] = found;
    if (body.currentVersion !== `V${replicator.version}` || replicator.state !== 'RUNNING') {
      return failed('BadRequestException', 400, `version V${replicator.version}, ${replicator.state}`);
    }
    const [info] = replicator.input.replicationInfoList as Record<string, Record<string, unknown>>[];
    Object.assign(info?.topicReplication ?? {}, body.topicReplication);
    Object.assign(replicator, { version: replicator.version + 1, state: 'UPDATING', looks: 0 });
    return { replicatorArn, replicatorState: replicator.state };
  },

  DeleteReplicator(aws, _, { replicatorArn = '' }) {
    const found = byArn(aws, replicatorArn);
    if (!found) return failed('NotFoundException', 404, `no replicator ${replicatorArn}`);
    Object.assign(found[1], { state: 'DELETING', looks: 0 });
    return { replicatorArn, replicatorState: 'DELETING' };
  },

  DescribeClusterV2(aws, _, { clusterArn = '' }) {
    const found = aws.clusters.get(clusterArn);
    return found
      ? { clusterInfo: { clusterArn, ...found } }
      : failed('NotFoundException', 404, `The cluster ${clusterArn} does not exist`);
  },
};

function byArn(aws: AwsStandIn, arn: string): [string, StoodIn] | undefined {
  return [...aws.replicators].find(([, replicator]) => replicator.arn === arn);
}

function look(aws: AwsStandIn, name: string, replicator: StoodIn): void {
  replicator.looks++;
  if (replicator.looks < looksMax || replicator.state === 'FAILED') return;
  if (replicator.state === 'DELETING') aws.replicators.delete(name);
  else replicator.state = 'RUNNING';
}

function onCloudWatch(aws: AwsStandIn, model: ServiceModel, { headers, body }: Asked): Reply {
  const [prefix, name = ''] = String(headers['x-amz-target']).split('.');
  const operation = model.operations[name];
  if (prefix !== model.metadata.targetPrefix || !operation || name !== 'GetMetricData') {
    return { status: 400, body: { __type: 'InvalidAction', message: String(headers['x-amz-target']) } };
  }
  const wrong = wrongBy(model, operation.input?.shape ?? '', body);
  if (wrong.length > 0) return { status: 400, body: { __type: 'ValidationError', message: wrong.join('; ') } };
  aws.asked.push(name);
  const { MetricDataQueries } = body as {
    MetricDataQueries: {
      Id: string;
      MetricStat: { Metric: { Namespace: string; MetricName: string; Dimensions: { Name: string; Value: string }[] } };
    }[];
  };
  const MetricDataResults = MetricDataQueries.map(({ Id, MetricStat: { Metric } }) => {
    const topic = Metric.Dimensions.find(({ Name }) => Name === 'Topic')?.Value;
    const replicator = Metric.Dimensions.find(({ Name }) => Name === 'ReplicatorName')?.Value ?? '';
    const known = Metric.Namespace === 'AWS/Kafka' && aws.replicators.has(replicator);
    const value = known ? aws.metrics.get([Metric.MetricName, topic].filter(Boolean).join(' ')) : undefined;
    const values = value === undefined ? [] : [value];
    return { Id, Label: Id, Timestamps: values.map(() => 1_700_000_000), Values: values, StatusCode: 'Complete' };
  });
  return checked(model, operation.output?.shape ?? '', { MetricDataResults });
}
