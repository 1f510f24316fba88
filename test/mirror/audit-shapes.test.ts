/** What the audit takes for equal, and what it must not, in logs of every shape; each made here batch by batch. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crc32 } from '@node-rs/crc32';
import { assembleBatch, encodeBatch, type NewRecord, RecordCursor } from '../../kafka/batches.ts';
import type { Codec } from '../../kafka/codecs.ts';
import { Comparison, type ComparisonOptions, TooManyKeys } from '../../mirror/audit-compare.ts';
import { parseDigest } from '../../mirror/audit-digest.ts';
import type { Fetched } from '../../mirror/audit-log.ts';
import { fillerRecords } from '../../mirror/filler.ts';
import { Memory } from '../../mirror/memory.ts';
import { variedRecords } from './support.ts';

const transactionalBit = 0x10;
const controlBit = 0x20;
const logAppendTimeBit = 0x08;
const records = variedRecords(100);
const some = (from: number, to: number): readonly NewRecord[] => records.slice(from, to);

interface How {
  readonly codec?: Codec;
  /** A transaction of this producer. */
  readonly producerId?: bigint;
  readonly attributes?: number;
}

function at(
  baseOffset: number,
  content: readonly NewRecord[],
  { producerId, attributes = 0, codec = 'none' }: How = {},
) {
  const transactional = producerId === undefined ? 0 : transactionalBit;
  const { bytes } = encodeBatch({
    records: content,
    codec,
    attributes: attributes | transactional,
    producerId: producerId ?? -1n,
  });
  bytes.writeBigInt64BE(BigInt(baseOffset), 0);
  return bytes;
}

function marker(offset: number, producerId = 7n, type: 'abort' | 'commit' = 'abort') {
  const key = Buffer.from([0, 0, 0, type === 'abort' ? 0 : 1]);
  const value = Buffer.alloc(6);
  return at(offset, [{ timestamp: 1n, key, value }], { producerId, attributes: controlBit });
}

const markers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => marker(from + i));

/** A batch of a compacted log: of its records only these are left. */
function sparse(baseOffset: number, left: ReadonlyMap<number, NewRecord>, lastOffset: number, codec: Codec = 'none') {
  const bodies = [...left].map(([offset, record]) => {
    const cursor = new RecordCursor(encodeBatch({ records: [{ ...record, timestamp: 0n }] }).records);
    cursor.next();
    // Length, attributes and deltas anew; the deltas of this test fit into a byte.
    const body = cursor.bytes.subarray(cursor.bodyStart, cursor.end);
    return Buffer.concat([Buffer.from([(3 + body.length) * 2, 0, 0, (offset - baseOffset) * 2]), body]);
  });
  const fields = {
    codec,
    recordCount: left.size,
    baseTimestamp: 5n,
    maxTimestamp: 5n,
    producerId: -1n,
    baseSequence: -1,
  };
  const { bytes } = assembleBatch(Buffer.concat(bodies), fields);
  bytes.writeBigInt64BE(BigInt(baseOffset), 0);
  bytes.writeInt32BE(lastOffset - baseOffset, 23);
  return restamped(bytes);
}

/** The checksum made right again. */
function restamped(bytes: Buffer): Buffer {
  const batch = encodeBatch({ records: [] });
  const copy = new (batch.constructor as new (b: Buffer) => typeof batch)(bytes);
  const offset = copy.baseOffset;
  copy.restamp(copy.producerId, copy.baseSequence);
  bytes.writeBigInt64BE(offset, 0);
  return bytes;
}

const keyed = (key: string, value: string | null): NewRecord => ({
  timestamp: 5n,
  key: Buffer.from(key),
  value: value === null ? null : Buffer.from(value),
});

interface Log {
  readonly batches: readonly Buffer[];
  /** Where each producer's aborted transaction began. */
  readonly aborted?: readonly (readonly [producerId: bigint, firstOffset: number])[];
  readonly end?: bigint;
}

function answer({ batches, aborted = [], end = 2n ** 40n }: Log): Fetched {
  return {
    records: Buffer.concat(batches),
    abortedTransactions: aborted.map(([producerId, first]) => ({ producerId, firstOffset: BigInt(first) })),
    lastStableOffset: end,
    highWatermark: end,
  };
}

