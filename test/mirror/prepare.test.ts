import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decodeRecords, encodeBatch, type NewRecord, RecordBatch } from '../../kafka/batches.ts';
import { type Codec, codecNames } from '../../kafka/codecs.ts';
import type { KafkaRecord } from '../../kafka/record.ts';
import type { Outgoing, OutgoingBatch, Piece } from '../../mirror/pieces.ts';
import { markersMax, mergedBytesMax, type Prepared, preparePieces, type Stamp } from '../../mirror/prepare.ts';
import { BatchRefusal } from '../../mirror/rewrite.ts';
import { runAt } from '../../mirror/runs.ts';
import { oldEntry, sparseBatch } from './source-batches.ts';
import { printed, variedRecords } from './support.ts';

const owner = { producerId: 88n, term: 6, sequence: 0 };
const stamp: Stamp & { owner: typeof owner } = { producerId: 77n, sequence: 2 ** 31 - 5, generation: 1, owner };
const limits = { batchBytesMax: 1_000_000, merge: true, split: false };
const first = 1_000n;

/** What a source would hold, and what is wanted at each of its offsets: nothing stands for an invisible one. */
interface Log {
  readonly pieces: Piece[];
  readonly wanted: Map<bigint, { line: string; aborted: boolean }>;
  end: bigint;
}

type Shape =
  | { kind: 'batch'; records: NewRecord[]; gaps: number[]; tail: number; codec: Codec; bits: number; aborted: boolean }
  | { kind: 'old'; magic: 0 | 1; records: NewRecord[]; gaps: number[]; codec: Codec; stamped: boolean }
  | { kind: 'empty'; slots: number }
  | { kind: 'invisible'; slots: number };

const extremes = fc.constantFrom(-1n, 0n, 2n ** 62n, -(2n ** 62n), 2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n);
const bytes = fc.option(
  fc.uint8Array({ maxLength: 60 }).map((b) => Buffer.from(b)),
  { nil: null },
);
const record: fc.Arbitrary<NewRecord> = fc.record({
  timestamp: fc.oneof(
    { weight: 9, arbitrary: fc.bigInt({ min: 1_600_000_000_000n, max: 1_700_000_000_000n }) },
    { weight: 1, arbitrary: extremes },
  ),
  key: bytes,
  value: fc.oneof(
    bytes,
    fc.integer({ min: 1, max: 9_000 }).map((n) => Buffer.alloc(n, 'v')),
  ),
  headers: fc.array(fc.record({ key: fc.string({ maxLength: 5 }).map((s) => Buffer.from(s)), value: bytes }), {
    maxLength: 2,
  }),
});
const gaps = fc.array(
  fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.integer({ min: 0, max: 12 }) }),
  {
    minLength: 12,
    maxLength: 12,
  },
);
const dense = fc.constant(Array.from({ length: 12 }, () => 0));
const plainShape: fc.Arbitrary<Shape> = fc.record({
  kind: fc.constant('batch' as const),
  records: fc.array(record, { minLength: 1, maxLength: 3 }),
  gaps: dense,
  tail: fc.constant(0),
  codec: fc.constant('none' as const),
  bits: fc.constant(0),
  aborted: fc.constant(false),
});
const shape: fc.Arbitrary<Shape> = fc.oneof(
  { weight: 6, arbitrary: plainShape },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('batch' as const),
      records: fc.array(record, { minLength: 1, maxLength: 8 }),
      gaps: fc.oneof(gaps, dense, dense),
      tail: fc.constantFrom(0, 0, 0, 3),
      codec: fc.constantFrom(...codecNames),
      // log append time, transactional, delete horizon
      bits: fc.constantFrom(0, 0, 0, 0x08, 0x10, 0x40, 0x18),
      aborted: fc.constantFrom(false, false, false, true),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('old' as const),
      magic: fc.constantFrom(0 as const, 1 as const),
      records: fc.array(record, { minLength: 1, maxLength: 5 }),
      gaps: fc.oneof(gaps, dense),
      codec: fc.constantFrom('none' as const, 'gzip' as const, 'snappy' as const, 'lz4' as const),
      stamped: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('empty' as const), slots: fc.integer({ min: 1, max: 40 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('invisible' as const),
      slots: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constant(6_001)),
    }),
  },
);

function logOf(shapes: readonly Shape[]): Log {
  const log: Log = { pieces: [], wanted: new Map(), end: first };
  for (const each of shapes) addShape(log, each);
  return { ...log, pieces: asAnswered(log.pieces) };
}

