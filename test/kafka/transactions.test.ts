import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cluster } from '../../kafka/cluster.ts';
import { createTopic } from '../../kafka/topics.ts';
import { describeTransactions, endTransaction, isEnded, listTransactions } from '../../kafka/transactions.ts';
import type { LocalCluster } from '../../stack/stack.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { applicationOf } from './applications.ts';

const { stack, clusters } = await sharedStack();
const sides = [
  ['legacy', stack.source as LocalCluster],
  ['next', stack.target as LocalCluster],
] as const;

for (const [name, local] of sides) {
  test(`${name}: an open transaction is found with its partitions, and ended so that its producer cannot commit`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    const id = uniqueName('transactions');
    await createTopic(cluster, { name: id, partitions: 2, replicationFactor: 1, configs: {} });
    const producer = applicationOf(local, 'cutover').producer({
      transactionalId: id,
      idempotent: true,
      maxInFlightRequests: 1,
      transactionTimeout: 30_000,
    });
    await producer.connect();
    const transaction = await producer.transaction();
    await transaction.send({ topic: id, messages: [{ value: 'a', partition: 1 }] });

    assert.equal((await listTransactions(cluster)).find((t) => t.transactionalId === id)?.state, 'Ongoing');
    const open = (await describeTransactions(cluster, [id, 'no-such-id'])).get(id);
    assert.deepEqual(open?.partitions, [{ topic: id, partition: 1 }]);
    assert.equal(open?.timeoutMs, 30_000);

    await endTransaction(cluster, id);
    await endTransaction(cluster, id);

    const ended = (await describeTransactions(cluster, [id])).get(id);
    assert.ok(ended && isEnded(ended.state));
    assert.deepEqual(ended?.partitions, []);
    await assert.rejects(transaction.commit(), /old epoch|fenced/i);
    await producer.disconnect();
  });
}
