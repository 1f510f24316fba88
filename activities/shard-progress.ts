/** What a heartbeat says of how far the partitions of a topic are. */
import type { Direction } from '../contract/status.ts';
import type { Progress } from '../replicators/replicator.ts';
import type { ShardProgress } from './types.ts';

/** Sums per topic: what a heartbeat carries stays small. */
export function progressOf(
  kind: ShardProgress['kind'],
  direction: Direction,
  wave: string,
  partitions: readonly Progress[],
): ShardProgress {
  const topics: Record<string, { position: number; end: number; records: number; bytes: number }> = {};
  for (const { topic, position, end, records, bytes } of partitions) {
    topics[topic] ??= { position: 0, end: 0, records: 0, bytes: 0 };
    const sum = topics[topic];
    sum.position += Number(position);
    sum.end += Number(end ?? position);
    sum.records += records;
    sum.bytes += bytes;
  }
  return { kind, direction, wave, topics };
}