/** The batches lie in one answer, one behind the other, as a broker sends them. */
function asAnswered(pieces: readonly Piece[]): Piece[] {
  const answer = Buffer.concat(pieces.map((piece) => (piece.kind === 'batch' ? piece.batch.bytes : Buffer.alloc(0))));
  let at = 0;
  return pieces.map((piece) => {
    if (piece.kind !== 'batch') return piece;
    const begin = at;
    at += piece.batch.byteLength;
    return { ...piece, batch: new RecordBatch(answer.subarray(begin, at)) };
  });
}

/** As they are read: small plain neighbours as one piece. They must not be prepared as they are too, the bytes being the same. */
function withRuns(pieces: readonly Piece[]): Piece[] {
  const joined: Piece[] = [];
  let next = first;
  pieces.forEach((piece, index) => {
    if (piece.from < next) return;
    const run =
      piece.kind === 'batch' && runAt(visibleFrom(pieces, index), 0, { from: piece.from, otherProducerId: null });
    joined.push(run || piece);
    next = (run || piece).end;
  });
  return joined;
}

/** The bytes of the batches from one on that are not aborted: what is, has an attribute that says so where it is not made up. */
function visibleFrom(pieces: readonly Piece[], index: number): Buffer {
  const { bytes: begin } = (pieces[index] as { batch: RecordBatch }).batch;
  let length = 0;
  for (const piece of pieces.slice(index)) {
    if (piece.kind !== 'batch' || piece.aborted) break;
    length += piece.batch.byteLength;
  }
  return Buffer.from(begin.buffer, begin.byteOffset, length);
}

function addShape(log: Log, each: Shape): void {
  const from = log.end;
  if (each.kind === 'invisible') {
    log.end += BigInt(each.slots);
    log.pieces.push({ kind: 'invisible', from, end: log.end });
    return;
  }
  if (each.kind === 'empty') {
    const batch = sparseBatch({ baseOffset: from, records: [], lastOffsetDelta: each.slots - 1, codec: 'gzip' });
    log.end = batch.nextOffset;
    log.pieces.push({ kind: 'batch', batch, from, end: log.end, aborted: false });
    return;
  }
  let delta = 0;
  const records = each.records.map((r, i) => {
    delta += each.gaps[i] ?? 0;
    return { ...r, offsetDelta: delta++ };
  });
  if (each.kind === 'batch') {
    const { codec, bits: attributes, aborted } = each;
    const stampedAt = (attributes & 0x08) !== 0 ? 1_650_000_000_123n : undefined;
    const lastOffsetDelta = delta - 1 + each.tail;
    const batch = sparseBatch({
      baseOffset: from,
      records,
      lastOffsetDelta,
      codec,
      attributes,
      ...(stampedAt && { maxTimestamp: stampedAt }),
    });
    log.end = batch.nextOffset;
    log.pieces.push({ kind: 'batch', batch, from, end: log.end, aborted });
    want(
      log,
      records.map((r) => ({ ...r, timestamp: stampedAt ?? r.timestamp, offset: from + BigInt(r.offsetDelta) })),
      aborted,
    );
    return;
  }
  const { magic, codec } = each;
  const stampedAt = each.stamped && magic === 1 ? 1_650_000_000_456n : undefined;
  const old = (codec === 'none' ? records.slice(0, 1) : records).map((r) => ({
    ...r,
    headers: [],
    timestamp: magic === 0 ? -1n : (stampedAt ?? r.timestamp),
    offset: from + BigInt(r.offsetDelta),
  }));
  const batch = oldEntry({ magic, records: old, codec, ...(stampedAt && { appendedAt: stampedAt }) });
  log.end = batch.nextOffset;
  log.pieces.push({ kind: 'batch', batch, from, end: log.end, aborted: false });
  want(log, old, false);
}

function want(log: Log, records: readonly (NewRecord & { offset: bigint })[], aborted: boolean): void {
  for (const r of records) {
    const [line] = printed([{ headers: [], ...r }]);
    log.wanted.set(r.offset, { line: line as string, aborted });
  }
}

function decodedPiece(piece: Piece): string[] {
  return piece.kind === 'batch' ? printed(decodeRecords(piece.batch)) : [];
}

function batchesOf(prepared: Prepared): OutgoingBatch[] {
  return prepared.outgoing.filter((each) => each.kind === 'batch');
}

