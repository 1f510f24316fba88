/**
 * Preflight: what speaks for and against a plan, each with its code. `gatherFacts` reads both clusters and changes
 * nothing; `findFindings` judges, and is pure.
 */
import { type Code, type Finding, finding } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import { type Acl, aclKey, type Operation } from '../kafka/acls.ts';
import type { Cluster } from '../kafka/cluster.ts';
import type { Role } from '../kafka/clusters.ts';
import { describeGroups, fetchOffsets, type GroupType } from '../kafka/groups.ts';
import { listOffsets, partitionKey } from '../kafka/offsets.ts';
import { describeProducers, producersAreTold } from '../kafka/producers.ts';
import { describeQuotas, type Quota } from '../kafka/quotas.ts';
import { describeScramUsers } from '../kafka/scram.ts';
import { noTopicId } from '../kafka/topic-ids.ts';
import { brokerConfigs, type ConfigEntry, topicConfigs } from '../kafka/topics.ts';
import { transactionsAreTold } from '../kafka/transactions.ts';
import { brokerVersions } from '../kafka/versions.ts';
import { type Access, probeAccess } from './access.ts';
import { aclsLeftOut, deniedToUs, mappedPrincipal, mirrorAcls, principalsOf, protectionAcls } from './acls.ts';
import { type AccessRules, covers, mayDo, writersOf } from './authorizer.ts';
import type { Side } from './change.ts';
import { aclsOrNull, explicitConfigs, type Inventory } from './inventory.ts';
import { type LogShape, sampleLogShapes } from './log-shape.ts';
import { iamLogins, unnamedLogins } from './logins.ts';
import {
  abortedKept,
  isCompacted,
  type LogNeeds,
  logNeeds,
  markerWay,
  olderThanRemembered,
  producerExpiry,
  producerExpiryMaxMs,
  rememberedMs,
  verification,
} from './needs.ts';
import { poolNames } from './principals-pool.ts';
import { quotasLeftOut } from './quotas.ts';
import {
  carriedConfigs,
  configsLeftOut,
  type ExistingTopic,
  inheritedThatMatter,
  replicationFactorThere,
  sameInherited,
  topicDefaults,
} from './topics.ts';
import { describeOpen, openTransactions as openOn } from './transactions.ts';

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
}

/** Plain data, beside the inventory. */
export interface Facts {
  readonly source: SideFacts;
  readonly target: SideFacts;
  /** Values in force on the source, per topic. */
  readonly inForce: Readonly<Record<string, Readonly<Record<string, string | null>>>>;
  readonly shapes: readonly LogShape[];
  /** Topics that a producer wrote to in transactions, with the proof. */
  readonly transactional: Readonly<Record<string, string>>;
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
  readonly scramUsers: { readonly source: readonly string[]; readonly target: readonly string[] };
  /** When the facts were gathered; milliseconds since 1970. */
  readonly nowMs: number;
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
}

export interface TargetTopic extends ExistingTopic {
  /** Records ever kept, over all partitions: sum of ends minus starts. */
  readonly records: number;
  /** Where some log end is not zero, the topic was written to, even if it is empty now. */
  readonly written: boolean;
}

export interface TargetGroup {
  readonly group: string;
  readonly type: GroupType;
  readonly state: string;
  readonly members: number;
  /** On moved topics. */
  readonly positions: number;
}

/**
 * What no waiver lifts: either it cannot work at all, or it would break what the product promises without any way for
 * people to have judged it (silent differences in the copy, records that are not a copy, two owners).
 */
export const neverWaivable: ReadonlySet<Code> = new Set<Code>([
  'PLAN_INVALID',
  'NOT_SUPPORTED_YET',
  'SAME_CLUSTER',
  'NO_TOPICS',
  'VERSION_UNSUPPORTED',
  'ACCESS_MISSING',
  'ACL_AUTHORIZER_ABSENT',
  'CLAIMED_BY_OTHER',
  'ALREADY_MOVED',
  'TARGET_TOPIC_HAS_RECORDS',
  'TARGET_TOPIC_DIFFERS',
  'MARKERS_NOT_ALLOWED',
  'GROUP_ACTIVE_ON_TARGET',
  'GROUP_UNSUPPORTED',
]);

/** Slower than any mirror that we have measured: how long copying may take is estimated with it; bytes per second. */
const copyRateMin = 20_000_000;
/** Markers by transactions, of a whole cluster: less than the least that was measured on two cores (docs/mirror.md). */
const transactionMarkersPerSecond = 300;
/** Of delete.retention.ms; what copying may take before tombstones are at risk. */
const tombstoneShare = 0.5;

type NeededRequest = readonly [name: string, key: number, version: number];

