/**
 * A wave whose replicator gives records other offsets (`offsetIdentity: false`): how far the two logs have been walked side by side, kept in storage, and
 * what follows from it: lag, the boundary on both clusters, positions of groups.
 *
 * Records flow to the target up to the boundary (`forward`), then, once it was opened, back (`reverse`): two stretches, each with its own origin. The end
 * of the first is the beginning of the second, so together they are one chain of anchors, along which a position is found in either direction.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import { capabilitiesOf } from '../contract/replicators.ts';
import type { Direction } from '../contract/status.ts';
import { listOffsets, partitionKey, partitionOf, type TopicPartition } from '../kafka/offsets.ts';
import type { AuditPartition } from '../mirror/audit.ts';
import { type Located, type PairingCounts, type Place, searchesFor } from '../mirror/pairing.ts';
import { type PairedPartition, type PairingRunOptions, type PairingStart, runPairing } from '../mirror/pairing-run.ts';
import { compactedTopics, topicIdsOf } from './audit-positions.ts';
import {
  type Boundary,
  boundaryName,
  type Drained,
  type DrainOptions,
  readBoundary,
  sidesOf,
  takeBoundary,
} from './boundary.ts';
import type { CarriedPosition, UncarriedPosition } from './groups.ts';
import { openingDecided } from './opening.ts';
import { getAllJson, putJson } from './storage.ts';
import type { Wave } from './wave.ts';

/** One partition in one direction; `origin` is the cluster that records come from there. */
export interface Stretch extends TopicPartition {
  readonly start: Place;
  readonly place: Place;
  readonly anchors: readonly Place[];
  readonly counts: PairingCounts;
}

interface StoredStretch {
  readonly topic: string;
  /** `<id on the source>/<id on the target>`: of another topic of the same name nothing is known. */
  readonly topicIds: string;
  readonly partition: number;
  /** Offsets as decimal strings: origin, copy. */
  readonly start: StoredPlace;
  readonly place: StoredPlace;
  readonly anchors: readonly StoredPlace[];
  readonly counts: PairingCounts;
}

type StoredPlace = readonly [origin: string, copy: string];

const nothing: PairingCounts = { records: 0, missing: 0, duplicated: 0, reordered: 0, foreign: 0, superseded: 0 };
const beginning: Place = { origin: 0n, copy: 0n };
const copyLookEveryMs = 50;

const prefix = ({ migration, wave }: Wave, direction: Direction) => `${migration}/pairs/${wave}/${direction}/`;

/** @param writer `audit`, `fence`: one at a time writes under a name */
export async function storePairs(
  wave: Wave,
  direction: Direction,
  writer: string,
  partitions: readonly Omit<PairedPartition, 'first' | 'located'>[],
): Promise<void> {
  const topicIds = await topicIdsOf(wave);
  const stored = partitions.map(({ topic, partition, start, place, anchors, counts }): StoredStretch => {
    const written = ({ origin, copy }: Place): StoredPlace => [String(origin), String(copy)];
    return {
      topic,
      topicIds: topicIds.get(topic) ?? '',
      partition,
      start: written(start),
      place: written(place),
      anchors: anchors.map(written),
      counts,
    };
  });
  await putJson(wave.storage, `${prefix(wave, direction)}${writer}`, stored);
}

/** The furthest that is stored per partition, in the wave's order; from where the stretch begins where nothing is. */
export async function readPairs(wave: Wave, direction: Direction): Promise<Stretch[]> {
  const topicIds = await topicIdsOf(wave);
  const starts = await stretchStarts(wave, direction);
  const furthest = new Map<string, Stretch>();
  for (const { value } of await getAllJson<StoredStretch[]>(wave.storage, prefix(wave, direction))) {
    for (const stored of value) {
      const { topic, partition, counts } = stored;
      if (topicIds.get(topic) !== stored.topicIds) continue;
      const key = partitionKey(topic, partition);
      const placed = ([origin, copy]: StoredPlace): Place => ({ origin: BigInt(origin), copy: BigInt(copy) });
      const start = placed(stored.start);
      const wanted = starts.get(key) ?? beginning;
      // Of an earlier switch.
      if (start.origin !== wanted.origin || start.copy !== wanted.copy) continue;
      const place = placed(stored.place);
      const known = furthest.get(key);
      if (known && known.place.origin >= place.origin) continue;
      furthest.set(key, { topic, partition, start, place, anchors: stored.anchors.map(placed), counts });
    }
  }
  return wave.partitions.map(({ topic, partition }) => {
    const key = partitionKey(topic, partition);
    const start = starts.get(key) ?? beginning;
    return furthest.get(key) ?? { topic, partition, start, place: start, anchors: [], counts: nothing };
  });
}

