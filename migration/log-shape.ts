/**
 * What the batches of a topic look like, from a sample: the first batches and the last one of each partition. A sample
 * can prove that a log has a shape which cannot be carried, never that it has none; the mirror checks every batch.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { refuseKafkaError } from '../kafka/kafka-errors.ts';
import { askLeaders, groupByTopic, partitionKey } from '../kafka/offsets.ts';
import { rawFetch } from '../kafka/wire.ts';

/** Plain data, per topic; places are `partition 3, offset 42`. */
export interface LogShape {
  readonly topic: string;
  readonly transactionalAt: string | null;
  readonly oldFormatAt: string | null;
  readonly logAppendTimeAt: string | null;
  readonly holeAt: string | null;
  /** Of the first record that a mirror would copy, over all partitions; milliseconds since 1970, -1 when it has none. */
  readonly oldestMs: number | null;
  readonly newestMs: number | null;
}

export interface SampleRange {
  readonly topic: string;
  readonly partition: number;
  /** Kept offsets: from `start` to below `end`. */
  readonly start: bigint;
  readonly end: bigint;
}

interface Batch {
  readonly baseOffset: bigint;
  readonly magic: number;
  readonly attributes: number;
  readonly lastOffset: bigint;
  readonly count: number;
  readonly baseTimestampMs: number;
  readonly maxTimestampMs: number;
}

/** Bytes asked for per place; a partition whose first batch is larger is asked for alone. */
const sampleBytes = 64 * 1024;
/** Partitions in one request, so that an answer stays within a few megabytes. */
const samplePartitionsMax = 40;
const answerBytesMax = 16 * 1024 * 1024;

/** Offsets in a batch header, message format v2 (KIP-98); `magic` stands in the same place in v0 and v1. */
const header = {
  magic: 16,
  attributes: 21,
  lastOffsetDelta: 23,
  baseTimestamp: 27,
  maxTimestamp: 35,
  count: 57,
  size: 61,
};
const attribute = { logAppendTime: 0x08, transactional: 0x10, control: 0x20 };

/**
 * Looks at both ends of each range. Empty ranges have no shape.
 *
 * @throws CutoverError TOPIC_MISSING, CLUSTER_ACCESS_DENIED (needs READ on the topics), KAFKA_REQUEST_FAILED
 */
export async function sampleLogShapes(cluster: Cluster, ranges: readonly SampleRange[]): Promise<LogShape[]> {
  const filled = ranges.filter((range) => range.start < range.end);
  const heads = await fetchBatches(cluster, filled, (range) => range.start);
  const tails = await fetchBatches(cluster, filled, (range) => range.end - 1n);
  const byTopic = Map.groupBy(filled, (range) => range.topic);
  return [...byTopic].map(([topic, list]) => {
    const shapes = list.map((range) => {
      const key = partitionKey(range.topic, range.partition);
      return shapeOf(range, heads.get(key) ?? [], tails.get(key) ?? []);
    });
    const first = (pick: (shape: LogShape) => string | null) =>
      shapes.map(pick).find((place) => place !== null) ?? null;
    const times = (pick: (shape: LogShape) => number | null) => shapes.map(pick).filter((time) => time !== null);
    const oldest = times((shape) => shape.oldestMs);
    const newest = times((shape) => shape.newestMs);
    return {
      topic,
      transactionalAt: first((shape) => shape.transactionalAt),
      oldFormatAt: first((shape) => shape.oldFormatAt),
      logAppendTimeAt: first((shape) => shape.logAppendTimeAt),
      holeAt: first((shape) => shape.holeAt),
      oldestMs: oldest.length > 0 ? Math.min(...oldest) : null,
      newestMs: newest.length > 0 ? Math.max(...newest) : null,
    };
  });
}

