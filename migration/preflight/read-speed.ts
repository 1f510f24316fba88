/**
 * How fast the source can be read, from a second of reading it: the one half of copying that can be tried without writing anything anywhere.
 * Bytes as they lie in the logs, read as the mirror reads them.
 */
import type { Cluster } from '../../kafka/cluster.ts';
import { askLeaders, groupByTopic, type Question, type TopicPartition } from '../../kafka/offsets.ts';
import { rawFetch } from '../../kafka/wire.ts';
import type { MeasuredPartition } from '../inventory.ts';
import { parseBatches } from '../log-shape.ts';

export interface ReadSpeed {
  readonly bytes: number;
  readonly ms: number;
}

/** Reading ends after so long, or after so much. */
const readMsMax = 1_000;
const readBytesMax = 256_000_000;
/** With less there is nothing to measure, and no need to. */
const worthBytesMin = 64_000_000;
/** The largest ones stand for all. */
const partitionsMax = 64;
const partitionBytes = 1_048_576;
const answerBytes = 8_388_608;

/** Null where there is too little to read, or where its size is not known. Reads from the log's beginning on, as a mirror does; keeps nothing. */
export async function measureReadSpeed(
  cluster: Cluster,
  partitions: readonly MeasuredPartition[],
): Promise<ReadSpeed | null> {
  const total = partitions.reduce((sum, p) => sum + (p.bytes ?? 0), 0);
  if (total < worthBytesMin) return null;
  const largest = partitions.toSorted((a, b) => (b.bytes ?? 0) - (a.bytes ?? 0)).slice(0, partitionsMax);
  const positions = new Map(largest.map((p) => [keyOf(p), BigInt(p.start)]));
  let startedAt = Number.POSITIVE_INFINITY;
  let bytes = 0;
  const isOver = () => performance.now() - startedAt >= readMsMax || bytes >= readBytesMax;
  await askLeaders(cluster, largest, 'measuring how fast the source is read', async (broker, questions) => {
    let left = questions;
    startedAt = Math.min(startedAt, performance.now());
    while (left.length > 0 && !isOver()) {
      const answer = await cluster.call({ broker }, rawFetch, request(left, positions));
      const read = new Set<string>();
      for (const p of answer.partitions) {
        const next = p.errorCode === 0 ? (parseBatches(p.records).at(-1)?.nextOffset ?? 0n) : 0n;
        // Of message formats v0 and v1 it is not known: they are read once.
        if (next <= (positions.get(keyOf(p)) ?? 0n)) continue;
        bytes += p.records.length;
        positions.set(keyOf(p), next);
        read.add(keyOf(p));
      }
      // Those that gave something go to the end, so that each has its turn; an answer without anything is the end of what can be read.
      if (read.size === 0) break;
      left = [...left.filter((q) => !read.has(keyOf(q))), ...left.filter((q) => read.has(keyOf(q)))];
    }
    return questions.map(({ topic, partition }) => ({ topic, partition, errorCode: 0 }));
  });
  return bytes === 0 ? null : { bytes, ms: performance.now() - startedAt };
}

const keyOf = ({ topic, partition }: TopicPartition) => `${topic}/${partition}`;

function request(questions: readonly Question[], positions: ReadonlyMap<string, bigint>) {
  const topics = groupByTopic(questions).map(({ topic, items }) => ({
    topic,
    partitions: items.map((item) => ({
      partition: item.partition,
      fetchOffset: positions.get(keyOf(item)) ?? 0n,
      maxBytes: partitionBytes,
      leaderEpoch: item.leaderEpoch,
    })),
  }));
  return { maxWaitMs: 0, minBytes: 0, maxBytes: answerBytes, isolation: 'readUncommitted', topics } as const;
}
