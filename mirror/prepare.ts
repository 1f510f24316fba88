/**
 * Turns what was read into what is sent: most batches pass as they are, restamped; small neighbours become one; what cannot pass is
 * written anew; what nobody sees becomes markers.
 *
 * A broker takes one batch a partition in a request, so batches of one record each would travel at some 13,000 records
 * a second; merged they travel at 450,000 (measured, research/exact-offsets.md section 5).
 */
import { batchHeaderBytes, PlainBatchCursor, type RecordBatch, sequenceAfter } from '../kafka/batches.ts';
import type { Codec } from '../kafka/codecs.ts';
import type { BatchRun, Outgoing, Owner, Piece, SourceBatch } from './pieces.ts';
import {
  BatchRefusal,
  bytesInBatch,
  extendSection,
  joined,
  type Section,
  sectionOfBatch,
  sectionOfPlainBatch,
  sectionsOfPiece,
  timestampSpanMax,
  unknownCodec,
  unpackSection,
} from './rewrite.ts';
import { mergeBelowBytes, singly } from './runs.ts';

/** Merged batches stay below this, unpacked: 10 % faster than half of it, at the same memory, as they are made over what was read (`joined`). */
export const mergedBytesMax = 524_288;
/** Compressed ones are unpacked and packed again, which pays only for the tiny. */
const mergeCompressedBelowBytes = 2_048;
/** Markers of one request: more were not faster (measured, research/exact-offsets.md section 2.3). */
export const markersMax = 5_000;

/** Whose records these are going to be. */
export interface Stamp {
  readonly producerId: bigint;
  /** Of the first record. */
  readonly sequence: number;
  readonly generation: number;
  /** Writes markers and aborted records; its sequence counts the records that it wrote in its term. */
  readonly owner?: (Owner & { readonly sequence: number }) | undefined;
}

export interface PrepareLimits {
  /** No batch made here is larger, unless one record is. */
  readonly batchBytesMax: number;
  /** False: every batch passes as it is where it can. */
  readonly merge: boolean;
  /** The target refused a batch for its size: those larger than `batchBytesMax` are split between records. */
  readonly split: boolean;
  /** Batches with nothing younger than this (ms since 1970) need the owner: the target forgets producers by the timestamps of their batches. */
  readonly ownedBelowMs?: number | undefined;
}

export interface Prepared {
  readonly outgoing: Outgoing[];
  readonly nextSequence: number;
  /** Of the owner; 0 without one. */
  readonly nextOwnerSequence: number;
  /** The first offset that needs an owner where the stamp has none: what begins there was not prepared. */
  readonly stoppedAt?: bigint;
}

/**
 * What to send, in order and without a gap. The bytes of pieces that pass are changed in place: none may be prepared twice, except from
 * `stoppedAt` on, the piece that holds it being cut there.
 *
 * @throws BatchRefusal when a checksum is wrong or records are not what their batch says
 * @throws Error when the pieces have a gap between them
 */
export function preparePieces(pieces: readonly Piece[], stamp: Stamp, limits: PrepareLimits): Prepared {
  const preparing = new Preparing(stamp, limits);
  let next = pieces[0]?.from;
  for (const piece of pieces) {
    if (piece.from !== next) throw new Error(`a piece begins at ${piece.from} where the one before ends at ${next}`);
    if (piece.end <= piece.from) throw new Error(`a piece from ${piece.from} ends at ${piece.end}`);
    next = piece.end;
    preparing.add(piece);
    if (preparing.stoppedAt !== undefined) break;
  }
  return preparing.finish();
}

/** Parts that go out as one batch. */
interface Group {
  readonly parts: Section[];
  readonly codec: Codec;
  readonly aborted: boolean;
  readonly firstOffset: bigint;
  readonly baseTimestamp: bigint;
  bytes: number;
}

class Preparing {
  stoppedAt: bigint | undefined;
  readonly #stamp: Stamp;
  readonly #limits: PrepareLimits;
  readonly #ownedBelow: bigint | undefined;
  readonly #groupBytesMax: number;
  readonly #outgoing: Outgoing[] = [];
  #sequence: number;
  #ownerSequence: number;
  #group: Group | undefined;
  /** Invisible slots behind the group. */
  #invisibleFrom = 0n;
  #invisible = 0n;