/** Requests that the migration cannot do without of a cluster that is read; versions in which older-requests.ts can make them. */
const neededOfSource: readonly NeededRequest[] = [
  ['Produce', 0, 8],
  ['Fetch', 1, 11],
  ['ListOffsets', 2, 5],
  ['Metadata', 3, 9],
  ['OffsetCommit', 8, 8],
  ['OffsetFetch', 9, 7],
  ['FindCoordinator', 10, 3],
  ['InitProducerId', 22, 3],
  ['OffsetForLeaderEpoch', 23, 3],
  ['IncrementalAlterConfigs', 44, 1],
];
/** Of one that a mirror writes: positions, and who owns the markers. */
const neededToWrite: readonly NeededRequest[] = [
  ['Produce', 0, 9],
  ['InitProducerId', 22, 4],
  ['DescribeProducers', 61, 0],
  ['DescribeTransactions', 65, 0],
];
const neededOfTarget: readonly NeededRequest[] = [...neededOfSource, ...neededToWrite, ['ListTransactions', 66, 0]];

const inForceSettings = [...inheritedThatMatter, 'min.insync.replicas', 'max.message.bytes'];

/**
 * Reads what `findFindings` needs beside the inventory. Logs in as the mirrors' principals too, so wrong credentials are
 * found here.
 *
 * @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_AUTH_FAILED, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED
 */
export async function gatherFacts(source: Cluster, target: Cluster, inventory: Inventory): Promise<Facts> {
  const { structural, measured } = inventory;
  const topics = structural.topics.map((topic) => topic.name);
  const groups = structural.groups.map((group) => group.group);
  const [sourceFacts, targetFacts] = await Promise.all([
    sideFacts(source, neededOfSource),
    sideFacts(target, neededOfTarget),
  ]);
  const configs = await topicConfigs(source, topics);
  const partitions = measured.partitions.map(({ topic, partition }) => ({ topic, partition }));

  const transactional: Record<string, string> = {};
  const producersOf = sourceFacts.producersTold
    ? await describeProducers(source, partitions)
    : new Map<string, never[]>();
  for (const [key, producers] of producersOf) {
    const found = producers.find((p) => p.coordinatorEpoch >= 0 || p.currentTxnStartOffset >= 0n);
    const topic = key.slice(0, key.lastIndexOf('/'));
    if (found) transactional[topic] ??= `producer ${found.producerId} on ${key}`;
  }
  const openTransactions = (await openOn(source, partitions)).flatMap((t) =>
    [...new Set(t.partitions.map((key) => key.slice(0, key.lastIndexOf('/'))))].map((topic) => ({
      transactionalId: t.transactionalId,
      producerId: String(t.producerId),
      topic,
      state: t.state,
      ageMs: t.ageMs,
    })),
  );

  const targetTopics = await existingTopics(target, topics);
  // The whole log, whatever of it was copied already: what people approved must not change by copying.
  const kept = measured.partitions.map((p) => ({ ...p, start: BigInt(p.start), end: BigInt(p.end) }));
  const shapes = await sampleLogShapes(source, kept);
  const [sourceUsers, targetUsers] = await Promise.all([describeScramUsers(source), describeScramUsers(target)]);
  return {
    source: sourceFacts,
    target: targetFacts,
    inForce: Object.fromEntries(
      topics.map((topic) => [
        topic,
        Object.fromEntries(inForceSettings.map((name) => [name, configs.get(topic)?.get(name)?.value ?? null])),
      ]),
    ),
    shapes,
    transactional,
    openTransactions,
    targetTopics,
    targetGroups: await existingGroups(target, groups, new Set(topics)),
    scramUsers: {
      source: [...sourceUsers.keys()].sort(),
      // With those that prepare-target makes.
      target: [...new Set([...targetUsers.keys(), ...target.config.scramUsers.keys()])].sort(),
    },
    nowMs: Date.now(),
  };
}

/** Judges a plan. Waived findings stay listed. Sorted: blockers first, then by code and place. */
export function findFindings(inventory: Inventory, plan: Plan, facts: Facts, known: Known = nothingKnown): Finding[] {
  const findings = [
    ...unsupported(plan),
    ...aboutClusters(inventory, facts),
    ...aboutTopics(inventory, plan, facts, known),
    ...aboutSettings(inventory, plan, facts, known),
    ...aboutLogs(inventory, facts),
    ...aboutMarkers(inventory, plan, facts),
    ...aboutPool(inventory, facts, known),
    ...aboutGroups(inventory, facts, known),
    ...aboutAccess(inventory, plan, facts),
    ...aboutRollback(inventory, plan, facts),
  ];
  const rank = { blocker: 0, warning: 1, info: 2 };
  return findings
    .map((found) => waive(found, plan))
    .sort((a, b) => rank[a.severity] - rank[b.severity] || (`${a.code} ${a.where}` < `${b.code} ${b.where}` ? -1 : 1));
}

/** Findings that stop the migration. */
export function blockersOf(findings: readonly Finding[]): Finding[] {
  return findings.filter((found) => found.severity === 'blocker' && !found.waived);
}

export const nothingKnown: Known = { provenCopies: new Set(), ownGroups: new Set() };