/** By partition; empty: at the beginning of both logs. */
async function stretchStarts(wave: Wave, direction: Direction): Promise<ReadonlyMap<string, Place>> {
  if (direction === 'forward') return new Map();
  const opened = await openingDecided(wave.storage, { ...wave, direction: 'forward' });
  // On the way back the decision that counts may be the other one already: then the latest forward fence was the one.
  const stored = await forwardBoundary(wave, opened?.deadlineMs);
  return new Map([...stored.boundary].map(([key, here]) => [key, { origin: stored.into.get(key) ?? 0n, copy: here }]));
}

async function forwardBoundary(wave: Wave, deadlineMs: number | undefined) {
  if (deadlineMs !== undefined) {
    return readBoundary(wave.storage, boundaryName({ ...wave, direction: 'forward', deadlineMs }));
  }
  const names = await wave.storage.list(`${wave.migration}/boundary/${wave.wave}/`);
  const name = names.filter((one) => one.endsWith('-forward')).at(-1);
  if (name === undefined) {
    throw new CutoverError('STORAGE_CORRUPT', { what: 'no boundary to go back from', where: `wave ${wave.wave}` });
  }
  return readBoundary(wave.storage, name);
}

/** Which way records flow now: back once opening the target was decided, until opening the source again was. */
export async function flowOf(wave: Wave): Promise<Direction> {
  return (await openingDecided(wave.storage, { ...wave, direction: 'forward' })) === null ? 'forward' : 'reverse';
}

/** What a walk of these stretches begins with. */
export async function pairingStarts(wave: Wave, stretches: readonly Stretch[]): Promise<PairingStart[]> {
  const compacted = await compactedTopics(wave.clusters, wave.topicNames, wave.needs.compacted);
  return stretches.map((stretch) => ({ ...stretch, compacted: compacted.has(stretch.topic) }));
}

export function pairOf({ clusters, plan }: Pick<Wave, 'clusters' | 'plan'>, direction: Direction) {
  const { from, into } = sidesOf(direction);
  const { addedHeader } = capabilitiesOf(plan);
  return { origin: clusters[from], copy: clusters[into], ...(addedHeader !== undefined && { leftOut: addedHeader }) };
}

/** How both logs are walked: `runPairing`, unless the replicator changes records. */
export type PairsWalk = (
  options: Pick<PairingRunOptions, 'partitions' | 'signal' | 'until' | 'onProgress'>,
) => Promise<readonly PairedPartition[]>;

/** @throws CutoverError PARITY_FAILED naming what is missing, reordered or foreign; duplicates are no failure, since nothing is lost by them */
export function refuseUnpaired(partitions: readonly PairedPartition[]): void {
  const wrong = partitions.filter(({ counts }) => counts.missing + counts.reordered + counts.foreign > 0);
  if (wrong.length === 0) return;
  const told = wrong.slice(0, 5).map(({ topic, partition, counts, first }) => {
    const kinds = (['missing', 'reordered', 'foreign', 'duplicated'] as const)
      .filter((kind) => counts[kind] > 0)
      .map((kind) => `${counts[kind]} ${kind}`);
    return `${partitionKey(topic, partition)}: ${kinds.join(', ')}${first ? `, the first (${first.kind}) at offset ${first.offset}` : ''}`;
  });
  throw new CutoverError('PARITY_FAILED', {
    what: 'the replicator has not brought over what stands on the other cluster',
    where: `${wrong.length} partitions`,
    found: told.join('; '),
    wanted: 'every record once, in order',
  });
}

