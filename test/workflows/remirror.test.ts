import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { finding } from '../../contract/errors.ts';
import { Bench } from './support/bench.ts';

let bench: Bench;
before(async () => {
  bench = await Bench.start();
});
after(() => bench[Symbol.asyncDispose]());

const one = { approvals: 1 };

describe('a topic in which the audit finds a wrong slot', { concurrency: 2 }, () => {
  it('is mirrored again by itself while the mirror rests, and the finding is shown', async () => {
    const scenario = bench.prepare();
    const found = finding('TOPIC_REMIRRORED', 'target, topic orders', 'offset 7: extra');
    let mirrorsThen: string[] = [];
    scenario.next('remirror', () => {
      mirrorsThen = scenario.background.filter((line) => line.endsWith('mirror forward'));
      return { summary: 'mirrored again', findings: [found] };
    });
    const spoil = scenario.failLater('audit', 'PARITY_FAILED');
    const migration = await bench.start(scenario, { gates: { cutover: one } });
    await migration.gate('cutover');

    spoil();

    await migration.until('the finding is shown', ({ findings }) =>
      findings.some((f) => f.code === 'TOPIC_REMIRRORED'),
    );
    await migration.until('mirror and audit run again', () => {
      const starts = (what: string) => scenario.background.filter((line) => line === `+${what}`).length;
      return starts('mirror forward') === 2 && starts('audit') === 2;
    });
    assert.deepEqual(mirrorsThen, ['+mirror forward', '-mirror forward']);
    assert.equal(scenario.count('remirror'), 1);
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.ends();
  });

  it('that may not be deleted is shown to people, with the mirror running', async () => {
    const scenario = bench.prepare().fail('remirror', 'PARITY_FAILED');
    const spoil = scenario.failLater('audit', 'PARITY_FAILED');
    const migration = await bench.start(scenario, { gates: { cutover: one } });
    await migration.gate('cutover');

    spoil();

    const status = await migration.until('people are asked', ({ failedStep }) => failedStep !== null);
    assert.equal(status.failedStep?.code, 'PARITY_FAILED');
    await migration.until(
      'the mirror runs again',
      () => scenario.background.filter((line) => line === '+mirror forward').length === 2,
    );
    await migration.send('abort', { by: 'ana' });
    await migration.ends();
  });
});
