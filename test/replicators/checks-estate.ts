/**
 * One estate for all replicators: topics of every shape with numbered records, groups of every kind that stand everywhere in them, settings, rules,
 * quotas and users. Made under a prefix of its own for each run, on the source.
 */
import { Consumer } from '@platformatic/kafka';
import { type Acl, createAcls } from '../../kafka/acls.ts';
import { encodeBatch, type NewBatch } from '../../kafka/batches.ts';
import type { Cluster } from '../../kafka/cluster.ts';
import { commitOffsets, type NewPosition } from '../../kafka/groups.ts';
import { listOffsets } from '../../kafka/offsets.ts';
import { alterQuotas, type Quota } from '../../kafka/quotas.ts';
import { upsertScramUser } from '../../kafka/scram.ts';
import { raiseTerms } from '../../kafka/terms.ts';
import { createTopic } from '../../kafka/topics.ts';
import { rawProduce } from '../../kafka/wire.ts';
import type { LocalCluster } from '../../stack/cluster.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { applicationOf } from '../kafka/applications.ts';
import { deleteRecords } from '../migration/rig.ts';

const records = 300;
const patienceMs = 30_000;
const codecs = ['gzip', 'snappy', 'lz4', 'zstd'] as const;

export interface EstateTopic {
  /** What it is there for. */
  readonly shape: string;
  readonly name: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly configs: Readonly<Record<string, string>>;
}

export interface CheckedEstate {
  readonly prefix: string;
  readonly topics: readonly EstateTopic[];
  readonly groups: readonly {
    readonly kind: string;
    readonly group: string;
    readonly positions: readonly NewPosition[];
  }[];
  readonly acls: readonly Acl[];
  readonly quotas: readonly Quota[];
  readonly users: readonly string[];
}

/** Users whose passwords clusters.yaml knows for the target, and one that it does not. */
export const usersOf = (prefix: string) => [`${prefix}-writer`, `${prefix}-reader`, `${prefix}-forgotten`] as const;

/** @param brokers of the source */
export async function buildEstate(
  source: Cluster,
  local: LocalCluster,
  prefix: string,
  brokers: number,
): Promise<CheckedEstate> {
  const topics = topicsOf(prefix, brokers);
  for (const { name, partitions, replicationFactor, configs } of topics) {
    await createTopic(source, { name, partitions, replicationFactor, configs });
    await listOffsets(source, placesOf({ name, partitions }), 'logEnd');
  }
  const named = (shape: string) => topics.find((topic) => topic.shape === shape)?.name ?? '';
  const append = (topic: string, partition: number, batch: NewBatch) => appendBatch(source, topic, partition, batch);

  for (const partition of [0, 1, 2]) await append(named('plain'), partition, numbered(records));
  for (const [partition, codec] of codecs.entries())
    await append(named('codecs'), partition, { ...numbered(records), codec });
  await append(named('filtered'), 0, numbered(records));
  await append(named('stamped'), 0, numbered(records));
  await append(named('trimmed'), 0, numbered(records));
  await deleteRecords(source, named('trimmed'), 0, 100n);
  await append(named('compacted'), 0, numbered(records, { tombstones: true }));
  await append(named('large'), 0, {
    records: [
      { timestamp: BigInt(Date.now()), key: Buffer.from('large'), value: Buffer.alloc(3_000_000, 'x'), headers: [] },
    ],
  });
  await append(named('large'), 0, numbered(20));
  await writeTransactions(source, local, named('transactional'));

  const groups = await makeGroups(source, local, prefix, topics);
  const acls = aclsOf(prefix, named('plain'));
  await createAcls(source, acls);
  const quotas = quotasOf(prefix);
  await alterQuotas(
    source,
    quotas.map(({ entity, values }) => ({ entity, set: values, unset: [] })),
  );
  const users = usersOf(prefix);
  for (const user of users) await upsertScramUser(source, user, `${user}-password`);
  return { prefix, topics, groups, acls, quotas, users };
}

export const placesOf = ({ name, partitions }: Pick<EstateTopic, 'name' | 'partitions'>) =>
  Array.from({ length: partitions }, (_, partition) => ({ topic: name, partition }));