function begun(options: ComparisonOptions = {}): Comparison {
  const comparison = new Comparison('topic', 0, new Memory(), options);
  comparison.begin(0n, { source: 0n, target: 0n });
  return comparison;
}

function compare(source: Log, target: Log, options: ComparisonOptions = {}): Comparison {
  const comparison = begun(options);
  comparison.source.take(answer(source));
  comparison.target.take(answer(target));
  comparison.run(undefined);
  return comparison;
}

const plain = (...batches: readonly Buffer[]): Log => ({ batches });
const abortedBy = (producerId: bigint, first: number, ...batches: readonly Buffer[]): Log => ({
  batches,
  aborted: [[producerId, first]],
});
const found = ({ differences, first }: Comparison) => [differences, first?.kind, first && Number(first.offset)];
const equal = [0, undefined, null];

describe('transactions', () => {
  const before = at(0, some(0, 3));
  const behind = at(8, some(8, 12));
  const source = abortedBy(7n, 3, before, at(3, some(3, 7), { producerId: 7n }), marker(7), behind);

  it('are equal where aborted records are kept under another producer', () => {
    const compared = compare(
      source,
      abortedBy(90n, 3, before, at(3, some(3, 7), { producerId: 90n }), marker(7, 90n), behind),
    );

    assert.deepEqual(found(compared), equal);
    assert.deepEqual([compared.proven.abortedNotKept, compared.proven.records], [0, 7]);
  });

  it('are equal where aborted records became markers, and those are counted', () => {
    const compared = compare(source, plain(before, ...markers(3, 8), behind));

    assert.deepEqual(found(compared), equal);
    assert.deepEqual([compared.proven.abortedNotKept, compared.proven.records], [4, 7]);
  });

  it('have one digest, whether aborted records are kept or not', () => {
    const digest = (target: Log) => compare(source, target).proven.digest;
    const without = compare(plain(before, ...markers(3, 8), behind), plain(before, ...markers(3, 8), behind));

    assert.equal(digest(source), digest(plain(before, ...markers(3, 8), behind)));
    assert.equal(digest(source), without.proven.digest);
  });

  it('differ where an aborted record became visible', () => {
    const visible = compare(source, plain(before, at(3, some(3, 7)), marker(7), behind));
    const committed = compare(
      source,
      plain(before, at(3, some(3, 7), { producerId: 90n }), marker(7, 90n, 'commit'), behind),
    );

    assert.deepEqual(found(visible), [4, 'extra', 3]);
    assert.deepEqual(found(committed), [4, 'extra', 3]);
  });

  it('differ where a kept aborted record has other content', () => {
    const other = [
      records[3] as NewRecord,
      { ...(records[4] as NewRecord), value: Buffer.from('other') },
      ...some(5, 7),
    ];

    const compared = compare(
      source,
      abortedBy(90n, 3, before, at(3, other, { producerId: 90n }), marker(7, 90n), behind),
    );

    assert.deepEqual(found(compared), [1, 'value', 4]);
  });

  it('differ where a committed record became aborted or is not there', () => {
    const committed = plain(before, at(3, some(3, 7), { producerId: 7n }), marker(7, 7n, 'commit'), behind);

    assert.deepEqual(found(compare(committed, source)), [4, 'missing', 3]);
    assert.deepEqual(found(compare(committed, plain(before, ...markers(3, 8), behind))), [4, 'missing', 3]);
  });

  it('differ where an aborted record stands at the offset of a marker', () => {
    const compared = compare(
      plain(before, marker(3), marker(4), behind),
      abortedBy(90n, 3, before, at(3, some(3, 4), { producerId: 90n }), marker(4, 90n), behind),
    );

    assert.deepEqual(found(compared), [1, 'extra', 3]);
  });

  it('differ from the first slot on that one marker too many has shifted', () => {
    const shifted = plain(before, ...markers(3, 9), at(9, some(8, 12)));

    const compared = compare(source, shifted);

    assert.equal(compared.first?.offset, 8n);
    assert.equal(compared.first?.kind, 'missing');
  });

  it('of several producers are told apart, also from what each wrote before and after', () => {
    const one = (offset: number, producerId?: bigint) =>
      at(offset, some(offset, offset + 1), producerId === undefined ? {} : { producerId });
    const interleaved: Log = {
      batches: [
        one(0, 1n),
        one(1, 2n),
        one(2),
        one(3, 1n),
        marker(4, 1n),
        one(5, 2n),
        marker(6, 2n, 'commit'),
        one(7, 1n),
        marker(8, 1n, 'commit'),
        one(9, 2n),
        marker(10, 2n),
        one(11),
      ],
      aborted: [
        [2n, 9],
        [1n, 0],
      ],
    };
    const visible = [1, 2, 5, 7, 11];
    const dropped = plain(...Array.from({ length: 12 }, (_, i) => (visible.includes(i) ? one(i) : marker(i))));

    const compared = compare(interleaved, dropped);

    assert.deepEqual(found(compared), equal);
    assert.deepEqual([compared.proven.records, compared.proven.abortedNotKept], [5, 3]);
    for (const offset of visible) {
      const hidden = plain(
        ...Array.from({ length: 12 }, (_, i) => (visible.includes(i) && i !== offset ? one(i) : marker(i))),
      );
      assert.deepEqual(found(compare(interleaved, hidden)), [1, 'missing', offset]);
    }
  });

  it('that are told aborted by one answer count anew in the next', () => {
    const comparison = begun();
    comparison.source.take(answer(abortedBy(7n, 0, at(0, some(0, 3), { producerId: 7n }))));
    // The next answer begins in the middle, and tells of the transaction again.
    comparison.source.take(
      answer(abortedBy(7n, 0, at(3, some(3, 5), { producerId: 7n }), marker(5), at(6, some(6, 8), { producerId: 7n }))),
    );
    comparison.target.take(answer(plain(...markers(0, 6), at(6, some(6, 8)))));
    comparison.run(undefined);

    assert.deepEqual(found(comparison), equal);
    assert.deepEqual([comparison.proven.abortedNotKept, comparison.proven.records], [5, 2]);
  });

  it('that are open are left alone until they end', () => {
    const comparison = begun();
    const open = at(3, some(3, 7), { producerId: 7n });
    comparison.source.take({ ...answer(plain(before, open)), lastStableOffset: 3n, highWatermark: 7n });
    comparison.target.take(answer(plain(before, ...markers(3, 8))));
    comparison.run(undefined);
    assert.deepEqual([...found(comparison), comparison.position], [...equal, 3n]);

    comparison.source.take(answer(abortedBy(7n, 3, open, marker(7))));
    comparison.run(undefined);
    assert.deepEqual([...found(comparison), comparison.position], [...equal, 8n]);
  });
});

