/** The long-running activities: the mirror, the audit, the groups that still live on the source, the watch on the fence. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { Direction } from '../contract/status.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { markersGranted } from '../kafka/markers.ts';
import { partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { auditStarts, type Proven, refuseDifferences, storeAudit } from '../migration/audit-positions.ts';
import { latestBoundary, readBoundary, type StoredBoundary, sidesOf } from '../migration/boundary.ts';
import { remembersProducersForMs, takesAborted } from '../migration/broker-settings.ts';
import type { Side } from '../migration/change.ts';
import { fenceFor } from '../migration/fences/fence.ts';
import { followOnce, keepAliveEveryMs } from '../migration/groups.ts';
import { withdrawnSince } from '../migration/opening.ts';
import { readOwners } from '../migration/owners.ts';
import { openPool, pooledPartitions } from '../migration/principals-pool.ts';
import { readProducerIds } from '../migration/producer-ids.ts';
import { watchProvenance } from '../migration/provenance.ts';
import { storeSpoiled } from '../migration/remirror.ts';
import { awaitImbalance, balanceTimes, partitionsOfShard } from '../migration/shard-weights.ts';
import type { Wave } from '../migration/wave.ts';
import { type AuditPartition, runAudit } from '../mirror/audit.ts';
import { type MirrorPartition, runMirror } from '../mirror/mirror.ts';
import type { Connections } from './connections.ts';
import { cancellation, heartbeatDetails } from './failures.ts';
import { MirrorMetrics } from './metrics.ts';
import { SpareWorkers } from './spare-workers.ts';
import type { BackgroundActivities, ShardProgress } from './types.ts';

/** Between two copies of positions of groups that live on the source. */
const followEveryMs = 2_000;
/** Until the boundary of a fence is known. */
const boundaryLookEveryMs = 500;
/** How often the audit stores how far it is; what is left is audited again at the fence. */
const storeAuditEveryMs = 2_000;
/** The same where the audit stands still, at the end of an idle log. */
const storeReadsEveryMs = 60_000;
/** A heartbeat stays small. */
const waitingShownMax = 5;

/** @param balanceAfterMs how long shards stay as they are at least; 10 minutes by default */
export function backgroundActivities(
  connections: Connections,
  balanceAfterMs?: number,
): Omit<BackgroundActivities, 'followMetadata' | 'remind'> {
  return {
    async mirror({ direction, shard, shards, maxBytesPerSecond, weights = null, ...scope }) {
      const wave = await connections.wave(scope);
      const { from, into } = await connections.mirrorPair(scope.plan, direction);
      const bytesPerSecond = maxBytesPerSecond ?? scope.plan.mirror.maxBytesPerSecond;
      const principals = openPool(wave.clusters[sidesOf(direction).into]);
      using metrics = new MirrorMetrics({ migration: wave.migration, wave: wave.wave, direction });
      await runMirror({
        from,
        into,
        partitions: await partitionsOfShard(wave, await mirrorPartitions(wave, direction, into), {
          shard,
          shards,
          weights,
          together: await pooledPartitions(wave.clusters[sidesOf(direction).into], wave.topicNames),
        }),
        signal: cancellation(),
        rememberedForMs: await remembersProducersForMs(wave.clusters[sidesOf(direction).into]),
        principals,
        maxBytesPerSecond: () => Math.ceil(bytesPerSecond / shards),
        onProgress: (partitions) => {
          heartbeatDetails(progressOf('mirror', direction, wave.wave, partitions));
          metrics.observe(partitions);
        },
      }).finally(() => principals?.close());
    },

    async audit({ shard, shards, ...scope }) {
      const wave = await connections.wave(scope);
      const mine = wave.partitions.filter((_, index) => index % shards === shard);
      const writer = `${wave.wave}-${shard}-of-${shards}`;
      const store = (positions: readonly AuditPartition[]) => storeAudit(wave, writer, positions);
      for (;;) {
        const starts = await auditStarts(wave, mine);
        const found = new AbortController();
        const signal = AbortSignal.any([cancellation(), found.signal]);
        let latest: readonly AuditPartition[] = [];
        let stored = '';
        const storing = (async () => {
          while (!signal.aborted) {
            await sleep(storeAuditEveryMs, undefined, { signal }).catch(() => {});
            const snapshot = latest.map(whatIsWorthStoring).join();
            if (snapshot === stored || latest.length === 0) continue;
            await store(latest);
            stored = snapshot;
          }
        })();
        // A failing store must end the audit, not the process.
        storing.catch(() => found.abort());
        const positions = await runAudit({
          ...wave.clusters,
          partitions: starts,
          signal,
          onProgress: (progress) => {
            latest = progress;
            heartbeatDetails(auditProgress(wave.wave, progress));
            if (progress.some((p) => p.differences > 0)) found.abort();
          },
        });
        found.abort();
        await storing;
        await store(positions);
        const differing = positions.filter((p) => p.differences > 0);
        // The target was opened meanwhile, and what differs came from there: judged again, the right way round.
        if (differing.length > 0 && newlyNative(differing, starts, await auditStarts(wave, mine))) continue;
        await storeSpoiled(wave, writer, positions);
        refuseDifferences(positions);
        return;
      }
    },

    async balanceShards({ direction, shards, weights = null, ...scope }) {
      const wave = await connections.wave(scope);
      const pair = await connections.mirrorPair(scope.plan, direction);
      const signal = cancellation();
      const spare = new SpareWorkers();
      const found = await awaitImbalance(wave, {
        ...pair,
        direction,
        shards,
        weights,
        signal,
        together: await pooledPartitions(wave.clusters[sidesOf(direction).into], wave.topicNames),
        spareWorkers: () => spare.look(),
        ...balanceTimes(balanceAfterMs),
      });
      // Stopped: what is returned then, nobody reads.
      return found ?? { weights: weights ?? '', summary: '' };
    },

    async followGroups(scope) {
      const wave = await connections.wave(scope);
      const signal = cancellation();
      const sizes = wave.groupTopics;
      let refreshAt = 0;
      while (!signal.aborted) {
        const refresh = Date.now() >= refreshAt;
        if (refresh) refreshAt = Date.now() + keepAliveEveryMs;
        await followOnce(wave.clusters, wave.groups, sizes, { refresh, beforeWrite: wave.beforeSend });
        await sleep(followEveryMs, undefined, { signal }).catch(() => {});
      }
    },

    async watchFence({ side, ...scope }) {
      const wave = await connections.wave(scope);
      const failed = new AbortController();
      const signal = AbortSignal.any([cancellation(), failed.signal]);
      // Its deadline decides nothing any more.
      const fence = fenceFor(wave, connections.file, {
        direction: leftTowards(side),
        deadlineMs: 0,
      });
      const began = await fence.began();
      const watches = [fence.watch(signal), watchRecords(wave, side, began, signal)];
      // The first that fails ends the other, which returns then.
      for (const watch of watches) watch.catch(() => failed.abort());
      const [first] = (await Promise.allSettled(watches)).filter((result) => result.status === 'rejected');
      if (first && !(await isBeingLifted(wave, side, began))) throw first.reason;
      // What was seen are the applications that were let go on a moment before this watch is ended.
      if (first && !cancellation().aborted) await once(cancellation(), 'abort');
    },
  };
}

