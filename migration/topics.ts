/**
 * What a topic must look like on the other cluster: while it is mirrored, once it opens, and at the end.
 *
 * While it is mirrored nothing may delete, compact, restamp or refuse what the mirror writes, so some settings are
 * suspended. Message settings come back before applications write; retention comes back at the end.
 */
import { sameConfigValue } from '../kafka/topics.ts';
import type { Change, Side } from './change.ts';

/** A matched topic of the source. Plain data. */
export interface TopicShape {
  readonly name: string;
  readonly topicId: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  /** Explicit settings only. */
  readonly configs: Readonly<Record<string, string>>;
}

/** A topic as it is on the cluster that is mirrored to. */
export interface ExistingTopic {
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly configs: Readonly<Record<string, string>>;
}

/** Mirrors merge small batches up to this size; Kafka's own default for message.max.bytes. */
export const mirrorBatchBytes = 1_048_588;

const longMax = '9223372036854775807';

/** Timestamp limits: two settings from Kafka 3.6 on (KIP-937); before that one, which 4.0 removed. */
const newTimestampLimits = ['message.timestamp.before.max.ms', 'message.timestamp.after.max.ms'] as const;
const oldTimestampLimit = 'message.timestamp.difference.max.ms';

/** Restored before the topic opens to applications. */
export const messageSettings: readonly string[] = [
  'cleanup.policy',
  'message.timestamp.type',
  ...newTimestampLimits,
  oldTimestampLimit,
  'max.message.bytes',
  'compression.type',
];

/** Restored at the end of the migration. */
export const retentionSettings: readonly string[] = ['retention.ms', 'retention.bytes'];

/**
 * Settings that are about this one cluster's machines and not about the topic: replication throttles name its brokers,
 * tiered storage is its own.
 */
export function isPortable(name: string): boolean {
  return !(
    name.endsWith('.replication.throttled.replicas') ||
    name.startsWith('remote.') ||
    name.startsWith('local.retention.')
  );
}

/** What a cluster supports and what a topic inherits there. */
export interface TopicDefaults {
  /** The inherited value of a topic setting; null when it has none; undefined when the cluster does not know it. */
  inherited(name: string): string | null | undefined;
}

/** Broker settings that a topic setting falls back to, in Kafka's order (`ServerTopicConfigSynonyms`); `ms` per unit. */
const synonyms: Readonly<Record<string, readonly (readonly [name: string, ms?: number])[]>> = {
  'cleanup.policy': [['log.cleanup.policy']],
  'compression.type': [['compression.type']],
  'compression.gzip.level': [['compression.gzip.level']],
  'compression.lz4.level': [['compression.lz4.level']],
  'compression.zstd.level': [['compression.zstd.level']],
  'delete.retention.ms': [['log.cleaner.delete.retention.ms']],
  'file.delete.delay.ms': [['log.segment.delete.delay.ms']],
  'flush.messages': [['log.flush.interval.messages']],
  'flush.ms': [['log.flush.interval.ms'], ['log.flush.scheduler.interval.ms']],
  'index.interval.bytes': [['log.index.interval.bytes']],
  'max.compaction.lag.ms': [['log.cleaner.max.compaction.lag.ms']],
  'max.message.bytes': [['message.max.bytes']],
  'message.downconversion.enable': [['log.message.downconversion.enable']],
  'message.format.version': [['log.message.format.version']],
  'message.timestamp.after.max.ms': [['log.message.timestamp.after.max.ms']],
  'message.timestamp.before.max.ms': [['log.message.timestamp.before.max.ms']],
  'message.timestamp.difference.max.ms': [['log.message.timestamp.difference.max.ms']],
  'message.timestamp.type': [['log.message.timestamp.type']],
  'min.cleanable.dirty.ratio': [['log.cleaner.min.cleanable.ratio']],
  'min.compaction.lag.ms': [['log.cleaner.min.compaction.lag.ms']],
  'min.insync.replicas': [['min.insync.replicas']],
  preallocate: [['log.preallocate']],
  'retention.bytes': [['log.retention.bytes']],
  'retention.ms': [['log.retention.ms'], ['log.retention.minutes', 60_000], ['log.retention.hours', 3_600_000]],
  'segment.bytes': [['log.segment.bytes']],
  'segment.index.bytes': [['log.index.size.max.bytes']],
  'segment.jitter.ms': [['log.roll.jitter.ms'], ['log.roll.jitter.hours', 3_600_000]],
  'segment.ms': [['log.roll.ms'], ['log.roll.hours', 3_600_000]],
  'unclean.leader.election.enable': [['unclean.leader.election.enable']],
};

/** Settings whose inherited value changes what applications meet; the others tune disks. */
export const inheritedThatMatter: readonly string[] = [
  'cleanup.policy',
  'retention.ms',
  'retention.bytes',
  'max.message.bytes',
  'message.timestamp.type',
  'message.timestamp.before.max.ms',
  'message.timestamp.after.max.ms',
  'min.insync.replicas',
  'compression.type',
  'delete.retention.ms',
  'min.compaction.lag.ms',
  'max.compaction.lag.ms',
  'unclean.leader.election.enable',
];

/** @param brokerConfigs of one broker; a value that it hides counts as none */
export function topicDefaults(brokerConfigs: Readonly<Record<string, string | null>>): TopicDefaults {
  return {
    inherited(name) {
      const chain = synonyms[name];
      if (!chain?.some(([synonym]) => synonym in brokerConfigs)) return undefined;
      for (const [synonym, ms] of chain) {
        const value = brokerConfigs[synonym];
        if (value === null || value === undefined || value === '') continue;
        return ms === undefined ? value : String(Number(value) * ms);
      }
      return null;
    },
  };
}

