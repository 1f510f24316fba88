/**
 * One half of the ceiling, in a process of its own: `node ceiling-process.ts write|read TOPIC PARTITIONS RECORDS`. Says `ready`, begins at
 * `go` on its standard input, says `done` when every record is written, or read, and ends.
 */
import { once } from 'node:events';
import { readBatches } from '../kafka/batches.ts';
import { Cluster } from '../kafka/cluster.ts';
import { readClusters } from '../kafka/clusters.ts';
import { dropConnection, rawFetch } from '../kafka/wire.ts';
import { batchesOf, fill } from './fill.ts';
import { type NamedPartition, partitionsOf } from './topic-pair.ts';

/** 498 records of 1 KB: just under 512 KB. */
export const ceilingShape = { valueBytes: 1_024, recordsPerBatch: 498, codec: 'none', randomShare: 1 } as const;
const answerBytes = 8_388_608;
const connectionCount = 2;

if (import.meta.main) await main();

async function main(): Promise<void> {
  const [half, topic = '', partitions = '', records = ''] = process.argv.slice(2);
  const side = half === 'write' ? 'next' : 'legacy';
  await using cluster = await Cluster.connect(readClusters().cluster(side));
  const places = partitionsOf(topic, Number(partitions));
  const batches = half === 'write' ? batchesOf(ceilingShape) : [];
  process.stdout.write('ready\n');
  await once(process.stdin, 'data');
  process.stdin.destroy();
  if (half === 'write') {
    await fill(cluster, places, batches, Math.ceil(Number(records) / ceilingShape.recordsPerBatch / places.length));
  } else {
    await readAll(cluster, places, BigInt(records) / BigInt(places.length));
  }
  process.stdout.write('done\n');
}

/** Reads every partition from 0 to `end` as bytes, looking at nothing but where the next batch begins. */
async function readAll(cluster: Cluster, places: readonly NamedPartition[], end: bigint): Promise<void> {
  const leader = cluster.brokers[0]?.id ?? -1;
  await Promise.all(
    Array.from({ length: connectionCount }, async (_, lane) => {
      const offsets = new Map(
        places.filter((p) => p.partition % connectionCount === lane).map((p) => [p.partition, 0n]),
      );
      const topic = places[0]?.topic ?? '';
      const connection = await cluster.open(leader);
      while (offsets.size > 0) {
        const { partitions } = await rawFetch.async(connection, {
          maxWaitMs: 500,
          minBytes: 1,
          maxBytes: answerBytes,
          isolation: 'readUncommitted',
          topics: [
            {
              topic,
              partitions: [...offsets].map(([partition, fetchOffset]) => ({
                partition,
                fetchOffset,
                maxBytes: answerBytes / 2,
              })),
            },
          ],
        });
        for (const { partition, records } of partitions) {
          for (const batch of readBatches(records)) offsets.set(partition, batch.nextOffset);
          if ((offsets.get(partition) ?? 0n) >= end) offsets.delete(partition);
        }
      }
      dropConnection(connection);
    }),
  );
}
