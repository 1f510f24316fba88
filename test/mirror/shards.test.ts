import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { assignShards, isUneven, shardLoads, type Weighed, wouldEven } from '../../mirror/shards.ts';

const weighed = (weights: readonly number[]): Weighed[] =>
  weights.map((weight, partition) => ({ topic: `topic-${partition % 3}`, partition, weight }));
const heaviest = (partitions: readonly Weighed[], shards: number) =>
  Math.max(...shardLoads(partitions, assignShards(partitions, shards), shards));

/** By trying everything. */
function best(
  weights: readonly number[],
  shards: number,
  loads: readonly number[] = new Array(shards).fill(0),
): number {
  const [weight, ...rest] = weights;
  if (weight === undefined) return Math.max(...loads);
  return Math.min(...loads.map((load, shard) => best(rest, shards, loads.with(shard, load + weight))));
}

describe('partitions that must be together', () => {
  it('are carried by the first shard, whatever they weigh, and the others share the rest', () => {
    const weights = [1, 9, 9, 2, 2];
    const partitions = weights.map((weight, partition) => ({ topic: 't', partition, weight, together: weight === 9 }));
    const assigned = assignShards(partitions, 3);
    assert.deepEqual([assigned[1], assigned[2]], [0, 0]);
    assert.deepEqual(shardLoads(partitions, assigned, 3), [18, 3, 2]);
  });
});

describe('spreading partitions over shards', () => {
  const few = fc.array(fc.nat(100), { minLength: 1, maxLength: 7 });
  const many = fc.array(fc.oneof(fc.nat(1_000_000_000), fc.constant(0)), { minLength: 1, maxLength: 300 });

  it('is never further than a third from the best there is', () => {
    fc.assert(
      fc.property(few, fc.integer({ min: 1, max: 3 }), (weights, shards) => {
        assert.ok(heaviest(weighed(weights), shards) <= (4 / 3) * best(weights, shards) + 1e-9);
      }),
    );
  });

  it('gives every partition to exactly one shard that there is, whatever the order of the list', () => {
    fc.assert(
      fc.property(many, fc.integer({ min: 1, max: 20 }), fc.infiniteStream(fc.nat()), (weights, shards, order) => {
        const partitions = weighed(weights);
        const assigned = assignShards(partitions, shards);
        assert.equal(assigned.length, partitions.length);
        assert.ok(assigned.every((shard) => Number.isInteger(shard) && shard >= 0 && shard < shards));
        const shuffled = partitions
          .map((partition, index) => ({ partition, index, by: order.next().value as number }))
          .sort((a, b) => a.by - b.by);
        const again = assignShards(
          shuffled.map(({ partition }) => partition),
          shards,
        );
        shuffled.forEach(({ index }, at) => {
          assert.equal(again[at], assigned[index]);
        });
      }),
    );
  });

  it('stays below the average and the heaviest partition together', () => {
    fc.assert(
      fc.property(many, fc.integer({ min: 1, max: 20 }), (weights, shards) => {
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        assert.ok(heaviest(weighed(weights), shards) <= total / shards + Math.max(...weights) + 1e-6);
      }),
    );
  });

  it('spreads partitions without weight by their number', () => {
    const assigned = assignShards(weighed(new Array(10).fill(0)), 5);
    for (let shard = 0; shard < 5; shard++) assert.equal(assigned.filter((one) => one === shard).length, 2);
  });
});

describe('whether shards are to be balanced again', () => {
  const pace = (left: number, perSecond: number) => ({ left, perSecond });

  it('is so when the slowest would end much later than the average', () => {
    assert.equal(isUneven([pace(600_000, 1_000), pace(100_000, 1_000)]), true);
    assert.equal(isUneven([pace(600_000, 1_000), pace(600_000, 3_000), pace(0, 0)]), true);
  });

  it('is not so for one shard, for small differences, or when seconds are at stake', () => {
    assert.equal(isUneven([pace(600_000, 1)]), false);
    assert.equal(isUneven([pace(600_000, 1_000), pace(500_000, 1_000)]), false);
    assert.equal(isUneven([pace(30_000, 1_000), pace(0, 1_000)]), false);
    assert.equal(isUneven([pace(0, 0), pace(0, 0)]), false);
  });

  it('cannot help where one partition is all that is left', () => {
    const left = weighed([1_000, 10, 10]);
    assert.equal(wouldEven(left, [0, 0, 1], 2), false);
    assert.equal(wouldEven(weighed([500, 500, 10]), [0, 0, 1], 2), true);
  });
});
