import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Bench, type Migration, type Plan } from './support/bench.ts';

let bench: Bench;
before(async () => {
  bench = await Bench.start();
});
after(() => bench[Symbol.asyncDispose]());

const one = { approvals: 1 };
const later: Plan = {
  consumers: { switch: 'webhook', when: 'later' },
  gates: { finalize: one, consumers: { approvals: 0 } },
};
const approveConsumers = (migration: Migration) => migration.send('approve', { gate: 'consumers', by: 'ana' });
const follows = (migration: Migration) => {
  const lines = migration.scenario.background.filter((line) => line.endsWith('followGroups'));
  return lines.filter((line) => line.startsWith('+')).length - lines.filter((line) => line.startsWith('-')).length;
};

describe('groups that move later than the producers', { concurrency: 4 }, () => {
  it('stay until people approve, their positions following, and are handed over then', async () => {
    const migration = await bench.migrate(later);
    const waiting = await migration.gate('consumers');
    assert.equal(waiting.sourceOfTruth.all, 'target');
    assert.equal(follows(migration), 1);
    for (const early of ['moveGroups forward', 'openGroups forward', 'callSwitch forward consumers']) {
      assert.ok(!migration.scenario.calls.includes(early), early);
    }
    await approveConsumers(migration);
    await migration.gate('finalize');
    assert.equal(follows(migration), 0);
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    await migration.ends('handed-over-later');
    const { calls } = migration.scenario;
    assert.deepEqual(calls.slice(calls.indexOf('verify forward') + 1), [
      'moveGroups forward',
      'openGroups forward',
      'callSwitch forward consumers',
      'finalizeWave',
      'writeEvidence',
    ]);
    const [moved] = migration.scenario.requests.get('moveGroups') as { boundary: unknown }[];
    assert.equal(moved?.boundary, null);
  });

  it('read on where they were when the handover fails, and are tried again', async () => {
    const scenario = bench.prepare().fail('moveGroups', 'GROUP_ACTIVE', { retryable: false });
    const migration = await bench.start(scenario, later);
    await migration.gate('consumers');
    await approveConsumers(migration);
    const failed = await migration.failed('switch-consumers');
    assert.equal(failed.failedStep?.code, 'GROUP_ACTIVE');
    assert.equal(scenario.count('keepGroups'), 1);
    await migration.until('positions follow again', () => follows(migration) === 1);
    await migration.send('decide', { by: 'ana', step: 'switch-consumers', choice: 'retry' });
    await migration.gate('finalize');
    assert.equal(scenario.count('moveGroups'), 2);
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    await migration.ends();
  });

  it('are let go on until it works, when nobody may do that either for a while', async () => {
    const scenario = bench
      .prepare()
      .fail('moveGroups', 'CLUSTER_AUTH_FAILED', { retryable: false })
      .fail('keepGroups', 'CLUSTER_AUTH_FAILED', { retryable: false });
    const migration = await bench.start(scenario, later);
    await migration.gate('consumers');
    await approveConsumers(migration);
    const retry = { by: 'ana', step: 'switch-consumers', choice: 'retry' };
    assert.deepEqual((await migration.failed('switch-consumers')).failedStep?.choices, ['retry']);
    await migration.send('decide', retry);
    await migration.until('groups read on', () => scenario.count('keepGroups') === 2);
    await migration.until('people decide', ({ failedStep }) => failedStep?.choices.includes('rollback') === true);
    await migration.send('decide', retry);
    await migration.gate('finalize');
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    await migration.ends();
  });

  it('have nothing to go back for before their handover', async () => {
    const migration = await bench.migrate(later);
    await migration.gate('consumers');
    await migration.send('rollback', { by: 'ana' });
    const { outcome } = await migration.ends('back-before-handover');
    assert.equal(outcome, 'rolledBack');
    for (const never of ['moveGroups', 'openGroups', 'keepGroups'] as const) {
      assert.equal(migration.scenario.count(never), 0, never);
    }
    assert.ok(!migration.scenario.calls.includes('callSwitch reverse consumers'));
  });

  it('go back with the rest after it', async () => {
    const migration = await bench.migrate(later);
    await migration.gate('consumers');
    await approveConsumers(migration);
    await migration.gate('finalize');
    await migration.send('rollback', { by: 'ana' });
    await migration.ends();
    const back = migration.scenario.calls.filter((call) => call.includes('reverse'));
    for (const call of ['moveGroups reverse', 'openWrites reverse', 'callSwitch reverse consumers']) {
      assert.ok(back.includes(call), call);
    }
  });

  it('are kept when people roll back in the middle of the handover', async () => {
    const scenario = bench.prepare().hang('moveGroups');
    const migration = await bench.start(scenario, later);
    await migration.gate('consumers');
    await approveConsumers(migration);
    await migration.called('moveGroups forward');
    await migration.send('rollback', { by: 'ana' });
    await migration.ends();
    const { calls } = scenario;
    assert.ok(calls.indexOf('keepGroups forward') > calls.indexOf('moveGroups forward'));
    assert.ok(calls.indexOf('keepGroups forward') < calls.indexOf('closeWrites reverse'));
    assert.ok(!calls.includes('openGroups forward'));
  });
});

describe('every history of this file', () => {
  it('replays', async () => {
    assert.ok((await bench.replayAll()) >= 5);
  });
});
