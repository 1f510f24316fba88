/** What the mirror knows of one partition while it runs. All of it is read from the clusters again at every takeover. */
import type { CutoverError } from '../contract/errors.ts';
import type { RecordBatch } from '../kafka/batches.ts';
import { partitionKey } from '../kafka/offsets.ts';
import type { ReadPartition } from './reader.ts';

export interface MirrorPartition {
  readonly topic: string;
  /** The topic's id on the cluster read from; '' or all zeros where it is not known: then the first one seen counts. */
  readonly topicId: string;
  readonly partition: number;
  /** Our producer on the cluster written to: the same for every run of this direction, used by nothing else. */
  readonly producerId: bigint;
  /** The other direction's mirror's producer on the cluster read from: its batches mean MIRROR_LOOP. */
  readonly otherProducerId: bigint | null;
}

export interface PartitionProgress {
  readonly topic: string;
  readonly partition: number;
  /** The next offset to write: everything below it is written and acknowledged. */
  readonly position: bigint;
  /** Where the log that is read ended when it was last looked at. */
  readonly end: bigint;
  /** Carried by this run. */
  readonly records: number;
  /** Of batches acknowledged to this run, as sent. */
  readonly bytes: number;
}

/** A source batch that waits to be prepared; its first `skip` records are below our position. */
export interface IncomingBatch {
  readonly batch: RecordBatch;
  readonly baseOffset: bigint;
  readonly skip: number;
}

/** A batch as it will be sent, stamped with its sequence. */
export interface OutgoingBatch {
  readonly bytes: Buffer;
  readonly baseOffset: bigint;
  readonly count: number;
  /** Made of several source batches, so a smaller one is possible. */
  readonly merged: boolean;
  readonly generation: number;
}

/**
 * - `lost`: the position is not known; nothing is read or sent.
 * - `taking`: the position is being read.
 * - `running`
 */
export type Phase = 'lost' | 'taking' | 'running';

/** Bytes that are read and not yet acknowledged, of all partitions together. */
export class Memory {
  held = 0;
}

export class Partition implements ReadPartition {
  readonly spec: MirrorPartition;
  readonly topic: string;
  readonly partition: number;
  readonly key: string;
  phase: Phase = 'lost';
  generation = 0;
  nextFetch = 0n;
  /** Broker that leads the written partition, as of the takeover. */
  writtenLeader = -1;
  /** False until the written partition is known to remember our producer: without that any sequence is accepted. */
  remembered = false;
  nextSequence = 0;

  incoming: IncomingBatch[] = [];
  outgoing: OutgoingBatch[] = [];
  inFlight = 0;
  /** Of incoming, outgoing and in flight. */
  bytesHeld = 0;
  readonly #memory: Memory;

  position = 0n;
  /** Where what was sent so far ends. */
  sentTo = 0n;
  end = 0n;
  /** Undefined until first seen: the log end that `untilCaughtUp` waits for. */
  goal: bigint | undefined;
  records = 0;
  bytes = 0;

  /** Batches are sent as they come when the target has refused a merged one for its size. */
  mergeRefused = false;
  /** In a row, by time, of anything but sequences. */
  failures = 0;
  failedAt = 0;
  /** Refused sequences since the position last moved. */
  conflicts = 0;
  retryAt = 0;
  /** Reads in a row that gave damaged bytes. */
  damagedReads = 0;
  /** Answers in a row without a record although the log goes on. */
  emptyAnswers = 0;
  /** The next batch cannot be carried; counts once what was read before it is written. */
  blocked: CutoverError | undefined;

  constructor(spec: MirrorPartition, memory: Memory) {
    this.#memory = memory;
    this.spec = spec;
    this.topic = spec.topic;
    this.partition = spec.partition;
    this.key = partitionKey(spec.topic, spec.partition);
  }

  get reading(): boolean {
    return this.phase === 'running' && this.blocked === undefined;
  }

  /** Negative: lets go of. */
  hold(bytes: number): void {
    this.bytesHeld += bytes;
    this.#memory.held += bytes;
  }

  /** The position is in doubt: nothing that was read counts any more, and late answers are known by their generation. */
  forget(): void {
    for (const { bytes } of this.outgoing) this.hold(-bytes.length);
    for (const { batch } of this.incoming) this.hold(-batch.byteLength);
    this.outgoing = [];
    this.incoming = [];
    this.blocked = undefined;
    this.generation++;
    this.phase = 'lost';
  }

  /** The position is known again. */
  take(position: bigint, from: { nextSequence: number; remembered: boolean; writtenLeader: number }): void {
    // What was on its way when the doubt arose and is found written counts as carried by us.
    const found = position < this.sentTo ? position : this.sentTo;
    if (found > this.position) this.records += Number(found - this.position);
    if (position > this.position) this.conflicts = 0;
    this.position = position;
    this.sentTo = position;
    this.nextFetch = position;
    this.nextSequence = from.nextSequence;
    this.remembered = from.remembered;
    this.writtenLeader = from.writtenLeader;
    this.emptyAnswers = 0;
    this.retryAt = 0;
    this.generation++;
    this.phase = 'running';
  }

  get caughtUp(): boolean {
    return this.goal !== undefined && this.phase === 'running' && this.position >= this.goal;
  }

  progress(): PartitionProgress {
    const { topic, partition, position, records, bytes } = this;
    // What was found written at a takeover may lie beyond what was last seen.
    if (position > this.end) this.end = position;
    return { topic, partition, position, end: this.end, records, bytes };
  }
}
