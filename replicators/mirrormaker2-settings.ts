/**
 * MirrorMaker 2's settings for one direction of one wave: as connectors of a Connect cluster, and as the file of a dedicated process. The same facts
 * in both; what MirrorMaker 2 gets wrong by default for a move is set right here, and each line says which trap it closes.
 */
import type { ReplicatorPlan } from '../contract/plan.ts';
import type { Direction } from '../contract/status.ts';
import type { ClusterConfig, Credentials } from '../kafka/clusters.ts';
import { sidesOf } from '../migration/boundary.ts';
import type { Settings } from './connect.ts';

export type MirrorMakerPlan = ReplicatorPlan<'mirrormaker2'>;

const mirrorPackage = 'org.apache.kafka.connect.mirror';
const identityPolicy = `${mirrorPackage}.IdentityReplicationPolicy`;
const prefixPolicy = `${mirrorPackage}.DefaultReplicationPolicy`;
export const sourceConnector = `${mirrorPackage}.MirrorSourceConnector`;
const checkpointConnector = `${mirrorPackage}.MirrorCheckpointConnector`;
const heartbeatConnector = `${mirrorPackage}.MirrorHeartbeatConnector`;

const bytesConverter = 'org.apache.kafka.connect.converters.ByteArrayConverter';

/** Kafka's topic `heartbeats`, which has this one name whatever the aliases are. */
export const heartbeatsTopic = 'heartbeats';
/** Between two looks for new topics and partitions; 600 by default, in which what is new is not mirrored. */
const discoverEverySeconds = 30;
/** A task that is told to stop ends when its poll does; a second by default. An empty one costs a few microseconds. */
const pollMs = 200;
/** A record that fits into a topic must fit into the request of the producer that copies it; the default is 1 MB. */
const requestBytesMin = 1_048_576;
const requestMargin = 65_536;

export interface Work {
  readonly migration: string;
  readonly wave: string;
  readonly direction: Direction;
  readonly plan: MirrorMakerPlan;
  readonly clusters: Readonly<Record<'source' | 'target', ClusterConfig>>;
  readonly topics: readonly string[];
  readonly groups: readonly string[];
  /** Brokers of our target, which holds MirrorMaker 2's own topics. */
  readonly targetBrokers: number;
  /** The largest `max.message.bytes` of the topics. */
  readonly recordBytesMax: number;
  /** Of a partition with a task each; MirrorMaker 2 makes no more tasks than there are partitions. */
  readonly partitions: number;
}

export interface Connector {
  readonly name: string;
  readonly settings: Settings;
}

/** Settings that the steps rely on, or that change what is copied: a plan that names one is refused. */
export const ourSettings: readonly string[] = [
  'name',
  'connector.class',
  'topics',
  'topics.exclude',
  'topics.regex',
  'groups',
  'source.cluster.alias',
  'target.cluster.alias',
  'replication.policy.class',
  'replication.policy.separator',
  'offset-syncs.topic.location',
  'offset-syncs.topic.replication.factor',
  'sync.group.offsets.enabled',
  'emit.offset-syncs.enabled',
  'transforms',
  'predicates',
  'key.converter',
  'value.converter',
  'header.converter',
  ...['', 'source.'].map((prefix) => `${prefix}consumer.isolation.level`),
  ...['', 'source.'].map((prefix) => `${prefix}consumer.auto.offset.reset`),
];

/** `source.cluster.*` and the like are made of clusters.yaml. */
export function isOurSetting(name: string): boolean {
  return (
    ourSettings.includes(name) ||
    /^(source|target)\.cluster\./.test(name) ||
    /^(transforms|predicates|key\.converter|value\.converter|header\.converter)\./.test(name) ||
    /(^|\.)(bootstrap\.servers|security\.protocol)$/.test(name) ||
    /(^|\.)(sasl|ssl)\./.test(name)
  );
}

/**
 * What MirrorMaker 2 calls a cluster: a name of this direction's own, so that its own topics are no other MirrorMaker's, tell one way from the other,
 * and may be removed.
 */
export function aliasOf({ migration, wave, direction, plan, clusters }: Work, side: 'source' | 'target'): string {
  // With prefixed names it is what topics begin with on the target.
  return plan.naming === 'prefixed' ? clusters[side].name : `${migration}-${wave}-${direction}-${clusters[side].name}`;
}

/** What a topic of the source is called on the target. */
export function targetTopic({ naming }: MirrorMakerPlan, source: string, topic: string): string {
  return naming === 'prefixed' ? `${source}.${topic}` : topic;
}

/** Kept on our target whatever the direction, so that the source stays as it is; named after our source then (KIP-716: the other end). */
export function offsetSyncsTopic(work: Work): string {
  return `mm2-offset-syncs.${aliasOf(work, 'source')}.internal`;
}

export function checkpointsTopic(work: Work): string {
  return `${aliasOf(work, 'source')}.checkpoints.internal`;
}

export function connectorName(
  { migration, wave, direction }: Pick<Work, 'migration' | 'wave' | 'direction'>,
  kind: string,
): string {
  return `kafka-cutover.${migration}.${wave}.${direction}.${kind}`;
}

