/** Which batches of an answer are carried as one piece: told by reading each of them in an answer of its own. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { readBatches } from '../../kafka/batches.ts';
import { type Codec, codecNames } from '../../kafka/codecs.ts';
import type { RawFetchedPartition } from '../../kafka/wire.ts';
import type { Piece } from '../../mirror/pieces.ts';
import { singly } from '../../mirror/runs.ts';
import { type SlotRules, slotsOf } from '../../mirror/slots.ts';
import { oldEntry, sparseBatch } from './source-batches.ts';

const first = 2n ** 32n - 3n;
const otherProducerId = 2n ** 33n + 5n;
const record = { timestamp: 1_650_000_000_000n, key: null, value: Buffer.from('value') };

/** Read as a header of format v2, but for the magic, what is before and in this key is that of a plain batch of one record. */
const disguised = { timestamp: 0n, key: Buffer.alloc(40), value: record.value };
disguised.key.writeInt32BE(1, 57 - 30);

interface Shape {
  readonly kind: 'v2' | 'old';
  readonly count: number;
  readonly gap: number;
  readonly tail: number;
  readonly codec: Codec;
  readonly attributes: number;
  readonly producerId: bigint;
  readonly timestamp: bigint;
  readonly valueBytes: number;
}

const mostly = <T>(usual: T, ...others: T[]) =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...others) });
const shape: fc.Arbitrary<Shape> = fc.record({
  kind: mostly<Shape['kind']>('v2', 'old'),
  count: fc.integer({ min: 1, max: 3 }),
  gap: mostly(0, 1, 7),
  tail: mostly(0, 2),
  codec: mostly<Codec>(...(codecNames as unknown as [Codec, ...Codec[]])),
  // log append time, transactional, delete horizon
  attributes: mostly(0, 0x08, 0x10, 0x40),
  producerId: mostly(-1n, 5n, otherProducerId, otherProducerId - 2n ** 32n, 2n ** 62n),
  timestamp: mostly(record.timestamp, -1n, 0n, 2n ** 49n, -(2n ** 62n)),
  valueBytes: mostly(20, 70_000),
});

function answerOf(shapes: readonly Shape[]): Buffer {
  let next = first;
  return Buffer.concat(
    shapes.map((each) => {
      const baseOffset = next + BigInt(each.gap);
      const value = Buffer.alloc(each.valueBytes, 'v');
      const { timestamp, codec, attributes } = each;
      if (each.kind === 'old') {
        next = baseOffset + 1n;
        return oldEntry({ magic: 1, records: [{ ...disguised, offset: baseOffset }], codec: 'none' }).bytes;
      }
      const records = Array.from({ length: each.count }, (_, offsetDelta) => ({
        timestamp,
        key: null,
        value,
        offsetDelta,
      }));
      const lastOffsetDelta = each.count - 1 + each.tail;
      const batch = sparseBatch({ baseOffset, records, lastOffsetDelta, codec, attributes });
      batch.bytes.writeBigInt64BE(each.producerId, 43);
      next = batch.nextOffset;
      return batch.bytes;
    }),
  );
}

function answered(records: Buffer): RawFetchedPartition {
  return {
    ...{ topic: '', partition: 0, errorCode: 0, highWatermark: 0n, lastStableOffset: 0n, logStartOffset: 0n },
    abortedTransactions: [],
    records,
  };
}

/** Invisible neighbours as one, as the reading of one answer has them. */
function printed(pieces: Iterable<Piece>): string[] {
  const lines: { kind: string; from: bigint; end: bigint; bytes: string }[] = [];
  for (const piece of pieces) {
    const last = lines.at(-1);
    if (piece.kind === 'invisible' && last?.kind === 'invisible') last.end = piece.end;
    else lines.push({ ...piece, bytes: piece.kind === 'batch' ? piece.batch.bytes.toString('hex') : '' });
  }
  return lines.map(({ kind, from, end, bytes }) => `${kind} ${from} ${end} ${bytes}`);
}

describe('the pieces of an answer', () => {
  it('are those of each batch by itself, whatever is carried in one', () => {
    let runs = 0;
    fc.assert(
      fc.property(
        fc.array(shape, { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 0, max: 6 }),
        fc.constantFrom(null, 5n, otherProducerId),
        fc.integer({ min: 0, max: 80 }),
        (shapes, begin, other, cut) => {
          const whole = answerOf(shapes);
          const bytes = whole.subarray(0, whole.length - Math.min(cut, whole.length));
          const rules: SlotRules = { from: first + BigInt(begin), keepAborted: false, otherProducerId: other };

          const read = slotsOf(answered(bytes), rules);

          const alone: Piece[] = [];
          let { from: next } = rules;
          let loop: typeof read.loop;
          for (const batch of readBatches(bytes)) {
            const one = slotsOf(answered(batch.bytes), { ...rules, from: next });
            alone.push(...one.pieces);
            ({ next, loop } = one);
            if (loop) break;
          }
          for (const piece of read.pieces) {
            if (piece.kind !== 'run') continue;
            runs++;
            for (const { magic, attributes } of readBatches(piece.bytes)) assert.deepEqual([magic, attributes], [2, 0]);
          }
          assert.ok(alone.every(({ kind }) => kind !== 'run'));
          assert.deepEqual([read.next, read.loop], [next, loop]);
          assert.deepEqual(printed(singly(read.pieces)), printed(alone));
        },
      ),
      { numRuns: 500 },
    );
    assert.ok(runs > 100, `${runs} runs`);
  });

  it('hold small plain batches that follow each other as one', () => {
    const usual = { kind: 'v2', gap: 0, tail: 0, codec: 'none', attributes: 0, valueBytes: 20 } as const;
    const plain: Shape = { ...usual, count: 1, producerId: 5n, timestamp: record.timestamp };
    const large = { ...plain, valueBytes: 70_000 };
    const late = { ...plain, gap: 1 };
    const transactional = { ...plain, attributes: 0x10 };

    const bytes = answerOf([plain, plain, plain, large, plain, plain, late, plain, plain, transactional, plain]);
    const { pieces } = slotsOf(answered(bytes), { from: first, keepAborted: false, otherProducerId });

    assert.deepEqual(
      pieces.map(({ kind, from, end }) => `${kind} ${from - first} ${end - first}`),
      ['run 0 3', 'batch 3 4', 'run 4 6', 'invisible 6 7', 'batch 7 8', 'run 8 10', 'batch 10 11', 'batch 11 12'],
    );
  });
});
