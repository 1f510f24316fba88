/**
 * Groups whose members have been given partitions of moved topics, and that have no position on any of them: they keep their positions
 * elsewhere, and nothing but the group's members shows it. Readers without any group cannot be seen at all.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../../kafka/cluster.ts';
import { describeGroups, fetchOffsets, listGroups } from '../../kafka/groups.ts';

export interface Reader {
  readonly group: string;
  readonly topics: readonly string[];
}

/** A group that has just begun to read commits within this, unless it was told otherwise: Java's auto.commit.interval.ms is 5 s. */
const firstCommitMs = 6_000;
const lookAgainMs = 500;

/**
 * @param filled topics that hold records: a group that has met none has nothing to commit
 * @param waitMs how long a first commit is waited for
 */
export async function readersWithoutPositions(
  cluster: Cluster,
  filled: ReadonlySet<string>,
  waitMs = firstCommitMs,
): Promise<Reader[]> {
  const active = (await listGroups(cluster))
    .filter(({ type, state }) => (type === 'classic' || type === 'consumer') && state !== 'Empty' && state !== 'Dead')
    .map(({ group }) => group);
  const described = [...(await describeGroups(cluster, active)).values()];
  const assigned = described.map(({ group, members }) => ({
    group,
    topics: [...new Set(members.flatMap((member) => member.assigned))].filter((topic) => filled.has(topic)).sort(),
  }));
  const deadline = Date.now() + waitMs;
  let left = assigned.filter(({ topics }) => topics.length > 0);
  for (;;) {
    const names = left.map(({ group }) => group);
    const positions = await fetchOffsets(cluster, names, { requireStable: false, keep: (topic) => filled.has(topic) });
    left = left.filter(({ group }) => (positions.get(group)?.size ?? 0) === 0);
    if (left.length === 0 || Date.now() >= deadline) return left.sort((a, b) => (a.group < b.group ? -1 : 1));
    await sleep(lookAgainMs);
  }
}
