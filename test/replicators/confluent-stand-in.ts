/**
 * Two clusters of Confluent's, as far as Cluster Linking over REST v3 shows them. Written from the published definition (OpenAPI of Kafka REST v3 in
 * confluentinc/ccloud-sdk-go-v2, and docs.confluent.io on mirror topics): each request is checked for method, path, parameters and fields, and refused
 * where the definition does not have it. Nothing was ever compared with a real cluster.
 *
 * Mirror topics change their state after they were asked to: each look at them moves what is under way by one step.
 */
import { type Asked, type Reply, standIn, wrongKeys } from './stand-in.ts';

type Status =
  | 'ACTIVE'
  | 'PAUSED'
  | 'FAILED'
  | 'STOPPED'
  | 'PENDING_STOPPED'
  | 'PENDING_SETUP_FOR_RESTORE'
  | 'PENDING_RESTORE'
  | 'SOURCE_UNAVAILABLE';

interface MirrorTopic {
  status: Status;
  error: string;
  /** Per partition. */
  lags: number[];
  ends: number[];
  /** At `PENDING_STOPPED`: becomes a mirror of the other cluster's when it has stopped. */
  reversing: boolean;
}

interface ClusterLink {
  readonly remote: string;
  readonly settings: Map<string, string>;
  readonly mirrors: Map<string, MirrorTopic>;
}

export class ConfluentCluster {
  readonly id: string;
  readonly links = new Map<string, ClusterLink>();
  /** Partitions by topic. */
  readonly topics: Map<string, number>;
  /** What truncating a topic would delete. */
  readonly divergent = new Map<string, number>();
  /** As `METHOD path`, without the query. */
  readonly asked: string[] = [];
  /** Promotions stay where they are. */
  stuck = false;
  /** Answers to come instead of real ones. */
  readonly failures: Reply[] = [];
  /** Somebody makes the topic, and copies: then lags are theirs to tell. */
  onMirror?: (topic: string) => Promise<void>;
  other: ConfluentCluster | null = null;
  url = '';

  constructor(id: string, topics: Readonly<Record<string, number>>) {
    this.id = id;
    this.topics = new Map(Object.entries(topics));
  }

  mirror(link: string, topic: string): MirrorTopic {
    const found = this.links.get(link)?.mirrors.get(topic);
    if (!found) throw new Error(`no mirror topic ${topic} under ${link}`);
    return found;
  }

  newMirror(topic: string, status: Status = 'ACTIVE'): MirrorTopic {
    const partitions = this.other?.topics.get(topic) ?? 1;
    return {
      status,
      error: 'NO_ERROR',
      lags: Array(partitions).fill(0),
      ends: Array(partitions).fill(100),
      reversing: false,
    };
  }
}

export const login = { username: 'API-KEY', password: 'planted-api-secret' };

/** `next` and `legacy`, each the other's remote. */
export async function confluentPair(
  topics: Readonly<Record<string, number>>,
  ids = { next: 'lkc-next', legacy: 'lkc-legacy' },
) {
  const next = new ConfluentCluster(ids.next, {});
  const legacy = new ConfluentCluster(ids.legacy, topics);
  next.other = legacy;
  legacy.other = next;
  for (const cluster of [next, legacy]) {
    cluster.url = `${await standIn((asked) => answer(cluster, asked))}/kafka/v3`;
  }
  return { next, legacy };
}

const error = (status: number, code: number, message: string): Reply => ({
  status,
  body: { error_code: code, message },
});
const badRequest = (message: string) => error(400, 400, message);

