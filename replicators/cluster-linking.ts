/**
 * Confluent's Cluster Linking behind the interface. The target's brokers copy, byte for byte, at the same offsets; its mirror topics come into being with
 * the link and take no writes until they are promoted. The way back needs a bidirectional link: promoting is then `reverse-and-start`, which makes the
 * source's topics mirrors of the target's in the same stroke, so no record can be written to both.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { ReplicatorPlan } from '../contract/plan.ts';
import { replicatorKinds } from '../contract/replicators.ts';
import { partitionKey } from '../kafka/offsets.ts';
import { sidesOf } from '../migration/boundary.ts';
import type { Side } from '../migration/change.ts';
import type { Wave } from '../migration/wave.ts';
import { clusterLinkingFindings } from './cluster-linking-findings.ts';
import {
  excludeGroups,
  includeGroups,
  isExcluded,
  linkName,
  linkSettings,
  secretsOf,
} from './cluster-linking-settings.ts';
import { ClusterLinks, type Link, type Mirror, type MirrorStatus } from './cluster-links.ts';
import type { Leg, Progress, Replicator } from './replicator.ts';
import { untilAborted } from './waiting.ts';

/** Between two looks at mirror topics. */
const watchEveryMs = 1_000;
/** So long may the other cluster be out of a link's reach before people see it. */
const unavailableMaxMs = 300_000;
/** Of mirror topics that were promoted, failed over, reversed or restored. */
const stateMaxMs = 120_000;
/** Until the last records are copied, right before the opening is decided: the source is fenced, and the audit has seen them all. */
const lagMaxMs = 20_000;
const unreachable: ReadonlySet<MirrorStatus> = new Set(['LINK_FAILED', 'SOURCE_UNAVAILABLE']);

/** For the other cluster to show what was reversed here; then somebody else promoted it, without reversing. */
const reversedMaxMs = 30_000;

export const clusterLinking = clusterLinkingWith(reversedMaxMs);