describe('records where the other log has nothing', () => {
  const empty = { timestamp: 5n, key: null, value: null };
  const source = plain(at(0, some(0, 3)), at(4, some(4, 6)));

  it('differ, also empty ones that look like filler of a trimmed head', () => {
    const filler = Buffer.from(fillerRecords(1).bytes);
    filler.writeBigInt64BE(3n, 0);
    for (const blank of [filler, at(3, [empty])]) {
      const target = plain(at(0, some(0, 3)), blank, at(4, some(4, 6)));
      assert.deepEqual(found(compare(source, target)), [1, 'extra', 3]);
      assert.deepEqual(found(compare(target, source)), [1, 'missing', 3]);
    }
  });

  it('differ where the source has aborted ones', () => {
    const aborted = abortedBy(7n, 3, at(0, some(0, 3)), at(3, some(3, 4), { producerId: 7n }), marker(4));
    assert.deepEqual(found(compare(aborted, plain(at(0, some(0, 3)), at(3, [empty]), marker(4)))), [1, 'extra', 3]);
  });

  it('are equal where both have empty ones', () => {
    const blank = plain(at(0, [empty, empty, empty]));
    assert.deepEqual(found(compare(blank, blank)), equal);
    assert.deepEqual(found(compare(blank, plain(at(0, [empty, empty]), marker(2)))), [1, 'missing', 2]);
  });
});

