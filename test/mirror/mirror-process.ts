/**
 * A mirror in a process of its own, to be killed, frozen and shut out: `node mirror-process.ts '<MirrorJob as JSON>'`, clusters as in
 * KAFKA_CUTOVER_CLUSTERS. One JSON object a line: `{ "written": n }` as it goes, `{ "message": text }` and `{ "failed": code }` or `{ "records": n }` at the end.
 */
import { Cluster } from '../../kafka/cluster.ts';
import { type Role, readClusters } from '../../kafka/clusters.ts';
import { type MirrorPartition, runMirror } from '../../mirror/mirror.ts';
import { configAs, type User } from './exact/without-marker-rights.ts';

export interface MirrorJob {
  readonly role: Role;
  readonly topic: string;
  readonly producerIds: readonly string[];
  readonly maxBytesPerSecond?: number;
  readonly maxBatchBytes?: number;
  readonly rememberedForMs?: number;
  /** What every partition is given beside its place and producer. */
  readonly each?: Partial<Pick<MirrorPartition, 'keepAborted'>>;
  /** Another user of the target than that of `role`. */
  readonly writesAs?: User;
  /** Ends by itself after this long; two minutes by default. */
  readonly lifeMs?: number;
}

const lifeMsDefault = 120_000;

const job = JSON.parse(process.argv[2] ?? '') as MirrorJob;
const clusters = readClusters();
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
try {
  const from = await Cluster.connect(clusters.cluster('legacy'), { as: job.role });
  const target = clusters.cluster('next');
  const into = job.writesAs
    ? await Cluster.connect(configAs(target, job.writesAs))
    : await Cluster.connect(target, { as: job.role });
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
      ...job.each,
    })),
    signal: AbortSignal.timeout(job.lifeMs ?? lifeMsDefault),
    ...(job.maxBatchBytes !== undefined && { maxBatchBytes: job.maxBatchBytes }),
    ...(job.rememberedForMs !== undefined && { rememberedForMs: job.rememberedForMs }),
    maxBytesPerSecond: () => {
      // Called all the time: the quickest way to learn that the mirror is at work.
      if (written++ === 4) say({ written });
      return job.maxBytesPerSecond ?? 0;
    },
    onProgress: (progress) => say({ written: progress.reduce((sum, p) => sum + p.records, 0) }),
  });
  say({ records: result.records });
} catch (error) {
  const { code, message } = error as { code?: string; message?: string };
  say({ message });
  say({ failed: code ?? String(error) });
}
process.exit(0);
