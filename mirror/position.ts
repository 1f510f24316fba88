/**
 * Where a mirror stands in the log that it writes: read from that log alone, there is no other checkpoint.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeRecords, readBatches, sequenceAfter, sequenceCount } from '../kafka/batches.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { kafkaError } from '../kafka/kafka-errors.ts';
import { askLeaders, type GivenLeaders, listOffsets, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import { describeProducers } from '../kafka/producers.ts';
import type { KafkaRecord } from '../kafka/record.ts';
import { type RawFetchedPartition, rawFetch } from '../kafka/wire.ts';
import { singly } from './runs.ts';
import { slotsOf } from './slots.ts';

/** Between looks at a log that has not settled: the high watermark follows within a replica's fetch. */
const settlePauseMs = 20;
/** One batch each is in memory at a time. */
const readsAtOnce = 8;

export interface Position {
  readonly logStart: bigint;
  /** Log end, when it was the high watermark too. */
  readonly logEnd: bigint;
  readonly nextSequence: number;
  /** Whether the partition remembers our producer. If not, it accepts any sequence, and only the first write makes the next ones compare-and-set. */
  readonly remembered: boolean;
  /** The epoch under which our producer is remembered; we write under 0 always. */
  readonly epoch: number;
}

/**
 * Positions by `partitionKey`, each taken while its log stood still: log end = high watermark, then producers, then the
 * same log end again. Producers reflect the log end; taken beside a high watermark that is behind it, the
 * sequence would belong to another position (seen on 3 replicas: high watermark 2, log end 3).
 *
 * Without a remembered producer the next sequence is the position itself: an empty log then begins at 0, and two
 * mirrors that find nothing remembered choose the same, so that one of them is refused.
 *
 * Waits as long as it takes, or until `signal` aborts (then partitions may be missing).
 *
 * @param given leaders to be asked, where they were proven: an owner's position is that of the leader it moved to
 */
export async function readPositions(
  cluster: Cluster,
  partitions: readonly (TopicPartition & { readonly producerId: bigint })[],
  signal: AbortSignal,
  given?: GivenLeaders,
): Promise<Map<string, Position>> {
  const settled = new Map<string, Position>();
  let open = [...partitions];
  while (open.length > 0 && !signal.aborted) {
    const ends = await listOffsets(cluster, open, 'logEnd', given);
    const watermarks = await listOffsets(cluster, open, 'highWatermark', given);
    const still = open.filter((p) => ends.get(keyOf(p)) === watermarks.get(keyOf(p)));
    if (still.length > 0) {
      const producers = await describeProducers(cluster, still, given);
      const starts = await listOffsets(cluster, still, 'start', given);
      const endsAgain = await listOffsets(cluster, still, 'logEnd', given);
      for (const p of still) {
        const key = keyOf(p);
        const logEnd = endsAgain.get(key);
        if (logEnd === undefined || logEnd !== ends.get(key)) continue;
        const ours = producers.get(key)?.find((producer) => producer.producerId === p.producerId);
        settled.set(key, {
          logStart: starts.get(key) ?? 0n,
          logEnd,
          nextSequence: ours ? sequenceAfter(ours.lastSequence, 1) : Number(logEnd % BigInt(sequenceCount)),
          remembered: ours !== undefined,
          epoch: ours?.epoch ?? 0,
        });
      }
    }
    open = open.filter((p) => !settled.has(keyOf(p)));
    if (open.length > 0) await sleep(settlePauseMs, undefined, { signal }).catch(() => {});
  }
  return settled;
}

/** What stands at an offset: a committed record; a marker or an aborted record; or no batch, since a cleaner took what was there. */
export type SlotAt = KafkaRecord | 'invisible' | 'hole';

/**
 * The slot at one offset of each partition, by `partitionKey`; left out where it cannot be told: not yet stable, or gone.
 */
export async function readSlotsAt(
  cluster: Cluster,
  places: readonly (TopicPartition & { readonly offset: bigint })[],
): Promise<Map<string, SlotAt>> {
  const offsets = new Map(places.map((p) => [keyOf(p), p.offset]));
  const answers = await askLeaders(cluster, places, 'reading one record', async (broker, questions) => {
    const found: RawFetchedPartition[] = [];
    for (let i = 0; i < questions.length; i += readsAtOnce) {
      const answered = await Promise.all(
        questions.slice(i, i + readsAtOnce).map(({ topic, partition, leaderEpoch }) =>
          cluster.call({ broker }, rawFetch, {
            maxWaitMs: 0,
            minBytes: 0,
            // The first batch of a request comes whole whatever its size, and no other one: hence a request each.
            maxBytes: 1,
            isolation: 'readCommitted',
            topics: [
              {
                topic,
                partitions: [
                  {
                    partition,
                    fetchOffset: offsets.get(partitionKey(topic, partition)) ?? 0n,
                    leaderEpoch,
                    maxBytes: 1,
                  },
                ],
              },
            ],
          }),
        ),
      );
      for (const { partitions } of answered) {
        for (const p of partitions) {
          found.push(p.errorCode === kafkaError.offsetOutOfRange ? { ...p, errorCode: 0 } : p);
        }
      }
    }
    return found;
  });
  const slots = new Map<string, SlotAt>();
  for (const [key, answer] of answers) {
    const offset = offsets.get(key) as bigint;
    const slot = slotOf(answer, offset);
    if (slot !== undefined) slots.set(key, slot);
  }
  return slots;
}

function slotOf(answer: RawFetchedPartition, offset: bigint): SlotAt | undefined {
  const { pieces } = slotsOf(answer, { from: offset, keepAborted: true, otherProducerId: null });
  const piece = [...singly(pieces)].find(({ from, end }) => from <= offset && offset < end);
  // Older formats are left out: what offsets an entry has only all of its records tell.
  if (!piece || (piece.kind === 'batch' && piece.batch.magic < 2)) return undefined;
  if (piece.kind === 'batch') {
    const record = decodeRecords(piece.batch).find((candidate) => candidate.offset === offset);
    if (!record) return 'hole';
    return piece.aborted ? 'invisible' : record;
  }
  for (const { baseOffset, nextOffset } of readBatches(answer.records)) {
    if (baseOffset <= offset && offset < nextOffset) return 'invisible';
  }
  return 'hole';
}

function keyOf(p: TopicPartition): string {
  return partitionKey(p.topic, p.partition);
}