/** The direction in which that side is left, and so fenced. */
const leftTowards = (side: Side): Direction => (side === 'source' ? 'forward' : 'reverse');

/** Of the fence that stands since `began`; null until it is taken. */
async function boundarySince(wave: Wave, side: Side, began: string): Promise<StoredBoundary | null> {
  const name = await latestBoundary(wave.storage, { ...wave, direction: leftTowards(side) });
  const stored = name === null ? null : await readBoundary(wave.storage, name);
  return stored && stored.at >= began ? stored : null;
}

/** Lifting is noted before anything is done about it, so a writer that was let go on is never taken for one that nobody stopped. */
async function isBeingLifted(wave: Wave, side: Side, began: string): Promise<boolean> {
  const stored = await boundarySince(wave, side, began);
  return stored !== null && (await withdrawnSince(wave.storage, { ...wave, ...stored })) !== null;
}

/** From the boundary on, all that the fenced cluster receives must be the other direction's mirror's. */
async function watchRecords(wave: Wave, side: Side, began: string, signal: AbortSignal): Promise<void> {
  const direction = leftTowards(side);
  for (;;) {
    const stored = await boundarySince(wave, side, began);
    if (stored) {
      const back: Direction = direction === 'forward' ? 'reverse' : 'forward';
      const ids = await readProducerIds(wave.storage, wave.migration, back);
      const owners = () => readOwners(wave.storage, wave.migration, back, wave.clusters[side], wave.partitions);
      return watchProvenance(wave.clusters[side], stored.boundary, ids, { signal, owners });
    }
    if (signal.aborted) return;
    await sleep(boundaryLookEveryMs, undefined, { signal }).catch(() => {});
  }
}

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

interface Position extends TopicPartition {
  readonly position: bigint;
  readonly end?: bigint;
  readonly records: number;
  readonly bytes: number;
}

/** Besides positions: that the source was read to its end, which says that no tombstone was missed. */
function whatIsWorthStoring({ position, sourceReadAtMs }: AuditPartition): string {
  return `${position}@${Math.floor((sourceReadAtMs ?? 0) / storeReadsEveryMs)}`;
}

/** Whether all that differs lies where records come from the target, which was not known at the start. */
function newlyNative(differing: readonly AuditPartition[], before: readonly Proven[], now: readonly Proven[]): boolean {
  const nativeFrom = (starts: readonly Proven[], { topic, partition }: TopicPartition) =>
    starts.find((p) => p.topic === topic && p.partition === partition)?.targetNativeFrom;
  return differing.every((p) => {
    const from = nativeFrom(now, p);
    return from !== undefined && nativeFrom(before, p) === undefined && p.first !== null && p.first.offset >= from;
  });
}

function auditProgress(wave: string, partitions: readonly AuditPartition[]): ShardProgress {
  const waiting = partitions
    .filter((p) => p.waitingFor !== null)
    .slice(0, waitingShownMax)
    .map((p) => `${partitionKey(p.topic, p.partition)}: ${p.waitingFor}`);
  return { ...progressOf('audit', 'forward', wave, partitions), ...(waiting.length > 0 && { waiting }) };
}

/** Sums per topic: what a heartbeat carries stays small. */
export function progressOf(
  kind: ShardProgress['kind'],
  direction: Direction,
  wave: string,
  partitions: readonly Position[],
): ShardProgress {
  const topics: Record<string, { position: number; end: number; records: number; bytes: number }> = {};
  for (const { topic, position, end, records, bytes } of partitions) {
    topics[topic] ??= { position: 0, end: 0, records: 0, bytes: 0 };
    const sum = topics[topic];
    sum.position += Number(position);
    sum.end += Number(end ?? position);
    sum.records += records;
    sum.bytes += bytes;
  }
  return { kind, direction, wave, topics };
}
