/**
 * A mirror in a process of its own, to be killed, frozen and shut out: `node mirror-process.ts '<MirrorJob as JSON>'`, clusters as in
 * KAFKA_CUTOVER_CLUSTERS. One JSON object a line: `{ "written": n }` as it goes, `{ "failed": code }` or `{ "records": n }` at the end.
 */
import { Cluster } from '../../kafka/cluster.ts';
import { type Role, readClusters } from '../../kafka/clusters.ts';
import { runMirror } from '../../mirror/mirror.ts';

export interface MirrorJob {
  readonly role: Role;
  readonly topic: string;
  readonly producerIds: readonly string[];
  readonly maxBytesPerSecond?: number;
  readonly maxBatchBytes?: number;
}

const job = JSON.parse(process.argv[2] ?? '') as MirrorJob;
const clusters = readClusters();
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
try {
  const from = await Cluster.connect(clusters.cluster('legacy'), { as: job.role });
  const into = await Cluster.connect(clusters.cluster('next'), { as: job.role });
  let written = 0;
  const result = await runMirror({
    from,
    into,
    partitions: job.producerIds.map((id, partition) => ({
      topic: job.topic,
      topicId: '',
      partition,
      producerId: BigInt(id),
      otherProducerId: null,
    })),
    signal: AbortSignal.timeout(120_000),
    ...(job.maxBatchBytes !== undefined && { maxBatchBytes: job.maxBatchBytes }),
    maxBytesPerSecond: () => {
      // Called all the time: the quickest way to learn that the mirror is at work.
      if (written++ === 4) say({ written });
      return job.maxBytesPerSecond ?? 0;
    },
    onProgress: (progress) => say({ written: progress.reduce((sum, p) => sum + p.records, 0) }),
  });
  say({ records: result.records });
} catch (error) {
  say({ failed: (error as { code?: string }).code ?? String(error) });
}
process.exit(0);