function answer(cluster: ConfluentCluster, asked: Asked): Reply | Promise<Reply> {
  const wanted = `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`;
  if (asked.headers.authorization !== wanted) return error(401, 40101, 'Authentication failed');
  cluster.asked.push(`${asked.method} ${decodeURIComponent(asked.url.pathname)}`);
  const failure = cluster.failures.shift();
  if (failure) return failure;
  const [, id, rest] = /^\/kafka\/v3\/clusters\/([^/]+)\/links(.*)$/.exec(asked.url.pathname) ?? [];
  if (id === undefined || rest === undefined) return error(404, 404, 'HTTP 404 Not Found');
  if (id !== cluster.id) return error(404, 40403, `Cluster ${id} cannot be found.`);
  if (rest === '') return asked.method === 'GET' ? listLinks(cluster) : createLink(cluster, asked);
  const [, name, below] = /^\/([^/]+)(.*)$/.exec(rest) ?? [];
  const linkName = decodeURIComponent(name ?? '');
  const link = cluster.links.get(linkName);
  if (!link) return error(404, 40415, `Cluster link '${linkName}' doesn't exist.`);
  return onLink(cluster, linkName, link, below ?? '', asked);
}

function listLinks(cluster: ConfluentCluster): Reply {
  return collection(
    'KafkaLinkDataList',
    [...cluster.links].map(([name, link]) => linkData(cluster, name, link)),
  );
}

function createLink(cluster: ConfluentCluster, { method, url, body }: Asked): Reply {
  if (method !== 'POST') return error(405, 405, 'HTTP 405 Method Not Allowed');
  const bad =
    wrongQuery(url, ['link_name', 'validate_only', 'validate_link']) ||
    wrongKeys(body, ['cluster_link_id', 'configs', 'destination_cluster_id', 'remote_cluster_id', 'source_cluster_id']);
  if (bad) return badRequest(bad);
  const name = url.searchParams.get('link_name');
  if (!name) return badRequest('link_name is required');
  if (!/^[A-Za-z0-9._-]+$/.test(name)) return badRequest(`Invalid link name ${name}`);
  if (cluster.links.has(name)) return error(400, 40002, `Cluster link '${name}' already exists.`);
  const sent = body as { configs?: unknown[]; remote_cluster_id?: string; source_cluster_id?: string };
  const settings = new Map<string, string>();
  for (const entry of sent.configs ?? []) {
    const wrong = wrongKeys(entry, ['name', 'value'], ['name', 'value']);
    if (wrong) return badRequest(wrong);
    const { name: key, value } = entry as { name: string; value: string };
    if (typeof value !== 'string') return badRequest(`value of ${key} is no string`);
    settings.set(key, value);
  }
  if (!settings.get('bootstrap.servers')) return badRequest('bootstrap.servers is required');
  const bidirectional = settings.get('link.mode') === 'BIDIRECTIONAL';
  const remote = bidirectional ? sent.remote_cluster_id : sent.source_cluster_id;
  if (!remote || remote !== cluster.other?.id) return badRequest(`Unexpected remote cluster ${remote}`);
  if (!/User|password=/.test(settings.get('sasl.jaas.config') ?? 'User')) return badRequest('no login');
  cluster.links.set(name, { remote, settings, mirrors: new Map() });
  return { status: 204 };
}

