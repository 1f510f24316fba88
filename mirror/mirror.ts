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
import { readBatches } from '../kafka/batches.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { isRetriableKafkaError, kafkaError, kafkaErrorName } from '../kafka/kafka-errors.ts';
import { isPassing, listOffsets, passingFailure } from '../kafka/offsets.ts';
import type { RawFetchedPartition, RawProducedPartition } from '../kafka/wire.ts';
import { Leaders, refreshEveryMs } from './leaders.ts';
import { BatchRefusal, prepareBatches } from './merge.ts';
import { Memory, type MirrorPartition, type OutgoingBatch, Partition, type PartitionProgress } from './partition.ts';
import { LogReader } from './reader.ts';
import { shapeProblem } from './shape.ts';
import { takeOver } from './takeover.ts';
import { Throttle } from './throttle.ts';
import { LogWriter } from './writer.ts';

export type { MirrorPartition, PartitionProgress } from './partition.ts';

export interface MirrorOptions {
  /** Read from. Needs READ and DESCRIBE on the topics. */
  readonly from: Cluster;
  /** Written to. Needs WRITE, READ and DESCRIBE on the topics, and DELETE for trimmed heads. */
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
/** Bytes of one partition that are read but not acknowledged. */
const partitionBytesHeldMax = 4_194_304;
/** Of all partitions together; an answer in flight per leader (8 MB) comes on top. */
const bytesHeldMax = 67_108_864;
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

/** Someone else was faster, or the broker remembers another sequence: the position is to be read again. */
const sequenceErrors: ReadonlySet<number> = new Set([
  kafkaError.outOfOrderSequence,
  kafkaError.duplicateSequence,
  59, // UNKNOWN_PRODUCER_ID
]);
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
 * @throws CutoverError TARGET_DIVERGED, SOURCE_TRUNCATED, LOG_SHAPE_UNSUPPORTED, MIRROR_LOOP, MIRROR_SHUT_OUT, RECORD_TOO_LARGE,
 *   TOPIC_MISSING, TOPIC_RECREATED, CLUSTER_ACCESS_DENIED, CLUSTER_AUTH_FAILED, KAFKA_REQUEST_FAILED
 */
export async function runMirror(options: MirrorOptions): Promise<MirrorResult> {
  return new MirrorRun(options).run();
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
      throttle: new Throttle(options.maxBytesPerSecond ?? (() => 0)),
      room: (p) => this.#hasRoom(p),
      onAnswer: (p, answer, emptyRequest) => this.#onFetched(p, answer, emptyRequest),
      work: () => this.#prepare(),
      onOutOfRange: (p) => {
        this.#lose(p, undefined);
        p.retryAt = performance.now() + backoffFirstMs;
      },
      onFailure: (error) => this.#fail(error),
    });
    this.#writer = new LogWriter({
      cluster: options.into,
      onAnswer: (p, batch, answer) => this.#onProduced(p, batch, answer),
      onSilence: (p, batch, error) => this.#onSilence(p, batch, error),
      onUnreachable: (p, error) => this.#lose(p, error),
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
    const due = this.#partitions.filter((p) => p.phase === 'lost' && p.inFlight === 0 && p.retryAt <= now);
    if (due.length > 0) {
      for (const p of due) p.phase = 'taking';
      const takeover = this.#takeOver(due).finally(() => {
        this.#takeovers.delete(takeover);
        this.#wake?.();
      });
      this.#takeovers.add(takeover);
    }
    if (this.#intoLeaders.ageMs > refreshEveryMs) this.#refreshIntoLeaders();
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
      await takeOver({
        from,
        into,
        partitions,
        leaderOf: (p) => this.#intoLeaders.of(p.topic, p.partition),
        maxBatchBytes: this.#options.maxBatchBytes ?? maxBatchBytesDefault,
        signal,
      });
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

  #refreshIntoLeaders(): void {
    this.#intoLeaders.refresh().catch((error) => {
      if (error instanceof CutoverError && (error.code === 'TOPIC_MISSING' || error.code === 'TOPIC_RECREATED')) {
        this.#fail(error);
      }
    });
  }

  // Reading.

  #hasRoom(p: Partition): boolean {
    if (p.bytesHeld < partitionBytesHeldMax && this.#memory.held < bytesHeldMax) return true;
    this.#starved = true;
    return false;
  }

  #onFetched(p: Partition, answer: RawFetchedPartition, emptyRequest: boolean): void {
    if (answer.highWatermark > p.end) p.end = answer.highWatermark;
    const before = p.nextFetch;
    try {
      for (const batch of readBatches(answer.records)) {
        const problem = shapeProblem(batch, p.nextFetch, p.spec.otherProducerId);
        if (problem) {
          this.#stopBefore(p, this.#unfit(p, problem.code, batch.baseOffset, problem.found));
          return;
        }
        const { baseOffset, nextOffset } = batch;
        if (nextOffset <= p.nextFetch) continue;
        p.incoming.push({ batch, baseOffset, skip: Number(p.nextFetch - baseOffset) });
        p.hold(batch.byteLength);
        p.nextFetch = nextOffset;
        this.#incoming.add(p);
      }
    } catch (error) {
      this.#stopBefore(p, this.#unfit(p, 'LOG_SHAPE_UNSUPPORTED', p.nextFetch, (error as Error).message));
      return;
    }
    if (p.nextFetch > before || answer.highWatermark <= before) {
      p.emptyAnswers = 0;
    } else if (emptyRequest && ++p.emptyAnswers > emptyAnswersMax) {
      const found = `no record from there to the high watermark ${answer.highWatermark}`;
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
    const { incoming } = p;
    p.incoming = [];
    for (const { batch } of incoming) p.hold(-batch.byteLength);
    try {
      const { batches, nextSequence } = prepareBatches(
        incoming,
        { producerId: p.spec.producerId, sequence: p.nextSequence, generation: p.generation },
        { batchBytesMax: this.#options.maxBatchBytes ?? maxBatchBytesDefault, merge: !p.mergeRefused },
      );
      p.nextSequence = nextSequence;
      p.damagedReads = 0;
      for (const batch of batches) {
        p.hold(batch.bytes.length);
        p.outgoing.push(batch);
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
    }
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
      p.position = batch.baseOffset + BigInt(batch.count);
      p.records += batch.count;
      p.bytes += batch.bytes.length;
      p.remembered = true;
      p.failures = 0;
      p.conflicts = 0;
      this.#failWhenWritten(p);
    } else {
      this.#onRefused(p, batch, answer, where);
    }
    if (this.#starved) {
      this.#starved = false;
      this.#reader.wake();
    }
    if (p.phase === 'lost' ? p.inFlight === 0 : p.caughtUp) this.#wake?.();
  }

  #onRefused(
    p: Partition,
    batch: OutgoingBatch,
    { errorCode, errorMessage }: RawProducedPartition,
    where: string,
  ): void {
    const found = `${kafkaErrorName(errorCode)}${errorMessage ? `: ${errorMessage}` : ''}`;
    const at = `${where}, offset ${batch.baseOffset}`;
    if (sequenceErrors.has(errorCode)) {
      if (++p.conflicts > conflictsMax) {
        this.#fail(
          new CutoverError('KAFKA_REQUEST_FAILED', { what: 'our sequence is refused again and again', where, found }),
        );
        return;
      }
      this.#lose(p, undefined);
      // Two mirrors that refuse each other are not to stay in step.
      p.retryAt = performance.now() + Math.random() * conflictPauseMaxMs;
    } else if (shutOutErrors.has(errorCode)) {
      this.#fail(new CutoverError('MIRROR_SHUT_OUT', { what: 'writing was refused', where, found }));
    } else if (sizeErrors.has(errorCode) && batch.merged) {
      p.mergeRefused = true;
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

  #onSilence(p: Partition, batch: OutgoingBatch, error: CutoverError): void {
    if (batch.generation === p.generation) this.#lose(p, error);
    else this.#wake?.();
  }
}