  constructor(stamp: Stamp, limits: PrepareLimits) {
    this.#stamp = stamp;
    this.#limits = limits;
    this.#ownedBelow = limits.ownedBelowMs === undefined ? undefined : BigInt(Math.ceil(limits.ownedBelowMs));
    this.#groupBytesMax = Math.min(mergedBytesMax, limits.batchBytesMax) - batchHeaderBytes;
    this.#sequence = stamp.sequence;
    this.#ownerSequence = stamp.owner?.sequence ?? 0;
  }

  add(piece: Piece): void {
    if (piece.kind === 'invisible') {
      this.#addInvisible(piece.from, piece.end);
      return;
    }
    if (piece.kind === 'run') {
      if (this.#limits.merge && this.#limits.batchBytesMax >= mergeBelowBytes) this.#addRun(piece);
      else for (const single of singly([piece])) this.add(single);
      return;
    }
    const { batch, from, end } = piece;
    if (!batch.crcMatches()) throw checksumRefusal(from);
    if (batch.magic >= 2 && batch.isControl) {
      this.#addInvisible(from, end);
      return;
    }
    const small = this.#limits.merge && isSmall(batch) && batch.byteLength <= this.#limits.batchBytesMax;
    const whole = wholeSection(piece);
    if (whole && small) {
      this.#addSection(whole, piece.aborted);
      return;
    }
    if (!small) this.#flushGroup();
    if (whole && this.#passes(whole)) {
      this.#addSection(whole, piece.aborted);
    } else {
      let next = from;
      for (const section of sectionsOfPiece(piece, this.#limits.batchBytesMax - batchHeaderBytes)) {
        if (section.firstOffset > next) this.#addInvisible(next, section.firstOffset);
        next = section.firstOffset + BigInt(section.count);
        this.#addSection(section, piece.aborted);
      }
      if (end > next) this.#addInvisible(next, end);
    }
    if (!small) this.#flushGroup();
  }

  /** What `add` does with each of its batches, without an object for each: they share a section as long as the group has room. */
  #addRun(run: BatchRun): void {
    const cursor = new PlainBatchCursor(run.bytes);
    let section: Section | undefined;
    while (cursor.next()) {
      if (!cursor.crcMatches()) throw checksumRefusal(BigInt(cursor.baseOffset));
      if (section && this.#extend(section, cursor)) continue;
      section = sectionOfPlainBatch(cursor);
      this.#addSection(section, false);
    }
  }

  /** Of the group's last part. */
  #extend(section: Section, batch: PlainBatchCursor): boolean {
    const group = this.#group;
    const bytes = bytesInBatch(batch);
    if (!group || group.bytes + bytes > this.#groupBytesMax) return false;
    extendSection(section, batch);
    group.bytes += bytes;
    return true;
  }

  finish(): Prepared {
    this.#settleInvisible();
    this.#flushGroup();
    return {
      outgoing: this.#outgoing,
      nextSequence: this.#sequence,
      nextOwnerSequence: this.#ownerSequence,
      ...(this.stoppedAt !== undefined && { stoppedAt: this.stoppedAt }),
    };
  }

  #passes({ whole, stampedByBroker }: Section): boolean {
    if (stampedByBroker || !whole) return false;
    return !this.#limits.split || whole.byteLength <= this.#limits.batchBytesMax;
  }

  #addInvisible(from: bigint, end: bigint): void {
    if (this.#invisible === 0n) this.#invisibleFrom = from;
    this.#invisible += end - from;
  }

  #addSection(section: Section, aborted: boolean): void {
    if (this.#invisible > 0n) this.#settleInvisible();
    const group = this.#group;
    if (group && group.aborted === aborted && group.codec === section.codec) {
      this.#unpackFirst(group);
      unpackSection(section);
      if (this.#join(group, section)) return;
    }
    this.#flushGroup();
    const { firstOffset, codec, baseTimestamp } = section;
    this.#group = { parts: [section], codec, aborted, firstOffset, baseTimestamp, bytes: bytesInBatch(section) };
  }

  /** It may stay packed as long as it is alone. */
  #unpackFirst(group: Group): void {
    const [first] = group.parts;
    if (!first || first.records !== undefined) return;
    group.bytes -= bytesInBatch(first);
    unpackSection(first);
    group.bytes += bytesInBatch(first);
  }

  #join(group: Group, part: Section): boolean {
    const bytes = bytesInBatch(part);
    if (group.bytes + bytes > this.#groupBytesMax) return false;
    const span = part.baseTimestamp - group.baseTimestamp;
    if (span > timestampSpanMax || span < -timestampSpanMax) return false;
    group.parts.push(part);
    group.bytes += bytes;
    return true;
  }

  /** Invisible slots behind the group become markers. */
  #settleInvisible(): void {
    if (this.#invisible === 0n) return;
    const count = this.#invisible;
    this.#invisible = 0n;
    this.#flushGroup();
    this.#sendMarkers(this.#invisibleFrom, count);
  }

  #flushGroup(): void {
    const group = this.#group;
    if (!group) return;
    this.#group = undefined;
    const { parts, aborted, firstOffset } = group;
    let count = 0;
    let maxTimestamp = group.baseTimestamp;
    for (const part of parts) {
      count += part.count;
      if (part.maxTimestamp > maxTimestamp) maxTimestamp = part.maxTimestamp;
    }
    if (this.stoppedAt !== undefined || this.#needsOwner(firstOffset, maxTimestamp, aborted)) return;
    const { owner } = this.#stamp;
    const producerId = aborted && owner ? owner.producerId : this.#stamp.producerId;
    const baseSequence = aborted ? this.#ownerSequence : this.#sequence;
    const transactionEpoch = aborted ? owner?.term : undefined;
    const [first] = parts;
    let batch: RecordBatch;
    if (parts.length === 1 && first?.whole && this.#passes(first)) {
      batch = first.whole;
      batch.restamp(producerId, baseSequence, transactionEpoch);
    } else {
      batch = joined(parts, group.codec, { producerId, baseSequence, transactionEpoch });
    }
    this.#send(batch, firstOffset, count, aborted);
  }

  #send({ bytes }: RecordBatch, baseOffset: bigint, count: number, aborted: boolean): void {
    const { generation } = this.#stamp;
    this.#outgoing.push({ kind: 'batch', bytes, baseOffset, count, divisible: count > 1, aborted, generation });
    if (aborted) this.#ownerSequence = sequenceAfter(this.#ownerSequence, count);
    else this.#sequence = sequenceAfter(this.#sequence, count);
  }