/** What a dedicated process has under its login on the cluster that it writes: the Connect cluster that it is. */
export function dedicatedOwn(work: Work): { readonly topics: readonly string[]; readonly group: string } {
  const from = aliasOf(work, sidesOf(work.direction).from);
  return {
    topics: ['configs', 'offsets', 'status'].map((what) => `mm2-${what}.${from}.internal`),
    group: `${from}-mm2`,
  };
}

/** The connector that copies. */
export function sourceSettings(work: Work): Connector {
  const { direction, clusters, plan } = work;
  const { from, into } = sidesOf(direction);
  return {
    name: connectorName(work, 'source'),
    settings: {
      ...common(work),
      'connector.class': sourceConnector,
      topics: work.topics.map(literally).join(','),
      'tasks.max': String(work.partitions),
      ...copying(work),
      'offset-syncs.topic.location': direction === 'forward' ? 'target' : 'source',
      ...plan.settings,
      // Records are written by the worker's own producer, as the worker's own user, unless each of its settings is overridden.
      ...prefixed('producer.override.', {
        ...clientSettings(clusters[into], clusters[into].credentials[direction]),
        ...producing(work),
        ...unprefixed(plan.settings, 'producer.override.'),
      }),
      ...prefixed('source.cluster.', clientSettings(clusters[from], clusters[from].credentials[direction])),
      ...prefixed('target.cluster.', clientSettings(clusters[into], clusters[into].credentials[direction])),
    },
  };
}

/** The connectors beside it, which tell people and their tools how the mirror is; only on the way forward. */
export function sideSettings(work: Work): readonly Connector[] {
  if (work.direction === 'reverse') return [];
  const { clusters, plan } = work;
  const ends = {
    ...prefixed('source.cluster.', clientSettings(clusters.source, clusters.source.credentials.forward)),
    ...prefixed('target.cluster.', clientSettings(clusters.target, clusters.target.credentials.forward)),
    ...prefixed('producer.override.', clientSettings(clusters.target, clusters.target.credentials.forward)),
  };
  const own = Object.fromEntries(
    Object.entries(plan.settings).filter(([name]) => !name.startsWith('producer.override.')),
  );
  const checkpoint = {
    ...common(work),
    'connector.class': checkpointConnector,
    topics: work.topics.map(literally).join(','),
    ...(work.groups.length > 0 && { groups: work.groups.map(literally).join(',') }),
    'tasks.max': '1',
    'topics.exclude': '',
    'groups.exclude': '',
    // Positions are ours: its own are the nearest sync's, and it would write them after the handover too.
    'sync.group.offsets.enabled': 'false',
    'offset-syncs.topic.location': 'target',
    'checkpoints.topic.replication.factor': replicas(work),
    ...own,
    ...ends,
  };
  const heartbeat = {
    ...common(work),
    'connector.class': heartbeatConnector,
    'tasks.max': '1',
    'heartbeats.topic.replication.factor': replicas(work),
    ...own,
    ...ends,
  };
  return [
    // Without a group it refuses to start.
    ...(work.groups.length > 0 ? [{ name: connectorName(work, 'checkpoint'), settings: checkpoint }] : []),
    { name: connectorName(work, 'heartbeat'), settings: heartbeat },
  ];
}

/** What a dedicated process (`connect-mirror-maker.sh`) runs with. Secrets are left to the environment: `${env:NAME}`. */
export function dedicatedProperties(work: Work): string {
  const { direction, plan, clusters } = work;
  const { from, into } = sidesOf(direction);
  const [here, there] = [aliasOf(work, from), aliasOf(work, into)];
  const flow = `${here}->${there}`;
  const secret = (side: 'source' | 'target') => (name: string) => `\${env:${envName(clusters[side].name, name)}}`;
  const lines: [string, string][] = [
    ['clusters', `${here}, ${there}`],
    ['config.providers', 'env'],
    ['config.providers.env.class', 'org.apache.kafka.common.config.provider.EnvVarConfigProvider'],
    ...Object.entries(
      prefixed(`${here}.`, clientSettings(clusters[from], clusters[from].credentials[direction], secret(from))),
    ),
    ...Object.entries(
      prefixed(`${there}.`, clientSettings(clusters[into], clusters[into].credentials[direction], secret(into))),
    ),
    [`${flow}.enabled`, 'true'],
    [`${there}->${here}.enabled`, 'false'],
    // Else it runs a second Connect cluster for that direction, with topics of its own on the cluster that is read, though nothing is copied.
    [`${there}->${here}.emit.heartbeats.enabled`, 'false'],
    [`${flow}.topics`, work.topics.map(literally).join(',')],
    ...(work.groups.length > 0 ? [[`${flow}.groups`, work.groups.map(literally).join(',')] as [string, string]] : []),
    ['replication.policy.class', plan.naming === 'identity' ? identityPolicy : prefixPolicy],
    ['tasks.max', String(work.partitions)],
    ...Object.entries(copying(work)),
    ['offset-syncs.topic.location', direction === 'forward' ? 'target' : 'source'],
    ['sync.group.offsets.enabled', 'false'],
    ['dedicated.mode.enable.internal.rest', 'true'],
    ...['checkpoints', 'heartbeats', 'offset.storage', 'status.storage', 'config.storage'].map(
      (topic): [string, string] => [
        `${topic}${topic.includes('.') ? '' : '.topic'}.replication.factor`,
        replicas(work),
      ],
    ),
    // In dedicated mode the producer that copies is the cluster's own, not an override.
    ...Object.entries(prefixed(`${there}.producer.`, producing(work))),
    ...Object.entries(plan.settings),
  ];
  return lines.map(([name, value]) => `${name} = ${value}\n`).join('');
}

