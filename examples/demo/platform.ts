/** What the platform team had set up on the source long ago: topics, and who may write and read them. */
import type { Kafka } from 'kafkajs';
import { type Acl, awaitAcls, createAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import type { ClusterConfig } from '../../kafka/clusters.ts';
import { createTopic } from '../../kafka/topics.ts';

/** Partitions by topic. */
export const topics = { 'orders.created': 3, 'orders.paid': 2 } as const;
export const writers = ['app-writer-1', 'app-writer-2'] as const;
/** Users by the group that they read in. */
export const readers = { 'orders-billing': 'app-reader-1', 'orders-shipping': 'app-reader-2' } as const;

const configs = { 'retention.ms': String(7 * 24 * 3_600_000), 'max.message.bytes': '2097152' };

/** Returns when every broker knows all of it. */
export async function setUpPlatform(config: ClusterConfig, brokers: number): Promise<void> {
  await using cluster = await Cluster.connect(config);
  for (const [name, partitions] of Object.entries(topics)) {
    await createTopic(cluster, { name, partitions, replicationFactor: brokers, configs });
  }
  const acls = accessRules();
  await createAcls(cluster, acls);
  await awaitAcls(cluster, { present: acls });
}

/** The first records of each log are written and taken away, as retention has long done with those of any other topic. */
export async function cutHeads(kafka: Kafka): Promise<void> {
  const [producer, admin] = [kafka.producer(), kafka.admin()];
  await Promise.all([producer.connect(), admin.connect()]);
  try {
    for (const [topic, partitions] of Object.entries(topics)) {
      const all = Array.from({ length: partitions }, (_, partition) => partition);
      const old = all.flatMap((partition) => Array.from({ length: 7 }, () => ({ partition, value: 'old' })));
      await producer.send({ topic, messages: old });
      // kafkajs looks for the leaders in what it has asked about before.
      await admin.fetchTopicOffsets(topic);
      await admin.deleteTopicRecords({ topic, partitions: all.map((partition) => ({ partition, offset: '7' })) });
    }
  } finally {
    await Promise.all([producer.disconnect(), admin.disconnect()]);
  }
}

function accessRules(): Acl[] {
  const allow = (user: string, operation: Acl['operation']) =>
    ({ principal: `User:${user}`, host: '*', operation, permission: 'allow' }) as const;
  const ordersTopics = { resourceType: 'topic', patternType: 'prefixed', resourceName: 'orders.' } as const;
  const oneGroup = (resourceName: string) => ({ resourceType: 'group', patternType: 'literal', resourceName }) as const;
  return [
    ...writers.flatMap((user) => [
      { ...ordersTopics, ...allow(user, 'write') },
      { ...ordersTopics, ...allow(user, 'describe') },
    ]),
    ...Object.entries(readers).flatMap(([group, user]) => [
      { ...ordersTopics, ...allow(user, 'read') },
      { ...oneGroup(group), ...allow(user, 'read') },
    ]),
  ];
}
