/** Two logs with other offsets, walked side by side: what arrived, what did not, and where a position lies. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeBatch, type NewRecord } from '../../kafka/batches.ts';
import type { Fetched } from '../../mirror/audit-log.ts';
import { Memory } from '../../mirror/memory.ts';
import { nearest, Pairing, type PairingOptions, searchesFor } from '../../mirror/pairing.ts';
import { variedRecords } from './support.ts';

/** Bit 4 of a batch's attributes (Kafka's message format). */
const transactionalBit = 16;

/** A log: records by offset; offsets that it leaves out hold none. */
type Log = readonly (readonly [offset: bigint, record: NewRecord])[];

function bytesOf(log: Log): Buffer {
  const batches = log.map(([offset, record]) => {
    const { bytes } = encodeBatch({ records: [record], codec: offset % 3n === 0n ? 'lz4' : 'none' });
    bytes.writeBigInt64BE(offset, 0);
    return bytes;
  });
  return Buffer.concat(batches);
}

function answer(log: Log, end: bigint): Fetched {
  return { records: bytesOf(log), abortedTransactions: [], lastStableOffset: end, highWatermark: end };
}

const records = variedRecords(400);
const numbered = (from: number, until: number, first = BigInt(from)): Log =>
  records.slice(from, until).map((record, i) => [first + BigInt(i), record]);
/** Behind one another from 0 on, whatever their offsets were. */
const dense = (...parts: Log[]): Log => parts.flat().map(([, record], i) => [BigInt(i), record]);
const endOf = (log: Log) => (log.at(-1)?.[0] ?? -1n) + 1n;

function paired(origin: Log, copy: Log, options: PairingOptions & { until?: bigint } = {}): Pairing {
  const pairing = new Pairing({ topic: 'topic', partition: 0 }, new Memory(), { patienceMs: 0, ...options });
  pairing.begin({ origin: 0n, copy: 0n }, { origin: 0n, copy: 0n });
  pairing.takeOrigin(answer(origin, endOf(origin)));
  pairing.takeCopy(answer(copy, endOf(copy)));
  pairing.run(options.until);
  return pairing;
}

const none = { missing: 0, duplicated: 0, reordered: 0, foreign: 0, superseded: 0 };

