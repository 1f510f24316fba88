import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LoggedRecord } from '../../examples/demo/judge.ts';
import { bothOpen, verdictOn } from './verdict.ts';
import type { Accepted } from './writers.ts';

type Cluster = 'legacy' | 'next';
const place = 'records-0';

/** Of record `sequence` of the cluster's writer, which stands at `offset`; on its way from `at` - 1 to `at`. */
function accepted(cluster: Cluster, sequence: number, offset: number, at: number): Accepted {
  const producer = `${cluster}-old-0`;
  const where = { topic: 'records', partition: 0, baseOffset: String(offset), firstSequence: sequence, count: 1 };
  return { ...where, cluster, producer, sentAt: at - 1, at };
}

const logged = (cluster: Cluster, sequence: number, offset: number): LoggedRecord => ({
  offset: BigInt(offset),
  producer: `${cluster}-old-0`,
  sequence,
  hash: `${cluster} ${sequence}`,
});

/** Two records on the cluster that was left, then two where applications moved to. */
const moved = [
  accepted('legacy', 0, 0, 10),
  accepted('legacy', 1, 1, 20),
  accepted('next', 0, 2, 40),
  accepted('next', 1, 3, 50),
];
const log = [logged('legacy', 0, 0), logged('legacy', 1, 1), logged('next', 0, 2), logged('next', 1, 3)];

function faultsWith(changed: {
  readonly accepted?: readonly Accepted[];
  readonly home?: readonly LoggedRecord[];
  readonly other?: readonly LoggedRecord[];
  readonly found?: readonly string[];
}): string {
  const { faults } = verdictOn({
    home: 'next',
    moves: 1,
    accepted: changed.accepted ?? moved,
    logs: {
      next: new Map([[place, changed.home ?? log]]),
      legacy: new Map([[place, changed.other ?? log.slice(0, 3)]]),
    },
    positions: { wanted: ['0@3'], found: changed.found ?? ['0@3'] },
  });
  return faults.join('\n');
}

describe('the verdict on a migration that was struck', () => {
  it('finds nothing wrong when applications moved once and both logs agree', () => {
    assert.equal(faultsWith({}), '');
  });

  it('sees a record that was lost', () => {
    assert.match(
      faultsWith({ home: [...log.slice(0, 2), logged('next', 1, 2)], other: log.slice(0, 2) }),
      /1 records lost/,
    );
  });

  it('sees a record that stands in the log twice, such as one that was written though it was refused', () => {
    assert.match(faultsWith({ home: [...log, logged('next', 1, 4)] }), /1 duplicated/);
  });

  it('sees records out of order', () => {
    const home = [...log.slice(0, 2), logged('next', 1, 2), logged('next', 0, 3)];
    assert.match(faultsWith({ home, other: home }), /1 reordered/);
  });

  it('sees an acknowledged record that is not where the application was told', () => {
    assert.match(faultsWith({ home: log.slice(0, 3) }), /acknowledged at offset 3 by next, found nothing/);
  });

  it('sees a record that only the cluster holds that was left', () => {
    const other = [...log.slice(0, 2), logged('legacy', 2, 2)];
    assert.match(faultsWith({ other }), /2 \(next-old-0 0\) against 2 \(legacy-old-0 2\)/);
  });

  it('sees a group that does not stand where it stood', () => {
    assert.match(faultsWith({ found: ['0@2'] }), /the group stands at 0@2 on next, wanted 0@3/);
  });

  it('sees both clusters accept within one fence', () => {
    assert.match(faultsWith({ accepted: [...moved, accepted('legacy', 2, 2, 45)] }), /legacy accepted 1 records/);
  });
});

describe('who may accept', () => {
  const there = [accepted('legacy', 0, 0, 10), accepted('next', 0, 1, 20), accepted('next', 1, 2, 30)];

  it('may be the other cluster when applications have moved, and nobody else when they have not', () => {
    assert.deepEqual(bothOpen(there, 1), []);
    assert.match(bothOpen(there, 0).join(), /next accepted 2 records .* though nothing had moved/);
  });

  it('may be the first again when they came back, and only then', () => {
    const back = [...there, accepted('legacy', 1, 3, 40), accepted('legacy', 2, 4, 50)];
    assert.deepEqual(bothOpen(back, 2), []);
    assert.notDeepEqual(bothOpen(back, 1), []);
    assert.match(
      bothOpen([...back, accepted('next', 2, 5, 45)], 2).join(),
      /next accepted 1 records .* legacy was open/,
    );
  });

  it('is in doubt for records that were on their way at the same time', () => {
    const overlapping = { ...accepted('legacy', 1, 1, 25), sentAt: 15 };
    assert.deepEqual(bothOpen([...there, overlapping], 1), []);
  });
});
