/** Which replicator is recommended, and why. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { adviseOn, makeOf, type Needs } from '../../replicators/advice.ts';

const plain: Needs = {
  source: { make: 'apache', name: 'legacy' },
  target: { make: 'apache', name: 'next' },
  transactional: [],
  compacted: [],
  groups: { consumers: 3, stateful: [] },
  targetHasRecords: [],
  wantsWayBack: true,
  changesRecords: false,
  blockersForExact: [],
};
const choice = (needs: Needs, kind: string) => adviseOn(needs).choices.find((one) => one.kind === kind);

describe('advice', () => {
  it('recommends our own where nothing is in its way, and says what it spares', () => {
    const { recommended, reasons } = adviseOn({ ...plain, transactional: ['orders.paid'] });
    assert.deepEqual([recommended.kind, recommended.verdict], ['exact', 'fits']);
    assert.ok(
      reasons.some((line) => /spares you.*transactions on orders\.paid/.test(line)),
      reasons.join('\n'),
    );
  });

  it('recommends MirrorMaker 2 at its price where ours is blocked, with the blocker', () => {
    const { recommended, reasons } = adviseOn({ ...plain, blockersForExact: ['MARKERS_NOT_ALLOWED: no right'] });
    assert.deepEqual([recommended.kind, recommended.verdict], ['mirrormaker2', 'costs']);
    assert.ok(reasons.some((line) => line.includes('MARKERS_NOT_ALLOWED')));
  });

  it('names who would lose their place where offsets differ', () => {
    const costs =
      choice({ ...plain, groups: { consumers: 1, stateful: ['connect-sink'] } }, 'mirrormaker2')?.because ?? [];
    assert.ok(
      costs.some((line) => line.includes('connect-sink')),
      costs.join('\n'),
    );
  });

  it('rules out a vendor where its cluster is not the target, and what we cannot drive', () => {
    for (const [kind, why] of [
      ['cluster-linking', /not Confluent/],
      ['msk-replicator', /not Amazon MSK/],
      ['automq-linking', /not AutoMQ/],
    ] as const) {
      const found = choice(plain, kind);
      assert.equal(found?.verdict, 'no');
      assert.ok(
        found.because.some((line) => why.test(line)),
        found.because.join('\n'),
      );
    }
    const confluent = choice({ ...plain, target: { make: 'confluent', name: 'cc' } }, 'cluster-linking');
    assert.deepEqual(
      confluent?.because.filter((line) => /not Confluent/.test(line)),
      [],
    );
  });

  it('recommends a bridge where records must change, and nowhere else', () => {
    const { recommended, next } = adviseOn({ ...plain, wantsWayBack: false, changesRecords: true });
    assert.deepEqual([recommended.kind, recommended.verdict], ['bridge', 'costs']);
    assert.match(next.join('\n'), /modules: .*\n.*kind: bridge, module/);
    assert.equal(choice(plain, 'bridge')?.verdict, 'no');
    assert.equal(choice({ ...plain, changesRecords: true }, 'exact')?.verdict, 'no');
  });

  it('says what to write and to call next, also where nothing suits', () => {
    assert.match(adviseOn(plain).next.join('\n'), /kafka-cutover start FILE/);
    const blocked = adviseOn({ ...plain, blockersForExact: ['MARKERS_NOT_ALLOWED: no right'] });
    assert.match(blocked.next.join('\n'), /connects: .*\n.*kind: mirrormaker2, connect/);
    const taken = adviseOn({ ...plain, targetHasRecords: ['target, topic a'] });
    assert.match(taken.next.join('\n'), /kafka-cutover bridge FILE/);
  });

  it('recommends nothing where the target has records of its own', () => {
    const { recommended, reasons } = adviseOn({ ...plain, targetHasRecords: ['target, topic a'] });
    assert.equal(recommended.verdict, 'no');
    assert.match(reasons[0] ?? '', /nothing suits/);
  });
});

describe('whose Kafka it is', () => {
  it('shows by its address, or by settings that only that make has', () => {
    assert.equal(makeOf(['b-1.x.kafka.eu-central-1.amazonaws.com:9096'], {}), 'msk');
    assert.equal(makeOf(['pkc-1.eu-west-1.aws.confluent.cloud:9092'], {}), 'confluent');
    assert.equal(makeOf(['a:9092'], { 'confluent.tier.enable': 'false' }), 'confluent');
    assert.equal(makeOf(['a:9092'], { 's3.data.buckets': '' }), 'automq');
    assert.equal(makeOf(['a:9092'], { 'log.dirs': '/data' }), 'apache');
  });
});