/** As the steps that know only equal offsets see it: `position` and `first` on the origin. */
export function asAudited({ topic, partition, start, place, counts, first }: PairedPartition): AuditPartition {
  return {
    topic,
    partition,
    start: start.origin,
    position: place.origin,
    records: counts.records,
    abortedNotKept: 0,
    superseded: counts.superseded,
    duplicated: counts.duplicated,
    digest: '',
    bytes: 0,
    differences: counts.missing + counts.reordered + counts.foreign,
    first: first && { ...first, sourceHash: null, targetHash: null },
    sourceReadAtMs: null,
    waitingFor: null,
  };
}

/**
 * Takes the boundary, walks both logs up to it, and says where the other one ends.
 *
 * @throws CutoverError as `boundary.ts` does; PARITY_FAILED
 */
export async function drainPairs(
  wave: Wave,
  options: Pick<DrainOptions, 'direction' | 'deadlineMs' | 'quietMs' | 'signal'> & { readonly walk?: PairsWalk },
): Promise<Drained & { readonly pairs: readonly PairedPartition[] }> {
  const { direction, deadlineMs } = options;
  const pair = pairOf(wave, direction);
  const { origin, copy } = pair;
  const { walk = (how) => runPairing({ ...pair, ...how }) } = options;
  const began = performance.now();
  const boundary = await takeBoundary(origin, { ...options, partitions: wave.partitions });
  const settled = performance.now();
  const timeout = AbortSignal.timeout(Math.max(1, deadlineMs - Date.now()));
  const signal = options.signal ? AbortSignal.any([timeout, options.signal]) : timeout;
  let stretches: readonly Stretch[] = await readPairs(wave, direction);
  for (;;) {
    const partitions = await pairingStarts(wave, stretches);
    const pairs = await walk({ partitions, until: boundary, signal });
    options.signal?.throwIfAborted();
    refuseUnpaired(pairs);
    const left = pairs.reduce((sum, { topic, partition, place }) => {
      const open = (boundary.get(partitionKey(topic, partition)) ?? 0n) - place.origin;
      return sum + (open > 0n ? open : 0n);
    }, 0n);
    if (left > 0n) {
      throw new CutoverError('FENCE_EXPIRED', {
        what: 'the last records were not brought over and compared in time',
        where: `cluster ${copy.name}`,
        found: `${left} offsets left`,
      });
    }
    const ends = await listOffsets(copy, wave.partitions, 'logEnd');
    const behind = pairs.some(
      ({ topic, partition, place }) => place.copy < (ends.get(partitionKey(topic, partition)) ?? 0n),
    );
    if (!behind) {
      const walked = performance.now();
      const took = (a: number, b: number) => Math.round(b - a);
      const tookMs = { settle: took(began, settled), copy: took(settled, walked), audit: 0 };
      return { boundary, into: ends, audit: pairs.map(asAudited), tookMs, pairs };
    }
    // Something was written twice at the very end: it is looked at too.
    stretches = pairs;
    await sleep(copyLookEveryMs, undefined, { signal: options.signal });
  }
}

/**
 * Where positions of groups lie on the cluster that they move to: each found by walking from the nearest anchor before it, and proven by comparing the very
 * record that would be read next.
 *
 * @param boundary of `from`, where it is fenced; its log ends when left out
 */
