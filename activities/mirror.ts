/** The long-running activities: the mirror, the audit, the groups that still live on the source, the watch on the fence. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { Direction } from '../contract/status.ts';
import { partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { readAudit, refuseDifferences, storeAudit } from '../migration/audit-positions.ts';
import { latestBoundary, readBoundary } from '../migration/boundary.ts';
import type { Side } from '../migration/change.ts';
import { fenceBegan, fenceRules, watchFence } from '../migration/fences/acl.ts';
import { followOnce, keepAliveEveryMs } from '../migration/groups.ts';
import { readProducerIds } from '../migration/producer-ids.ts';
import { watchProvenance } from '../migration/provenance.ts';
import { fencePrincipals, topicSizes, type Wave } from '../migration/wave.ts';
import { type AuditPartition, runAudit } from '../mirror/audit.ts';
import { type MirrorPartition, runMirror } from '../mirror/mirror.ts';
import type { Connections } from './connections.ts';
import { cancellation, heartbeatDetails } from './failures.ts';
import type { BackgroundActivities, ShardProgress } from './types.ts';

/** Between two copies of positions of groups that live on the source. */
const followEveryMs = 2_000;
/** Until the boundary of a fence is known. */
const boundaryLookEveryMs = 500;
/** How often the audit stores how far it is; what is left is audited again at the fence. */
const storeAuditEveryMs = 2_000;

export function backgroundActivities(connections: Connections): BackgroundActivities {
  return {
    async mirror({ direction, shard, shards, ...scope }) {
      const wave = await connections.wave(scope);
      const { from, into } = await connections.mirrorPair(scope.plan, direction);
      await runMirror({
        from,
        into,
        partitions: (await mirrorPartitions(wave, direction)).filter((_, index) => index % shards === shard),
        signal: cancellation(),
        maxBytesPerSecond: () => Math.ceil(scope.plan.mirror.maxBytesPerSecond / shards),
        onProgress: (partitions) => heartbeatDetails(progressOf('mirror', direction, wave.wave, partitions)),
      });
    },

    async audit({ shard, shards, ...scope }) {
      const wave = await connections.wave(scope);
      const mine = wave.partitions.filter((_, index) => index % shards === shard);
      const writer = `${wave.wave}-${shard}-of-${shards}`;
      const store = (positions: readonly AuditPartition[]) => storeAudit(wave, writer, positions);
      const found = new AbortController();
      const signal = AbortSignal.any([cancellation(), found.signal]);
      let latest: readonly AuditPartition[] = [];
      let stored = '';
      const storing = (async () => {
        while (!signal.aborted) {
          await sleep(storeAuditEveryMs, undefined, { signal }).catch(() => {});
          const snapshot = latest.map((p) => `${p.position}`).join();
          if (snapshot === stored || latest.length === 0) continue;
          await store(latest);
          stored = snapshot;
        }
      })();
      // A failing store must end the audit, not the process.
      storing.catch(() => found.abort());
      const positions = await runAudit({
        ...wave.clusters,
        partitions: await readAudit(wave, mine),
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
      refuseDifferences(positions);
    },

    async followGroups(scope) {
      const wave = await connections.wave(scope);
      const signal = cancellation();
      const sizes = topicSizes(wave);
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
      const watches = [
        watchFence({
          cluster: wave.clusters[side],
          rules: await fenceRules(wave.journal, wave.wave, `fence-${side}`),
          topics: wave.topicNames,
          principals: fencePrincipals(wave, side),
          ours: wave.ours[side],
          facts: wave.facts[side],
          signal,
        }),
        watchRecords(wave, side, signal),
      ];
      // The first that fails ends the other, which returns then.
      for (const watch of watches) watch.catch(() => failed.abort());
      const [first] = (await Promise.allSettled(watches)).filter((result) => result.status === 'rejected');
      if (first) throw first.reason;
    },
  };
}

/** From the boundary on, all that the fenced cluster receives must be the other direction's mirror's. */
async function watchRecords(wave: Wave, side: Side, signal: AbortSignal): Promise<void> {
  const direction: Direction = side === 'source' ? 'forward' : 'reverse';
  const rules = await fenceBegan(wave.journal, wave.wave, side);
  for (;;) {
    const name = await latestBoundary(wave.storage, { ...wave, direction });
    const stored = name === null ? null : await readBoundary(wave.storage, name);
    if (stored && stored.at >= rules) {
      const back = await readProducerIds(wave.storage, wave.migration, direction === 'forward' ? 'reverse' : 'forward');
      return watchProvenance(wave.clusters[side], stored.boundary, back, { signal });
    }
    if (signal.aborted) return;
    await sleep(boundaryLookEveryMs, undefined, { signal }).catch(() => {});
  }
}

/**
 * What the mirror of a direction carries, under which producer ids.
 *
 * @throws CutoverError INTERNAL when prepare-target has not allocated them
 */
export async function mirrorPartitions(wave: Wave, direction: Direction): Promise<MirrorPartition[]> {
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

function auditProgress(wave: string, partitions: readonly AuditPartition[]): ShardProgress {
  return progressOf('audit', 'forward', wave, partitions);
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