function topicsOf(prefix: string, brokers: number): readonly EstateTopic[] {
  const week = { 'retention.ms': '604800000' };
  const topic = (shape: string, partitions: number, configs: Record<string, string>, of = shape): EstateTopic => ({
    shape,
    name: `${prefix}.${of}`,
    partitions,
    replicationFactor: brokers,
    configs,
  });
  return [
    topic('plain', 3, { ...week, ...(brokers > 1 && { 'min.insync.replicas': '2' }), 'segment.bytes': '104857600' }),
    topic('transactional', 2, { ...week, 'unclean.leader.election.enable': 'true' }),
    topic('compacted', 1, {
      'cleanup.policy': 'compact',
      'delete.retention.ms': '172800000',
      'min.compaction.lag.ms': '60000',
    }),
    topic('trimmed', 1, { ...week, 'flush.messages': '1000' }),
    topic('stamped', 1, { ...week, 'message.timestamp.type': 'LogAppendTime' }),
    topic('codecs', 4, { ...week, 'compression.type': 'producer' }),
    topic('large', 1, { ...week, 'max.message.bytes': '4000000' }),
    // What MirrorMaker 2 leaves out by its own filter.
    topic('filtered', 1, week, 'stock.replica'),
    topic('empty', 2, { ...week, 'retention.bytes': '1073741824' }),
  ];
}

/** Keys come again and again, some are null, as are some values; headers may repeat and have no value. */
function numbered(count: number, { tombstones = false } = {}): NewBatch {
  const began = Date.now() - 3_600_000;
  return {
    records: Array.from({ length: count }, (_, i) => ({
      timestamp: BigInt(began + i * 7),
      key: i % 10 === 9 && !tombstones ? null : Buffer.from(`key-${i % 23}`),
      value: i % 11 === 10 ? (tombstones ? null : Buffer.alloc(0)) : Buffer.from(`value-${i}`),
      headers:
        i % 5 === 0
          ? [
              { key: Buffer.from('trace'), value: Buffer.from([0, 255, i % 256]) },
              { key: Buffer.from('trace'), value: Buffer.from('again') },
              { key: Buffer.from('none'), value: null },
            ]
          : [],
    })),
  };
}

async function appendBatch(source: Cluster, topic: string, partition: number, batch: NewBatch): Promise<void> {
  await waitFor(`the leader of ${topic}/${partition}`, patienceMs, async () => {
    const leader = (await source.metadata([topic])).topics.get(topic)?.partitions[partition]?.leader ?? -1;
    const sent = [{ topic, partitions: [{ partition, records: [encodeBatch(batch).bytes] }] }];
    const [answer] = await source.call({ broker: leader }, rawProduce, { timeoutMs: 10_000, topics: sent });
    return answer?.errorCode === 0;
  });
}

/** Every third one is aborted, the last one too. */
async function writeTransactions(source: Cluster, local: LocalCluster, topic: string): Promise<void> {
  const id = `${topic}-tx`;
  await raiseTerms(source, [id]);
  const producer = applicationOf(local, 'cutover').producer({
    transactionalId: id,
    idempotent: true,
    maxInFlightRequests: 1,
    retry: { retries: 30, initialRetryTime: 50, maxRetryTime: 500 },
  });
  await producer.connect();
  try {
    for (let round = 0; round < 9; round++) {
      const transaction = await producer.transaction();
      const messages = Array.from({ length: 20 }, (_, i) => ({
        key: `key-${i}`,
        value: `tx${round}-${i}`,
        headers: { round: String(round) },
        partition: i % 2,
      }));
      await transaction.send({ topic, messages });
      await (round % 3 === 2 ? transaction.abort() : transaction.commit());
    }
  } finally {
    await producer.disconnect();
  }
}