function recordsOf({ bytes: sent, baseOffset, count, aborted }: OutgoingBatch): KafkaRecord[] {
  const batch = new RecordBatch(sent);
  assert.ok(batch.crcMatches());
  assert.equal(batch.byteLength, batch.bytes.readInt32BE(8) + 12);
  assert.equal(batch.baseOffset, 0n);
  assert.equal(batch.recordCount, count);
  assert.equal(batch.lastOffsetDelta, count - 1);
  assert.equal(batch.isLogAppendTime, false);
  assert.equal(batch.attributes & 0x60, 0);
  assert.equal(batch.isTransactional, aborted);
  const records = decodeRecords(batch);
  const highest = records.reduce((max, { timestamp }) => (timestamp > max ? timestamp : max), -(2n ** 63n));
  assert.equal(batch.maxTimestamp, highest);
  return records.map((r, i) => {
    assert.equal(r.offset, BigInt(i));
    return { ...r, offset: r.offset + baseOffset };
  });
}

/** Holds what would be written against the log, from `start` on, and gives where it ends. */
function assertCarried(log: Log, outgoing: readonly Outgoing[], start: bigint): bigint {
  let at = start;
  let sequence = stamp.sequence;
  let ownerSequence = 0;
  for (const each of outgoing) {
    assert.equal(each.baseOffset, at);
    assert.equal(each.generation, 1);
    if (each.kind === 'markers') {
      assert.ok(each.count > 0 && each.count <= markersMax);
      for (let i = 0; i < each.count; i++) assert.equal(log.wanted.get(at + BigInt(i)), undefined);
      at += BigInt(each.count);
      continue;
    }
    const batch = new RecordBatch(each.bytes);
    const { producerId, producerEpoch, baseSequence } = batch;
    assert.deepEqual(
      [producerId, producerEpoch, baseSequence],
      each.aborted ? [88n, 6, ownerSequence] : [77n, 0, sequence],
    );
    if (each.aborted) ownerSequence += each.count;
    else sequence = (sequence + each.count) % 2 ** 31;
    assert.equal(each.divisible, each.count > 1);
    for (const found of recordsOf(each)) {
      const slot = log.wanted.get(found.offset);
      assert.ok(slot, `offset ${found.offset} holds nothing`);
      assert.equal(printed([found])[0], slot.line);
      assert.equal(each.aborted, slot.aborted);
    }
    at += BigInt(each.count);
  }
  return at;
}

const plain = (parts: readonly { records: NewRecord[]; codec: Codec }[]): Piece[] =>
  logOf(parts.map((part) => ({ kind: 'batch', gaps: [], tail: 0, bits: 0, aborted: false, ...part }))).pieces;

