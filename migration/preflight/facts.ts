/** What preflight reads of both clusters, beside the inventory. Changes nothing. */
import type { Finding } from '../../contract/errors.ts';
import type { Acl } from '../../kafka/acls.ts';
import type { Cluster } from '../../kafka/cluster.ts';
import type { Role } from '../../kafka/clusters.ts';
import { describeGroups, fetchOffsets, type GroupType, listGroups } from '../../kafka/groups.ts';
import { listOffsets, partitionKey, partitionOf } from '../../kafka/offsets.ts';
import { describeProducers, type ProducerState, producersAreTold } from '../../kafka/producers.ts';
import { describeQuotas, type Quota } from '../../kafka/quotas.ts';
import { schemaIdsIn } from '../../kafka/schema-ids.ts';
import { describeScramUsers } from '../../kafka/scram.ts';
import { shareOffsetsAreServed, sharePositions } from '../../kafka/share-groups.ts';
import { brokerConfigs, type ConfigEntry, topicConfigs } from '../../kafka/topics.ts';
import { transactionsAreTold } from '../../kafka/transactions.ts';
import { type Access, probeAccess } from '../access.ts';
import { aclsOrNull, explicitConfigs, type Inventory } from '../inventory.ts';
import { type LogShape, sampleLogShapes } from '../log-shape.ts';
import { iamLogins, unnamedLogins } from '../logins.ts';
import { poolNames } from '../principals-pool.ts';
import { type ExistingTopic, inheritedThatMatter } from '../topics.ts';
import { type OpenTransaction, openTransactions as openOn } from '../transactions.ts';
import {
  missingRequests,
  type NeededRequest,
  neededOfSource,
  neededOfTarget,
  neededToWrite,
  unevenRequests,
} from './clusters.ts';
import { type Measurements, measure } from './measurements.ts';

/** What the migration itself made, from its journal. */
export interface Known {
  /** Target topics that our journal says we made, and that are proven equal to the source up to their end. */
  readonly provenCopies: ReadonlySet<string>;
  /** Groups whose positions on the target we wrote. */
  readonly ownGroups: ReadonlySet<string>;
  /** Target topics that our journal says we created, whatever they hold. */
  readonly created?: ReadonlySet<string>;
  /** Other migrations whose mirrors may use the target's `mirrorPrincipals`. */
  readonly poolUsers?: readonly string[];
  /** What was found about switches, outside Kafka. */
  readonly switches?: readonly Finding[];
  /** What was found about signed approvals. */
  readonly approvals?: readonly Finding[];
}

/** Plain data, beside the inventory. */
export interface Facts {
  readonly source: SideFacts;
  readonly target: SideFacts;
  /** Values in force on the source, per topic. */
  readonly inForce: Readonly<Record<string, Readonly<Record<string, string | null>>>>;
  readonly shapes: readonly LogShape[];
  /** What may be ids of schemas in sampled records, by topic; empty where the source has no registry that could say which are. */
  readonly schemaIds?: Readonly<Record<string, readonly number[]>>;
  /** Topics that a producer wrote to in transactions, with the proof. */
  readonly transactional: Readonly<Record<string, string>>;
  /** Producers with an id that the partitions know, by topic: none where brokers do not tell (before 2.8). */
  readonly producers: Readonly<Record<string, number>>;
  /** Transactions that partitions hold open and no coordinator knows. */
  readonly hanging: readonly HangingTransaction[];
  readonly openTransactions: readonly {
    readonly transactionalId: string;
    /** A decimal string. */
    readonly producerId: string;
    readonly topic: string;
    readonly state: string;
    readonly ageMs: number;
  }[];
  readonly targetTopics: Readonly<Record<string, TargetTopic>>;
  readonly targetGroups: readonly TargetGroup[];
  /** Names of users with a SCRAM credential. */
  readonly scramUsers: {
    readonly source: readonly string[];
    readonly target: readonly string[];
    /** Those that clusters.yaml gives a password for on the target. */
    readonly given?: readonly string[];
  };
  /** When the facts were gathered; milliseconds since 1970. */
  readonly nowMs: number;
  /** Explicit settings of source topics whose values are hidden, by topic. */
  readonly unreadable: Readonly<Record<string, readonly string[]>>;
  /** Null while a migration runs: nobody plans then. */
  readonly measurements: Measurements | null;
}