async function makeGroups(
  source: Cluster,
  local: LocalCluster,
  prefix: string,
  topics: readonly EstateTopic[],
): Promise<CheckedEstate['groups']> {
  const of = (shape: string) => topics.find((topic) => topic.shape === shape) as EstateTopic;
  const bounds = async (shape: string) => {
    const places = placesOf(of(shape));
    const [starts, ends] = [
      await listOffsets(source, places, 'start'),
      await listOffsets(source, places, 'highWatermark'),
    ];
    return places.map((place) => {
      const key = `${place.topic}/${place.partition}`;
      return { ...place, start: starts.get(key) ?? 0n, end: ends.get(key) ?? 0n };
    });
  };
  const at = async (shape: string, share: (start: bigint, end: bigint) => bigint): Promise<NewPosition[]> =>
    (await bounds(shape)).map(({ topic, partition, start, end }) => ({ topic, partition, offset: share(start, end) }));
  const both = async (share: (start: bigint, end: bigint) => bigint) => [
    ...(await at('plain', share)),
    ...(await at('transactional', share)),
  ];
  const written = [
    { kind: 'at the start', positions: await both((start) => start) },
    { kind: 'lagging', positions: await both((start, end) => start + (end - start) / 3n) },
    { kind: 'in the middle', positions: await both((start, end) => start + (end - start) / 2n + 1n) },
    { kind: 'one before the end', positions: await both((_, end) => end - 1n) },
    { kind: 'at the end', positions: await both((_, end) => end) },
    {
      kind: 'with metadata',
      positions: (await at('plain', (start) => start + 17n)).map((one) => ({ ...one, metadata: 'checkpoint 17' })),
    },
    { kind: 'in a trimmed log', positions: await at('trimmed', (start) => start + 50n) },
    { kind: 'before a trimmed log', positions: await at('trimmed', () => 10n) },
    { kind: 'in a compacted log', positions: await at('compacted', (start) => start + 101n) },
    { kind: 'in compressed logs', positions: await at('codecs', (start) => start + 33n) },
    { kind: 'on empty partitions', positions: await at('empty', () => 0n) },
    { kind: 'with one partition of three', positions: (await at('plain', (start) => start + 5n)).slice(1, 2) },
  ].map(({ kind, positions }) => ({ kind, positions, group: `${prefix}-${kind.replaceAll(' ', '-')}` }));
  for (const { group, positions } of written) await commitOffsets(source, group, positions);
  const live = [
    { kind: 'of a classic consumer that has left', group: `${prefix}-classic`, join: joinClassic },
    { kind: 'of a consumer of the new protocol (KIP-848) that has left', group: `${prefix}-kip-848`, join: joinNew },
  ];
  const plain = of('plain').name;
  const positions = await at('plain', (start, end) => start + (end - start) / 4n);
  for (const { group, join } of live) {
    await join(local, group, plain);
    await waitFor(`${group} to be empty`, patienceMs, () =>
      commitOffsets(source, group, positions).then(
        () => true,
        () => false,
      ),
    );
  }
  return [...written, ...live.map(({ kind, group }) => ({ kind, group, positions }))];
}

async function joinClassic(local: LocalCluster, group: string, topic: string): Promise<void> {
  const consumer = applicationOf(local, 'cutover').consumer({ groupId: group, retry: { retries: 20 } });
  await consumer.connect();
  try {
    await consumer.subscribe({ topic, fromBeginning: true });
    const joined = new Promise<void>((done) => consumer.on('consumer.group_join', () => done()));
    await consumer.run({ autoCommit: false, eachBatch: async () => {} });
    await joined;
  } finally {
    await consumer.disconnect();
  }
}

async function joinNew(local: LocalCluster, group: string, topic: string): Promise<void> {
  const consumer = new Consumer({
    groupId: group,
    clientId: group,
    bootstrapBrokers: local.bootstrap.split(','),
    sasl: { mechanism: 'SCRAM-SHA-512', username: 'cutover', password: local.users.cutover ?? '' },
    groupProtocol: 'consumer',
  });
  const stream = await consumer.consume({ topics: [topic], mode: 'latest', autocommit: false });
  await stream.close();
  await consumer.close(true);
}

function aclsOf(prefix: string, topic: string): readonly Acl[] {
  const [writer, reader] = usersOf(prefix);
  const rule = (user: string, operation: Acl['operation'], of: Partial<Acl>): Acl => ({
    resourceType: 'topic',
    patternType: 'literal',
    resourceName: topic,
    principal: `User:${user}`,
    host: '*',
    operation,
    permission: 'allow',
    ...of,
  });
  const group = { resourceType: 'group', resourceName: `${prefix}-lagging` } as const;
  const id = { resourceType: 'transactional-id', resourceName: `${topic}-tx` } as const;
  return [
    rule(reader, 'read', {}),
    rule(reader, 'describe', {}),
    rule(writer, 'write', {}),
    rule(writer, 'describe-configs', {}),
    rule(writer, 'all', { resourceName: `${prefix}.compacted` }),
    rule(reader, 'read', { resourceName: `${prefix}.`, patternType: 'prefixed' }),
    rule(writer, 'write', { resourceName: `${prefix}.`, patternType: 'prefixed' }),
    rule(reader, 'write', { resourceName: `${prefix}.trimmed`, permission: 'deny' }),
    rule(reader, 'read', { resourceName: `${prefix}.trimmed`, permission: 'deny', host: '192.0.2.7' }),
    rule(reader, 'read', { ...group }),
    rule(reader, 'describe', { ...group }),
    rule(reader, 'read', { ...group, resourceName: `${prefix}-`, patternType: 'prefixed' }),
    rule(writer, 'write', { ...id }),
    rule(writer, 'describe', { ...id }),
  ];
}

function quotasOf(prefix: string): readonly Quota[] {
  const [writer, reader] = usersOf(prefix);
  return [
    { entity: { user: writer }, values: { producer_byte_rate: 10_000_000 } },
    { entity: { user: reader }, values: { consumer_byte_rate: 20_000_000, request_percentage: 50 } },
    { entity: { user: writer, clientId: `${prefix}-app` }, values: { producer_byte_rate: 5_000_000 } },
  ];
}
