/** Two clusters as a platform team keeps them: topics with records, access rules, groups; and what of it changed. */
import assert from 'node:assert/strict';
import { after } from 'node:test';
import type { Kafka } from 'kafkajs';
import { type Acl, aclKey, createAcls, describeAcls } from '../../../kafka/acls.ts';
import { encodeBatch, type NewBatch } from '../../../kafka/batches.ts';
import { Cluster } from '../../../kafka/cluster.ts';
import type { ClustersFile } from '../../../kafka/clusters.ts';
import { fetchOffsets, listGroups } from '../../../kafka/groups.ts';
import { listOffsets, partitionKey } from '../../../kafka/offsets.ts';
import { describeQuotas, quotaKey } from '../../../kafka/quotas.ts';
import { describeScramUsers } from '../../../kafka/scram.ts';
import { brokerConfigs, createTopic, topicConfigs } from '../../../kafka/topics.ts';
import { rawProduce } from '../../../kafka/wire.ts';
import type { LocalCluster, Stack } from '../../../stack/stack.ts';
import { applicationOf } from '../../kafka/applications.ts';

export type Side = 'source' | 'target';

export class Estate {
  readonly source: Cluster;
  readonly target: Cluster;
  readonly #stack: Stack;

  private constructor(stack: Stack, source: Cluster, target: Cluster) {
    this.#stack = stack;
    this.source = source;
    this.target = target;
  }

  /** At the top of a file or in a hook; closed when the file ends. */
  static async of(stack: Stack, clusters: ClustersFile): Promise<Estate> {
    const source = await Cluster.connect(clusters.cluster('legacy'));
    const target = await Cluster.connect(clusters.cluster('next'));
    after(() => Promise.all([source.close(), target.close()]));
    return new Estate(stack, source, target);
  }

  local(side: Side): LocalCluster {
    return this.#stack[side] as LocalCluster;
  }

  application(side: Side, user: string): Kafka {
    return applicationOf(this.local(side), user);
  }

  async createTopic(side: Side, name: string, partitions = 1, configs: Record<string, string> = {}): Promise<void> {
    await createTopic(this[side], { name, partitions, replicationFactor: 1, configs });
    // Leaders are known to every broker a moment later.
    const all = Array.from({ length: partitions }, (_, partition) => ({ topic: name, partition }));
    await listOffsets(this[side], all, 'logEnd');
  }

  /** Lets `writer` write to the topic, and `reader` read it in the group, as on any cluster with an authorizer. */
  async letIn(side: Side, topic: string, writer: string, reader?: { user: string; group: string }): Promise<void> {
    const allow = (user: string, operation: Acl['operation'], type: 'topic' | 'group', resourceName: string): Acl => ({
      resourceType: type,
      patternType: 'literal',
      resourceName,
      principal: `User:${user}`,
      host: '*',
      operation,
      permission: 'allow',
    });
    await createAcls(this[side], [
      allow(writer, 'write', 'topic', topic),
      allow(writer, 'describe', 'topic', topic),
      ...(reader
        ? [allow(reader.user, 'read', 'topic', topic), allow(reader.user, 'read', 'group', reader.group)]
        : []),
    ]);
  }

  /** As a super user, one batch, made as asked for; gives its base offset. */
  async append(side: Side, topic: string, batch: NewBatch, partition = 0): Promise<bigint> {
    const cluster = this[side];
    const leader = (await cluster.metadata([topic])).topics.get(topic)?.partitions[partition]?.leader ?? -1;
    const [answer] = await cluster.call({ broker: leader }, rawProduce, {
      timeoutMs: 10_000,
      topics: [{ topic, partitions: [{ partition, records: [encodeBatch(batch).bytes] }] }],
    });
    if (answer?.errorCode !== 0) throw new Error(`not written: ${answer?.errorCode} ${answer?.errorMessage}`);
    return answer.baseOffset;
  }

  /** As an application does it. */
  async write(side: Side, user: string, topic: string, values: readonly string[]): Promise<void> {
    const producer = this.application(side, user).producer();
    await producer.connect();
    try {
      await producer.send({ topic, acks: -1, messages: values.map((value) => ({ key: value, value })) });
    } finally {
      await producer.disconnect();
    }
  }

