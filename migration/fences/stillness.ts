/** Log ends that stand still: what shows that nobody writes, whatever keeps them from it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../../contract/errors.ts';
import type { Cluster } from '../../kafka/cluster.ts';
import { listOffsets, partitionKey, type TopicPartition } from '../../kafka/offsets.ts';
import { readProvenance, tellTimeoutMs } from '../provenance.ts';
import { describeIdle, describeWriters, type Writers } from '../writers.ts';

export interface StillnessOptions {
  readonly cluster: Cluster;
  readonly partitions: readonly TopicPartition[];
  readonly quietMs: number;
  /** After this moment (milliseconds since 1970) it is given up. */
  readonly deadlineMs: number;
  /** Producer ids of the mirror that wrote here, by `topic/partition`: they are no application. */
  readonly mirror?: ReadonlyMap<string, bigint>;
  readonly signal?: AbortSignal;
  /** What of the failure people read first; `the fence is set but not proven: log ends` by default. */
  readonly what?: string;
}

/** Partitions that one message names. */
const shownMax = 5;

/**
 * Waits until every log end is the high watermark, and the same again after `quietMs`. The last stable offset is not asked for: a
 * transaction that is still open is ended next, and the boundary waits for it.
 *
 * @returns the log ends, by `topic/partition`
 * @throws CutoverError FENCE_NOT_PROVEN naming the partitions, who wrote to them meanwhile, and who is idle there
 */
export async function awaitStillness(options: StillnessOptions): Promise<ReadonlyMap<string, bigint>> {
  const { cluster, partitions, quietMs, signal } = options;
  let before = await listOffsets(cluster, partitions, 'logEnd');
  for (;;) {
    await sleep(quietMs, undefined, signal && { signal });
    const after = await listOffsets(cluster, partitions, 'logEnd');
    const watermarks = await listOffsets(cluster, partitions, 'highWatermark');
    const moving = partitions.filter((p) => after.get(keyOf(p)) !== before.get(keyOf(p)));
    const behind = partitions.filter((p) => watermarks.get(keyOf(p)) !== after.get(keyOf(p)));
    if (moving.length + behind.length === 0) return after;
    if (Date.now() > options.deadlineMs) {
      throw new CutoverError('FENCE_NOT_PROVEN', {
        what: options.what ?? 'the fence is set but not proven: log ends',
        where: `cluster ${cluster.name}`,
        found:
          moving.length > 0
            ? await whoMoves(options, moving, before, after)
            : `${behind.length} partitions not replicated, such as ${behind.slice(0, shownMax).map(keyOf).join(', ')}`,
      });
    }
    before = after;
  }
}

async function whoMoves(
  { cluster, mirror }: StillnessOptions,
  moving: readonly TopicPartition[],
  before: ReadonlyMap<string, bigint>,
  after: ReadonlyMap<string, bigint>,
): Promise<string> {
  const shown = moving.slice(0, shownMax);
  const moved = shown.map((p) => `${keyOf(p)} moved from ${before.get(keyOf(p))} to ${after.get(keyOf(p))}`);
  const more = moving.length > shown.length ? [`${moving.length - shown.length} more`] : [];
  const ranges = shown.map((p) => ({ ...p, from: before.get(keyOf(p)) ?? 0n, until: after.get(keyOf(p)) ?? 0n }));
  try {
    const { writers } = await readProvenance(cluster, ranges, new Map(), {
      signal: AbortSignal.timeout(tellTimeoutMs),
    });
    const named: Writers = new Map(
      shown.map((p) => {
        const ours = mirror?.get(keyOf(p));
        return [keyOf(p), new Set([...(writers.get(keyOf(p)) ?? []), ...(ours === undefined ? [] : [ours])])];
      }),
    );
    const who = await describeWriters(cluster, writers);
    const idle = await describeIdle(cluster, shown.map(keyOf), named);
    return [...moved, ...more, ...who, ...idle].join('; ');
  } catch (error) {
    return [...moved, ...more, `who wrote cannot be told: ${(error as Error).message}`].join('; ');
  }
}

const keyOf = (p: TopicPartition): string => partitionKey(p.topic, p.partition);
