/** One log of a partition as the audit reads it: checked batches in, records out, in order of offset. */
import { type KafkaRecord, type RecordBatch, RecordCursor, readBatches } from '../kafka/batches.ts';
import type { ReadPartition } from './reader.ts';

/** The audit works with offsets relative to this one, as plain numbers. */
export type Origin = bigint;

interface Queued {
  readonly batch: RecordBatch;
  /** Records below are not to be looked at: the batch was fetched from here, or its head was cut away. */
  readonly from: number;
}

export class AuditLog implements ReadPartition {
  readonly topic: string;
  readonly partition: number;
  nextFetch = 0n;
  reading = false;
  generation = 0;
  bytesHeld = 0;
  readonly #onHold: (bytes: number) => void;

  /** Every record below is known: read, or known not to exist. */
  readTo = 0n;
  origin: Origin = 0n;
  #queue: Queued[] = [];
  /** Of the batch that is being read. */
  #from = 0;
  #head = 0;
  #cursor: RecordCursor | undefined;
  #base = 0;
  #baseTimestamp = 0;
  #baseTimestampExact = 0n;
  #fixedTimestamp = false;

  /** The record that `peek` found: offset relative to `origin`; where its bytes are. */
  offset = -1;
  timestamp = 0n;
  /** The same as a number, NaN when it does not fit. */
  timestampNumber = 0;
  bytes: Buffer = Buffer.alloc(0);
  bodyStart = 0;
  end = 0;

  constructor(topic: string, partition: number, onHold: (bytes: number) => void) {
    this.topic = topic;
    this.partition = partition;
    this.#onHold = onHold;
  }

  /** Begins again: records from `from` on; the log itself begins at `logStart`. */
  begin(origin: Origin, from: bigint, logStart: bigint): void {
    this.#hold(-this.bytesHeld);
    this.origin = origin;
    this.nextFetch = from;
    if (logStart > from) this.nextFetch = logStart;
    this.readTo = this.nextFetch;
    this.#queue = [];
    this.#head = 0;
    this.#cursor = undefined;
    this.offset = -1;
    this.generation++;
    this.reading = true;
  }

  /**
   * Takes fetched bytes.
   *
   * @throws Error when a batch is damaged or of a format that has no such checksum
   */
  take(records: Buffer): void {
    for (const batch of readBatches(records)) {
      if (batch.magic !== 2) throw new Error(`message format v${batch.magic} at offset ${batch.baseOffset}`);
      const { nextOffset } = batch;
      if (nextOffset <= this.nextFetch) continue;
      if (!batch.crcMatches()) throw new Error(`a wrong checksum at offset ${batch.baseOffset}`);
      if (!batch.isControl && batch.recordCount > 0) {
        this.#queue.push({ batch, from: Number(this.nextFetch - this.origin) });
        this.#hold(batch.byteLength);
      }
      this.nextFetch = nextOffset;
      this.readTo = nextOffset;
    }
  }

  /** No batch is half read. */
  get betweenBatches(): boolean {
    return this.#cursor === undefined;
  }

  /** The batch that comes next, when no batch is half read. */
  get nextBatch(): RecordBatch | undefined {
    return this.#cursor === undefined ? this.#queue[this.#head]?.batch : undefined;
  }

  /** Where the records of `nextBatch` begin that are to be looked at. */
  get nextFrom(): number {
    return this.#queue[this.#head]?.from ?? 0;
  }

  /** Leaves out the batch that comes next. */
  skipBatch(): void {
    const queued = this.#queue[this.#head];
    if (!queued) return;
    this.#queue[this.#head++] = undefined as never;
    this.#hold(-queued.batch.byteLength);
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
    if (this.end === this.bytes.length) this.#closeBatch();
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
    this.#base = Number(batch.baseOffset - this.origin);
    this.#fixedTimestamp = batch.isLogAppendTime;
    this.#baseTimestampExact = this.#fixedTimestamp ? batch.maxTimestamp : batch.baseTimestamp;
    this.#baseTimestamp = Number(this.#baseTimestampExact);
    if (!Number.isSafeInteger(this.#baseTimestamp)) this.#baseTimestamp = Number.NaN;
    this.#cursor = new RecordCursor(batch.decompressedRecords());
    return true;
  }

  #hold(bytes: number): void {
    this.bytesHeld += bytes;
    this.#onHold(bytes);
  }
}