export async function carryTranslated(
  wave: Wave,
  direction: Direction,
  positions: readonly UncarriedPosition[],
  options: { readonly boundary?: Boundary | undefined; readonly signal: AbortSignal },
): Promise<CarriedPosition[]> {
  const { from, into } = sidesOf(direction);
  const keys = [...new Set(positions.map(({ topic, partition }) => partitionKey(topic, partition)))];
  const partitions = keys.map(partitionOf);
  const [startHere, endHere, startThere] = await Promise.all([
    listOffsets(wave.clusters[from], partitions, 'start'),
    options.boundary ?? listOffsets(wave.clusters[from], partitions, 'highWatermark'),
    listOffsets(wave.clusters[into], partitions, 'start'),
  ]);
  const chains = await anchorChains(wave, direction);
  const within = (p: UncarriedPosition) => {
    const key = partitionKey(p.topic, p.partition);
    const [start, end] = [startHere.get(key) ?? 0n, endHere.get(key) ?? p.offset];
    if (p.offset < start) return start;
    return p.offset > end ? end : p.offset;
  };
  const byKey = Map.groupBy(positions, ({ topic, partition }) => partitionKey(topic, partition));
  const starts: PairingStart[] = partitions.map(({ topic, partition }) => {
    const key = partitionKey(topic, partition);
    const { start, anchors } = chains.get(key) ?? { start: beginning, anchors: [] };
    const [here, there] = [startHere.get(key) ?? 0n, startThere.get(key) ?? 0n];
    // What either log has lost cannot be walked.
    const kept = anchors.filter(({ origin, copy }) => origin >= here && copy >= there);
    const first = start.origin >= here && start.copy >= there ? start : (kept[0] ?? start);
    const wanted = (byKey.get(key) ?? []).map(within);
    return {
      topic,
      partition,
      start: first,
      place: first,
      anchors: kept,
      counts: nothing,
      searches: searchesFor(kept, first, wanted),
    };
  });
  const found = await runPairing({ ...pairOf(wave, direction), partitions: starts, signal: options.signal });
  options.signal.throwIfAborted();
  const located = new Map(
    found.map(({ topic, partition, located: all }) => [
      partitionKey(topic, partition),
      new Map(all.map((one) => [one.position, one])),
    ]),
  );
  return positions.map((p): CarriedPosition => {
    const key = partitionKey(p.topic, p.partition);
    const end = endHere.get(key) ?? p.offset;
    const at = located.get(key)?.get(within(p));
    return classed(p, at, { end, start: startHere.get(key) ?? 0n, walkedTo: chains.get(key)?.end ?? beginning });
  });
}

function classed(
  { group, topic, partition, offset: committed }: UncarriedPosition,
  at: Located | undefined,
  log: { readonly start: bigint; readonly end: bigint; readonly walkedTo: Place },
): CarriedPosition {
  const written = at?.copy ?? log.walkedTo.copy;
  const base = { group, topic, partition, committed, written };
  if (at === undefined || at.gap || committed > log.end) return { ...base, class: 'untranslatable', replays: 0 };
  if (at.record !== null && at.record < log.end) return { ...base, class: 'exact', replays: 0 };
  // Nothing follows, or not yet over there: what lies between is read again.
  const open = committed - log.walkedTo.origin;
  if (at.record === null && open > 0n && log.walkedTo.origin < log.end) {
    return { ...base, class: 'replays', replays: Number(open) };
  }
  return { ...base, class: 'exact', replays: 0 };
}

/** Both stretches as one chain, seen from the cluster that groups leave. */
async function anchorChains(
  wave: Wave,
  direction: Direction,
): Promise<ReadonlyMap<string, { readonly start: Place; readonly end: Place; readonly anchors: readonly Place[] }>> {
  const forward = await readPairs(wave, 'forward');
  if (direction === 'forward') {
    return new Map(
      forward.map(({ topic, partition, start, anchors, place }) => [
        partitionKey(topic, partition),
        { start, end: place, anchors: [...anchors, place] },
      ]),
    );
  }
  const back = new Map((await readPairs(wave, 'reverse')).map((p) => [partitionKey(p.topic, p.partition), p]));
  const turned = ({ origin, copy }: Place): Place => ({ origin: copy, copy: origin });
  return new Map(
    forward.map(({ topic, partition, start, anchors }) => {
      const key = partitionKey(topic, partition);
      const reverse = back.get(key);
      const own = reverse ? [reverse.start, ...reverse.anchors, reverse.place] : [];
      const first = reverse?.start.origin;
      const before = anchors.map(turned).filter(({ origin }) => first === undefined || origin < first);
      return [key, { start: turned(start), end: reverse?.place ?? beginning, anchors: [...before, ...own] }];
    }),
  );
}

/** Of a side: records there that the walk found nowhere on the other one. */
export async function strangersOn(
  wave: Wave,
  direction: Direction,
): Promise<readonly (TopicPartition & { readonly foreign: number })[]> {
  return (await readPairs(wave, direction))
    .filter(({ counts }) => counts.foreign > 0)
    .map(({ topic, partition, counts }) => ({ topic, partition, foreign: counts.foreign }));
}
