import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { assembleBatch, encodeBatch, type NewRecord, RecordBatch, RecordCursor } from '../../kafka/batches.ts';
import type { Codec } from '../../kafka/codecs.ts';
import { Comparison } from '../../mirror/audit-compare.ts';
import { blockBorder, blockOffsets, parseDigest } from '../../mirror/audit-digest.ts';
import type { Fetched } from '../../mirror/audit-log.ts';
import { Memory } from '../../mirror/memory.ts';
import { variedRecords } from './support.ts';

function at(baseOffset: bigint, records: readonly NewRecord[], codec: Codec = 'none'): Buffer {
  const { bytes } = encodeBatch({ records, codec });
  bytes.writeBigInt64BE(baseOffset, 0);
  return bytes;
}

/** Splits records into batches of the given sizes, over and over. */
function inBatches(
  records: readonly NewRecord[],
  sizes: readonly number[],
  codecs: readonly Codec[],
  first = 0n,
): Buffer {
  const batches: Buffer[] = [];
  for (let i = 0, n = 0; i < records.length; n++) {
    const size = sizes[n % sizes.length] ?? 1;
    batches.push(at(first + BigInt(i), records.slice(i, i + size), codecs[n % codecs.length]));
    i += size;
  }
  return Buffer.concat(batches);
}

/** An answer that holds all of a log's end. */
function fetched(records: Buffer, more: Partial<Fetched> = {}): Fetched {
  const end = 2n ** 40n;
  return { records, abortedTransactions: [], lastStableOffset: end, highWatermark: end, ...more };
}

function begun(from = 0n, starts = { source: 0n, target: 0n }): Comparison {
  const comparison = new Comparison('topic', 0, new Memory());
  comparison.begin(from, starts);
  return comparison;
}

function compare(source: Buffer, target: Buffer, from = 0n, starts = { source: 0n, target: 0n }): Comparison {
  const comparison = begun(from, starts);
  comparison.source.take(fetched(source));
  comparison.target.take(fetched(target));
  comparison.run(undefined);
  return comparison;
}

const records = variedRecords(200);
const changed = (index: number, change: Partial<NewRecord>) =>
  records.map((record, i) => (i === index ? { ...record, ...change } : record));

