/** One log of a partition as the audit reads it: checked batches in, records out, committed and aborted, in order of offset. */
import { decodeRecords, encodeBatch, type RecordBatch, RecordCursor, readBatches } from '../kafka/batches.ts';
import type { KafkaRecord } from '../kafka/record.ts';
import type { RawFetchedPartition } from '../kafka/wire.ts';
import type { Memory } from './memory.ts';
import type { ReadPartition } from './reader.ts';

/** The audit works with offsets relative to this one, as plain numbers. */
export type Origin = bigint;

/** What a fetch with isolation readCommitted gives of a partition. */
export type Fetched = Pick<
  RawFetchedPartition,
  'records' | 'abortedTransactions' | 'lastStableOffset' | 'highWatermark'
>;

export interface QueuedBatch {
  readonly batch: RecordBatch;
  /** Records below are not to be looked at: the batch was fetched from here, or its head was cut away. */
  readonly from: number;
  /** Its transaction was aborted. */
  readonly aborted: boolean;
  /** What its answer held, where it is the last of it: let go of with this batch. */
  answer?: Buffer;
}

/** Whole answers without a byte, in a row, after which a log that is said to go on has a hole at its end. */
const emptyAnswersMax = 2;

export class AuditLog implements ReadPartition {
  readonly topic: string;
  readonly partition: number;
  nextFetch = 0n;
  reading = false;
  generation = 0;
  bytesHeld = 0;
  readonly #memory: Memory | undefined;
  /** A header that whoever copied put there: records are looked at as if they did not have it. */
  readonly #leftOut: Buffer | undefined;

  /** Every record below is known: read, or known not to exist. */
  readTo = 0n;
  /** As of the last answer. Nothing is read from the last stable offset on: a transaction is open there, or the log ends. */
  lastStable = -1n;
  highWatermark = -1n;
  /** Since when (`performance.now()`) `lastStable` has not moved and all below it is read; undefined when it is not so. */
  stableSince: number | undefined;
  #emptyAnswers = 0;
  origin: Origin = 0n;
  #queue: QueuedBatch[] = [];
  /** Of the batch that is being read. */
  #from = 0;
  #head = 0;
  #cursor: RecordCursor | undefined;
  #base = 0;
  #baseTimestamp = 0;
  #baseTimestampExact = 0n;
  #fixedTimestamp = false;

  /** The record that `peek` found: offset relative to `origin`; whether its transaction was aborted; where its bytes are. */
  offset = -1;
  aborted = false;
  timestamp = 0n;
  /** The same as a number, NaN when it does not fit. */
  timestampNumber = 0;
  bytes: Buffer = Buffer.alloc(0);
  bodyStart = 0;
  end = 0;
  #endsBatch = false;

  /** @param memory where what is read counts until it is passed, and is then used again; without it whoever reads may keep it */
  constructor(topic: string, partition: number, memory?: Memory, leftOut?: string) {
    this.topic = topic;
    this.partition = partition;
    this.#memory = memory;
    this.#leftOut = leftOut === undefined ? undefined : Buffer.from(leftOut);
  }

