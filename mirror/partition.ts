/** What the mirror knows of one partition while it runs. All of it is read from the clusters again at every takeover. */
import type { CutoverError } from '../contract/errors.ts';
import { partitionKey } from '../kafka/offsets.ts';
import type { Memory } from './memory.ts';
import type { Ownership } from './ownership.ts';
import type { Outgoing, Piece } from './pieces.ts';
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
  /**
   * Whether records of aborted transactions are written too, for consumers that read uncommitted ones. The cluster written to must take
   * transactional batches without their coordinator: before Kafka 3.6, or with transaction.partition.verification.enable off.
   */
  readonly keepAborted?: boolean;
  /**
   * Whether the written log's start follows the other's: records that retention or DeleteRecords took there are deleted here too, and a mirror
   * that they overtake goes on after them. Without it, being overtaken is SOURCE_TRUNCATED. Never where the written log holds records of others.
   */
  readonly followsLogStart?: boolean;
}

export interface PartitionProgress {
  readonly topic: string;
  readonly partition: number;
  /** The next offset to write: everything below it is written and acknowledged. */
  readonly position: bigint;
  /** Where the log that is read ended when it was last looked at. */
  readonly end: bigint;
  /** Below it no transaction is open there; where it is below `end`, an open one holds the mirror back. */
  readonly stableEnd: bigint;
  /** False where aborted records are not written: not wanted, or refused by the cluster written to. */
  readonly keepsAborted: boolean;
  /** Carried by this run. */
  readonly records: number;
  /** Of batches acknowledged to this run, as sent. */
  readonly bytes: number;
  /** Acknowledged to this run. */
  readonly batches: number;
  /** How often this run had to begin again from the log: a request failed, or another mirror was faster. */
  readonly retries: number;
}

/**
 * - `lost`: the position is not known; nothing is read or sent.
 * - `taking`: the position is being read.
 * - `running`
 */
export type Phase = 'lost' | 'taking' | 'running';

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
  /** Of the log that is read, as of the takeover: another leader gives nothing before the next one. */
  leaderEpoch = -1;

  /** Set while we may write what needs an owner. */
  owner: Ownership | undefined;
  /** Sequence of the owner's next record; it begins at 0 with every term. */
  ownerSequence = 0;
  /** The next slot needs an owner, and we are none: to be taken over as one. */
  wantsOwner = false;
  /** What an owner sent has not been answered, or was refused for its principal. */
  inDoubt = false;
  /** We may not have terms here: old records go without an owner, markers cannot be written. */
  ownerDenied = false;

  incoming: Piece[] = [];
  /** What `incoming` lies in. */
  answers: Buffer[] = [];
  outgoing: Outgoing[] = [];
  inFlight = 0;
  /** What is on its way is the owner's: nothing may follow before its answer. */
  ownerWriting = false;
  /** Of answers, outgoing and in flight. */
  bytesHeld = 0;
  readonly #memory: Memory;

  position = 0n;
  /** Where what was sent so far ends. */
  sentTo = 0n;
  end = 0n;
  stableEnd = 0n;
  /** Where the log that is read begins, and the written one, as last seen. */
  start = 0n;
  writtenStart = 0n;
  /** False where the written cluster has refused records of aborted transactions. */
  keepsAborted: boolean;
  /** Undefined until first seen: the log end that `untilCaughtUp` waits for. */
  goal: bigint | undefined;
  records = 0;
  bytes = 0;
  batches = 0;
  retries = 0;

  /** The target has refused a batch for its size: as they come, then cut. */
  sizeRefused: 'never' | 'merged' | 'whole' = 'never';
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
    this.keepsAborted = spec.keepAborted === true;
  }

  get reading(): boolean {
    return this.phase === 'running' && this.blocked === undefined && !this.wantsOwner;
  }

  /**
   * Takes the next outgoing, or the first `count` of its markers, as sent.
   *
   * @returns false where it does not follow on what was sent before: it may not be sent, since markers and owners' batches land anywhere
   */
  send(outgoing: Outgoing, count: number): boolean {
    if (outgoing.baseOffset !== this.sentTo) return false;
    this.outgoing.shift();
    this.inFlight++;
    this.sentTo += BigInt(count);
    return true;
  }

  hold(bytes: Buffer): void {
    this.bytesHeld += bytes.length;
    this.#memory.hold(bytes);
  }

  /** Nothing reads the bytes any more. */
  release(bytes: Buffer): void {
    this.bytesHeld -= bytes.length;
    this.#memory.release(bytes);
  }

  /** What was sent without an answer: its connection may still read the bytes. */
  drop(bytes: Buffer): void {
    this.bytesHeld -= bytes.length;
    this.#memory.drop(bytes);
  }

  /** Takes all that is incoming; `answers` are to be released once it is prepared. */
  takeIncoming(): { readonly pieces: readonly Piece[]; readonly answers: readonly Buffer[] } {
    const { incoming: pieces, answers } = this;
    this.incoming = [];
    this.answers = [];
    return { pieces, answers };
  }

  /** The position is in doubt: nothing that was read counts any more, and late answers are known by their generation. */
  forget(): void {
    for (const unsent of this.outgoing) if (unsent.kind === 'batch') this.release(unsent.bytes);
    for (const answer of this.takeIncoming().answers) this.release(answer);
    this.outgoing = [];
    this.blocked = undefined;
    this.owner = undefined;
    this.generation++;
    this.phase = 'lost';
  }

  /** The position is known again. */
  take(
    position: bigint,
    from: {
      nextSequence: number;
      remembered: boolean;
      writtenLeader: number;
      leaderEpoch: number;
      owner: Ownership | undefined;
    },
  ): void {
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
    this.leaderEpoch = from.leaderEpoch;
    this.owner = from.owner;
    if (from.owner?.transactions) this.keepsAborted = false;
    this.ownerSequence = 0;
    this.wantsOwner = false;
    this.emptyAnswers = 0;
    this.retryAt = 0;
    this.generation++;
    this.phase = 'running';
  }

  get caughtUp(): boolean {
    return this.goal !== undefined && this.phase === 'running' && this.position >= this.goal;
  }

  progress(): PartitionProgress {
    const { topic, partition, position, records, bytes, batches, retries } = this;
    // What was found written at a takeover may lie beyond what was last seen.
    if (position > this.end) this.end = position;
    if (position > this.stableEnd) this.stableEnd = position;
    const { end, stableEnd, keepsAborted } = this;
    return { topic, partition, position, end, stableEnd, keepsAborted, records, bytes, batches, retries };
  }
}
