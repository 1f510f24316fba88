/**
 * A real source of Kafka 2.5: message formats v0 and v1, written by Apache's producer in each codec, mirrored to a Kafka of today, and what
 * else such an old source lacks.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createTopicsV7 } from '@platformatic/kafka';
import { parsePlan } from '../../contract/plan.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { fetchOffsets } from '../../kafka/groups.ts';
import { kafkaError } from '../../kafka/kafka-errors.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import { noTopicId } from '../../kafka/topic-ids.ts';
import { deleteTopic } from '../../kafka/topics.ts';
import { pause } from '../../kafka/waiting.ts';
import { takeInventory } from '../../migration/inventory.ts';
import { gatherFacts, nothingKnown } from '../../migration/preflight/facts.ts';
import { findFindings } from '../../migration/preflight.ts';
import { runAudit } from '../../mirror/audit.ts';
import { type MirrorPartition, runMirror } from '../../mirror/mirror.ts';
import { type JavaRecord, readWithJava, runJavaTool } from '../../stack/java-tools.ts';
import { oldKafkaVersion, startOldSource } from '../../stack/old-source.ts';
import { findKafka } from '../../stack/programs.ts';
import { uniqueName } from '../support/stack.ts';
import {
  append,
  kafkajsOf,
  makeTopic,
  mirroredConfigs,
  offsetsOf,
  openPair,
  readLog,
  variedRecords,
} from './support.ts';

const { stack, target } = await openPair();
assert.ok(stack.source && stack.target);
const { java } = stack.source;
const tools = stack.source;
const into = stack.target;
const { classpath } = await findKafka('old', oldKafkaVersion, {
  environment: process.env,
  onProgress: () => undefined,
});

const dir = mkdtempSync(join(tmpdir(), 'kafka-cutover-old-source-'));
const old = await startOldSource(dir, { java, classpath });
after(async () => {
  await old.stop();
  rmSync(dir, { recursive: true, force: true });
});
const clusters = parseClusters(`old:\n  bootstrap: ${old.bootstrap}\n`, 'clusters.yaml', {});
const source = await Cluster.connect(clusters.cluster('old'), { as: 'own' });
after(() => source.close());
/** For Apache's tools: the same programs, no login. */
const oldForJava = { ...stack.source, bootstrap: old.bootstrap, clientProperties: () => '' };

const withinMs = 120_000;
/** A key, a value; some of each are null, some values long enough for batches of several records and blocks of several codecs. */
const lines = Array.from({ length: 300 }, (_, i) => {
  const value = i % 11 === 0 ? 'NULL' : `${i} `.repeat(1 + ((i * 37) % 400));
  return `${i % 7 === 0 ? 'NULL' : `key-${i}`}|${value}\n`;
}).join('');

async function send(topic: string, codec: string): Promise<void> {
  const { code, stderr } = await runJavaTool(
    tools,
    'kafka.tools.ConsoleProducer',
    [
      ...['--bootstrap-server', old.bootstrap, '--topic', topic, '--compression-codec', codec],
      // An idempotent producer needs format v2.
      ...['--producer-property', 'enable.idempotence=false'],
      ...['--batch-size', '30000', '--timeout', '50', '--property', 'parse.key=true'],
      ...['--property', 'key.separator=|', '--property', 'null.marker=NULL'],
    ],
    { stdin: lines },
  );
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stderr, /ERROR/);
}

/** Without the kind of timestamp: what was stamped by the broker keeps its time, and is CreateTime where it arrives. */
function comparable(records: readonly JavaRecord[]): string[] {
  const text = (bytes: Buffer | null) => (bytes === null ? 'null' : JSON.stringify(bytes.toString('utf8')));
  return records.map(({ offset, timestamp, key, value, headers }) =>
    [offset, timestamp, text(key), text(value), headers.length].join(' '),
  );
}