  /** Begins again: records from `from` on; the log itself begins at `logStart`. */
  begin(origin: Origin, from: bigint, logStart: bigint): void {
    for (const { answer } of this.#queue.slice(this.#head)) this.#letGo(answer);
    this.origin = origin;
    this.nextFetch = from;
    if (logStart > from) this.nextFetch = logStart;
    this.readTo = this.nextFetch;
    this.#queue = [];
    this.#head = 0;
    this.#cursor = undefined;
    this.offset = -1;
    this.lastStable = -1n;
    this.highWatermark = -1n;
    this.stableSince = undefined;
    this.#emptyAnswers = 0;
    this.generation++;
    this.reading = true;
  }

  /** Lets go of what was read, and is not read until it begins again: it stands at `at`. */
  rest(at: bigint): void {
    this.seek(at);
    this.reading = false;
  }

  /** Reads again from `from` on, at or above where it once began. */
  seek(from: bigint): void {
    this.begin(this.origin, from, from);
  }

  /** All that the log held, up to its last stable offset, is read as of the last answer. */
  get atEnd(): boolean {
    return this.lastStable >= 0n && this.readTo >= this.lastStable;
  }

  /**
   * Takes an answer. Which transactions were aborted is told anew by every answer, for its own range, so each is judged by itself, as
   * Java's consumer does (CompletedFetch). The mirror has the same rule in slots.ts; this is the second opinion.
   *
   * @param nothingAtAll no partition of the answer had a byte
   * @throws Error when a batch is damaged or of a format that nobody knows
   */
  take(answer: Fetched, nothingAtAll = false): void {
    const queued = this.#queue.length;
    try {
      this.#takeBatches(answer);
    } finally {
      const last = this.#queue.at(-1);
      if (last && this.#queue.length > queued) this.#hold(answer.records, last);
    }
    this.#emptyAnswers = nothingAtAll ? this.#emptyAnswers + 1 : 0;
    if (this.#emptyAnswers >= emptyAnswersMax && this.nextFetch < answer.lastStableOffset) {
      this.nextFetch = answer.lastStableOffset;
      this.readTo = this.nextFetch;
    }
    this.#stand(answer);
  }

  #takeBatches(answer: Fetched): void {
    const begun = [...answer.abortedTransactions].sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1));
    const aborting = new Set<bigint>();
    let next = 0;
    for (const batch of readBatches(answer.records)) {
      if (batch.baseOffset >= answer.lastStableOffset) break;
      if (batch.magic < 2) {
        this.#takeOld(batch);
        continue;
      }
      if (batch.magic > 2) throw new Error(`message format v${batch.magic} at offset ${batch.baseOffset}`);
      const { nextOffset } = batch;
      const checked = nextOffset > this.nextFetch || begun.length > 0;
      if (checked && !batch.crcMatches()) throw new Error(`a wrong checksum at offset ${batch.baseOffset}`);
      let aborted = false;
      if (begun.length > 0) {
        for (let t = begun[next]; t && t.firstOffset < nextOffset; t = begun[++next]) aborting.add(t.producerId);
        if (isAbortMarker(batch)) aborting.delete(batch.producerId);
        else aborted = batch.isTransactional && aborting.has(batch.producerId);
      }
      if (nextOffset <= this.nextFetch) continue;
      if (!batch.isControl) this.#enqueue(batch, aborted);
      this.nextFetch = nextOffset;
      this.readTo = nextOffset;
    }
  }

  #stand({ lastStableOffset, highWatermark }: Fetched): void {
    const moved = lastStableOffset !== this.lastStable;
    this.lastStable = lastStableOffset;
    this.highWatermark = highWatermark;
    if (!this.atEnd) this.stableSince = undefined;
    else if (moved || this.stableSince === undefined) this.stableSince = performance.now();
  }

  /** An entry of message format v0 or v1: its records as batches of v2, in which form the other log has them. */
  #takeOld(entry: RecordBatch): void {
    const nextOffset = entry.baseOffset + 1n;
    if (nextOffset <= this.nextFetch) return;
    if (!entry.crcMatches()) throw new Error(`a wrong checksum at offset ${entry.baseOffset}`);
    const records = decodeRecords(entry);
    for (let first = 0; first < records.length; ) {
      let end = first + 1;
      while (end < records.length && records[end]?.offset === (records[end - 1] as KafkaRecord).offset + 1n) end++;
      const batch = encodeBatch({ records: records.slice(first, end) });
      batch.bytes.writeBigInt64BE((records[first] as KafkaRecord).offset, 0);
      if (batch.nextOffset > this.nextFetch) this.#enqueue(batch, false);
      first = end;
    }
    this.nextFetch = nextOffset;
    this.readTo = nextOffset;
  }

  #enqueue(batch: RecordBatch, aborted: boolean): void {
    if (batch.recordCount === 0) return;
    this.#queue.push({ batch, from: Number(this.nextFetch - this.origin), aborted });
  }

  /** No batch is half read. */
  get betweenBatches(): boolean {
    return this.#cursor === undefined;
  }

  /** The batch that comes next, when no batch is half read. */
  get nextBatch(): QueuedBatch | undefined {
    return this.#cursor === undefined ? this.#queue[this.#head] : undefined;
  }

  /** Leaves out the batch that comes next. */
  skipBatch(): void {
    const queued = this.#queue[this.#head];
    if (!queued) return;
    this.#queue[this.#head++] = undefined as never;
    this.#letGo(queued.answer);
    if (this.#head > 256 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Whether there is a record to look at; stays on it until `pass`. */
  peek(): boolean {
    while (this.offset < 0) {
      if (!this.#cursor && !this.#openBatch()) return false;
      const cursor = this.#cursor as RecordCursor;
      if (!cursor.next()) {
        this.#closeBatch();
        continue;
      }
      const offset = this.#base + cursor.offsetDelta;
      if (offset < this.#from) continue;
      this.offset = offset;
      this.bytes = cursor.bytes;
      this.bodyStart = cursor.bodyStart;
      this.end = cursor.end;
      this.#endsBatch = cursor.end === cursor.bytes.length;
      if (this.#leftOut) this.#leaveOut(this.#leftOut, cursor);
      const delta = this.#fixedTimestamp ? 0 : cursor.timestampDelta;
      this.timestampNumber = this.#baseTimestamp + delta;
      if (!Number.isSafeInteger(this.timestampNumber)) {
        this.timestampNumber = Number.NaN;
        const exact = Number.isNaN(delta) ? cursor.timestampDeltaExact : BigInt(delta);
        this.timestamp = this.#baseTimestampExact + exact;
      }
    }
    return true;
  }

  pass(): void {
    this.offset = -1;
    // At once, so that both sides are seen between batches at the same time.
    if (this.#endsBatch) this.#closeBatch();
  }

  #leaveOut(header: Buffer, cursor: RecordCursor): void {
    const at = cursor.bytes.indexOf(header, cursor.bodyStart);
    if (at < 0 || at >= cursor.end) return;
    const record = cursor.record(0n, 0n);
    const headers = record.headers.filter(({ key }) => !key.equals(header));
    const without = new RecordCursor(encodeBatch({ records: [{ ...record, headers }] }).decompressedRecords());
    without.next();
    this.bytes = without.bytes;
    this.bodyStart = without.bodyStart;
    this.end = without.end;
  }

  #closeBatch(): void {
    this.#cursor = undefined;
    this.skipBatch();
  }

  /** The record that `peek` found, decoded. */
  record(): KafkaRecord {
    const cursor = this.#cursor as RecordCursor;
    const record = cursor.record(this.origin + BigInt(this.#base), this.#baseTimestampExact);
    return this.#fixedTimestamp ? { ...record, timestamp: this.#baseTimestampExact } : record;
  }

  #openBatch(): boolean {
    const queued = this.#queue[this.#head];
    if (!queued) return false;
    const { batch } = queued;
    this.#from = queued.from;
    this.aborted = queued.aborted;
    this.#base = Number(batch.baseOffset - this.origin);
    this.#fixedTimestamp = batch.isLogAppendTime;
    this.#baseTimestampExact = this.#fixedTimestamp ? batch.maxTimestamp : batch.baseTimestamp;
    this.#baseTimestamp = Number(this.#baseTimestampExact);
    if (!Number.isSafeInteger(this.#baseTimestamp)) this.#baseTimestamp = Number.NaN;
    this.#cursor = new RecordCursor(batch.decompressedRecords());
    return true;
  }

  #hold(answer: Buffer, last: QueuedBatch): void {
    last.answer = answer;
    this.bytesHeld += answer.length;
    this.#memory?.hold(answer);
  }

  #letGo(answer: Buffer | undefined): void {
    if (!answer) return;
    this.bytesHeld -= answer.length;
    this.#memory?.release(answer);
  }
}

/** Control records say in their key what they are: version, then type, 0 for abort and 1 for commit. */
function isAbortMarker(batch: RecordBatch): boolean {
  if (!batch.isControl || batch.recordCount === 0) return false;
  const key = decodeRecords(batch)[0]?.key ?? null;
  return key !== null && key.length >= 4 && key.readInt16BE(2) === 0;
}