describe('pairing an origin with its copy', () => {
  const whole = numbered(0, 400);

  it('finds every record, however offsets and batches differ, and leaves anchors that are the same record', () => {
    // As with transactions: an offset in three is a marker on the origin.
    const spread: Log = whole.map(([offset, record]) => [offset + offset / 2n, record]);
    const pairing = paired(spread, whole);
    assert.deepEqual(pairing.counts, { records: 400, ...none });
    assert.deepEqual(pairing.place, { origin: endOf(spread), copy: 400n });
    assert.deepEqual(pairing.anchors, [{ origin: 0n, copy: 0n }]);
  });

  it('keeps anchors all over a long log, and the newest close together: a walk that goes on begins near its end', () => {
    const count = 300_000;
    const value = Buffer.from('v');
    const { bytes } = encodeBatch({
      records: Array.from({ length: count }, (_, i) => ({ timestamp: BigInt(i), key: null, value })),
    });
    const log = {
      records: bytes,
      abortedTransactions: [],
      lastStableOffset: BigInt(count),
      highWatermark: BigInt(count),
    };
    const pairing = new Pairing({ topic: 'topic', partition: 0 }, new Memory(), { patienceMs: 0 });
    pairing.begin({ origin: 0n, copy: 0n }, { origin: 0n, copy: 0n });
    pairing.takeOrigin(log);
    pairing.takeCopy(log);
    pairing.run();
    const places = pairing.anchors.map(({ origin }) => Number(origin));
    const gaps = places.slice(1).map((place, i) => place - (places[i] ?? 0));
    assert.ok(places.length <= 256 && places[0] === 0 && (places.at(-1) ?? 0) >= count - 1_000, `${places}`);
    assert.ok(Math.max(...gaps) <= 3_000, `${gaps}`);
    assert.deepEqual([...new Set(gaps.slice(-31))], [1_000]);
  });

  it('leaves out a header that the replicator puts on its copies, and no other', () => {
    const marked = (name: string): Log =>
      whole.map(([offset, record]) => {
        const added = { key: Buffer.from(name), value: Buffer.from('{"cluster":"legacy"}') };
        return [offset, { ...record, headers: [...(record.headers ?? []), added] }];
      });
    assert.deepEqual(paired(whole, marked('__mark'), { leftOut: '__mark' }).counts, { records: 400, ...none });
    assert.deepEqual(paired(whole, marked('__marks'), { leftOut: '__mark' }).counts.records, 0);
  });

  const cases: Record<string, { copy: Log; counts: Partial<typeof none>; first?: object; records?: number }> = {
    'one that is missing': {
      copy: dense(numbered(0, 100), numbered(101, 400)),
      counts: { missing: 1 },
      first: { kind: 'missing', offset: 100n },
      records: 399,
    },
    'a run that is missing': {
      copy: dense(numbered(0, 100), numbered(250, 400)),
      counts: { missing: 150 },
      first: { kind: 'missing', offset: 100n },
      records: 250,
    },
    'a stretch that was written again, as after a worker that died': {
      copy: dense(numbered(0, 200), numbered(150, 400)),
      counts: { duplicated: 50 },
    },
    'two that changed places': {
      copy: dense(numbered(0, 100), numbered(101, 102), numbered(100, 101), numbered(102, 400)),
      counts: { reordered: 1 },
      first: { kind: 'reordered', offset: 100n },
    },
    'one that nobody on the origin wrote': {
      copy: dense(
        numbered(0, 300),
        [[0n, { timestamp: 5n, key: null, value: Buffer.from('foreign') }]],
        numbered(300, 400),
      ),
      counts: { foreign: 1 },
      first: { kind: 'foreign', offset: 300n },
    },
    'one whose value differs': {
      copy: whole.map(([offset, record]) => [
        offset,
        offset === 7n ? { ...record, value: Buffer.from('other') } : record,
      ]),
      counts: { missing: 1, foreign: 1 },
      first: { kind: 'foreign', offset: 7n },
      records: 399,
    },
    'one whose timestamp differs': {
      copy: whole.map(([offset, record]) => [offset, offset === 7n ? { ...record, timestamp: 1n } : record]),
      counts: { missing: 1, foreign: 1 },
      first: { kind: 'foreign', offset: 7n },
      records: 399,
    },
    'all of it at once': {
      copy: dense(numbered(0, 50), numbered(30, 90), numbered(100, 110), numbered(99, 100), numbered(110, 400)),
      counts: { missing: 9, duplicated: 20, reordered: 1 },
      first: { kind: 'reordered', offset: 99n },
      records: 391,
    },
  };
  for (const [what, { copy, counts, first, records: found = 400 }] of Object.entries(cases)) {
    it(`tells apart: ${what}`, () => {
      const pairing = paired(whole, copy);
      assert.deepEqual(pairing.counts, { records: found, ...none, ...counts });
      assert.deepEqual(pairing.first, first ?? null);
      assert.deepEqual(pairing.place, { origin: 400n, copy: endOf(copy) });
    });
  }

  it('counts identical records one by one', () => {
    const same = (count: number): Log => Array.from({ length: count }, (_, i) => [BigInt(i), records[0] as NewRecord]);
    assert.deepEqual(paired(same(20), same(20)).counts, { records: 20, ...none });
    assert.deepEqual(paired(same(20), same(22)).counts, { records: 20, ...none, duplicated: 2 });
    assert.equal(paired(same(20), same(18)).place.origin, 18n);
  });

  it('calls nothing missing before it is past its turn and both logs have ended', () => {
    let now = 0;
    const copy = dense(numbered(0, 100), numbered(101, 200));
    const pairing = paired(whole, copy, { patienceMs: 1_000, now: () => now });
    // Two hundred more are on their way, which is lag and no fault.
    assert.deepEqual(pairing.counts, { records: 199, ...none });
    assert.deepEqual(pairing.place, { origin: 100n, copy: 199n });
    pairing.takeCopy(answer(numbered(200, 400, 199n), 399n));
    pairing.run();
    assert.equal(pairing.undecided, true);
    now = 999;
    pairing.run();
    assert.equal(pairing.counts.missing, 0);
    now = 1_000;
    pairing.run();
    assert.deepEqual([pairing.counts.missing, pairing.place], [1, { origin: 400n, copy: 399n }]);
  });

  it('looks at nothing of the origin beyond the boundary', () => {
    const pairing = paired(whole, numbered(0, 300), { until: 300n });
    assert.deepEqual([pairing.counts.records, pairing.place], [300, { origin: 300n, copy: 300n }]);
    assert.deepEqual(paired(whole, numbered(0, 301), { until: 300n }).counts, { records: 300, ...none, foreign: 1 });
  });

  it('leaves out aborted records on both sides', () => {
    const transactional = (log: Log, first: bigint): Fetched => {
      const { bytes } = encodeBatch({
        records: log.map(([, r]) => r),
        producerId: 9n,
        baseSequence: 0,
        attributes: transactionalBit,
      });
      bytes.writeBigInt64BE(first, 0);
      const end = first + BigInt(log.length);
      return {
        records: bytes,
        abortedTransactions: [{ producerId: 9n, firstOffset: first }],
        lastStableOffset: end,
        highWatermark: end,
      };
    };
    const pairing = new Pairing({ topic: 'topic', partition: 0 }, new Memory(), { patienceMs: 0 });
    pairing.begin({ origin: 0n, copy: 0n }, { origin: 0n, copy: 0n });
    pairing.takeOrigin(transactional(numbered(0, 10), 0n));
    pairing.takeOrigin(answer(numbered(10, 30), 30n));
    pairing.takeCopy(answer(dense(numbered(10, 30)), 20n));
    pairing.run();
    assert.deepEqual(
      [pairing.counts, pairing.place],
      [
        { records: 20, ...none },
        { origin: 30n, copy: 20n },
      ],
    );
  });

  it('takes what a cleaner removed on one side for superseded, where one may run', () => {
    const cleaned = whole.filter(([offset]) => offset % 5n !== 0n);
    const pairing = paired(cleaned, whole, { compacted: true });
    assert.deepEqual([pairing.counts.foreign, pairing.counts.superseded, pairing.counts.records], [0, 80, 320]);
  });

  it('takes for no stranger what the origin has lost at its head since, but what is younger', () => {
    const later: Log = whole
      .slice(100)
      .map(([offset, record], i) => [offset, { ...record, timestamp: BigInt(1_000 + i) }]);
    const old = { timestamp: 5n, key: null, value: Buffer.from('gone') };
    const young = { ...old, timestamp: 2_000n };
    const lost = (first: NewRecord) => {
      const copy = dense([[0n, first]], later);
      const pairing = new Pairing({ topic: 'topic', partition: 0 }, new Memory(), { patienceMs: 0 });
      pairing.begin({ origin: 0n, copy: 0n }, { origin: 100n, copy: 0n });
      pairing.takeOrigin(answer(later, 400n));
      pairing.takeCopy(answer(copy, endOf(copy)));
      pairing.run();
      return pairing.counts;
    };
    assert.deepEqual(lost(old), { records: 300, ...none, superseded: 1 });
    assert.deepEqual(lost(young), { records: 300, ...none, foreign: 1 });
  });

  it('goes on from where it was without counting anything twice', () => {
    const copy = dense(numbered(0, 200), numbered(150, 400));
    const pairing = new Pairing({ topic: 'topic', partition: 0 }, new Memory(), { patienceMs: 0 });
    // It begins 50 records further back, so that it knows the duplicates that come.
    const counted = { records: 200, ...none, below: 200n };
    pairing.begin({ origin: 150n, copy: 150n }, { origin: 0n, copy: 0n }, counted);
    pairing.takeOrigin(answer(numbered(150, 400), 400n));
    pairing.takeCopy(answer(copy.slice(150), 450n));
    pairing.run();
    assert.deepEqual(pairing.counts, { records: 400, ...none, duplicated: 50 });
  });
});

