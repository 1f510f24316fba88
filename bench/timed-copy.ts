/** One run of a mirror over a log that lies there: from its start, from its first record, to its last. */
import type { Cluster } from '../kafka/cluster.ts';
import type { Mirroring } from './mirroring.ts';
import { costOf } from './process-cost.ts';
import type { Sample } from './row.ts';
import { watchEnds } from './topic-pair.ts';

/** Before the first record, so that it is not missed by much, and after. */
const firstPollMs = 5;
const pollMs = 20;
const timeoutMs = 300_000;

export interface Copy {
  readonly into: Cluster;
  readonly topic: string;
  readonly partitions: number;
  /** High watermarks of a whole copy, summed. */
  readonly endsTotal: bigint;
  /** Of the log that is read, as stored. */
  readonly bytes: number;
}

/**
 * Starts a mirror, waits until the copy is whole, and stops it. `copySeconds` and `copyCpuSeconds` count from when its first record
 * was seen on the target; `startSeconds` and `startCpuSeconds` are what came before. What
 * was there already at that moment does not count.
 */
export async function timedCopy(copy: Copy, start: () => Promise<Mirroring>): Promise<Sample> {
  const startedAt = performance.now();
  await using mirroring = await start();
  let firstAt: number | undefined;
  let firstTotal = 0n;
  let startCpuSeconds = 0;
  const watching = watchEnds(copy.into, copy.topic, copy.partitions, {
    everyMs: () => (firstAt === undefined ? firstPollMs : pollMs),
    timeoutMs,
    done: (ends) => {
      const total = ends.reduce((sum, end) => sum + end, 0n);
      if (firstAt === undefined && total > 0n) {
        firstAt = performance.now();
        firstTotal = total;
        startCpuSeconds = costOf(mirroring.pid).cpuSeconds;
      }
      if (total > copy.endsTotal) throw new Error(`${copy.topic} holds ${total - copy.endsTotal} offsets too many`);
      return total === copy.endsTotal;
    },
  });
  watching.catch(() => {});
  await Promise.race([watching, mirroring.died]);
  const endedAt = performance.now();
  const cost = costOf(mirroring.pid);
  const copySeconds = Math.max(pollMs, endedAt - (firstAt ?? endedAt)) / 1_000;
  const share = Number(copy.endsTotal - firstTotal) / Number(copy.endsTotal);
  const copyCpuSeconds = cost.cpuSeconds - startCpuSeconds;
  return {
    copySeconds,
    MBps: (copy.bytes * share) / 1e6 / copySeconds,
    copyCpuSeconds,
    startSeconds: ((firstAt ?? endedAt) - startedAt) / 1_000,
    startCpuSeconds,
    wholeSeconds: (endedAt - startedAt) / 1_000,
    wholeCpuSeconds: cost.cpuSeconds,
    rssMaxMB: cost.rssMaxMB,
  };
}
