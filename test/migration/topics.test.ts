import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  carriedConfigs,
  configsLeftOut,
  finishTopic,
  mirrorConfigs,
  openTopic,
  prepareTopic,
  replicationFactorThere,
  suspendSource,
  type TopicShape,
  topicDefaults,
} from '../../migration/topics.ts';

const brokers = {
  'log.cleanup.policy': 'delete',
  'log.retention.ms': null,
  'log.retention.minutes': null,
  'log.retention.hours': '168',
  'log.retention.bytes': '-1',
  'message.max.bytes': '1048588',
  'compression.type': 'producer',
  'log.message.timestamp.type': 'CreateTime',
  'log.message.timestamp.before.max.ms': '9223372036854775807',
  'log.message.timestamp.after.max.ms': '3600000',
  'min.insync.replicas': '1',
  'log.segment.bytes': '1073741824',
};
const kafka4 = topicDefaults(brokers);
const kafka30 = topicDefaults({
  ...Object.fromEntries(
    Object.entries(brokers).filter(([name]) => !name.endsWith('.before.max.ms') && !name.endsWith('.after.max.ms')),
  ),
  'log.message.timestamp.difference.max.ms': '9223372036854775807',
});

const topic: TopicShape = {
  name: 'orders',
  topicId: 'id',
  partitions: 6,
  replicationFactor: 3,
  configs: {
    'retention.ms': '1000',
    'segment.bytes': '5000000',
    'max.message.bytes': '2000000',
    'message.timestamp.type': 'CreateTime',
    'message.format.version': '2.8',
    'leader.replication.throttled.replicas': '*',
  },
};

test('an inherited setting comes from the first broker setting that has a value', () => {
  assert.equal(kafka4.inherited('retention.ms'), String(168 * 3_600_000));
  assert.equal(topicDefaults({ ...brokers, 'log.retention.minutes': '5' }).inherited('retention.ms'), '300000');
  assert.equal(kafka4.inherited('message.format.version'), undefined);
});

test('what the target does not know, and what is about machines, is left out and named', () => {
  assert.deepEqual(configsLeftOut(topic, kafka4), ['leader.replication.throttled.replicas', 'message.format.version']);
  assert.deepEqual(Object.keys(carriedConfigs(topic, kafka4, true)), [
    'retention.ms',
    'segment.bytes',
    'max.message.bytes',
    'message.timestamp.type',
  ]);
  assert.deepEqual(carriedConfigs(topic, kafka4, false), {});
});

test('while it is mirrored nothing deletes, compacts, restamps, recompresses or refuses', () => {
  assert.deepEqual(mirrorConfigs(carriedConfigs(topic, kafka4, true), kafka4, 2_000_000), {
    'segment.bytes': '5000000',
    'cleanup.policy': 'delete',
    'retention.ms': '-1',
    'retention.bytes': '-1',
    'message.timestamp.type': 'CreateTime',
    'message.timestamp.before.max.ms': '9223372036854775807',
    'message.timestamp.after.max.ms': '9223372036854775807',
    'max.message.bytes': '2000000',
    'compression.type': 'producer',
  });
  assert.equal(mirrorConfigs({}, kafka4, 1_000)['max.message.bytes'], '1048588');
});

test('a cluster older than 3.6 gets the one timestamp limit that it knows', () => {
  const configs = mirrorConfigs({}, kafka30, 1_000);
  assert.equal(configs['message.timestamp.difference.max.ms'], '9223372036854775807');
  assert.ok(!('message.timestamp.before.max.ms' in configs));
});

test('a missing topic is created with the replicas that the brokers allow, an existing one is given the settings', () => {
  const facts = { there: kafka4, liveBrokers: 1, carryConfigs: true, sourceMaxMessageBytes: 2_000_000 };
  const created = prepareTopic(topic, undefined, facts);
  assert.equal(created.kind === 'create-topic' && created.topic.replicationFactor, 1);
  assert.equal(created.kind === 'create-topic' && created.topic.partitions, 6);
  const altered = prepareTopic(topic, { partitions: 6, replicationFactor: 1, configs: {} }, facts);
  assert.equal(altered.kind === 'alter-topic-configs' && altered.set['retention.ms'], '-1');
  assert.equal(replicationFactorThere(3, 5), 3);
});

test('opening restores message settings and leaves retention suspended; finishing restores retention', () => {
  const carried = carriedConfigs(topic, kafka4, true);
  assert.deepEqual(openTopic('orders', carried, kafka4), {
    kind: 'alter-topic-configs',
    cluster: 'target',
    topic: 'orders',
    set: { 'message.timestamp.type': 'CreateTime', 'max.message.bytes': '2000000' },
    unset: ['cleanup.policy', 'message.timestamp.before.max.ms', 'message.timestamp.after.max.ms', 'compression.type'],
  });
  assert.deepEqual(finishTopic('orders', carried, kafka4), {
    kind: 'alter-topic-configs',
    cluster: 'target',
    topic: 'orders',
    set: { 'retention.ms': '1000' },
    unset: ['retention.bytes'],
  });
});

test('the source is suspended the same way for the reverse mirror', () => {
  const change = suspendSource('orders', kafka4, 5_000_000);
  assert.equal(change.cluster, 'source');
  assert.equal(change.kind === 'alter-topic-configs' && change.set['max.message.bytes'], '5000000');
  assert.equal(change.kind === 'alter-topic-configs' && change.set['retention.ms'], '-1');
});