describe('finding a position on the copy', () => {
  const origin: Log = numbered(0, 400).map(([offset, record]) => [offset * 2n, record]);

  function located(copy: Log, positions: readonly bigint[], anchors = [{ origin: 0n, copy: 0n }]) {
    const searches = searchesFor(anchors, { origin: 0n, copy: 0n }, positions);
    const pairing = new Pairing({ topic: 'topic', partition: 0 }, new Memory(), { patienceMs: 0, searches });
    pairing.begin({ origin: 0n, copy: 0n }, { origin: 0n, copy: 0n });
    let reads = 0;
    for (let again = true; again; ) {
      reads++;
      pairing.takeOrigin(
        answer(
          origin.filter(([offset]) => offset >= pairing.origin.nextFetch),
          800n,
        ),
      );
      pairing.takeCopy(
        answer(
          copy.filter(([offset]) => offset >= pairing.copy.nextFetch),
          endOf(copy),
        ),
      );
      again = pairing.run();
    }
    pairing.locateRest();
    return { reads, found: pairing.located.map(({ position, copy: at, record, gap }) => [position, at, record, gap]) };
  }

  it('gives the very record that would be read next, also from between two records', () => {
    assert.deepEqual(located(numbered(0, 400), [0n, 13n, 14n, 797n, 798n]).found, [
      [0n, 0n, 0n, false],
      [13n, 7n, 14n, false],
      [14n, 7n, 14n, false],
      [797n, 399n, 798n, false],
      [798n, 399n, 798n, false],
    ]);
  });

  it('gives the end of the copy where nothing follows', () => {
    assert.deepEqual(located(numbered(0, 400), [799n, 800n]).found, [
      [799n, 400n, null, false],
      [800n, 400n, null, false],
    ]);
  });

  it('is not led astray by duplicates before it', () => {
    const copy = dense(numbered(0, 100), numbered(40, 400));
    assert.deepEqual(located(copy, [98n, 600n]).found, [
      [98n, 49n, 98n, false],
      [600n, 360n, 600n, false],
    ]);
  });

  it('says where its own next record is not on the copy', () => {
    const copy = dense(numbered(0, 100), numbered(105, 400));
    assert.deepEqual(located(copy, [202n, 220n]).found, [
      [202n, 100n, 210n, true],
      [220n, 105n, 220n, false],
    ]);
  });

  it('walks from the anchor before it, and leaps over what lies between', () => {
    const anchors = [0n, 100n, 200n, 300n].map((copy) => ({ origin: copy * 2n, copy }));
    const { reads, found } = located(numbered(0, 400), [10n, 600n, 702n], anchors);
    assert.deepEqual(found, [
      [10n, 5n, 10n, false],
      [600n, 300n, 600n, false],
      [702n, 351n, 702n, false],
    ]);
    // The second stretch was in the first answer already here, so it was not read again.
    assert.equal(reads <= 2, true);
    assert.deepEqual(nearest(anchors, { origin: 0n, copy: 0n }, 399n), { origin: 200n, copy: 100n });
  });
});
