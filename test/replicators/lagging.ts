/** Groups that lag behind on a topic whose copy has other offsets, and where each of their positions lies there: told by Apache's own consumer. */
import { commitOffsets } from '../../kafka/groups.ts';
import { createTopic } from '../../kafka/topics.ts';
import type { Clusters } from '../../migration/change.ts';
import type { UncarriedPosition } from '../../migration/groups.ts';
import { type JavaRecord, readWithJava } from '../../stack/java-tools.ts';
import type { Stack } from '../../stack/stack.ts';
import { applicationOf } from '../kafka/applications.ts';
import { deleteRecords, write } from '../migration/rig.ts';

/** What `write` writes is years old: retention would take it away in the middle of a test. */
export const keepsOldRecords = { 'retention.ms': '-1' } as const;

export interface Estate {
  readonly topic: string;
  readonly partitions: number;
}

/**
 * A topic on the source whose offsets no copy can have: its head is cut away, and every third transaction in it was aborted.
 *
 * @param records of each partition, committed, beside those in transactions
 */
export async function lopsidedTopic(
  { source }: Clusters,
  stack: Stack,
  estate: Estate,
  records: number,
): Promise<void> {
  const { topic, partitions } = estate;
  await createTopic(source, { name: topic, partitions, replicationFactor: 1, configs: keepsOldRecords });
  for (let partition = 0; partition < partitions; partition++) {
    await write(source, topic, 5, { partition, prefix: 'cut-' });
    await deleteRecords(source, topic, partition, 5n);
  }
  if (!stack.source) throw new Error('needs a stack of our own');
  const producer = applicationOf(stack.source, 'cutover').producer({
    transactionalId: topic,
    idempotent: true,
    maxInFlightRequests: 1,
    // The end of one transaction is still being written when the next begins.
    retry: { retries: 30, initialRetryTime: 50, maxRetryTime: 500 },
  });
  await producer.connect();
  try {
    const rounds = 12;
    for (let round = 0; round < rounds; round++) {
      for (let partition = 0; partition < partitions; partition++) {
        await write(source, topic, Math.ceil(records / rounds), { partition, prefix: `${round}-` });
      }
      const transaction = await producer.transaction();
      const messages = Array.from({ length: partitions * 4 }, (_, i) => ({
        value: `tx${round}-${i}`,
        partition: i % partitions,
      }));
      await transaction.send({ topic, messages });
      await (round % 3 === 2 ? transaction.abort() : transaction.commit());
    }
  } finally {
    await producer.disconnect();
  }
}

/** Commits what `groups` groups have read of each partition: spread over the whole log, its very ends among them. */
export async function lag(
  { source }: Clusters,
  { topic, partitions }: Estate,
  groups: readonly string[],
  log: { readonly start: bigint; readonly ends: ReadonlyMap<string, bigint> },
): Promise<UncarriedPosition[]> {
  const all: UncarriedPosition[] = [];
  for (const [index, group] of groups.entries()) {
    const positions = Array.from({ length: partitions }, (_, partition) => {
      const end = log.ends.get(`${topic}/${partition}`) ?? 0n;
      // The same spread whatever runs: a multiple of a number that shares no factor with the length.
      const share = BigInt((index * 7_919 + partition * 101) % 10_007);
      const offset = index === 0 ? log.start : index === 1 ? end : log.start + (share * (end - log.start)) / 10_007n;
      return { topic, partition, offset, metadata: null };
    });
    await commitOffsets(source, group, positions);
    all.push(...positions.map(({ partition, offset }) => ({ group, topic, partition, offset })));
  }
  return all;
}

/** By partition: where the record that each source offset is followed by stands on the target; null: the target's end. */
export async function truthOf(
  stack: Stack,
  topic: string,
): Promise<(partition: number, committed: bigint) => bigint | null> {
  const { source, target } = stack;
  if (!source || !target) throw new Error('needs a stack of our own');
  const [here, there] = [await readWithJava(source, 'cutover', topic), await readWithJava(target, 'cutover', topic)];
  const name = ({ partition, key, value }: JavaRecord) => `${partition} ${key} ${value}`;
  const onTarget = new Map(there.records.map((record) => [name(record), record.offset]));
  const byPartition = Map.groupBy(here.records, ({ partition }) => partition);
  return (partition, committed) => {
    const next = byPartition.get(partition)?.find(({ offset }) => offset >= committed);
    return next ? (onTarget.get(name(next)) ?? -1n) : null;
  };
}
