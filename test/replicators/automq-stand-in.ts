/**
 * AutoMQ's control plane of one environment, as far as Kafka Linking needs it. Written from what its Terraform provider sends and takes
 * (AutoMQ/terraform-provider-automq, client/api_kafka_linking.go and model_kafka_linking.go, and its documentation of resources): methods, paths and fields are
 * checked, anything else is refused; signatures are checked with the same rules (the known answers of automq-linking.test.ts are from the provider's own signer).
 * Nothing was ever compared with AutoMQ.
 *
 * A topic is promoted when it has been looked at twice.
 */
import { signedHeaders } from '../../replicators/automq-links.ts';
import type { Method } from '../../replicators/rest.ts';
import { type Asked, type Reply, standIn, wrongKeys } from './stand-in.ts';

interface MirrorTopic {
  readonly id: string;
  state: string;
  wanted: string;
  looks: number;
  error: string | null;
  lag: number;
}

export interface AutomqStandIn {
  url: string;
  readonly links: Map<
    string,
    { readonly sent: Record<string, unknown>; readonly topics: Map<string, MirrorTopic>; error: string }
  >;
  readonly sourceTopics: Set<string>;
  /** As `METHOD path`, without the query. */
  readonly asked: string[];
  readonly failures: Reply[];
  /** Somebody makes the topic, and copies: then lags are theirs to tell. */
  onMirror?: (topic: string) => Promise<void>;
}

export const login = { accessKeyId: 'AKID', secretAccessKey: 'planted-automq-secret' };
export const environment = 'env-1';
export const instance = 'kf-abc';
const looksMax = 2;

export async function automqStandIn(topics: readonly string[]): Promise<AutomqStandIn> {
  const automq: AutomqStandIn = { url: '', links: new Map(), sourceTopics: new Set(topics), asked: [], failures: [] };
  automq.url = await standIn((asked) => answer(automq, asked));
  return automq;
}

const refused = (status: number, code: string, message: string): Reply => ({
  status,
  body: { error: { code, message, detail: '' } },
});