/** @param reversedMaxMs in milliseconds; another than the default is for tests */
export function clusterLinkingWith(reversedMaxMs: number): Replicator {
  const clusterLinking: Replicator = {
    capabilities: replicatorKinds['cluster-linking'],

    plan: clusterLinkingFindings,

    // It reads as our forward principal, which has what a mirror has, and writes as the brokers do.
    rights: () => ({ source: [], target: [] }),

    /** Links and mirror topics: they must not be there as topics of anybody else's making. */
    async prepare(leg) {
      const made = await makeLinks(leg);
      const links = linksOf(leg, 'target');
      const link = linkName(leg.wave);
      const there = await links.mirrors(link);
      for (const topic of leg.wave.topicNames.filter((name) => !there.has(name))) {
        leg.wave.beforeSend();
        await links.createMirror(link, topic);
      }
      await restoreStopped(leg, links, there);
      await leaveGroupsToUs(leg, links);
      const created = leg.wave.topicNames.length - leg.wave.topicNames.filter((name) => there.has(name)).length;
      return `link ${link}${made ? ' made' : ''}, ${created} mirror topics created`;
    },

    async run(job) {
      // The target's brokers share the work themselves.
      if (job.shard > 0) return untilAborted(job.signal);
      const side = sidesOf(job.direction).into;
      const links = linksOf(job, side);
      const link = linkName(job.wave);
      if (job.direction === 'forward') await clusterLinking.prepare?.(job);
      let reachableAt = performance.now();
      while (!job.signal.aborted) {
        const mirrors = await ownMirrors(links, job.wave);
        job.onProgress(progressOf(job.wave, mirrors));
        // Promoting is what makes the source's topics mirrors.
        const wanted = job.direction === 'forward' ? job.wave.topicNames : [...mirrors.keys()];
        await keepGoing(job, links, link, wanted, mirrors);
        if (![...mirrors.values()].some(({ status }) => unreachable.has(status))) reachableAt = performance.now();
        if (performance.now() - reachableAt > unavailableMaxMs) throw outOfReach(links, link, await links.link(link));
        await sleep(watchEveryMs, undefined, { signal: job.signal }).catch(() => {});
      }
    },

    async position(leg) {
      const links = linksOf(leg, sidesOf(leg.direction).into);
      const mirrors = (await links.link(linkName(leg.wave))) ? await ownMirrors(links, leg.wave) : new Map();
      return new Map(
        progressOf(leg.wave, mirrors).map(({ topic, partition, position }) => [
          partitionKey(topic, partition),
          position,
        ]),
      );
    },

    /** A mirror topic cannot be kept from copying and be promoted later, so here it is shown that nothing is left to copy. */
    async stop(leg) {
      const side = sidesOf(leg.direction).into;
      const links = linksOf(leg, side);
      const link = linkName(leg.wave);
      if ((await links.link(link)) === null) return '';
      const copying = [...(await ownMirrors(links, leg.wave)).values()].filter(({ status }) => status !== 'STOPPED');
      if (copying.length === 0) return '';
      const topics = copying.map(({ topic }) => topic);
      await links.await(link, topics, 'lag 0 on every partition', drained, lagMaxMs);
      await leaveGroupsToUs(leg, links);
      return `Cluster Linking to ${leg.wave.clusters[side].name}: ${topics.length} mirror topics at lag 0 and closed to writers, positions not synced by link ${link}`;
    },

    async promote(leg) {
      const { wave, direction } = leg;
      const { from, into } = sidesOf(direction);
      const links = linksOf(leg, into);
      const link = linkName(wave);
      const back = direction === 'forward' && wave.plan.rollback.reverseMirror;
      const before = await ownMirrors(links, wave);
      const left = wave.topicNames.filter((topic) => isMirroring(before.get(topic)?.status));
      wave.beforeSend();
      await links.alter(link, back ? 'reverse-and-start-mirror' : 'promote', left);
      await links.await(link, wave.topicNames, 'STOPPED', (mirror) => mirror?.status === 'STOPPED', stateMaxMs);
      const said = `${wave.topicNames.length} mirror topics take writes on ${wave.clusters[into].name}`;
      if (!back) return said;
      await awaitReversed(leg, linksOf(leg, from), link, reversedMaxMs);
      return `${said}, and mirror back to ${wave.clusters[from].name}`;
    },

    /** Mirror topics that were never promoted become topics as any other, so that a link can go. */
    async remove(leg) {
      const { wave, direction } = leg;
      const link = linkName(wave);
      const ownLink = planOf(wave).link === undefined;
      const removed: string[] = [];
      for (const side of ['target', 'source'] as const) {
        if (side === 'source' && !hasOtherEnd(leg)) continue;
        const links = linksOf(leg, side);
        if ((await links.link(link)) === null) continue;
        if (!ownLink) {
          if (side === 'target' && direction === 'forward' && (await giveGroupsBack(leg, links)))
            removed.push(`exclusion of our groups from link ${link}`);
          continue;
        }
        // Also those of the other cluster: none may lose its link while it copies.
        const copying = [...(await links.mirrors(link)).values()].filter(({ status }) => status !== 'STOPPED');
        const topics = copying.map(({ topic }) => topic);
        wave.beforeSend();
        await links.alter(
          link,
          'failover',
          copying.filter(({ status }) => status !== 'PENDING_STOPPED').map(({ topic }) => topic),
        );
        await links.await(link, topics, 'STOPPED', (mirror) => mirror?.status === 'STOPPED', stateMaxMs);
      }
      const side = sidesOf(direction).into;
      if (!ownLink || (side === 'source' && !hasOtherEnd(leg))) return removed;
      wave.beforeSend();
      if (await linksOf(leg, side).remove(link)) removed.push(`link ${link} of ${wave.clusters[side].name}`);
      return removed;
    },
  };
  return clusterLinking;
}

/** @returns whether one was made */
async function makeLinks(leg: Leg): Promise<boolean> {
  const { wave } = leg;
  const link = linkName(wave);
  const own = planOf(wave).link === undefined;
  let made = false;
  const sides: readonly Side[] = hasOtherEnd(leg) ? ['target', 'source'] : ['target'];
  for (const side of sides) {
    const links = linksOf(leg, side);
    if ((await links.link(link)) !== null) continue;
    if (!own) {
      throw new CutoverError('REPLICATOR_REFUSED', {
        what: 'the plan names a link that is not there',
        where: links.name,
        found: `no link ${link}`,
        next: 'Correct replicator.link in the plan, or leave it out: then one is made.',
      });
    }
    wave.beforeSend();
    await links.create(
      link,
      clusterIdOf(wave, side === 'target' ? 'source' : 'target'),
      linkSettings(wave, side),
      hasOtherEnd(leg),
    );
    made = true;
  }
  return made;
}

