/**
 * The sampled audit (`verify.records: sample`): of what a partition holds when it begins, the first batch, the last one and 1,000 others by chance are
 * compared, by the audit's own rules; whatever comes after that is compared in full, as always. It never proves equality: nobody has looked at the rest.
 */
import { randomInt } from 'node:crypto';
import { listOffsets, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { type AuditPartition, runAudit } from '../mirror/audit.ts';
import type { Proven } from './audit-positions.ts';
import type { Clusters } from './change.ts';
import { batchesAt } from './log-shape.ts';
import { getAllJson, putJson, type Storage } from './storage.ts';

/** Between the first batch and the last one of a partition. */
const placesMax = 1_000;
/** Partitions with fewer offsets are compared in full: that takes less than a thousand looks, of some 40 ms each (measured, two shared cores). */
const fullBelowOffsets = 100_000;
/** Of one answer: a batch, and little more. */
const partitionBytesMax = 64 * 1024;
/** `randomInt` takes no more. */
const randomMax = 2 ** 47;

/** What was looked at of a partition; offsets as decimal strings. */
export interface SampledPartition extends TopicPartition {
  /** Where the sample was taken, and where the audit in full begins. */
  readonly start: string;
  readonly end: string;
  readonly batches: number;
  readonly records: number;
}

export interface Sample {
  readonly partitions: readonly SampledPartition[];
  /** What differs: nothing else is sampled then. */
  readonly differing: readonly AuditPartition[];
}

/**
 * Samples partitions that nothing is proven of, as the mirror brings them. Compacted ones are left out (a record that one side lacks is judged by all
 * that comes after it), and those with few offsets: they are compared in full.
 *
 * @param options.places between first and last, for tests, as `fullBelow`
 * @throws CutoverError as `runAudit` does
 */
export async function sampleHistory(
  clusters: Clusters,
  starts: readonly Proven[],
  options: {
    readonly signal: AbortSignal;
    readonly places?: number;
    readonly fullBelow?: number;
    readonly onProgress?: (positions: readonly AuditPartition[]) => void;
  },
): Promise<Sample> {
  const { signal, places = placesMax, fullBelow = fullBelowOffsets, onProgress } = options;
  const fresh = starts.filter((p) => p.digest === '' && !p.compacted && p.targetNativeFrom === undefined);
  const [from, ends] = [
    await listOffsets(clusters.source, fresh, 'start'),
    await listOffsets(clusters.source, fresh, 'lastStable'),
  ];
  const sampling = fresh.flatMap(({ topic, partition }) => {
    const key = partitionKey(topic, partition);
    const [start, end] = [from.get(key) ?? 0n, ends.get(key) ?? 0n];
    if (end - start < BigInt(fullBelow)) return [];
    return [
      { key, topic, partition, start, end, left: placesIn(start, end, places), at: start, batches: 0, records: 0 },
    ];
  });
  for (let open = sampling; open.length > 0 && !signal.aborted; ) {
    const asked = open.map((p) => ({ ...p, offset: p.left.shift() as bigint }));
    const batches = await batchesAt(clusters.source, asked);
    const looked = open.flatMap((p) => {
      const batch = batches.get(p.key);
      if (!batch || batch.next <= p.at) return [];
      const position = batch.start > p.at ? batch.start : p.at;
      return [{ p, position, next: batch.next < p.end ? batch.next : p.end }];
    });
    const results =
      looked.length === 0
        ? []
        : await runAudit({
            ...clusters,
            partitions: looked.map(({ p: { topic, partition }, position }) => ({
              topic,
              partition,
              position,
              records: 0,
              digest: '',
            })),
            until: new Map(looked.map(({ p, next }) => [p.key, next])),
            partitionBytesMax,
            signal,
          });
    const differing = results.filter((result) => result.differences > 0);
    if (differing.length > 0) return { partitions: [], differing };
    for (const [index, { p, next }] of looked.entries()) {
      p.at = next;
      p.batches++;
      p.records += results[index]?.records ?? 0;
    }
    onProgress?.(results);
    open = open.filter((p) => p.left.length > 0);
  }
  signal.throwIfAborted();
  const partitions = sampling.map(({ topic, partition, start, end, batches, records }) => ({
    topic,
    partition,
    start: String(start),
    end: String(end),
    batches,
    records,
  }));
  return { partitions, differing: [] };
}

/** Ascending, the first and the last offset among them. */
function placesIn(start: bigint, end: bigint, count: number): bigint[] {
  const size = Number(end - start);
  const random = Array.from({ length: count }, () => start + BigInt(randomInt(Math.min(size, randomMax))));
  return [...new Set([start, ...random, end - 1n])].sort((a, b) => (a < b ? -1 : 1));
}

const samplesOf = (migration: string) => `${migration}/sample/`;

/** @param writer as for `storeAudit` */
export async function storeSample(
  wave: { readonly storage: Storage; readonly migration: string },
  writer: string,
  partitions: readonly SampledPartition[],
): Promise<void> {
  if (partitions.length > 0) await putJson(wave.storage, `${samplesOf(wave.migration)}${writer}`, partitions);
}

/** Of the topics named; summed up. */
export async function readSample(
  { storage, migration }: { readonly storage: Storage; readonly migration: string },
  topics: readonly string[],
): Promise<{ readonly batches: number; readonly records: number }> {
  const wanted = new Set(topics);
  const stored = await getAllJson<SampledPartition[]>(storage, samplesOf(migration));
  const latest = new Map(stored.flatMap(({ value }) => value).map((p) => [partitionKey(p.topic, p.partition), p]));
  const own = [...latest.values()].filter(({ topic }) => wanted.has(topic));
  const sum = (of: (p: SampledPartition) => number) => own.reduce((total, p) => total + of(p), 0);
  return { batches: sum((p) => p.batches), records: sum((p) => p.records) };
}