function onLink(
  cluster: ConfluentCluster,
  name: string,
  link: ClusterLink,
  below: string,
  asked: Asked,
): Reply | Promise<Reply> {
  const { method, url, body } = asked;
  const [, verb] = /^\/mirrors:([a-z-]+)$/.exec(below) ?? [];
  const [, setting] = /^\/configs\/([^/:]+)$/.exec(below) ?? [];
  if (below === '' && method === 'GET') return { status: 200, body: linkData(cluster, name, link) };
  if (below === '' && method === 'DELETE') {
    const bad = wrongQuery(url, ['force', 'validate_only']);
    if (bad) return badRequest(bad);
    const copying = [...link.mirrors].filter(([, mirror]) => mirror.status !== 'STOPPED').map(([topic]) => topic);
    if (copying.length > 0) return badRequest(`Cluster link '${name}' in use by mirror topics ${copying.join(', ')}`);
    cluster.links.delete(name);
    return { status: 200 };
  }
  if (below === '/configs' && method === 'GET') {
    const settings = [...link.settings].map(([key, value]) => ({
      kind: 'KafkaLinkConfigData',
      metadata: { self: '' },
      cluster_id: cluster.id,
      link_name: name,
      name: key,
      value: /jaas|password|key/.test(key) ? null : value,
      is_default: false,
      is_read_only: false,
      is_sensitive: /jaas|password|key/.test(key),
      source: 'DYNAMIC_CLUSTER_LINK_CONFIG',
      synonyms: [],
    }));
    return collection('KafkaLinkConfigDataList', settings);
  }
  if (setting !== undefined && method === 'PUT') {
    const bad = wrongKeys(body, ['value'], ['value']);
    if (bad) return badRequest(bad);
    link.settings.set(decodeURIComponent(setting), (body as { value: string }).value);
    return { status: 204 };
  }
  if (below === '/mirrors' && method === 'GET') {
    const bad = wrongQuery(url, ['mirror_status']);
    if (bad) return badRequest(bad);
    const data = [...link.mirrors].map(([topic, mirror]) => mirrorData(name, topic, mirror));
    for (const [topic, mirror] of link.mirrors) step(cluster, name, topic, mirror);
    return collection('KafkaMirrorDataList', data);
  }
  if (below === '/mirrors' && method === 'POST') return createMirror(cluster, link, body);
  if (verb !== undefined && method === 'POST') return alter(cluster, name, link, verb, asked);
  return error(404, 404, `HTTP 404 Not Found: ${method} ${below}`);
}

async function createMirror(cluster: ConfluentCluster, link: ClusterLink, body: unknown): Promise<Reply> {
  const bad = wrongKeys(
    body,
    ['configs', 'mirror_topic_name', 'replication_factor', 'source_topic_name'],
    ['source_topic_name'],
  );
  if (bad) return badRequest(bad);
  const topic = (body as { source_topic_name: string }).source_topic_name;
  if (!cluster.other?.topics.has(topic)) return error(400, 40403, `Source topic '${topic}' does not exist.`);
  if (cluster.topics.has(topic)) return error(400, 40002, `Topic '${topic}' already exists.`);
  await cluster.onMirror?.(topic);
  cluster.topics.set(topic, cluster.other.topics.get(topic) ?? 1);
  link.mirrors.set(topic, cluster.newMirror(topic));
  return { status: 204 };
}

const verbs: readonly string[] = [
  'promote',
  'failover',
  'pause',
  'resume',
  'reverse-and-start-mirror',
  'reverse-and-pause-mirror',
  'truncate-and-restore',
];

function alter(cluster: ConfluentCluster, name: string, link: ClusterLink, verb: string, { url, body }: Asked): Reply {
  if (!verbs.includes(verb)) return error(404, 404, 'HTTP 404 Not Found');
  const query = [
    'validate_only',
    ...(verb === 'truncate-and-restore' ? ['include_partition_level_truncation_data'] : []),
  ];
  const bad = wrongQuery(url, query) || wrongKeys(body, ['mirror_topic_names', 'mirror_topic_name_pattern']);
  if (bad) return badRequest(bad);
  const { mirror_topic_names: topics } = body as { mirror_topic_names?: unknown };
  if (!Array.isArray(topics) || topics.length === 0) return badRequest('no mirror topics are named');
  const dry = url.searchParams.get('validate_only') === 'true';
  const data = topics.map((topic: string) => {
    const refused = alterOne(cluster, name, link, verb, topic, dry);
    return {
      kind: 'KafkaMirrorStatusAlterData',
      metadata: { self: '' },
      mirror_topic_name: topic,
      error_code: refused === null ? null : 40002,
      error_message: refused,
      mirror_lags: [],
      messages_truncated: verb === 'truncate-and-restore' ? (cluster.divergent.get(topic) ?? 0) : null,
      partition_level_truncation_data: [],
    };
  });
  return collection('KafkaMirrorStatusAlterDataList', data);
}

