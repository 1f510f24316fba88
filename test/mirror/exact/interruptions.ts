/** Random interruptions of a mirror, one after the other, and then one run that is left in peace. */

import { setTimeout as sleep } from 'node:timers/promises';
import * as fc from 'fast-check';
import type { MirrorJob } from '../mirror-process.ts';
import { catchUp } from './catch-up.ts';
import type { Clusters, MirroredTopic } from './clusters.ts';
import { jobOn, MirrorChild } from './mirror-child.ts';

export interface Interruption {
  /** Told to stop, or SIGKILL from outside. */
  readonly how: 'abort' | 'kill';
  /** After it was seen at work. */
  readonly afterMs: number;
  readonly maxBytesPerSecond: number;
  readonly maxBatchBytes: number;
}

/** At most `killsMax` of them cost a process. */
export function interruptions({ max, killsMax }: { readonly max: number; readonly killsMax: number }) {
  const one = fc.record({
    how: fc.constantFrom('abort' as const, 'abort' as const, 'kill' as const),
    afterMs: fc.integer({ min: 0, max: 250 }),
    maxBytesPerSecond: fc.constantFrom(5_000, 50_000, 500_000),
    maxBatchBytes: fc.constantFrom(20_000, 1_000_000),
  });
  return fc.array(one, { maxLength: max }).map((all) => {
    let kills = 0;
    return all.map((each) => (each.how === 'kill' && ++kills > killsMax ? { ...each, how: 'abort' as const } : each));
  });
}

/** Carries the topic as far as it is decided. */
export async function mirrorInterrupted(
  clusters: Clusters,
  mirrored: MirroredTopic,
  planned: readonly Interruption[],
  more: Pick<MirrorJob, 'writesAs'> = {},
): Promise<void> {
  for (const { how, afterMs, maxBytesPerSecond, maxBatchBytes } of planned) {
    const limits = { maxBytesPerSecond, maxBatchBytes };
    if (how === 'abort') {
      await catchUp(clusters, mirrored, { ...limits, signal: AbortSignal.timeout(afterMs) });
      continue;
    }
    const child = new MirrorChild(jobOn(mirrored, { ...limits, ...more }), clusters.stack.env);
    await child.working;
    await sleep(afterMs);
    await child.kill();
    if (child.failed) throw new Error(`a mirror failed with ${child.failed}: ${child.message}`);
  }
  await catchUp(clusters, mirrored);
}
