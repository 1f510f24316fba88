/** Where groups go on behind a bridge, in the corners: beyond the log, ahead of the bridge, without a position. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BridgeMap, mapRecords } from '../../mirror/bridge-map.ts';
import { asCarried, placePositions } from '../../replicators/bridge-positions.ts';

/** Two partitions of `t`: ten records each as they are into `u`, but for the last two of partition 0, of which nothing became anything. */
const map = new BridgeMap('plan');
for (const [partition, count] of [
  [0, 8],
  [1, 10],
] as const) {
  const stretches = [{ first: 0n, count, topic: 'u', partition, at: 0n }];
  for (const { key, value } of mapRecords('plan', { topic: 't', partition, next: 10n, stretches }))
    map.take(key, value);
}
const place = (positions: Readonly<Record<number, bigint>>, direction: 'forward' | 'reverse' = 'forward') => {
  const topic = direction === 'forward' ? 't' : 'u';
  const there = direction === 'forward' ? ['u/0', 'u/1', 'u/2'] : ['t/0', 't/1'];
  return placePositions(
    Object.entries(positions).map(([partition, offset]) => ({
      group: 'g',
      topic,
      partition: Number(partition),
      offset,
    })),
    {
      map,
      direction,
      names: new Map([['t', 'u']]),
      deadLetter: 'dead',
      ends: new Map([0, 1, 2].map((partition) => [`${topic}/${partition}`, 12n])),
      starts: new Map(there.map((key) => [key, 0n])),
    },
  ).toSorted((a, b) => a.partition - b.partition);
};
const told = (positions: Readonly<Record<number, bigint>>, direction?: 'forward' | 'reverse') =>
  place(positions, direction).map((p) => `${p.topic}/${p.partition} ${p.written} ${p.class} ${p.replays}`);

describe('a group behind a bridge', () => {
  it('gets a position on every partition, also where nothing came', () => {
    assert.deepEqual(told({ 0: 3n, 1: 10n }), ['u/0 3 exact 0', 'u/1 10 exact 0', 'u/2 0 exact 0']);
    assert.deepEqual(told({ 0: 9n, 1: 4n }), ['u/0 8 exact 0', 'u/1 4 exact 0', 'u/2 0 exact 0']);
  });

  it('has read nothing of a partition where it has no position', () => {
    const [, second] = place({ 0: 10n });
    assert.deepEqual([second?.written, second?.from], [0n, { 't/1': null }]);
    assert.equal(asCarried(place({ 0: 10n }))[1]?.committed, -1n);
  });

  it('reads again what it has read and the bridge has not carried yet', () => {
    assert.deepEqual(told({ 0: 12n, 1: 10n }), ['u/0 8 replays 2', 'u/1 10 exact 0', 'u/2 0 exact 0']);
  });

  it('stands nowhere beyond the end of the log', () => {
    assert.match(told({ 0: 13n, 1: 10n })[0] ?? '', /^u\/0 8 untranslatable/);
  });

  it('comes back to the first record that something unread was made of', () => {
    assert.deepEqual(told({ 0: 5n, 1: 10n }, 'reverse'), ['t/0 5 exact 0', 't/1 10 exact 0']);
    // What it has read of the target's own is nothing to the source.
    assert.deepEqual(told({ 0: 11n, 1: 12n }, 'reverse'), ['t/0 10 exact 0', 't/1 10 exact 0']);
  });
});
