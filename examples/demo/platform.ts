/** What the platform team had set up on the source long ago: topics, and who may write and read them. */
import kafkajs, { type Kafka, type AclOperationTypes as Operation } from 'kafkajs';

// CommonJS without named exports for these.
const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

export const topics = { 'orders.created': 3, 'orders.paid': 2 } as const;
export const writers = ['app-writer-1', 'app-writer-2'] as const;
/** Users by the group that they read in. */
export const readers = { 'orders-billing': 'app-reader-1', 'orders-shipping': 'app-reader-2' } as const;

export async function setUpPlatform(kafka: Kafka, brokers: number): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    await admin.createTopics({
      waitForLeaders: true,
      topics: Object.entries(topics).map(([topic, numPartitions]) => ({
        topic,
        numPartitions,
        replicationFactor: brokers,
        configEntries: [
          { name: 'retention.ms', value: String(7 * 24 * 3_600_000) },
          { name: 'max.message.bytes', value: '2097152' },
        ],
      })),
    });
    const allow = (user: string, operation: Operation) => ({
      principal: `User:${user}`,
      host: '*',
      permissionType: AclPermissionTypes.ALLOW,
      operation,
    });
    const ordersTopics = {
      resourceType: AclResourceTypes.TOPIC,
      resourceName: 'orders.',
      resourcePatternType: ResourcePatternTypes.PREFIXED,
    };
    const oneGroup = (resourceName: string) => ({
      resourceType: AclResourceTypes.GROUP,
      resourceName,
      resourcePatternType: ResourcePatternTypes.LITERAL,
    });
    const { READ, WRITE, DESCRIBE } = AclOperationTypes;
    await admin.createAcls({
      acl: [
        ...writers.flatMap((user) => [
          { ...allow(user, WRITE), ...ordersTopics },
          { ...allow(user, DESCRIBE), ...ordersTopics },
        ]),
        ...Object.entries(readers).flatMap(([group, user]) => [
          { ...allow(user, READ), ...ordersTopics },
          { ...allow(user, READ), ...oneGroup(group) },
        ]),
      ],
    });
  } finally {
    await admin.disconnect();
  }
}
