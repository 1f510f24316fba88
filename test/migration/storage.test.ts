import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeRecords, encodeBatch, readBatches } from '../../kafka/batches.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { alterTopicConfigs, topicConfigs } from '../../kafka/topics.ts';
import { rawFetch, rawProduce } from '../../kafka/wire.ts';
import { getAllJson, getJson, openStorage, putJson, type Storage } from '../../migration/storage.ts';
import { appendTimeoutMs, chunkBytes, storageTopic } from '../../migration/storage-topic.ts';
import { ownStack, sharedStack, uniqueName } from '../support/stack.ts';
import { connectBoth, disconnected, freshStorage } from './rig.ts';

const { clusters: file } = await sharedStack();
const clusters = await connectBoth(file);
const directory = mkdtempSync(join(tmpdir(), 'kafka-cutover-artifacts-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const kinds: [string, () => Storage][] = [
  ['on both clusters', () => freshStorage(clusters)],
  ['in a directory', () => openStorage({ directory })],
];
for (const [kind, open] of kinds) {
  describe(`storage ${kind}`, () => {
    it('gives another process what was put, with its digest', async () => {
      // Not a journal's name: other files' migrations read every journal that there is.
      const name = `${uniqueName('m')}/notes/all/.. 1%ü`;
      const bytes = randomBytes(1000);

      const digest = await open().put(name, bytes);

      const stored = await open().get(name);
      assert.deepEqual(stored?.bytes, bytes);
      assert.equal(digest, createHash('sha256').update(bytes).digest('hex'));
      assert.equal(stored?.sha256, digest);
      assert.deepEqual(await open().list(name.slice(0, -4)), [name]);
    });

    it('knows nothing of what was never put', async () => {
      assert.equal(await open().get(uniqueName('nothing')), null);
      assert.deepEqual(await open().list(uniqueName('nothing')), []);
    });

    it('keeps artifacts whose names begin alike apart, and the newest version of each', async () => {
      const name = uniqueName('m');
      const storage = open();
      await storage.putAll([
        { name, bytes: Buffer.from('old') },
        { name: `${name}/a`, bytes: Buffer.from('a') },
        { name: `${name}/a/b`, bytes: Buffer.alloc(0) },
      ]);
      await storage.put(name, Buffer.from('new'));

      assert.equal((await open().get(name))?.bytes.toString(), 'new');
      assert.equal((await open().get(`${name}/a`))?.bytes.toString(), 'a');
      assert.equal((await open().get(`${name}/a/b`))?.bytes.length, 0);
      assert.deepEqual(await open().list(`${name}/a`), [`${name}/a`, `${name}/a/b`]);
    });

    it('carries offsets as decimal strings', async () => {
      const name = uniqueName('m');
      await putJson(open(), `${name}/x`, { end: 2n ** 60n, ends: new Map([['t/0', 7n]]) });
      assert.deepEqual(await getJson(open(), `${name}/x`), { end: '1152921504606846976', ends: { 't/0': '7' } });
      assert.deepEqual(await getAllJson(open(), `${name}/`), [
        { name: `${name}/x`, value: { end: '1152921504606846976', ends: { 't/0': '7' } } },
      ]);
    });
  });
}

describe('storage in a directory', () => {
  it('refuses a file that was changed', async () => {
    const folder = mkdtempSync(join(directory, 'changed-'));
    const storage = openStorage({ directory: folder });
    await storage.put('a', Buffer.from('the truth'));
    const path = join(folder, readdirSync(folder)[0] ?? '');
    writeFileSync(path, readFileSync(path, 'utf8').replace('truth', 'trvth'));

    await assert.rejects(storage.get('a'), { code: 'STORAGE_CORRUPT', message: /artifact a\).*sha256/s });
  });
});

