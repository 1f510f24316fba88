/**
 * Whose batches stand in a log. A mirror writes each partition under one producer id that is known from preflight
 * on, and its markers and aborted records under the producers of its ownership id, so every batch can be told apart from
 * applications' by its header alone.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import { readBatches } from '../kafka/batches.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { askLeaders, listOffsets, partitionKey, partitionOf, type TopicPartition } from '../kafka/offsets.ts';
import { type RawFetchedPartition, rawFetch } from '../kafka/wire.ts';
import { type Owners, readOwners } from './owners.ts';
import { readProducerIds } from './producer-ids.ts';
import type { Storage } from './storage.ts';
import { describeWriters, type Writers } from './writers.ts';

/** A stretch of a log: from `from` up to, not including, `until`. */
export interface Range extends TopicPartition {
  readonly from: bigint;
  readonly until: bigint;
}

export interface ForeignBatch extends TopicPartition {
  readonly offset: bigint;
  /** -1n: a producer without an id (not idempotent). */
  readonly producerId: bigint;
  readonly records: number;
  /** Milliseconds since 1970, of its last record. */
  readonly timestampMs: bigint;
}

export interface Provenance {
  /** The first batch of each partition that is not ours. */
  readonly foreign: readonly ForeignBatch[];
  /** Producers of all batches that are not ours, by `topic/partition`; -1n for those without an id. */
  readonly writers: Writers;
  readonly records: number;
  readonly bytes: number;
}

/** Partitions whose writers one message names. */
const partitionsShownMax = 5;
/** A failure is not held up for longer by finding out who caused it. */
export const tellTimeoutMs = 5_000;
const fetchBytes = 1024 * 1024;
const readsAtOnce = 4;
const retryPauseMs = 20;
/** Between two looks of the watch. */
const watchIntervalMs = 1_000;
/** Whole topics are only read up to this size to tell whose they are; bytes. */
export const ownershipScanBytesMax = 1024 * 1024 * 1024;

export interface ProvenanceOptions {
  readonly signal?: AbortSignal;
  readonly bytesMax?: number;
  /** Producers of the mirror's ownership ids; asked when a batch is neither of `ours` nor of those that were known before. */
  readonly owners?: () => Promise<Owners>;
}

/**
 * Reads the headers of all batches in the ranges and gives the first one per partition that `ours` did not write.
 *
 * @param ours producer id per `topic/partition`
 * @throws CutoverError TOPIC_MISSING, CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE
 */
export async function readProvenance(
  cluster: Cluster,
  ranges: readonly Range[],
  ours: ReadonlyMap<string, bigint>,
  options: ProvenanceOptions = {},
): Promise<Provenance> {
  const foreign = new Map<string, ForeignBatch>();
  const writers = new Map<string, Set<bigint>>();
  let owners: Owners = new Map();
  const isOwner = async (key: string, producerId: bigint) => {
    // Ownership is taken when it is first needed, and anew after 32,767 terms: who is not known yet is asked for.
    if (producerId >= 0n && options.owners && !owners.get(key)?.has(producerId)) owners = await options.owners();
    return owners.get(key)?.has(producerId) === true;
  };
  let records = 0;
  let bytes = 0;
  const read = async (range: Range) => {
    const { topic, partition } = range;
    const key = partitionKey(topic, partition);
    for (let at = range.from; at < range.until; ) {
      options.signal?.throwIfAborted();
      if (bytes > (options.bytesMax ?? Number.POSITIVE_INFINITY)) return;
      const answer = await fetchOne(cluster, topic, partition, at);
      const before = at;
      for (const batch of readBatches(answer.records)) {
        if (batch.nextOffset <= at) continue;
        if (batch.baseOffset >= range.until) return;
        at = batch.nextOffset;
        bytes += batch.byteLength;
        records += batch.magic < 2 ? 1 : batch.recordCount;
        const producerId = batch.magic < 2 ? -1n : batch.producerId;
        if (producerId === ours.get(key) || writers.get(key)?.has(producerId)) continue;
        if (await isOwner(key, producerId)) continue;
        writers.set(key, (writers.get(key) ?? new Set()).add(producerId));
        if (foreign.has(key)) continue;
        const timestampMs = batch.magic < 2 ? -1n : batch.maxTimestamp;
        foreign.set(key, {
          topic,
          partition,
          offset: batch.baseOffset,
          producerId,
          records: batch.recordCount,
          timestampMs,
        });
      }
      // Nothing below the high watermark from here on: compaction holes, or not replicated yet.
      if (at === before && answer.highWatermark >= range.until) return;
      if (at === before) await sleep(retryPauseMs);
    }
  };
  const queue = ranges.filter((range) => range.until > range.from);
  await Promise.all(
    Array.from({ length: Math.min(readsAtOnce, queue.length) }, async () => {
      for (let range = queue.shift(); range; range = queue.shift()) await read(range);
    }),
  );
  return { foreign: [...foreign.values()], writers, records, bytes };
}

/** Who wrote these ranges, in words: one line for each of the first few partitions. Never fails: a cluster that does not tell is said. */
export async function whoWrote(cluster: Cluster, ranges: readonly Range[]): Promise<string[]> {
  const shown = ranges.slice(0, partitionsShownMax);
  try {
    const { writers } = await readProvenance(cluster, shown, new Map(), { signal: AbortSignal.timeout(tellTimeoutMs) });
    return await describeWriters(cluster, writers);
  } catch (error) {
    return [`who wrote cannot be told: ${(error as Error).message}`];
  }
}