/** What the contract knows and this version cannot do. Needs no cluster, so a plan can be refused before connecting. */
export function unsupported(plan: Plan): Finding[] {
  const found: Finding[] = [];
  const no = (path: string, value: string, wanted: string) =>
    found.push(
      finding(
        'NOT_SUPPORTED_YET',
        `plan ${path}`,
        `${path}: ${value} is not supported yet`,
        `Set ${path} to ${wanted}.`,
      ),
    );
  if (plan.replicator.kind !== 'exact') no('replicator.kind', plan.replicator.kind, 'exact');
  if (plan.fence.kind !== 'acl') no('fence.kind', plan.fence.kind, 'acl');
  for (const side of ['producers', 'consumers'] as const) {
    if (plan[side].switch === 'config-map') no(`${side}.switch`, 'config-map', 'manual or webhook');
  }
  if (plan.consumers.when === 'later') no('consumers.when', 'later', 'withProducers');
  for (const [name, gate] of Object.entries(plan.gates)) {
    if (gate.proof === 'required') no(`gates.${name}.proof`, 'required', 'claimed');
  }
  if (plan.verify.records === 'sample') no('verify.records', 'sample', 'full');
  return found;
}

function aboutClusters({ structural }: Inventory, facts: Facts): Finding[] {
  const found: Finding[] = [];
  if (structural.sourceClusterId === structural.targetClusterId) {
    found.push(finding('SAME_CLUSTER', 'source and target', `both have the cluster id ${structural.sourceClusterId}`));
  }
  for (const side of ['source', 'target'] as const) {
    for (const line of facts[side].missingRequests) found.push(finding('VERSION_UNSUPPORTED', side, line));
  }
  if (!facts.source.transactionsTold) {
    const unseen = facts.source.producersTold
      ? ''
      : ', and transactional producers do not show before their markers are read';
    const message = `older than Kafka 3.0: open transactions cannot be named, nor ended at the fence${unseen}`;
    found.push(finding('TRANSACTIONS_UNNAMED', 'source', message));
  }
  const nameless = structural.topics.filter((topic) => topic.topicId === noTopicId).map((topic) => topic.name);
  if (nameless.length > 0) {
    const message = `no topic ids: one that is deleted and created again shows only by what its log holds, on ${list(nameless)}`;
    found.push(finding('TOPIC_IDS_ABSENT', 'source', message));
  }
  return found;
}

function aboutTopics({ structural, measured }: Inventory, plan: Plan, facts: Facts, known: Known): Finding[] {
  const found: Finding[] = [];
  for (const topic of measured.internalTopics) {
    found.push(finding('TOPIC_INTERNAL', `topic ${topic}`, 'matches topics.include, is internal, and is left out'));
  }
  if (structural.topics.length === 0) {
    const rule = `include ${plan.topics.include.join(', ')}; exclude ${plan.topics.exclude.join(', ') || 'nothing'}`;
    found.push(finding('NO_TOPICS', 'source', `no topic matches (${rule})`));
  }
  // Equal clusters would make each topic its own target: SAME_CLUSTER says it all.
  if (structural.sourceClusterId === structural.targetClusterId) return found;
  for (const topic of structural.topics) {
    const existing = facts.targetTopics[topic.name];
    if (!existing) continue;
    const where = `target, topic ${topic.name}`;
    const proven = known.provenCopies.has(topic.name);
    if (existing.partitions < topic.partitions && known.created?.has(topic.name)) {
      const shape = `${topic.partitions} partitions on the source, ${existing.partitions} on the copy that we made`;
      found.push(finding('TARGET_TOPIC_GROWS', where, shape));
    } else if (existing.partitions !== topic.partitions) {
      const shape = `${existing.partitions} partitions, the source has ${topic.partitions}`;
      found.push(finding('TARGET_TOPIC_DIFFERS', where, shape));
    } else if (existing.written && !proven) {
      const what = existing.records > 0 ? `${existing.records} records` : 'no records any more, but offsets above 0';
      found.push(finding('TARGET_TOPIC_HAS_RECORDS', where, `holds ${what}, and is not a copy that we made`));
    } else {
      const state = proven
        ? 'is a copy that we made, and mirroring goes on from its end'
        : 'exists, is empty, and will be used';
      found.push(finding('TARGET_TOPIC_EXISTS', where, state));
    }
  }
  return found;
}

