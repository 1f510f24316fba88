/**
 * The exact replicator: copies records from one cluster to another at identical offsets, timestamps, keys, values and headers.
 *
 * The only position is the log that is written. A partition begins, and begins again after any doubt, by reading that log's end
 * and the sequence that its broker remembers of our producer; every write then is a compare-and-set on that sequence, and every
 * answer's base offset is checked against the one wanted. Nothing is ever sent twice. So mirrors that crash, run twice or wake up
 * late lose, repeat and reorder nothing: the one that is late is refused and reads its position again.
 *
 * It knows nothing of Temporal and keeps nothing on disk.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { isRetriableKafkaError, kafkaError, kafkaErrorName } from '../kafka/kafka-errors.ts';
import { isPassing, listOffsets, passingFailure } from '../kafka/offsets.ts';
import type { RawFetchedPartition, RawProducedPartition } from '../kafka/wire.ts';
import { Leaders, refreshEveryMs } from './leaders.ts';
import { moveLogStarts } from './log-starts.ts';
import { Memory } from './memory.ts';
import { type MarkersAnswer, OwnerWriter } from './owner-writer.ts';
import { ownershipPrefix } from './ownership.ts';
import { type MirrorPartition, Partition, type PartitionProgress } from './partition.ts';
import type { Outgoing, OutgoingBatch, OutgoingMarkers } from './pieces.ts';
import { preparePieces } from './prepare.ts';
import type { MirrorPrincipals } from './principals.ts';
import { LogReader } from './reader.ts';
import { BatchRefusal } from './rewrite.ts';
import { type SlotRules, type Slots, slotsOf } from './slots.ts';
import { takeOver } from './takeover.ts';
import { Throttle } from './throttle.ts';
import { LogWriter } from './writer.ts';

export type { MirrorPartition, PartitionProgress } from './partition.ts';

export interface MirrorOptions {
  /** Read from. Needs READ and DESCRIBE on the topics. */
  readonly from: Cluster;
  /**
   * Written to. Needs WRITE, READ and DESCRIBE on the topics, and DELETE for trimmed heads; for logs with transactions or holes also WRITE and
   * DESCRIBE on transactional ids that begin with `ownershipPrefix`, and ALTER on the cluster (without it: marker-transactions.ts).
   */
  readonly into: Cluster;
  readonly partitions: readonly MirrorPartition[];
  /** Ends the run: what is on its way is awaited, and the result given as usual. */
  readonly signal: AbortSignal;
  /** Ends the run when every partition has reached the log end that `from` had when the run began. */
  readonly untilCaughtUp?: boolean;
  /** Of source bytes read; asked again all the time. 0: no limit. */
  readonly maxBytesPerSecond?: () => number;
  /** Batches made here (merged, filler) stay below; a source batch that is larger passes as it is. `max.message.bytes` of the written topics or less; 1,000,000 by default. */
  readonly maxBatchBytes?: number;
  /** `producer.id.expiration.ms` of the written cluster, one day by default: it forgets producers whose last record is older. */
  readonly rememberedForMs?: number;
  /** What fences earlier owners where `into` keeps one replica; without it, only terms do. */
  readonly principals?: MirrorPrincipals | undefined;
  /** Twice a second while running, and once at the end. */
  readonly onProgress?: (progress: readonly PartitionProgress[]) => void;
}

export interface MirrorResult {
  /** Carried by this run; with a second mirror at work, what it carried while we were in doubt may be in it too. */
  readonly records: number;
  /** Of acknowledged batches, as sent. */
  readonly bytes: number;
  readonly partitions: readonly PartitionProgress[];
}

