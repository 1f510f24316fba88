import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Acl, awaitAcls, createAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { commitOffsets, describeGroups, fetchOffsets, listGroups } from '../../kafka/groups.ts';
import { alterTopicConfigs, createTopic, topicConfigs } from '../../kafka/topics.ts';
import type { LocalCluster } from '../../stack/stack.ts';
import { ownStack, uniqueName } from '../support/stack.ts';

const { stack, clusters } = await ownStack({ parts: ['target'], brokers: 3 });
const local = stack.target as LocalCluster;

test('with three brokers, one of which is killed: positions, settings and rules are read and written all the same', async () => {
  await using cluster = await Cluster.connect(clusters.cluster('next'));
  const topic = uniqueName('failover');
  await createTopic(cluster, { name: topic, partitions: 6, replicationFactor: 3, configs: {} });
  // Five partitions of __consumer_offsets: some of these groups are coordinated by each broker.
  const groups = Array.from({ length: 15 }, (_, i) => `${topic}-${i}`);
  const write = (offset: bigint) =>
    Promise.all(groups.map((group) => commitOffsets(cluster, group, [{ topic, partition: 1, offset }])));
  await write(1n);
  assert.equal((await listGroups(cluster)).filter((g) => g.group.startsWith(topic)).length, groups.length);

  const victim = local.brokers[2];
  await victim?.kill('SIGKILL');

  await write(2n);
  const found = await fetchOffsets(cluster, groups, { requireStable: true, topics: new Map([[topic, 6]]) });
  for (const group of groups) assert.equal(found.get(group)?.get(`${topic}/1`)?.offset, 2n);
  assert.equal((await describeGroups(cluster, groups)).size, groups.length);

  await alterTopicConfigs(cluster, topic, { set: { 'retention.ms': '-1' }, unset: [] });
  assert.equal((await topicConfigs(cluster, [topic])).get(topic)?.get('retention.ms')?.value, '-1');
  const acl: Acl = {
    resourceType: 'topic',
    patternType: 'literal',
    resourceName: topic,
    principal: 'User:a',
    host: '*',
    operation: 'write',
    permission: 'deny',
  };
  await createAcls(cluster, [acl]);
  await awaitAcls(cluster, { present: [acl] });

  await victim?.start();
  await awaitAcls(cluster, { present: [acl] });
});
