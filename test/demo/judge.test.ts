import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Acknowledgement, judge, type LoggedRecord, type Logs } from '../../examples/demo/judge.ts';

describe('the judge of two clusters', () => {
  it('finds equal logs equal, up to the end of the one that was left', () => {
    const verdict = judge('legacy', logs(0, 1, 2), logs(0, 1), []);
    assert.deepEqual([verdict.equal, verdict.compared, verdict.counts.records], [true, 2, 3]);
  });

  it('finds a record at another offset', () => {
    const other = logs(0, 1);
    const shifted = new Map([['t-0', (other.get('t-0') ?? []).map((r) => ({ ...r, offset: r.offset + 1n }))]]);
    assert.deepEqual(judge('legacy', logs(0, 1), shifted, []).differences, [
      't-0: 0 (a 0) against 1 (a 0)',
      't-0: 1 (a 1) against 2 (a 1)',
    ]);
  });

  it('finds records at other offsets equal where offsets do not matter, and says that they differ', () => {
    const shifted = new Map([['t-0', (logs(0, 1).get('t-0') ?? []).map((r) => ({ ...r, offset: r.offset + 1n }))]]);
    const elsewhere = judge('next', shifted, logs(0, 1), [acknowledged(1)], false);
    assert.deepEqual([elsewhere.equal, elsewhere.offsetsEqual, elsewhere.differences], [true, false, []]);
    assert.equal(judge('next', shifted, logs(1, 0), [], false).equal, false);
    assert.match(judge('next', shifted, logs(0), [acknowledged(1)], false).differences[0] ?? '', /found nothing/);
  });

  it('finds other contents at the same offset', () => {
    const other = new Map([['t-0', [{ ...record(0, 0), hash: 'other' }]]]);
    assert.equal(judge('legacy', logs(0), other, []).equal, false);
  });

  it('finds records that exist only on the cluster that was left', () => {
    assert.match(
      judge('legacy', logs(0), logs(0, 1), []).differences[0] ?? '',
      /1 records more on the cluster that was left/,
    );
  });

  it('finds a loss that both logs share, by the numbers', () => {
    const verdict = judge('legacy', logs(0, 2), logs(0, 2), []);
    assert.deepEqual([verdict.equal, verdict.counts.lost], [true, 1]);
  });

  it('finds an acknowledged record that is gone from the end', () => {
    assert.match(judge('legacy', logs(0), logs(0), [acknowledged(1)]).differences[0] ?? '', /a 1 was .* found nothing/);
  });

  it('finds an acknowledged record that moved', () => {
    const verdict = judge('legacy', logs(1, 0), logs(1, 0), [acknowledged(0)]);
    assert.match(verdict.differences[0] ?? '', /a 0 was acknowledged at offset 0 by legacy, found 0 \(a 1\)/);
  });

  it('finds a record that is gone from the cluster that acknowledged it, though the other one has it', () => {
    const verdict = judge('next', logs(0, 1), logs(0), [acknowledged(0), acknowledged(1)]);
    assert.match(verdict.differences[0] ?? '', /a 1 was acknowledged at offset 1 by legacy, found nothing/);
  });

  it('does not ask the cluster that was left for what came later', () => {
    assert.equal(judge('legacy', logs(0, 1), logs(0), [acknowledged(0), acknowledged(1)]).equal, true);
  });
});

const record = (offset: number, sequence: number): LoggedRecord => ({
  offset: BigInt(offset),
  producer: 'a',
  sequence,
  hash: `a ${sequence}`,
});

/** One partition with records of these numbers at offsets 0, 1, 2, ... */
const logs = (...sequences: number[]): Logs =>
  new Map([['t-0', sequences.map((sequence, offset) => record(offset, sequence))]]);

const acknowledged = (sequence: number): Acknowledgement => ({
  at: 0,
  cluster: 'legacy',
  topic: 't',
  partition: 0,
  baseOffset: String(sequence),
  producer: 'a',
  firstSequence: sequence,
  count: 1,
});