/** Whether two values in force mean the same. */
export function sameInherited(a: string | null, b: string | null): boolean {
  return a === b || (a !== null && b !== null && sameConfigValue(a, b));
}

/** Replicas on the other cluster: as many as on the source, where it has that many brokers. */
export function replicationFactorThere(replicationFactor: number, liveBrokers: number): number {
  return Math.min(replicationFactor, liveBrokers);
}

/** Explicit settings that the topic has at the very end; those that the other cluster does not know are left out. */
export function carriedConfigs(topic: TopicShape, there: TopicDefaults, carry: boolean): Record<string, string> {
  if (!carry) return {};
  return Object.fromEntries(
    Object.entries(topic.configs).filter(([name]) => isPortable(name) && there.inherited(name) !== undefined),
  );
}

/** Explicit settings of the source topic that `carriedConfigs` leaves out. */
export function configsLeftOut(topic: TopicShape, there: TopicDefaults): string[] {
  return Object.keys(topic.configs)
    .filter((name) => !isPortable(name) || there.inherited(name) === undefined)
    .sort();
}

/**
 * Settings while mirroring: nothing is deleted, compacted, restamped, recompressed or refused.
 *
 * @param carried what the topic will have in the end
 * @param sourceMaxMessageBytes in force on the cluster that is mirrored from
 */
export function mirrorConfigs(
  carried: Readonly<Record<string, string>>,
  there: TopicDefaults,
  sourceMaxMessageBytes: number,
): Record<string, string> {
  return { ...carried, ...suspendedConfigs(there, sourceMaxMessageBytes) };
}

/** Only what is suspended. */
export function suspendedConfigs(there: TopicDefaults, sourceMaxMessageBytes: number): Record<string, string> {
  const limits = there.inherited(newTimestampLimits[0]) !== undefined ? newTimestampLimits : [oldTimestampLimit];
  return {
    'cleanup.policy': 'delete',
    'retention.ms': '-1',
    'retention.bytes': '-1',
    'message.timestamp.type': 'CreateTime',
    ...Object.fromEntries(limits.map((name) => [name, longMax])),
    'max.message.bytes': String(Math.max(sourceMaxMessageBytes, mirrorBatchBytes)),
    // `producer` keeps what arrives; any other value makes the broker decompress and compress every batch.
    'compression.type': 'producer',
  };
}

/** What restores the message settings before the topic opens. */
export function openConfigs(carried: Readonly<Record<string, string>>): ConfigDelta {
  return restored(carried, messageSettings);
}

/** What restores retention at the end. */
export function finalConfigs(carried: Readonly<Record<string, string>>): ConfigDelta {
  return restored(carried, retentionSettings);
}

export interface ConfigDelta {
  readonly set: Record<string, string>;
  readonly unset: readonly string[];
}

/** The change that prepares a topic on the target: created, or an existing one given the settings for mirroring. */
export function prepareTopic(
  topic: TopicShape,
  existing: ExistingTopic | undefined,
  facts: {
    readonly there: TopicDefaults;
    readonly liveBrokers: number;
    readonly carryConfigs: boolean;
    readonly sourceMaxMessageBytes: number;
  },
): Change {
  const carried = carriedConfigs(topic, facts.there, facts.carryConfigs);
  const configs = mirrorConfigs(carried, facts.there, facts.sourceMaxMessageBytes);
  if (existing) return { kind: 'alter-topic-configs', cluster: 'target', topic: topic.name, set: configs, unset: [] };
  return {
    kind: 'create-topic',
    cluster: 'target',
    topic: {
      name: topic.name,
      partitions: topic.partitions,
      replicationFactor: replicationFactorThere(topic.replicationFactor, facts.liveBrokers),
      configs,
    },
  };
}

/**
 * The change that opens a topic's message settings on the target.
 *
 * @param carried `carriedConfigs`; for a topic that existed before us and carries nothing, what it had then
 */
export function openTopic(topic: string, carried: Readonly<Record<string, string>>, there: TopicDefaults): Change {
  return delta('target', topic, known(openConfigs(carried), there));
}

/** The change that restores a topic's retention on the target. */
export function finishTopic(topic: string, carried: Readonly<Record<string, string>>, there: TopicDefaults): Change {
  return delta('target', topic, known(finalConfigs(carried), there));
}

/**
 * The change that makes a source topic ready for the reverse mirror. Its inverse (`inverseOf`) restores what the topic
 * had; until then the source keeps everything that it holds and receives.
 */
export function suspendSource(topic: string, here: TopicDefaults, targetMaxMessageBytes: number): Change {
  return delta('source', topic, { set: suspendedConfigs(here, targetMaxMessageBytes), unset: [] });
}

function restored(carried: Readonly<Record<string, string>>, names: readonly string[]): ConfigDelta {
  const set: Record<string, string> = {};
  const unset: string[] = [];
  for (const name of names) {
    const value = carried[name];
    if (value === undefined) unset.push(name);
    else set[name] = value;
  }
  return { set, unset };
}

/** Brokers refuse to unset a setting that they do not know. */
function known({ set, unset }: ConfigDelta, there: TopicDefaults): ConfigDelta {
  return { set, unset: unset.filter((name) => there.inherited(name) !== undefined) };
}

function delta(cluster: Side, topic: string, { set, unset }: ConfigDelta): Change {
  return { kind: 'alter-topic-configs', cluster, topic, set, unset };
}
