/** The judge itself: what it lets pass, and what it does not. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compareSlots, type Slot, type Slots } from './slots.ts';

const record = (digest: string): Slot => ({ kind: 'record', digest });
const aborted = (digest: string): Slot => ({ kind: 'aborted', digest });
const marker: Slot = { kind: 'marker' };
const hole: Slot = { kind: 'hole' };
const log = (...slots: Slot[]): Slots => ({ start: 10n, end: 10n + BigInt(slots.length), slots });
const keep = { aborted: 'keep' } as const;
const drop = { aborted: 'drop' } as const;

const source = log(record('a'), aborted('b'), marker, hole, record('c'));

describe('the judge of slots', () => {
  it('accepts the same records with markers in place of what nobody sees', () => {
    assert.deepEqual(compareSlots(source, log(record('a'), aborted('b'), marker, marker, record('c')), keep), []);
    assert.deepEqual(compareSlots(source, log(record('a'), marker, marker, marker, record('c')), drop), []);
  });

  it('finds a marker too many, which moves every record behind it', () => {
    const moved = log(record('a'), aborted('b'), marker, marker, marker, record('c'));
    assert.deepEqual(compareSlots(source, moved, keep), [
      '10 to 15 on the source, 10 to 16 on the target',
      'offset 14: marker, not record c',
    ]);
  });

  it('finds a record written twice, another value, and one that is missing', () => {
    const wrong = log(record('a'), aborted('b'), record('a'), marker, record('x'));
    assert.deepEqual(compareSlots(source, wrong, keep), [
      'offset 12: record a, not marker',
      'offset 14: record x, not record c',
    ]);
    assert.deepEqual(compareSlots(source, log(hole, marker, marker, marker, record('c')), drop), [
      'offset 10: hole, not record a',
    ]);
  });

  it('finds an aborted record that became visible, or was kept where it should not be', () => {
    const visible = log(record('a'), record('b'), marker, marker, record('c'));
    const kept = log(record('a'), aborted('b'), marker, marker, record('c'));
    assert.deepEqual(compareSlots(source, visible, keep), ['offset 11: record b, not aborted b']);
    assert.deepEqual(compareSlots(source, kept, drop), ['offset 11: aborted b, not marker or hole']);
  });

  it('finds a committed record that only readers of uncommitted ones would see', () => {
    const hidden = log(aborted('a'), aborted('b'), marker, marker, record('c'));
    assert.deepEqual(compareSlots(source, hidden, keep), ['offset 10: aborted a, not record a']);
  });

  it('finds a record where there was a hole', () => {
    const filled = log(record('a'), aborted('b'), marker, record('d'), record('c'));
    assert.deepEqual(compareSlots(source, filled, keep), ['offset 13: record d, not hole']);
  });
});
