/** Consumer groups and their committed positions, of both group protocols, asked of each group's coordinator. */
import {
  consumerGroupDescribeV0,
  deleteGroupsV2,
  describeGroupsV5,
  findCoordinatorV4,
  listGroupsV4,
  listGroupsV5,
  offsetCommitV8,
  offsetDeleteV0,
  offsetFetchV8,
  Reader,
} from '@platformatic/kafka';
import { CutoverError } from '../contract/errors.ts';
import { serves } from './broker-versions.ts';
import type { Cluster } from './cluster.ts';
import { isRetriableKafkaError, kafkaError, kafkaErrorName, refuseKafkaError } from './kafka-errors.ts';
import { adminRetryTimeoutMs, answered, pause, retryPauseMs } from './waiting.ts';

/** `unknown`: no coordinator knows the group. */
export type GroupType = 'classic' | 'consumer' | 'share' | 'streams' | 'unknown';

export interface ListedGroup {
  readonly group: string;
  readonly type: GroupType;
  /** Kafka's own word: Stable, Empty, PreparingRebalance, Dead... */
  readonly state: string;
  /** `consumer` for consumer groups; empty for groups that only commit. */
  readonly protocolType: string;
}

export interface GroupMember {
  readonly memberId: string;
  readonly groupInstanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  /** Topics that the group has given it partitions of; empty where the group's protocol is not that of consumers. */
  readonly assigned: readonly string[];
}

export interface DescribedGroup {
  readonly group: string;
  readonly type: GroupType;
  readonly state: string;
  /** Not read for `share` and `streams` groups: look at `state` there. */
  readonly members: readonly GroupMember[];
}

export interface Position {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly metadata: string | null;
}

/** What `commitOffsets` writes; the metadata is empty when left out. */
export interface NewPosition {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly metadata?: string | null;
}

/** Groups in one request to one coordinator: few until it is known how much one of them answers, then many. */
const groupBatch = { first: 50, most: 2_000 } as const;
/** Members or positions in one answer, about. */
const answerItemsMax = 100_000;
/** Groups in one question for coordinators. */
const coordinatorBatchMax = 5_000;
/** How long positions of open transactions are waited for before UNSTABLE_OFFSET_COMMIT is given up on. */
export const unstableTimeoutMs = 30_000;
/** A commit is one batch in `__consumer_offsets`, so a request stays well below 1 MiB there. */
const commitBytesMax = 256 * 1024;

/** What a group of consumers calls its protocol. */
const consumerProtocol = 'consumer';
const listGroupsKey = 16;
const consumerGroupDescribeKey = 69;
const unstableOffsetCommit = 88;
const groupSubscribedToTopic = 86;
const groupAuthorizationFailed = 30;
/** COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR. */
const coordinatorMoved: ReadonlySet<number> = new Set([14, 15, 16]);
/** What a coordinator says to a commit from outside while a group has members (25), rebalances (27) and the like. */
const groupBusy: ReadonlySet<number> = new Set([22, 25, 27, 68, 82, 110, 113]);
/** How long a coordinator's broker may take to hear of a topic that was just created. */
const topicKnownTimeoutMs = 3_000;

