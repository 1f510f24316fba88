/** One run of a mirror over a log that lies there: from its start, from its first record, to its last. */
import type { Cluster } from '../kafka/cluster.ts';
import type { Stack } from '../stack/stack.ts';
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
  /** Processes of all brokers, both sides. */
  readonly brokers: readonly number[];
}

export function brokersOf({ source, target }: Stack): number[] {
  return [source, target].flatMap((cluster) => cluster?.brokers.flatMap(({ pid }) => pid ?? []) ?? []);
}

/**
 * Starts a mirror, waits until the copy is whole, and stops it. `copySeconds` and `copyCpuSeconds` count from when its first record
 * was seen on the target; `startSeconds` and `startCpuSeconds` are what came before. What
 * was there already at that moment does not count. `brokersCpuSeconds` is what the brokers took meanwhile: with the mirror's own, what the
 * machine's cores were busy with.
 */
export async function timedCopy(copy: Copy, start: () => Promise<Mirroring>): Promise<Sample> {
  const startedAt = performance.now();
  await using mirroring = await start();
  let firstAt: number | undefined;
  let firstTotal = 0n;
  let startCpuSeconds = 0;
  let brokersBefore = 0;
  const brokersNow = () => copy.brokers.reduce((sum, pid) => sum + costOf(pid).cpuSeconds, 0);
  const watching = watchEnds(copy.into, copy.topic, copy.partitions, {
    everyMs: () => (firstAt === undefined ? firstPollMs : pollMs),
    timeoutMs,
    done: (ends) => {
      const total = ends.reduce((sum, end) => sum + end, 0n);
      if (firstAt === undefined && total > 0n) {
        firstAt = performance.now();
        firstTotal = total;
        startCpuSeconds = costOf(mirroring.pid).cpuSeconds;
        brokersBefore = brokersNow();
      }
      if (total > copy.endsTotal) throw new Error(`${copy.topic} holds ${total - copy.endsTotal} offsets too many`);
      return total === copy.endsTotal;
    },
  });
  watching.catch(() => {});
  await Promise.race([watching, mirroring.died]);
  const endedAt = performance.now();
  const cost = costOf(mirroring.pid);
  const brokersCpuSeconds = brokersNow() - brokersBefore;
  const copySeconds = Math.max(pollMs, endedAt - (firstAt ?? endedAt)) / 1_000;
  const share = Number(copy.endsTotal - firstTotal) / Number(copy.endsTotal);
  const copyCpuSeconds = cost.cpuSeconds - startCpuSeconds;
  return {
    copySeconds,
    MBps: (copy.bytes * share) / 1e6 / copySeconds,
    copyCpuSeconds,
    brokersCpuSeconds,
    startSeconds: ((firstAt ?? endedAt) - startedAt) / 1_000,
    startCpuSeconds,
    wholeSeconds: (endedAt - startedAt) / 1_000,
    wholeCpuSeconds: cost.cpuSeconds,
    rssMaxMB: cost.rssMaxMB,
  };
}
