import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Stint } from '../../examples/demo/producer.ts';
import {
  type DemoResult,
  isClean,
  lastSwitch,
  type Move,
  positionsOf,
  resultTable,
  stepTimes,
} from '../../examples/demo/result.ts';

const move: Move = {
  direction: 'forward',
  records: 24_512,
  lost: 0,
  duplicated: 0,
  reordered: 0,
  replayed: 3,
  recordsEqual: true,
  offsetsEqual: true,
  positions: { exact: 10, replays: 0, untranslatable: 0 },
  writePauseMs: 1_204,
  steps: [{ step: 'mirror', ms: 800 }],
};
const back: Move = { ...move, direction: 'reverse', steps: [{ step: 'rollback', ms: 90 }] };
const clean: DemoResult = { moves: [move, back, move], seconds: 61.25 };

describe('the verdict of the demo', () => {
  it('is good for three moves with nothing lost, twice or out of order, replays or not', () => {
    assert.equal(isClean(clean), true);
  });

  for (const wrong of [
    { lost: 1 },
    { duplicated: 1 },
    { reordered: 1 },
    { recordsEqual: false },
    { offsetsEqual: false },
    { positions: { exact: 9, replays: 1, untranslatable: 0 } },
  ]) {
    it(`is bad when one move has ${JSON.stringify(wrong)}`, () => {
      assert.equal(isClean({ ...clean, moves: [move, { ...back, ...wrong }, move] }), false);
    });
  }

  it('takes other offsets for what they are where the replicator gives records others', () => {
    const moves = clean.moves.slice(0, 2).map((one) => ({ ...one, offsetsEqual: false }));
    assert.equal(isClean({ ...clean, moves }, false), true);
    assert.equal(isClean({ ...clean, moves: moves.map((one) => ({ ...one, recordsEqual: false })) }, false), false);
  });

  it('is bad when a move is missing', () => {
    assert.equal(isClean({ ...clean, moves: [move, back] }), false);
  });
});

describe('a write pause', () => {
  it('is the longest of all partitions, at the last switch', () => {
    const first = [stint('legacy', 0, 100, 50), stint('next', 900, 1_000, 7), stint('legacy', 1_300, 1_400, 1)];
    const second = [stint('legacy', 0, 100, 50), stint('next', 200, 1_000, 5), stint('legacy', 1_250, 1_400, 1)];
    assert.deepEqual(lastSwitch(reportsOf(first, second)), { writePauseMs: 300, records: 12 });
  });

  it('is not made up for a partition that has not switched', () => {
    const { writePauseMs } = lastSwitch(
      reportsOf([stint('legacy', 0, 1, 1)], [stint('legacy', 0, 1, 1), stint('next', 2, 3, 1)]),
    );
    assert.ok(Number.isNaN(writePauseMs));
  });
});

describe('the table', () => {
  it('shows every move and every step once', () => {
    const lines = resultTable(clean);
    const text = lines.join('\n');
    assert.match(text, /1\. there +2\. back +3\. there/);
    assert.match(text, /records moved +24,512 +24,512 +24,512/);
    assert.match(text, /^mirror +800 ms +- +800 ms$/m);
    assert.match(text, /^rollback +- +90 ms +-$/m);
    assert.match(text, /^write pause +1,204 ms/m);
  });

  it('takes the positions from the step that carried them', () => {
    const step = (summary: string) => ({
      step: 'sync-offsets',
      wave: 'all',
      direction: 'forward',
      summary,
      startedAt: '',
      endedAt: null,
    });
    const steps = [step('earlier'), step('2 groups: 8 positions exact, 1 read 12 records again, 3 untranslatable')];
    assert.deepEqual(positionsOf(steps), { exact: 8, replays: 1, untranslatable: 3 });
    assert.match(resultTable(clean).join('\n'), /positions exact +all 10 +all 10 +all 10/);
  });

  it('takes times only of steps that have ended', () => {
    const step = (name: string, endedAt: string | null) => ({
      step: name,
      wave: 'all',
      direction: 'forward',
      summary: '',
      startedAt: '2026-01-01T00:00:00.000Z',
      endedAt,
    });
    assert.deepEqual(stepTimes([step('preflight', '2026-01-01T00:00:01.500Z'), step('mirror', null)]), [
      { step: 'preflight', ms: 1_500 },
    ]);
  });
});

function stint(cluster: string, firstAt: number, lastAt: number, records: number): Stint {
  return { cluster, firstAt, lastAt, records };
}

function reportsOf(...lanes: Stint[][]) {
  const producer = { name: 'a', cluster: '', written: 0, waiting: 0, refused: 0, unclear: 0, acknowledged: {} };
  return {
    consumers: [],
    producers: [{ ...producer, stints: Object.fromEntries(lanes.map((l, i) => [`a t-${i}`, l])) }],
  };
}
