/**
 * Positions of consumer groups. Offsets are the same on both clusters, so a position is carried as it is, within what
 * the other log holds. Until its handover a group's position over there follows the one here; from the handover on we
 * never write it again.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import {
  commitOffsets,
  type DescribedGroup,
  deleteGroupOffsets,
  describeGroups,
  fetchOffsets,
  type NewPosition,
  type Position,
} from '../kafka/groups.ts';
import { listOffsets, partitionKey } from '../kafka/offsets.ts';
import { alterSharePositions, sharePositions } from '../kafka/share-groups.ts';
import type { Clusters } from './change.ts';
import { getJson, putJson, type Storage } from './storage.ts';

/**
 * - `exact`: the group goes on with the very record that it would have read next.
 * - `replays`: it reads `replays` records again.
 * - `untranslatable`: its position names no place in the log (beyond the end, or below what is kept), so it was
 *   set to the nearest one.
 */
export type PositionClass = 'exact' | 'replays' | 'untranslatable';

/** A group's position where it lives. */
export interface UncarriedPosition {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
}

/** Where positions land on the other cluster, where records have other offsets there: in the order given. */
export type Translate = (positions: readonly UncarriedPosition[]) => Promise<readonly CarriedPosition[]>;

export interface CarriedPosition {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  /** As committed where the group lives. */
  readonly committed: bigint;
  /** As written where it moves to. */
  readonly written: bigint;
  readonly class: PositionClass;
  readonly replays: number;
}

export interface GroupSummary {
  readonly group: string;
  readonly exact: number;
  readonly replays: number;
  readonly untranslatable: number;
  /** Records that it would read again, over all partitions. */
  readonly replayedRecords: number;
  /** Why it was left alone, or null. */
  readonly skipped: string | null;
}

export interface Totals {
  readonly exact: number;
  readonly replays: number;
  readonly untranslatable: number;
  readonly replayedRecords: number;
}

export interface FollowResult {
  readonly groups: readonly GroupSummary[];
  readonly totals: Totals;
  /** Positions sent to the target. */
  readonly written: number;
}

/** Number of partitions by topic. */
export type TopicSizes = ReadonlyMap<string, number>;

/** Of groups in both forms. */
interface StandingPosition extends Position {
  /** Of share groups: records from here on that are not yet done with; null where brokers do not say. Others have done with none from here on. */
  readonly shareLag?: number | null;
}

const groupsAtOnce = 8;
/**
 * Groups without members lose their positions after `offsets.retention.minutes` (7 days by default, a day on old
 * brokers), counted from the last commit: unchanged positions are written again this often.
 */
export const keepAliveEveryMs = 3_600_000;

/**
 * Carries the positions of groups that still live on the source to the target once, forwards and backwards, within
 * what the target holds. Groups with members on the target are left alone.
 *
 * @param options.beforeWrite called right before positions are written; throws when they must not be any more
 * @param options.refresh also writes positions that have not changed (every `keepAliveEveryMs`)
 * @throws CutoverError CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function followOnce(
  clusters: Clusters,
  groups: readonly string[],
  topics: TopicSizes,
  options: {
    readonly refresh?: boolean;
    readonly shares?: ReadonlySet<string>;
    readonly beforeWrite?: () => void;
    readonly translate?: Translate;
  } = {},
): Promise<FollowResult> {
  const { shares = noGroups } = options;
  const [here, there, described, logs] = await Promise.all([
    positionsOf(clusters.source, groups, shares, { requireStable: false, topics }),
    positionsOf(clusters.target, groups, shares, { requireStable: false, topics }),
    describeGroups(clusters.target, groups),
    logsOf(clusters.source, clusters.target, topics),
  ]);
  const summaries: GroupSummary[] = [];
  let written = 0;
  const all = await carryAll(groups, here, logs, options.translate);
  await atOnce(groups, async (group) => {
    const carried = all.get(group) ?? [];
    const busy = membersOf(described.get(group));
    if (busy !== null) {
      summaries.push({ ...summarize(group, carried), skipped: `${busy} on the target` });
      return;
    }
    const existing = there.get(group) ?? new Map<string, StandingPosition>();
    const changed = carried.filter((p) => options.refresh || existing.get(keyOf(p))?.offset !== p.written);
    try {
      await write(clusters.target, group, changed, {
        here: here.get(group),
        kept: new Set(carried.map(keyOf)),
        existing,
        isShare: shares.has(group),
        beforeWrite: options.beforeWrite,
      });
      written += changed.length;
      summaries.push(summarize(group, carried));
    } catch (error) {
      // A member that came between the look and the commit: the coordinator refused us, as it should.
      if (!(error instanceof CutoverError) || error.code !== 'GROUP_ACTIVE') throw error;
      summaries.push({ ...summarize(group, carried), skipped: error.message });
    }
  });
  summaries.sort(byGroup);
  return { groups: summaries, totals: totalsOf(summaries), written };
}

/**
 * How the positions would be classed by a handover now: the mirror will have copied everything up to the source's log
 * ends by then. Changes nothing.
 *
 * @param options.translate where records have changed on the way: then as things stand now
 * @param options.sameOffsets false: where the target's log begins says nothing of positions on the source
 */