/** Mirror topics that an earlier run promoted are made mirrors again, unless that would delete records. */
async function restoreStopped(leg: Leg, links: ClusterLinks, before: ReadonlyMap<string, Mirror>): Promise<void> {
  const link = linkName(leg.wave);
  const stopped = leg.wave.topicNames.filter((name) => before.get(name)?.status === 'STOPPED');
  if (stopped.length > 0) await truncateAndRestore(leg, links, link, stopped);
}

/**
 * Makes topics mirrors of the other cluster's again: what they hold beyond it would be deleted, and is not ours to delete.
 *
 * @throws CutoverError TARGET_DIVERGED, REPLICATOR_REFUSED, REPLICATOR_FAILED
 */
async function truncateAndRestore(
  leg: Leg,
  links: ClusterLinks,
  link: string,
  topics: readonly string[],
): Promise<void> {
  const { truncated } = await links.alter(link, 'truncate-and-restore', topics, { validateOnly: true });
  if (truncated > 0) {
    throw new CutoverError('TARGET_DIVERGED', {
      what: 'making topics mirrors again would delete records that the other cluster does not have',
      where: `${links.name}, link ${link}, topics ${topics.slice(0, 3).join(', ')}`,
      found: `${truncated} records`,
      wanted: 'none',
      next: 'Find out who wrote them, carry them over by hand, then truncate and restore the topics by hand.',
    });
  }
  leg.wave.beforeSend();
  await links.alter(link, 'truncate-and-restore', topics);
  await links.await(link, topics, 'ACTIVE', (mirror) => mirror?.status === 'ACTIVE', stateMaxMs);
}

/** The source's topics are mirrors now; those that somebody promoted without reversing them are restored. */
async function awaitReversed(leg: Leg, links: ClusterLinks, link: string, maxMs: number): Promise<void> {
  const { topicNames } = leg.wave;
  const reversed = (mirror: Mirror | undefined) => isMirroring(mirror?.status);
  await links.await(link, topicNames, 'a mirror topic', reversed, maxMs).catch(async (error) => {
    if (!(error instanceof CutoverError) || error.code !== 'REPLICATOR_FAILED') throw error;
    const now = await links.mirrors(link);
    const left = topicNames.filter((topic) => !reversed(now.get(topic)));
    if (left.some((topic) => now.get(topic)?.status === 'FAILED')) throw error;
    await truncateAndRestore(leg, links, link, left);
  });
  await links.await(link, topicNames, 'ACTIVE', (mirror) => mirror?.status === 'ACTIVE', stateMaxMs);
}

/** Starts again what was paused; throws what people must see. */
async function keepGoing(
  leg: Leg,
  links: ClusterLinks,
  link: string,
  wanted: readonly string[],
  mirrors: ReadonlyMap<string, Mirror>,
): Promise<void> {
  const paused = [...mirrors.values()].filter(({ status }) => status === 'PAUSED').map(({ topic }) => topic);
  if (paused.length > 0) {
    leg.wave.beforeSend();
    await links.alter(link, 'resume', paused);
  }
  for (const topic of wanted) {
    const mirror = mirrors.get(topic);
    const bad = mirror === undefined || mirror.status === 'FAILED' || mirror.status === 'LINK_PAUSED';
    const promoted = leg.direction === 'forward' && mirror?.status === 'STOPPED';
    if (!bad && !promoted) continue;
    throw new CutoverError('REPLICATOR_FAILED', {
      what: promoted ? 'somebody promoted a mirror topic' : 'a mirror topic does not copy',
      where: `${links.name}, link ${link}, topic ${topic}`,
      found: mirror ? [mirror.status, mirror.error].filter(Boolean).join(', ') : 'no mirror topic',
      wanted: 'ACTIVE',
    });
  }
}