export interface HangingTransaction {
  /** `topic/partition` */
  readonly partition: string;
  /** Decimal strings. */
  readonly producerId: string;
  readonly since: string;
}

export interface SideFacts {
  /** Null without an authorizer. */
  readonly acls: readonly Acl[] | null;
  readonly access: Access;
  /** By name; null where the broker hides it. */
  readonly brokerConfigs: Readonly<Record<string, string | null>>;
  /** Those of `brokerConfigs` that can be changed while the brokers run. */
  readonly changeableBrokerConfigs: readonly string[];
  readonly quotas: readonly Quota[];
  /** Of `mirrorPrincipals`, as far as they can take turns. */
  readonly mirrorPrincipals: number;
  /** Our logins whose names only the broker knows: `own`, `forward`, `reverse`, `mirrorPrincipals`. */
  readonly unnamedLogins: readonly string[];
  /** Our logins through IAM, which Kafka's rules do not bind. */
  readonly iamLogins: readonly Role[];
  /** Requests that we need and some broker does not serve, one line each. */
  readonly missingRequests: readonly string[];
  /** The same of what a mirror needs that writes there. */
  readonly missingToWrite: readonly string[];
  /** Whether brokers say which producers a partition knows (2.8), and which transactions are open (3.0). */
  readonly producersTold: boolean;
  readonly transactionsTold: boolean;
  /** Whether positions of share groups can be read and set (Kafka 4.2 with share.version 1). */
  readonly shareOffsetsServed?: boolean;
  /** Requests that some brokers serve in newer versions than others: an upgrade is under way. */
  readonly uneven: readonly string[];
}

export interface TargetTopic extends ExistingTopic {
  /** Records ever kept, over all partitions: sum of ends minus starts. */
  readonly records: number;
  /** Where some log end is not zero, the topic was written to, even if it is empty now. */
  readonly written: boolean;
  /** Kafka's own there. */
  readonly internal: boolean;
}

export interface TargetGroup {
  readonly group: string;
  readonly type: GroupType;
  readonly state: string;
  readonly members: number;
  /** On moved topics, and on others. */
  readonly positions: number;
  readonly positionsElsewhere: number;
}

export interface GatherOptions {
  /** `metadata.configs` of the plan; true by default. */
  readonly carryConfigs?: boolean;
  /** Whether to measure as well, which may take seconds; true by default. */
  readonly measure?: boolean;
  /** Called with what is done next, for people who wait. */
  readonly onStep?: (step: string) => void;
}

export const nothingKnown: Known = { provenCopies: new Set(), ownGroups: new Set() };

/** Of sampled records that are looked into for ids of schemas; beyond that one look a topic. */
const unpackedBytesMax = 64 * 1024 * 1024;

const inForceSettings = [...inheritedThatMatter, 'min.insync.replicas', 'max.message.bytes'];

/**
 * Reads what `findFindings` needs beside the inventory. Logs in as the mirrors' principals too, so wrong credentials are
 * found here.
 *
 * @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_AUTH_FAILED, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED
 */
