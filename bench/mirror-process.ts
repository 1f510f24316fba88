/**
 * Our mirror in a process of its own, until SIGTERM: `node mirror-process.ts JOB`, the job being a file with a `MirrorJob`, clusters as
 * in KAFKA_CUTOVER_CLUSTERS. Says `running` once; the bench looks at the logs to see how far it is.
 */
import { readFileSync } from 'node:fs';
import { Cluster } from '../kafka/cluster.ts';
import { readClusters } from '../kafka/clusters.ts';
import { runMirror } from '../mirror/mirror.ts';

export interface MirrorJob {
  readonly partitions: readonly {
    readonly topic: string;
    readonly partition: number;
    /** A decimal number. */
    readonly producerId: string;
  }[];
}

const job = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as MirrorJob;
const clusters = readClusters();
const from = await Cluster.connect(clusters.cluster('legacy'));
const into = await Cluster.connect(clusters.cluster('next'));
const stopping = new AbortController();
process.once('SIGTERM', () => stopping.abort());
process.stdout.write('running\n');
try {
  await runMirror({
    from,
    into,
    partitions: job.partitions.map(({ topic, partition, producerId }) => ({
      topic,
      topicId: '',
      partition,
      producerId: BigInt(producerId),
      otherProducerId: null,
    })),
    signal: stopping.signal,
  });
} catch (error) {
  process.stderr.write(`${(error as { code?: string }).code ?? 'INTERNAL'}: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
await from.close();
await into.close();
