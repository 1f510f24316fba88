/**
 * Sends what only an owner may write: markers, and batches of aborted records. One operation of a partition at a time, alone: the next one,
 * plain records included, waits until the log end was seen where it must be. Partitions share requests.
 *
 * It never sends anything twice. See ownership.ts for why.
 */
import { type Connection, listOffsetsV7 } from '@platformatic/kafka';
import type { CutoverError } from '../contract/errors.ts';
import { answerOf } from '../kafka/answers.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { toCutoverError } from '../kafka/kafka-errors.ts';
import { type Marker, writeTxnMarkers } from '../kafka/markers.ts';
import { groupByTopic, partitionKey } from '../kafka/offsets.ts';
import { inTheirVersion } from '../kafka/versions.ts';
import { dropConnection, type RawProducedPartition, rawProduce } from '../kafka/wire.ts';
import { Lane, produceTimeoutMs } from './lane.ts';
import { roundOf, writeMarkers } from './marker-transactions.ts';
import { type Ownership, ownershipId } from './ownership.ts';
import type { Partition } from './partition.ts';
import type { Outgoing, OutgoingBatch, OutgoingMarkers } from './pieces.ts';

/** Requests of one leader under way. While they are, what becomes ready gathers for the next one. */
const roundsPerLeaderMax = 2;
/** Of one request; more were not faster (measured, research/exact-offsets.md section 2.3). */
const markersPerRequestMax = 5_000;
/** ListOffsets: the log end, not the high watermark. */
const debuggingReplica = -2;
const latest = -1n;

export interface MarkersAnswer {
  /** Of the markers, else of the look at the log end. */
  readonly errorCode: number;
  readonly logEnd: bigint;
}

export interface OwnerWriterOptions {
  /** `sent`: how many of the markers, from the first one on. */
  readonly onMarkers: (partition: Partition, markers: OutgoingMarkers, sent: number, answer: MarkersAnswer) => void;
  readonly onAnswer: (partition: Partition, batch: OutgoingBatch, answer: RawProducedPartition) => void;
  /** No answer: it may have been written, or not, or will be. */
  readonly onSilence: (partition: Partition, generation: number, error: CutoverError) => void;
  /** What is to be sent next does not follow on what was sent before. */
  readonly onGap: (partition: Partition, outgoing: Outgoing) => void;
  /** No connection: nothing was sent. */
  readonly onUnreachable: (partition: Partition, error: CutoverError) => void;
}

interface MarkersItem {
  readonly partition: Partition;
  readonly owner: Ownership;
  readonly markers: OutgoingMarkers;
  readonly sent: number;
}

interface BatchItem {
  readonly partition: Partition;
  readonly batch: OutgoingBatch;
}

export class OwnerWriter {
  readonly #options: OwnerWriterOptions;
  /** By cluster, as one principal or another sees it, and leader. */
  readonly #lanes = new Map<Cluster, Map<number, Lane>>();
  #stopped = false;

  constructor(options: OwnerWriterOptions) {
    this.#options = options;
  }

  /** The partition's next outgoing is ours to send, and nothing of it is on its way. */
  add(partition: Partition): void {
    const { owner } = partition;
    if (!owner) return;
    const { into, leader } = owner;
    const lanes = this.#lanes.get(into) ?? new Map<number, Lane>();
    this.#lanes.set(into, lanes);
    let lane = lanes.get(leader);
    if (!lane) {
      lane = new Lane(into, leader);
      lanes.set(leader, lane);
    }
    lane.waiting.add(partition);
  }

  pump(): void {
    for (const lanes of this.#lanes.values()) for (const lane of lanes.values()) this.#pump(lane);
  }

  stop(): void {
    this.#stopped = true;
  }

  close(): void {
    this.stop();
    for (const lanes of this.#lanes.values()) {
      for (const { connection } of lanes.values()) if (connection) dropConnection(connection);
    }
  }

  #pump(lane: Lane): void {
    if (this.#stopped || lane.waiting.size === 0 || lane.opening || lane.requests >= roundsPerLeaderMax) return;
    if (!lane.connection) {
      void lane.open({
        stopped: () => this.#stopped,
        send: () => this.#pump(lane),
        onUnreachable: this.#options.onUnreachable,
      });
      return;
    }
    const { markers, transactions, batches } = gather(lane, this.#options.onGap);
    if (markers.length > 0) void this.#round(lane, lane.connection, markers, (c) => this.#writeMarkers(c, markers));
    if (transactions.length > 0) {
      void this.#round(lane, lane.connection, transactions, (c) => this.#writeByTransactions(c, transactions));
    }
    if (batches.length > 0) void this.#round(lane, lane.connection, batches, (c) => this.#writeBatches(c, batches));
  }

  /** `write` gives what is to be told of each item once nothing of it is on its way. */
  async #round(
    lane: Lane,
    connection: Connection,
    items: readonly (MarkersItem | BatchItem)[],
    write: (connection: Connection) => Promise<(() => void)[]>,
  ): Promise<void> {
    lane.requests++;
    let tell: readonly (() => void)[];
    let answered = true;
    try {
      tell = await write(connection);
    } catch (error) {
      answered = false;
      const failure = toCutoverError(error, lane.where);
      lane.drop(connection);
      tell = items.map((item) => {
        const { generation } = 'batch' in item ? item.batch : item.markers;
        return () => this.#options.onSilence(item.partition, generation, failure);
      });
    }
    lane.requests--;
    // One after the other: what is told of one may send what is ready, and of the others the rest of a run of markers comes first.
    for (const [index, item] of items.entries()) {
      const { partition } = item;
      if ('batch' in item) {
        if (answered) partition.release(item.batch.bytes);
        else partition.drop(item.batch.bytes);
      }
      partition.inFlight--;
      partition.ownerWriting = false;
      tell[index]?.();
    }
    this.#pump(lane);
  }

  async #writeMarkers(connection: Connection, items: readonly MarkersItem[]): Promise<(() => void)[]> {
    const written = await writeTxnMarkers.async(connection, items.map(toMarker));
    const errors = new Map(written.map((a) => [partitionKey(a.topic, a.partition), a.errorCode]));
    return this.#tellOfMarkers(connection, items, errors);
  }