function shapeOf(range: SampleRange, head: readonly Batch[], tail: readonly Batch[]): LogShape {
  const place = (offset: bigint) => `partition ${range.partition}, offset ${offset}`;
  const all = [...head, ...tail];
  const find = (test: (batch: Batch) => boolean) => {
    const found = all.find(test);
    return found ? place(found.baseOffset) : null;
  };
  const v2 = all.filter((batch) => batch.magic >= 2);
  const first = head[0];
  const last = tail.at(-1);
  const holes = [
    first && first.baseOffset > range.start ? range.start : null,
    // A batch that the start lies in has lost nothing; one with fewer records than offsets has.
    ...v2.map((batch) => (BigInt(batch.count) < batch.lastOffset - batch.baseOffset + 1n ? batch.baseOffset : null)),
    ...head.map((batch, i) => {
      const next = head[i + 1];
      return next && batch.magic >= 2 && next.baseOffset > batch.lastOffset + 1n ? batch.lastOffset + 1n : null;
    }),
    last && last.magic >= 2 && last.lastOffset < range.end - 1n ? last.lastOffset + 1n : null,
    !last ? range.end - 1n : null,
  ].filter((hole) => hole !== null);
  return {
    topic: range.topic,
    transactionalAt: find((b) => b.magic >= 2 && (b.attributes & (attribute.transactional | attribute.control)) !== 0),
    oldFormatAt: find((b) => b.magic < 2),
    logAppendTimeAt: find((b) => b.magic >= 2 && (b.attributes & attribute.logAppendTime) !== 0),
    holeAt: holes[0] === undefined ? null : place(holes[0]),
    oldestMs: head[0] && head[0].magic >= 2 ? head[0].baseTimestampMs : null,
    newestMs: v2.length > 0 ? Math.max(...v2.map((batch) => batch.maxTimestampMs)) : null,
  };
}

async function fetchBatches(
  cluster: Cluster,
  ranges: readonly SampleRange[],
  from: (range: SampleRange) => bigint,
): Promise<Map<string, Batch[]>> {
  const found = new Map<string, Batch[]>();
  const fetch = async (some: readonly SampleRange[]) => {
    const answers = await askLeaders(cluster, some, 'sampling the log', async (broker, questions) => {
      const topics = groupByTopic(questions).map(({ topic, items }) => ({
        topic,
        partitions: items.map((item) => {
          const range = some.find((r) => r.topic === topic && r.partition === item.partition) as SampleRange;
          return {
            partition: item.partition,
            fetchOffset: from(range),
            maxBytes: sampleBytes,
            leaderEpoch: item.leaderEpoch,
          };
        }),
      }));
      const request = {
        maxWaitMs: 0,
        minBytes: 0,
        maxBytes: answerBytesMax,
        isolation: 'readUncommitted',
        topics,
      } as const;
      const answer = await cluster.call({ broker }, rawFetch, request);
      refuseKafkaError(answer.errorCode, 'sampling the log', `cluster ${cluster.name}, broker ${broker}`);
      return answer.partitions;
    });
    for (const [key, answer] of answers) found.set(key, parseBatches(answer.records));
  };
  for (let i = 0; i < ranges.length; i += samplePartitionsMax) await fetch(ranges.slice(i, i + samplePartitionsMax));
  // Brokers give a batch that is larger than asked for only to the first partition of a request.
  for (const range of ranges) {
    const key = partitionKey(range.topic, range.partition);
    if (found.get(key)?.length === 0) await fetch([range]);
  }
  return found;
}

function parseBatches(bytes: Buffer): Batch[] {
  const batches: Batch[] = [];
  for (let at = 0; at + header.magic < bytes.length; ) {
    const baseOffset = bytes.readBigInt64BE(at);
    const length = bytes.readInt32BE(at + 8);
    const magic = bytes.readInt8(at + header.magic);
    if (length <= 0) {
      throw new CutoverError('KAFKA_REQUEST_FAILED', { what: 'sampled a damaged batch', found: `length ${length}` });
    }
    if (magic < 2) {
      const none = { attributes: 0, count: 0, baseTimestampMs: -1, maxTimestampMs: -1 };
      batches.push({ baseOffset, magic, lastOffset: baseOffset, ...none });
    } else {
      if (at + header.size > bytes.length) break;
      batches.push({
        baseOffset,
        magic,
        attributes: bytes.readInt16BE(at + header.attributes),
        lastOffset: baseOffset + BigInt(bytes.readInt32BE(at + header.lastOffsetDelta)),
        count: bytes.readInt32BE(at + header.count),
        baseTimestampMs: Number(bytes.readBigInt64BE(at + header.baseTimestamp)),
        maxTimestampMs: Number(bytes.readBigInt64BE(at + header.maxTimestamp)),
      });
    }
    at += 12 + length;
  }
  return batches;
}