describe('batches that a target has in another form', () => {
  it('with LogAppendTime count with the time of the batch on every record', () => {
    const source = at(0, some(0, 50), { attributes: logAppendTimeBit, codec: 'lz4' });
    const batchTime = source.readBigInt64BE(35);
    const stamped = some(0, 50).map((record) => ({ ...record, timestamp: batchTime }));

    assert.deepEqual(found(compare(plain(source), plain(at(0, stamped)))), equal);
    const [differences, kind] = found(compare(plain(source), plain(at(0, some(0, 50)))));
    assert.deepEqual([kind, Number(differences) >= 49], ['timestamp', true]);
  });

  it('sparse on the source are compared record by record, with every codec', () => {
    const left = new Map([2, 3, 9].map((offset) => [offset, keyed(`k${offset}`, `${offset}`)]));
    const dense = [at(2, [keyed('k2', '2'), keyed('k3', '3')]), ...markers(4, 9), at(9, [keyed('k9', '9')])];
    for (const codec of ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const) {
      const source = plain(sparse(0, left, 11, codec));

      assert.deepEqual(found(compare(source, plain(...markers(0, 2), ...dense, ...markers(10, 12)))), equal, codec);
      const wrong = plain(...markers(0, 2), ...dense.slice(0, -1), at(9, [keyed('k9', 'other')]), ...markers(10, 12));
      assert.deepEqual(found(compare(source, wrong)), [1, 'value', 9], codec);
    }
  });

  it('of message format v0 and v1 are compared with what v2 makes of them', () => {
    const entry = (magic: 0 | 1, offset: number, timestamp: bigint, key: string | null, value: string) => {
      const field = (text: string | null) => {
        const length = Buffer.alloc(4);
        length.writeInt32BE(text === null ? -1 : text.length);
        return Buffer.concat([length, Buffer.from(text ?? '')]);
      };
      const stamp = Buffer.alloc(magic === 1 ? 8 : 0);
      if (magic === 1) stamp.writeBigInt64BE(timestamp);
      const message = Buffer.concat([Buffer.from([magic, 0]), stamp, field(key), field(value)]);
      const head = Buffer.alloc(16);
      head.writeBigInt64BE(BigInt(offset), 0);
      head.writeInt32BE(4 + message.length, 8);
      head.writeUInt32BE(crc32(message), 12);
      return Buffer.concat([head, message]);
    };
    const source = plain(entry(0, 0, 0n, 'a', 'x'), entry(1, 1, 44n, null, 'y'), entry(1, 4, 45n, 'b', 'z'));
    const record = (timestamp: bigint, key: string | null, value: string): NewRecord => ({
      timestamp,
      key: key === null ? null : Buffer.from(key),
      value: Buffer.from(value),
    });
    const target = (b: string) =>
      plain(at(0, [record(-1n, 'a', 'x'), record(44n, null, 'y')]), marker(2), marker(3), at(4, [record(45n, b, 'z')]));

    assert.deepEqual(found(compare(source, target('b'))), equal);
    assert.deepEqual(found(compare(source, target('c'))), [1, 'key', 4]);
    const damaged = entry(1, 0, 1n, 'k', 'v');
    damaged.writeUInt8(9, damaged.length - 1);
    assert.throws(() => begun().source.take(answer(plain(damaged))), /checksum/);
  });

  it('goes on behind a hole at the end of a log, once its broker has had nothing to give twice', () => {
    const comparison = begun();
    const nothing = answer({ batches: [], end: 9n });
    comparison.source.take(answer({ batches: [at(0, some(0, 3))], end: 9n }));
    comparison.target.take(answer({ batches: [at(0, some(0, 3)), ...markers(3, 9)], end: 9n }));
    comparison.source.take(nothing, true);
    comparison.run(undefined);
    assert.equal(comparison.position, 3n);

    comparison.source.take(nothing, true);
    comparison.run(undefined);

    assert.deepEqual([...found(comparison), comparison.position], [...equal, 9n]);
  });
});