  #sendMarkers(from: bigint, total: bigint): void {
    if (this.stoppedAt !== undefined) return;
    if (!this.#stamp.owner) {
      this.stoppedAt = from;
      return;
    }
    const { generation } = this.#stamp;
    for (let sent = 0n; sent < total; sent += BigInt(markersMax)) {
      const left = total - sent;
      const count = left > BigInt(markersMax) ? markersMax : Number(left);
      this.#outgoing.push({ kind: 'markers', baseOffset: from + sent, count, generation });
    }
  }

  #needsOwner(firstOffset: bigint, maxTimestamp: bigint, aborted: boolean): boolean {
    if (this.#stamp.owner) return false;
    if (!aborted && (this.#ownedBelow === undefined || maxTimestamp >= this.#ownedBelow)) return false;
    this.stoppedAt = firstOffset;
    return true;
  }
}

function checksumRefusal(offset: bigint): BatchRefusal {
  return new BatchRefusal(offset, 'a checksum that does not match its batch');
}

function isSmall(batch: RecordBatch): boolean {
  return batch.byteLength < ((batch.attributes & 0x07) === 0 ? mergeBelowBytes : mergeCompressedBelowBytes);
}

/** The piece as one section, where it has no holes and begins with its batch. */
function wholeSection({ batch, from, end }: SourceBatch): Section | undefined {
  if (batch.magic < 2) return undefined;
  const { recordCount } = batch;
  if (recordCount === 0 || batch.lastOffsetDelta !== recordCount - 1) return undefined;
  if (batch.baseOffset !== from || end - from !== BigInt(recordCount)) return undefined;
  const { codec } = batch;
  if (codec === undefined) throw unknownCodec(batch, from);
  return sectionOfBatch(batch, from, codec, recordCount);
}
