/**
 * Which shard carries which partition. Pure and the same everywhere: every shard's activity works out its own part from
 * the same weights. Two mirrors on one partition would lose nothing (plain data are a compare-and-set, markers have an
 * owner), so all that depends on this is how soon the copy is done.
 */
import type { TopicPartition } from '../kafka/offsets.ts';

export interface Weighed extends TopicPartition {
  /** What there is to copy: bytes, or offsets where sizes are not known; the same unit for all. Not negative. */
  readonly weight: number;
  /** All that are so are carried by one shard, the first. */
  readonly together?: boolean;
}

/** What a shard still has to do, and how fast it goes, in the same unit. */
export interface ShardPace {
  readonly left: number;
  readonly perSecond: number;
}

/** Rebalanced only when the slowest shard would take so many times as long as the average. */
export const slowestToAverageMin = 1.5;
/** And so many seconds longer: stopping and beginning again costs some too. */
export const secondsLateMin = 60;
/** And when the largest part shrinks to this share at most: one partition cannot be split. */
const shrinkMax = 0.8;

/**
 * The shard of each partition, in the order given: the heaviest first, each to the lightest shard so far, the one with
 * fewer partitions where they weigh the same. Its heaviest shard is never heavier than 4/3 - 1/(3 * shards) times the
 * best there is (Graham, Bounds on Multiprocessing Timing Anomalies, 1969), apart from what has to be `together`.
 *
 * @param shards 1 or more
 */
export function assignShards(partitions: readonly Weighed[], shards: number): number[] {
  const heaviestFirst = partitions.map((_, index) => index).sort((a, b) => byWeight(partitions, a, b));
  const loads = Array.from({ length: shards }, () => ({ weight: 0, partitions: 0 }));
  const assigned = new Array<number>(partitions.length).fill(0);
  const [first] = loads;
  for (const { weight } of partitions.filter(({ together }) => together)) {
    if (!first) break;
    first.weight += weight;
    first.partitions++;
  }
  for (const index of heaviestFirst) {
    if (partitions[index]?.together) continue;
    let lightest = 0;
    for (let shard = 1; shard < shards; shard++) {
      const candidate = loads[shard] as { weight: number; partitions: number };
      const best = loads[lightest] as { weight: number; partitions: number };
      const lighter = candidate.weight - best.weight || candidate.partitions - best.partitions;
      if (lighter < 0) lightest = shard;
    }
    const load = loads[lightest] as { weight: number; partitions: number };
    load.weight += partitions[index]?.weight ?? 0;
    load.partitions++;
    assigned[index] = lightest;
  }
  return assigned;
}

/** The weight of each shard. */
export function shardLoads(partitions: readonly Weighed[], assigned: readonly number[], shards: number): number[] {
  const loads = new Array<number>(shards).fill(0);
  partitions.forEach(({ weight }, index) => {
    const shard = assigned[index] ?? 0;
    loads[shard] = (loads[shard] ?? 0) + weight;
  });
  return loads;
}

/** Whether the slowest shard keeps everybody waiting: it would end much later than the average. */
export function isUneven(paces: readonly ShardPace[]): boolean {
  if (paces.length < 2) return false;
  // One that stands still is taken for as slow as the slowest that moves: when it ends cannot be told.
  const moving = paces.map((pace) => pace.perSecond).filter((rate) => rate > 0);
  if (moving.length === 0) return false;
  const slowestRate = Math.min(...moving);
  const seconds = paces.map(({ left, perSecond }) => left / (perSecond > 0 ? perSecond : slowestRate));
  const average = seconds.reduce((sum, time) => sum + time, 0) / seconds.length;
  const slowest = Math.max(...seconds);
  return slowest >= slowestToAverageMin * average && slowest - average >= secondsLateMin;
}

/** Whether the copy goes on for so long that stopping and beginning again is worth it for other reasons. */
export function isLong(paces: readonly ShardPace[]): boolean {
  return paces.some(({ left, perSecond }) => left > perSecond * secondsLateMin);
}

/** Whether spreading what is left anew makes the largest part so much smaller that it is worth a restart. */
export function wouldEven(left: readonly Weighed[], assigned: readonly number[], shards: number): boolean {
  const now = Math.max(...shardLoads(left, assigned, shards));
  const anew = Math.max(...shardLoads(left, assignShards(left, shards), shards));
  return anew <= now * shrinkMax;
}

/** Never 0 for two partitions: names decide, so that every process has the same order. */
function byWeight(partitions: readonly Weighed[], a: number, b: number): number {
  const first = partitions[a] as Weighed;
  const second = partitions[b] as Weighed;
  if (first.weight !== second.weight) return second.weight - first.weight;
  if (first.topic !== second.topic) return first.topic < second.topic ? -1 : 1;
  return first.partition - second.partition;
}
