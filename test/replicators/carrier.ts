/**
 * What copies records where a vendor's system is stood in for: as simple as can be, one writer a partition, so that a whole move can run over real brokers. What a
 * vendor's own copying does beyond that, nobody has seen here.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeBatch } from '../../kafka/batches.ts';
import type { Cluster } from '../../kafka/cluster.ts';
import { listOffsets, partitionKey, type TopicPartition } from '../../kafka/offsets.ts';
import { createTopic } from '../../kafka/topics.ts';
import { rawProduce } from '../../kafka/wire.ts';
import { leaderOf, readOnce } from '../../mirror/bridge-log.ts';

const lookEveryMs = 20;

export interface Carriage {
  readonly from: Cluster;
  readonly into: Cluster;
  /** Put on each copy; a record that has it came from there, and is left out. Without it offsets are the same. */
  readonly header?: string;
  /** Now. */
  readonly topics: () => readonly string[];
  /** Of a topic, by partition: records that are not copied yet, and where the log ends. */
  readonly onLag?: (topic: string, lags: readonly number[], ends: readonly number[]) => void;
}

/** Until the signal. */
export async function carry({ from, into, header, topics, onLag }: Carriage, signal: AbortSignal): Promise<void> {
  const positions = new Map<string, bigint>();
  while (!signal.aborted) {
    for (const topic of topics()) {
      const count = (await from.metadata([topic])).topics.get(topic)?.partitions.length ?? 0;
      const places = Array.from({ length: count }, (_, partition) => ({ topic, partition }));
      for (const place of places) {
        const key = partitionKey(topic, place.partition);
        const at = positions.get(key) ?? (await firstOf(header === undefined ? into : from, place, header));
        positions.set(key, await copyOnce({ from, into, header }, place, at));
      }
      const found = await listOffsets(from, places, 'logEnd');
      const keys = places.map(({ partition }) => partitionKey(topic, partition));
      const ends = keys.map((key) => Number(found.get(key) ?? 0n));
      const lags = keys.map((key, partition) => (ends[partition] ?? 0) - Number(positions.get(key) ?? 0n));
      onLag?.(topic, lags, ends);
    }
    await sleep(lookEveryMs, undefined, { signal }).catch(() => {});
  }
}

async function firstOf(cluster: Cluster, place: TopicPartition, header: string | undefined): Promise<bigint> {
  const found = await listOffsets(cluster, [place], header === undefined ? 'logEnd' : 'start');
  return found.get(partitionKey(place.topic, place.partition)) ?? 0n;
}

async function copyOnce(
  { from, into, header }: Pick<Carriage, 'from' | 'into'> & { readonly header: string | undefined },
  place: TopicPartition,
  at: bigint,
): Promise<bigint> {
  const end = (await listOffsets(from, [place], 'lastStable')).get(partitionKey(place.topic, place.partition)) ?? 0n;
  if (at >= end) return at;
  const { records, next } = await readOnce(from, place, at);
  const own = header === undefined ? [] : [{ key: Buffer.from(header), value: Buffer.from('copied') }];
  const copies = records
    .filter(({ headers }) => header === undefined || !headers.some(({ key }) => key.toString() === header))
    .map((record) => ({ ...record, headers: [...record.headers, ...own] }));
  if (copies.length === 0) return next;
  const [answer] = await into.call({ broker: await leaderOf(into, place) }, rawProduce, {
    timeoutMs: 10_000,
    topics: [
      {
        topic: place.topic,
        partitions: [{ partition: place.partition, records: [encodeBatch({ records: copies }).bytes] }],
      },
    ],
  });
  if (answer?.errorCode !== 0) throw new Error(`not carried: ${answer?.errorCode} ${answer?.errorMessage}`);
  if (header === undefined && answer.baseOffset !== at) throw new Error(`${at} became ${answer.baseOffset}`);
  return next;
}

/** As a link makes a mirror topic. */
export async function mirrorTopic(from: Cluster, into: Cluster, topic: string): Promise<void> {
  const partitions = (await from.metadata([topic])).topics.get(topic)?.partitions.length ?? 1;
  await createTopic(into, { name: topic, partitions, replicationFactor: 1, configs: {} });
}
