/** The audit of a wave whose replicator gives records other offsets: both logs walked side by side, whichever way records flow. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Direction } from '../contract/status.ts';
import {
  flowOf,
  type PairsWalk,
  pairingStarts,
  pairOf,
  readPairs,
  refuseUnpaired,
  storePairs,
} from '../migration/pairs.ts';
import type { Wave } from '../migration/wave.ts';
import { type PairedPartition, runPairing } from '../mirror/pairing-run.ts';
import { replicatorOf } from '../replicators/registry.ts';
import type { Connections } from './connections.ts';
import { cancellation, heartbeatDetails } from './failures.ts';
import { progressOf } from './shard-progress.ts';

/** How often it stores how far it is, and looks which way records flow. */
const lookEveryMs = 1_000;

/** Ends only by cancellation. @throws CutoverError PARITY_FAILED, and what `runPairing` throws */
export async function followPairs(wave: Wave, connections: Connections): Promise<void> {
  while (!cancellation().aborted) {
    const direction = await flowOf(wave);
    const walked = await walk(wave, direction, walkerOf(wave, direction, connections));
    // Opened meanwhile: what applications write there now was taken for strangers.
    if ((await flowOf(wave)) !== direction) continue;
    refuseUnpaired(walked);
  }
}

/** What the replicator brings where it changes records; on the way back there is no such one. */
export function walkerOf(wave: Wave, direction: Direction, { file }: Connections): PairsWalk {
  const replicator = replicatorOf(wave.plan);
  if (direction === 'reverse' || !replicator.walk) {
    return (options) => runPairing({ ...pairOf(wave, direction), ...options });
  }
  return (options) =>
    replicator.walk?.({ wave, direction, file, signal: options.signal }, options) ?? Promise.resolve([]);
}

/** Until it is stopped, records flow the other way, or something does not fit. */
async function walk(wave: Wave, direction: Direction, run: PairsWalk): Promise<readonly PairedPartition[]> {
  const over = new AbortController();
  const signal = AbortSignal.any([cancellation(), over.signal]);
  let latest: readonly PairedPartition[] = [];
  const store = async () => {
    // What does not fit is told, and looked at again by the next attempt.
    const sound = latest.filter(({ counts }) => counts.missing + counts.reordered + counts.foreign === 0);
    if (sound.length > 0) await storePairs(wave, direction, 'audit', sound);
  };
  const storing = (async () => {
    let stored = '';
    while (!signal.aborted) {
      await sleep(lookEveryMs, undefined, { signal }).catch(() => {});
      if ((await flowOf(wave)) !== direction) {
        over.abort();
        return;
      }
      const snapshot = latest.map(({ place }) => `${place.origin}@${place.copy}`).join();
      if (snapshot === stored || latest.length === 0) continue;
      await store();
      stored = snapshot;
    }
  })();
  storing.catch(() => over.abort());
  const partitions = await pairingStarts(wave, await readPairs(wave, direction));
  const walked = await run({
    partitions,
    signal,
    onProgress: (progress) => {
      latest = progress;
      heartbeatDetails(progressOf('audit', direction, wave.wave, progress.map(shown)));
      if (progress.some(({ counts }) => counts.missing + counts.reordered + counts.foreign > 0)) over.abort();
    },
  });
  over.abort();
  await storing;
  latest = walked;
  await store();
  return walked;
}

function shown({ topic, partition, place, counts }: PairedPartition) {
  return { topic, partition, position: place.origin, records: counts.records, bytes: 0 };
}
