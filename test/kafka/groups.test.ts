import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { Consumer } from '@platformatic/kafka';
import { Cluster } from '../../kafka/cluster.ts';
import {
  commitOffsets,
  deleteGroup,
  deleteGroupOffsets,
  describeGroups,
  fetchOffsets,
  listGroups,
} from '../../kafka/groups.ts';
import { createTopic } from '../../kafka/topics.ts';
import type { LocalCluster } from '../../stack/stack.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { applicationOf } from './applications.ts';

const { stack, clusters } = await sharedStack();
const topic = uniqueName('groups');
const sides = [
  ['legacy', stack.source as LocalCluster],
  ['next', stack.target as LocalCluster],
] as const;

before(async () => {
  for (const [name] of sides) {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    await createTopic(cluster, { name: topic, partitions: 3, replicationFactor: 1, configs: {} });
  }
});

for (const [name, local] of sides) {
  test(`${name}: positions written to a group without members are read back, with metadata`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    const group = uniqueName('group');
    await commitOffsets(cluster, group, [
      { topic, partition: 0, offset: 9_007_199_254_740_993n, metadata: 'grüße' },
      { topic, partition: 2, offset: 0n },
    ]);
    const found = await fetchOffsets(cluster, [group, 'no-such-group'], { requireStable: true });
    assert.deepEqual(found.get(group)?.get(`${topic}/0`), {
      topic,
      partition: 0,
      offset: 9_007_199_254_740_993n,
      metadata: 'grüße',
    });
    assert.equal(found.get(group)?.size, 2);
    assert.equal(found.get('no-such-group')?.size, 0);
    assert.deepEqual(
      (await listGroups(cluster)).find((g) => g.group === group),
      { group, type: 'classic', state: 'Empty', protocolType: '' },
    );

    await deleteGroupOffsets(cluster, group, [
      { topic, partition: 2 },
      { topic, partition: 1 },
    ]);
    assert.deepEqual(
      [...((await fetchOffsets(cluster, [group], { requireStable: false })).get(group)?.keys() ?? [])],
      [`${topic}/0`],
    );
    await deleteGroup(cluster, group);
    await deleteGroup(cluster, group);
    assert.equal((await describeGroups(cluster, [group])).get(group)?.type, 'unknown');
  });

  test(`${name}: never writes under a group that has members`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    const group = uniqueName('group');
    const consumer = applicationOf(local, 'cutover').consumer({ groupId: group, maxWaitTimeInMs: 100 });
    await consumer.connect();
    await consumer.subscribe({ topics: [topic] });
    const joined = new Promise((done) => consumer.on(consumer.events.GROUP_JOIN, done));
    await consumer.run({ eachMessage: async () => {} });
    await joined;
    try {
      const described = (await describeGroups(cluster, [group])).get(group);
      assert.equal(described?.type, 'classic');
      assert.equal(described?.members[0]?.clientId, 'cutover');
      await assert.rejects(commitOffsets(cluster, group, [{ topic, partition: 0, offset: 1n }]), {
        code: 'GROUP_ACTIVE',
      });
      await assert.rejects(deleteGroupOffsets(cluster, group, [{ topic, partition: 0 }]), { code: 'GROUP_ACTIVE' });
      await assert.rejects(deleteGroup(cluster, group), { code: 'GROUP_ACTIVE' });
    } finally {
      await consumer.disconnect();
    }
  });

  test(`${name}: refuses when a single position cannot be written, and names it`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    await assert.rejects(
      commitOffsets(cluster, uniqueName('group'), [
        { topic, partition: 0, offset: 1n },
        { topic, partition: 7, offset: 1n },
      ]),
      { code: 'OFFSETS_NOT_WRITTEN', message: new RegExp(`${topic}/7`) },
    );
  });

  test(`${name}: a first position that hangs in a transaction is seen as unstable`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    const group = uniqueName('group');
    const producer = applicationOf(local, 'cutover').producer({
      transactionalId: group,
      idempotent: true,
      maxInFlightRequests: 1,
    });
    await producer.connect();
    const transaction = await producer.transaction();
    await transaction.sendOffsets({
      consumerGroupId: group,
      topics: [{ topic, partitions: [{ partition: 1, offset: '2' }] }],
    });
    const topics = new Map([[topic, 3]]);
    await assert.rejects(fetchOffsets(cluster, [group], { requireStable: true, topics, unstableTimeoutMs: 200 }), {
      message: new RegExp(`${group} at ${topic}/1`),
    });
    await transaction.commit();
    await producer.disconnect();
    const found = await fetchOffsets(cluster, [group], { requireStable: true, topics });
    assert.equal(found.get(group)?.get(`${topic}/1`)?.offset, 2n);
  });

  test(`${name}: hundreds of groups are read in one go`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    const groups = Array.from({ length: 120 }, (_, i) => `${topic}-many-${i}`);
    await Promise.all(
      groups.map((group, i) => commitOffsets(cluster, group, [{ topic, partition: 0, offset: BigInt(i) }])),
    );
    const found = await fetchOffsets(cluster, groups, { requireStable: true });
    for (const [i, group] of groups.entries()) assert.equal(found.get(group)?.get(`${topic}/0`)?.offset, BigInt(i));
  });
}

test('next: groups of the new protocol are told apart, and protected from writes the same way', async () => {
  await using cluster = await Cluster.connect(clusters.cluster('next'));
  const group = uniqueName('group');
  const local = stack.target as LocalCluster;
  const consumer = new Consumer({
    groupId: group,
    clientId: 'new-protocol',
    bootstrapBrokers: [local.bootstrap],
    groupProtocol: 'consumer',
    sasl: { mechanism: 'SCRAM-SHA-512', username: 'cutover', password: local.users.cutover ?? '' },
  });
  const stream = await consumer.consume({ topics: [topic], mode: 'latest', autocommit: false });
  try {
    const described = (await describeGroups(cluster, [group])).get(group);
    assert.equal(described?.type, 'consumer');
    assert.equal(described?.members[0]?.clientId, 'new-protocol');
    await assert.rejects(commitOffsets(cluster, group, [{ topic, partition: 0, offset: 1n }]), {
      code: 'GROUP_ACTIVE',
    });
  } finally {
    await stream.close();
    await consumer.close(true);
  }
  await commitOffsets(cluster, group, [{ topic, partition: 0, offset: 1n }]);
  const found = await fetchOffsets(cluster, [group], { requireStable: true });
  assert.equal(found.get(group)?.get(`${topic}/0`)?.offset, 1n);
});
