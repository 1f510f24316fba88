import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  batchHeaderBytes,
  decodeRecords,
  encodeBatch,
  type NewRecord,
  RecordBatch,
  readBatches,
  sequenceAfter,
  sizeOfVarint,
  sizeOfVarlong,
  writeVarint,
  writeVarlong,
} from '../../kafka/batches.ts';
import { codecNames } from '../../kafka/codecs.ts';
import { printed } from '../mirror/support.ts';

const bytes = fc.option(
  fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b)),
  { nil: null },
);
const record: fc.Arbitrary<NewRecord> = fc.record({
  timestamp: fc.oneof(
    fc.bigInt({ min: 1_600_000_000_000n, max: 1_900_000_000_000n }),
    fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n }),
    fc.constant(-1n),
  ),
  key: bytes,
  value: bytes,
  headers: fc.array(fc.record({ key: fc.string({ maxLength: 9 }).map((s) => Buffer.from(s)), value: bytes }), {
    maxLength: 3,
  }),
});
const records = fc.array(record, { minLength: 1, maxLength: 20 });

describe('record batches', () => {
  it('decode to the records that were encoded, in every codec', () => {
    fc.assert(
      fc.property(records, fc.constantFrom(...codecNames), (wanted, codec) => {
        const batch = encodeBatch({ records: wanted, codec });

        assert.ok(batch.crcMatches());
        assert.equal(batch.codec, codec);
        assert.equal(batch.nextOffset, BigInt(wanted.length));
        assert.deepEqual(
          printed(decodeRecords(batch)),
          printed(wanted.map((r, i) => ({ headers: [], ...r, offset: BigInt(i) }))),
        );
      }),
      { numRuns: 200 },
    );
  });

  it('are found one after the other, without one that is cut off', () => {
    const batches = [3, 1, 7].map((count) => {
      const some = Array.from({ length: count }, () => ({ timestamp: 1n, key: null, value: Buffer.from('v') }));
      return encodeBatch({ records: some }).bytes;
    });
    const whole = Buffer.concat(batches);

    for (let length = 0; length <= whole.length; length++) {
      const wanted = [3, 1, 7].filter(
        (_, i) => batches.slice(0, i + 1).reduce((sum, b) => sum + b.length, 0) <= length,
      );
      const found = [...readBatches(whole.subarray(0, length))].map((batch) => batch.recordCount);
      assert.deepEqual(found, wanted);
    }
  });

  it('take our stamp and keep their records', () => {
    const wanted: NewRecord[] = [{ timestamp: 5n, key: Buffer.from('k'), value: null }];
    const batch = encodeBatch({ records: wanted, codec: 'zstd', producerId: 9n, attributes: 0x10 | 0x40 });
    batch.bytes.writeBigInt64BE(1_000n, 0);

    batch.restamp(2n ** 40n, 2 ** 31 - 1);

    assert.ok(batch.crcMatches());
    const { producerId, producerEpoch, baseSequence, baseOffset, isTransactional, attributes } = batch;
    assert.deepEqual(
      [producerId, producerEpoch, baseSequence, baseOffset, isTransactional, attributes],
      [2n ** 40n, 0, 2 ** 31 - 1, 0n, false, 4],
    );
    assert.deepEqual(decodeRecords(batch)[0]?.key, Buffer.from('k'));
  });

  it('show a changed byte anywhere after the checksum', () => {
    const { bytes: good } = encodeBatch({ records: [{ timestamp: 5n, key: null, value: Buffer.from('value') }] });
    for (let at = 21; at < good.length; at++) {
      const bad = Buffer.from(good);
      bad.writeUInt8((bad[at] ?? 0) ^ 0x10, at);
      assert.equal(new RecordBatch(bad).crcMatches(), false, `byte ${at}`);
    }
  });

  it('of formats v0 and v1 are recognised', () => {
    // offset, size, crc, magic, attributes, [timestamp], key, value
    const entry = (magic: number, rest: number) => {
      const message = Buffer.alloc(12 + 6 + rest);
      message.writeBigInt64BE(77n, 0);
      message.writeInt32BE(6 + rest, 8);
      message.writeInt8(magic, 16);
      return message;
    };

    const found = [...readBatches(Buffer.concat([entry(0, 8), entry(1, 16)]))];

    assert.deepEqual(
      found.map((batch) => [batch.magic, batch.baseOffset, batch.nextOffset]),
      [
        [0, 77n, 78n],
        [1, 77n, 78n],
      ],
    );
  });

  it('with records that point outside are refused', () => {
    const batch = encodeBatch({ records: [{ timestamp: 5n, key: null, value: Buffer.alloc(100) }] });
    batch.bytes.set([0xfe, 0x7f], batchHeaderBytes + 6); // the value's length becomes 8,191
    assert.throws(() => decodeRecords(batch), RangeError);
  });

  it('number sequences as the broker does, around the end of 31 bits', () => {
    assert.equal(sequenceAfter(2 ** 31 - 1, 1), 0);
    assert.equal(sequenceAfter(2 ** 31 - 1, 2), 1);
    assert.equal(sequenceAfter(-1, 1), 0);
  });

  it('write numbers in as many bytes as they say', () => {
    const out = Buffer.alloc(16);
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), (n) => {
        assert.equal(writeVarint(out, 0, n), sizeOfVarint(n));
      }),
    );
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 51), max: 2 ** 51 }), (n) => {
        const end = writeVarlong(out, 0, n);
        assert.equal(end, sizeOfVarlong(n));
        let zigzag = 0n;
        for (let i = 0; i < end; i++) zigzag |= BigInt((out[i] ?? 0) & 0x7f) << BigInt(7 * i);
        assert.equal((zigzag >> 1n) ^ -(zigzag & 1n), BigInt(n));
      }),
    );
  });
});
