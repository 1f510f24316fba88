/**
 * Compares two logs of a partition record by record, as far as both have been read, and feeds the digest with the source's records.
 */
import { createHash } from 'node:crypto';
import type { RecordBatch } from '../kafka/batches.ts';
import { AuditDigest, blockBorder, blockOffsets, recordPrefixBytes } from './audit-digest.ts';
import { AuditLog } from './audit-log.ts';

/** Records are handed to the digest in chunks; larger ones by themselves. */
const chunkBytes = 131_072;
const largeBodyBytes = 16_384;
/** Shared by all partitions: empty whenever `run` ends. */
const chunk = Buffer.allocUnsafe(chunkBytes);

export interface Difference {
  readonly offset: bigint;
  /** `missing`: on the source only. `extra`: on the target only. Else the first part that differs, in this order. */
  readonly kind: 'missing' | 'extra' | 'key' | 'value' | 'headers' | 'timestamp';
  /** SHA-256 of timestamp, key, value and headers as the digest takes them; null where there is no record. */
  readonly sourceHash: string | null;
  readonly targetHash: string | null;
}

export class Comparison {
  readonly source: AuditLog;
  readonly target: AuditLog;
  start = 0n;
  /** Everything below has been compared. */
  position = 0n;
  /** Records of the source below `position`. */
  records = 0;
  /** Their timestamps, keys, values and headers, of this run. */
  bytes = 0;
  differences = 0;
  first: Difference | null = null;

  #digest = new AuditDigest(0n);
  #origin = 0n;
  /** Records below were counted before the audit was interrupted. */
  #countFrom = 0;
  /** First offset, relative to the origin, of the block that `chunk` belongs to. */
  #block = 0;
  #chunkLength = 0;

  constructor(topic: string, partition: number, onHold: (bytes: number) => void) {
    this.source = new AuditLog(topic, partition, onHold);
    this.target = new AuditLog(topic, partition, onHold);
  }

