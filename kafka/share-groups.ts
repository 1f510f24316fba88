/**
 * Share groups (KIP-932): where each partition of one begins to deliver. Records from there on may have been acknowledged one by one; that stands in the
 * coordinator's own state, which no request carries.
 */
import { createAPI, type Reader, Writer } from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';
import { everyBrokerServes } from './broker-versions.ts';
import type { Cluster } from './cluster.ts';
import { perCoordinator } from './groups.ts';
import { isRetriableKafkaError, kafkaError, kafkaErrorName, refuseKafkaError } from './kafka-errors.ts';
import { groupByTopic } from './offsets.ts';

export interface SharePosition {
  readonly topic: string;
  readonly partition: number;
  /** The first record that may still be delivered. */
  readonly start: bigint;
  /** Records from `start` on that are not yet done with; null where the brokers do not say. */
  readonly lag: number | null;
}

export type ShareStart = Pick<SharePosition, 'topic' | 'partition' | 'start'>;

interface DescribedShareGroup {
  readonly group: string;
  readonly errorCode: number;
  readonly partitions: readonly (SharePosition & { readonly errorCode: number })[];
}

interface AlteredShareGroup {
  readonly errorCode: number;
  readonly partitions: readonly { readonly topic: string; readonly partition: number; readonly errorCode: number }[];
}

const describeKey = 90;
const alterKey = 91;
/** Of a compact array: all topics. */
const nullArray = 0;

/** DescribeShareGroupOffsets v1 (KIP-1226 adds the lag); all topics of the groups. Sent to their coordinator. */
const describeShareGroupOffsets = createAPI<[groups: readonly string[]], DescribedShareGroup[]>(
  describeKey,
  1,
  (groups) =>
    Writer.create()
      .appendArray(groups, (writer, group) => {
        writer.appendString(group as string).appendUnsignedVarInt(nullArray);
      })
      .appendTaggedFields(),
  (_correlationId, _apiKey, _apiVersion, reader: Reader) => {
    reader.readInt32(); // throttle time
    const groups: DescribedShareGroup[] = [];
    reader.readArray((r) => {
      const group = r.readString();
      const partitions: DescribedShareGroup['partitions'][number][] = [];
      r.readArray(() => {
        const topic = r.readString();
        r.readUUID();
        r.readArray(() => {
          const partition = r.readInt32();
          const start = r.readInt64();
          r.readInt32(); // leader epoch
          const lag = Number(r.readInt64());
          const errorCode = r.readInt16();
          r.readNullableString();
          partitions.push({ topic, partition, start, lag: lag < 0 ? null : lag, errorCode });
        });
      });
      const errorCode = r.readInt16();
      r.readNullableString();
      groups.push({ group, errorCode, partitions });
    });
    reader.readTaggedFields();
    return groups;
  },
);

/** AlterShareGroupOffsets v0. Sent to the group's coordinator. */
const alterShareGroupOffsets = createAPI<[group: string, positions: readonly ShareStart[]], AlteredShareGroup>(
  alterKey,
  0,
  (group, positions) =>
    Writer.create()
      .appendString(group)
      .appendArray(groupByTopic<ShareStart>(positions), (writer, { topic, items }) => {
        writer.appendString(topic).appendArray(items, (w, { partition, start }) => {
          w.appendInt32(partition).appendInt64(start);
        });
      })
      .appendTaggedFields(),
  (_correlationId, _apiKey, _apiVersion, reader: Reader) => {
    reader.readInt32(); // throttle time
    const errorCode = reader.readInt16();
    reader.readNullableString();
    const partitions: AlteredShareGroup['partitions'][number][] = [];
    reader.readArray((r) => {
      const topic = r.readString();
      r.readUUID();
      r.readArray(() => {
        const partition = r.readInt32();
        const code = r.readInt16();
        r.readNullableString();
        partitions.push({ topic, partition, errorCode: code });
      });
    });
    reader.readTaggedFields();
    return { errorCode, partitions };
  },
);

/** Whether positions of share groups can be read and written there: Kafka 4.2 with `share.version` 1. */
export async function shareOffsetsAreServed(cluster: Cluster): Promise<boolean> {
  return (await everyBrokerServes(cluster, describeKey, 1)) && (await everyBrokerServes(cluster, alterKey, 0));
}

/**
 * Where each named share group stands, by `topic/partition`. One that does not exist has an empty map.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function sharePositions(
  cluster: Cluster,
  groups: readonly string[],
): Promise<Map<string, Map<string, SharePosition>>> {
  const found = new Map<string, Map<string, SharePosition>>(groups.map((group) => [group, new Map()]));
  await perCoordinator(cluster, groups, async (broker, batch) => {
    const retry: string[] = [];
    for (const { group, errorCode, partitions } of await cluster.call({ broker }, describeShareGroupOffsets, batch)) {
      const where = `cluster ${cluster.name}, share group ${group}`;
      if (isRetriableKafkaError(errorCode)) {
        retry.push(group);
        continue;
      }
      if (errorCode === kafkaError.groupIdNotFound) continue;
      refuseKafkaError(errorCode, 'cannot read where a share group stands', where);
      const positions = new Map<string, SharePosition>();
      for (const { errorCode: code, ...position } of partitions) {
        refuseKafkaError(
          code,
          'cannot read where a share group stands',
          `${where}, ${position.topic}/${position.partition}`,
        );
        // -1: nothing was delivered from there yet, and nobody has said where to begin.
        if (position.start >= 0n) positions.set(`${position.topic}/${position.partition}`, position);
      }
      found.set(group, positions);
    }
    return retry;
  });
  return found;
}

/**
 * Sets where a share group begins to deliver, which brokers do only while it has no members.
 *
 * @throws CutoverError GROUP_ACTIVE, OFFSETS_NOT_WRITTEN, CLUSTER_ACCESS_DENIED
 */
export async function alterSharePositions(
  cluster: Cluster,
  group: string,
  positions: readonly ShareStart[],
): Promise<void> {
  if (positions.length === 0) return;
  const where = `cluster ${cluster.name}, share group ${group}`;
  await perCoordinator(cluster, [group], async (broker, batch) => {
    const { errorCode, partitions } = await cluster.call({ broker }, alterShareGroupOffsets, group, positions);
    const codes = [errorCode, ...partitions.map((one) => one.errorCode)];
    if (codes.some(isRetriableKafkaError)) return batch;
    if (codes.includes(kafkaError.nonEmptyGroup)) {
      throw new CutoverError('GROUP_ACTIVE', {
        what: 'the group has members',
        where,
        found: kafkaErrorName(kafkaError.nonEmptyGroup),
        wanted: 'a group without members',
      });
    }
    refuseKafkaError(errorCode, 'cannot set where a share group begins', where);
    const refused = partitions.filter((one) => one.errorCode !== 0);
    if (refused.length === 0 && partitions.length === positions.length) return [];
    throw new CutoverError('OFFSETS_NOT_WRITTEN', {
      what: 'the coordinator did not take every position',
      where,
      found: refused
        .slice(0, 5)
        .map((one) => `${one.topic}/${one.partition}: ${kafkaErrorName(one.errorCode)}`)
        .join(', '),
      wanted: `${positions.length} positions written`,
    });
  });
}
