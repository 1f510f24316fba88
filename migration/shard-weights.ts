/**
 * How partitions are spread over a mirror's shards, and when they are spread anew. Every shard must work from the same
 * weights: those of the approved inventory, or a stored list whose name the workflow hands to all of them.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { Direction } from '../contract/status.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { listOffsets, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import {
  assignShards,
  isLong,
  isUneven,
  type ShardPace,
  shardLoads,
  type Weighed,
  wouldEven,
} from '../mirror/shards.ts';
import { getJson, putJson } from './storage.ts';
import type { Wave } from './wave.ts';

/** No sooner than this after a mirror was started is it spread anew. */
const balanceAfterMs = 600_000;
/** Between two looks; the rates are those between the last two. */
const lookEveryMs = 60_000;
/** Where shards may be spread anew sooner than by default, so many looks are taken before. */
const looksMin = 5;
/** What a partition counts for beside its bytes: connections, requests, what is written to it now. */
const partitionBytes = 65_536;
/** Of one offset where the brokers do not tell sizes. */
const slotBytesUnknown = 1_000;

/** Workers named in a summary. */
const spareShownMax = 5;

const none: ReadonlySet<string> = new Set();

/** `topic/partition` to bytes. */
type StoredWeights = Record<string, number>;

type Weighing = Pick<Wave, 'migration' | 'wave' | 'storage' | 'inventory' | 'partitions'>;

export interface ShardOf {
  readonly shard: number;
  readonly shards: number;
  readonly weights: string | null;
  /** `topic/partition` of those that one shard must carry; none by default. */
  readonly together?: ReadonlySet<string>;
}

/** The partitions that a shard carries: by the weights of that name, by sizes in the inventory when null. */
export async function partitionsOfShard<P extends TopicPartition>(
  wave: Weighing,
  partitions: readonly P[],
  { shard, shards, weights, together = none }: ShardOf,
): Promise<P[]> {
  if (shards === 1) return [...partitions];
  const assigned = assignShards(await weigh(wave, weights, together), shards);
  const mine = new Set(
    wave.partitions
      .filter((_, index) => assigned[index] === shard)
      .map(({ topic, partition }) => partitionKey(topic, partition)),
  );
  return partitions.filter(({ topic, partition }) => mine.has(partitionKey(topic, partition)));
}

export interface BalanceOptions {
  /** The clusters as the direction goes. */
  readonly from: Cluster;
  readonly into: Cluster;
  readonly direction: Direction;
  readonly shards: number;
  /** Name of the weights in force. */
  readonly weights: string | null;
  readonly signal: AbortSignal;
  readonly together?: ReadonlySet<string>;
  /** Workers that carry no shard while others carry several. */
  readonly spareWorkers?: () => Promise<readonly string[]>;
  /** 600,000 and 60,000 by default. */
  readonly afterMs?: number;
  readonly everyMs?: number;
}

/** For those who do not want to wait as long as by default. */
export function balanceTimes(afterMs: number = balanceAfterMs): { readonly afterMs: number; readonly everyMs: number } {
  return { afterMs, everyMs: Math.min(lookEveryMs, Math.ceil(afterMs / looksMin)) };
}

/**
 * Waits until what is left would be done much sooner if it were spread anew, over the shards or over the workers; stores what is left as weights.
 * With other weights the shards are started again, and whoever asks for one then gets it.
 *
 * @returns the stored weights' name and why, or null when `signal` aborted
 * @throws CutoverError CLUSTER_UNREACHABLE, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, TOPIC_MISSING
 */
export async function awaitImbalance(
  wave: Weighing,
  options: BalanceOptions,
): Promise<{ readonly weights: string; readonly summary: string } | null> {
  const { shards, direction, signal, together = none, afterMs = balanceAfterMs, everyMs = lookEveryMs } = options;
  const assigned = assignShards(await weigh(wave, options.weights, together), shards);
  const startedAt = performance.now();
  let before = await look(wave, options);
  while (!signal.aborted) {
    await sleep(everyMs, undefined, { signal }).catch(() => {});
    if (signal.aborted) return null;
    const now = await look(wave, options);
    const paces = pacesOf(before, now, assigned, shards);
    before = now;
    const spare = (await options.spareWorkers?.()) ?? [];
    if (performance.now() - startedAt < afterMs) continue;
    const uneven = isUneven(paces) && wouldEven(now.left, assigned, shards);
    if (!uneven && !(spare.length > 0 && isLong(paces))) continue;
    const name = nextName(wave, direction, options.weights);
    const stored: StoredWeights = {};
    for (const { topic, partition, weight } of now.left) stored[partitionKey(topic, partition)] = weight;
    await putJson(wave.storage, name, stored);
    const parts = shardLoads(now.left, assigned, shards).map((bytes) => `${(bytes / 1e6).toFixed(1)} MB`);
    const why = spare.length > 0 ? `; without a shard: ${spare.slice(0, spareShownMax).join(', ')}` : '';
    return { weights: name, summary: `left by shard: ${parts.join(', ')}${why}` };
  }
  return null;
}