describe('storage on both clusters', () => {
  it('carries artifacts larger than a Kafka batch, and deletes the chunks of the version before', async () => {
    const name = uniqueName('large');
    const first = randomBytes(2 * chunkBytes + 1);
    const second = randomBytes(chunkBytes + 1);
    const storage = freshStorage(clusters);
    await storage.put(name, first);
    assert.deepEqual((await freshStorage(clusters).get(name))?.bytes, first);

    await storage.put(name, second);

    assert.deepEqual((await freshStorage(clusters).get(name))?.bytes, second);
    for (const cluster of [clusters.source, clusters.target]) {
      const last = new Map((await recordsOf(cluster)).map((r) => [r.key, r.value]));
      const chunks = [...last].filter(([key]) => key.startsWith('c:') && key.endsWith(`:${name}`));
      assert.equal(chunks.length, 5);
      assert.equal(chunks.filter(([, value]) => value !== null).length, 2);
    }
  });

  it('never shows a put that was torn, and keeps the version before it', async () => {
    const name = uniqueName('torn');
    const bytes = randomBytes(chunkBytes + 10);
    const storage = freshStorage(clusters);
    await storage.put(name, bytes);

    await inject(clusters.source, `c:11111111-1111-1111-1111-111111111111:0:${name}`, randomBytes(100));

    assert.deepEqual((await storage.get(name))?.bytes, bytes);
    assert.deepEqual((await freshStorage(clusters).get(name))?.bytes, bytes);
  });

  it('refuses what does not match its digest, and says which artifact', async () => {
    const name = uniqueName('corrupt');
    await freshStorage(clusters).put(name, Buffer.from('one'));
    const head = (await recordsOf(clusters.source)).findLast((r) => r.key === `a:${name}`);
    for (const cluster of [clusters.source, clusters.target]) {
      await inject(cluster, `a:${name}`, Buffer.from(String(head?.value).replace(/one$/, 'two')));
    }
    await assert.rejects(freshStorage(clusters).get(name), {
      code: 'STORAGE_CORRUPT',
      message: new RegExp(`artifact ${name}.*wanted sha256`, 's'),
    });
  });

  it('gives the sound copy when only one cluster holds a damaged one', async () => {
    const name = uniqueName('corrupt');
    await freshStorage(clusters).put(name, Buffer.from('one'));
    const head = (await recordsOf(clusters.source)).findLast((r) => r.key === `a:${name}`);
    await inject(clusters.source, `a:${name}`, Buffer.from(String(head?.value).replace(/one$/, 'two')));

    assert.equal((await freshStorage(clusters).get(name))?.bytes.toString(), 'one');
  });

  it('reads from the cluster that is left, says so, and refuses a put that both must acknowledge', async () => {
    const name = uniqueName('half');
    await freshStorage(clusters).put(name, Buffer.from('one'));
    const half = openStorage({ source: clusters.source, target: await disconnected(file, 'next') });

    assert.equal((await half.get(name))?.bytes.toString(), 'one');
    assert.match(half.degraded ?? '', /one cluster only: .*next/s);
    await assert.rejects(half.put(name, Buffer.from('two')));
  });

  it('what only one cluster took is the newest for everybody, and the next put stands on both again', async () => {
    const name = uniqueName('half');
    await freshStorage(clusters).put(name, Buffer.from('one'));
    const half = openStorage({ source: clusters.source, target: await disconnected(file, 'next') });
    await half.put(name, Buffer.from('two'), { on: 'any' });
    assert.equal((await freshStorage(clusters).get(name))?.bytes.toString(), 'two');

    await freshStorage(clusters).put(name, Buffer.from('three'));

    const other = openStorage({ source: await disconnected(file, 'legacy'), target: clusters.target });
    assert.equal((await other.get(name))?.bytes.toString(), 'three');
    assert.equal((await half.get(name))?.bytes.toString(), 'three');
  });

  it('writes nothing when both clusters hold the same already', async () => {
    const name = uniqueName('same');
    await freshStorage(clusters).put(name, Buffer.from('one'));
    const before = (await recordsOf(clusters.source)).filter((r) => r.key === `a:${name}`).length;
    await freshStorage(clusters).put(name, Buffer.from('one'));
    assert.equal((await recordsOf(clusters.source)).filter((r) => r.key === `a:${name}`).length, before);
  });

  it('keeps order and loses nothing when many put at once', async () => {
    const name = uniqueName('many');
    const storage = freshStorage(clusters);
    const puts = Array.from({ length: 40 }, (_, i) => storage.put(`${name}/${i % 4}`, Buffer.from(`${i}`)));
    await Promise.all(puts);
    const left = await Promise.all(
      [0, 1, 2, 3].map(async (i) => (await freshStorage(clusters).get(`${name}/${i}`))?.bytes),
    );
    assert.deepEqual(left.map(String), ['36', '37', '38', '39']);
  });
});