/**
 * Every group that a live broker coordinates, as far as our principal may DESCRIBE it.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function listGroups(cluster: Cluster): Promise<ListedGroup[]> {
  const { brokers } = await cluster.metadata([]);
  const lists = await Promise.all(
    brokers.map(async ({ id }) => {
      const destination = { broker: id };
      const typed = await serves(cluster, id, listGroupsKey, 5);
      const answer = await answered(
        'cannot list groups',
        `cluster ${cluster.name}, broker ${id}`,
        () =>
          typed
            ? cluster.call(destination, listGroupsV5.api, [], [])
            : cluster.call(destination, listGroupsV4.api, [], []),
        ({ errorCode }) => ({ code: errorCode }),
      );
      // Brokers that do not say the type are older than the other types.
      return answer.groups.map(
        (g): ListedGroup => ({
          group: g.groupId,
          type: typed ? groupType(g.groupType ?? '') : 'classic',
          state: g.groupState,
          protocolType: g.protocolType,
        }),
      );
    }),
  );
  // A group that moves between two answers is listed twice.
  return [...new Map(lists.flat().map((group) => [group.group, group])).values()].sort((a, b) =>
    a.group < b.group ? -1 : 1,
  );
}

/**
 * State and members of each named group. A group that does not exist is given as `unknown`, `Dead`, no members.
 *
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function describeGroups(
  cluster: Cluster,
  groups: readonly string[],
): Promise<Map<string, DescribedGroup>> {
  const found = new Map<string, DescribedGroup>();
  const batches = new BatchSize();
  const describeClassic = async (broker: number, batch: string[]) => {
    const answer = await cluster.call({ broker }, describeGroupsV5.api, batch, false);
    const retry: string[] = [];
    for (const group of answer.groups) {
      batches.seen(group.members.length);
      if (passing(group.errorCode)) retry.push(group.groupId);
      else if (group.errorCode !== kafkaError.groupIdNotFound) {
        refuseKafkaError(group.errorCode, 'cannot describe the group', where(cluster, group.groupId));
        if (group.groupState !== 'Dead') {
          found.set(group.groupId, {
            group: group.groupId,
            type: 'classic',
            state: group.groupState,
            members: group.members.map(({ memberId, groupInstanceId, clientId, clientHost, memberAssignment }) => ({
              memberId,
              groupInstanceId: groupInstanceId ?? null,
              clientId,
              clientHost,
              assigned: group.protocolType === consumerProtocol ? assignedTopics(memberAssignment) : [],
            })),
          });
        }
      }
    }
    return retry;
  };
  await perCoordinator(cluster, groups, describeClassic, { batches });
  const left = groups.filter((group) => !found.has(group));
  const describeConsumer = async (broker: number, batch: string[]) => {
    if (!(await serves(cluster, broker, consumerGroupDescribeKey, 0))) return [];
    const answer = await cluster.call({ broker }, consumerGroupDescribeV0.api, batch, false);
    const retry: string[] = [];
    for (const group of answer.groups) {
      batches.seen(group.members.length);
      if (passing(group.errorCode)) retry.push(group.groupId);
      // Brokers that know the request but have the protocol switched off say UNSUPPORTED_VERSION (35).
      else if (group.errorCode !== kafkaError.groupIdNotFound && group.errorCode !== 35) {
        refuseKafkaError(group.errorCode, 'cannot describe the group', where(cluster, group.groupId));
        found.set(group.groupId, {
          group: group.groupId,
          type: 'consumer',
          state: group.groupState,
          members: group.members.map(({ memberId, instanceId, clientId, clientHost, assignment }) => ({
            memberId,
            groupInstanceId: instanceId ?? null,
            clientId,
            clientHost,
            assigned: assignment.topicPartitions.map(({ topicName }) => topicName),
          })),
        });
      }
    }
    return retry;
  };
  await perCoordinator(cluster, left, describeConsumer, { batches });
  const unknown = groups.filter((group) => !found.has(group));
  if (unknown.length > 0) {
    const listed = new Map((await listGroups(cluster)).map((group) => [group.group, group]));
    for (const group of unknown) {
      const { type, state } = listed.get(group) ?? { type: 'unknown' as const, state: 'Dead' };
      found.set(group, { group, type, state, members: [] });
    }
  }
  return found;
}

/**
 * Committed positions of each named group, by `topic/partition`. A group without positions, or one that does not
 * exist, has an empty map. Topics that our principal may not DESCRIBE are left out by the brokers without a word.
 *
 * @param options.requireStable wait (up to `unstableTimeoutMs`) for positions that an open transaction holds. Give
 *   `topics` with it: asked for everything, brokers only look at partitions that have a position already, so a first
 *   position that hangs in a transaction would go unnoticed (3.9.2 and 4.3.1 alike).
 * @param options.topics only these topics, with their numbers of partitions
 * @param options.keep positions on other topics are read and let go at once: all the positions of a cluster need not fit into memory
 * @throws CutoverError KAFKA_REQUEST_FAILED naming the groups and partitions whose positions stayed unstable,
 *   CLUSTER_ACCESS_DENIED naming the group, CLUSTER_UNREACHABLE
 */