/**
 * Two names in turn: who still works from the last weights (an attempt that is tried again) finds them unchanged.
 */
function nextName({ migration, wave }: Weighing, direction: Direction, last: string | null): string {
  const prefix = `${migration}/shard-weights/${wave}/${direction}`;
  return last === `${prefix}-a` ? `${prefix}-b` : `${prefix}-a`;
}

/** In the order of `wave.partitions`. */
async function weigh(wave: Weighing, weights: string | null, together: ReadonlySet<string>): Promise<Weighed[]> {
  if (weights === null) {
    const slots = new Map(
      wave.inventory.measured.partitions.map((p) => [
        partitionKey(p.topic, p.partition),
        Number(BigInt(p.end) - BigInt(p.start)),
      ]),
    );
    const slotBytes = slotBytesOf(wave);
    return wave.partitions.map(({ topic, partition }) => {
      const key = partitionKey(topic, partition);
      const weight = Math.round((slots.get(key) ?? 0) * slotBytes(key)) + partitionBytes;
      return { topic, partition, weight, together: together.has(key) };
    });
  }
  const stored = await getJson<StoredWeights>(wave.storage, weights);
  if (!stored) throw new CutoverError('STORAGE_CORRUPT', { what: 'weights are not in storage', where: weights });
  return wave.partitions.map(({ topic, partition }) => {
    const key = partitionKey(topic, partition);
    return { topic, partition, weight: stored[key] ?? 0, together: together.has(key) };
  });
}

/** Bytes that an offset of a partition takes on the source's disk, as inventoried. */
function slotBytesOf({ inventory }: Pick<Weighing, 'inventory'>): (key: string) => number {
  const sizes = new Map<string, number>();
  for (const { topic, partition, start, end, bytes } of inventory.measured.partitions) {
    const slots = Number(BigInt(end) - BigInt(start));
    if (bytes !== null && slots > 0) sizes.set(partitionKey(topic, partition), bytes / slots);
  }
  return (key) => sizes.get(key) ?? slotBytesUnknown;
}

interface Look {
  readonly at: number;
  /** What a shard would begin with now: bytes not copied yet, and what a partition costs by itself. */
  readonly left: readonly Weighed[];
  readonly positions: readonly number[];
}

async function look(
  wave: Weighing,
  { from, into, together = none }: Pick<BalanceOptions, 'from' | 'into' | 'together'>,
): Promise<Look> {
  const [ends, positions] = await Promise.all([
    listOffsets(from, wave.partitions, 'highWatermark'),
    listOffsets(into, wave.partitions, 'logEnd'),
  ]);
  const slotBytes = slotBytesOf(wave);
  const copied: number[] = [];
  const left = wave.partitions.map(({ topic, partition }) => {
    const key = partitionKey(topic, partition);
    const position = positions.get(key) ?? 0n;
    const behind = Math.max(0, Number((ends.get(key) ?? 0n) - position));
    copied.push(Number(position) * slotBytes(key));
    const weight = Math.round(behind * slotBytes(key)) + partitionBytes;
    return { topic, partition, weight, together: together.has(key) };
  });
  return { at: performance.now(), left, positions: copied };
}

function pacesOf(before: Look, now: Look, assigned: readonly number[], shards: number): ShardPace[] {
  const seconds = (now.at - before.at) / 1000;
  const left = new Array<number>(shards).fill(0);
  const done = new Array<number>(shards).fill(0);
  now.left.forEach(({ weight }, index) => {
    const shard = assigned[index] ?? 0;
    left[shard] = (left[shard] ?? 0) + weight - partitionBytes;
    done[shard] = (done[shard] ?? 0) + (now.positions[index] ?? 0) - (before.positions[index] ?? 0);
  });
  return left.map((bytes, shard) => ({ left: bytes, perSecond: Math.max(0, (done[shard] ?? 0) / seconds) }));
}