const shapes = [
  { name: 'v0', magic: 0, codecs: ['none', 'gzip', 'snappy', 'lz4'], configs: { 'message.format.version': '0.9.0' } },
  { name: 'v1', magic: 1, codecs: ['none', 'gzip', 'snappy', 'lz4'], configs: { 'message.format.version': '0.10.0' } },
  {
    name: 'v1 stamped by the broker',
    magic: 1,
    codecs: ['none', 'lz4'],
    configs: { 'message.format.version': '0.10.0', 'message.timestamp.type': 'LogAppendTime' },
  },
  { name: 'v2', magic: 2, codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'], configs: {} },
  {
    name: 'v2 stamped by the broker',
    magic: 2,
    codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
    configs: { 'message.timestamp.type': 'LogAppendTime' },
  },
] as const;

describe('mirroring what old producers and brokers wrote', () => {
  for (const { name, magic, codecs, configs } of shapes) {
    it(`carries format ${name} in every codec of its time, as Apache's consumer reads it`, async () => {
      const topic = uniqueName('old');
      await makeTopic(source, topic, 1, { ...configs, 'retention.ms': '-1' });
      await makeTopic(target, topic, 1, mirroredConfigs);
      for (const codec of codecs) await send(topic, codec);
      const stored = await readLog(source, topic);
      assert.ok(stored.every((batch) => batch.magic === magic));
      assert.deepEqual([...new Set(stored.map((batch) => batch.codec))].toSorted(), [...codecs].toSorted());
      const topicId = (await source.metadata([topic])).topics.get(topic)?.topicId ?? '';
      const producerId = await allocateProducerId(target);

      await runMirror({
        from: source,
        into: target,
        partitions: [{ topic, topicId, partition: 0, producerId, otherProducerId: null }],
        signal: AbortSignal.timeout(withinMs),
        untilCaughtUp: true,
      });

      const [wanted, found] = await Promise.all([
        readWithJava(oldForJava, 'none', topic),
        readWithJava(into, 'cutover', topic),
      ]);
      assert.equal(wanted.records.length, 300 * codecs.length);
      assert.deepEqual(comparable(found.records), comparable(wanted.records));
      assert.ok(found.records.every(({ timestampType }) => timestampType !== 'LogAppendTime'));
      assert.deepEqual(found.partitions, wanted.partitions);
    });
  }
});

/** kafkajs, as applications of that age log in. */
const applications = kafkajsOf(source);

async function partitionOf(topic: string): Promise<MirrorPartition> {
  const topicId = (await source.metadata([topic])).topics.get(topic)?.topicId ?? '';
  return { topic, topicId, partition: 0, producerId: await allocateProducerId(target), otherProducerId: null };
}

describe('a source of Kafka 2.5', () => {
  it('has its transactions carried, and positions read', async () => {
    const topic = uniqueName('old-transactions');
    await makeTopic(source, topic, 1, { 'retention.ms': '-1' });
    await makeTopic(target, topic, 1, mirroredConfigs);
    const producer = applications.producer({ transactionalId: topic, maxInFlightRequests: 1, idempotent: true });
    await producer.connect();
    for (let n = 0; n < 6; n++) {
      const transaction = await producer.transaction();
      const messages = [0, 1, 2].map((i) => ({ key: `${n}`, value: `${n}-${i}`, partition: 0 }));
      await transaction.send({ topic, messages });
      if (n === 5)
        await transaction.sendOffsets({
          consumerGroupId: topic,
          topics: [{ topic, partitions: [{ partition: 0, offset: '7' }] }],
        });
      await (n % 3 === 1 ? transaction.abort() : transaction.commit());
    }
    await producer.disconnect();
    const partition = await partitionOf(topic);
    assert.equal(partition.topicId, noTopicId);

    const signal = AbortSignal.timeout(withinMs);
    await runMirror({ from: source, into: target, partitions: [partition], signal, untilCaughtUp: true });

    const [wanted, found] = await Promise.all([
      readWithJava(oldForJava, 'none', topic),
      readWithJava(into, 'cutover', topic),
    ]);
    assert.equal(wanted.records.length, 12);
    assert.deepEqual(comparable(found.records), comparable(wanted.records));
    assert.deepEqual(found.partitions, wanted.partitions);
    const start = { topic, partition: 0, position: 0n, records: 0, digest: '' };
    const [audited] = await runAudit({ source, target, partitions: [start], signal, untilCaughtUp: true });
    assert.deepEqual([audited?.position, audited?.differences], [24n, 0]);
    const positions = await fetchOffsets(source, [topic], { requireStable: true, topics: new Map([[topic, 1]]) });
    assert.equal(positions.get(topic)?.get(`${topic}/0`)?.offset, 7n);
  });

  it('has a topic that was deleted and created again told by what its log holds', async () => {
    const topic = uniqueName('old-recreated');
    await makeTopic(source, topic, 1, {});
    await makeTopic(target, topic, 1, mirroredConfigs);
    await append(source, topic, 0, { records: variedRecords(20) });
    const partition = await partitionOf(topic);
    const signal = AbortSignal.timeout(withinMs);
    await runMirror({ from: source, into: target, partitions: [partition], signal, untilCaughtUp: true });

    await deleteTopic(source, topic);
    await createOnceGone(topic);
    await append(source, topic, 0, { records: variedRecords(30, 500) });

    const again = runMirror({ from: source, into: target, partitions: [partition], signal, untilCaughtUp: true });
    await assert.rejects(again, { code: 'TARGET_DIVERGED' });
    assert.equal(await offsetsOf(target, topic).end(), 20n);
  });

  it('has findings for what it does not tell and cannot take back', async () => {
    const topic = uniqueName('old-preflight');
    await makeTopic(source, topic, 1, {});
    await append(source, topic, 0, { records: variedRecords(20) });
    const plan = parsePlan({ name: 'old', source: 'old', target: 'next', topics: { include: [topic] } });

    const inventory = await takeInventory(source, target, plan);
    const findings = findFindings(inventory, plan, await gatherFacts(source, target, inventory), nothingKnown);

    const codes = new Set(findings.map(({ code }) => code));
    for (const code of ['TRANSACTIONS_UNNAMED', 'TOPIC_IDS_ABSENT', 'ROLLBACK_IMPOSSIBLE'] as const) {
      assert.ok(codes.has(code), `${code} is missing of ${[...codes]}`);
    }
    assert.ok(!codes.has('VERSION_UNSUPPORTED'));
    assert.equal(inventory.measured.partitions[0]?.end, '20');
  });
});

/** Under ZooKeeper a topic is being deleted for a while after brokers have ceased to know it. */
async function createOnceGone(topic: string): Promise<void> {
  const request = { name: topic, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] };
  const deadline = performance.now() + withinMs;
  for (;;) {
    const { topics } = await source.call('controller', createTopicsV7.api, [request], 10_000, false);
    const code = topics[0]?.errorCode;
    if (code === 0) break;
    assert.equal(code, kafkaError.topicAlreadyExists);
    assert.ok(performance.now() < deadline, 'it is still being deleted');
    await pause(100);
  }
  await makeTopic(source, topic, 1, {});
}