function answer(automq: AutomqStandIn, asked: Asked): Reply | Promise<Reply> {
  const { headers, method, url, text } = asked;
  const [, date] = /^(\d{8}T\d{6}Z)$/.exec(String(headers['x-automq-date'])) ?? [];
  const at = new Date((date ?? '').replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  const signed = new URL(`http://${headers.host}${url.pathname}${url.search}`);
  const wanted = date && signedHeaders({ environment, ...login }, method as Method, signed, text, at);
  if (!wanted || Object.entries(wanted).some(([name, value]) => headers[name] !== value)) {
    return refused(401, 'Unauthorized', 'The signature does not match');
  }
  automq.asked.push(`${method} ${decodeURIComponent(url.pathname)}`);
  const failure = automq.failures.shift();
  if (failure) return failure;
  const base = `/api/v1/instances/${instance}/kafka-links`;
  if (!url.pathname.startsWith(base)) return refused(404, 'NotFound', `no ${url.pathname}`);
  const [, link, kind, id] = url.pathname.slice(base.length).split('/').map(decodeURIComponent);
  if (link === undefined) return method === 'POST' ? createLink(automq, asked.body) : { status: 405 };
  const found = automq.links.get(link);
  if (!found) return refused(404, 'KafkaLink.NotFound', `Kafka link ${link} does not exist`);
  if (kind === undefined && method === 'GET') {
    const { endpoint } = found.sent.sourceCluster as { endpoint: string };
    const body = {
      linkId: link,
      instanceId: instance,
      startOffsetTime: found.sent.startOffsetTime,
      sourceCluster: { endpoint },
      status: found.error ? 'ERROR' : 'RUNNING',
      errorMessage: found.error || null,
    };
    return { status: 200, body };
  }
  if (kind !== 'kafka-link-mirror-topics') return refused(404, 'NotFound', `no ${url.pathname}`);
  if (id === undefined) {
    return method === 'GET' ? listTopics(automq, found.topics, url) : createTopics(automq, found.topics, asked);
  }
  return method === 'PATCH' ? setState(found.topics, id, asked.body) : { status: 405 };
}

const clusterKeys = [
  'endpoint',
  'securityProtocol',
  'saslMechanism',
  'user',
  'password',
  'truststoreCertificates',
  'keystoreCertificateChain',
  'keystoreKey',
  'disableEndpointIdentification',
];

function createLink(automq: AutomqStandIn, body: unknown): Reply {
  const keys = ['linkId', 'startOffsetTime', 'sourceCluster'];
  const sent = body as Record<string, unknown>;
  const wrong = wrongKeys(body, keys, keys) || wrongKeys(sent.sourceCluster, clusterKeys, ['endpoint']);
  if (wrong) return refused(400, 'InvalidParameter', wrong);
  if (!/^(latest|earliest|[0-9]+)$/.test(String(sent.startOffsetTime))) {
    return refused(400, 'InvalidParameter', 'startOffsetTime');
  }
  const link = String(sent.linkId);
  if (automq.links.has(link)) return refused(409, 'KafkaLink.Exists', `Kafka link ${link} exists`);
  automq.links.set(link, { sent, topics: new Map(), error: '' });
  return { status: 200, body: { linkId: link, instanceId: instance, startOffsetTime: sent.startOffsetTime } };
}

async function createTopics(
  automq: AutomqStandIn,
  topics: Map<string, MirrorTopic>,
  { method, body }: Asked,
): Promise<Reply> {
  if (method !== 'POST') return { status: 405 };
  const wrong = wrongKeys(body, ['sourceTopics'], ['sourceTopics']);
  if (wrong) return refused(400, 'InvalidParameter', wrong);
  const { sourceTopics } = body as { sourceTopics: { topicName: string }[] };
  for (const entry of sourceTopics) {
    const bad = wrongKeys(entry, ['topicName'], ['topicName']);
    if (bad) return refused(400, 'InvalidParameter', bad);
    if (!automq.sourceTopics.has(entry.topicName)) return refused(404, 'Topic.NotFound', entry.topicName);
    if (topics.has(entry.topicName)) return refused(409, 'MirrorTopic.Exists', entry.topicName);
  }
  for (const { topicName } of sourceTopics) {
    await automq.onMirror?.(topicName);
    const id = `mt-${topics.size + 1}`;
    topics.set(topicName, { id, state: 'LINKING', wanted: 'LINKING', looks: 0, error: null, lag: 0 });
  }
  return { status: 200, body: { topics: sourceTopics.map(({ topicName }) => shown(topicName, topics)) } };
}

function listTopics(automq: AutomqStandIn, topics: Map<string, MirrorTopic>, { searchParams }: URL): Reply {
  const unknown = [...searchParams.keys()].filter((key) => !['keyword', 'page', 'size'].includes(key));
  if (unknown.length > 0) return refused(400, 'InvalidParameter', unknown.join());
  const [page, size] = [Number(searchParams.get('page') ?? 1), Number(searchParams.get('size') ?? 10)];
  const names = [...topics.keys()].slice((page - 1) * size, page * size);
  const list = names.map((name) => shown(name, topics));
  for (const name of names) look(automq, topics.get(name));
  return { status: 200, body: { list } };
}

function setState(topics: Map<string, MirrorTopic>, id: string, body: unknown): Reply {
  const wrong = wrongKeys(body, ['state'], ['state']);
  if (wrong) return refused(400, 'InvalidParameter', wrong);
  const topic = [...topics.values()].find((one) => one.id === id);
  if (!topic) return refused(404, 'MirrorTopic.NotFound', id);
  const { state } = body as { state: string };
  if (!['LINKING', 'PAUSED', 'PROMOTED'].includes(state)) return refused(400, 'InvalidParameter', `state ${state}`);
  if (topic.state === 'PROMOTED') return refused(409, 'MirrorTopic.Promoted', id);
  Object.assign(topic, { wanted: state, looks: 0 });
  if (state !== 'PROMOTED') topic.state = state;
  return { status: 200 };
}

function look({ onMirror }: AutomqStandIn, topic: MirrorTopic | undefined): void {
  if (!topic) return;
  topic.looks++;
  if (!onMirror) topic.lag = Math.max(0, topic.lag - 1);
  if (topic.looks >= looksMax && topic.error === null) topic.state = topic.wanted;
}

function shown(name: string, topics: Map<string, MirrorTopic>) {
  const topic = topics.get(name);
  return {
    sourceTopicName: name,
    mirrorTopicName: name,
    mirrorTopicId: topic?.id,
    state: { state: topic?.state, errorCode: topic?.error },
    statistics: { linkingLag: topic?.lag },
  };
}
