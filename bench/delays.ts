/** How long after their creation records can be read: a consumer that follows a topic and looks at every record's timestamp. */
import { RecordCursor, readBatches } from '../kafka/batches.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { groupByTopic } from '../kafka/offsets.ts';
import { dropConnection, rawFetch } from '../kafka/wire.ts';
import { type NamedPartition, partitionsOf, readableEnds } from './topic-pair.ts';

const longPollMs = 500;
const answerBytes = 4_194_304;

export interface Delays {
  /** Milliseconds from a record's timestamp to its arrival here, of every record read so far; emptied by the caller. */
  readonly delaysMs: number[];
  /** Ends the reading. */
  stop(): Promise<void>;
}

/** Follows a topic from its end on, over one connection a leader. Clocks: both ends are on this machine. */
export async function followDelays(cluster: Cluster, topic: string, partitions: number): Promise<Delays> {
  const ends = await readableEnds(cluster, topic, partitions);
  const leaders = (await cluster.metadata([topic])).topics.get(topic)?.partitions ?? [];
  const delaysMs: number[] = [];
  let stopped = false;
  const byLeader = Map.groupBy(partitionsOf(topic, partitions), (p) => leaders[p.partition]?.leader ?? -1);
  const lanes = await Promise.all(
    [...byLeader].map(async ([leader, places]) => {
      const connection = await cluster.open(leader);
      const offsets = new Map(places.map((p) => [p.partition, ends[p.partition] as bigint]));
      const loop = follow(places, offsets).catch((error) => {
        if (!stopped) throw error;
      });
      loop.catch(() => {});
      return { connection, loop };

      async function follow(mine: readonly NamedPartition[], next: Map<number, bigint>): Promise<void> {
        while (!stopped) {
          const answer = await rawFetch.async(connection, {
            maxWaitMs: longPollMs,
            minBytes: 1,
            maxBytes: answerBytes,
            isolation: 'readUncommitted',
            topics: groupByTopic(mine).map(({ topic: name, items }) => ({
              topic: name,
              partitions: items.map(({ partition }) => ({
                partition,
                fetchOffset: next.get(partition) ?? 0n,
                maxBytes: answerBytes,
              })),
            })),
          });
          const now = Date.now();
          for (const { partition, records } of answer.partitions) {
            for (const batch of readBatches(records)) {
              next.set(partition, batch.nextOffset);
              const base = Number(batch.baseTimestamp);
              const cursor = new RecordCursor(batch.decompressedRecords());
              while (cursor.next()) delaysMs.push(now - base - cursor.timestampDelta);
            }
          }
        }
      }
    }),
  );
  return {
    delaysMs,
    stop: async () => {
      stopped = true;
      for (const { connection } of lanes) dropConnection(connection);
      await Promise.all(lanes.map(({ loop }) => loop));
    },
  };
}
