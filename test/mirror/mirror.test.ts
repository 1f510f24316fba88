import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteRecordsV2 } from '@platformatic/kafka';
import type { Cluster } from '../../kafka/cluster.ts';
import { codecNames } from '../../kafka/codecs.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import type { KafkaRecord } from '../../kafka/record.ts';
import { deleteTopic } from '../../kafka/topics.ts';
import { fillHead } from '../../mirror/head.ts';
import { type MirrorOptions, type MirrorPartition, type MirrorResult, runMirror } from '../../mirror/mirror.ts';
import { readWithJava, runJavaTool, withClientProperties } from '../../stack/java-tools.ts';
import {
  append,
  assertEqualRecords,
  createTopicPair,
  leaderOf,
  makeTopic,
  offsetsOf,
  openPair,
  readLog,
  readRecords,
  variedRecords,
} from './support.ts';

const pair = await openPair();

const withinMs = 30_000;

function mirror(
  partitions: readonly MirrorPartition[],
  { signal, ...more }: Partial<MirrorOptions> = {},
): Promise<MirrorResult> {
  const limit = AbortSignal.timeout(withinMs);
  return runMirror({
    from: pair.source,
    into: pair.target,
    partitions,
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
    untilCaughtUp: true,
    ...more,
  });
}

async function assertSameRecords(topic: string, partition = 0): Promise<KafkaRecord[]> {
  const wanted = await readRecords(pair.source, topic, partition);
  const found = await readRecords(pair.target, topic, partition);
  assertEqualRecords(found, wanted);
  return found;
}

async function deleteBelow(cluster: Cluster, topic: string, offset: bigint): Promise<void> {
  const leader = await leaderOf(cluster, topic);
  const topics = [{ name: topic, partitions: [{ partitionIndex: 0, offset }] }];
  const answer = await cluster.call({ broker: leader }, deleteRecordsV2.api, topics, 5_000);
  assert.equal(answer.topics[0]?.partitions[0]?.errorCode, 0);
}

