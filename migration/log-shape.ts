/**
 * What the batches of a topic look like, from a sample: the first batches and the last one of each partition. A sample
 * can prove that a log has a shape, never that it has none: it is for what people are told, the mirror carries what it meets.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { kafkaError, refuseKafkaError } from '../kafka/kafka-errors.ts';
import { askLeaders, groupByTopic, partitionKey, type Question } from '../kafka/offsets.ts';
import { rawFetch } from '../kafka/wire.ts';

/** Plain data, per topic; places are `partition 3, offset 42`. */
export interface LogShape {
  readonly topic: string;
  readonly transactionalAt: string | null;
  readonly oldFormatAt: string | null;
  readonly logAppendTimeAt: string | null;
  /** Of the first records, over all partitions; milliseconds since 1970, -1 where they have none (message format v0). */
  readonly oldestMs: number | null;
  readonly newestMs: number | null;
  /** The newest time that a broker stamped a sampled record with; null where none did. Milliseconds since 1970. */
  readonly brokerStampMs?: number | null;
  /** At the heads: how many offsets were looked at, and how many of them hold no record. */
  readonly sampledOffsets: number;
  readonly sampledHoles: number;
  /** Partitions that hold something and were not looked at: there are too many. Where only some are, each topic has its turn first. */
  readonly unsampled: number;
}

export interface SampleRange {
  readonly topic: string;
  readonly partition: number;
  /** Kept offsets: from `start` to below `end`. */
  readonly start: bigint;
  readonly end: bigint;
}

interface Batch {
  /** Of message formats v0 and v1: the last offset of a compressed entry, which is all that its header says. */
  readonly baseOffset: bigint;
  readonly magic: number;
  /** As in format v2; 0 where the format has no such thing. */
  readonly attributes: number;
  readonly baseTimestampMs: number;
  readonly maxTimestampMs: number;
  /** The offset after its last one, whether that still holds a record or not; records that it holds. 0 of message formats v0 and v1: only unpacked they would tell. */
  readonly nextOffset: bigint;
  readonly records: number;
}

/** Bytes asked for per place: less where there are many places, so that one look at all of them stays within `lookBytes`. */
const sampleBytes = { most: 64 * 1024, least: 16 * 1024 } as const;
const lookBytes = 128 * 1024 * 1024;
/** Brokers give a batch that is larger than asked for only to the first partition of a request; the others are asked for anew with this. */
const largeBatchBytes = 1024 * 1024;
const answerBytesMax = 16 * 1024 * 1024;
/** To one broker in one look; what is left over then is not looked at, and told (`unsampled`). */
const requestsMax = 12;

/** Offsets in a batch header, message format v2 (KIP-98); `magic` stands in the same place in v0 and v1. */
const header = {
  magic: 16,
  attributes: 21,
  lastOffsetDelta: 23,
  baseTimestamp: 27,
  maxTimestamp: 35,
  recordCount: 57,
  size: 61,
};
/** Of an entry of message format v1 (KIP-32); v0 has no timestamp. */
const v1 = { attributes: 17, timestamp: 18, size: 26 };
const attribute = { logAppendTime: 0x08, transactional: 0x10, control: 0x20 };

/**
 * Looks at both ends of each range. Empty ranges have no shape. How many requests that takes depends on the brokers, not on the topics.
 *
 * @throws CutoverError TOPIC_MISSING, CLUSTER_ACCESS_DENIED (needs READ on the topics), KAFKA_REQUEST_FAILED
 */
export async function sampleLogShapes(
  cluster: Cluster,
  ranges: readonly SampleRange[],
  {
    requests = requestsMax,
    onSample,
  }: {
    readonly requests?: number;
    /** Called with what was fetched, whole batches and a cut one at the end. */
    readonly onSample?: (topic: string, log: Buffer) => void;
  } = {},
): Promise<LogShape[]> {
  const filled = ranges.filter((range) => range.start < range.end);
  const heads = await look(cluster, filled, (range) => range.start, { requests, onSample });
  const tails = await look(cluster, filled, (range) => range.end - 1n, { requests, onSample });
  const byTopic = Map.groupBy(filled, (range) => range.topic);
  return [...byTopic].map(([topic, list]) => {
    const shapes = list.map((range) => {
      const key = partitionKey(range.topic, range.partition);
      const unsampled = heads.has(key) && tails.has(key) ? 0 : 1;
      return { ...shapeOf(range, heads.get(key) ?? [], tails.get(key) ?? []), unsampled };
    });
    const first = (pick: (shape: LogShape) => string | null) =>
      shapes.map(pick).find((place) => place !== null) ?? null;
    const times = (pick: (shape: LogShape) => number | null) => shapes.map(pick).filter((time) => time !== null);
    const oldest = times((shape) => shape.oldestMs);
    const newest = times((shape) => shape.newestMs);
    const stamps = times((shape) => shape.brokerStampMs ?? null);
    return {
      topic,
      transactionalAt: first((shape) => shape.transactionalAt),
      oldFormatAt: first((shape) => shape.oldFormatAt),
      logAppendTimeAt: first((shape) => shape.logAppendTimeAt),
      oldestMs: oldest.length > 0 ? Math.min(...oldest) : null,
      newestMs: newest.length > 0 ? Math.max(...newest) : null,
      brokerStampMs: stamps.length > 0 ? Math.max(...stamps) : null,
      sampledOffsets: shapes.reduce((sum, shape) => sum + shape.sampledOffsets, 0),
      sampledHoles: shapes.reduce((sum, shape) => sum + shape.sampledHoles, 0),
      unsampled: shapes.reduce((sum, shape) => sum + shape.unsampled, 0),
    };
  });
}