export async function fetchOffsets(
  cluster: Cluster,
  groups: readonly string[],
  options: {
    readonly requireStable: boolean;
    readonly topics?: ReadonlyMap<string, number>;
    readonly keep?: (topic: string) => boolean;
    readonly unstableTimeoutMs?: number;
  },
): Promise<Map<string, Map<string, Position>>> {
  const found = new Map<string, Map<string, Position>>();
  const unstable = new Map<string, string>();
  const batches = new BatchSize();
  const keep = options.keep ?? (() => true);
  // Null asks for all positions of the group.
  const topics = (options.topics &&
    [...options.topics].map(([name, partitions]) => ({
      name,
      partitionIndexes: Array.from({ length: partitions }, (_, partition) => partition),
    }))) as { name: string; partitionIndexes: number[] }[];
  await perCoordinator(
    cluster,
    groups,
    async (broker, batch) => {
      const request = batch.map((groupId) => ({ groupId, topics, memberEpoch: -1 }));
      const answer = await cluster.call({ broker }, offsetFetchV8.api, request, options.requireStable);
      const retry: string[] = [];
      for (const group of answer.groups) {
        if (passing(group.errorCode)) {
          retry.push(group.groupId);
          continue;
        }
        if (group.errorCode !== kafkaError.groupIdNotFound) {
          refuseKafkaError(group.errorCode, 'cannot read positions', where(cluster, group.groupId));
        }
        const positions = new Map<string, Position>();
        unstable.delete(group.groupId);
        batches.seen(group.topics.reduce((sum, topic) => sum + topic.partitions.length, 0));
        for (const topic of group.topics.filter(({ name }) => keep(name))) {
          for (const p of topic.partitions) {
            const key = `${topic.name}/${p.partitionIndex}`;
            if (p.errorCode === unstableOffsetCommit) {
              unstable.set(group.groupId, key);
              continue;
            }
            refuseKafkaError(p.errorCode, 'cannot read a position', `${where(cluster, group.groupId)}, ${key}`);
            // -1: no position, such as after an OffsetDelete.
            if (p.committedOffset < 0n) continue;
            positions.set(key, {
              topic: topic.name,
              partition: p.partitionIndex,
              offset: p.committedOffset,
              metadata: p.metadata ?? null,
            });
          }
        }
        if (unstable.has(group.groupId)) retry.push(group.groupId);
        else found.set(group.groupId, positions);
      }
      return retry;
    },
    {
      batches,
      timeoutMs: options.unstableTimeoutMs ?? unstableTimeoutMs,
      giveUp: (left) =>
        new CutoverError('KAFKA_REQUEST_FAILED', {
          what: 'positions stayed unstable or without a coordinator',
          where: `cluster ${cluster.name}`,
          found: left.map((g) => `group ${g}${unstable.has(g) ? ` at ${unstable.get(g)}` : ''}`).join(', '),
          next: 'Let the open transactions of these groups end, then retry.',
        }),
    },
  );
  return found;
}

/**
 * Writes positions as somebody outside the group (generation -1, no member, no leader epoch), which coordinators
 * accept only while the group has no members. All or an error: some may be written when it throws.
 *
 * @throws CutoverError GROUP_ACTIVE, OFFSETS_NOT_WRITTEN naming the first partitions, CLUSTER_ACCESS_DENIED
 */
export async function commitOffsets(cluster: Cluster, group: string, positions: readonly NewPosition[]): Promise<void> {
  for (const batch of commitBatches(group, positions)) await commitBatch(cluster, group, batch);
}

/**
 * Deletes a group with all its positions. A group that does not exist is fine.
 *
 * @throws CutoverError GROUP_ACTIVE, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED
 */
export async function deleteGroup(cluster: Cluster, group: string): Promise<void> {
  await perCoordinator(cluster, [group], async (broker, batch) => {
    const answer = await cluster.call({ broker }, deleteGroupsV2.api, batch);
    const code = answer.results[0]?.errorCode ?? 0;
    if (passing(code)) return batch;
    if (code === kafkaError.nonEmptyGroup) throw groupActive(cluster, group, code);
    if (code !== kafkaError.groupIdNotFound) refuseKafkaError(code, 'cannot delete the group', where(cluster, group));
    return [];
  });
}

