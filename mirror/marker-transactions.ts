/**
 * Markers without the right to write them: real transactions without records, each of which the cluster itself ends with one abort
 * marker in the partition. It needs WRITE on their transactional ids and on the topic, no right on the cluster.
 *
 * **Who writes.** Each partition has ids of its own (`markerIds`), and whoever takes the partition over makes itself the newest producer of all of them
 * (InitProducerId). Kafka then refuses every earlier owner on each id, and answers only when what that owner had begun is ended and its markers stand in
 * the log. The position is read after that, so nothing of an earlier owner can still come. What does come while one takes over stays
 * within the run of invisible slots: nobody begins more transactions than there are slots left in it. Two who take over at once could each hold some ids;
 * both look at all of them afterwards, and at most one finds them all its own.
 *
 * **A visible slot is never written while one is open**, since a time-out or a new owner would put the abort marker there. So aborted records are not
 * kept this way, and a round is over only when the coordinator has logged its end.
 *
 * **What is weaker.** A coordinator that dies after a marker was appended and before it has logged that writes it once more; so does one whose marker
 * was appended by a leader that could not answer. While there is room in the run that is one marker less to write, and a round takes half of the room
 * at most. Behind the last slot it is one slot too many: seen before anything follows, and the topic has to be mirrored again. Besides it is slow:
 * four writes a marker, all by coordinators (measured: docs/mirror.md).
 */
import type { Cluster } from '../kafka/cluster.ts';
import { passingFailure, type TopicPartition } from '../kafka/offsets.ts';
import type { Term } from '../kafka/terms.ts';
import { abortTransaction, addToTransaction, describeTransactions, isEnded } from '../kafka/transactions.ts';
import { pause } from '../kafka/waiting.ts';

/** Transactions of a partition at the same time: more were not faster. */
export const transactionsAtOnce = 8;
/** From beginning the transactions of a round until all are complete. Coordinators try for as long as the partition has no leader. */
const roundTimeoutMs = 20_000;
const roundPausesMs = [1, 2, 5, 10, 20] as const;
/** CONCURRENT_TRANSACTIONS: the coordinator is not done with the transaction before; nothing was begun. */
const concurrentTransactions = 51;

/** How many markers to write at once where so many slots are left in the run: each may come twice. */
export function roundOf(slotsLeft: number): number {
  return Math.max(1, Math.min(transactionsAtOnce, Math.floor(slotsLeft / 2)));
}

/** One of the partition's ids, as its newest producer. */
export interface MarkerId extends Term {
  readonly id: string;
}

/**
 * Begins and aborts one transaction under each id: a marker each.
 *
 * @returns 0 when the coordinators have logged the end of all of them; else Kafka's error number, and then nobody knows how many markers came of it
 * @throws CutoverError KAFKA_REQUEST_FAILED after `roundTimeoutMs`, CLUSTER_UNREACHABLE: the same holds
 */
export async function writeMarkers(into: Cluster, place: TopicPartition, ids: readonly MarkerId[]): Promise<number> {
  const deadline = performance.now() + roundTimeoutMs;
  const codes = await Promise.all(ids.map((id) => beginAndAbort(into, place, id, deadline)));
  const failed = codes.find((code) => code !== 0);
  if (failed !== undefined) return failed;
  await patiently(into, place, deadline, async () => {
    const now = await describeTransactions(
      into,
      ids.map(({ id }) => id),
    );
    return ids.every(({ id }) => isEnded(now.get(id)?.state ?? 'Dead'));
  });
  return 0;
}

async function beginAndAbort(into: Cluster, place: TopicPartition, id: MarkerId, deadline: number): Promise<number> {
  let code = concurrentTransactions;
  for (const act of [addToTransaction, abortTransaction]) {
    await patiently(into, place, deadline, async () => {
      code = await act(into, id, place);
      return code !== concurrentTransactions;
    });
    if (code !== 0) break;
  }
  return code;
}

async function patiently(
  into: Cluster,
  { topic, partition }: TopicPartition,
  deadline: number,
  done: () => Promise<boolean>,
): Promise<void> {
  for (let attempt = 0; !(await done()); attempt++) {
    if (performance.now() > deadline) {
      const where = `cluster ${into.name}, ${topic}/${partition}`;
      throw passingFailure({ what: `a marker's transaction did not end within ${roundTimeoutMs} ms`, where });
    }
    await pause(roundPausesMs[Math.min(attempt, roundPausesMs.length - 1)] ?? 0);
  }
}
