/** A topic whose source holds transactions, committed and aborted, of several producers among plain records, all of them ended. */
import { type Clusters, createTopics, type MirroredTopic } from './clusters.ts';
import type { LogWriter } from './log-writer.ts';
import { liveProducers, liveSteps } from './random-log.ts';

export async function transactionalLog(
  clusters: Clusters,
  writer: LogWriter,
  options: {
    readonly seed: number;
    readonly partitions: number;
    /** Some of them are records, some begin or end a transaction. */
    readonly steps: number;
    readonly replicationFactor?: 1 | 3;
  },
): Promise<MirroredTopic> {
  const { seed, partitions, steps, ...replication } = options;
  const mirrored = await createTopics(clusters, { partitions, keepAborted: true, ...replication });
  const log = writer.log(mirrored.topic, partitions, liveProducers);
  await log.write(liveSteps({ seed, partitions, count: steps, transactions: true, old: false }));
  await log.endAll();
  return mirrored;
}