export async function expectedClasses(
  clusters: Clusters,
  groups: readonly string[],
  topics: TopicSizes,
  options: {
    readonly shares?: ReadonlySet<string>;
    readonly translate?: Translate | undefined;
    readonly sameOffsets?: boolean;
  } = {},
): Promise<Totals> {
  const { shares = noGroups, translate, sameOffsets = true } = options;
  const here = await positionsOf(clusters.source, groups, shares, { requireStable: false, topics });
  const logs = await logsOf(clusters.source, clusters.target, topics);
  const startThere = sameOffsets ? logs.startThere : logs.startHere;
  const carried = await carryAll(groups, here, { ...logs, startThere, endThere: logs.endHere }, translate);
  return totalsOf(groups.map((group) => summarize(group, carried.get(group) ?? [])));
}

export interface FinalOptions {
  readonly from: Cluster;
  readonly into: Cluster;
  readonly groups: readonly string[];
  readonly topics: TopicSizes;
  /** Log end of `from` per `topic/partition`, once fenced; left out while a mirror writes there: as they are. */
  readonly boundary?: ReadonlyMap<string, bigint>;
  /** Where records have other offsets on the other cluster; as they are when left out. */
  readonly translate?: Translate;
  /** Groups whose members are kept from committing by a fence, so that they need not be empty. */
  readonly fenced?: ReadonlySet<string>;
  /** Of the groups, those that are share groups. */
  readonly shares?: ReadonlySet<string>;
  readonly signal?: AbortSignal;
  /** Called right before positions are written; throws when they must not be any more. */
  readonly beforeWrite?: () => void;
}

export interface FinalPositions {
  /** ISO 8601. */
  readonly at: string;
  readonly positions: readonly CarriedPosition[];
  readonly groups: readonly GroupSummary[];
  readonly totals: Totals;
}

/**
 * The handover of positions: read stable where the groups live, written where they move to, read back, compared, and
 * read once more where they came from.
 *
 * @throws CutoverError GROUP_ACTIVE naming members (or a position that moved meanwhile), GROUP_UNSUPPORTED,
 *   OFFSETS_NOT_WRITTEN with the first difference, KAFKA_REQUEST_FAILED when positions stay unstable
 */
export async function finalPositions(options: FinalOptions): Promise<FinalPositions> {
  const { from, into, groups, topics, shares = noGroups } = options;
  // Applications wait: all that is only read is read at once.
  const [here, there, logs] = await Promise.all([
    positionsOf(from, groups, shares, { requireStable: true, topics }),
    positionsOf(into, groups, shares, { requireStable: false, topics }),
    logsOf(from, into, topics, options.boundary),
    refuseActive(from, groups, options.fenced ?? new Set()),
    refuseActive(into, groups, new Set()),
  ]);
  const carried = await carryAll(groups, here, logs, options.translate);
  await atOnce(groups, async (group) => {
    options.signal?.throwIfAborted();
    await write(into, group, carried.get(group) ?? [], {
      here: here.get(group),
      kept: new Set((carried.get(group) ?? []).map(keyOf)),
      existing: there.get(group) ?? new Map(),
      isShare: shares.has(group),
      beforeWrite: options.beforeWrite,
    });
  });
  const reading = { groups, topics, shares };
  await Promise.all([readBack(into, reading, carried), refuseMoved(from, reading, here)]);
  const summaries = groups.map((group) => summarize(group, carried.get(group) ?? [])).sort(byGroup);
  return {
    at: new Date().toISOString(),
    positions: [...carried.values()].flat(),
    groups: summaries,
    totals: totalsOf(summaries),
  };
}

