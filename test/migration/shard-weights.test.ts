import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { listOffsets, partitionKey } from '../../kafka/offsets.ts';
import type { Inventory } from '../../migration/inventory.ts';
import { awaitImbalance, partitionsOfShard } from '../../migration/shard-weights.ts';
import { openStorage } from '../../migration/storage.ts';
import { runMirror } from '../../mirror/mirror.ts';
import { append, createTopicPair, openPair } from '../mirror/support.ts';

const pair = await openPair();
const directory = mkdtempSync(join(tmpdir(), 'kafka-cutover-weights-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const storage = openStorage({ directory });
const withinMs = 60_000;

/** A wave of one topic, inventoried as it is now or as the test says. */
async function waveOf(topic: string, count: number, bytes: readonly (number | null)[] = []) {
  const partitions = Array.from({ length: count }, (_, partition) => ({ topic, partition }));
  const ends = await listOffsets(pair.source, partitions, 'highWatermark');
  const measured = partitions.map((p) => ({
    ...p,
    start: '0',
    end: String(ends.get(partitionKey(p.topic, p.partition))),
    bytes: bytes[p.partition] ?? null,
  }));
  const inventory = { measured: { partitions: measured } } as unknown as Inventory;
  return { wave: 'all', migration: topic, storage, inventory, partitions };
}

const fill = async (topic: string, partition: number, batches: number, bytes = 10_000) => {
  const record = { timestamp: 1n, key: null, value: Buffer.alloc(bytes) };
  for (let n = 0; n < batches; n++) await append(pair.source, topic, partition, { records: [record] });
};

describe('the partitions of a shard', () => {
  it('are each in exactly one, by their sizes as inventoried', async () => {
    const { topic } = await createTopicPair(pair, { partitions: 4 });
    for (const partition of [0, 1, 2, 3]) await fill(topic, partition, 1, 100);
    const wave = await waveOf(topic, 4, [9_000_000, 3_000_000, 3_000_000, 3_000_000]);
    const [first, second] = await Promise.all(
      [0, 1].map((shard) => partitionsOfShard(wave, wave.partitions, { shard, shards: 2, weights: null })),
    );
    assert.deepEqual(
      [first, second].map((part) => part?.map(({ partition }) => partition)),
      [[0], [1, 2, 3]],
    );
  });

  it('are those of an empty topic too', async () => {
    const { topic } = await createTopicPair(pair, { partitions: 5 });
    const wave = await waveOf(topic, 5);
    const parts = await Promise.all(
      [0, 1, 2].map((shard) => partitionsOfShard(wave, wave.partitions, { shard, shards: 3, weights: null })),
    );
    assert.deepEqual(parts.map((part) => part.length).sort(), [1, 2, 2]);
  });

  it('fail by a code where the weights are not to be found', async () => {
    const { topic } = await createTopicPair(pair, { partitions: 2 });
    const wave = await waveOf(topic, 2);
    const asked = partitionsOfShard(wave, wave.partitions, { shard: 0, shards: 2, weights: 'nowhere' });
    await assert.rejects(asked, { code: 'STORAGE_CORRUPT' });
  });
});

describe('shards that get on unevenly', () => {
  it('are spread by what is left once one has nothing more to do', async () => {
    // Given: what grew after the inventory went to the partitions of one shard alone.
    const { topic, partitions } = await createTopicPair(pair, { partitions: 4 });
    const wave = await waveOf(topic, 4);
    const share = (shard: number, weights: string | null) =>
      partitionsOfShard(wave, partitions, { shard, shards: 2, weights });
    const [busy = [], idle = []] = await Promise.all([share(0, null), share(1, null)]);
    assert.deepEqual([busy.length, idle.length], [2, 2]);
    for (const { partition } of busy) await fill(topic, partition, 120);
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(withinMs)]);
    const shards = [busy, idle].map((mine) =>
      runMirror({
        from: pair.source,
        into: pair.target,
        partitions: mine,
        signal,
        // 2.4 MB at this rate: more than a minute later than the average, so that it counts.
        maxBytesPerSecond: () => 10_000,
      }),
    );

    // When
    const options = { from: pair.source, into: pair.target, direction: 'forward', shards: 2, signal } as const;
    const found = await awaitImbalance(wave, { ...options, weights: null, afterMs: 0, everyMs: 4_000 });
    stop.abort();
    await Promise.all(shards);

    // Then
    assert.ok(found, 'an imbalance was wanted before the time was over');
    assert.match(found.summary, /^left by shard: \d\.\d MB, 0\.1 MB$/);
    const [one = [], other = []] = await Promise.all([share(0, found.weights), share(1, found.weights)]);
    const busyOnes = new Set(busy.map(({ partition }) => partition));
    for (const part of [one, other]) {
      assert.equal(part.length, 2);
      assert.equal(part.filter(({ partition }) => busyOnes.has(partition)).length, 1, 'each has one of the busy ones');
    }
  });
});

describe('a worker that came after the shards were handed out', () => {
  const spareWorkers = async () => ['worker-2'];

  it('has them handed out anew, by what is left, where that is more than a minute’s work', async () => {
    const { topic, partitions } = await createTopicPair(pair, { partitions: 4 });
    for (const { partition } of partitions) await fill(topic, partition, 1, 1_000);
    const wave = await waveOf(topic, 4);
    const signal = AbortSignal.timeout(withinMs);
    const options = { from: pair.source, into: pair.target, direction: 'forward', shards: 2, signal } as const;

    // Nothing is copied: nobody knows when it ends.
    const found = await awaitImbalance(wave, { ...options, weights: null, spareWorkers, afterMs: 0, everyMs: 100 });

    assert.match(found?.summary ?? '', /; without a shard: worker-2$/);
    const share = (shard: number) =>
      partitionsOfShard(wave, partitions, { shard, shards: 2, weights: found?.weights ?? '' });
    assert.deepEqual(
      (await Promise.all([share(0), share(1)])).map((part) => part.length),
      [2, 2],
    );
  });

  it('has nothing handed out anew where nothing is left to copy', async () => {
    const { topic } = await createTopicPair(pair, { partitions: 2 });
    const wave = await waveOf(topic, 2);
    const stop = new AbortController();
    let looks = 0;
    const looking = async () => {
      if (++looks === 3) stop.abort();
      return spareWorkers();
    };
    const options = {
      from: pair.source,
      into: pair.target,
      direction: 'forward',
      shards: 2,
      signal: stop.signal,
    } as const;
    const found = awaitImbalance(wave, { ...options, weights: null, spareWorkers: looking, afterMs: 0, everyMs: 50 });
    assert.equal(await found, null);
  });
});

describe('partitions that one shard must carry', () => {
  it('are all in the first, by the inventory and by stored weights', async () => {
    const { topic } = await createTopicPair(pair, { partitions: 4 });
    const wave = await waveOf(topic, 4);
    await storage.put('weights-together', Buffer.from('{}'));
    const together = new Set([1, 3].map((partition) => partitionKey(topic, partition)));
    for (const weights of [null, 'weights-together']) {
      const [first] = await Promise.all(
        [0, 1].map((shard) => partitionsOfShard(wave, wave.partitions, { shard, shards: 2, weights, together })),
      );
      const carried = new Set(first?.map(({ partition }) => partition));
      assert.ok(carried.has(1) && carried.has(3), [...carried].join());
    }
  });
});
