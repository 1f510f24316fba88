import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { partitionKey } from '../../kafka/offsets.ts';
import { allocateProducerId, describeProducers } from '../../kafka/producers.ts';
import { append, createTopicPair, openPair, variedRecords } from '../mirror/support.ts';

const pair = await openPair();

describe('producers', () => {
  it('have ids that nobody had before', async () => {
    const ids = await Promise.all(Array.from({ length: 5 }, () => allocateProducerId(pair.target)));
    assert.equal(new Set(ids).size, 5);
  });

  it('are remembered by partition, with their last sequence', async () => {
    const { topic, partitions } = await createTopicPair(pair, { partitions: 2 });
    const producerId = await allocateProducerId(pair.target);
    await append(pair.target, topic, 1, { records: variedRecords(4), producerId, baseSequence: 2 ** 31 - 2 });

    const producers = await describeProducers(pair.target, partitions);

    assert.deepEqual(producers.get(partitionKey(topic, 0)), []);
    const [state] = producers.get(partitionKey(topic, 1)) ?? [];
    assert.deepEqual([state?.producerId, state?.epoch, state?.lastSequence], [producerId, 0, 1]);
    assert.equal(state?.currentTxnStartOffset, -1n);
  });
});
