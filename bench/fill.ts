/**
 * Fills topics with batches of a given shape, as fast as the broker takes them. How fast is not measured; what lies in the log is
 * what counts: records a batch, codec and sizes are those that a producer with the row's settings would have left.
 */
import { randomFillSync } from 'node:crypto';
import type { Connection } from '@platformatic/kafka';
import { encodeBatch, type RecordBatch } from '../kafka/batches.ts';
import type { Cluster } from '../kafka/cluster.ts';
import type { Codec } from '../kafka/codecs.ts';
import { dropConnection, rawProduce } from '../kafka/wire.ts';
import type { NamedPartition } from './topic-pair.ts';

export interface Shape {
  readonly valueBytes: number;
  readonly recordsPerBatch: number;
  readonly codec: Codec;
  /** Of each value; the rest is one byte repeated. */
  readonly randomShare: number;
}

/** Different batches, used in turn. */
const templateCount = 64;
const connectionCount = 2;
const inFlightMax = 4;
const requestBytesMax = 4_194_304;

/** Batches of the shape, each with contents and timestamps of its own. */
export function batchesOf(shape: Shape, now = Date.now()): RecordBatch[] {
  return Array.from({ length: templateCount }, (_, template) =>
    encodeBatch({
      codec: shape.codec,
      records: Array.from({ length: shape.recordsPerBatch }, (_record, index) => {
        const value = Buffer.alloc(shape.valueBytes, 0x78);
        randomFillSync(value, 0, Math.floor(shape.valueBytes * shape.randomShare));
        return { timestamp: BigInt(now + template * 1_000 + (index % 1_000)), key: null, value };
      }),
    }),
  );
}

/**
 * Appends `batchesEach` batches to every partition. All of them must have the same leader.
 *
 * @throws Error when a batch is refused
 */
export async function fill(
  cluster: Cluster,
  partitions: readonly NamedPartition[],
  batches: readonly RecordBatch[],
  batchesEach: number,
): Promise<void> {
  const first = partitions[0];
  if (!first) return;
  const leader = (await cluster.metadata([first.topic])).topics.get(first.topic)?.partitions[first.partition]?.leader;
  if (leader === undefined) throw new Error(`${first.topic} has no leader`);
  await Promise.all(
    Array.from({ length: connectionCount }, async (_, lane) => {
      const mine = partitions.filter((_partition, index) => index % connectionCount === lane);
      if (mine.length === 0) return;
      const connection = await cluster.open(leader);
      try {
        await fillOver(connection, mine, batches, batchesEach);
      } finally {
        dropConnection(connection);
      }
    }),
  );
}

async function fillOver(
  connection: Connection,
  partitions: readonly NamedPartition[],
  batches: readonly RecordBatch[],
  batchesEach: number,
): Promise<void> {
  const inFlight: Promise<void>[] = [];
  for (let n = 0; n < batchesEach; n++) {
    const { bytes } = batches[n % batches.length] as RecordBatch;
    const perRequest = Math.max(1, Math.floor(requestBytesMax / bytes.length));
    for (let at = 0; at < partitions.length; at += perRequest) {
      const sent = produce(connection, partitions.slice(at, at + perRequest), bytes);
      sent.catch(() => {});
      inFlight.push(sent);
      if (inFlight.length >= inFlightMax) await inFlight.shift();
    }
  }
  await Promise.all(inFlight);
}

async function produce(connection: Connection, partitions: readonly NamedPartition[], bytes: Buffer): Promise<void> {
  const topics = [...Map.groupBy(partitions, (p) => p.topic)].map(([topic, items]) => ({
    topic,
    partitions: items.map(({ partition }) => ({ partition, records: [bytes] })),
  }));
  for (const answer of await rawProduce.async(connection, { timeoutMs: 30_000, topics })) {
    if (answer.errorCode !== 0) throw new Error(`${answer.topic}/${answer.partition}: error ${answer.errorCode}`);
  }
}