/**
 * The batch that each offset lies in, or the next one, by `partitionKey`: where it begins, and the offset after its last one. Missing where there is none,
 * and for message formats v0 and v1.
 */
export async function batchesAt(
  cluster: Cluster,
  places: readonly (SampleRange & { readonly offset: bigint })[],
): Promise<Map<string, { readonly start: bigint; readonly next: bigint }>> {
  const offsets = new Map(places.map((place) => [partitionKey(place.topic, place.partition), place.offset]));
  const from = ({ topic, partition }: SampleRange) => offsets.get(partitionKey(topic, partition)) ?? 0n;
  const seen = await look(cluster, places, from, { requests: Number.POSITIVE_INFINITY, onSample: undefined });
  const found = new Map<string, { start: bigint; next: bigint }>();
  for (const [key, [first]] of seen) {
    if (first && first.magic >= 2) found.set(key, { start: first.baseOffset, next: first.nextOffset });
  }
  return found;
}

function shapeOf(range: SampleRange, head: readonly Batch[], tail: readonly Batch[]): Omit<LogShape, 'unsampled'> {
  const place = (offset: bigint) => `partition ${range.partition}, offset ${offset}`;
  const all = [...head, ...tail];
  const find = (test: (batch: Batch) => boolean) => {
    const found = all.find(test);
    return found ? place(found.baseOffset) : null;
  };
  // A marker carries the time of its writing, which says nothing about records.
  const isRecords = (b: Batch) => (b.attributes & attribute.control) === 0;
  const [oldest] = head.filter(isRecords);
  const times = all.filter(isRecords).map((batch) => batch.maxTimestampMs);
  const stamped = all.filter((b) => (b.attributes & attribute.logAppendTime) !== 0).map((b) => b.maxTimestampMs);
  return {
    topic: range.topic,
    transactionalAt: find((b) => (b.attributes & (attribute.transactional | attribute.control)) !== 0),
    oldFormatAt: find((b) => b.magic < 2),
    logAppendTimeAt: find((b) => (b.attributes & attribute.logAppendTime) !== 0),
    oldestMs: oldest ? oldest.baseTimestampMs : null,
    newestMs: times.length > 0 ? Math.max(...times) : null,
    brokerStampMs: stamped.length > 0 ? Math.max(...stamped) : null,
    ...countHoles(head),
  };
}

/** Between batches, in them, and markers. */
export function countHoles(head: readonly Batch[]): Pick<LogShape, 'sampledOffsets' | 'sampledHoles'> {
  const batches = head.filter((batch) => batch.magic >= 2);
  const [first, last] = [batches[0], batches.at(-1)];
  if (!first || !last) return { sampledOffsets: 0, sampledHoles: 0 };
  const sampledOffsets = Number(last.nextOffset - first.baseOffset);
  return { sampledOffsets, sampledHoles: sampledOffsets - batches.reduce((sum, { records }) => sum + records, 0) };
}

/**
 * The first batches from an offset of each range on, by `partitionKey`; partitions for which there was no request left are missing. First
 * one partition of each topic, then the others, so that each topic is seen.
 */
async function look(
  cluster: Cluster,
  ranges: readonly SampleRange[],
  from: (range: SampleRange) => bigint,
  { requests, onSample }: { readonly requests: number; readonly onSample: OnSample | undefined },
): Promise<Map<string, readonly Batch[]>> {
  const offsets = new Map(ranges.map((range) => [partitionKey(range.topic, range.partition), from(range)]));
  const bytes = Math.min(sampleBytes.most, Math.max(sampleBytes.least, Math.floor(lookBytes / (ranges.length || 1))));
  const firstOf = new Map(ranges.toReversed().map((range) => [range.topic, range]));
  const isFirst = (range: SampleRange) => firstOf.get(range.topic) === range;
  const stages = [ranges.filter(isFirst), ranges.filter((range) => !isFirst(range))];
  const left = new Map<number, number>();
  const found = new Map<string, readonly Batch[]>();
  for (const stage of stages) {
    const answers = await askLeaders(cluster, stage, 'sampling the log', async (broker, questions) => {
      const allowed = left.get(broker) ?? requests;
      const { batches, used } = await lookAtBroker(cluster, broker, questions, {
        offsets,
        bytes,
        requests: allowed,
        onSample,
      });
      left.set(broker, allowed - used);
      return questions.map(({ topic, partition }) => {
        const seen = batches.get(partitionKey(topic, partition));
        return { topic, partition, ...(seen ?? { errorCode: 0, batches: null }) };
      });
    });
    for (const [key, { batches }] of answers) if (batches !== null) found.set(key, batches);
  }
  return found;
}

