import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SequenceCheck, type SequenceCounts } from '../../examples/demo/sequence-check.ts';

const clean: SequenceCounts = { records: 0, lost: 0, duplicated: 0, reordered: 0, replayed: 0, diverged: 0 };

describe('the check of numbered records', () => {
  it('finds nothing wrong with two producers that share a partition', () => {
    const counts = countsAfter([0, 0], [1, 0, 'b'], [2, 1], [3, 1, 'b'], [4, 2]);
    assert.deepEqual(counts, { ...clean, records: 5 });
  });

  it('counts a number that never comes as lost', () => {
    assert.deepEqual(countsAfter([0, 0], [1, 3]), { ...clean, records: 2, lost: 2 });
  });

  it('counts the first numbers as lost when reading begins after them', () => {
    assert.deepEqual(countsAfter([2, 2]), { ...clean, records: 1, lost: 2 });
  });

  it('counts a number that comes late as reordered, and no longer as lost', () => {
    assert.deepEqual(countsAfter([0, 0], [1, 2], [2, 1]), { ...clean, records: 3, reordered: 1 });
  });

  it('counts a number that stands in the log twice as duplicated', () => {
    assert.deepEqual(countsAfter([0, 0], [1, 1], [2, 1]), { ...clean, records: 2, duplicated: 1 });
  });

  it('counts a record that is delivered again from the same offset as replayed only', () => {
    assert.deepEqual(countsAfter([0, 0], [1, 1], [0, 0], [1, 1], [2, 2]), { ...clean, records: 3, replayed: 2 });
  });

  it('notices that another record stands where one was read before', () => {
    assert.deepEqual(countsAfter([0, 0], [1, 1], [1, 2]), { ...clean, records: 3, diverged: 1 });
  });

  it('keeps partitions apart, and reads logs that do not begin at 0', () => {
    const check = new SequenceCheck();
    const far = 2n ** 53n;
    check.see({ topic: 't', partition: 0, offset: far, producer: 'a', sequence: 0 });
    check.see({ topic: 't', partition: 0, offset: far + 1n, producer: 'a', sequence: 1 });
    check.see({ topic: 't', partition: 1, offset: 0n, producer: 'a', sequence: 0 });
    assert.deepEqual(check.counts(), { ...clean, records: 3 });
    assert.deepEqual(check.reached(), { 'a t-0': 1, 'a t-1': 0 });
  });
});

/** What is counted for records of one partition, each [offset, number, producer]. */
function countsAfter(...records: [offset: number, sequence: number, producer?: string][]): SequenceCounts {
  const check = new SequenceCheck();
  for (const [offset, sequence, producer = 'a'] of records) {
    check.see({ topic: 't', partition: 0, offset: BigInt(offset), producer, sequence });
  }
  return check.counts();
}