describe('preparing what was read', () => {
  it('carries every slot of any log, in order, with sequences that follow on', () => {
    fc.assert(
      fc.property(
        fc.array(shape, { minLength: 1, maxLength: 14 }),
        fc.record({
          merge: fc.boolean(),
          split: fc.boolean(),
          batchBytesMax: fc.constantFrom(1_000_000, 70_000, 20_000, 2_000),
        }),
        fc.boolean(),
        (shapes, chosen, inRuns) => {
          const log = logOf(shapes);
          // A batch that passes may be larger than what is made here.
          const largest = Math.max(
            0,
            ...log.pieces.map((p) => (p.kind === 'batch' && p.batch.magic > 1 ? p.batch.byteLength : 0)),
          );

          const prepared = preparePieces(inRuns ? withRuns(log.pieces) : log.pieces, stamp, chosen);

          assert.equal(assertCarried(log, prepared.outgoing, first), log.end);
          assert.equal(prepared.stoppedAt, undefined);
          const sent = batchesOf(prepared);
          const sum = (aborted: boolean) => sent.filter((b) => b.aborted === aborted).reduce((n, b) => n + b.count, 0);
          assert.equal(prepared.nextSequence, (stamp.sequence + sum(false)) % 2 ** 31);
          assert.equal(prepared.nextOwnerSequence, sum(true));
          const bytesMax = chosen.split ? chosen.batchBytesMax : Math.max(chosen.batchBytesMax, largest);
          assert.ok(sent.every((b) => b.bytes.length <= bytesMax || b.count === 1));
        },
      ),
      { numRuns: 250 },
    );
  });

  it('makes one batch over those that it is made of, as long as their headers leave room', () => {
    const dense = (count: number, timestamp: bigint) => ({
      records: Array.from({ length: count }, () => ({ timestamp, key: null, value: Buffer.alloc(90, 'v') })),
      codec: 'none' as const,
    });
    const near = plain(Array.from({ length: 40 }, (_, n) => dense(10, 1_650_000_000_000n + BigInt(n))));
    const far = plain(Array.from({ length: 40 }, (_, n) => dense(40, 1_650_000_000_000n + 2n ** BigInt(n))));
    const memoryOf = (pieces: readonly Piece[]) => pieces[0]?.kind === 'batch' && pieces[0].batch.bytes.buffer;
    const wanted = [near, far].map((pieces) => pieces.flatMap((piece) => decodedPiece(piece)));

    const sent = [near, far].map((pieces) => batchesOf(preparePieces(pieces, stamp, limits)));

    assert.deepEqual(
      sent.map((batches) => batches.flatMap((each) => printed(recordsOf(each)))),
      wanted,
    );
    assert.deepEqual(
      sent.map((batches) => batches.length),
      [1, 1],
    );
    assert.equal(sent[0]?.[0]?.bytes.buffer, memoryOf(near));
    assert.notEqual(sent[1]?.[0]?.bytes.buffer, memoryOf(far));
  });

  it('makes the same of small plain batches in one piece as of each by itself', () => {
    fc.assert(
      fc.property(
        fc.array(plainShape, { minLength: 2, maxLength: 40 }),
        fc.record({
          merge: fc.boolean(),
          split: fc.boolean(),
          batchBytesMax: fc.constantFrom(1_000_000, 70_000, 66_000, 20_000),
          ownedBelowMs: fc.constantFrom(undefined, 1_650_000_000_000),
        }),
        (shapes, chosen) => {
          const [one, other] = [logOf(shapes), logOf(shapes)];
          const runs = withRuns(one.pieces);
          fc.pre(runs.some(({ kind }) => kind === 'run'));

          const [inRuns, alone] = [runs, other.pieces].map((pieces) =>
            preparePieces(pieces, { ...stamp, owner: undefined }, chosen),
          );

          assert.deepEqual(inRuns, alone);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('cuts what it makes of many small plain batches where it is full', () => {
    const records = [{ timestamp: 5n, key: null, value: Buffer.alloc(500, 'v') }];
    const log = logOf(
      Array.from({ length: 3_000 }, () => ({
        kind: 'batch',
        records,
        gaps: [],
        tail: 0,
        codec: 'none',
        bits: 0,
        aborted: false,
      })),
    );

    const [run, ...rest] = withRuns(log.pieces);
    assert.ok(run?.kind === 'run' && rest.length === 0);

    const { outgoing } = preparePieces([run], stamp, limits);

    assert.equal(assertCarried(log, outgoing, first), log.end);
    assert.ok(outgoing.length > 2);
    // Room is left for heads of records that grow by 12 bytes, and not for the headers between.
    const perBatch = (log.pieces[0] as { batch: RecordBatch }).batch.byteLength - 61 + 12;
    assert.equal(outgoing[0]?.count, Math.floor((mergedBytesMax - 61) / perBatch));
    for (const batch of outgoing) {
      assert.ok(batch.kind === 'batch' && batch.bytes.length <= mergedBytesMax);
      assert.equal(batch.bytes.buffer, run.bytes.buffer);
    }
  });

  it('goes on from any offset inside a log', () => {
    fc.assert(
      fc.property(
        fc.array(shape, { minLength: 1, maxLength: 8 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (shapes, share) => {
          const log = logOf(shapes);
          const start = first + BigInt(Math.floor(Number(log.end - first - 1n) * share));
          const pieces = log.pieces.filter((piece) => piece.end > start);
          pieces[0] = { ...(pieces[0] as Piece), from: start };

          const { outgoing } = preparePieces(pieces, stamp, limits);

          assert.equal(assertCarried(log, outgoing, start), log.end);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('stops at the first offset that needs an owner, and goes on there with one', () => {
    fc.assert(
      fc.property(
        fc.array(shape, { minLength: 1, maxLength: 8 }),
        fc.constantFrom(undefined, 1_650_000_000_000),
        fc.boolean(),
        (shapes, ownedBelowMs, inRuns) => {
          const log = logOf(shapes);
          const wanted = { ...limits, ownedBelowMs };

          const before = preparePieces(
            inRuns ? withRuns(log.pieces) : log.pieces,
            { ...stamp, owner: undefined },
            wanted,
          );

          const at = before.stoppedAt;
          const written = assertCarried(log, before.outgoing, first);
          assert.equal(written, at ?? log.end);
          for (const batch of batchesOf(before)) {
            assert.ok(!batch.aborted);
            if (ownedBelowMs) assert.ok(new RecordBatch(batch.bytes).maxTimestamp >= BigInt(ownedBelowMs));
          }
          assert.ok(before.outgoing.every(({ kind }) => kind === 'batch'));
          if (at === undefined) return;
          const rest = log.pieces.filter((piece) => piece.end > at);
          rest[0] = { ...(rest[0] as Piece), from: at };
          const after = preparePieces(rest, { ...stamp, sequence: before.nextSequence }, wanted);
          assert.equal(after.stoppedAt, undefined);
          assert.ok(after.outgoing.length > 0);
          const sequences = batchesOf(after).filter((batch) => !batch.aborted);
          const [next] = sequences;
          if (next) assert.equal(new RecordBatch(next.bytes).baseSequence, before.nextSequence);
          // Held against the log by itself: sequences of this part begin elsewhere.
          const again = preparePieces(recut(logOf(shapes), at), stamp, wanted);
          assert.equal(assertCarried(log, again.outgoing, at), log.end);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('makes one batch of small neighbours of one codec, and leaves large ones as they are', () => {
    const small = { codec: 'none' as const, records: [...variedRecords(10)] };
    const large = { codec: 'none' as const, records: [...variedRecords(10, 1, 10_000)] };
    const packed = { codec: 'gzip' as const, records: [...variedRecords(10)] };
    const pieces = plain([small, small, small, large, small, packed, packed]);
    const largeBytes = (pieces[3] as { batch: RecordBatch }).batch.bytes;

    const batches = batchesOf(preparePieces(pieces, stamp, limits));

    assert.deepEqual(
      batches.map(({ count }) => count),
      [30, 10, 10, 20],
    );
    assert.equal(batches[1]?.bytes, largeBytes);
    assert.equal(new RecordBatch(batches[3]?.bytes as Buffer).codec, 'gzip');
  });

  it('leaves every batch as it is that can pass, when told not to merge', () => {
    const pieces = plain(codecNames.map((codec) => ({ codec, records: [...variedRecords(9)] })));
    const sources = pieces.map((piece) => piece.kind === 'batch' && piece.batch.bytes);

    const batches = batchesOf(preparePieces(pieces, stamp, { ...limits, merge: false }));

    assert.deepEqual(
      batches.map(({ bytes: sent }, i) => sent === sources[i]),
      [true, true, true, true, true],
    );
  });

  for (const codec of codecNames) {
    it(`splits a ${codec} batch that the target refused, and not its records`, () => {
      const records = [...variedRecords(40, 0, 3_000), { timestamp: 1n, key: null, value: Buffer.alloc(9_000, 'x') }];
      const part = { kind: 'batch' as const, records, gaps: [], tail: 0, codec, bits: 0, aborted: false };
      const log = logOf([part]);
      const batchBytesMax =
        codec === 'none'
          ? 8_000
          : Math.min(8_000, Math.floor(log.pieces[0]?.kind === 'batch' ? log.pieces[0].batch.byteLength / 2 : 0));

      const prepared = preparePieces(log.pieces, stamp, { ...limits, batchBytesMax, split: true });

      assert.equal(assertCarried(log, prepared.outgoing, first), log.end);
      const batches = batchesOf(prepared);
      assert.ok(batches.length > 1);
      assert.ok(batches.every((b) => b.bytes.length <= batchBytesMax || b.count === 1));
    });

    it(`keeps ${codec} where it writes records anew`, () => {
      const shapes: Shape[] = [
        {
          kind: 'batch',
          records: [...variedRecords(12, 0, 300)],
          gaps: [0, 0, 3],
          tail: 2,
          codec,
          bits: 0,
          aborted: false,
        },
        {
          kind: 'batch',
          records: [...variedRecords(12, 0, 300)],
          gaps: [],
          tail: 0,
          codec,
          bits: 0x08,
          aborted: false,
        },
      ];
      const log = logOf(shapes);

      const prepared = preparePieces(log.pieces, stamp, limits);

      assert.equal(assertCarried(log, prepared.outgoing, first), log.end);
      assert.ok(batchesOf(prepared).every(({ bytes: sent }) => new RecordBatch(sent).codec === codec));
    });
  }

  it('refuses damaged batches of every format instead of giving them a new checksum', () => {
    const record1 = { offset: first, timestamp: 5n, key: null, value: Buffer.from('value') };
    const damaged = [
      encodeBatch({ records: variedRecords(3) }).bytes,
      oldEntry({ magic: 0, records: [record1], codec: 'none' }).bytes,
      oldEntry({ magic: 1, records: [record1], codec: 'gzip' }).bytes,
    ];
    for (const bad of damaged) {
      const at = bad.length - 2;
      bad.writeBigInt64BE(first, 0);
      bad.writeUInt8((bad[at] ?? 0) ^ 1, at);
      const batch = new RecordBatch(bad);
      const pieces: Piece[] = [{ kind: 'batch', batch, from: first, end: batch.nextOffset, aborted: false }];

      assert.throws(
        () => preparePieces(pieces, stamp, limits),
        (error) => error instanceof BatchRefusal && error.offset === first,
      );
    }
  });

  for (const n of [0, 1, 7]) {
    it(`names batch ${n} of a run where that is damaged, or its records are not what its header says`, () => {
      const records = [...variedRecords(2)];
      const from = first + BigInt(2 * n);
      const crossed = sparseBatch({
        baseOffset: from,
        records: records.map((each, i) => ({ ...each, offsetDelta: 1 - i })),
        lastOffsetDelta: 1,
        codec: 'none',
      });
      const damaged = new RecordBatch(Buffer.from(crossed.bytes));
      damaged.bytes.writeInt16BE(-1, damaged.byteLength - 2);
      for (const [batch, what] of [
        [crossed, /offset delta 1 in place of 0/],
        [damaged, /checksum/],
      ] as const) {
        const pieces = plain(Array.from({ length: 8 }, () => ({ records, codec: 'none' })));
        pieces[n] = { kind: 'batch', batch, from, end: from + 2n, aborted: false };
        const [run] = withRuns(asAnswered(pieces));
        assert.equal(run?.kind, 'run');

        assert.throws(
          () => preparePieces([run], stamp, limits),
          (error) => error instanceof BatchRefusal && error.offset === from && what.test(error.message),
        );
      }
    });
  }

  it('refuses batches whose records are not what their header says', () => {
    const records = variedRecords(4).map((r, i) => ({ ...r, offsetDelta: [0, 2, 1, 3][i] ?? 0 }));
    const crossed = sparseBatch({ baseOffset: first, records, lastOffsetDelta: 3, codec: 'none' });
    const beyond = sparseBatch({
      baseOffset: first,
      records: variedRecords(2).map((r, i) => ({ ...r, offsetDelta: i * 9 })),
      lastOffsetDelta: 5,
      codec: 'lz4',
    });
    const unknown = sparseBatch({ baseOffset: first, records: [], lastOffsetDelta: 0, codec: 'none', attributes: 7 });
    unknown.bytes.writeInt32BE(1, 57);
    const twice = encodeBatch({ records: variedRecords(2) });
    twice.bytes.writeBigInt64BE(first, 0);
    for (const batch of [crossed, beyond, restored(unknown)]) {
      const neighbour = new RecordBatch(Buffer.from(twice.bytes));
      neighbour.bytes.writeBigInt64BE(batch.nextOffset, 0);
      const pieces: Piece[] = [
        { kind: 'batch', batch, from: first, end: batch.nextOffset, aborted: false },
        { kind: 'batch', batch: neighbour, from: batch.nextOffset, end: neighbour.nextOffset, aborted: false },
      ];
      assert.throws(() => preparePieces(pieces, stamp, limits), BatchRefusal);
    }
  });

  it('refuses pieces that do not follow each other', () => {
    const [one, two] = plain([
      { codec: 'none', records: [...variedRecords(2)] },
      { codec: 'none', records: [...variedRecords(2)] },
    ]);
    assert.throws(() => preparePieces([two as Piece, one as Piece], stamp, limits), /begins at 1000/);
  });
});

function recut(log: Log, at: bigint): Piece[] {
  const rest = log.pieces.filter((piece) => piece.end > at);
  rest[0] = { ...(rest[0] as Piece), from: at };
  return rest;
}

/** With the checksum that fits. */
function restored(batch: RecordBatch): RecordBatch {
  batch.restamp(-1n, -1);
  batch.bytes.writeBigInt64BE(first, 0);
  return batch;
}