/** @returns why it is refused, or null */
function alterOne(
  cluster: ConfluentCluster,
  name: string,
  link: ClusterLink,
  verb: string,
  topic: string,
  dry: boolean,
): string | null {
  const mirror = link.mirrors.get(topic);
  const bidirectional = link.settings.get('link.mode') === 'BIDIRECTIONAL';
  if (verb === 'truncate-and-restore') {
    if (!bidirectional) return 'Only bidirectional links support this operation.';
    if (mirror && mirror.status !== 'STOPPED') return `Topic '${topic}' is a mirror topic already.`;
    if (cluster.other?.links.get(name)?.mirrors.get(topic)?.status === 'ACTIVE') return 'The remote topic is a mirror.';
    if (!dry) link.mirrors.set(topic, cluster.newMirror(topic, 'PENDING_SETUP_FOR_RESTORE'));
    return null;
  }
  if (!mirror) return `Topic '${topic}' is not a mirror topic.`;
  if (mirror.status === 'STOPPED') return `Mirror topic '${topic}' is stopped already.`;
  if (verb.startsWith('reverse-')) {
    if (!bidirectional) return 'Only bidirectional links support this operation.';
    if (mirror.status !== 'ACTIVE') return `Mirror topic '${topic}' is ${mirror.status}.`;
  }
  if (verb === 'promote' && mirror.status !== 'ACTIVE') return `Mirror topic '${topic}' is ${mirror.status}.`;
  if (dry) return null;
  if (verb === 'pause') mirror.status = 'PAUSED';
  else if (verb === 'resume') mirror.status = 'ACTIVE';
  else {
    mirror.status = 'PENDING_STOPPED';
    mirror.reversing = verb.startsWith('reverse-');
  }
  return null;
}

function step(cluster: ConfluentCluster, name: string, topic: string, mirror: MirrorTopic): void {
  if (cluster.stuck) return;
  if (mirror.status === 'PENDING_SETUP_FOR_RESTORE') mirror.status = 'PENDING_RESTORE';
  else if (mirror.status === 'PENDING_RESTORE') mirror.status = 'ACTIVE';
  else if (mirror.status === 'PENDING_STOPPED') {
    mirror.status = 'STOPPED';
    if (mirror.reversing && cluster.other) {
      cluster.other.links.get(name)?.mirrors.set(topic, cluster.other.newMirror(topic));
    }
  } else if (mirror.status === 'ACTIVE' && !cluster.onMirror)
    mirror.lags = mirror.lags.map((lag) => Math.max(0, lag - 1));
}

function linkData(cluster: ConfluentCluster, name: string, link: ClusterLink) {
  return {
    kind: 'KafkaLinkData',
    metadata: { self: '' },
    cluster_link_id: 'AAAAAAAAAAAAAAAAAAAAAA',
    destination_cluster_id: cluster.id,
    remote_cluster_id: link.remote,
    link_name: name,
    link_state: 'ACTIVE',
    link_error: 'NO_ERROR',
    link_error_message: null,
    topic_names: [...link.mirrors.keys()],
  };
}

function mirrorData(link: string, topic: string, { status, error: failure, lags, ends }: MirrorTopic) {
  return {
    kind: 'KafkaMirrorData',
    metadata: { self: '' },
    link_name: link,
    mirror_topic_name: topic,
    source_topic_name: topic,
    num_partitions: lags.length,
    mirror_status: status,
    mirror_topic_error: failure,
    state_time_ms: 1_700_000_000_000,
    mirror_lags: lags.map((lag, partition) => ({
      partition,
      lag,
      last_source_fetch_offset: (ends[partition] ?? 0) - lag,
    })),
  };
}

function collection(kind: string, data: readonly object[]): Reply {
  return { status: 200, body: { kind, metadata: { self: '', next: null }, data } };
}

function wrongQuery(url: URL, known: readonly string[]): string {
  const unknown = [...url.searchParams.keys()].filter((key) => !known.includes(key));
  return unknown.length > 0 ? `unknown parameters ${unknown.join(', ')}` : '';
}