const progressEveryMs = 500;
const maxBatchBytesDefault = 1_000_000;
const rememberedForMsDefault = 86_400_000;
/** Records have an owner well before they are forgotten: brokers look every ten minutes, and clocks differ. */
const rememberedShare = 0.75;
/** Bytes of one partition that are read but not acknowledged. */
const partitionBytesHeldMax = 4_194_304;
/** The memory that this takes, of all partitions together; an answer in flight per leader comes on top (4 MB, up to 16 MB of one far away). */
const bytesHeldMax = 16_777_216;
/** How long what is on its way may take when the run ends. */
const drainMs = 2_000;
const drainPollMs = 5;
/** Pauses between takeovers of one partition grow from the one to the other. */
const backoffFirstMs = 50;
const backoffMaxMs = 2_000;
/** Failures in a row that are neither network nor leadership. */
const refusalsMax = 30;
/** Failures further apart are not in a row. */
const forgiveAfterMs = 60_000;
/** Refused sequences in a row while the position stands still. */
const conflictsMax = 100;
const conflictPauseMaxMs = 50;
/** Damaged bytes are read again this often before they count as damaged where they lie. */
const damagedReadsMax = 3;
/** Empty answers in a row, each waited for, although the log goes on: a hole at its end. */
const emptyAnswersMax = 20;

/** A newer owner of the partition is at work: INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED, PRODUCER_FENCED. */
const ownedByOthersErrors: ReadonlySet<number> = new Set([kafkaError.invalidProducerEpoch, 52, 90]);
/** Someone else was faster, or the broker remembers another sequence: the position is to be read again. */
const sequenceErrors: ReadonlySet<number> = new Set([
  kafkaError.outOfOrderSequence,
  kafkaError.duplicateSequence,
  59, // UNKNOWN_PRODUCER_ID
]);
/**
 * The cluster wants a coordinator to vouch for a transaction, or us to have a right on its id, so aborted records cannot be kept:
 * INVALID_TXN_STATE, INVALID_PRODUCER_ID_MAPPING, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, TRANSACTION_ABORTABLE.
 */
const unverifiedErrors: ReadonlySet<number> = new Set([48, 49, kafkaError.transactionalIdAuthorizationFailed, 120]);
/** A fence: access taken away, or our producer's epoch raised by somebody. */
const shutOutErrors: ReadonlySet<number> = new Set([
  kafkaError.topicAuthorizationFailed,
  kafkaError.invalidProducerEpoch,
]);
/** Retriable by Kafka's own list, but if it stays, it stays. */
const corruptMessage = 2;
/** MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE */
const sizeErrors: ReadonlySet<number> = new Set([kafkaError.messageTooLarge, 18]);
/** INVALID_TIMESTAMP, UNSUPPORTED_FOR_MESSAGE_FORMAT, POLICY_VIOLATION, UNSUPPORTED_COMPRESSION_TYPE, INVALID_RECORD */
const contentErrors: ReadonlySet<number> = new Set([32, 43, 44, 76, 87]);

/**
 * Mirrors until `signal` aborts, or until caught up where that is asked for.
 *
 * Network trouble, moved leaders and brokers that restart are waited out for as long as `signal` allows. One partition that cannot
 * go on ends the run with its error, after the batches on their way have been answered.
 *
 * @throws CutoverError TARGET_DIVERGED, SOURCE_TRUNCATED, LOG_SHAPE_UNSUPPORTED, MARKERS_NOT_ALLOWED, MIRROR_LOOP, MIRROR_SHUT_OUT,
 *   RECORD_TOO_LARGE, TOPIC_MISSING, TOPIC_RECREATED, CLUSTER_ACCESS_DENIED, CLUSTER_AUTH_FAILED, KAFKA_REQUEST_FAILED
 */
export async function runMirror(options: MirrorOptions): Promise<MirrorResult> {
  return new MirrorRun(options).run();
}

/** Most answers of a session say only that there is nothing new. */
function slotsIn(answer: RawFetchedPartition, rules: SlotRules): Slots {
  return answer.records.length === 0 ? { pieces: [], next: rules.from } : slotsOf(answer, rules);
}

class MirrorRun {
  readonly #options: MirrorOptions;
  readonly #memory = new Memory();
  readonly #partitions: readonly Partition[];
  readonly #fromLeaders: Leaders;
  readonly #intoLeaders: Leaders;
  readonly #reader: LogReader<Partition>;
  readonly #writer: LogWriter;
  /** Ends takeovers when the run ends. */
  readonly #ending = new AbortController();
  readonly #takeovers = new Set<Promise<void>>();
  /** Partitions with incoming batches. */
  #incoming = new Set<Partition>();
  #followingStarts = false;
  /** Some partition was not read for want of memory. */
  #starved = false;
  #failure: CutoverError | undefined;
  #wake: (() => void) | undefined;