function aboutSettings({ structural, measured }: Inventory, plan: Plan, facts: Facts, known: Known): Finding[] {
  const found: Finding[] = [];
  const there = topicDefaults(facts.target.brokerConfigs);
  const inherited = new Map<string, Map<string, string[]>>();
  const unknown = new Map<string, string[]>();
  for (const topic of structural.topics) {
    const existing = facts.targetTopics[topic.name];
    const where = `topic ${topic.name}`;
    const replicas =
      existing?.replicationFactor ?? replicationFactorThere(topic.replicationFactor, measured.target.brokers);
    if (replicas < topic.replicationFactor) {
      const message = `${topic.replicationFactor} replicas on the source, ${replicas} on the target (${measured.target.brokers} brokers)`;
      found.push(finding('REPLICATION_FACTOR_REDUCED', where, message));
    }
    const carried = carriedConfigs(topic, there, plan.metadata.configs);
    // A topic that we made has settings for mirroring now, which say nothing about the end.
    const kept = known.provenCopies.has(topic.name) ? undefined : existing?.configs;
    const inTheEnd = (name: string) => carried[name] ?? kept?.[name] ?? there.inherited(name);
    const minInSync = Number(inTheEnd('min.insync.replicas') ?? 1);
    if (minInSync > replicas) {
      const message = `min.insync.replicas would be ${minInSync} with ${replicas} replicas on the target`;
      found.push(finding('MIN_INSYNC_ABOVE_REPLICAS', where, message));
    }
    found.push(...aboutSize(topic.name, facts, inTheEnd));
    if (plan.metadata.configs) for (const name of configsLeftOut(topic, there)) push(unknown, name, topic.name);
    for (const name of inheritedThatMatter) {
      const here = facts.inForce[topic.name]?.[name] ?? null;
      const then = inTheEnd(name);
      if (name in carried || name === 'max.message.bytes' || then === undefined || here === null) continue;
      if (sameInherited(here, then)) continue;
      const values = `${here} on the source, ${then ?? 'none'} on the target`;
      if (!inherited.has(name)) inherited.set(name, new Map());
      push(inherited.get(name) as Map<string, string[]>, values, topic.name);
    }
  }
  for (const [name, topics] of unknown) {
    found.push(finding('CONFIG_UNSUPPORTED', `setting ${name}`, `not copied, set on ${list(topics)}`));
  }
  for (const [name, byValue] of inherited) {
    for (const [values, topics] of byValue) {
      found.push(finding('CONFIG_INHERITED_DIFFERS', `setting ${name}`, `${values}, for ${list(topics)}`));
    }
  }
  return found;
}

function aboutSize(topic: string, facts: Facts, inTheEnd: (name: string) => string | null | undefined): Finding[] {
  const here = Number(facts.inForce[topic]?.['max.message.bytes'] ?? 0);
  const there = Number(inTheEnd('max.message.bytes') ?? Number.POSITIVE_INFINITY);
  const request = Number(facts.target.brokerConfigs['socket.request.max.bytes'] ?? Number.POSITIVE_INFINITY);
  const where = `target, topic ${topic}`;
  if (here > request) {
    const message = `the source takes batches of ${here} bytes, a request to the target may have ${request}`;
    return [finding('MESSAGE_SIZE_LIMIT', where, message, 'Raise socket.request.max.bytes on the target brokers.')];
  }
  if (here <= there) return [];
  const message = `the source takes batches of ${here} bytes, the target would take ${there}`;
  const next = 'Set max.message.bytes on the source topic, or raise message.max.bytes on the target brokers.';
  return [finding('MESSAGE_SIZE_LIMIT', where, message, next)];
}

function aboutLogs({ structural, measured }: Inventory, facts: Facts): Finding[] {
  const found: Finding[] = [];
  const there = topicDefaults(facts.target.brokerConfigs);
  const copyMs = expectedCopyMs(measured);
  for (const { name, configs } of structural.topics) {
    const where = `topic ${name}`;
    const settings = facts.inForce[name] ?? {};
    const policy = settings['cleanup.policy'] ?? '';
    if (isCompacted(policy)) {
      found.push(finding('TOPIC_COMPACTED', where, `cleanup.policy is ${policy}`));
      const tombstonesMs = Number(settings['delete.retention.ms'] ?? Number.POSITIVE_INFINITY);
      if (copyMs > tombstonesMs * tombstoneShare) {
        const message = `copying may take ${hours(copyMs)}, the source keeps tombstones for ${hours(tombstonesMs)}`;
        found.push(finding('TOMBSTONES_AT_RISK', where, message));
      }
    }
    const shape = facts.shapes.find((s) => s.topic === name);
    const transactional = facts.transactional[name] ?? shape?.transactionalAt ?? null;
    if (transactional !== null) found.push(finding('TOPIC_TRANSACTIONAL', where, `seen at ${transactional}`));
    if (settings['message.timestamp.type'] === 'LogAppendTime') {
      found.push(finding('TOPIC_LOG_APPEND_TIME', where, 'message.timestamp.type is LogAppendTime'));
    } else if (shape?.logAppendTimeAt) {
      found.push(finding('TOPIC_LOG_APPEND_TIME', where, `stamped by the broker at ${shape.logAppendTimeAt}`));
    }
    if (shape?.oldFormatAt) found.push(finding('TOPIC_OLD_FORMAT', where, `seen at ${shape.oldFormatAt}`));
    if (!shape || shape.oldestMs === null) continue;
    found.push(...aboutAge(where, shape.oldestMs, facts));
    const limit = (setting: string) =>
      Number(
        configs[setting] ??
          there.inherited(setting) ??
          there.inherited('message.timestamp.difference.max.ms') ??
          Number.POSITIVE_INFINITY,
      );
    const tooOld = shape.oldestMs >= 0 && facts.nowMs - shape.oldestMs > limit('message.timestamp.before.max.ms');
    const tooNew = shape.newestMs !== null && shape.newestMs - facts.nowMs > limit('message.timestamp.after.max.ms');
    if (tooOld || tooNew) {
      const stamp = new Date(tooOld ? shape.oldestMs : (shape.newestMs ?? 0)).toISOString();
      found.push(finding('TIMESTAMP_OUT_OF_RANGE', where, `a record is stamped ${stamp}`));
    }
  }
  for (const { topic, ...transaction } of facts.openTransactions) {
    found.push(finding('OPEN_TRANSACTION', `topic ${topic}`, describeOpen(transaction)));
  }
  return found;
}

