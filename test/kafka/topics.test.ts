import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster } from '../../kafka/cluster.ts';
import {
  alterTopicConfigs,
  brokerConfigs,
  configDifference,
  createTopic,
  deleteTopic,
  partitionSizes,
  sameConfigValue,
  topicConfigs,
} from '../../kafka/topics.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';

const { clusters } = await sharedStack();

for (const name of ['legacy', 'next']) {
  test(`${name}: creates a topic once, and says so the second time`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    const topic = uniqueName('topics');
    const spec = { name: topic, partitions: 3, replicationFactor: 1, configs: { 'retention.ms': '123' } };
    assert.equal(await createTopic(cluster, spec), 'created');
    assert.equal(await createTopic(cluster, { ...spec, partitions: 9 }), 'exists');
    const found = (await cluster.metadata([topic])).topics.get(topic);
    assert.equal(found?.partitions.length, 3);
    // A broker shows the folder of a new replica only after it has taken it over.
    const sizes = async () => (await partitionSizes(cluster, found ? [found] : []))?.get(`${topic}/2`);
    for (let look = 0; look < 50 && (await sizes()) === undefined; look++) await sleep(100);
    assert.equal(await sizes(), 0);
    await deleteTopic(cluster, topic);
    await deleteTopic(cluster, topic);
    assert.equal((await cluster.metadata([topic])).topics.size, 0);
  });

  test(`${name}: tells explicit settings from inherited ones, and alters single settings`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    const topic = uniqueName('topics');
    const configs = { 'retention.ms': '123', 'cleanup.policy': 'compact, delete' };
    await createTopic(cluster, { name: topic, partitions: 1, replicationFactor: 1, configs });

    await alterTopicConfigs(cluster, topic, { set: { 'min.cleanable.dirty.ratio': '0.50' }, unset: ['retention.ms'] });

    const found = (await topicConfigs(cluster, [topic, 'no-such-topic'])).get(topic);
    assert.deepEqual(found?.get('cleanup.policy'), {
      value: 'compact,delete',
      source: 'topic',
      readOnly: false,
      sensitive: false,
    });
    assert.equal(found?.get('retention.ms')?.source, 'default');
    assert.equal(found?.get('min.cleanable.dirty.ratio')?.value, '0.5');
    await deleteTopic(cluster, topic);
  });

  test(`${name}: refuses with the broker's own words, naming the topic`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    const topic = uniqueName('topics');
    const spec = { name: topic, partitions: 1, replicationFactor: 1, configs: { nonsense: '1' } };
    await assert.rejects(createTopic(cluster, spec), { code: 'KAFKA_REQUEST_FAILED', message: /nonsense/ });
    await assert.rejects(alterTopicConfigs(cluster, topic, { set: { 'retention.ms': '1' }, unset: [] }), {
      code: 'TOPIC_MISSING',
      message: new RegExp(topic),
    });
  });

  test(`${name}: a broker lists plug-in settings and hides their values`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    const configs = await brokerConfigs(cluster);
    assert.equal(configs.get('super.users')?.value, null);
    assert.ok(configs.has('allow.everyone.if.no.acl.found'));
    assert.match(configs.get('message.max.bytes')?.value ?? '', /^\d+$/);
  });

  test(`${name}: a principal without rights is refused with CLUSTER_ACCESS_DENIED`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name), { as: 'forward' });
    const spec = { name: uniqueName('topics'), partitions: 1, replicationFactor: 1, configs: {} };
    await assert.rejects(createTopic(cluster, spec), { code: 'CLUSTER_ACCESS_DENIED' });
  });
}

test('settings that brokers spell in their own way count as equal', () => {
  assert.ok(sameConfigValue('0.5', '0.50'));
  assert.ok(sameConfigValue('compact,delete', 'compact, delete'));
  assert.ok(!sameConfigValue('compact', 'delete'));
  assert.ok(!sameConfigValue(null, ''));
  assert.ok(!sameConfigValue('', '0'));
});

test('an inherited value is not an explicit one, even when it is the same', () => {
  const inherited = new Map([
    ['retention.ms', { value: '5', source: 'default', readOnly: false, sensitive: false } as const],
  ]);
  assert.match(configDifference(inherited, { set: { 'retention.ms': '5' }, unset: [] }) ?? '', /not set/);
  assert.equal(configDifference(inherited, { set: {}, unset: ['retention.ms'] }), null);
});