export function groupsName(move: {
  readonly migration: string;
  readonly wave: string;
  readonly direction: string;
  readonly deadlineMs: number;
}): string {
  return `${move.migration}/groups/${move.wave}/${move.deadlineMs}-${move.direction}`;
}

/** Stores what `finalPositions` gave; gives the artifact's name. */
export async function storePositions(
  storage: Storage,
  move: Parameters<typeof groupsName>[0],
  final: FinalPositions,
): Promise<string> {
  const name = groupsName(move);
  await putJson(storage, name, final);
  return name;
}

/** What `storePositions` stored, or null. */
export async function readPositions(storage: Storage, name: string): Promise<FinalPositions | null> {
  const stored = await getJson<Json>(storage, name);
  if (!stored) return null;
  const positions = stored.positions.map((p) => ({ ...p, committed: BigInt(p.committed), written: BigInt(p.written) }));
  return { ...stored, positions };
}

interface Json extends Omit<FinalPositions, 'positions'> {
  readonly positions: readonly (Omit<CarriedPosition, 'committed' | 'written'> & {
    readonly committed: string;
    readonly written: string;
  })[];
}

/** Where both logs begin and end. */
export interface Logs {
  readonly startHere: ReadonlyMap<string, bigint>;
  readonly endHere: ReadonlyMap<string, bigint>;
  readonly startThere: ReadonlyMap<string, bigint>;
  readonly endThere: ReadonlyMap<string, bigint>;
}

async function logsOf(
  from: Cluster,
  into: Cluster,
  topics: TopicSizes,
  boundary?: ReadonlyMap<string, bigint>,
): Promise<Logs> {
  const partitions = [...topics].flatMap(([topic, count]) =>
    Array.from({ length: count }, (_, partition) => ({ topic, partition })),
  );
  const [startHere, endHere, startThere, endThere] = await Promise.all([
    listOffsets(from, partitions, 'start'),
    boundary ?? listOffsets(from, partitions, 'highWatermark'),
    listOffsets(into, partitions, 'start'),
    listOffsets(into, partitions, 'highWatermark'),
  ]);
  return { startHere, endHere, startThere, endThere };
}

async function carryAll(
  groups: readonly string[],
  here: ReadonlyMap<string, ReadonlyMap<string, Position>>,
  logs: Logs,
  translate: Translate | undefined,
): Promise<ReadonlyMap<string, readonly CarriedPosition[]>> {
  const positions = groups.flatMap((group) => [...(here.get(group)?.values() ?? [])].map((p) => ({ ...p, group })));
  const carried = translate ? await translate(positions) : positions.map((p) => carry(p.group, p, logs));
  return Map.groupBy(carried, ({ group }) => group);
}

/** Where a position lands in the other log. Never with its leader epoch: over there it would name another leader. */
export function carry(group: string, position: StandingPosition, logs: Logs): CarriedPosition {
  const carried = carryOffset(group, position, logs);
  if (position.shareLag === undefined || carried.class === 'untranslatable') return carried;
  // What members have done with beyond the start stands in the coordinator's own state alone: it is delivered again.
  const { topic, partition, offset } = position;
  const beyond = Math.max(0, Number((logs.endHere.get(partitionKey(topic, partition)) ?? offset) - offset));
  const replays = carried.replays + Math.max(0, beyond - (position.shareLag ?? 0));
  return replays === 0 ? carried : { ...carried, class: 'replays', replays };
}

