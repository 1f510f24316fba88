/** Where groups go on behind a bridge: by its map alone, since records that were changed cannot be compared with what they were. Pure. */
import type { Direction } from '../contract/status.ts';
import { partitionKey } from '../kafka/offsets.ts';
import type { CarriedPosition, PositionClass, UncarriedPosition } from '../migration/groups.ts';
import type { BridgeMap, Translated } from '../mirror/bridge-map.ts';

/** On the cluster that the group moves to. */
export interface PlacedPosition {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  readonly written: bigint;
  readonly class: PositionClass;
  readonly replays: number;
  /** What it follows from: positions on the cluster that is left, by `topic/partition`; null where the group has none, and so has read nothing. */
  readonly from: Readonly<Record<string, bigint | null>>;
}

export interface PlacingOptions {
  readonly map: BridgeMap;
  readonly direction: Direction;
  /** Source topics of the plan, with what the target calls them. */
  readonly names: ReadonlyMap<string, string>;
  readonly deadLetter: string;
  /** By `topic/partition` of the cluster that is left: committed beyond is no place in the log. */
  readonly ends: ReadonlyMap<string, bigint>;
  /** By `topic/partition` of the other cluster, of all partitions of the topics that groups may read there. */
  readonly starts: ReadonlyMap<string, bigint>;
}

/** Every partition over there gets a position, so that no group begins anywhere by `auto.offset.reset`. */
export function placePositions(positions: readonly UncarriedPosition[], options: PlacingOptions): PlacedPosition[] {
  return [...Map.groupBy(positions, ({ group }) => group)].flatMap(([group, own]) => placeGroup(group, own, options));
}

function placeGroup(group: string, own: readonly UncarriedPosition[], options: PlacingOptions): PlacedPosition[] {
  const { map, direction, names, deadLetter, ends, starts } = options;
  const committed = new Map(own.map(({ topic, partition, offset }) => [partitionKey(topic, partition), offset]));
  const within = new Map([...committed].map(([key, offset]) => [key, lesser(offset, ends.get(key) ?? offset)]));
  const read = new Set(own.map(({ topic }) => topic));
  const topics =
    direction === 'forward'
      ? [...read]
      : [...names].filter(([topic, there]) => read.has(there) || map.leadsInto(topic, read)).map(([topic]) => topic);
  const placed =
    direction === 'forward' ? map.translate(topics, within, deadLetter) : map.translateBack(topics, within, deadLetter);
  const found = new Map(placed.map((one) => [partitionKey(one.topic, one.partition), one]));
  const called = new Set(direction === 'forward' ? topics.map((topic) => names.get(topic) ?? topic) : topics);
  for (const [key, start] of starts) {
    const slash = key.lastIndexOf('/');
    const [topic, partition] = [key.slice(0, slash), Number(key.slice(slash + 1))];
    // Nothing came here: whatever does is new to the group.
    if (called.has(topic) && !found.has(key)) {
      found.set(key, { topic, partition, position: start, replays: 0, from: [] });
    }
  }
  const early = direction === 'forward' ? notCarried(map, within, found, names) : new Map<string, number>();
  return [...found].map(([key, { topic, partition, position, replays, from }]) => {
    const again = replays + (early.get(key) ?? 0);
    const beyond = from.some((one) => (committed.get(one) ?? 0n) > (ends.get(one) ?? committed.get(one) ?? 0n));
    return {
      group,
      topic,
      partition,
      written: greater(position, starts.get(key) ?? 0n),
      class: beyond ? 'untranslatable' : again > 0 ? 'replays' : 'exact',
      replays: again,
      from: Object.fromEntries(from.map((one) => [one, committed.get(one) ?? null])),
    };
  });
}

/** What the group has read and the bridge has not carried yet will come again, wherever the module puts it: at most so many, told with one partition. */
function notCarried(
  map: BridgeMap,
  within: ReadonlyMap<string, bigint>,
  found: ReadonlyMap<string, Translated>,
  names: ReadonlyMap<string, string>,
): Map<string, number> {
  const early = new Map<string, number>();
  for (const [from, position] of within) {
    const left = Number(position - (map.positions.get(from) ?? 0n));
    if (left <= 0) continue;
    const slash = from.lastIndexOf('/');
    const [topic, partition] = [from.slice(0, slash), Number(from.slice(slash + 1))];
    const own = partitionKey(names.get(topic) ?? topic, partition);
    const at = found.has(own) ? own : [...found.keys()][0];
    if (at !== undefined) early.set(at, (early.get(at) ?? 0) + left);
  }
  return early;
}

/** As steps that know one position for each partition see it: `committed` is -1 where the group has none, as Kafka says it. */
export function asCarried(placed: readonly PlacedPosition[]): CarriedPosition[] {
  return placed.map(({ from, ...rest }) => ({
    ...rest,
    committed: from[partitionKey(rest.topic, rest.partition)] ?? -1n,
  }));
}

const lesser = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const greater = (a: bigint, b: bigint): bigint => (a > b ? a : b);