type OnSample = (topic: string, log: Buffer) => void;

interface Seen {
  readonly errorCode: number;
  readonly batches: readonly Batch[];
}

/** Asks for all that is left, again and again: an answer holds as much as fits into it, in the order of the request. */
async function lookAtBroker(
  cluster: Cluster,
  broker: number,
  questions: readonly Question[],
  {
    offsets,
    bytes,
    requests,
    onSample,
  }: {
    readonly offsets: ReadonlyMap<string, bigint>;
    readonly bytes: number;
    readonly requests: number;
    readonly onSample: OnSample | undefined;
  },
): Promise<{ batches: Map<string, Seen>; used: number }> {
  const batches = new Map<string, Seen>();
  const keyOf = (p: { readonly topic: string; readonly partition: number }) => partitionKey(p.topic, p.partition);
  let left = questions;
  let maxBytes = bytes;
  let used = 0;
  for (; left.length > 0 && used < requests; used++) {
    const topics = groupByTopic(left).map(({ topic, items }) => ({
      topic,
      partitions: items.map((item) => ({
        partition: item.partition,
        fetchOffset: offsets.get(keyOf(item)) ?? 0n,
        maxBytes,
        leaderEpoch: item.leaderEpoch,
      })),
    }));
    const answer = await cluster.call({ broker }, rawFetch, {
      maxWaitMs: 0,
      minBytes: 0,
      maxBytes: answerBytesMax,
      isolation: 'readUncommitted',
      topics,
    });
    refuseKafkaError(answer.errorCode, 'sampling the log', `cluster ${cluster.name}, broker ${broker}`);
    let received = 0;
    for (const p of answer.partitions) {
      received += p.records.length;
      // Retention or DeleteRecords was faster: nothing is there to look at any more.
      if (p.errorCode === kafkaError.offsetOutOfRange) batches.set(keyOf(p), { errorCode: 0, batches: [] });
      else if (p.errorCode !== 0 || p.records.length > 0) {
        batches.set(keyOf(p), { errorCode: p.errorCode, batches: parseBatches(p.records) });
        onSample?.(p.topic, p.records);
      }
    }
    const before = left;
    left = left.filter((question) => !batches.has(keyOf(question)));
    // With room left in the answer, what is missing is larger than was asked for.
    if (received < answerBytesMax - maxBytes) maxBytes = largeBatchBytes;
    const [first, ...others] = left;
    if (first && left.length === before.length && received === 0 && answer.throttleMs === 0) {
      // Any first batch comes, however large: there is none.
      batches.set(keyOf(first), { errorCode: 0, batches: [] });
      left = others;
    }
  }
  return { batches, used };
}

/** Headers alone, of any message format; a damaged one ends in an error, a last one that is cut off is left out. */
export function parseBatches(bytes: Buffer): Batch[] {
  const batches: Batch[] = [];
  for (let at = 0; at + header.magic < bytes.length; ) {
    const baseOffset = bytes.readBigInt64BE(at);
    const length = bytes.readInt32BE(at + 8);
    const magic = bytes.readInt8(at + header.magic);
    if (length <= 0) {
      throw new CutoverError('KAFKA_REQUEST_FAILED', { what: 'sampled a damaged batch', found: `length ${length}` });
    }
    if (magic < 2) {
      const timed = magic === 1 && at + v1.size <= bytes.length;
      const timestampMs = timed ? Number(bytes.readBigInt64BE(at + v1.timestamp)) : -1;
      // The same bit as in v2; those of the two newer things did not exist.
      const attributes = timed ? bytes.readInt8(at + v1.attributes) & attribute.logAppendTime : 0;
      const times = { baseTimestampMs: timestampMs, maxTimestampMs: timestampMs };
      batches.push({ baseOffset, magic, attributes, ...times, nextOffset: 0n, records: 0 });
    } else {
      if (at + header.size > bytes.length) break;
      const attributes = bytes.readInt16BE(at + header.attributes);
      batches.push({
        baseOffset,
        magic,
        attributes,
        baseTimestampMs: Number(bytes.readBigInt64BE(at + header.baseTimestamp)),
        maxTimestampMs: Number(bytes.readBigInt64BE(at + header.maxTimestamp)),
        nextOffset: baseOffset + BigInt(bytes.readInt32BE(at + header.lastOffsetDelta)) + 1n,
        records: attributes & attribute.control ? 0 : bytes.readInt32BE(at + header.recordCount),
      });
    }
    at += 12 + length;
  }
  return batches;
}