/**
 * Deletes single positions of a group. Positions and groups that do not exist are fine.
 *
 * @throws CutoverError GROUP_ACTIVE when a member subscribes to the topic, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED
 */
export async function deleteGroupOffsets(
  cluster: Cluster,
  group: string,
  partitions: readonly { readonly topic: string; readonly partition: number }[],
): Promise<void> {
  if (partitions.length === 0) return;
  const topics = [...Map.groupBy(partitions, (p) => p.topic)].map(([name, list]) => ({
    name,
    partitions: list.map((p) => ({ partitionIndex: p.partition })),
  }));
  await perCoordinator(cluster, [group], async (broker, batch) => {
    const answer = await cluster.call({ broker }, offsetDeleteV0.api, group, topics);
    const codes = [answer.errorCode, ...answer.topics.flatMap((t) => t.partitions.map((p) => p.errorCode))];
    if (codes.some(passing)) return batch;
    for (const code of codes) {
      if (code === groupSubscribedToTopic || groupBusy.has(code)) throw groupActive(cluster, group, code);
      if (code !== kafkaError.groupIdNotFound && code !== kafkaError.unknownTopicOrPartition) {
        refuseKafkaError(code, 'cannot delete positions', where(cluster, group));
      }
    }
    return [];
  });
}

/** Whether the principal of this connection may DESCRIBE a group; the group need not exist. */
export async function mayDescribeGroup(cluster: Cluster, group: string): Promise<boolean> {
  // Authorization is judged before anything else, so any broker can be asked.
  const answer = await cluster.call('any', describeGroupsV5.api, [group], false);
  return answer.groups[0]?.errorCode !== groupAuthorizationFailed;
}

async function commitBatch(cluster: Cluster, group: string, positions: readonly NewPosition[]): Promise<void> {
  const topics = [...Map.groupBy(positions, (p) => p.topic)].map(([name, list]) => ({
    name,
    partitions: list.map((p) => ({
      partitionIndex: p.partition,
      committedOffset: p.offset,
      committedLeaderEpoch: -1,
      committedMetadata: p.metadata ?? '',
    })),
  }));
  const started = Date.now();
  let failures = '';
  await perCoordinator(
    cluster,
    [group],
    async (broker, batch) => {
      const answer = await cluster.call({ broker }, offsetCommitV8.api, group, -1, '', null, topics);
      const refused = answer.topics.flatMap((topic) =>
        topic.partitions
          .filter((p) => p.errorCode !== 0)
          .map((p) => ({ key: `${topic.name}/${p.partitionIndex}`, code: p.errorCode })),
      );
      const answers = answer.topics.reduce((sum, topic) => sum + topic.partitions.length, 0);
      if (refused.length === 0 && answers === positions.length) return [];
      const busy = refused.find((r) => groupBusy.has(r.code));
      if (busy) throw groupActive(cluster, group, busy.code);
      const refusal = refused.find(
        (r) =>
          !isRetriableKafkaError(r.code) ||
          (r.code === kafkaError.unknownTopicOrPartition && Date.now() > started + topicKnownTimeoutMs),
      );
      failures = refused
        .slice(0, 5)
        .map((r) => `${r.key}: ${kafkaErrorName(r.code)}`)
        .join(', ');
      if (refusal || refused.length === 0)
        throw notWritten(cluster, group, failures || `${answers} answers`, positions);
      // The whole batch again: positions are absolute, so writing them twice changes nothing.
      return batch;
    },
    { giveUp: () => notWritten(cluster, group, failures, positions) },
  );
}