function carryOffset(group: string, position: Position, logs: Logs): CarriedPosition {
  const { topic, partition, offset: committed } = position;
  const key = partitionKey(topic, partition);
  const startThere = logs.startThere.get(key) ?? 0n;
  const endHere = logs.endHere.get(key) ?? committed;
  // Records beyond the end here are not this group's to skip or to know of.
  const endThere = lesser(logs.endThere.get(key) ?? startThere, endHere);
  const written = committed < startThere ? startThere : lesser(committed, greater(endThere, startThere));
  const base = { group, topic, partition, committed, written };
  if (written === committed) return { ...base, class: 'exact', replays: 0 };
  if (written > committed) {
    // Nothing between the position and the first kept record exists on either cluster: the next record is the same.
    const same = (logs.startHere.get(key) ?? 0n) >= written;
    return { ...base, class: same ? 'exact' : 'untranslatable', replays: 0 };
  }
  if (committed > endHere && written === endHere) return { ...base, class: 'untranslatable', replays: 0 };
  return { ...base, class: 'replays', replays: Number(lesser(committed, endHere) - written) };
}

/** Positions of groups of either kind on the topics. */
export async function positionsOf(
  cluster: Cluster,
  groups: readonly string[],
  shares: ReadonlySet<string>,
  options: { readonly requireStable: boolean; readonly topics: TopicSizes },
): Promise<Map<string, Map<string, StandingPosition>>> {
  const ofShares = groups.filter((group) => shares.has(group));
  const [committed, shared] = await Promise.all([
    fetchOffsets(
      cluster,
      groups.filter((group) => !shares.has(group)),
      options,
    ),
    ofShares.length > 0 ? sharePositions(cluster, ofShares) : new Map<string, never>(),
  ]);
  const found = new Map<string, Map<string, StandingPosition>>(committed);
  for (const [group, positions] of shared) {
    const moved = [...positions.values()].filter(({ topic }) => options.topics.has(topic));
    const standing = moved.map(({ topic, partition, start, lag }): [string, StandingPosition] => [
      partitionKey(topic, partition),
      { topic, partition, offset: start, metadata: null, shareLag: lag },
    ]);
    found.set(group, new Map(standing));
  }
  return found;
}

/** Writes positions, and removes those that nothing of where the group lives leads to: it never read there. */
async function write(
  into: Cluster,
  group: string,
  carried: readonly CarriedPosition[],
  {
    here,
    kept,
    existing,
    isShare,
    beforeWrite = () => {},
  }: {
    readonly here: ReadonlyMap<string, Position> | undefined;
    readonly kept: ReadonlySet<string>;
    readonly existing: ReadonlyMap<string, Position>;
    readonly isShare: boolean;
    readonly beforeWrite: (() => void) | undefined;
  },
): Promise<void> {
  beforeWrite();
  if (isShare) {
    const starts = carried.map(({ topic, partition, written }) => ({ topic, partition, start: written }));
    await alterSharePositions(into, group, starts);
    return;
  }
  const positions = carried.map(
    (p): NewPosition => ({
      topic: p.topic,
      partition: p.partition,
      offset: p.written,
      metadata: here?.get(keyOf(p))?.metadata ?? null,
    }),
  );
  if (positions.length > 0) await commitOffsets(into, group, positions);
  const surplus = [...existing.values()].filter((p) => !kept.has(keyOf(p)));
  beforeWrite();
  await deleteGroupOffsets(into, group, surplus);
}

interface Reading {
  readonly groups: readonly string[];
  readonly topics: TopicSizes;
  readonly shares: ReadonlySet<string>;
}

async function readBack(
  into: Cluster,
  { groups, topics, shares }: Reading,
  carried: ReadonlyMap<string, readonly CarriedPosition[]>,
): Promise<void> {
  const there = await positionsOf(into, groups, shares, { requireStable: false, topics });
  const wrong: string[] = [];
  for (const group of groups) {
    const wanted = new Map((carried.get(group) ?? []).map((p) => [keyOf(p), p.written]));
    const found = there.get(group) ?? new Map<string, Position>();
    // Where a share group stands on a partition cannot be taken away.
    for (const key of new Set([...wanted.keys(), ...(shares.has(group) ? [] : found.keys())])) {
      const [offset, want] = [found.get(key)?.offset, wanted.get(key)];
      if (offset !== want) wrong.push(`group ${group}, ${key}: ${offset ?? 'no position'}, wanted ${want ?? 'none'}`);
    }
  }
  if (wrong.length === 0) return;
  throw new CutoverError('OFFSETS_NOT_WRITTEN', {
    what: 'positions read back are not those that were written',
    where: `cluster ${into.name}`,
    found: `${wrong.slice(0, 3).join('; ')}${wrong.length > 3 ? ` and ${wrong.length - 3} more` : ''}`,
  });
}