/** What a dedicated process must be given beside the file, by name. */
export function dedicatedSecrets(text: string): readonly string[] {
  return [...new Set([...text.matchAll(/\$\{env:([A-Z0-9_]+)\}/g)].map(([, name]) => name ?? ''))];
}

function common(work: Work): Settings {
  const { from, into } = sidesOf(work.direction);
  return {
    'source.cluster.alias': aliasOf(work, from),
    'target.cluster.alias': aliasOf(work, into),
    'replication.policy.class': work.plan.naming === 'identity' ? identityPolicy : prefixPolicy,
    // Bytes stay bytes, whatever the worker's converters are: headers arrive in base64 with a worker's default, and nobody says so.
    'key.converter': bytesConverter,
    'value.converter': bytesConverter,
    'header.converter': bytesConverter,
  };
}

function copying(work: Work): Settings {
  return {
    // Else records of aborted transactions arrive as if they had been committed.
    'source.consumer.isolation.level': 'read_committed',
    'source.consumer.auto.offset.reset': 'earliest',
    'consumer.poll.timeout.ms': String(pollMs),
    // Metadata is our own steps' matter: RF 2, min.insync.replicas and timestamp types left out, WRITE and group rules dropped.
    'replication.factor': replicas(work),
    'sync.topic.configs.enabled': 'false',
    'sync.topic.acls.enabled': 'false',
    'refresh.topics.interval.seconds': String(discoverEverySeconds),
    // By default it leaves out what ends in `.replica` or begins with `__`, without a word.
    'topics.exclude': '',
    'offset-syncs.topic.replication.factor': replicas(work),
  };
}

/** Of the producer that copies: one record after the other, each once as far as one process goes. */
function producing(work: Work): Settings {
  return {
    acks: 'all',
    'enable.idempotence': 'true',
    'max.request.size': String(Math.max(requestBytesMin, work.recordBytesMax + requestMargin)),
  };
}

function replicas({ targetBrokers }: Work): string {
  return String(Math.min(3, Math.max(1, targetBrokers)));
}

/** Java's client settings for a login of clusters.yaml. @param secret what stands for a password, by its name; itself by default */
export function clientSettings(
  config: ClusterConfig,
  { sasl, token, tls }: Credentials,
  secret: (name: string, value: string) => string = (_, value) => value,
): Settings {
  const protocol = `${sasl || token ? 'SASL_' : ''}${tls ? 'SSL' : 'PLAINTEXT'}`;
  return {
    'bootstrap.servers': config.bootstrap.join(','),
    'security.protocol': protocol,
    ...(sasl && {
      'sasl.mechanism': sasl.mechanism.toUpperCase(),
      'sasl.jaas.config': `${sasl.mechanism === 'plain' ? 'org.apache.kafka.common.security.plain.PlainLoginModule' : 'org.apache.kafka.common.security.scram.ScramLoginModule'} required username="${quoted(sasl.username)}" password="${quoted(secret('password', sasl.password))}";`,
    }),
    ...(tls?.ca && { 'ssl.truststore.type': 'PEM', 'ssl.truststore.certificates': tls.ca }),
    ...(tls?.cert &&
      tls.key && {
        'ssl.keystore.type': 'PEM',
        'ssl.keystore.certificate.chain': tls.cert,
        'ssl.keystore.key': secret('key', tls.key),
        ...(tls.keyPassphrase && { 'ssl.key.password': secret('key_passphrase', tls.keyPassphrase) }),
      }),
  };
}

function envName(cluster: string, name: string): string {
  return `${cluster}_${name}`.toUpperCase().replace(/[^A-Z0-9]/g, '_');
}

const quoted = (text: string): string => text.replace(/["\\]/g, '\\$&');

function prefixed(prefix: string, settings: Settings): Settings {
  return Object.fromEntries(Object.entries(settings).map(([name, value]) => [`${prefix}${name}`, value]));
}

function unprefixed(settings: Settings, prefix: string): Settings {
  return Object.fromEntries(
    Object.entries(settings)
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, value]) => [name.slice(prefix.length), value]),
  );
}

/** A name as a Java regular expression that matches nothing else; without a backslash, which a properties file would swallow. */
function literally(name: string): string {
  return name.replaceAll('.', '[.]');
}