/**
 * The target forgets a producer by the timestamps of its records, so while history older than that is written, writes
 * are not a compare-and-set.
 */
function aboutAge(where: string, oldestMs: number, facts: Facts): Finding[] {
  if (!olderThanRemembered(oldestMs, facts)) return [];
  const ageMs = facts.nowMs - oldestMs;
  const age = oldestMs < 0 ? 'has no timestamp' : `is ${hours(ageMs)} old`;
  const raised = facts.target.changeableBrokerConfigs.includes(producerExpiry)
    ? `; ${producerExpiry} is raised to ${hours(producerExpiryMaxMs)} on all its brokers while the mirror runs, where we may`
    : '';
  const message = `the first record ${age}, the target remembers producers for ${hours(rememberedMs(facts))}${raised}`;
  return [finding('PRODUCER_EXPIRY', where, message)];
}

function hours(ms: number): string {
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

function expectedCopyMs({ partitions }: Inventory['measured']): number {
  return (partitions.reduce((sum, p) => sum + (p.bytes ?? 0), 0) / copyRateMin) * 1_000;
}

/** Offsets that hold nothing: how the markers that stand for them are made, what they bring with them, and what becomes of aborted records. */
function aboutMarkers(inventory: Inventory, plan: Plan, facts: Facts): Finding[] {
  const needs = logNeeds(inventory, plan, facts);
  const { transactional, compacted } = needs;
  const needing = [...new Set([...transactional, ...compacted])].sort();
  if (needing.length === 0) return [];
  const found: Finding[] = [];
  const { by, reason } = markerWay('target', plan, facts.target);
  if (by === 'none') {
    found.push(finding('MARKERS_NOT_ALLOWED', 'target', `${reason}; transactions or holes on ${list(needing)}`));
  } else {
    if (by === 'markers') found.push(...aboutOwnership(inventory, needing, facts));
    else {
      const message = `${reason}; transactions or holes on ${list(needing)}: ${markersTime(inventory, needing, facts)}`;
      found.push(finding('MARKERS_BY_TRANSACTIONS', 'target', message));
    }
    found.push(finding('TIMESTAMP_OFFSETS_INEXACT', 'target', `offsetsForTimes on ${list(needing)}`));
  }
  if (transactional.length === 0) return found;
  const aborted = abortedKept('target', plan, facts);
  if (aborted === 'suspend') {
    const message = `${verification} is set to false on all brokers of the target while the mirror writes, for ${list(transactional)}`;
    found.push(finding('VERIFICATION_SUSPENDED', 'target', message));
  } else if (aborted !== 'kept') {
    const message = `${aborted.reason}; transactions on ${list(transactional)}`;
    found.push(finding('ABORTED_NOT_KEPT', 'target', message, aborted.next));
  }
  return found;
}

/** How long making the markers takes at least, by the share of offsets without a record at the heads of the logs. */
function markersTime({ measured }: Inventory, topics: readonly string[], facts: Facts): string {
  const markers = topics.reduce((sum, name) => {
    const { sampledOffsets = 0, sampledHoles = 0 } = facts.shapes.find((shape) => shape.topic === name) ?? {};
    const ofTopic = measured.partitions.filter((p) => p.topic === name);
    const offsets = ofTopic.reduce((total, p) => total + Number(BigInt(p.end) - BigInt(p.start)), 0);
    return sum + Math.round((offsets * sampledHoles) / (sampledOffsets || 1));
  }, 0);
  const time = hours((markers / transactionMarkersPerSecond) * 1_000);
  return `a sample says about ${markers} offsets without a record, ${time} at ${transactionMarkersPerSecond} a second`;
}

/** A leader that can be moved to two others is what keeps an earlier owner out for good. */
function aboutOwnership(inventory: Inventory, topics: readonly string[], facts: Facts): Finding[] {
  const found: Finding[] = [];
  const single = topics.filter((name) => replicasOf(name, inventory, facts) === 1);
  const double = topics.filter((name) => replicasOf(name, inventory, facts) === 2);
  if (single.length > 0 && facts.target.mirrorPrincipals === 0) {
    const message = `one replica and no mirrorPrincipals: no leader to move between two owners of ${list(single)}`;
    found.push(finding('MARKER_OWNERSHIP_WEAK', 'target', message));
  }
  if (double.length > 0) {
    const message = `two replicas: the leader goes back to where an earlier owner knew it, on ${list(double)}`;
    found.push(finding('MARKER_OWNERSHIP_WEAK', 'target', message));
  }
  return found;
}

/** Of a topic on the target, as it is there or will be. */
function replicasOf(name: string, { structural, measured }: Inventory, facts: Facts): number {
  const here = structural.topics.find((topic) => topic.name === name)?.replicationFactor ?? 1;
  return facts.targetTopics[name]?.replicationFactor ?? replicationFactorThere(here, measured.target.brokers);
}

/** Mirrors of two migrations that used one pool would deny each other for ever. */
function aboutPool(inventory: Inventory, facts: Facts, { poolUsers = [] }: Known): Finding[] {
  if (facts.target.mirrorPrincipals === 0 || poolUsers.length === 0) return [];
  const single = inventory.structural.topics
    .map((topic) => topic.name)
    .filter((name) => replicasOf(name, inventory, facts) === 1);
  if (single.length === 0) return [];
  const message = `mirrorPrincipals are given to ${list(poolUsers)}, and ${list(single)} would need them too`;
  return [finding('MIRROR_PRINCIPALS_SHARED', 'target', message)];
}

function aboutGroups({ structural, measured }: Inventory, facts: Facts, known: Known): Finding[] {
  const found: Finding[] = [];
  for (const { group, type } of structural.groups) {
    if (type !== 'classic' && type !== 'consumer') {
      found.push(finding('GROUP_UNSUPPORTED', `group ${group}`, `its type is ${type}`));
    }
  }
  if (structural.sourceClusterId !== structural.targetClusterId) {
    for (const { group, type, state, members, positions } of facts.targetGroups) {
      const where = `target, group ${group}`;
      const active = members > 0 || ((type === 'share' || type === 'streams') && state !== 'Empty' && state !== 'Dead');
      if (active) found.push(finding('GROUP_ACTIVE_ON_TARGET', where, `${members} members, state ${state}`));
      if (positions > 0 && !known.ownGroups.has(group)) {
        found.push(finding('GROUP_EXISTS_ON_TARGET', where, `has ${positions} positions on moved topics`));
      }
    }
  }
  if (measured.groupsOutsidePlan.length > 0) {
    found.push(finding('GROUP_OUTSIDE_PLAN', 'source', `reading moved topics: ${list(measured.groupsOutsidePlan)}`));
  }
  if (structural.topics.length > 0) {
    const message = 'offsets are identical on both clusters, so positions kept in databases or checkpoints stay valid';
    found.push(finding('OFFSETS_OUTSIDE_KAFKA', 'source and target', message));
  }
  return found;
}

function aboutAccess({ structural }: Inventory, plan: Plan, facts: Facts): Finding[] {
  const found: Finding[] = [];
  const topics = structural.topics.map((topic) => topic.name);
  const groups = structural.groups.map((group) => group.group);
  const directions = { forward: true, reverse: plan.rollback.reverseMirror };
  for (const side of ['source', 'target'] as const) {
    const { acls, access } = facts[side];
    const lacking = ownRightsMissing(side, facts[side], topics);
    if (lacking.length > 0) {
      const message = `our own principal ${access.principals.own ?? ''} may not ${list(lacking)}`;
      found.push(finding('ACCESS_MISSING', side, message, 'Grant it: nothing can be read or changed without it.'));
    }
    if (plan.fence.kind !== 'acl') continue;
    if (acls === null) {
      found.push(finding('ACL_AUTHORIZER_ABSENT', side, 'the brokers have no authorizer'));
      continue;
    }
    found.push(...aboutNames(side, facts[side]));
    const rules = rulesOf(facts[side]);
    found.push(finding('ACL_SUPER_USERS', side, 'super users are not stopped by the fence, and no API lists them'));
    // The mirror that writes here must be shut out here when the direction changes.
    const writer = side === 'target' ? 'forward' : 'reverse';
    const principal = access.principals[writer];
    const unbound = access.superUser[writer] !== false || facts[side].iamLogins.includes(writer);
    if (directions[writer] && (unbound || principal === access.principals.own)) {
      const why = facts[side].iamLogins.includes(writer)
        ? "logs in by IAM, which Kafka's access rules do not bind"
        : access.superUser[writer]
          ? 'is a super user'
          : principal !== null && principal === access.principals.own
            ? 'is our own principal on that cluster'
            : 'may be a super user: no user name is known, or the rules do not tell';
      found.push(
        finding('ACL_MIRROR_IS_SUPER_USER', side, `the ${writer} mirror's principal ${principal ?? ''} ${why}`),
      );
    }
    const missing = plan.metadata.acls
      ? deniedToUs(side, rules, topics, access.principals, directions)
      : mirrorAcls(side, rules, topics, access.principals, directions);
    if (missing.length > 0) {
      const lines = missing.map((acl) => `${acl.principal} ${acl.operation.toUpperCase()} topic ${acl.resourceName}`);
      found.push(finding('ACCESS_MISSING', side, list(lines)));
    }
  }
  if (plan.fence.kind === 'acl') found.push(...openEnded(structural, plan, facts, topics, groups));
  if (plan.metadata.quotas) {
    for (const line of quotasLeftOut(facts.source.quotas, facts.target.quotas)) {
      found.push(finding('QUOTA_UNSUPPORTED', 'quotas', line));
    }
  }
  if (plan.metadata.acls && facts.source.acls !== null) {
    const left = aclsLeftOut({ acls: facts.source.acls }, { topics, groups }, plan, facts.source.access.principals);
    if (left.length > 0) found.push(finding('ACL_NOT_CARRIED', 'source', list(left.map(aclKey))));
  }
  // Users of the source that log in with SCRAM there must be able to log in on the target under their mapped names.
  for (const principal of [...principalsOf(facts.source.acls ?? [], topics, groups)].sort()) {
    const mapped = mappedPrincipal(plan, principal);
    const hasOne = (users: readonly string[], name: string) => users.some((user) => `User:${user}` === name);
    if (!hasOne(facts.scramUsers.source, principal) || hasOne(facts.scramUsers.target, mapped)) continue;
    const who = mapped === principal ? principal : `${mapped} (${principal} on the source)`;
    found.push(finding('SCRAM_USERS_MISSING', 'target', `${who} has no SCRAM credential there`));
  }
  return found;
}

/** What is weaker where access rules do not bind somebody, or where we cannot name ourselves in them. */
function aboutNames(side: Side, { iamLogins, unnamedLogins: unnamed }: SideFacts): Finding[] {
  const found: Finding[] = [];
  if (iamLogins.includes('own')) {
    const message =
      'we log in by IAM, so applications may too: an ACL fence does not hold those, nor does an ACL show who may write';
    found.push(finding('IAM_NOT_BOUND_BY_ACLS', side, message));
  }
  const weaker: Readonly<Record<string, string>> = {
    own: 'our own rights are not checked beforehand, and a rule that closes the cluster may close us out',
    forward: 'no right is granted to the forward mirror, and no rule shuts it out',
    reverse: 'no right is granted to the reverse mirror, and no rule shuts it out',
    mirrorPrincipals: 'they are not used at all',
  };
  for (const login of unnamed) {
    const message = `what the brokers call the login \`${login}\` is not known: ${weaker[login]}`;
    found.push(finding('PRINCIPAL_UNKNOWN', side, message));
  }
  return found;
}

/** What our own principal reads and changes on each cluster: access rules, topics and their settings. */
function ownRightsMissing(side: Side, { acls, access }: SideFacts, topics: readonly string[]): string[] {
  const { own } = access.principals;
  if (acls === null || access.superUser.own === true || own === null) return [];
  const rights = access.clusterOperations.own;
  const onCluster = (['describe', 'alter'] as const).filter((operation) => !rights.includes(operation));
  const onTopics: readonly Operation[] =
    side === 'source'
      ? ['read', 'describe-configs', 'alter-configs']
      : ['create', 'read', 'describe-configs', 'alter-configs', 'delete'];
  return [
    ...onCluster.map((operation) => `${operation.toUpperCase()} the cluster`),
    ...onTopics.flatMap((operation) => {
      if (operation === 'create' && rights.includes('create')) return [];
      const denied = topics.filter(
        (name) => !mayDo(rulesOf({ acls, access }), own, '*', operation, { type: 'topic', name }),
      );
      return denied.length > 0 ? [`${operation.toUpperCase()} ${list(denied)}`] : [];
    }),
  ];
}

function openEnded(
  structural: Inventory['structural'],
  plan: Plan,
  facts: Facts,
  topics: readonly string[],
  groups: readonly string[],
): Finding[] {
  const found: Finding[] = [];
  const source = rulesOf(facts.source);
  const target = rulesOf(facts.target);
  // Without rules of applications, the first rule that we add closes a topic for everybody (see authorizer.ts).
  const ruled = (rules: AccessRules, topic: string) =>
    rules.acls.some((acl) => covers(acl, { type: 'topic', name: topic }));
  const afterwards: AccessRules = { ...target, acls: [...target.acls, ...structural.acls] };
  if (facts.source.acls !== null) {
    const open = topics.filter((topic) => writersOf(source, topic).everybody);
    if (open.length > 0) {
      const named = plan.fence.principals.length > 0;
      const message = `everybody may write ${list(open)}${named ? `; the plan names ${list(plan.fence.principals)}` : ''}`;
      found.push(finding(named ? 'FENCE_ON_TRUST' : 'ACL_OPEN_ENDED', 'source', message));
    }
    const unruled = topics.filter((topic) => source.allowEveryone && !ruled(source, topic));
    if (unruled.length > 0 && open.length === 0) {
      const message = `no rule speaks about ${list(unruled)}, so the first rule that we add closes them for everybody`;
      found.push(finding('ACL_OPEN_ENDED', 'source', message, 'Add ALLOW rules for the applications first.'));
    }
  }
  if (facts.target.acls !== null) {
    const exempt = facts.target.access.principals;
    const principals = plan.fence.principals.map((principal) => mappedPrincipal(plan, principal));
    const protection = protectionAcls(afterwards, { topics, groups }, { principals, exempt });
    if (protection.openEnded.length > 0) {
      const message = `everybody may write or join ${list(protection.openEnded)}`;
      found.push(finding('ACL_OPEN_ENDED', 'target', message));
    }
  }
  return found;
}

function aboutRollback(inventory: Inventory, plan: Plan, facts: Facts): Finding[] {
  const { structural } = inventory;
  if (!plan.rollback.reverseMirror) {
    const message = 'rollback.reverseMirror is false: what is written to the target after the switch stays there';
    return [finding('ROLLBACK_IMPOSSIBLE', 'plan rollback.reverseMirror', message)];
  }
  const here = topicDefaults(facts.source.brokerConfigs);
  const found: Finding[] = [];
  for (const { name, configs } of structural.topics) {
    const format = configs['message.format.version'] ?? here.inherited('message.format.version');
    if (typeof format === 'string' && /^0\./.test(format)) {
      const message = `message.format.version is ${format}: the source cannot store what the target holds`;
      found.push(finding('ROLLBACK_IMPOSSIBLE', `source, topic ${name}`, message));
    }
  }
  for (const line of facts.source.missingToWrite) {
    found.push(finding('ROLLBACK_IMPOSSIBLE', 'source', `${line}, which a mirror that writes there needs`));
  }
  return [...found, ...aboutMarkersBack(logNeeds(inventory, plan, facts), plan, facts)];
}

/** What the reverse mirror must be able to do on the source. */
function aboutMarkersBack({ transactional, compacted }: LogNeeds, plan: Plan, facts: Facts): Finding[] {
  const { by, reason } = markerWay('source', plan, facts.source);
  const needing = [...new Set([...transactional, ...compacted])].sort();
  const found: Finding[] = [];
  if (by === 'none' && needing.length > 0) {
    const message = `${reason}: transactions and holes cannot be carried back, on ${list(needing)}`;
    found.push(finding('ROLLBACK_IMPOSSIBLE', 'source', message));
  }
  if (by === 'transactions' && needing.length > 0) {
    const message = `${reason}: each marker carried back comes of a transaction there, some ${transactionMarkersPerSecond} a second, and aborted records are not carried back, on ${list(needing)}`;
    found.push(finding('ROLLBACK_WEAK', 'source', message));
  }
  if (by !== 'markers' || transactional.length === 0) return found;
  const aborted = abortedKept('source', plan, facts);
  if (aborted === 'suspend') {
    const message = `${verification} is set to false on all brokers of the source from the fence on, until the way back is closed`;
    found.push(finding('VERIFICATION_SUSPENDED', 'source', message));
  } else if (aborted !== 'kept' && plan.mirror.abortedRecords === 'keep') {
    const message = `${aborted.reason}: aborted records are not carried back, on ${list(transactional)}`;
    found.push(finding('ROLLBACK_WEAK', 'source', message, aborted.next));
  }
  return found;
}

export function waive(found: Finding, plan: Plan): Finding {
  const waiver = plan.waivers.find((w) => w.code === found.code);
  if (!waiver || found.severity === 'info') return found;
  if (neverWaivable.has(found.code)) {
    return {
      ...found,
      message: `${found.message} (the waiver of ${waiver.by} has no effect: this code cannot be waived)`,
    };
  }
  return { ...found, waived: { by: waiver.by, reason: waiver.reason } };
}

/** What the model of the authorizer needs. An unknown `allow.everyone...` counts as true: better a finding too many. */
export function rulesOf(side: Pick<SideFacts, 'acls' | 'access'>): AccessRules {
  const { principals, superUser, allowEveryone } = side.access;
  const known = (['own', 'forward', 'reverse'] as const).filter((role) => superUser[role] === true);
  const superUsers = new Set(known.map((role) => principals[role]).filter((principal) => principal !== null));
  return { acls: side.acls ?? [], superUsers, allowEveryone: allowEveryone !== false };
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
  };
}