function* commitBatches(group: string, positions: readonly NewPosition[]): Generator<NewPosition[]> {
  let batch: NewPosition[] = [];
  let bytes = 0;
  for (const position of positions) {
    // Key (group, topic) and value (metadata) of one offset record, with room for framing.
    const size = 100 + group.length + position.topic.length + Buffer.byteLength(position.metadata ?? '');
    if (batch.length > 0 && bytes + size > commitBytesMax) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(position);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

/** How many groups fit into the next request, by the largest that answered so far. */
class BatchSize {
  #largest = 0;
  #answered = false;

  seen(items: number): void {
    this.#answered = true;
    this.#largest = Math.max(this.#largest, items);
  }

  next(): number {
    if (!this.#answered) return groupBatch.first;
    const fitting = Math.floor(answerItemsMax / Math.max(1, this.#largest));
    return Math.min(groupBatch.most, Math.max(1, fitting));
  }
}

/**
 * Sends each group to its coordinator, in batches, one after another for each coordinator, and sends those again that `ask` gives back, to the coordinator
 * that they have then. A broker that dies in between counts as a coordinator that moved.
 */
export async function perCoordinator(
  cluster: Cluster,
  groups: readonly string[],
  ask: (broker: number, batch: string[]) => Promise<string[]>,
  options: {
    readonly timeoutMs?: number;
    readonly giveUp?: (left: string[]) => CutoverError;
    readonly batches?: BatchSize;
  } = {},
): Promise<void> {
  const deadline = Date.now() + (options.timeoutMs ?? adminRetryTimeoutMs);
  let left = [...new Set(groups)];
  const { batches = new BatchSize() } = options;
  let last: CutoverError | undefined;
  for (;;) {
    const { located, homeless } = await coordinators(cluster, left);
    const again = await Promise.all(
      [...located].map(async ([broker, all]) => {
        const failed: string[] = [];
        for (let at = 0; at < all.length; ) {
          const batch = all.slice(at, at + batches.next());
          at += batch.length;
          try {
            failed.push(...(await ask(broker, batch)));
          } catch (error) {
            if (!(error instanceof CutoverError) || error.code !== 'CLUSTER_UNREACHABLE') throw error;
            last = error;
            return [...failed, ...batch, ...all.slice(at)];
          }
        }
        return failed;
      }),
    );
    left = [...homeless, ...again.flat()];
    if (left.length === 0) return;
    if (Date.now() > deadline) {
      throw (
        options.giveUp?.(left) ??
        new CutoverError(
          'KAFKA_REQUEST_FAILED',
          { what: 'coordinators do not answer', where: `cluster ${cluster.name}`, found: `groups ${left.join(', ')}` },
          { cause: last },
        )
      );
    }
    await pause(retryPauseMs);
  }
}

async function coordinators(
  cluster: Cluster,
  groups: readonly string[],
): Promise<{ located: Map<number, string[]>; homeless: string[] }> {
  const homeless: string[] = [];
  const located = new Map<number, string[]>();
  for (let i = 0; i < groups.length; i += coordinatorBatchMax) {
    const answer = await cluster.call('any', findCoordinatorV4.api, 0, groups.slice(i, i + coordinatorBatchMax));
    for (const { key, nodeId, errorCode } of answer.coordinators) {
      if (passing(errorCode)) homeless.push(key);
      else {
        refuseKafkaError(errorCode, 'no coordinator', where(cluster, key));
        const there = located.get(nodeId);
        if (there) there.push(key);
        else located.set(nodeId, [key]);
      }
    }
  }
  return { located, homeless };
}

/** ConsumerProtocolAssignment, any version: they only add at the end. Empty while the group rebalances. */
function assignedTopics(assignment: Buffer): string[] {
  if (assignment.length === 0) return [];
  const reader = Reader.from(assignment);
  reader.readInt16();
  return reader.readArray(
    () => {
      const topic = reader.readString(false);
      reader.readArray(() => reader.readInt32(), false, false);
      return topic;
    },
    false,
    false,
  );
}

const passing = (code: number): boolean => coordinatorMoved.has(code);

function groupType(word: string): GroupType {
  const type = word.toLowerCase();
  return type === 'classic' || type === 'consumer' || type === 'share' || type === 'streams' ? type : 'unknown';
}

function where(cluster: Cluster, group: string): string {
  return `cluster ${cluster.name}, group ${group}`;
}

function groupActive(cluster: Cluster, group: string, code: number): CutoverError {
  return new CutoverError('GROUP_ACTIVE', {
    what: 'the group has members',
    where: where(cluster, group),
    found: kafkaErrorName(code),
    wanted: 'a group without members',
  });
}

function notWritten(cluster: Cluster, group: string, found: string, positions: readonly NewPosition[]): CutoverError {
  return new CutoverError('OFFSETS_NOT_WRITTEN', {
    what: 'the coordinator did not take every position',
    where: where(cluster, group),
    found,
    wanted: `${positions.length} positions written`,
  });
}