/** The link writes no positions of our groups: theirs are ours, and after the handover their own. A link of ours syncs none at all. */
async function leaveGroupsToUs(leg: Leg, links: ClusterLinks): Promise<void> {
  const { wave } = leg;
  const link = linkName(wave);
  const settings = await links.settings(link);
  if (settings.get('consumer.offset.sync.enable') !== 'true' || isExcluded(settings, wave.groups)) return;
  wave.beforeSend();
  await links.set(link, filterSetting, excludeGroups(settings.get(filterSetting) ?? '', wave.groups));
  if (isExcluded(await links.settings(link), wave.groups)) return;
  throw new CutoverError('REPLICATOR_FAILED', {
    what: 'the link still syncs positions of groups that move',
    where: `${links.name}, link ${link}`,
    wanted: `${filterSetting} excludes them`,
  });
}

/** Before an abort, groups are as they were; once a topic is promoted, their home is the target. */
async function giveGroupsBack(leg: Leg, links: ClusterLinks): Promise<boolean> {
  const { wave } = leg;
  const link = linkName(wave);
  const promoted = [...(await ownMirrors(links, wave)).values()].some(({ status }) => status === 'STOPPED');
  const filters = (await links.settings(link)).get(filterSetting) ?? '';
  const without = includeGroups(filters, wave.groups);
  if (promoted || without === null) return false;
  wave.beforeSend();
  await links.set(link, filterSetting, without);
  return true;
}

const filterSetting = 'consumer.offset.group.filters';

async function ownMirrors(links: ClusterLinks, wave: Wave): Promise<ReadonlyMap<string, Mirror>> {
  const mirrors = await links.mirrors(linkName(wave));
  return new Map([...mirrors].filter(([topic]) => wave.topicNames.includes(topic)));
}

const isMirroring = (status: MirrorStatus | undefined): boolean =>
  status !== undefined && status !== 'STOPPED' && status !== 'PENDING_STOPPED' && status !== 'FAILED';

const drained = (mirror: Mirror | undefined): boolean =>
  mirror?.status === 'ACTIVE' && mirror.lags.every(({ lag }) => lag === 0);

/** What its brokers say: the last offset that they fetched, and how far that was from the end. */
function progressOf(wave: Wave, mirrors: ReadonlyMap<string, Mirror>): Progress[] {
  return wave.partitions.map(({ topic, partition }) => {
    const found = mirrors.get(topic)?.lags.find((lag) => lag.partition === partition);
    const position = BigInt(Math.max(0, found?.lastSourceFetchOffset ?? 0));
    return {
      topic,
      partition,
      position,
      end: position + BigInt(Math.max(0, found?.lag ?? 0)),
      records: Number(position),
      bytes: 0,
    };
  });
}

function outOfReach(links: ClusterLinks, link: string, found: Link | null): CutoverError {
  return new CutoverError('REPLICATOR_FAILED', {
    what: `the link has not reached the other cluster for ${unavailableMaxMs / 60_000} minutes`,
    where: `${links.name}, link ${link}`,
    found: found ? [found.state, found.error].filter(Boolean).join(', ') : 'no such link',
    wanted: 'ACTIVE',
  });
}

function linksOf({ wave, file, signal }: Pick<Leg, 'wave' | 'file' | 'signal'>, side: Side): ClusterLinks {
  const place = file.replicator(planOf(wave).at, 'cluster-linking')[side];
  if (place === null) {
    throw new CutoverError('REPLICATOR_CANNOT', {
      what: 'the way back is made on the source, whose REST API is not in clusters.yaml',
      where: `${file.path}, replicators ${planOf(wave).at}`,
      wanted: '`source`',
    });
  }
  const { name } = wave.clusters[side];
  return new ClusterLinks(
    place,
    `Confluent REST of ${name}`,
    clusterIdOf(wave, side),
    secretsOf(wave.clusters),
    signal,
  );
}

/** Whether the link is bidirectional, so that there is one on the source too. */
const hasOtherEnd = ({ wave }: Pick<Leg, 'wave'>): boolean => wave.plan.rollback.reverseMirror;

const clusterIdOf = ({ inventory }: Wave, side: Side): string =>
  side === 'source' ? inventory.structural.sourceClusterId : inventory.structural.targetClusterId;

function planOf({ plan: { replicator } }: Pick<Wave, 'plan'>): ReplicatorPlan<'cluster-linking'> {
  if (replicator.kind === 'cluster-linking') return replicator;
  throw new CutoverError('INTERNAL', { what: 'another replicator was asked for', found: replicator.kind });
}
