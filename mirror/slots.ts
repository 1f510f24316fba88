/** The slots of a fetched answer, which must have been read with isolation readCommitted. */
import { batchAt, decodeRecords, type RecordBatch } from '../kafka/batches.ts';
import type { RawFetchedPartition } from '../kafka/wire.ts';
import type { Piece } from './pieces.ts';
import { runAt } from './runs.ts';

export interface Slots {
  /** In order and without a gap, from `from` up to `next`. */
  readonly pieces: Piece[];
  readonly next: bigint;
  /** A batch that may not be carried: pieces end before it. */
  readonly loop?: { readonly offset: bigint; readonly producerId: bigint };
}

export interface SlotRules {
  /** Where the answer was asked to begin; batches may begin below. */
  readonly from: bigint;
  readonly keepAborted: boolean;
  /** Batches of this producer are another mirror's. */
  readonly otherProducerId: bigint | null;
}

/**
 * Which transactions were aborted is told anew by every answer, for its own range; so each is judged by itself, as Java's consumer does
 * (CompletedFetch): a transaction begins at its first offset and ends at its producer's abort marker.
 *
 * @throws Error when lengths point outside, or a marker is damaged
 */
export function slotsOf(answer: RawFetchedPartition, rules: SlotRules): Slots {
  const pieces: Piece[] = [];
  const aborted = new AbortedProducers(answer.abortedTransactions);
  let next = rules.from;
  const invisible = (end: bigint) => {
    const last = pieces.at(-1);
    if (last?.kind === 'invisible') pieces[pieces.length - 1] = { ...last, end };
    else pieces.push({ kind: 'invisible', from: next, end });
    next = end;
  };

  for (let at = 0; ; ) {
    // Of no transaction, so none of them ends one either; those that begin meanwhile are met by the next batch that is asked about.
    const run = runAt(answer.records, at, { from: next, otherProducerId: rules.otherProducerId });
    if (run) {
      pieces.push(run);
      next = run.end;
      at += run.bytes.length;
      continue;
    }
    const batch = batchAt(answer.records, at);
    if (!batch) break;
    at += batch.byteLength;
    const end = batch.nextOffset;
    // Older formats have no transactions; what offsets an entry has only its records tell.
    if (batch.magic < 2) {
      if (end <= next) continue;
      pieces.push({ kind: 'batch', batch, from: next, end, aborted: false });
      next = end;
      continue;
    }
    const hidden = aborted.hides(batch);
    if (end <= next) continue;
    const { producerId, baseOffset } = batch;
    if (rules.otherProducerId !== null && producerId === rules.otherProducerId) {
      return { pieces, next, loop: { offset: baseOffset, producerId } };
    }
    if (baseOffset > next) invisible(baseOffset);
    if (batch.isControl || (hidden && !rules.keepAborted)) invisible(end);
    else {
      pieces.push({ kind: 'batch', batch, from: next, end, aborted: hidden });
      next = end;
    }
  }
  return { pieces, next };
}

/** Tells aborted batches while one walks an answer in order. */
export class AbortedProducers {
  readonly #transactions: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[];
  readonly #producers = new Set<bigint>();
  #begun = 0;

  constructor(transactions: RawFetchedPartition['abortedTransactions']) {
    this.#transactions = [...transactions].sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1));
  }

  /** Whether the batch holds aborted records. To be asked of every batch of the answer, in order. */
  hides(batch: RecordBatch): boolean {
    if (this.#transactions.length === 0) return false;
    const end = batch.nextOffset;
    for (; ; this.#begun++) {
      const begins = this.#transactions[this.#begun];
      if (!begins || begins.firstOffset >= end) break;
      this.#producers.add(begins.producerId);
    }
    if (!batch.isTransactional || !this.#producers.has(batch.producerId)) return false;
    if (!batch.isControl) return true;
    if (isAbortMarker(batch)) this.#producers.delete(batch.producerId);
    return false;
  }
}

/** Control records say in their key what they are: version, then type, 0 for abort and 1 for commit. */
function isAbortMarker(batch: RecordBatch): boolean {
  if (batch.recordCount === 0) return false;
  const key = decodeRecords(batch)[0]?.key;
  return key !== null && key !== undefined && key.length >= 4 && key.readInt16BE(2) === 0;
}
