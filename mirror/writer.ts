/**
 * Sends prepared batches: one connection per leader, so that what is sent in order arrives in order; one batch a
 * partition and several partitions in a request. What needs an owner goes to the owner's writer, when nothing else is on its way.
 *
 * It never sends anything twice. What becomes of a batch whose answer is an error or never comes is found out by reading the
 * log again, which is the owner's business.
 */
import type { Connection } from '@platformatic/kafka';
import type { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { toCutoverError } from '../kafka/kafka-errors.ts';
import { groupByTopic, partitionKey } from '../kafka/offsets.ts';
import { dropConnection, type RawProducedPartition, rawProduce } from '../kafka/wire.ts';
import { Lane, produceTimeoutMs } from './lane.ts';
import type { OwnerWriter } from './owner-writer.ts';
import type { Partition } from './partition.ts';
import type { Outgoing, OutgoingBatch } from './pieces.ts';

/** Batches of one partition that are on their way. Brokers know five of a producer apart (and repeats of them). */
const inFlightPerPartitionMax = 5;
/** Requests on one connection. Brokers work on one at a time; more only cover the way there. */
const requestsPerLeaderMax = 5;
/** A request is closed when it has this much; one batch always fits. */
const requestBytesMax = 1_048_576;

export interface LogWriterOptions {
  readonly cluster: Cluster;
  readonly ownerWriter: OwnerWriter;
  /** An answer of the broker. */
  readonly onAnswer: (partition: Partition, batch: OutgoingBatch, answer: RawProducedPartition) => void;
  /** No answer: the batch may have been written, or not, or will be. */
  readonly onSilence: (partition: Partition, generation: number, error: CutoverError) => void;
  /** What is to be sent next does not follow on what was sent before. */
  readonly onGap: (partition: Partition, outgoing: Outgoing) => void;
  /** No connection: nothing of this partition was sent since it was last asked for. */
  readonly onUnreachable: (partition: Partition, error: CutoverError) => void;
}

export class LogWriter {
  readonly #options: LogWriterOptions;
  readonly #lanes = new Map<number, Lane>();
  #stopped = false;

  constructor(options: LogWriterOptions) {
    this.#options = options;
  }

  /** `partition.outgoing` has something to send to `partition.writtenLeader`. */
  add(partition: Partition): void {
    let lane = this.#lanes.get(partition.writtenLeader);
    if (!lane) {
      lane = new Lane(this.#options.cluster, partition.writtenLeader);
      this.#lanes.set(partition.writtenLeader, lane);
    }
    lane.waiting.add(partition);
  }

  /** Sends what can be sent now. */
  pump(): void {
    for (const lane of this.#lanes.values()) this.#pump(lane);
  }

  /** Sends nothing more; what is on its way goes on. */
  stop(): void {
    this.#stopped = true;
    this.#options.ownerWriter.stop();
  }

  /** Ends what is on its way; each batch of it meets `onSilence`. */
  close(): void {
    this.stop();
    this.#options.ownerWriter.close();
    for (const { connection } of this.#lanes.values()) if (connection) dropConnection(connection);
  }

  #pump(lane: Lane): void {
    if (this.#stopped || lane.waiting.size === 0 || lane.opening) return;
    if (!lane.connection) {
      void lane.open({
        stopped: () => this.#stopped,
        send: () => this.#pump(lane),
        onUnreachable: this.#options.onUnreachable,
      });
      return;
    }
    while (lane.requests < requestsPerLeaderMax) {
      const items = this.#gather(lane);
      if (items.length === 0) break;
      void this.#send(lane, lane.connection, items);
    }
    this.#options.ownerWriter.pump();
  }

  /** One batch of each partition that may send, in turn. */
  #gather(lane: Lane): { partition: Partition; batch: OutgoingBatch }[] {
    const items: { partition: Partition; batch: OutgoingBatch }[] = [];
    let bytes = 0;
    for (const partition of [...lane.waiting]) {
      const batch = partition.outgoing[0];
      if (!batch || partition.writtenLeader !== lane.brokerId) {
        lane.waiting.delete(partition);
        continue;
      }
      if (partition.ownerWriting) continue;
      if (batch.kind === 'markers' || batch.aborted) {
        // The log end must be where it is wanted before and after.
        if (partition.inFlight > 0) continue;
        lane.waiting.delete(partition);
        this.#options.ownerWriter.add(partition);
        continue;
      }
      // Unknown to the broker, a producer may begin anywhere: a second batch must not overtake a first one that failed.
      if (partition.inFlight >= (partition.remembered ? inFlightPerPartitionMax : 1)) continue;
      if (items.length > 0 && bytes + batch.bytes.length > requestBytesMax) break;
      if (!partition.send(batch, batch.count)) {
        lane.waiting.delete(partition);
        this.#options.onGap(partition, batch);
        continue;
      }
      bytes += batch.bytes.length;
      items.push({ partition, batch });
      lane.waiting.delete(partition);
      if (partition.outgoing.length > 0) lane.waiting.add(partition); // behind the others
    }
    return items;
  }

  async #send(
    lane: Lane,
    connection: Connection,
    items: readonly { partition: Partition; batch: OutgoingBatch }[],
  ): Promise<void> {
    lane.requests++;
    let answers: Map<string, RawProducedPartition> | undefined;
    let failure: CutoverError | undefined;
    try {
      const answer = await rawProduce.async(connection, {
        timeoutMs: produceTimeoutMs,
        topics: groupByTopic(
          items.map(({ partition, batch }) => ({ topic: partition.topic, partition: partition.partition, batch })),
        ).map(({ topic, items: ofTopic }) => ({
          topic,
          partitions: ofTopic.map(({ partition, batch }) => ({ partition, records: [batch.bytes] })),
        })),
      });
      answers = new Map(answer.map((a) => [partitionKey(a.topic, a.partition), a]));
    } catch (error) {
      failure = toCutoverError(error, lane.where);
      lane.drop(connection);
    }
    lane.requests--;
    for (const { partition, batch } of items) {
      partition.inFlight--;
      const answer = answers?.get(partition.key);
      if (answer) {
        partition.release(batch.bytes); // answered is sent
        this.#options.onAnswer(partition, batch, answer);
      } else {
        partition.drop(batch.bytes);
        failure ??= toCutoverError(new Error('the answer leaves the partition out'), `broker ${lane.brokerId}`);
        this.#options.onSilence(partition, batch.generation, failure);
      }
    }
    this.#pump(lane);
  }
}