/** A consumer that commits without being a member is seen only by what it commits. */
async function refuseMoved(
  from: Cluster,
  { groups, topics, shares }: Reading,
  before: ReadonlyMap<string, ReadonlyMap<string, Position>>,
): Promise<void> {
  const after = await positionsOf(from, groups, shares, { requireStable: true, topics });
  for (const group of groups) {
    for (const [key, { offset }] of after.get(group) ?? []) {
      const earlier = before.get(group)?.get(key)?.offset;
      if (offset === earlier) continue;
      throw new CutoverError('GROUP_ACTIVE', {
        what: 'a position moved while it was handed over: somebody commits without being a member',
        where: `cluster ${from.name}, group ${group}, ${key}`,
        found: `${offset}`,
        wanted: `${earlier ?? 'no position'}`,
        next: 'Stop the consumers of that group, then retry.',
      });
    }
  }
}

/**
 * @param fenced groups whose members can do nothing, so that they may be there
 * @throws CutoverError GROUP_ACTIVE naming members with their addresses, GROUP_UNSUPPORTED
 */
export async function refuseActive(
  cluster: Cluster,
  groups: readonly string[],
  fenced: ReadonlySet<string>,
): Promise<void> {
  const described = await describeGroups(cluster, groups);
  for (const group of groups) {
    const found = described.get(group);
    if (found?.type === 'streams') {
      throw new CutoverError('GROUP_UNSUPPORTED', {
        what: `a group of type ${found.type} keeps more than positions`,
        where: `cluster ${cluster.name}, group ${group}`,
      });
    }
    const busy = membersOf(found);
    if (busy !== null && !fenced.has(group)) {
      throw new CutoverError('GROUP_ACTIVE', {
        what: 'the group has members',
        where: `cluster ${cluster.name}, group ${group}`,
        found: busy,
        wanted: 'none',
      });
    }
  }
}

/** Who is in the group, for people; null when nobody is. */
function membersOf(group: DescribedGroup | undefined): string | null {
  if (!group || group.state === 'Empty' || group.state === 'Dead') return null;
  const clients = [...new Set(group.members.map((m) => `${m.clientId} at ${m.clientHost}`))];
  const more = clients.length > 3 ? ` and ${clients.length - 3} more` : '';
  return `${group.members.length} members (${clients.slice(0, 3).join(', ')}${more}), ${group.state}`;
}

function summarize(group: string, carried: readonly CarriedPosition[]): GroupSummary {
  const count = (wanted: PositionClass) => carried.filter((p) => p.class === wanted).length;
  return {
    group,
    exact: count('exact'),
    replays: count('replays'),
    untranslatable: count('untranslatable'),
    replayedRecords: carried.reduce((sum, p) => sum + p.replays, 0),
    skipped: null,
  };
}

function totalsOf(groups: readonly GroupSummary[]): Totals {
  const total = (of: (group: GroupSummary) => number) => groups.reduce((sum, group) => sum + of(group), 0);
  return {
    exact: total((g) => g.exact),
    replays: total((g) => g.replays),
    untranslatable: total((g) => g.untranslatable),
    replayedRecords: total((g) => g.replayedRecords),
  };
}

async function atOnce(groups: readonly string[], act: (group: string) => Promise<void>): Promise<void> {
  const queue = [...groups];
  await Promise.all(
    Array.from({ length: Math.min(groupsAtOnce, queue.length) }, async () => {
      for (let group = queue.shift(); group !== undefined; group = queue.shift()) await act(group);
    }),
  );
}

const noGroups: ReadonlySet<string> = new Set();
const keyOf = (p: { readonly topic: string; readonly partition: number }): string => partitionKey(p.topic, p.partition);
const byGroup = (a: GroupSummary, b: GroupSummary): number => (a.group < b.group ? -1 : 1);
const lesser = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const greater = (a: bigint, b: bigint): bigint => (a > b ? a : b);
