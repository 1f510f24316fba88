import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteRecordsV2 } from '@platformatic/kafka';
import { codecNames } from '../../kafka/codecs.ts';
import { type AuditOptions, type AuditPartition, type AuditStart, runAudit } from '../../mirror/audit.ts';
import { runMirror } from '../../mirror/mirror.ts';
import { append, createTopicPair, leaderOf, offsetsOf, openPair, type TopicPair, variedRecords } from './support.ts';

const pair = await openPair();

function fromTheStart({ topic, partitions }: TopicPair): AuditStart[] {
  return partitions.map(({ partition }) => ({ topic, partition, position: 0n, records: 0, digest: '' }));
}

function audit(
  partitions: readonly AuditStart[],
  more: Partial<AuditOptions> = {},
): Promise<readonly AuditPartition[]> {
  return runAudit({
    source: pair.source,
    target: pair.target,
    partitions,
    signal: AbortSignal.timeout(30_000),
    untilCaughtUp: true,
    ...more,
  });
}

function mirror({ partitions }: TopicPair, signal = AbortSignal.timeout(30_000), untilCaughtUp = true) {
  return runMirror({ from: pair.source, into: pair.target, partitions, signal, untilCaughtUp });
}

async function deleteBelow(side: 'source' | 'target', topic: string, offset: bigint): Promise<void> {
  const broker = await leaderOf(pair[side], topic);
  const topics = [{ name: topic, partitions: [{ partitionIndex: 0, offset }] }];
  await pair[side].call({ broker }, deleteRecordsV2.api, topics, 5_000);
}

describe('the audit', () => {
  it('proves a copy equal whose batches are others than the source has, and goes on where it was', async () => {
    const topics = await createTopicPair(pair, { partitions: 2 });
    for (let n = 0; n < 60; n++) {
      const codec = codecNames[n % codecNames.length] ?? 'none';
      const records = variedRecords(1 + (n % 9), n * 10, 300);
      for (const partition of [0, 1]) await append(pair.source, topics.topic, partition, { codec, records });
    }
    await mirror(topics);

    const first = await audit(fromTheStart(topics));
    await append(pair.source, topics.topic, 0, { records: variedRecords(20, 7_000) });
    await mirror(topics);
    const second = await audit(first);
    const whole = await audit(fromTheStart(topics));

    const end = await offsetsOf(pair.source, topics.topic).end();
    assert.deepEqual([second[0]?.position, second[0]?.records, second[0]?.differences], [end, Number(end), 0]);
    assert.deepEqual(
      second.map((p) => [p.digest, p.records]),
      whole.map((p) => [p.digest, p.records]),
    );
    assert.equal(first[1]?.digest, second[1]?.digest);
    assert.notEqual(first[0]?.digest, second[0]?.digest);
  });

  it('finds one byte that differs in ten thousand records', async () => {
    const topics = await createTopicPair(pair);
    for (let n = 0; n < 10; n++) {
      const records = variedRecords(1_000, n * 1_000);
      await append(pair.source, topics.topic, 0, { codec: 'lz4', records });
      const wrong = records.map((r, i) => (n === 6 && i === 421 ? { ...r, value: Buffer.from('6422') } : r));
      await append(pair.target, topics.topic, 0, { codec: 'lz4', records: wrong });
    }

    const [found] = await audit(fromTheStart(topics));

    assert.equal(found?.differences, 1);
    assert.deepEqual([found.first?.kind, found.first?.offset, found.position], ['value', 6_421n, 10_000n]);
  });

  it('waits for a mirror, follows it closely, and ends at the boundary', async () => {
    const topics = await createTopicPair(pair);
    const stop = new AbortController();
    const mirroring = mirror(topics, stop.signal, false);
    const seen: AuditPartition[] = [];
    const key = `${topics.topic}/0`;
    const auditing = audit(fromTheStart(topics), {
      untilCaughtUp: false,
      until: new Map([[key, 30n]]),
      onProgress: (progress) => seen.push(...progress),
    });
    for (let n = 0; n < 29; n++) {
      await append(pair.source, topics.topic, 0, { records: variedRecords(1, n) });
      await sleep(10);
    }
    await sleep(300);
    assert.equal(seen.at(-1)?.position, 29n);
    const written = performance.now();
    await append(pair.source, topics.topic, 0, { records: variedRecords(4, 29) });

    const [result] = await auditing;

    const delayMs = performance.now() - written;
    stop.abort();
    await mirroring;
    assert.deepEqual([result?.position, result?.records, result?.differences], [30n, 30, 0]);
    assert.ok(delayMs < 500, `${delayMs} ms behind`);
  });

  it('begins where the source begins, and waits while the head of the target is being written', async () => {
    const topics = await createTopicPair(pair);
    await append(pair.source, topics.topic, 0, { records: variedRecords(500) });
    await deleteBelow('source', topics.topic, 333n);
    const auditing = audit(fromTheStart(topics));
    await sleep(200);

    await mirror(topics);

    const [result] = await auditing;
    assert.deepEqual([result?.start, result?.position, result?.records, result?.differences], [333n, 500n, 167, 0]);
  });

  it('begins again where the source has cut away what was to be read again', async () => {
    const topics = await createTopicPair(pair);
    await append(pair.source, topics.topic, 0, { records: variedRecords(100) });
    await mirror(topics);
    const before = await audit(fromTheStart(topics));
    await append(pair.source, topics.topic, 0, { records: variedRecords(50, 100) });
    await deleteBelow('source', topics.topic, 120n);
    await mirror(topics).catch(() => {});
    await append(pair.target, topics.topic, 0, { records: variedRecords(50, 100) });

    const [result] = await audit(before);

    assert.deepEqual([result?.start, result?.position, result?.records, result?.differences], [120n, 150n, 30, 0]);
  });

  it('calls missing what the target has deleted and the source still has', async () => {
    const topics = await createTopicPair(pair);
    await append(pair.source, topics.topic, 0, { records: variedRecords(100) });
    await mirror(topics);
    await deleteBelow('target', topics.topic, 40n);

    const [result] = await audit(fromTheStart(topics));

    assert.deepEqual([result?.differences, result?.first?.kind, result?.first?.offset], [40, 'missing', 0n]);
  });

  it('does not let what it has read beyond the end of one partition hold up another', async () => {
    const topics = await createTopicPair(pair, { partitions: 2 });
    for (let n = 0; n < 20; n++) {
      for (const side of [pair.source, pair.target]) {
        for (const partition of [0, 1])
          await append(side, topics.topic, partition, { records: variedRecords(10, n, 300) });
      }
    }

    const results = await audit(fromTheStart(topics), {
      until: new Map([
        [`${topics.topic}/0`, 5n],
        [`${topics.topic}/1`, 200n],
      ]),
      partitionBytesMax: 10_000,
      bytesHeldMax: 1,
    });

    assert.deepEqual(
      results.map(({ position, records, differences }) => [position, records, differences]),
      [
        [5n, 5, 0],
        [200n, 200, 0],
      ],
    );
  });

  it('ends when it is told to, with what it has', async () => {
    const topics = await createTopicPair(pair);
    await append(pair.source, topics.topic, 0, { records: variedRecords(10) });
    const stop = new AbortController();
    const auditing = audit(fromTheStart(topics), { untilCaughtUp: false, signal: stop.signal });
    await sleep(200);

    stop.abort();

    const [result] = await auditing;
    assert.deepEqual([result?.position, result?.records], [0n, 0]);
  });
});