  /** One that fails says nothing about the others. */
  async #writeByTransactions(connection: Connection, items: readonly MarkersItem[]): Promise<(() => void)[]> {
    const failures = new Map<string, CutoverError>();
    const errors = new Map<string, number>();
    await Promise.all(
      items.map(async ({ partition, owner, sent }) => {
        try {
          const ids = owner.transactions?.slice(0, sent) ?? [];
          errors.set(partition.key, await writeMarkers(owner.into, partition, ids));
        } catch (error) {
          failures.set(partition.key, toCutoverError(error, partition.key));
        }
      }),
    );
    const told = await this.#tellOfMarkers(connection, items, errors);
    return items.map(({ partition, markers }, index) => {
      const failure = failures.get(partition.key);
      return () => {
        if (failure) this.#options.onSilence(partition, markers.generation, failure);
        else told[index]?.();
      };
    });
  }

  async #tellOfMarkers(
    connection: Connection,
    items: readonly MarkersItem[],
    errors: ReadonlyMap<string, number>,
  ): Promise<(() => void)[]> {
    // Errors tell that something went wrong, only the log end that nothing did.
    const ends = await this.#logEnds(connection, items);
    return items.map(({ partition, markers, sent }) => () => {
      const refused = errors.get(partition.key) ?? -1;
      const end = ends.get(partition.key) ?? { errorCode: -1, offset: -1n };
      const errorCode = refused === 0 ? end.errorCode : refused;
      this.#options.onMarkers(partition, markers, sent, { errorCode, logEnd: end.offset });
    });
  }

  async #logEnds(connection: Connection, items: readonly MarkersItem[]) {
    const topics = groupByTopic(
      items.map(({ partition: { topic, partition }, owner }) => ({ topic, partition, owner })),
    ).map(({ topic, items: ofTopic }) => ({
      name: topic,
      partitions: ofTopic.map(({ partition, owner }) => ({
        partitionIndex: partition,
        currentLeaderEpoch: owner.leaderEpoch,
        timestamp: latest,
      })),
    }));
    const request = await inTheirVersion(connection, listOffsetsV7.api);
    const answer = await answerOf(request.async(connection, debuggingReplica, 0, topics));
    return new Map(answer.topics.flatMap((t) => t.partitions.map((p) => [partitionKey(t.name, p.partitionIndex), p])));
  }

  async #writeBatches(connection: Connection, items: readonly BatchItem[]): Promise<(() => void)[]> {
    // Brokers take transactional batches only with a transactional id, one in each request.
    const answers = await Promise.all(
      items.map(({ partition: { topic, partition }, batch }) =>
        rawProduce.async(connection, {
          timeoutMs: produceTimeoutMs,
          transactionalId: ownershipId({ topic, partition }),
          topics: [{ topic, partitions: [{ partition, records: [batch.bytes] }] }],
        }),
      ),
    );
    const byKey = new Map(answers.flat().map((answer) => [partitionKey(answer.topic, answer.partition), answer]));
    return items.map(({ partition, batch }) => () => {
      const answer = byKey.get(partition.key);
      if (answer) this.#options.onAnswer(partition, batch, answer);
      else {
        const left = toCutoverError(new Error('the answer leaves the partition out'), partition.key);
        this.#options.onSilence(partition, batch.generation, left);
      }
    });
  }
}

/** What can be sent now, taken from the partitions' queues. */
function gather(
  lane: Lane,
  onGap: OwnerWriterOptions['onGap'],
): { markers: MarkersItem[]; transactions: MarkersItem[]; batches: BatchItem[] } {
  const markers: MarkersItem[] = [];
  const transactions: MarkersItem[] = [];
  const batches: BatchItem[] = [];
  let room = markersPerRequestMax;
  for (const partition of [...lane.waiting]) {
    if (room === 0) break;
    lane.waiting.delete(partition);
    const { owner } = partition;
    const next = partition.outgoing[0];
    if (!next || owner?.into !== lane.into || owner.leader !== lane.brokerId || partition.inFlight > 0) continue;
    // The first marker of a term goes alone: it shuts earlier owners out, and what slipped in before it shows.
    const most = owner.transactions ? roundOf(next.count) : owner.proven ? room : 1;
    const sent = next.kind === 'batch' ? next.count : Math.min(next.count, most);
    if (!partition.send(next, sent)) {
      onGap(partition, next);
      continue;
    }
    partition.ownerWriting = true;
    if (next.kind === 'batch') batches.push({ partition, batch: next });
    else if (owner.transactions) transactions.push({ partition, owner, markers: next, sent });
    else {
      room -= sent;
      markers.push({ partition, owner, markers: next, sent });
    }
  }
  return { markers, transactions, batches };
}

/** Always an abort: it ends whatever the owner has open, and where it has nothing open it is nothing but an offset. */
function toMarker({ partition: { topic, partition }, owner, sent }: MarkersItem): Marker {
  const { producerId, term } = owner;
  return { topic, partition, producerId, producerEpoch: term, coordinatorEpoch: term, commit: false, count: sent };
}
