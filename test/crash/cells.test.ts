import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type Cell, cellsOf, inOrder, nextStrikes, type Points, type Strikes } from './cells.ts';
import { guards, partsAround } from './guard-list.ts';
import { Results, type Struck } from './results.ts';

const none = { begin: [], cutover: [], opened: [], back: [] };
const there = {
  begin: ['preflight forward before-complete', ...Array(4).fill('prepareTarget forward create-acls@next sent')],
  cutover: ['closeWrites', 'proveFence', 'drainToBoundary', 'openWrites'].map(
    (step) => `${step} forward before-complete`,
  ),
};
const points: Points = {
  forward: { ...none, ...there, opened: ['finalizeWave forward before-complete'] },
  reverse: {
    ...none,
    ...there,
    opened: ['closeWrites reverse before-complete'],
    back: ['settleRollback forward before-complete'],
  },
  abort: { ...none, cutover: ['closeWrites forward before-complete', 'unfence forward before-complete'] },
};

/** Always the same order. */
const unshuffled = () => 0;

function allStrikes(alone: ReadonlySet<string> = new Set()): Strikes[] {
  const strikes: Strikes[] = [];
  let pending = inOrder(cellsOf(points), unshuffled);
  for (let next = nextStrikes(pending, alone); next; next = nextStrikes(pending, alone)) {
    const { cells } = next;
    strikes.push(next);
    pending = pending.filter((one) => !cells.includes(one));
  }
  return strikes;
}

const names = (cells: readonly Cell[]) => cells.map(({ name }) => name);

describe('migrations that are struck', () => {
  it('are struck at every point in every way, each once', () => {
    const struck = allStrikes().flatMap(({ cells }) => names(cells));
    assert.equal(struck.length, 12 * 7);
    assert.deepEqual(struck.sort(), names(cellsOf(points)).sort());
  });

  it('are struck by one kind of fault, at six changes of a leg and three of a step at most, each of them once', () => {
    for (const { cells } of allStrikes()) {
      assert.equal(new Set(cells.map(({ kind }) => kind)).size, 1);
      assert.equal(new Set(names(cells)).size, cells.length);
      const most = (by: (one: Cell) => string) =>
        Math.max(...[...Map.groupBy(cells, by).values()].map(({ length }) => length));
      assert.ok(most(({ leg }) => leg) <= 6);
      assert.ok(most(({ leg, step }) => `${leg} ${step}`) <= 3);
    }
  });

  it('are not struck twice at one change, which may never be answered once it was sent', () => {
    const point = 'prepareTarget forward create-acls@next';
    const again = ['sent', 'answered', 'sent'].map((moment) => `${point} ${moment}`);
    const twice: Points = { forward: { ...none, begin: again } };
    const cells = cellsOf(twice).filter(({ kind }) => kind === 'kill');
    const struck = nextStrikes(cells, new Set())?.cells.map(({ name }) => name.replace(`forward: ${point} `, ''));
    assert.deepEqual(struck, ['sent: kill', 'sent #2: kill']);
  });

  it('are struck on a path that passes all of their points', () => {
    const [first] = allStrikes();
    assert.deepEqual([first?.path, first?.cells.length], ['reverse', 9]);
    for (const { path, cells } of allStrikes()) {
      for (const one of cells)
        assert.ok(one.path === path || (one.path === 'forward' && one.leg !== 'opened'), one.name);
    }
  });

  it('are struck once where something was wrong before', () => {
    const [wrong = ''] = names(cellsOf(points)).filter((name) => name.includes('proveFence'));
    const strikes = allStrikes(new Set([wrong]));
    assert.deepEqual(
      strikes.filter(({ cells }) => names(cells).includes(wrong)).map(({ cells }) => cells.length),
      [1],
    );
  });
});

describe('the result file', () => {
  const dir = mkdtempSync(join(tmpdir(), 'crash-results-'));
  after(() => rmSync(dir, { recursive: true, force: true }));
  const counts = { accepted: 1, refused: 1, unclear: 0, compared: 1, lost: 0, duplicated: 0, reordered: 0, seconds: 1 };
  const one = (cells: readonly string[], reached: readonly boolean[], faults: readonly string[] = []): Struck => {
    const told = { cells, reached, faults, lastsMs: cells.map(() => 0), maxHoldMs: 1, outcome: 'completed', waits: [] };
    return { ...told, ...counts, path: 'forward', build: 'b1', seed: 1, date: '2026-01-01' };
  };

  it('adds up over runs, and says what has to be run again', () => {
    const file = join(dir, 'results.json');
    const first = new Results(file);
    first.points = points;
    first.add(one(['a: kill', 'b: kill'], [true, false]));
    first.add(one(['c: kill', 'd: kill'], [true, true], ['1 records lost']));
    const second = new Results(file);
    second.add(one(['c: kill'], [true]));
    second.add(one(['e: kill', 'f: kill'], [true, true]));

    const { done, alone } = new Results(file).standing('b1');
    assert.deepEqual([...done].sort(), ['a: kill', 'c: kill', 'e: kill', 'f: kill']);
    assert.deepEqual([...alone].sort(), ['b: kill', 'c: kill', 'd: kill']);
    const { cells, byFault, wrong, notReached } = new Results(file).summary();
    assert.deepEqual([cells, byFault.kill?.wrong, wrong, notReached], [6, 1, ['c: kill + d: kill'], ['b: kill']]);
  });

  it('knows nothing of another build', () => {
    const file = join(dir, 'other.json');
    new Results(file).add(one(['a: kill'], [true]));
    assert.equal(new Results(file).standing('b2').done.size, 0);
  });
});

describe('the checks that are left out one by one', () => {
  const root = join(import.meta.dirname, '../..');

  for (const { name, leftOut, spoilt = [] } of guards) {
    it(`has lines of the product to leave out: ${name}`, () => {
      for (const edit of [...leftOut, ...spoilt]) partsAround(root, edit);
    });
  }
});
