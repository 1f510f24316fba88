/** The long-running activities: the mirror, the audit, the groups that still live on the source, the watch on the fence. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { capabilitiesOf } from '../contract/replicators.ts';
import { type Direction, statusListMax } from '../contract/status.ts';
import { partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { auditStarts, type Proven, refuseDifferences, storeAudit } from '../migration/audit-positions.ts';
import { latestBoundary, readBoundary, type StoredBoundary, sidesOf } from '../migration/boundary.ts';
import type { Side } from '../migration/change.ts';
import { fenceFor } from '../migration/fences/fence.ts';
import { SchemaFollower } from '../migration/follow-schemas.ts';
import { followOnce, keepAliveEveryMs, type Translate } from '../migration/groups.ts';
import { type LagCurve, LagRecorder } from '../migration/lag-curve.ts';
import { isSampled } from '../migration/needs.ts';
import { openingDecided, withdrawnSince } from '../migration/opening.ts';
import { readOwners } from '../migration/owners.ts';
import { carryTranslated } from '../migration/pairs.ts';
import { pooledPartitions } from '../migration/principals-pool.ts';
import { readProducerIds } from '../migration/producer-ids.ts';
import { watchProvenance } from '../migration/provenance.ts';
import { storeSpoiled } from '../migration/remirror.ts';
import { sampleHistory, storeSample } from '../migration/sample.ts';
import { awaitImbalance, balanceTimes } from '../migration/shard-weights.ts';
import { lookAtSourceEveryMs, SourceSince } from '../migration/source-since.ts';
import type { Wave } from '../migration/wave.ts';
import { type AuditPartition, runAudit } from '../mirror/audit.ts';
import { replicatorOf } from '../replicators/registry.ts';
import type { Connections } from './connections.ts';
import { cancellation, heartbeatDetails } from './failures.ts';
import { type MetricsBy, MirrorMetrics } from './metrics.ts';
import { followPairs } from './pairs.ts';
import { progressOf } from './shard-progress.ts';
import { SpareWorkers } from './spare-workers.ts';
import type { BackgroundActivities, ShardProgress } from './types.ts';

/** Between two copies of positions of groups that live on the source. */
const followEveryMs = 2_000;
/** The same where each position is found by reading both logs. */
const translateEveryMs = 10_000;
/** Until the boundary of a fence is known. */
const boundaryLookEveryMs = 500;
/** How often the audit stores how far it is; what is left is audited again at the fence. */
const storeAuditEveryMs = 2_000;
/** The same where the audit stands still, at the end of an idle log. */
const storeReadsEveryMs = 60_000;
/** A heartbeat stays small. */
const waitingShownMax = 5;

export interface BackgroundOptions {
  /** How long a mirror's shards stay as they are at least before they are spread anew; 10 minutes by default. */
  readonly balanceAfterMs?: number | undefined;
  /** What a gauge of lag stands for; a partition by default. */
  readonly metricsBy?: MetricsBy | undefined;
}

