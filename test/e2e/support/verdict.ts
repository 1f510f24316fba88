/**
 * What can be said after a move by readers that no part of the product uses: the applications' own checks, kafkajs over
 * both logs against every acknowledgement, and Apache's Java consumer over both logs, offset by offset.
 */
import { createHash } from 'node:crypto';
import { judge, readLogs } from '../../../examples/demo/judge.ts';
import { listOffsets } from '../../../kafka/offsets.ts';
import type { LocalCluster } from '../../../stack/cluster.ts';
import { readWithJava } from '../../../stack/java-tools.ts';
import type { Applications } from './applications.ts';
import type { Scene } from './scene.ts';
import { waitFor } from './waiting.ts';

const catchUpTimeoutMs = 60_000;

export interface Verdict {
  /** Acknowledged to the producers, by either cluster. */
  readonly acknowledged: number;
  /** Compared on both clusters by kafkajs. */
  readonly compared: number;
  /** Compared on both clusters by Apache's consumer; 0 when it was not asked. */
  readonly comparedByJava: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  /** Given to a group again at the same offset: what at-least-once allows, and a kill may cause. */
  readonly replayed: number;
  readonly differences: readonly string[];
}

/** What nobody may ever see. */
export const clean = { lost: 0, duplicated: 0, reordered: 0, differences: [] } as const;

export function faults({ lost, duplicated, reordered, differences }: Verdict) {
  return { lost, duplicated, reordered, differences };
}

/**
 * The producers must have ended.
 *
 * @param home the cluster that is written to
 * @param mirrored a mirror still runs to the other cluster, which must come to hold everything too
 */
export async function verdictOf(
  scene: Scene,
  applications: Applications,
  options: { readonly home: 'legacy' | 'next'; readonly mirrored: boolean; readonly java: boolean },
): Promise<Verdict> {
  const acknowledgements = applications.acknowledgements();
  const acknowledged = acknowledgements.reduce((sum, line) => sum + line.count, 0);
  let unread = '';
  await waitFor(
    'both groups to read all that was acknowledged',
    catchUpTimeoutMs,
    async () => {
      const consumers = await applications.consumers();
      unread = consumers.map(({ group, counts }) => `${group} has ${counts.records} of ${acknowledged}`).join(', ');
      return consumers.every(({ counts }) => counts.records >= acknowledged);
    },
    { everyMs: 200, standing: () => unread },
  );
  const consumers = await applications.consumers();

  const topics = Object.keys(scene.topics);
  const other = options.home === 'next' ? 'legacy' : 'next';
  if (options.mirrored) await mirrorCaughtUp(scene, options.home);
  const [homeLogs, otherLogs] = await Promise.all([
    readLogs(scene.kafka(options.home), topics),
    readLogs(scene.kafka(other), topics),
  ]);
  const judged = judge(options.home, homeLogs, otherLogs, acknowledgements);
  const differences = [...judged.differences];
  const inLog = [...homeLogs.values()].reduce((sum, log) => sum + log.length, 0);
  if (inLog !== acknowledged) differences.push(`${inLog} records on ${options.home}, ${acknowledged} acknowledged`);
  const diverged = consumers.reduce((sum, consumer) => sum + consumer.counts.diverged, 0);
  if (diverged > 0) differences.push(`groups were given ${diverged} other records at an offset read before`);

  let comparedByJava = 0;
  if (options.java) {
    for (const topic of topics) {
      const [ours, theirs] = await Promise.all([javaLog(scene.source, topic), javaLog(scene.target, topic)]);
      const [shorter, longer] = ours.size <= theirs.size ? [ours, theirs] : [theirs, ours];
      if (options.mirrored && shorter.size !== longer.size) {
        differences.push(`${topic}: ${ours.size} records on the source, ${theirs.size} on the target (Java)`);
      }
      for (const [place, record] of shorter) {
        comparedByJava++;
        if (longer.get(place) !== record) differences.push(`${topic} ${place} differs (Java)`);
      }
    }
  }
  const counts = [judged.counts, ...consumers.map((consumer) => consumer.counts)];
  const most = (key: 'lost' | 'duplicated' | 'reordered') => Math.max(...counts.map((one) => one[key]));
  return {
    acknowledged,
    compared: judged.compared,
    comparedByJava,
    lost: most('lost'),
    duplicated: most('duplicated'),
    reordered: most('reordered'),
    replayed: consumers.reduce((sum, consumer) => sum + consumer.counts.replayed, 0),
    differences: differences.slice(0, 10),
  };
}

/** Records in all partitions together, by the ends of their logs; 0 before the topics are there. */
export async function recordsOn(scene: Scene, cluster: 'legacy' | 'next'): Promise<number> {
  const connected = await scene.cluster(cluster);
  const { topics } = await connected.metadata(Object.keys(scene.topics));
  const partitions = [...topics.values()].flatMap(({ name, partitions: all }) =>
    all.map(({ partition }) => ({ topic: name, partition })),
  );
  const ends = await listOffsets(connected, partitions, 'logEnd');
  return [...ends.values()].reduce((sum, end) => sum + Number(end), 0);
}

async function mirrorCaughtUp(scene: Scene, home: 'legacy' | 'next'): Promise<void> {
  const wanted = await recordsOn(scene, home);
  let found = 0;
  await waitFor(
    `the mirror to carry ${wanted} records from ${home}`,
    catchUpTimeoutMs,
    async () => {
      found = await recordsOn(scene, home === 'next' ? 'legacy' : 'next');
      return found >= wanted;
    },
    { everyMs: 300, standing: () => `it has carried ${found}` },
  );
}

/** A digest per record, by partition and offset. */
async function javaLog(cluster: LocalCluster, topic: string): Promise<Map<string, string>> {
  const { records } = await readWithJava(cluster, 'cutover', topic);
  return new Map(
    records.map(({ partition, offset, timestamp, timestampType, key, value, headers }) => {
      const hash = createHash('sha256').update(`${timestamp} ${timestampType}`);
      for (const part of [key, value, ...headers.flat()]) hash.update(part === null ? '\0null' : part).update('\0');
      return [`${partition}/${offset}`, hash.digest('base64')];
    }),
  );
}