describe('comparing two logs', () => {
  it('finds equal records equal, whatever their batches and codecs', () => {
    const one = compare(inBatches(records, [7, 1, 30], ['none', 'gzip']), inBatches(records, [200], ['zstd']));
    const other = compare(inBatches(records, [13], ['lz4']), inBatches(records, [13], ['lz4']));

    for (const { differences, proven } of [one, other]) {
      assert.deepEqual([differences, proven.position, proven.records], [0, 200n, 200]);
    }
    assert.equal(one.proven.digest, other.proven.digest);
  });

  for (const [kind, index, change] of [
    ['key', 17, { key: Buffer.from('other') }],
    ['key', 17, { key: null }],
    ['value', 41, { value: Buffer.from('other') }],
    ['value', 40, { value: Buffer.alloc(0) }],
    ['headers', 16, { headers: [] }],
    ['headers', 17, { headers: [{ key: Buffer.from('a'), value: null }] }],
    ['timestamp', 199, { timestamp: 5n }],
    ['timestamp', 3, { timestamp: 2n ** 62n }],
  ] as const) {
    it(`finds another ${kind} at offset ${index}: ${JSON.stringify(Object.keys(change))}`, () => {
      const found = compare(inBatches(records, [50], ['none']), inBatches(changed(index, change), [20], ['snappy']));

      assert.equal(found.differences, 1);
      assert.equal(found.first?.kind, kind);
      assert.equal(found.first?.offset, BigInt(index));
      assert.notEqual(found.first?.sourceHash, found.first?.targetHash);
    });
  }

  it('sees the order of headers, and the difference of a null to an empty value', () => {
    const a = { key: Buffer.from('a'), value: null };
    const b = { key: Buffer.from('b'), value: Buffer.alloc(0) };
    const one: NewRecord = { timestamp: 1n, key: null, value: null, headers: [a, b] };
    const swapped = { ...one, headers: [b, a] };
    const emptied = { ...one, headers: [{ ...a, value: Buffer.alloc(0) }, b] };

    for (const other of [swapped, emptied])
      assert.equal(compare(at(0n, [one]), at(0n, [other])).first?.kind, 'headers');
  });

  it('finds what only one side has', () => {
    const whole = inBatches(records, [10], ['none']);
    const batches = (except: number) =>
      Buffer.concat([at(0n, records.slice(0, except)), at(BigInt(except + 3), records.slice(except + 3))]);

    const missing = compare(whole, batches(60));
    const extra = compare(batches(70), whole);

    assert.deepEqual([missing.differences, missing.first?.kind, missing.first?.offset], [3, 'missing', 60n]);
    assert.equal(missing.first?.targetHash, null);
    assert.deepEqual([extra.differences, extra.first?.kind, extra.first?.offset], [3, 'extra', 70n]);
    assert.equal(extra.proven.records, 197);
  });

  it('takes a hole on both sides for equal', () => {
    const holed = Buffer.concat([at(0n, records.slice(0, 5)), at(90n, records.slice(90))]);

    const found = compare(holed, inBatches(records.slice(90), [9], ['gzip'], 90n), 90n);
    const both = compare(holed, holed);

    assert.deepEqual([found.differences, both.differences, both.proven.records], [0, 0, 115]);
  });

  it('calls missing what lies below the log start of the target', () => {
    const found = compare(inBatches(records, [10], ['none']), inBatches(records.slice(30), [10], ['none'], 30n), 0n, {
      source: 0n,
      target: 30n,
    });

    assert.deepEqual([found.differences, found.first?.kind, found.first?.offset], [30, 'missing', 0n]);
    // A fetch from a log start in the middle of a batch gives the whole batch.
    const inBatch = compare(at(0n, records), at(0n, records), 0n, { source: 0n, target: 30n });
    assert.deepEqual([inBatch.differences, inBatch.first?.kind, inBatch.position], [30, 'missing', 200n]);
  });

  it('judges nothing beyond what both sides have read', () => {
    const comparison = begun();
    comparison.source.take(fetched(inBatches(records, [10], ['none'])));
    comparison.run(undefined);
    assert.equal(comparison.position, 0n);

    comparison.target.take(fetched(inBatches(records.slice(0, 120), [40], ['none'])));
    comparison.run(100n);
    assert.deepEqual([comparison.position, comparison.proven.records], [100n, 100]);
    comparison.run(150n);

    assert.deepEqual([comparison.position, comparison.proven.records, comparison.differences], [120n, 120, 0]);
  });

  it('keeps an answer as long as any of it is to be compared, and no longer', () => {
    const memory = new Memory();
    const comparison = new Comparison('topic', 0, memory);
    comparison.begin(0n, { source: 0n, target: 0n });
    const inMemoryOfItsOwn = (bytes: Buffer) => Buffer.from(new Uint8Array(bytes).buffer);
    const whole = inMemoryOfItsOwn(inBatches(records, [10], ['none']));
    const half = inMemoryOfItsOwn(inBatches(records.slice(0, 100), [10], ['none']));

    comparison.source.take(fetched(whole));
    comparison.target.take(fetched(half));
    const unread = memory.bytes;
    comparison.run(undefined);
    const halfRead = [memory.bytes, comparison.source.bytesHeld, comparison.target.bytesHeld];
    comparison.target.take(fetched(inBatches(records.slice(100), [10], ['none'], 100n)));
    comparison.run(undefined);
    const read = memory.bytes;
    const damaged = inMemoryOfItsOwn(whole);
    damaged.writeUInt8((damaged[whole.length - 1] ?? 0) ^ 1, whole.length - 1);
    comparison.begin(0n, { source: 0n, target: 0n });
    assert.throws(() => comparison.source.take(fetched(damaged)), /checksum/);
    const untilItBeginsAgain = memory.bytes;
    comparison.begin(0n, { source: 0n, target: 0n });

    assert.equal(unread, whole.length + half.length);
    assert.deepEqual(halfRead, [whole.length, whole.length, 0]);
    assert.deepEqual([read, untilItBeginsAgain, memory.bytes], [0, damaged.length, 0]);
  });

  it('refuses a batch whose checksum is wrong', () => {
    const damaged = Buffer.from(at(0n, records));
    damaged.writeUInt8((damaged[100] ?? 0) ^ 1, 100);

    assert.throws(() => begun().target.take(fetched(damaged)), /checksum/);
  });

  it('finds records equal whose lengths are written longer than need be', () => {
    const plain = encodeBatch({ records: [{ timestamp: 9n, key: Buffer.from('k'), value: Buffer.from('v') }] });
    const cursor = new RecordCursor(plain.records);
    assert.ok(cursor.next());
    // The key's length, 2 as a varint, written as two bytes: 0x82 0x00.
    const body = Buffer.concat([Buffer.from([0x82, 0x00]), plain.records.subarray(cursor.bodyStart + 1)]);
    const encoded = Buffer.concat([Buffer.from([(3 + body.length) * 2, 0, 0, 0]), body]);
    const fields = { recordCount: 1, baseTimestamp: 9n, maxTimestamp: 9n, producerId: -1n, baseSequence: -1 };
    const longer = assembleBatch(encoded, { codec: 'none', ...fields });

    assert.equal(compare(plain.bytes, longer.bytes).differences, 0);
    assert.ok(longer instanceof RecordBatch);
  });
});