export async function gatherFacts(
  source: Cluster,
  target: Cluster,
  inventory: Inventory,
  options: GatherOptions = {},
): Promise<Facts> {
  const { carryConfigs = true, onStep = () => {} } = options;
  const { structural, measured } = inventory;
  const topics = structural.topics.map((topic) => topic.name);
  const groups = structural.groups.map((group) => group.group);
  onStep('reading settings, access rules and quotas of both clusters');
  const [sourceFacts, targetFacts] = await Promise.all([
    sideFacts(source, neededOfSource),
    sideFacts(target, neededOfTarget),
  ]);
  const configs = await topicConfigs(source, topics);
  const partitions = measured.partitions.map(({ topic, partition }) => ({ topic, partition }));

  onStep('asking for producers and transactions');
  const open = await openOn(source, partitions);
  const producersOf = sourceFacts.producersTold
    ? await describeProducers(source, partitions)
    : new Map<string, never[]>();

  onStep('looking at what stands on the target');
  const targetTopics = await existingTopics(target, topics);
  const targetGroups = await existingGroups(target, groups, new Set(topics));
  onStep('looking into the logs');
  // The whole log, whatever of it was copied already: what people approved must not change by copying.
  const kept = measured.partitions.map((p) => ({ ...p, start: BigInt(p.start), end: BigInt(p.end) }));
  const ids = new SampledIds();
  const shapes = await sampleLogShapes(source, kept, source.config.registry ? { onSample: ids.look } : {});
  const [sourceUsers, targetUsers] = await Promise.all([describeScramUsers(source), describeScramUsers(target)]);
  const inForce = Object.fromEntries(
    topics.map((topic) => [
      topic,
      Object.fromEntries(inForceSettings.map((name) => [name, configs.get(topic)?.get(name)?.value ?? null])),
    ]),
  );
  return {
    source: sourceFacts,
    target: targetFacts,
    inForce,
    shapes,
    schemaIds: ids.byTopic(),
    ...(await toldByProducers(source, producersOf, open)),
    openTransactions: open.flatMap((t) =>
      [...new Set(t.partitions.map((key) => partitionOf(key).topic))].map((topic) => ({
        transactionalId: t.transactionalId,
        producerId: String(t.producerId),
        topic,
        state: t.state,
        ageMs: t.ageMs,
      })),
    ),
    targetTopics,
    targetGroups,
    scramUsers: {
      source: [...sourceUsers.keys()].sort(),
      target: [...targetUsers.keys()].sort(),
      given: [...target.config.scramUsers.keys()].sort(),
    },
    unreadable: unreadable(configs),
    measurements:
      options.measure === false
        ? null
        : await measure(
            source,
            target,
            inventory,
            { inForce, target: targetFacts, targetTopics },
            carryConfigs,
            onStep,
          ),
    nowMs: Date.now(),
  };
}

/** Of records that were sampled anyway; as many as can be unpacked in a second or so. */
class SampledIds {
  readonly #ids = new Map<string, Set<number>>();
  #bytes = 0;

