import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deleteRecordsV2 } from '@platformatic/kafka';
import { listOffsets, partitionKey } from '../../kafka/offsets.ts';
import { append, createTopicPair, leaderOf, openPair, openTransaction, variedRecords } from '../mirror/support.ts';

const pair = await openPair();

describe('asking where logs begin and end', () => {
  it('tells start, end and time apart, for many partitions at once', async () => {
    const { topic, partitions } = await createTopicPair(pair, { partitions: 3 });
    const records = [10n, 20n, 30n].map((timestamp) => ({ timestamp, key: null, value: null }));
    await append(pair.target, topic, 1, { records });
    const topics = [{ name: topic, partitions: [{ partitionIndex: 1, offset: 1n }] }];
    await pair.target.call({ broker: await leaderOf(pair.target, topic) }, deleteRecordsV2.api, topics, 5_000);

    const ask = async (which: Parameters<typeof listOffsets>[2]) => {
      const answers = await listOffsets(pair.target, partitions, which);
      return partitions.map(({ partition }) => answers.get(partitionKey(topic, partition)));
    };

    assert.deepEqual(await ask('start'), [0n, 1n, 0n]);
    assert.deepEqual(await ask('highWatermark'), [0n, 3n, 0n]);
    assert.deepEqual(await ask('logEnd'), [0n, 3n, 0n]);
    assert.deepEqual(await ask('lastStable'), [0n, 3n, 0n]);
    assert.deepEqual(await ask({ timestampMs: 15n }), [-1n, 1n, -1n]);
    assert.deepEqual(await ask({ timestampMs: 99n }), [-1n, -1n, -1n]);
  });

  it('sees the last stable offset stand still while a transaction is open', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await append(pair.target, topic, 0, { records: variedRecords(2) });
    const transaction = await openTransaction(pair.target, topic);

    const [stable] = (await listOffsets(pair.target, partitions, 'lastStable')).values();
    const [watermark] = (await listOffsets(pair.target, partitions, 'highWatermark')).values();
    await transaction.end('abort');

    assert.deepEqual([stable, watermark], [2n, 5n]);
  });

  it('says which topic is missing', async () => {
    await assert.rejects(listOffsets(pair.source, [{ topic: 'no-such-topic', partition: 3 }], 'start'), {
      code: 'TOPIC_MISSING',
      message: /no-such-topic\/3/,
    });
  });
});