describe("the audit's digest", () => {
  const many = variedRecords(blockOffsets * 2 + 500, 0, 0);

  it('is the same wherever the audit was interrupted', () => {
    const whole = compare(inBatches(many, [1000], ['none']), inBatches(many, [777], ['none']));

    for (const position of [1n, 500n, BigInt(blockOffsets), BigInt(blockOffsets) + 9n, BigInt(blockOffsets * 2)]) {
      const before = begun();
      before.source.take(fetched(inBatches(many, [1000], ['none'])));
      before.target.take(fetched(inBatches(many, [1000], ['none'])));
      before.run(position);
      const parsed = parseDigest(before.proven.digest);
      assert.ok(parsed);
      const from = blockBorder(position);
      const resumed = new Comparison('topic', 0, new Memory());
      resumed.begin(from, { source: 0n, target: 0n }, { ...before.proven, ...parsed, position });
      const rest = many.slice(Number(from));
      resumed.source.take(fetched(inBatches(rest, [64], ['lz4'], from)));
      resumed.target.take(fetched(inBatches(rest, [1000], ['none'], from)));
      resumed.run(undefined);

      assert.equal(resumed.proven.digest, whole.proven.digest, `resumed at ${position}`);
      assert.equal(resumed.proven.records, many.length);
    }
  });

  it('is what its description says, whatever the sizes and times of records, and however many partitions take turns', () => {
    const sizes = [3, 5_000, 17_000, 120_000, 16_384, 12_000, 12_000];
    const times = [0n, -(2n ** 40n), 2n ** 40n, -(2n ** 60n), 2n ** 62n];
    const sized = Array.from({ length: 2 * blockOffsets + 9 }, (_, i): NewRecord => {
      // As many in a row as no chunk holds.
      const bytes = i < blockOffsets ? sizes[i % sizes.length] : 12_000;
      const timestamp = (times[i % times.length] ?? 0n) + BigInt(i);
      return { timestamp, key: i % 3 === 0 ? null : Buffer.from(`${i}`), value: Buffer.alloc(bytes ?? 0, i) };
    });
    const sha256 = (...parts: Buffer[]) => createHash('sha256').update(Buffer.concat(parts)).digest();
    const int64 = (value: bigint) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64BE(value);
      return bytes;
    };
    const links = [sha256(Buffer.from('kafka-cutover audit 2 0'))];
    for (let block = 0; block < sized.length; block += blockOffsets) {
      const encoded = sized.slice(block, block + blockOffsets).flatMap((record, i) => {
        const cursor = new RecordCursor(encodeBatch({ records: [record] }).records);
        assert.ok(cursor.next());
        return [
          Buffer.from([0, 0, 0, i]),
          int64(record.timestamp),
          cursor.bytes.subarray(cursor.bodyStart, cursor.end),
        ];
      });
      links.push(sha256(links.at(-1) as Buffer, int64(BigInt(block)), ...encoded));
    }
    const both = [begun(), begun()];

    // Answers end within a block.
    for (const { from, to } of [0, 40, 80, 120].map((at) => ({ from: at, to: at === 120 ? sized.length : at + 40 }))) {
      for (const comparison of both) {
        const bytes = inBatches(sized.slice(from, to), [11], ['none'], BigInt(from));
        comparison.source.take(fetched(bytes));
        comparison.target.take(fetched(bytes));
        comparison.run(undefined);
      }
    }

    const [tail, chain] = [links.at(-1), links.at(-2)].map((link) => link?.toString('hex'));
    for (const { proven } of both) assert.equal(proven.digest, `2:0:${chain}:${tail}`);
  });

  it('is another one for another record, order or start', () => {
    const digest = (changedRecords: readonly NewRecord[], from = 0n) => {
      const bytes = inBatches(changedRecords, [100], ['none']);
      return compare(bytes, bytes, from).proven.digest;
    };
    const swapped = [...records];
    [swapped[5], swapped[6]] = [records[6] as NewRecord, records[5] as NewRecord];

    const digests = [digest(records), digest(changed(3, { timestamp: 1n })), digest(swapped), digest(records, 1n)];

    assert.equal(new Set(digests).size, 4);
  });
});