  constructor(options: MirrorOptions) {
    this.#options = options;
    this.#partitions = options.partitions.map((spec) => new Partition(spec, this.#memory));
    const topicIds = new Map(options.partitions.map((p) => [p.topic, p.topicId]));
    this.#fromLeaders = new Leaders(options.from, topicIds);
    this.#intoLeaders = new Leaders(options.into, new Map([...topicIds.keys()].map((topic) => [topic, ''])));
    this.#reader = new LogReader<Partition>({
      cluster: options.from,
      leaders: this.#fromLeaders,
      partitions: this.#partitions,
      isolation: 'readCommitted',
      throttle: new Throttle(options.maxBytesPerSecond ?? (() => 0)),
      room: (p) => this.#hasRoom(p),
      onAnswer: (p, answer, emptyRequest) => this.#onFetched(p, answer, emptyRequest),
      work: () => this.#prepare(),
      onOutOfRange: (p) => this.#lookAgain(p),
      onOtherLeader: (p) => this.#lookAgain(p),
      onFailure: (error) => this.#fail(error),
    });
    const toldOfWrites = {
      onAnswer: (p: Partition, batch: OutgoingBatch, answer: RawProducedPartition) =>
        this.#onProduced(p, batch, answer),
      onGap: (p: Partition, outgoing: Outgoing) => this.#onGap(p, outgoing),
      onUnreachable: (p: Partition, error: CutoverError) => this.#lose(p, error),
    };
    const ownerWriter = new OwnerWriter({
      ...toldOfWrites,
      onMarkers: (p, markers, sent, answer) => this.#onMarked(p, markers, sent, answer),
      onSilence: (p, generation, error) => {
        p.inDoubt = true;
        this.#onSilence(p, generation, error);
      },
    });
    this.#writer = new LogWriter({
      ...toldOfWrites,
      ownerWriter,
      cluster: options.into,
      onSilence: (p, generation, error) => this.#onSilence(p, generation, error),
    });
  }

  async run(): Promise<MirrorResult> {
    const { signal } = this.#options;
    const wake = () => this.#wake?.();
    signal.addEventListener('abort', wake);
    const ticker = setInterval(() => this.#report(), progressEveryMs);
    try {
      while (!this.#over) {
        this.#startTakeovers();
        await this.#sleepUntilNeeded();
      }
      await this.#drain();
    } finally {
      clearInterval(ticker);
      signal.removeEventListener('abort', wake);
      this.#ending.abort();
      await this.#reader.stop();
      this.#writer.close();
      await Promise.allSettled(this.#takeovers);
    }
    this.#report();
    if (this.#failure) throw this.#failure;
    const partitions = this.#partitions.map((p) => p.progress());
    return {
      records: partitions.reduce((sum, p) => sum + p.records, 0),
      bytes: partitions.reduce((sum, p) => sum + p.bytes, 0),
      partitions,
    };
  }

  get #over(): boolean {
    if (this.#failure || this.#options.signal.aborted) return true;
    return this.#options.untilCaughtUp === true && this.#partitions.every((p) => p.caughtUp);
  }

  #report(): void {
    this.#options.onProgress?.(this.#partitions.map((p) => p.progress()));
  }

  #fail(error: CutoverError): void {
    this.#failure ??= error;
    this.#wake?.();
  }

  async #sleepUntilNeeded(): Promise<void> {
    let until = performance.now() + progressEveryMs;
    for (const p of this.#partitions) if (p.phase === 'lost' && p.inFlight === 0) until = Math.min(until, p.retryAt);
    await new Promise<void>((done) => {
      const timer = setTimeout(done, Math.max(0, until - performance.now()));
      this.#wake = () => {
        clearTimeout(timer);
        done();
      };
    });
    this.#wake = undefined;
  }

  /** Sends nothing more, and waits a while for the answers to what was sent. */
  async #drain(): Promise<void> {
    this.#writer.stop();
    const deadline = performance.now() + drainMs;
    while (this.#partitions.some((p) => p.inFlight > 0) && performance.now() < deadline) await sleep(drainPollMs);
  }

  // From not knowing where a partition stands to running, and back.

  #startTakeovers(): void {
    const now = performance.now();
    for (const p of this.#partitions) {
      // An unclean election may have cut off what was copied, also where nothing new has come since.
      if (p.phase === 'running' && this.#fromLeaders.epochOf(p.topic, p.partition) > p.leaderEpoch) {
        this.#lose(p, undefined);
      }
    }
    const due = this.#partitions.filter((p) => p.phase === 'lost' && p.inFlight === 0 && p.retryAt <= now);
    if (due.length > 0) {
      for (const p of due) p.phase = 'taking';
      const takeover = this.#takeOver(due).finally(() => {
        this.#takeovers.delete(takeover);
        this.#wake?.();
      });
      this.#takeovers.add(takeover);
    }
    if (this.#intoLeaders.ageMs > refreshEveryMs) {
      this.#refreshIntoLeaders();
      void this.#followLogStarts();
    }
  }

  /** What retention or DeleteRecords took from the one log goes from the other too. */
  async #followLogStarts(): Promise<void> {
    const behind = this.#partitions.filter(
      (p) => p.spec.followsLogStart && p.phase === 'running' && p.start > p.writtenStart && p.position >= p.start,
    );
    if (behind.length === 0 || this.#followingStarts) return;
    this.#followingStarts = true;
    try {
      const starts = behind.map((p) => ({
        topic: p.topic,
        partition: p.partition,
        leader: p.writtenLeader,
        offset: p.start,
      }));
      const moved = await moveLogStarts(this.#options.into, starts);
      for (const p of behind) p.writtenStart = moved.get(p.key) ?? p.writtenStart;
    } catch (error) {
      if (error instanceof CutoverError && error.code === 'CLUSTER_ACCESS_DENIED') this.#fail(error);
      // Anything else: tried again at the next look.
    } finally {
      this.#followingStarts = false;
    }
  }

  async #takeOver(partitions: readonly Partition[]): Promise<void> {
    const { from, into } = this.#options;
    const { signal } = this.#ending;
    try {
      if (partitions.some((p) => p.goal === undefined)) {
        const ends = await listOffsets(from, partitions, 'logEnd');
        for (const p of partitions) p.goal ??= ends.get(p.key);
      }
      await Promise.all([this.#fromLeaders.refresh(), this.#intoLeaders.refresh()]);
      const unowned = await takeOver({
        from,
        into,
        partitions,
        leaderOf: (p) => this.#intoLeaders.of(p.topic, p.partition),
        leaderEpochOf: (p) => this.#fromLeaders.epochOf(p.topic, p.partition),
        maxBatchBytes: this.#options.maxBatchBytes ?? maxBatchBytesDefault,
        principals: this.#options.principals,
        signal,
      });
      for (const [p, failure] of unowned) if (p.phase === 'taking') this.#lose(p, failure);
      this.#reader.follow();
    } catch (error) {
      if (signal.aborted) return;
      const failure =
        error instanceof CutoverError
          ? error
          : new CutoverError('INTERNAL', { what: `taking over: ${(error as Error).message}` }, { cause: error });
      for (const p of partitions) if (p.phase === 'taking') this.#lose(p, failure);
    }
    // Those that are to look again, because a head was written or deleted, have not failed.
    for (const p of partitions) if (p.phase === 'taking') p.phase = 'lost';
  }

  /** @param error undefined: nothing is wrong, only the position is to be read again */
  #lose(p: Partition, error: CutoverError | undefined): void {
    p.forget();
    this.#incoming.delete(p);
    if (error) {
      p.retries++;
      const now = performance.now();
      p.failures = now - p.failedAt > forgiveAfterMs ? 1 : p.failures + 1;
      p.failedAt = now;
      const tolerated = p.failures <= refusalsMax && (error.retryable || error.code === 'CLUSTER_AUTH_FAILED');
      if (!tolerated && !isPassing(error)) {
        this.#fail(error);
        return;
      }
      p.retryAt = now + Math.min(backoffMaxMs, backoffFirstMs * 2 ** Math.min(p.failures - 1, 10));
    }
    this.#wake?.();
  }

  /** What is read has changed: nothing is wrong with what is written. */
  #lookAgain(p: Partition): void {
    this.#lose(p, undefined);
    p.retryAt = performance.now() + backoffFirstMs;
  }

  #refreshIntoLeaders(): void {
    this.#intoLeaders.refresh().catch((error) => {
      if (error instanceof CutoverError && (error.code === 'TOPIC_MISSING' || error.code === 'TOPIC_RECREATED')) {
        this.#fail(error);
      }
    });
  }

  // Reading.

  #hasRoom(p: Partition): boolean {
    if (p.bytesHeld < partitionBytesHeldMax && this.#memory.bytes < bytesHeldMax) return true;
    this.#starved = true;
    return false;
  }

  #onFetched(p: Partition, answer: RawFetchedPartition, emptyRequest: boolean): void {
    if (answer.highWatermark > p.end) p.end = answer.highWatermark;
    if (answer.lastStableOffset > p.stableEnd) p.stableEnd = answer.lastStableOffset;
    if (answer.logStartOffset > p.start) p.start = answer.logStartOffset;
    const before = p.nextFetch;
    try {
      const { otherProducerId } = p.spec;
      const { pieces, next, loop } = slotsIn(answer, { from: before, keepAborted: p.keepsAborted, otherProducerId });
      if (pieces.some((piece) => piece.kind !== 'invisible')) {
        p.hold(answer.records);
        p.answers.push(answer.records);
      }
      for (const piece of pieces) p.incoming.push(piece);
      p.nextFetch = next;
      if (pieces.length > 0) this.#incoming.add(p);
      if (loop) {
        const found = `a batch of producer ${loop.producerId}, which is the other direction's mirror`;
        this.#stopBefore(p, this.#unfit(p, 'MIRROR_LOOP', loop.offset, found));
        return;
      }
    } catch (error) {
      this.#stopBefore(p, this.#unfit(p, 'LOG_SHAPE_UNSUPPORTED', p.nextFetch, (error as Error).message));
      return;
    }
    if (p.nextFetch > before || answer.lastStableOffset <= before) {
      p.emptyAnswers = 0;
    } else if (emptyRequest && ++p.emptyAnswers > emptyAnswersMax) {
      const found = `no record from there to the last stable offset ${answer.lastStableOffset}`;
      this.#fail(this.#unfit(p, 'LOG_SHAPE_UNSUPPORTED', before, found));
    }
  }

  /** What was read before is still written, so that people see how far the copy is good; then the failure counts. */
  #stopBefore(p: Partition, error: CutoverError): void {
    p.blocked = error;
    this.#failWhenWritten(p);
  }

  #failWhenWritten(p: Partition): void {
    if (p.blocked && p.incoming.length === 0 && p.outgoing.length === 0 && p.inFlight === 0) this.#fail(p.blocked);
  }

  #unfit(p: Partition, code: 'LOG_SHAPE_UNSUPPORTED' | 'MIRROR_LOOP', offset: bigint, found: string): CutoverError {
    const where = `cluster ${this.#options.from.name}, ${p.key}, offset ${offset}`;
    return new CutoverError(code, { what: 'a batch cannot be carried', where, found });
  }

  // Preparing and writing.

  #prepare(): void {
    if (this.#incoming.size === 0) return;
    const partitions = this.#incoming;
    this.#incoming = new Set();
    for (const p of partitions) this.#preparePartition(p);
    this.#writer.pump();
  }

  #preparePartition(p: Partition): void {
    const { owner } = p;
    const { pieces, answers } = p.takeIncoming();
    const rememberedForMs = (this.#options.rememberedForMs ?? rememberedForMsDefault) * rememberedShare;
    try {
      const { outgoing, nextSequence, nextOwnerSequence, stoppedAt } = preparePieces(
        pieces,
        {
          producerId: p.spec.producerId,
          sequence: p.nextSequence,
          generation: p.generation,
          owner: owner && { producerId: owner.producerId, term: owner.term, sequence: p.ownerSequence },
        },
        {
          batchBytesMax: this.#options.maxBatchBytes ?? maxBatchBytesDefault,
          merge: p.sizeRefused === 'never',
          split: p.sizeRefused === 'whole',
          ownedBelowMs: p.ownerDenied ? undefined : Date.now() - rememberedForMs,
        },
      );
      p.nextSequence = nextSequence;
      if (owner) p.ownerSequence = nextOwnerSequence;
      p.damagedReads = 0;
      for (const each of outgoing) {
        if (each.kind === 'batch') p.hold(each.bytes);
        p.outgoing.push(each);
      }
      if (stoppedAt !== undefined && p.ownerDenied) {
        this.#stopBefore(p, this.#notAllowed(p, stoppedAt));
      } else if (stoppedAt !== undefined) {
        p.wantsOwner = true;
        this.#ownWhenWritten(p);
      }
      this.#writer.add(p);
    } catch (error) {
      if (!(error instanceof BatchRefusal)) {
        this.#fail(new CutoverError('INTERNAL', { what: (error as Error).message, where: p.key }, { cause: error }));
      } else if (++p.damagedReads < damagedReadsMax) {
        this.#lose(p, undefined);
      } else {
        this.#fail(this.#unfit(p, 'LOG_SHAPE_UNSUPPORTED', error.offset, error.message));
      }
    } finally {
      // Only now: what passes as it is lies where it was read, and is held on.
      for (const answer of answers) p.release(answer);
    }
  }

  /** What was read before is written first; then the partition is taken over again, as its owner. */
  #ownWhenWritten(p: Partition): void {
    if (p.wantsOwner && p.phase === 'running' && p.outgoing.length === 0 && p.inFlight === 0) this.#lose(p, undefined);
  }

  #notAllowed(p: Partition, offset: bigint): CutoverError {
    return new CutoverError('MARKERS_NOT_ALLOWED', {
      what: 'transaction markers and holes cannot be written',
      where: `cluster ${this.#options.into.name}, ${p.key}, offset ${offset}`,
      wanted: `WRITE and DESCRIBE on transactional ids that begin with ${ownershipPrefix}`,
    });
  }

  #onProduced(p: Partition, batch: OutgoingBatch, answer: RawProducedPartition): void {
    const { errorCode, baseOffset } = answer;
    const where = `cluster ${this.#options.into.name}, ${p.key}`;
    if (errorCode === 0 && baseOffset !== batch.baseOffset) {
      this.#fail(
        new CutoverError('TARGET_DIVERGED', {
          what: 'a batch landed in the wrong place',
          where,
          found: `offset ${baseOffset}`,
          wanted: `offset ${batch.baseOffset}`,
        }),
      );
    } else if (batch.generation !== p.generation) {
      // The position is being read again, which counts this batch too if it was written.
    } else if (errorCode === 0) {
      p.records += batch.count;
      p.bytes += batch.bytes.length;
      p.batches++;
      if (!batch.aborted) p.remembered = true;
      this.#advance(p, batch.baseOffset + BigInt(batch.count));
    } else {
      this.#onRefused(p, batch, answer, where);
    }
    this.#afterAnswer(p);
  }

  #onMarked(p: Partition, markers: OutgoingMarkers, sent: number, { errorCode, logEnd }: MarkersAnswer): void {
    const where = `cluster ${this.#options.into.name}, ${p.key}, offset ${markers.baseOffset}`;
    const wanted = markers.baseOffset + BigInt(sent);
    const detail = { what: 'writing transaction markers failed', where, found: kafkaErrorName(errorCode) };
    if (markers.generation !== p.generation) {
      // The position is being read again, which counts these too if they were written.
    } else if (errorCode === 0 && logEnd === wanted) {
      if (p.owner) p.owner.proven = true;
      if (sent < markers.count) p.outgoing.unshift({ ...markers, baseOffset: wanted, count: markers.count - sent });
      this.#advance(p, wanted);
    } else if (ownedByOthersErrors.has(errorCode)) {
      this.#loseToAnother(p, where, detail.found);
    } else if (errorCode === kafkaError.clusterAuthorizationFailed && p.owner?.fence === 'principal') {
      // Another mirror has put its own principal to use.
      p.inDoubt = true;
      this.#loseToAnother(p, where, detail.found);
    } else if (errorCode === kafkaError.topicAuthorizationFailed) {
      this.#fail(new CutoverError('MIRROR_SHUT_OUT', { ...detail, wanted: 'WRITE on the topic' }));
    } else {
      // Also where the right to write markers was taken away: the next takeover finds another way. Also where the log end is another one: taking over looks at what stands there.
      const found = errorCode === 0 ? `log end ${logEnd}` : detail.found;
      this.#lose(p, passingFailure({ ...detail, found, wanted: `log end ${wanted}` }));
    }
    this.#afterAnswer(p);
  }

  #advance(p: Partition, position: bigint): void {
    p.position = position;
    p.failures = 0;
    p.conflicts = 0;
    this.#failWhenWritten(p);
    this.#ownWhenWritten(p);
  }

  #afterAnswer(p: Partition): void {
    // After an owner's write anything may follow.
    if (p.outgoing.length > 0 && p.inFlight === 0) {
      this.#writer.add(p);
      this.#writer.pump();
    }
    if (this.#starved) {
      this.#starved = false;
      this.#reader.wake();
    }
    if (p.phase === 'lost' ? p.inFlight === 0 : p.caughtUp) this.#wake?.();
  }

  /** Somebody else wrote: the position is to be read again. */
  #loseToAnother(p: Partition, where: string, found: string): void {
    if (++p.conflicts > conflictsMax) {
      this.#fail(
        new CutoverError('KAFKA_REQUEST_FAILED', { what: 'our sequence is refused again and again', where, found }),
      );
      return;
    }
    p.retries++;
    this.#lose(p, undefined);
    // Two mirrors that refuse each other are not to stay in step.
    p.retryAt = performance.now() + Math.random() * conflictPauseMaxMs;
  }

  #onRefused(
    p: Partition,
    batch: OutgoingBatch,
    { errorCode, errorMessage }: RawProducedPartition,
    where: string,
  ): void {
    const found = `${kafkaErrorName(errorCode)}${errorMessage ? `: ${errorMessage}` : ''}`;
    const at = `${where}, offset ${batch.baseOffset}`;
    const { fence } = p.owner ?? {};
    if (sequenceErrors.has(errorCode) || (batch.aborted && ownedByOthersErrors.has(errorCode))) {
      this.#loseToAnother(p, where, found);
    } else if (batch.aborted && fence === 'principal' && errorCode === kafkaError.transactionalIdAuthorizationFailed) {
      p.inDoubt = true;
      this.#loseToAnother(p, where, found);
    } else if (batch.aborted && unverifiedErrors.has(errorCode)) {
      p.keepsAborted = false;
      this.#lose(p, undefined);
    } else if (shutOutErrors.has(errorCode)) {
      this.#fail(new CutoverError('MIRROR_SHUT_OUT', { what: 'writing was refused', where, found }));
    } else if (sizeErrors.has(errorCode) && batch.divisible && p.sizeRefused !== 'whole') {
      p.sizeRefused = p.sizeRefused === 'never' ? 'merged' : 'whole';
      this.#lose(p, undefined);
    } else if (sizeErrors.has(errorCode)) {
      const size = `${batch.bytes.length} bytes, ${found}`;
      this.#fail(new CutoverError('RECORD_TOO_LARGE', { what: 'the target refuses a batch', where: at, found: size }));
    } else if (contentErrors.has(errorCode)) {
      this.#fail(new CutoverError('LOG_SHAPE_UNSUPPORTED', { what: 'the target refuses a batch', where: at, found }));
    } else {
      const passes = isRetriableKafkaError(errorCode) && errorCode !== corruptMessage;
      const detail = { what: 'writing failed', where: at, found };
      this.#lose(p, passes ? passingFailure(detail) : new CutoverError('KAFKA_REQUEST_FAILED', detail));
    }
  }

  /** A defect of ours, which must not become one of the log. */
  #onGap(p: Partition, outgoing: Outgoing): void {
    const found = `${outgoing.kind} for offset ${outgoing.baseOffset}`;
    this.#fail(
      new CutoverError('INTERNAL', { what: 'sending out of order', where: p.key, found, wanted: `${p.sentTo}` }),
    );
  }

  #onSilence(p: Partition, generation: number, error: CutoverError): void {
    if (generation === p.generation) this.#lose(p, error);
    else this.#wake?.();
  }
}
