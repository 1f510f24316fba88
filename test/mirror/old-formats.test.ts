/** A real source with message formats v0 and v1, written by Apache's producer in each codec, mirrored to a Kafka of today. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Cluster } from '../../kafka/cluster.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import { runMirror } from '../../mirror/mirror.ts';
import { type JavaRecord, readWithJava, runJavaTool } from '../../stack/java-tools.ts';
import { startOldSource } from '../../stack/old-source.ts';
import { uniqueName } from '../support/stack.ts';
import { makeTopic, mirroredConfigs, openPair, readLog } from './support.ts';

const { stack, target } = await openPair();
assert.ok(stack.source && stack.target);
const { java, classpath } = stack.source;
const into = stack.target;

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
    { java, classpath },
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