/**
 * Why a target topic may hold records that the forward mirror did not write, or null when it holds none: reads the
 * header of every batch.
 */
export async function whyNotOurs(
  storage: Storage,
  target: Cluster,
  migration: string,
  topic: string,
): Promise<string | null> {
  const ours = await readProducerIds(storage, migration, 'forward');
  const described = (await target.metadata([topic])).topics.get(topic);
  const partitions = (described?.partitions ?? []).map(({ partition }) => ({ topic, partition }));
  const [starts, ends] = [
    await listOffsets(target, partitions, 'start'),
    await listOffsets(target, partitions, 'highWatermark'),
  ];
  const ranges = partitions.map((p) => {
    const key = partitionKey(p.topic, p.partition);
    return { ...p, from: starts.get(key) ?? 0n, until: ends.get(key) ?? 0n };
  });
  const owners = () => readOwners(storage, migration, 'forward', target, partitions);
  const found = await readProvenance(target, ranges, ours, { bytesMax: ownershipScanBytesMax, owners });
  const first = found.foreign[0];
  if (first) {
    const who = first.producerId < 0n ? 'a producer without an id' : `producer ${first.producerId}`;
    return `${partitionKey(first.topic, first.partition)} holds records from offset ${first.offset} on that ${who} wrote; delete it by hand if they are not needed`;
  }
  if (found.bytes > ownershipScanBytesMax) return 'it is too large to tell whose records it holds; delete it by hand';
  return null;
}

async function fetchOne(
  cluster: Cluster,
  topic: string,
  partition: number,
  from: bigint,
): Promise<RawFetchedPartition> {
  const answers = await askLeaders(cluster, [{ topic, partition }], 'reading batches', async (broker, questions) => {
    const leaderEpoch = questions[0]?.leaderEpoch ?? -1;
    const answer = await cluster.call({ broker }, rawFetch, {
      maxWaitMs: 0,
      minBytes: 0,
      maxBytes: fetchBytes,
      isolation: 'readUncommitted',
      topics: [{ topic, partitions: [{ partition, fetchOffset: from, maxBytes: fetchBytes, leaderEpoch }] }],
    });
    return answer.partitions;
  });
  const answer = answers.get(partitionKey(topic, partition));
  if (answer) return answer;
  throw new CutoverError('KAFKA_REQUEST_FAILED', {
    what: 'no answer',
    where: `cluster ${cluster.name}, ${topic}/${partition}`,
  });
}

/**
 * Reads on and on what is written to a fenced cluster, until `signal` aborts: all of it must be the mirror's.
 *
 * @param from where to begin, by `topic/partition`: the boundary, or where an earlier watch stopped
 * @throws CutoverError SOURCE_WRITTEN_AFTER_FENCE with the first offset and producer id of each partition
 */
export async function watchProvenance(
  cluster: Cluster,
  from: ReadonlyMap<string, bigint>,
  ours: ReadonlyMap<string, bigint>,
  options: {
    readonly signal: AbortSignal;
    readonly owners?: () => Promise<Owners>;
    readonly intervalMs?: number;
    readonly onLook?: (position: ReadonlyMap<string, bigint>) => void;
  },
): Promise<void> {
  const position = new Map(from);
  const partitions = [...from.keys()].map(partitionOf);
  while (!options.signal.aborted) {
    const ends = await listOffsets(cluster, partitions, 'highWatermark');
    const ranges = partitions.map((p) => {
      const key = partitionKey(p.topic, p.partition);
      return { ...p, from: position.get(key) ?? 0n, until: ends.get(key) ?? 0n };
    });
    const { foreign, writers } = await readProvenance(cluster, ranges, ours, {
      signal: options.signal,
      ...(options.owners && { owners: options.owners }),
    });
    if (foreign.length > 0) throw await writtenAfterFence(cluster, foreign, writers);
    for (const [key, end] of ends) position.set(key, end);
    options.onLook?.(position);
    await sleep(options.intervalMs ?? watchIntervalMs, undefined, { signal: options.signal }).catch(() => {});
  }
}

async function writtenAfterFence(
  cluster: Cluster,
  foreign: readonly ForeignBatch[],
  writers: Writers,
): Promise<CutoverError> {
  const shown = foreign.slice(0, partitionsShownMax);
  const keyOf = (b: ForeignBatch) => partitionKey(b.topic, b.partition);
  const few = new Map(shown.map((b) => [keyOf(b), writers.get(keyOf(b)) ?? new Set<bigint>()]));
  const who = await describeWriters(cluster, few).catch((error) => [`who wrote cannot be told: ${error.message}`]);
  const where = shown.map((b) => `${keyOf(b)} from offset ${b.offset} on`);
  const more = foreign.length > shown.length ? ` and ${foreign.length - shown.length} more` : '';
  return new CutoverError('SOURCE_WRITTEN_AFTER_FENCE', {
    what: 'somebody other than the mirror wrote to the fenced cluster',
    where: `cluster ${cluster.name}`,
    found: `${where.join(', ')}${more}; ${who.join('; ')}`,
    wanted: 'batches of the mirror only',
  });
}