describe('mirroring', () => {
  it('carries every codec, null keys and values, and repeated headers, as another client reads them', async () => {
    const { topic, partitions } = await createTopicPair(pair, { partitions: 2 });
    let n = 0;
    for (const codec of codecNames) {
      for (const count of [1, 1, 1, 50, 3]) {
        for (const partition of [0, 1]) {
          await append(pair.source, topic, partition, { codec, records: variedRecords(count, n) });
        }
        n += count;
      }
    }

    const result = await mirror(partitions);

    assert.equal(result.records, 2 * n);
    const sourceCluster = pair.stack.source;
    const targetCluster = pair.stack.target;
    assert.ok(sourceCluster && targetCluster);
    const [wanted, found] = await Promise.all([
      readWithJava(sourceCluster, 'cutover', topic),
      readWithJava(targetCluster, 'cutover', topic),
    ]);
    const inOrder = (read: typeof wanted) =>
      read.records.toSorted((a, b) => a.partition - b.partition || Number(a.offset - b.offset));
    assert.equal(found.records.length, 2 * n);
    assert.deepEqual(inOrder(found), inOrder(wanted));
    assert.deepEqual(found.partitions, wanted.partitions);
  });

  it("carries what Apache's producer writes in each codec", async () => {
    const { topic, partitions } = await createTopicPair(pair, { partitions: 1 });
    const source = pair.stack.source;
    assert.ok(source);
    await withClientProperties(source, 'cutover', (properties) =>
      Promise.all(
        ['snappy', 'lz4', 'zstd', 'gzip'].map(async (codec) => {
          const { code, stderr } = await runJavaTool(source, 'org.apache.kafka.tools.ProducerPerformance', [
            ...['--topic', topic, '--num-records', '2000', '--record-size', '700', '--throughput', '-1'],
            ...['--producer.config', properties, '--producer-props', `compression.type=${codec}`],
          ]);
          assert.equal(code, 0, stderr);
        }),
      ),
    );

    await mirror(partitions);

    const records = await assertSameRecords(topic);
    assert.equal(records.length, 8_000);
    const codecs = new Set((await readLog(pair.target, topic)).map((batch) => batch.codec));
    assert.deepEqual([...codecs].sort(), ['gzip', 'lz4', 'snappy', 'zstd']);
  });

  it('makes few batches of many small ones and keeps every record', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    for (let n = 0; n < 400; n++) {
      const codec = n < 200 ? 'none' : 'lz4';
      await append(pair.source, topic, 0, { codec, records: variedRecords(1 + (n % 3), n * 3, 200) });
    }

    await mirror(partitions);

    await assertSameRecords(topic);
    assert.ok((await readLog(pair.target, topic)).length <= 20);
  });

  it('carries records of 900 KB beside small ones, compressed or not', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    for (const codec of ['none', 'zstd', 'none'] as const) {
      await append(pair.source, topic, 0, { records: variedRecords(2) });
      const value = Buffer.alloc(900_000, codec);
      await append(pair.source, topic, 0, { codec, records: [{ timestamp: 1n, key: null, value }] });
    }

    await mirror(partitions);

    assert.equal((await assertSameRecords(topic)).length, 9);
  });

  it('ends at once with empty topics and says where they stand', async () => {
    const { partitions } = await createTopicPair(pair, { partitions: 3 });
    const reports: number[] = [];

    const result = await mirror(partitions, { onProgress: (progress) => reports.push(progress.length) });

    assert.equal(result.records, 0);
    assert.deepEqual(
      result.partitions.map((p) => [p.position, p.end]),
      [
        [0n, 0n],
        [0n, 0n],
        [0n, 0n],
      ],
    );
    assert.ok(reports.length >= 1 && reports.every((count) => count === 3));
  });

  it('follows a log that grows, within a moment', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    const stop = new AbortController();
    const running = mirror(partitions, { untilCaughtUp: false, signal: stop.signal });
    await append(pair.source, topic, 0, { records: variedRecords(1) });
    while ((await offsetsOf(pair.target, topic).end()) < 1n) await sleep(5);

    const delays: number[] = [];
    for (let n = 1; n <= 10; n++) {
      await append(pair.source, topic, 0, { records: variedRecords(1, n) });
      const written = performance.now();
      while ((await offsetsOf(pair.target, topic).end()) < BigInt(n + 1)) await sleep(2);
      delays.push(performance.now() - written);
    }
    stop.abort();

    assert.equal((await running).records, 11);
    const median = delays.sort((a, b) => a - b)[5] ?? Number.NaN;
    assert.ok(median < 250, `delays ${delays.map(Math.round)}`);
    await assertSameRecords(topic);
  });

  it('keeps to the byte rate that is asked for', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    for (let n = 0; n < 10; n++) {
      await append(pair.source, topic, 0, { records: [{ timestamp: 1n, key: null, value: Buffer.alloc(100_000) }] });
    }
    const began = performance.now();

    await mirror(partitions, { maxBytesPerSecond: () => 500_000 });

    const tookMs = performance.now() - began;
    assert.ok(tookMs > 1_200 && tookMs < 4_000, `1 MB at 500 KB/s took ${tookMs} ms`);
  });

  it('goes on from the log alone when it is started again, in the middle of what was one batch', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await append(pair.source, topic, 0, { codec: 'snappy', records: variedRecords(40) });
    await mirror(partitions);
    await append(pair.source, topic, 0, { records: variedRecords(40, 40) });

    const result = await mirror(partitions);

    assert.equal(result.records, 40);
    await assertSameRecords(topic);
  });
});

