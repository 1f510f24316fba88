import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decodeRecords, encodeBatch, type NewRecord, RecordBatch } from '../../kafka/batches.ts';
import { type Codec, codecNames } from '../../kafka/codecs.ts';
import { BatchRefusal, prepareBatches } from '../../mirror/merge.ts';
import type { IncomingBatch } from '../../mirror/partition.ts';
import { printed, variedRecords } from './support.ts';

const stamp = { producerId: 77n, sequence: 2 ** 31 - 5, generation: 1 };
const limits = { batchBytesMax: 1_000_000, merge: true };

interface Part {
  readonly records: readonly NewRecord[];
  readonly codec: Codec;
}

function incoming(parts: readonly Part[], skip = 0): IncomingBatch[] {
  let offset = 1_000n;
  return parts.map(({ records, codec }, i) => {
    const { bytes } = encodeBatch({ records, codec });
    bytes.writeBigInt64BE(offset, 0);
    const batch = { batch: new RecordBatch(bytes), baseOffset: offset, skip: i === 0 ? skip : 0 };
    offset += BigInt(records.length);
    return batch;
  });
}

/** What the written log would hold. */
function written(prepared: ReturnType<typeof prepareBatches>) {
  return prepared.batches.flatMap(({ bytes, baseOffset, count }) => {
    const batch = new RecordBatch(bytes);
    assert.ok(batch.crcMatches());
    assert.equal(batch.recordCount, count);
    assert.equal(batch.lastOffsetDelta, count - 1);
    const records = decodeRecords(batch);
    assert.ok(records.every((record) => record.timestamp <= batch.maxTimestamp));
    assert.ok(records.some((record) => record.timestamp === batch.maxTimestamp));
    return records.map((record) => ({ ...record, offset: record.offset + baseOffset }));
  });
}

const part: fc.Arbitrary<Part> = fc
  .tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 0, max: 500 }), fc.constantFrom(...codecNames))
  .map(([count, first, codec]) => ({ codec, records: variedRecords(count, first, first) }));

describe('preparing batches', () => {
  it('keeps every record, its offset and its timestamp, and numbers sequences without a gap', () => {
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 30 }), fc.boolean(), (parts, merge) => {
        const wanted = printed(incoming(parts).flatMap(({ batch }) => decodeRecords(batch)));

        const prepared = prepareBatches(incoming(parts), stamp, { ...limits, merge });

        assert.deepEqual(printed(written(prepared)), wanted);
        let sequence = stamp.sequence;
        for (const { bytes, count } of prepared.batches) {
          assert.equal(new RecordBatch(bytes).baseSequence, sequence);
          assert.equal(new RecordBatch(bytes).producerId, 77n);
          sequence = (sequence + count) % 2 ** 31;
        }
        assert.equal(prepared.nextSequence, sequence);
      }),
      { numRuns: 150 },
    );
  });

  it('makes one batch of small neighbours of one codec, and leaves large ones as they are', () => {
    const small: Part = { codec: 'none', records: variedRecords(10) };
    const large: Part = { codec: 'none', records: variedRecords(10, 1, 10_000) };
    const packed: Part = { codec: 'gzip', records: variedRecords(10) };

    const { batches } = prepareBatches(incoming([small, small, small, large, small, packed, packed]), stamp, limits);

    assert.deepEqual(
      batches.map(({ count, merged }) => [count, merged]),
      [
        [30, true],
        [10, false],
        [10, false],
        [20, true],
      ],
    );
  });

  it('makes no batch larger than the limit', () => {
    const parts: Part[] = Array.from({ length: 50 }, (_, i) => ({ codec: 'none', records: variedRecords(5, i, 300) }));

    const { batches } = prepareBatches(incoming(parts), stamp, { ...limits, batchBytesMax: 9_000 });

    assert.ok(batches.every(({ bytes }) => bytes.length <= 9_000));
    assert.ok(batches.length < 20);
  });

  it('leaves timestamps alone that are too far apart for one batch', () => {
    const at = (timestamp: bigint): Part => ({ codec: 'none', records: [{ timestamp, key: null, value: null }] });
    const parts = [at(0n), at(2n ** 62n), at(-1n), at(-(2n ** 62n)), at(7n)];

    const prepared = prepareBatches(incoming(parts), stamp, limits);

    assert.deepEqual(
      written(prepared).map((record) => record.timestamp),
      [0n, 2n ** 62n, -1n, -(2n ** 62n), 7n],
    );
  });

  for (const codec of codecNames) {
    it(`leaves out the records of a ${codec} batch that are below the position`, () => {
      const parts: Part[] = [{ codec, records: variedRecords(20) }];
      const all = printed(incoming(parts).flatMap(({ batch }) => decodeRecords(batch)));

      const prepared = prepareBatches(incoming(parts, 13), stamp, limits);

      assert.deepEqual(printed(written(prepared)), all.slice(13));
      assert.equal(new RecordBatch(prepared.batches[0]?.bytes as Buffer).codec, codec);
    });
  }

  it('refuses damaged batches instead of giving them a new checksum', () => {
    const damaged = incoming([{ codec: 'none', records: variedRecords(3) }]);
    const bytes = damaged[0]?.batch.bytes as Buffer;
    bytes.writeUInt8((bytes[80] ?? 0) ^ 1, 80);

    assert.throws(
      () => prepareBatches(damaged, stamp, limits),
      (error) => error instanceof BatchRefusal && error.offset === 1_000n,
    );
  });
});