  /** Tries with one record; anything else than a refusal for lack of rights is an error. */
  async mayWrite(side: Side, user: string, topic: string): Promise<boolean> {
    try {
      await this.write(side, user, topic, ['probe']);
      return true;
    } catch (error) {
      assert.match(String(error), /[Nn]ot authorized|TOPIC_AUTHORIZATION_FAILED/);
      return false;
    }
  }

  /** Next offsets of a topic, per partition. */
  async ends(side: Side, topic: string): Promise<readonly string[]> {
    const found = (await this[side].metadata([topic])).topics.get(topic);
    const partitions = (found?.partitions ?? []).map(({ partition }) => ({ topic, partition }));
    const ends = await listOffsets(this[side], partitions, 'logEnd');
    return partitions.map(({ partition }) => String(ends.get(partitionKey(topic, partition))));
  }

  /**
   * What stands on a cluster, one sorted line each: topics with their ids, settings and offsets, access rules, groups with
   * their positions, quotas, users, settings of the brokers. Kafka's own internal topics are left out, since
   * brokers create them when somebody merely looks for a coordinator.
   *
   * @param of only lines that hold this text, for a cluster that is shared with other tests
   */
  async standing(side: Side, { of = '' } = {}): Promise<string[]> {
    const cluster = this[side];
    const topics = [...(await cluster.metadata(null)).topics.values()].filter(
      (topic) => !topic.internal && topic.name.includes(of),
    );
    const configs = await topicConfigs(
      cluster,
      topics.map((topic) => topic.name),
    );
    const partitions = topics.flatMap((topic) =>
      topic.partitions.map(({ partition }) => ({ topic: topic.name, partition })),
    );
    const [starts, ends] = [
      await listOffsets(cluster, partitions, 'start'),
      await listOffsets(cluster, partitions, 'logEnd'),
    ];
    const lines: string[] = [];
    for (const { name, topicId } of topics) {
      lines.push(`topic ${name} ${topicId}`);
      for (const [setting, { value, source }] of configs.get(name) ?? []) {
        if (source === 'topic') lines.push(`topic ${name}: ${setting}=${value}`);
      }
    }
    for (const { topic, partition } of partitions) {
      const key = partitionKey(topic, partition);
      lines.push(`topic ${topic}: partition ${partition} from ${starts.get(key)} to ${ends.get(key)}`);
    }
    for (const acl of await describeAcls(cluster)) lines.push(`rule ${aclKey(acl)}`);
    const groups = (await listGroups(cluster)).map(({ group }) => group).filter((group) => group.includes(of));
    for (const [group, positions] of await fetchOffsets(cluster, groups, { requireStable: false })) {
      // Without any, Kafka's own clean-up forgets the group.
      if (positions.size === 0) continue;
      const told = [...positions.values()].map(({ topic, partition, offset }) => `${topic}/${partition}@${offset}`);
      lines.push(`group ${group} at ${told.sort().join(' ')}`);
    }
    if (of === '') {
      for (const { entity, values } of await describeQuotas(cluster)) {
        lines.push(`quota ${quotaKey(entity)} ${JSON.stringify(values)}`);
      }
      for (const user of (await describeScramUsers(cluster)).keys()) lines.push(`user ${user}`);
      for (const [name, { value }] of await brokerConfigs(cluster)) lines.push(`broker ${name}=${value}`);
    }
    return lines.filter((line) => line.includes(of)).sort();
  }

  async bothStanding(options: { of?: string } = {}): Promise<{ source: string[]; target: string[] }> {
    return { source: await this.standing('source', options), target: await this.standing('target', options) };
  }
}

/** One batch, the values as keys too. @param atMs its timestamps, milliseconds since 1970 */
export function batchOf(values: readonly string[], atMs = Date.now()): NewBatch {
  const records = values.map((text) => {
    const bytes = Buffer.from(text);
    return { timestamp: BigInt(atMs), key: bytes, value: bytes, headers: [] };
  });
  return { records };
}
