/** Whether these are two clusters, and new enough. */
import { protocolAPIsById } from '@platformatic/kafka';
import { type Finding, finding } from '../../contract/errors.ts';
import { brokerVersions } from '../../kafka/broker-versions.ts';
import type { ClockOffset } from '../../kafka/clock.ts';
import type { Cluster } from '../../kafka/cluster.ts';
import { noTopicId } from '../../kafka/topic-ids.ts';
import type { Side } from '../change.ts';
import type { Inventory } from '../inventory.ts';
import type { Facts } from './facts.ts';
import { list } from './wording.ts';

export type NeededRequest = readonly [name: string, key: number, version: number];

/** Requests that the migration cannot do without of a cluster that is read; versions in which older-requests.ts can make them. */
export const neededOfSource: readonly NeededRequest[] = [
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
export const neededToWrite: readonly NeededRequest[] = [
  ['Produce', 0, 9],
  ['InitProducerId', 22, 4],
  ['DescribeProducers', 61, 0],
  ['DescribeTransactions', 65, 0],
];
export const neededOfTarget: readonly NeededRequest[] = [
  ...neededOfSource,
  ...neededToWrite,
  ['ListTransactions', 66, 0],
];

/** A clock that is further off than this is told. */
const clockOffMsMax = 1_000;
/** Features that clients use by themselves: where the target lacks one, they meet errors or another protocol there. */
const clientFeatures = ['group.version', 'transaction.version', 'share.version', 'streams.version'];

/** The first metadata.version of each release (`MetadataVersion` of Kafka 4.3.1). No request tells the software's own version. */
const firstLevels = [
  [30, '4.3'],
  [28, '4.2'],
  [26, '4.1'],
  [22, '4.0'],
  [21, '3.9'],
  [20, '3.8'],
  [15, '3.7'],
  [12, '3.6'],
  [9, '3.5'],
  [8, '3.4'],
  [4, '3.3'],
] as const;

function releaseOf(feature: string, level: number): string {
  const release = feature === 'metadata.version' && firstLevels.find(([first]) => level >= first);
  return release ? ` (Kafka ${release[1]}${release === firstLevels[0] ? ' or later' : ''})` : '';
}

export function aboutClusters({ structural, measured }: Inventory, facts: Facts): Finding[] {
  const found: Finding[] = [];
  if (structural.sourceClusterId === structural.targetClusterId) {
    found.push(finding('SAME_CLUSTER', 'source and target', `both have the cluster id ${structural.sourceClusterId}`));
  }
  for (const side of ['source', 'target'] as const) {
    for (const line of facts[side].missingRequests) found.push(finding('VERSION_UNSUPPORTED', side, line));
    const { brokers, features } = measured[side];
    const levels = Object.entries(features).map(([name, level]) => `${name} ${level}${releaseOf(name, level)}`);
    const message = `${brokers} ${brokers === 1 ? 'broker' : 'brokers'}; ${levels.join(', ') || 'no finalized features (ZooKeeper, or older than 3.3)'}`;
    found.push(finding('CLUSTER_FEATURES', side, message));
    if (facts[side].uneven.length > 0) found.push(finding('BROKERS_UNEVEN', side, list(facts[side].uneven)));
    found.push(...aboutClock(side, facts.measurements?.clocks[side] ?? null));
  }
  // A broker that stamps what it appends shows its own clock, as far as that is ahead.
  for (const { topic, brokerStampMs } of facts.shapes) {
    const aheadMs = (brokerStampMs ?? facts.nowMs) - facts.nowMs;
    if (aheadMs <= clockOffMsMax) continue;
    const message = `a broker that led it stamped a record ${(aheadMs / 1_000).toFixed(1)} s ahead of our clock`;
    found.push(finding('CLOCK_SKEW', `source, topic ${topic}`, message));
  }
  const lower = clientFeatures.filter(
    (name) => (measured.source.features[name] ?? 0) > (measured.target.features[name] ?? 0),
  );
  if (lower.length > 0) {
    const levels = lower.map(
      (name) => `${name} ${measured.source.features[name]} on the source, ${measured.target.features[name] ?? 0} there`,
    );
    found.push(finding('FEATURE_MISSING', 'target', levels.join('; ')));
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

function aboutClock(side: Side, clock: ClockOffset | null): Finding[] {
  if (clock === null || Math.abs(clock.aheadMs) - clock.uncertainMs <= clockOffMsMax) return [];
  const off = `${(Math.abs(clock.aheadMs) / 1_000).toFixed(1)} s ${clock.aheadMs > 0 ? 'ahead of' : 'behind'} ours`;
  return [
    finding('CLOCK_SKEW', side, `the clock of the active controller is ${off}, give or take ${clock.uncertainMs} ms`),
  ];
}

export async function missingRequests(cluster: Cluster, needed: readonly NeededRequest[]): Promise<string[]> {
  const missing: string[] = [];
  for (const { id } of cluster.brokers) {
    const { max } = await brokerVersions(cluster, id);
    for (const [name, key, version] of needed) {
      if ((max.get(key) ?? -1) < version) missing.push(`broker ${id} does not serve ${name} v${version}`);
    }
  }
  return missing;
}

/** Requests that brokers serve up to different versions, one line each. */
export async function unevenRequests(cluster: Cluster): Promise<string[]> {
  const served = await Promise.all(cluster.brokers.map(({ id }) => brokerVersions(cluster, id)));
  const keys = [...new Set(served.flatMap(({ max }) => [...max.keys()]))].sort((a, b) => a - b);
  return keys.flatMap((key) => {
    const versions = [...new Set(served.map(({ max }) => max.get(key) ?? -1))].sort((a, b) => a - b);
    return versions.length > 1 ? [`${protocolAPIsById[key] ?? `request ${key}`} up to ${versions.join(' or ')}`] : [];
  });
}