describe('trimmed heads', () => {
  it('begins both logs at the same offset, also in the middle of a batch', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    for (const codec of ['none', 'gzip'] as const) {
      await append(pair.source, topic, 0, { codec, records: variedRecords(1_000) });
    }
    await deleteBelow(pair.source, topic, 1_234n);

    await mirror(partitions);

    assert.equal(await offsetsOf(pair.target, topic).start(), 1_234n);
    assert.equal(await offsetsOf(pair.target, topic).end(), 2_000n);
    assert.equal((await assertSameRecords(topic)).length, 766);
  });

  it('begins an empty log where the source begins', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await append(pair.source, topic, 0, { records: variedRecords(70) });
    await deleteBelow(pair.source, topic, 70n);

    await mirror(partitions);
    await append(pair.source, topic, 0, { records: variedRecords(5, 70) });
    await mirror(partitions);

    assert.equal(await offsetsOf(pair.target, topic).start(), 70n);
    assert.equal((await assertSameRecords(topic)).length, 5);
  });

  for (const written of [400n, 1_000n]) {
    it(`goes on with a head of which ${written} of 1000 offsets were written when it was killed`, async () => {
      const { topic, partitions } = await createTopicPair(pair);
      await append(pair.source, topic, 0, { records: variedRecords(1_100) });
      await deleteBelow(pair.source, topic, 1_000n);
      const [{ producerId }] = partitions as [MirrorPartition];
      const leader = await leaderOf(pair.target, topic);
      const range = { position: 0n, end: written, sequence: 0, remembered: false };
      await fillHead(
        { into: pair.target, topic, partition: 0, leader, producerId, maxBatchBytes: 1_000_000 },
        range,
        AbortSignal.timeout(5_000),
      );

      await mirror(partitions);

      assert.equal(await offsetsOf(pair.target, topic).start(), 1_000n);
      assert.equal((await assertSameRecords(topic)).length, 100);
    });
  }

  it('fills a head with batches as small as the target takes', async () => {
    const { topic, partitions } = await createTopicPair(pair, { targetConfigs: { 'max.message.bytes': '3000' } });
    for (let n = 0; n < 20; n++) {
      await append(pair.source, topic, 0, { codec: 'zstd', records: variedRecords(1_000, 0, 0) });
    }
    await append(pair.source, topic, 0, { records: variedRecords(9) });
    await deleteBelow(pair.source, topic, 20_000n);

    await mirror(partitions, { maxBatchBytes: 3_000 });

    assert.equal((await assertSameRecords(topic)).length, 9);
  });

  it('refuses to fill a head that holds something else too', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await append(pair.source, topic, 0, { records: variedRecords(1_100) });
    await deleteBelow(pair.source, topic, 1_000n);
    const [{ producerId }] = partitions as [MirrorPartition];
    const leader = await leaderOf(pair.target, topic);
    const range = { position: 0n, end: 10n, sequence: 0, remembered: false };
    await fillHead(
      { into: pair.target, topic, partition: 0, leader, producerId, maxBatchBytes: 1_000_000 },
      range,
      AbortSignal.timeout(5_000),
    );
    await append(pair.target, topic, 0, { records: variedRecords(1) });

    await assert.rejects(mirror(partitions), { code: 'TARGET_DIVERGED' });
  });

  it('writes ten million offsets in seconds', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    const [{ producerId }] = partitions as [MirrorPartition];
    const leader = await leaderOf(pair.target, topic);
    const range = { position: 0n, end: 10_000_000n, sequence: 0, remembered: false };

    await fillHead(
      { into: pair.target, topic, partition: 0, leader, producerId, maxBatchBytes: 1_000_000 },
      range,
      AbortSignal.timeout(withinMs),
    );

    assert.equal(await offsetsOf(pair.target, topic).end(), 10_000_000n);
  });
});

describe('a log start that is followed', () => {
  const follows = (partitions: readonly MirrorPartition[]) =>
    partitions.map((p): MirrorPartition => ({ ...p, followsLogStart: true }));

  it('moves on the target when it moves on the source', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await append(pair.source, topic, 0, { records: variedRecords(100) });
    const stop = new AbortController();
    const running = mirror(follows(partitions), { untilCaughtUp: false, signal: stop.signal });
    while ((await offsetsOf(pair.target, topic).end()) < 100n) await sleep(5);

    await deleteBelow(pair.source, topic, 60n);

    const deadline = AbortSignal.timeout(withinMs);
    while ((await offsetsOf(pair.target, topic).start()) < 60n) await sleep(50, undefined, { signal: deadline });
    stop.abort();
    await running;
    assert.equal(await offsetsOf(pair.target, topic).start(), 60n);
    assertEqualRecords(await readRecords(pair.target, topic), await readRecords(pair.source, topic));
  });

  it('carries a mirror that it overtakes past the records that are gone', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await append(pair.source, topic, 0, { records: variedRecords(100) });
    await mirror(follows(partitions));
    for (let n = 1; n < 3; n++) await append(pair.source, topic, 0, { records: variedRecords(100, n * 100) });
    await deleteBelow(pair.source, topic, 150n);

    await mirror(follows(partitions));

    assert.equal(await offsetsOf(pair.target, topic).start(), 150n);
    assertEqualRecords(await readRecords(pair.target, topic), await readRecords(pair.source, topic));
  });
});