  readonly look = (topic: string, log: Buffer): void => {
    this.#bytes += log.length;
    if (this.#bytes > unpackedBytesMax && this.#ids.has(topic)) return;
    const known = this.#ids.get(topic) ?? new Set<number>();
    for (const id of schemaIdsIn(log)) known.add(id);
    this.#ids.set(topic, known);
  };

  byTopic(): Record<string, number[]> {
    const found = [...this.#ids].map(([topic, ids]) => [topic, [...ids].sort((a, b) => a - b)] as const);
    return Object.fromEntries(found.filter(([, ids]) => ids.length > 0));
  }
}

/** What producers that partitions know tell: that there are any, and transactions, the hanging ones among them. */
async function toldByProducers(
  source: Cluster,
  producersOf: ReadonlyMap<string, readonly ProducerState[]>,
  open: readonly OpenTransaction[],
): Promise<Pick<Facts, 'producers' | 'transactional' | 'hanging'>> {
  const transactional: Record<string, string> = {};
  const ids = new Map<string, Set<bigint>>();
  const unknown = new Map<string, ProducerState>();
  const known = new Set(open.map((t) => t.producerId));
  for (const [key, producers] of producersOf) {
    const topic = partitionOf(key).topic;
    const found = producers.find((p) => p.coordinatorEpoch >= 0 || p.currentTxnStartOffset >= 0n);
    if (found) transactional[topic] ??= `producer ${found.producerId} on ${key}`;
    for (const producer of producers) {
      ids.set(topic, (ids.get(topic) ?? new Set()).add(producer.producerId));
      if (producer.currentTxnStartOffset >= 0n && !known.has(producer.producerId)) unknown.set(key, producer);
    }
  }
  return {
    transactional,
    producers: Object.fromEntries([...ids].map(([topic, all]) => [topic, all.size])),
    hanging: await stillHanging(source, unknown),
  };
}

/** One that began or ended between the two questions is no hanging one: it is gone, or known, when both are asked again. */
async function stillHanging(
  source: Cluster,
  suspects: ReadonlyMap<string, ProducerState>,
): Promise<HangingTransaction[]> {
  if (suspects.size === 0) return [];
  const partitions = [...suspects.keys()].map(partitionOf);
  const again = await describeProducers(source, partitions);
  const known = new Set((await openOn(source, partitions)).map((t) => t.producerId));
  return [...suspects].flatMap(([partition, { producerId, currentTxnStartOffset }]) => {
    const still = (again.get(partition) ?? []).some(
      (p) => p.producerId === producerId && p.currentTxnStartOffset === currentTxnStartOffset,
    );
    if (!still || known.has(producerId)) return [];
    return [{ partition, producerId: String(producerId), since: String(currentTxnStartOffset) }];
  });
}

function unreadable(configs: ReadonlyMap<string, ReadonlyMap<string, ConfigEntry>>): Record<string, string[]> {
  const hidden = [...configs].map(([topic, entries]) => {
    const names = [...entries].filter(([, entry]) => entry.source === 'topic' && entry.value === null);
    return [topic, names.map(([name]) => name).sort()] as const;
  });
  return Object.fromEntries(hidden.filter(([, names]) => names.length > 0));
}

async function sideFacts(cluster: Cluster, needed: readonly NeededRequest[]): Promise<SideFacts> {
  const acls = await aclsOrNull(cluster);
  const configs = await brokerConfigs(cluster);
  return {
    acls,
    access: await probeAccess(cluster, acls),
    mirrorPrincipals: poolNames(cluster.config).length,
    unnamedLogins: unnamedLogins(cluster.config),
    iamLogins: iamLogins(cluster.config),
    brokerConfigs: plain(configs),
    changeableBrokerConfigs: [...configs].flatMap(([name, entry]) => (entry.readOnly ? [] : [name])),
    quotas: await describeQuotas(cluster),
    missingRequests: await missingRequests(cluster, needed),
    missingToWrite: await missingRequests(cluster, neededToWrite),
    producersTold: await producersAreTold(cluster),
    transactionsTold: await transactionsAreTold(cluster),
    shareOffsetsServed: await shareOffsetsAreServed(cluster),
    uneven: await unevenRequests(cluster),
  };
}

async function existingTopics(target: Cluster, topics: readonly string[]): Promise<Record<string, TargetTopic>> {
  if (topics.length === 0) return {};
  const metadata = await target.metadata(topics);
  const configs = await topicConfigs(target, [...metadata.topics.keys()]);
  const found: Record<string, TargetTopic> = {};
  const partitions = [...metadata.topics.values()].flatMap((topic) =>
    topic.partitions.map(({ partition }) => ({ topic: topic.name, partition })),
  );
  const [starts, ends] = await Promise.all([
    listOffsets(target, partitions, 'start'),
    listOffsets(target, partitions, 'logEnd'),
  ]);
  for (const topic of metadata.topics.values()) {
    const keys = topic.partitions.map((p) => partitionKey(topic.name, p.partition));
    const kept = keys.map((key) => (ends.get(key) ?? 0n) - (starts.get(key) ?? 0n));
    found[topic.name] = {
      partitions: topic.partitions.length,
      replicationFactor: Math.max(0, ...topic.partitions.map((p) => p.replicas.length)),
      configs: explicitConfigs(configs.get(topic.name)),
      records: Number(kept.reduce((sum, n) => sum + n, 0n)),
      written: keys.some((key) => (ends.get(key) ?? 0n) > 0n),
      internal: topic.internal,
    };
  }
  return found;
}

async function existingGroups(
  target: Cluster,
  groups: readonly string[],
  topics: ReadonlySet<string>,
): Promise<TargetGroup[]> {
  const wanted = new Set(groups);
  const there = (await listGroups(target)).map(({ group }) => group).filter((group) => wanted.has(group));
  const described = [...(await describeGroups(target, there)).values()].filter((group) => group.type !== 'unknown');
  const names = described.filter((g) => g.type === 'classic' || g.type === 'consumer').map((g) => g.group);
  const positions = await fetchOffsets(target, names, { requireStable: false });
  const shares = described.filter((g) => g.type === 'share').map((g) => g.group);
  const shared =
    shares.length > 0 && (await shareOffsetsAreServed(target)) ? await sharePositions(target, shares) : null;
  return described.map(({ group, type, state, members }) => {
    const all = [...(positions.get(group)?.values() ?? []), ...(shared?.get(group)?.values() ?? [])];
    const moved = all.filter((p) => topics.has(p.topic)).length;
    return { group, type, state, members: members.length, positions: moved, positionsElsewhere: all.length - moved };
  });
}

function plain(configs: ReadonlyMap<string, ConfigEntry>): Record<string, string | null> {
  return Object.fromEntries([...configs].map(([name, entry]) => [name, entry.value]));
}
