/** Our own replicator behind the interface: its engine runs in the worker, and everything that it changes on a cluster is in the journal. */
import { CutoverError } from '../contract/errors.ts';
import { replicatorKinds } from '../contract/replicators.ts';
import type { Direction } from '../contract/status.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { markersGranted } from '../kafka/markers.ts';
import { listOffsets, partitionKey } from '../kafka/offsets.ts';
import { sidesOf } from '../migration/boundary.ts';
import { remembersProducersForMs, takesAborted } from '../migration/broker-settings.ts';
import { endOwnerships } from '../migration/owners.ts';
import { openPool, pooledPartitions } from '../migration/principals-pool.ts';
import { readProducerIds } from '../migration/producer-ids.ts';
import { partitionsOfShard } from '../migration/shard-weights.ts';
import type { Wave } from '../migration/wave.ts';
import { type MirrorPartition, runMirror } from '../mirror/mirror.ts';
import type { Replicator } from './replicator.ts';

export const exact: Replicator = {
  capabilities: replicatorKinds.exact,

  // Its findings are those of migration/preflight/, which began with it.
  plan: async () => [],

  // migration/prepare.ts gives its mirrors what they need.
  rights: () => ({ source: [], target: [] }),

  async run({ wave, direction, shard, shards, weights, maxBytesPerSecond, mirrorPair, signal, onProgress }) {
    const { from, into } = await mirrorPair();
    const written = wave.clusters[sidesOf(direction).into];
    const principals = openPool(written);
    await runMirror({
      from,
      into,
      partitions: await partitionsOfShard(wave, await mirrorPartitions(wave, direction, into), {
        shard,
        shards,
        weights,
        together: await pooledPartitions(written, wave.topicNames),
      }),
      signal,
      rememberedForMs: await remembersProducersForMs(written),
      principals,
      maxBytesPerSecond: () => Math.ceil(maxBytesPerSecond / shards),
      onProgress,
    }).finally(() => principals?.close());
  },

  // The log that is written says it all.
  position: ({ wave, direction }) => listOffsets(wave.clusters[sidesOf(direction).into], wave.partitions, 'logEnd'),

  promote: async () => '',

  /** Its activity has ended by then; one that sleeps somewhere owns nothing any more. */
  async stop({ wave, direction }) {
    wave.beforeSend();
    const ended = await endOwnerships(wave.clusters[sidesOf(direction).into], wave.partitions);
    return ended.owned > 0 ? `ownership of ${ended.owned} partitions ended${ended.note}` : '';
  },

  // The journal has all of it.
  remove: async () => [],
};

/**
 * What the mirror of a direction carries, under which producer ids, and what the cluster that it writes lets it do: read there and now,
 * not from the plan.
 *
 * @param into under the mirror's own principal
 * @throws CutoverError INTERNAL when prepare-target has not allocated them
 */
export async function mirrorPartitions(wave: Wave, direction: Direction, into: Cluster): Promise<MirrorPartition[]> {
  const wanted = wave.plan.mirror.abortedRecords === 'keep' && (await markersGranted(into));
  const keepAborted = wanted && (await takesAborted(wave.clusters[sidesOf(direction).into]));
  const topicIds = await topicIdsFor(wave, direction);
  const ids = await readProducerIds(wave.storage, wave.migration, direction);
  const others = await readProducerIds(wave.storage, wave.migration, direction === 'forward' ? 'reverse' : 'forward');
  return wave.partitions.map(({ topic, partition }) => {
    const key = partitionKey(topic, partition);
    const producerId = ids.get(key);
    if (producerId === undefined)
      throw new CutoverError('INTERNAL', { what: 'no producer id for the mirror', where: key });
    return {
      topic,
      topicId: topicIds.get(topic) ?? '',
      partition,
      producerId,
      otherProducerId: others.get(key) ?? null,
      keepAborted,
      // The other way round the log that is written holds applications' records too.
      followsLogStart: direction === 'forward',
    };
  });
}

/** Ids of the topics that are read: those people approved on the source, those that stand there on the target. */
async function topicIdsFor(wave: Wave, direction: Direction): Promise<ReadonlyMap<string, string>> {
  if (direction === 'forward') return new Map(wave.topics.map((topic) => [topic.name, topic.topicId]));
  const { topics } = await wave.clusters.target.metadata(wave.topicNames);
  return new Map([...topics.values()].map((topic) => [topic.name, topic.topicId]));
}