describe('what cannot be carried', () => {
  it('says that the source no longer has the next records', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await append(pair.source, topic, 0, { records: variedRecords(100) });
    await mirror(partitions);
    await append(pair.source, topic, 0, { records: variedRecords(100, 100) });
    await deleteBelow(pair.source, topic, 150n);

    await assert.rejects(mirror(partitions), { code: 'SOURCE_TRUNCATED' });
  });

  it('stops before a record of somebody else on the target', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await append(pair.source, topic, 0, { records: variedRecords(10) });
    const stop = new AbortController();
    const running = mirror(partitions, { untilCaughtUp: false, signal: stop.signal });
    const refused = assert.rejects(running, { code: 'TARGET_DIVERGED' });
    while ((await offsetsOf(pair.target, topic).end()) < 10n) await sleep(5);

    await append(pair.target, topic, 0, { records: variedRecords(1, 500) });
    await append(pair.source, topic, 0, { records: variedRecords(10, 10) });

    await refused;
    stop.abort();
  });

  it('finds at its start that somebody else wrote while it was away', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await append(pair.source, topic, 0, { records: variedRecords(10) });
    await mirror(partitions);
    await append(pair.target, topic, 0, { records: variedRecords(1, 500) });

    await assert.rejects(mirror(partitions), { code: 'TARGET_DIVERGED' });

    await append(pair.source, topic, 0, { records: variedRecords(10, 10) });
    await assert.rejects(mirror(partitions), { code: 'TARGET_DIVERGED' });
  });

  it('refuses a batch of the mirror of the other direction', async () => {
    const otherProducerId = await allocateProducerId(pair.source);
    const { topic, partitions } = await createTopicPair(pair, { otherProducerId });
    await append(pair.source, topic, 0, { records: variedRecords(3) });
    await append(pair.source, topic, 0, { records: variedRecords(3, 3), producerId: otherProducerId });

    await assert.rejects(mirror(partitions), { code: 'MIRROR_LOOP' });

    assert.equal(await offsetsOf(pair.target, topic).end(), 3n);
  });

  it('refuses a batch that the target finds too large', async () => {
    const { topic, partitions } = await createTopicPair(pair, { targetConfigs: { 'max.message.bytes': '10000' } });
    await append(pair.source, topic, 0, { records: variedRecords(20) });
    for (let n = 0; n < 30; n++) await append(pair.source, topic, 0, { records: variedRecords(20, 20 + n, 400) });
    const value = Buffer.alloc(20_000);
    await append(pair.source, topic, 0, { records: [{ timestamp: 1n, key: null, value }] });

    await assert.rejects(mirror(partitions), { code: 'RECORD_TOO_LARGE' });

    // Merged batches that were too large have been sent as they came.
    assert.equal(await offsetsOf(pair.target, topic).end(), 620n);
  });

  it('notices that a topic was made anew, or is gone', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await append(pair.source, topic, 0, { records: variedRecords(3) });
    const stop = new AbortController();
    const running = mirror(partitions, { untilCaughtUp: false, signal: stop.signal });
    const refused = assert.rejects(running, (error: { code: string }) =>
      ['TOPIC_RECREATED', 'TOPIC_MISSING'].includes(error.code),
    );
    while ((await offsetsOf(pair.target, topic).end()) < 3n) await sleep(5);
    await deleteTopic(pair.source, topic);
    await makeTopic(pair.source, topic, 1, {});
    await append(pair.source, topic, 0, { records: variedRecords(10, 900) });

    await refused;
    stop.abort();
    assert.equal(await offsetsOf(pair.target, topic).end(), 3n);
    await assert.rejects(mirror(partitions), { code: 'TOPIC_RECREATED' });
    await deleteTopic(pair.source, topic);
    await assert.rejects(mirror(partitions), { code: 'TOPIC_MISSING' });
  });
});