export function backgroundActivities(
  connections: Connections,
  { balanceAfterMs, metricsBy }: BackgroundOptions = {},
): Omit<BackgroundActivities, 'followMetadata' | 'readHolding' | 'remind'> {
  return {
    async mirror({ direction, shard, shards, maxBytesPerSecond, weights = null, ...scope }) {
      const wave = await connections.wave(scope);
      const lag = lagOf(wave, { kind: 'mirror', direction, shard, shards });
      using metrics = new MirrorMetrics({ migration: wave.migration, wave: wave.wave, direction, shard }, metricsBy);
      await replicatorOf(scope.plan)
        .run({
          wave,
          direction,
          file: connections.file,
          signal: cancellation(),
          shard,
          shards,
          weights,
          maxBytesPerSecond: maxBytesPerSecond ?? scope.plan.mirror.maxBytesPerSecond,
          mirrorPair: () => connections.mirrorPair(scope.plan, direction),
          onProgress: (partitions, waiting = []) => {
            heartbeatDetails({
              ...progressOf('mirror', direction, wave.wave, partitions),
              ...(waiting.length > 0 && { waiting }),
            });
            // Not every replicator tells where the logs end.
            const ends = partitions.map(({ position, end = position }) => ({ end }));
            metrics.observe(partitions);
            lag.look(total(partitions, 'position'), total(ends, 'end'));
          },
        })
        .finally(() => {
          void lag.store(); // applications may be waiting for the mirror's end
        });
    },

    async audit({ shard, shards, ...scope }) {
      const wave = await connections.wave(scope);
      if (!keepsOffsets(wave)) return shard === 0 ? followPairs(wave, connections) : cancelled();
      const mine = wave.partitions.filter((_, index) => index % shards === shard);
      const writer = `${wave.wave}-${shard}-of-${shards}`;
      const store = (positions: readonly AuditPartition[]) => storeAudit(wave, writer, positions);
      const lag = lagOf(wave, { kind: 'audit', direction: 'forward', shard, shards });
      for (;;) {
        const starts = await startsOfAudit(wave, writer, mine);
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
            const position = total(progress, 'position');
            lag.look(position, position);
            if (progress.some((p) => p.differences > 0)) found.abort();
          },
        });
        found.abort();
        await storing;
        await store(positions);
        await lag.store();
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
      const signal = cancellation();
      if (!keepsOffsets(wave)) {
        await cancelled();
        return { weights: weights ?? '', summary: '' };
      }
      const pair = await connections.mirrorPair(scope.plan, direction);
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
        const translate = translatorOf(wave, 'forward', connections, { signal });
        const options = {
          refresh,
          shares: wave.shareGroups,
          beforeWrite: wave.beforeSend,
          ...(translate && { translate }),
        };
        await followOnce(wave.clusters, wave.groups, sizes, options).catch((error) => {
          // Walks that look for positions end with the activity.
          if (!signal.aborted) throw error;
        });
        await sleep(translate ? translateEveryMs : followEveryMs, undefined, { signal }).catch(() => {});
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
      // Stopped with the watch; it never ends it.
      if (side === 'source' && began !== '') void lookAtSource(wave, began, signal);
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

function keepsOffsets({ plan }: Wave): boolean {
  return capabilitiesOf(plan).offsetIdentity;
}

async function cancelled(): Promise<void> {
  if (!cancellation().aborted) await once(cancellation(), 'abort');
}

/** How positions are carried where offsets differ; undefined: as they are. */
export function translatorOf(
  wave: Wave,
  direction: Direction,
  { file }: Connections,
  options: Parameters<typeof carryTranslated>[3],
): Translate | undefined {
  if (keepsOffsets(wave)) return undefined;
  const { translate } = replicatorOf(wave.plan);
  if (translate) {
    return (positions) => translate({ wave, direction, file, signal: options.signal }, positions, options.boundary);
  }
  return (positions) => carryTranslated(wave, direction, positions, options);
}

/** Says what changes there, and carries schemas back that records from the target name. Never rejects. */
async function lookAtSource(wave: Wave, began: string, signal: AbortSignal): Promise<void> {
  const source = new SourceSince(wave, began);
  const schemas = new SchemaFollower(wave, 'reverse');
  const look = async () => [...(await source.look()), ...((await isOpened(wave, began)) ? await schemas.look() : [])];
  while (!signal.aborted) {
    const findings = await look().catch(() => null);
    if (findings && !signal.aborted) heartbeatDetails({ findings: findings.slice(0, statusListMax) });
    await sleep(lookAtSourceEveryMs, undefined, { signal }).catch(() => {});
  }
}

/** Whether applications may write to the target, and the mirror of the way back carries what they write. */
async function isOpened(wave: Wave, began: string): Promise<boolean> {
  if (!wave.plan.schemas || !wave.plan.rollback.reverseMirror) return false;
  const decision = await openingDecided(wave.storage, { ...wave, direction: 'forward' });
  return decision !== null && decision.at >= began;
}

/** From the boundary on, all that the fenced cluster receives must be the other direction's mirror's. */
async function watchRecords(wave: Wave, side: Side, began: string, signal: AbortSignal): Promise<void> {
  const direction = leftTowards(side);
  // The audit alone knows its records from others' then.
  if (!capabilitiesOf(wave.plan).ourProducers) {
    if (!signal.aborted) await once(signal, 'abort');
    return;
  }
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

const lagOf = (wave: Wave, curve: Omit<LagCurve, 'wave' | 'samples'>) =>
  new LagRecorder(wave.storage, wave.migration, { ...curve, wave: wave.wave });

/** Over all partitions. */
function total<Key extends string>(partitions: readonly Readonly<Record<Key, bigint>>[], key: Key): bigint {
  return partitions.reduce((sum, p) => sum + p[key], 0n);
}

/** Besides positions: that the source was read to its end, which says that no tombstone was missed. */
/** Where to begin: after the sample, where the plan asks for one and nothing is known yet. @throws CutoverError PARITY_FAILED */
async function startsOfAudit(wave: Wave, writer: string, mine: readonly TopicPartition[]): Promise<Proven[]> {
  const starts = await auditStarts(wave, mine);
  if (!isSampled(wave.plan)) return starts;
  const { partitions, differing } = await sampleHistory(wave.clusters, starts, {
    signal: cancellation(),
    onProgress: (positions) => heartbeatDetails(auditProgress(wave.wave, positions)),
  });
  await storeSpoiled(wave, writer, differing);
  refuseDifferences(differing);
  await storeSample(wave, writer, partitions);
  const ends = new Map(partitions.map((p) => [partitionKey(p.topic, p.partition), BigInt(p.end)]));
  return starts.map((start) => ({
    ...start,
    position: ends.get(partitionKey(start.topic, start.partition)) ?? start.position,
  }));
}

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