async function missingRequests(cluster: Cluster, needed: readonly NeededRequest[]): Promise<string[]> {
  const missing: string[] = [];
  for (const { id } of cluster.brokers) {
    const { max } = await brokerVersions(cluster, id);
    for (const [name, key, version] of needed) {
      if ((max.get(key) ?? -1) < version) missing.push(`broker ${id} does not serve ${name} v${version}`);
    }
  }
  return missing;
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
    };
  }
  return found;
}

async function existingGroups(
  target: Cluster,
  groups: readonly string[],
  topics: ReadonlySet<string>,
): Promise<TargetGroup[]> {
  if (groups.length === 0) return [];
  const described = [...(await describeGroups(target, groups)).values()].filter((group) => group.type !== 'unknown');
  const names = described.filter((g) => g.type === 'classic' || g.type === 'consumer').map((g) => g.group);
  const positions = await fetchOffsets(target, names, { requireStable: false });
  return described.map(({ group, type, state, members }) => ({
    group,
    type,
    state,
    members: members.length,
    positions: [...(positions.get(group)?.values() ?? [])].filter((p) => topics.has(p.topic)).length,
  }));
}

function plain(configs: ReadonlyMap<string, ConfigEntry>): Record<string, string | null> {
  return Object.fromEntries([...configs].map(([name, entry]) => [name, entry.value]));
}

function push(map: Map<string, string[]>, key: string, item: string): void {
  const items = map.get(key);
  if (items) items.push(item);
  else map.set(key, [item]);
}

/** Names in a message; the rest is in the inventory. */
const listedMax = 10;

function list(items: readonly string[]): string {
  const shown = items.slice(0, listedMax).join(', ');
  return items.length > listedMax ? `${shown} and ${items.length - listedMax} more` : shown;
}
