/**
 * What a mirror carries, offset by offset: every offset of the log that is read is a slot, **visible** (a committed record; an
 * aborted one where those are kept) or **invisible** (transaction marker, compaction hole, an aborted record that is not kept).
 *
 * Reading gives pieces, in order and without a gap; preparing turns them into what is sent, again in order and without a gap.
 */
import type { RecordBatch } from '../kafka/batches.ts';

/** A batch, or an entry of message format v0 or v1, with the offsets that it stands for: [from, end), whose holes only its records tell. */
export interface SourceBatch {
  readonly kind: 'batch';
  readonly batch: RecordBatch;
  /** The first offset to be carried: at or above the batch's own first one. */
  readonly from: bigint;
  readonly end: bigint;
  /** Of a transaction that was aborted, and to be kept: sent as transactional records that a marker aborts. */
  readonly aborted: boolean;
}

/** Small plain batches (see `PlainBatchCursor`) of one answer that lie behind one another, without a gap between their offsets. */
export interface BatchRun {
  readonly kind: 'run';
  readonly bytes: Buffer;
  readonly from: bigint;
  readonly end: bigint;
}

/** Offsets [from, end) without anything that a consumer sees. */
export interface InvisibleSlots {
  readonly kind: 'invisible';
  readonly from: bigint;
  readonly end: bigint;
}

export type Piece = SourceBatch | BatchRun | InvisibleSlots;

/** A batch as it will be sent, stamped with producer and sequence. */
export interface OutgoingBatch {
  readonly kind: 'batch';
  readonly bytes: Buffer;
  readonly baseOffset: bigint;
  readonly count: number;
  /** A smaller one is possible: made of several source batches, or of more than one record. */
  readonly divisible: boolean;
  /** Records of an aborted transaction, under the owner's producer id. */
  readonly aborted: boolean;
  readonly generation: number;
}

/** Transaction markers: `count` of them, each the size of one offset. */
export interface OutgoingMarkers {
  readonly kind: 'markers';
  readonly baseOffset: bigint;
  readonly count: number;
  readonly generation: number;
}

export type Outgoing = OutgoingBatch | OutgoingMarkers;

/**
 * Who may write markers to a partition (see ownership.ts): the producer of the ownership id, its epoch being the term. It also
 * writes aborted records, so that any marker of it ends them.
 */
export interface Owner {
  readonly producerId: bigint;
  readonly term: number;
}
