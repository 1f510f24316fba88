import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { column, figure, median, percentile, ratio } from '../../bench/statistics.ts';

describe('the benchmark counts', () => {
  it('the middle value as the median, and the mean of the two middle ones', () => {
    assert.equal(median([9, 1, 5]), 5);
    assert.equal(median([9, 1, 5, 6]), 5.5);
    assert.throws(() => median([]));
  });

  it('the least and the most beside the median', () => {
    assert.deepEqual(figure([3, 1, 2]), { value: 2, least: 1, most: 3 });
  });

  it('ratios of medians, their spread from runs that stood next to each other', () => {
    assert.deepEqual(ratio([10, 20, 30], [5, 5, 6]), { value: 4, least: 2, most: 5 });
    assert.throws(() => ratio([1, 2], [1]), /2 runs beside 1/);
  });

  it('percentiles by nearest rank', () => {
    const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
    assert.equal(percentile(hundred, 0.5), 50);
    assert.equal(percentile(hundred, 0.99), 99);
    assert.equal(percentile(hundred, 1), 100);
    assert.equal(percentile([7], 0.99), 7);
    assert.throws(() => percentile([], 0.5));
  });

  it('a missing or impossible figure as a mistake, not as nothing', () => {
    assert.deepEqual(column([{ seconds: 1 }, { seconds: 2 }], 'seconds'), [1, 2]);
    assert.throws(() => column([{ seconds: 1 }, {}], 'seconds'), /without seconds/);
    assert.throws(() => column([{ seconds: Number.NaN }], 'seconds'), /without seconds/);
  });
});