describe('compacted topics', () => {
  const compacted = { compacted: true };
  const log = (end: number, content: Readonly<Record<number, NewRecord>>): Log => ({
    batches: Array.from({ length: end }, (_, offset) => {
      const record = content[offset];
      return record ? at(offset, [record]) : marker(offset);
    }),
    end: BigInt(end),
  });

  it('may lack on the source what a later record supersedes there', () => {
    const target = log(10, { 0: keyed('a', '1'), 1: keyed('b', '1'), 5: keyed('a', '2'), 6: keyed('b', null) });
    const source = log(10, { 5: keyed('a', '2'), 6: keyed('b', null) });

    const compared = compare(source, target, compacted);

    assert.deepEqual(found(compared), equal);
    assert.deepEqual([compared.proven.superseded, compared.proven.position], [2, 10n]);
  });

  it('may lack on the target what a later record supersedes there', () => {
    const source = log(10, { 0: keyed('a', '1'), 5: keyed('a', '2') });
    const target = log(10, { 5: keyed('a', '2') });

    assert.deepEqual(found(compare(source, target, compacted)), equal);
  });

  it('differ in such records where the topic is not compacted', () => {
    const whole = log(10, { 0: keyed('a', '1'), 5: keyed('a', '2') });
    const cleaned = log(10, { 5: keyed('a', '2') });

    assert.deepEqual(found(compare(cleaned, whole)), [1, 'extra', 0]);
    assert.deepEqual(found(compare(whole, cleaned)), [1, 'missing', 0]);
  });

  it('show a key that lives on the target alone: a missed tombstone', () => {
    const target = log(10, { 0: keyed('a', '1'), 3: keyed('b', '1'), 7: keyed('b', '2') });
    const source = log(10, { 7: keyed('b', '2') });

    const compared = compare(source, target, compacted);

    assert.deepEqual(found(compared), [1, 'resurrected', 0]);
    assert.equal(compared.proven.superseded, 1);
  });

  it('show a tombstone, and a value, that the target never got', () => {
    const tombstone = log(10, { 5: keyed('a', null) });
    const value = log(10, { 5: keyed('a', '2') });

    assert.deepEqual(found(compare(tombstone, log(10, { 0: keyed('a', '1') }), compacted)), [1, 'missing', 5]);
    assert.deepEqual(found(compare(value, log(10, {}), compacted)), [1, 'missing', 5]);
  });

  it('are equal where both deleted the key, and only the target still shows by what', () => {
    const target = log(10, { 0: keyed('a', '1'), 5: keyed('a', null) });

    const compared = compare(log(10, {}), target, compacted);

    assert.deepEqual(found(compared), equal);
    assert.equal(compared.proven.superseded, 2);
  });

  it('may lack aborted records on either side, which cleaners remove first', () => {
    const kept = { ...abortedBy(9n, 0, at(0, [keyed('a', '1')], { producerId: 9n }), marker(1, 9n)), end: 2n };

    assert.deepEqual(found(compare(log(2, {}), kept, compacted)), equal);
    assert.deepEqual(found(compare(kept, log(2, {}), compacted)), equal);
  });

  it('never excuse a record without a key, nor a committed one that became aborted', () => {
    const unkeyed = { timestamp: 5n, key: null, value: Buffer.from('x') };
    const hidden = { ...abortedBy(9n, 0, at(0, [keyed('a', '1')], { producerId: 9n }), marker(1, 9n)), end: 2n };

    assert.deepEqual(found(compare(log(2, { 0: unkeyed }), log(2, {}), compacted)), [1, 'missing', 0]);
    assert.deepEqual(found(compare(log(2, {}), log(2, { 0: unkeyed }), compacted)), [1, 'extra', 0]);
    assert.deepEqual(found(compare(log(2, { 0: keyed('a', '1') }), hidden, compacted)), [1, 'missing', 0]);
  });

  it('prove nothing from an unresolved key on, and all of it once the key is met', () => {
    const comparison = begun(compacted);
    const target = log(10, { 0: keyed('b', '0'), 2: keyed('a', '1'), 9: keyed('a', '2') });
    comparison.target.take(answer(target));
    comparison.source.take({ ...answer(log(6, { 0: keyed('b', '0') })), lastStableOffset: 10n });
    comparison.run(undefined);
    assert.deepEqual([comparison.proven.position, comparison.proven.records, comparison.position], [2n, 1, 6n]);
    assert.equal(parseDigest(comparison.proven.digest)?.start, 0n);

    comparison.source.take(answer({ batches: [...markers(6, 9), at(9, [keyed('a', '2')])], end: 10n }));
    comparison.run(undefined);

    assert.deepEqual([comparison.proven.position, comparison.proven.records, comparison.differences], [10n, 2, 0]);
  });

  it('read on in the source, beyond where they are to be compared, before they judge', () => {
    const source = (key: string) => log(10, { 9: keyed(key, '2') });
    for (const [key, wanted] of [
      ['a', equal],
      ['b', [1, 'resurrected', 0]],
    ] as const) {
      const comparison = begun(compacted);
      comparison.target.take(answer(log(4, { 0: keyed('a', '1') })));
      comparison.source.take({ ...answer(log(4, {})), lastStableOffset: 10n });
      comparison.run(4n);
      assert.equal(comparison.proven.position, 0n, 'not judged before the source ends');

      comparison.source.take(answer({ batches: source(key).batches.slice(4), end: 10n }));
      comparison.run(4n);

      assert.deepEqual([...found(comparison), comparison.proven.position], [...wanted, 4n]);
    }
  });

  it('hold so many keys at most, and read the source twice where there are more', () => {
    const keys = 8;
    const superseded = (n: number) => Object.fromEntries(Array.from({ length: n }, (_, i) => [i, keyed(`k${i}`, '1')]));
    const later = (n: number) =>
      Object.fromEntries(Array.from({ length: n }, (_, i) => [keys + i, keyed(`k${i}`, '2')]));
    const whole = log(2 * keys, { ...superseded(keys), ...later(keys) });
    const cleaned = log(2 * keys, later(keys));
    const comparison = begun({ ...compacted, unresolvedKeysMax: 4 });
    comparison.target.take(answer(whole));
    let reads = 0;
    while (comparison.position < 2n * BigInt(keys)) {
      assert.ok(++reads < 20);
      const { nextFetch } = comparison.source;
      comparison.source.take(answer({ ...cleaned, batches: cleaned.batches.slice(Number(nextFetch)) }));
      comparison.run(undefined);
    }

    assert.deepEqual(found(comparison), equal);
    assert.deepEqual([reads, comparison.proven.superseded, comparison.proven.records], [3, keys, keys]);
  });

  it('are judged beyond the boundary only when the target, the origin there, has been read to its end', () => {
    const cleaned = log(10, { 0: keyed('a', '1'), 9: keyed('b', '1') });
    const target = log(20, { 0: keyed('a', '1'), 5: keyed('c', '1'), 9: keyed('b', '1'), 15: keyed('c', '2') });
    const comparison = begun({ ...compacted, targetNativeFrom: 2n });
    comparison.source.take(answer(cleaned));
    comparison.target.take(answer({ ...target, batches: target.batches.slice(0, 10) }));
    comparison.run(undefined);
    assert.deepEqual(found(comparison), equal, 'the source lacks c, whose later record has not been read');

    comparison.target.take(answer({ ...target, batches: target.batches.slice(10) }));
    comparison.source.take(
      answer({ ...log(20, { 15: keyed('c', '2') }), batches: log(20, { 15: keyed('c', '2') }).batches.slice(10) }),
    );
    comparison.run(undefined);
    assert.deepEqual([...found(comparison), comparison.proven.superseded], [...equal, 1]);
  });

  it('give up where more keys than that live on the target alone', () => {
    const many = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [i, keyed(`k${i}`, '1')]));
    const comparison = begun({ ...compacted, unresolvedKeysMax: 4 });
    comparison.target.take(answer(log(20, many)));
    comparison.source.take(answer(log(20, {})));

    assert.throws(() => comparison.run(undefined), TooManyKeys);
  });
});

describe('beyond the boundary, where the target is the origin', () => {
  const native = { targetNativeFrom: 4n };
  const before = at(0, some(0, 4));
  const aborted = abortedBy(7n, 4, before, at(4, some(4, 6), { producerId: 7n }), marker(6), at(7, some(7, 9)));
  const dropped = plain(before, ...markers(4, 7), at(7, some(7, 9)));

  it('it is the source that may lack aborted records', () => {
    const compared = compare(dropped, aborted, native);

    assert.deepEqual(found(compared), equal);
    assert.deepEqual([compared.proven.abortedNotKept, compared.proven.records], [2, 6]);
  });

  it('the target may not, and below it is the other way', () => {
    assert.deepEqual(found(compare(aborted, dropped, native)), [2, 'missing', 4]);
    assert.deepEqual(found(compare(dropped, aborted, { targetNativeFrom: 6n })), [2, 'extra', 4]);
  });
});
