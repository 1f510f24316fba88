import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeRecords, encodeBatch, readBatches } from '../../kafka/batches.ts';
import { rawFetch, rawProduce } from '../../kafka/wire.ts';
import { createTopicPair, leaderOf, openPair, variedRecords } from '../mirror/support.ts';

const pair = await openPair();

describe('raw batches on the wire', () => {
  for (const side of ['source', 'target'] as const) {
    it(`go to several partitions of the ${side} in one request and come back as they went`, async () => {
      const cluster = pair[side];
      const topics = [await createTopicPair(pair, { partitions: 2 }), await createTopicPair(pair)].map((t) => t.topic);
      const broker = await leaderOf(cluster, topics[0] ?? '');
      const places = [
        { topic: topics[0] ?? '', partition: 0 },
        { topic: topics[0] ?? '', partition: 1 },
        { topic: topics[1] ?? '', partition: 0 },
      ];
      const batches = places.map((_, i) => encodeBatch({ records: variedRecords(3 + i), codec: 'zstd' }).bytes);

      const produced = await cluster.call({ broker }, rawProduce, {
        timeoutMs: 5_000,
        topics: topics.map((topic) => ({
          topic,
          partitions: places.flatMap((place, i) => {
            const bytes = batches[i] as Buffer;
            // In pieces: the writer may hand over header and records apart.
            return place.topic === topic
              ? [{ partition: place.partition, records: [bytes.subarray(0, 61), bytes.subarray(61)] }]
              : [];
          }),
        })),
      });
      const { partitions } = await cluster.call({ broker }, rawFetch, {
        maxWaitMs: 100,
        minBytes: 1,
        maxBytes: 1_000_000,
        isolation: 'readUncommitted',
        topics: topics.map((topic) => ({
          topic,
          partitions: places
            .filter((place) => place.topic === topic)
            .map(({ partition }) => ({ partition, fetchOffset: 0n, maxBytes: 100_000 })),
        })),
      });

      // Brokers answer in an order of their own.
      assert.deepEqual(
        produced.map((p) => `${p.topic}/${p.partition} error ${p.errorCode} at ${p.baseOffset}`).sort(),
        places.map((p) => `${p.topic}/${p.partition} error 0 at 0`).sort(),
      );
      assert.equal(partitions.length, 3);
      places.forEach((place, i) => {
        const fetched = partitions.find((p) => p.topic === place.topic && p.partition === place.partition);
        assert.ok(fetched);
        assert.equal(fetched.highWatermark, BigInt(3 + i));
        assert.equal(fetched.lastStableOffset, BigInt(3 + i));
        const [batch] = readBatches(fetched.records);
        assert.ok(batch);
        assert.deepEqual(batch.bytes.subarray(17), (batches[i] as Buffer).subarray(17));
        assert.equal(decodeRecords(batch).length, 3 + i);
      });
    });
  }

  it('answer errors by partition, and do not throw', async () => {
    const { topic } = await createTopicPair(pair);
    const broker = await leaderOf(pair.target, topic);
    const wrong = encodeBatch({ records: variedRecords(1) }).bytes;
    wrong.writeUInt32BE(1, 17);

    const [produced] = await pair.target.call({ broker }, rawProduce, {
      timeoutMs: 5_000,
      topics: [{ topic, partitions: [{ partition: 0, records: [wrong] }] }],
    });
    const fetched = await pair.target.call({ broker }, rawFetch, {
      maxWaitMs: 0,
      minBytes: 0,
      maxBytes: 1,
      isolation: 'readUncommitted',
      topics: [{ topic, partitions: [5, 0].map((partition) => ({ partition, fetchOffset: 9n, maxBytes: 1 })) }],
    });

    assert.equal(produced?.errorCode, 2);
    assert.deepEqual(fetched.partitions.map((p) => `partition ${p.partition}: ${p.errorCode}`).sort(), [
      'partition 0: 1',
      'partition 5: 3',
    ]);
  });
});
