/** How much room brokers have on their disks. */
import { describeLogDirsV4 } from '@platformatic/kafka';
import { serves } from './broker-versions.ts';
import type { Cluster } from './cluster.ts';

export interface DiskSpace {
  readonly broker: number;
  /** Over all its log directories. */
  readonly totalBytes: number;
  readonly usableBytes: number;
}

/**
 * One entry a broker that tells; those before Kafka 3.3 (KIP-827), and those that do not let us ask (needs DESCRIBE on the cluster), are
 * left out.
 */
export async function diskSpace(cluster: Cluster): Promise<DiskSpace[]> {
  const { key, version } = describeLogDirsV4.api;
  const told = await Promise.all(
    cluster.brokers.map(async ({ id: broker }): Promise<DiskSpace | null> => {
      if (!(await serves(cluster, broker, key, version))) return null;
      // No topics are asked for: the directories alone.
      const { results } = await cluster.call({ broker }, describeLogDirsV4.api, []);
      // -1: the directory does not tell. One that is offline holds nothing new.
      const known = results.filter((dir) => dir.errorCode === 0 && dir.totalBytes >= 0n && dir.usableBytes >= 0n);
      if (known.length === 0) return null;
      const sum = (pick: (dir: (typeof known)[number]) => bigint) =>
        Number(known.reduce((all, dir) => all + pick(dir), 0n));
      return { broker, totalBytes: sum((dir) => dir.totalBytes), usableBytes: sum((dir) => dir.usableBytes) };
    }),
  );
  return told.filter((space) => space !== null);
}