describe('storage on clusters of its own', () => {
  it('outlives compaction and the restart of a broker', async () => {
    const { stack, clusters: own } = await ownStack({
      parts: ['source', 'target'],
      brokerConfig: { source: { 'log.cleaner.backoff.ms': '100' }, target: { 'log.cleaner.backoff.ms': '100' } },
    });
    const both = {
      source: await Cluster.connect(own.cluster('legacy')),
      target: await Cluster.connect(own.cluster('next')),
    };
    after(() => Promise.all([both.source.close(), both.target.close()]));
    const storage = freshStorage(both);
    const large = [randomBytes(2 * chunkBytes), randomBytes(3 * chunkBytes)];
    await storage.put('large', large[0] as Buffer);
    await storage.put('large', large[1] as Buffer);
    for (let i = 0; i < 20; i++) await storage.put('small', Buffer.from(`${i}`));
    const configs = (await topicConfigs(both.target, [storageTopic])).get(storageTopic);
    assert.equal(configs?.get('cleanup.policy')?.value, 'compact');

    const set = { 'segment.ms': '1', 'min.cleanable.dirty.ratio': '0', 'delete.retention.ms': '1' };
    for (const cluster of [both.source, both.target]) {
      await alterTopicConfigs(cluster, storageTopic, { set: { ...set, 'max.compaction.lag.ms': '1' }, unset: [] });
      await sleep(20); // the segment rolls with a batch that is later than its first one by segment.ms
    }
    await storage.put('last', Buffer.from('x'));
    const deadline = Date.now() + 20_000;
    for (const cluster of [both.source, both.target]) {
      const superseded = async () => (await recordsOf(cluster)).filter((r) => r.key === 'a:small').length > 1;
      while ((await superseded()) && Date.now() < deadline) await sleep(100);
      assert.equal(await superseded(), false, 'the cleaner has not run');
    }
    assert.deepEqual((await freshStorage(both).get('large'))?.bytes, large[1]);
    assert.equal((await freshStorage(both).get('small'))?.bytes.toString(), '19');

    const broker = stack.target?.brokers[0];
    await broker?.kill('SIGKILL');
    assert.equal((await storage.get('small'))?.bytes.toString(), '19');
    assert.match(storage.degraded ?? '', /next/);
    const began = Date.now();
    const put = storage.put('small', Buffer.from('20')).then(
      () => null,
      (error: Error) => error,
    );
    await broker?.start();
    const failure = await put;
    // A put waits for a restart, but not for ever; a machine that is this slow proves nothing about it.
    if (Date.now() - began < appendTimeoutMs / 2) assert.equal(failure, null);
    if (failure) await storage.put('small', Buffer.from('20'));
    assert.equal((await freshStorage(both).get('small'))?.bytes.toString(), '20');
  });
});

/** Everything in the topic, as stored. */
async function recordsOf(cluster: Cluster): Promise<{ key: string; value: Buffer | null }[]> {
  const leader = (await cluster.metadata([storageTopic])).topics.get(storageTopic)?.partitions[0]?.leader ?? -1;
  const found: { key: string; value: Buffer | null }[] = [];
  for (let from = 0n; ; ) {
    const answer = await cluster.call({ broker: leader }, rawFetch, {
      maxWaitMs: 0,
      minBytes: 0,
      maxBytes: 8_000_000,
      isolation: 'readUncommitted',
      topics: [{ topic: storageTopic, partitions: [{ partition: 0, fetchOffset: from, maxBytes: 8_000_000 }] }],
    });
    const before = from;
    for (const batch of readBatches(answer.partitions[0]?.records ?? Buffer.alloc(0))) {
      for (const { key, value } of decodeRecords(batch)) found.push({ key: String(key), value });
      from = batch.nextOffset;
    }
    if (from === before) return found;
  }
}

async function inject(cluster: Cluster, key: string, value: Buffer): Promise<void> {
  const leader = (await cluster.metadata([storageTopic])).topics.get(storageTopic)?.partitions[0]?.leader ?? -1;
  const batch = encodeBatch({ records: [{ timestamp: BigInt(Date.now()), key: Buffer.from(key), value }] });
  const [answer] = await cluster.call({ broker: leader }, rawProduce, {
    timeoutMs: 10_000,
    topics: [{ topic: storageTopic, partitions: [{ partition: 0, records: [batch.bytes] }] }],
  });
  assert.equal(answer?.errorCode, 0);
}
