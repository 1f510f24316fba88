/** Carries a topic up to the source's last stable offsets, and stops there. */
import { setTimeout as sleep } from 'node:timers/promises';
import { listOffsets } from '../../../kafka/offsets.ts';
import { runMirror } from '../../../mirror/mirror.ts';
import type { Clusters, MirroredTopic } from './clusters.ts';

const pollMs = 40;

export interface CatchUpOptions {
  readonly maxBytesPerSecond?: number;
  readonly maxBatchBytes?: number;
  /** Ends it early, as a worker that is told to stop would. */
  readonly signal?: AbortSignal;
  /** 90 s by default; rejects when it has passed. */
  readonly timeoutMs?: number;
}

const timeoutMsDefault = 90_000;

export async function catchUp(
  { source, target }: Clusters,
  { partitions }: MirroredTopic,
  options: CatchUpOptions = {},
): Promise<void> {
  const { timeoutMs = timeoutMsDefault } = options;
  const there = new AbortController();
  const tooLate = AbortSignal.timeout(timeoutMs);
  const signals = [there.signal, tooLate, ...(options.signal ? [options.signal] : [])];
  const signal = AbortSignal.any(signals);
  const mirroring = runMirror({
    from: source,
    into: target,
    partitions,
    signal,
    ...(options.maxBatchBytes !== undefined && { maxBatchBytes: options.maxBatchBytes }),
    ...(options.maxBytesPerSecond !== undefined && { maxBytesPerSecond: () => options.maxBytesPerSecond ?? 0 }),
  });
  const failed = mirroring.then(
    () => undefined,
    () => there.abort(),
  );
  while (!signal.aborted) {
    if (await hasCaughtUp({ source, target }, { partitions })) there.abort();
    else await Promise.race([sleep(pollMs), failed]);
  }
  await mirroring;
  if (tooLate.aborted && !options.signal?.aborted) {
    throw new Error(`not caught up after ${timeoutMs} ms: ${await whereItStands({ source, target }, { partitions })}`);
  }
}

/** Offsets that the target's logs hold together, from 0 on. */
export async function offsetsWritten(
  { target }: Pick<Clusters, 'target'>,
  { partitions }: Pick<MirroredTopic, 'partitions'>,
): Promise<number> {
  const ends = await listOffsets(target, partitions, 'logEnd');
  return Number([...ends.values()].reduce((sum, end) => sum + end, 0n));
}

/** Whether the target's logs end where the source is decided. */
export async function hasCaughtUp(
  { source, target }: Pick<Clusters, 'source' | 'target'>,
  { partitions }: Pick<MirroredTopic, 'partitions'>,
): Promise<boolean> {
  const stable = await listOffsets(source, partitions, 'lastStable');
  const ends = await listOffsets(target, partitions, 'logEnd');
  const starts = await listOffsets(source, partitions, 'start');
  const begins = await listOffsets(target, partitions, 'start');
  // A head is written first and cut away then.
  return [...stable].every(([key, offset]) => (ends.get(key) ?? -1n) >= offset && begins.get(key) === starts.get(key));
}

export async function whereItStands(
  { source, target }: Pick<Clusters, 'source' | 'target'>,
  { partitions }: Pick<MirroredTopic, 'partitions'>,
): Promise<string> {
  const stable = await listOffsets(source, partitions, 'lastStable');
  const ends = await listOffsets(target, partitions, 'logEnd');
  return [...stable].map(([key, offset]) => `${key} ${ends.get(key)} of ${offset}`).join(', ');
}