  /**
   * Begins, or begins again, at `from`.
   *
   * @param resumed what was proven before; `from` is then at or above the last block border below its position
   */
  begin(
    from: bigint,
    logStarts: { readonly source: bigint; readonly target: bigint },
    resumed?: { readonly start: bigint; readonly chain: Buffer; readonly position: bigint; readonly records: number },
  ): void {
    this.#origin = blockBorder(from);
    this.source.begin(this.#origin, from, logStarts.source);
    this.target.begin(this.#origin, from, logStarts.target);
    this.start = resumed?.start ?? from;
    this.position = from;
    this.records = resumed?.records ?? 0;
    this.#countFrom = Number((resumed?.position ?? from) - this.#origin);
    this.#digest = new AuditDigest(this.start, resumed?.chain);
    this.#block = 0;
    this.#chunkLength = 0;
  }

  get digest(): string {
    return this.#digest.at(this.position);
  }

  /**
   * Goes on as far as both sides have been read.
   *
   * @param until not further than this
   * @throws Error when records are damaged
   */
  run(until: bigint | undefined): void {
    const { source, target } = this;
    let limit = source.readTo < target.readTo ? source.readTo : target.readTo;
    if (until !== undefined && until < limit) limit = until;
    if (limit <= this.position) return;
    const end = Number(limit - this.#origin);
    for (;;) {
      if (this.#passSameBatch(end)) continue;
      const inSource = source.peek() && source.offset < end;
      const inTarget = target.peek() && target.offset < end;
      if (!inSource && !inTarget) break;
      if (inSource && inTarget && source.offset === target.offset) {
        if (!sameRecord(source, target)) this.#differ(kindOf(source, target), source, target);
        this.#add(source);
        target.pass();
      } else if (inSource && (!inTarget || source.offset < target.offset)) {
        this.#differ('missing', source, undefined);
        this.#add(source);
      } else {
        this.#differ('extra', undefined, target);
        target.pass();
      }
    }
    this.#flush();
    this.position = limit;
  }

  /** A batch that is the same on both sides, byte by byte, is walked once only, for the digest. */
  #passSameBatch(end: number): boolean {
    const { source, target } = this;
    const batch = source.nextBatch;
    const other = target.nextBatch;
    if (!batch || !other || !sameBatch(batch, other)) return false;
    const base = Number(batch.baseOffset - this.#origin);
    const last = base + batch.lastOffsetDelta;
    if (last >= end) return false;
    // Where one log's head was cut away within the batch, it shows fewer of the same records.
    if (Math.max(source.nextFrom, base) !== Math.max(target.nextFrom, base)) return false;
    target.skipBatch();
    while (source.peek() && source.offset <= last) {
      this.#add(source);
      if (source.betweenBatches) break;
    }
    return true;
  }

  /** Counts the source's record and hands it to the digest. */
  #add(log: AuditLog): void {
    const bodyBytes = log.end - log.bodyStart;
    if (log.offset >= this.#countFrom) this.records++;
    this.bytes += 8 + bodyBytes;
    const block = log.offset - (log.offset % blockOffsets);
    const large = bodyBytes > largeBodyBytes;
    if (block !== this.#block || large || this.#chunkLength + recordPrefixBytes + bodyBytes > chunkBytes) this.#flush();
    this.#block = block;
    this.#chunkLength = writePrefix(chunk, this.#chunkLength, log.offset - block, log);
    if (large) {
      this.#flush();
      this.#digest.update(this.#origin + BigInt(block), log.bytes.subarray(log.bodyStart, log.end));
    } else {
      this.#chunkLength += log.bytes.copy(chunk, this.#chunkLength, log.bodyStart, log.end);
    }
    log.pass();
  }

  #flush(): void {
    if (this.#chunkLength === 0) return;
    this.#digest.update(this.#origin + BigInt(this.#block), chunk.subarray(0, this.#chunkLength));
    this.#chunkLength = 0;
  }

  #differ(kind: Difference['kind'] | undefined, source: AuditLog | undefined, target: AuditLog | undefined): void {
    if (kind === undefined) return;
    this.differences++;
    this.first ??= {
      offset: this.#origin + BigInt((source ?? target)?.offset ?? 0),
      kind,
      sourceHash: source ? hashOf(source) : null,
      targetHash: target ? hashOf(target) : null,
    };
  }
}

function sameBatch(a: RecordBatch, b: RecordBatch): boolean {
  return (
    a.byteLength === b.byteLength &&
    a.baseOffset === b.baseOffset &&
    a.recordCount === b.recordCount &&
    a.lastOffsetDelta === b.lastOffsetDelta &&
    a.baseTimestamp === b.baseTimestamp &&
    a.codec === b.codec &&
    a.isLogAppendTime === b.isLogAppendTime &&
    (!a.isLogAppendTime || a.maxTimestamp === b.maxTimestamp) &&
    a.records.equals(b.records)
  );
}

function sameTimestamp(a: AuditLog, b: AuditLog): boolean {
  if (Number.isNaN(a.timestampNumber) || Number.isNaN(b.timestampNumber))
    return exactTimestamp(a) === exactTimestamp(b);
  return a.timestampNumber === b.timestampNumber;
}

function exactTimestamp(log: AuditLog): bigint {
  return Number.isNaN(log.timestampNumber) ? log.timestamp : BigInt(log.timestampNumber);
}

function sameRecord(a: AuditLog, b: AuditLog): boolean {
  return sameTimestamp(a, b) && a.bytes.compare(b.bytes, b.bodyStart, b.end, a.bodyStart, a.end) === 0;
}

/** What differs; undefined when only the encoding does (numbers longer than need be). */
function kindOf(source: AuditLog, target: AuditLog): Difference['kind'] | undefined {
  const a = source.record();
  const b = target.record();
  if (!sameBytes(a.key, b.key)) return 'key';
  if (!sameBytes(a.value, b.value)) return 'value';
  const sameHeaders =
    a.headers.length === b.headers.length &&
    a.headers.every((header, i) => {
      const other = b.headers[i];
      return other !== undefined && header.key.equals(other.key) && sameBytes(header.value, other.value);
    });
  if (!sameHeaders) return 'headers';
  return a.timestamp === b.timestamp ? undefined : 'timestamp';
}

function sameBytes(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b);
}

function hashOf(log: AuditLog): string {
  const prefix = Buffer.allocUnsafe(recordPrefixBytes);
  writePrefix(prefix, 0, 0, log);
  const hash = createHash('sha256').update(prefix.subarray(4));
  return hash.update(log.bytes.subarray(log.bodyStart, log.end)).digest('hex');
}

function writePrefix(out: Buffer, at: number, offsetInBlock: number, log: AuditLog): number {
  out.writeUInt32BE(offsetInBlock, at);
  const { timestampNumber } = log;
  if (Number.isNaN(timestampNumber)) {
    out.writeBigInt64BE(log.timestamp, at + 4);
  } else {
    const high = Math.floor(timestampNumber / 0x1_0000_0000);
    out.writeInt32BE(high, at + 4);
    out.writeUInt32BE(timestampNumber - high * 0x1_0000_0000, at + 8);
  }
  return at + recordPrefixBytes;
}
