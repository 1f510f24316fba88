/** The final positions of 1,000 groups over 100 partitions each: read stable, written, read back, compared, and read once more. */
import { setTimeout as sleep } from 'node:timers/promises';
import { commitOffsets, deleteGroup } from '../../kafka/groups.ts';
import { finalPositions } from '../../migration/groups.ts';
import { batchesOf, fill } from '../fill.ts';
import type { Row, Sample } from '../row.ts';
import { column, figure } from '../statistics.ts';
import { createSourceTopic, createTargetTopic, partitionsOf, removeTopic } from '../topic-pair.ts';

const topic = 'bench-groups';
const partitions = 100;
const groupsWanted = 1_000;
const recordsEach = 100;
const shape = { valueBytes: 10, recordsPerBatch: recordsEach, codec: 'none', randomShare: 1 } as const;
const groupsAtOnce = 16;

export const groupOffsets: Row = {
  name: 'group-offsets',
  work: 'the final positions of 1,000 groups over 100 partitions each, handed over and proven',
  aims: [{ what: 'seconds', wanted: 5, better: 'less', reached: ({ ours }) => figure(column(ours, 'seconds')) }],
  shown: ['seconds', 'cpuSeconds', 'positions'],
  run: async ({ source, target, runs, scale, say }) => {
    const places = partitionsOf(topic, partitions);
    const groups = Array.from({ length: Math.max(1, Math.round(groupsWanted * scale)) }, (_, i) => `bench-group-${i}`);
    await createSourceTopic(source, topic, partitions);
    await createTargetTopic(target, topic, partitions);
    for (const cluster of [source, target]) await fill(cluster, places, batchesOf(shape), 1);
    const boundary = new Map(places.map((place) => [`${place.topic}/${place.partition}`, BigInt(recordsEach)]));
    const ours: Sample[] = [];
    for (let run = 0; run < runs; run++) {
      // Other positions than the last time, so that every one of them has to be written.
      await atOnce(groups, (group, index) =>
        commitOffsets(
          source,
          group,
          places.map((place) => ({
            ...place,
            offset: BigInt((index + place.partition + run) % recordsEach),
            metadata: null,
          })),
        ),
      );
      await sleep(1_000);
      const before = process.cpuUsage();
      const startedAt = performance.now();
      const final = await finalPositions({
        from: source,
        into: target,
        groups,
        topics: new Map([[topic, partitions]]),
        boundary,
      });
      const seconds = (performance.now() - startedAt) / 1_000;
      const { user, system } = process.cpuUsage(before);
      if (final.totals.exact !== groups.length * partitions) throw new Error(`only ${final.totals.exact} are exact`);
      ours.push({ seconds, cpuSeconds: (user + system) / 1e6, positions: final.totals.exact });
      say(`run ${run + 1}: ${final.totals.exact} positions in ${seconds.toFixed(2)} s`);
    }
    for (const cluster of [source, target]) {
      await atOnce(groups, (group) => deleteGroup(cluster, group));
      await removeTopic(cluster, topic);
    }
    return {
      ours,
      peer: [],
      conditions: {
        groups: `${groups.length}, without members, other positions in every run`,
        proof: 'every position read back from the target and compared; read once more on the source',
      },
    };
  },
};

async function atOnce(groups: readonly string[], act: (group: string, index: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: groupsAtOnce }, async () => {
      for (let index = next++; index < groups.length; index = next++) await act(groups[index] as string, index);
    }),
  );
}
