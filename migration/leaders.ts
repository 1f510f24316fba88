/** Leaders of the wave's topics, which a mirror moves to own what it writes: how they were, and how they are again in the end. */
import type { Side } from './change.ts';
import type { Purpose } from './journal.ts';
import { topicSizes, type Wave } from './wave.ts';

export const movedLeaders: readonly Purpose[] = ['target-leaders', 'source-leaders'];

/**
 * Records the order of the replicas of each partition that has more than one, unless it stands recorded. To be called before the mirror
 * that writes to that side may begin.
 *
 * @throws CutoverError CLUSTER_UNREACHABLE
 */
export async function recordLeaders(wave: Wave, side: Side): Promise<void> {
  // With their sizes: partitions that are added later are recorded then.
  const topics = [...topicSizes(wave)].map(([name, partitions]) => ({ name, partitions }));
  await wave.journal.make(wave.wave, `${side}-leaders`, [{ kind: 'move-leaders', cluster: side, topics }]);
}
