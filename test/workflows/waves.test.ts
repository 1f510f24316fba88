import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Bench, type Migration, type Plan } from './support/bench.ts';
import { afterOpening, goBack, toTarget } from './support/scenario.ts';

let bench: Bench;
before(async () => {
  bench = await Bench.start();
});
after(() => bench[Symbol.asyncDispose]());

const one = { approvals: 1 };
const waves = [
  { name: 'a', topics: { include: ['orders'] } },
  { name: 'b', topics: { include: ['payments'] } },
];
const topics = { include: ['orders', 'payments'] };

const twoWaves = (plan: Plan = {}): Plan => ({ topics, waves, ...plan });

/** What was called for one wave. */
const callsOf = (migration: Migration, wave: string) =>
  migration.scenario.calls.filter((call) => call.startsWith(`${wave}: `)).map((call) => call.slice(wave.length + 2));

const started = (migration: Migration, what: string) =>
  migration.scenario.background.filter((line) => line === `+${what}`).length;

const untilBothCanBeFinalized = (migration: Migration) =>
  migration.until('both can be finalized', ({ gates }) => gates.filter(({ gate }) => gate === 'finalize').length === 2);

async function bothInTheirWindows(): Promise<Migration> {
  const migration = await bench.migrate(twoWaves({ gates: { finalize: one } }));
  await untilBothCanBeFinalized(migration);
  return migration;
}

describe('waves', { concurrency: 4 }, () => {
  it('move one after the other, each through all steps, with windows that overlap', async () => {
    const migration = await bench.migrate(twoWaves({ gates: { cutover: one, finalize: one } }));
    const first = await migration.until('a waits at its gate', ({ awaiting }) => awaiting?.wave === 'a');
    assert.equal(first.awaiting?.gate, 'cutover');
    assert.deepEqual(
      first.waves.map(({ wave, step, sourceOfTruth }) => [wave, step, sourceOfTruth]),
      [
        ['a', 'fence', 'source'],
        ['b', null, 'source'],
      ],
    );
    assert.deepEqual(callsOf(migration, 'b'), []);
    await migration.send('approve', { gate: 'cutover', by: 'ana' });

    const second = await migration.until(
      'b waits at its gate while a can be finalized',
      ({ gates }) =>
        gates.some(({ gate, wave }) => gate === 'finalize' && wave === 'a') &&
        gates.some(({ gate, wave }) => gate === 'cutover' && wave === 'b'),
    );
    assert.deepEqual(second.sourceOfTruth, { a: 'target', b: 'source' });
    const [ofA] = second.waves;
    assert.match(ofA?.proof ?? '', /^legacy closed: proveFence done/);
    assert.ok(ofA?.since);
    assert.equal(started(migration, 'b: mirror forward'), 1);

    await migration.send('approve', { gate: 'cutover', by: 'ana', wave: 'b' });
    await untilBothCanBeFinalized(migration);
    await migration.send('approve', { gate: 'finalize', by: 'ana', wave: 'b' });
    await migration.send('approve', { gate: 'finalize', by: 'ana', wave: 'a' });
    const { outcome, waves: outcomes, sourceOfTruth } = await migration.ends('waves');
    assert.deepEqual([outcome, outcomes], ['completed', { a: 'completed', b: 'completed' }]);
    assert.deepEqual(sourceOfTruth, { a: 'target', b: 'target' });
    for (const wave of ['a', 'b']) {
      assert.deepEqual(callsOf(migration, wave), [
        'prepareTarget',
        ...toTarget,
        ...afterOpening('forward'),
        'finalizeWave',
      ]);
    }
    assert.equal(migration.scenario.count('writeEvidence'), 1);
    const { calls } = migration.scenario;
    assert.ok(calls.indexOf('b: prepareTarget') > calls.indexOf('a: verify forward'));
  });

  it('go back one by one: the others stay', async () => {
    const migration = await bothInTheirWindows();
    await migration.send('rollback', { by: 'ana', wave: 'a', reason: 'orders are slow' });
    await migration.until('a is back', ({ waves: all }) => all[0]?.state === 'rolledBack');
    const status = await migration.status();
    assert.deepEqual(status.sourceOfTruth, { a: 'source', b: 'target' });
    assert.deepEqual(
      status.gates.map(({ gate, wave }) => [gate, wave]),
      [['finalize', 'b']],
    );
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    const { outcome, waves: outcomes } = await migration.ends('waves-one-back');
    assert.deepEqual([outcome, outcomes], ['rolledBack', { a: 'rolledBack', b: 'completed' }]);
    const back = [...goBack, ...afterOpening('reverse'), 'settleRollback'];
    assert.deepEqual(callsOf(migration, 'a').slice(-back.length), back);
    assert.ok(!callsOf(migration, 'b').some((call) => call.includes('reverse')));
  });

  it('take messages for the one that they can be for, and ask which where it could be several', async () => {
    const migration = await bothInTheirWindows();
    for (const name of ['approve', 'rollback'] as const) {
      assert.equal(
        await migration.refused(name, { by: 'ana', ...(name === 'approve' && { gate: 'finalize' }) }),
        'MESSAGE_INVALID',
      );
    }
    assert.equal(await migration.refused('approve', { gate: 'finalize', by: 'ana', wave: 'c' }), 'GATE_NOT_OPEN');
    assert.equal(await migration.refused('abort', { by: 'ana', wave: 'b' }), 'USE_ROLLBACK');
    await migration.send('pause', { by: 'ana' });
    const paused = await migration.status();
    assert.deepEqual(
      paused.waves.map(({ state }) => state),
      ['paused', 'paused'],
    );
    await migration.send('resume', { by: 'ana', wave: 'b' });
    assert.deepEqual(
      (await migration.status()).waves.map(({ state }) => state),
      ['paused', 'waiting'],
    );
    await migration.send('resume', { by: 'ana' });
    await migration.send('approve', { gate: 'finalize', by: 'ana', wave: 'a' });
    const last = await migration.until('a is done', ({ waves: all }) => all[0]?.state === 'completed');
    assert.equal(last.next, `kafka-cutover approve ${last.name} finalize --wave b --by WHO`);
    assert.equal(await migration.refused('rollback', { by: 'ana', wave: 'a' }), 'GATE_NOT_OPEN');
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    const { waves: outcomes } = await migration.ends();
    assert.deepEqual(outcomes, { a: 'completed', b: 'completed' });
    const [evidence] = migration.scenario.requests.get('writeEvidence') as { decisions: string[] }[];
    assert.match(evidence?.decisions.join('\n') ?? '', /approved finalize, 1 of 1 \(wave a\), by ana/);
  });

  it('an abort ends the one that has not opened, and none begins after it', async () => {
    const three = [...waves, { name: 'c', topics: { include: ['refunds'] } }];
    const migration = await bench.migrate({
      topics: { include: ['orders', 'payments', 'refunds'] },
      waves: three,
      gates: { cutover: one, finalize: one },
    });
    await migration.gate('cutover');
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.until('b waits', ({ gates }) => gates.some(({ gate, wave }) => gate === 'cutover' && wave === 'b'));
    await migration.send('abort', { by: 'ana' });
    await migration.until('b is over', ({ waves: all }) => all[1]?.state === 'aborted');
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    const { outcome, waves: outcomes } = await migration.ends('waves-aborted');
    assert.deepEqual([outcome, outcomes], ['aborted', { a: 'completed', b: 'aborted', c: 'aborted' }]);
    assert.equal(callsOf(migration, 'b').at(-1), 'undoAll');
    assert.deepEqual(callsOf(migration, 'c'), []);
  });

  it('one that goes back before it is verified keeps the next from beginning', async () => {
    const scenario = bench.prepare().fail('verify', 'PARITY_FAILED');
    const migration = await bench.start(scenario, twoWaves());
    await migration.failed('verify');
    await migration.send('decide', { by: 'ana', step: 'verify', choice: 'rollback' });
    const { outcome, waves: outcomes, sourceOfTruth } = await migration.ends();
    assert.deepEqual([outcome, outcomes], ['rolledBack', { a: 'rolledBack', b: 'aborted' }]);
    assert.deepEqual(sourceOfTruth, { a: 'source', b: 'source' });
    assert.deepEqual(callsOf(migration, 'b'), []);
  });

  it('continue as new together, and do nothing twice', async () => {
    const migration = await bench.migrate(twoWaves({ gates: { cutover: one, finalize: one } }), {
      memo: { continueAsNewAfterEvents: 60 },
    });
    await migration.gate('cutover');
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.until('both wait', ({ gates }) => gates.length === 2);
    const { runId } = await migration.handle.describe();
    // Messages make the history as long as days of waiting would.
    while ((await migration.handle.describe()).runId === runId) {
      await migration.signal('pause', { by: 'ana' });
      await migration.signal('resume', { by: 'ana' });
    }
    const status = await migration.until('both wait again', ({ gates }) => gates.length === 2);
    assert.deepEqual(status.sourceOfTruth, { a: 'target', b: 'source' });
    await migration.until(
      'mirrors of both waves run again',
      () => started(migration, 'a: mirror reverse') >= 2 && started(migration, 'b: mirror forward') >= 2,
    );
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await untilBothCanBeFinalized(migration);
    await migration.send('approve', { gate: 'finalize', by: 'ana', wave: 'a' });
    await migration.send('approve', { gate: 'finalize', by: 'ana', wave: 'b' });
    const { outcome } = await migration.ends('waves-continued');
    assert.equal(outcome, 'completed');
    for (const wave of ['a', 'b']) {
      const calls = callsOf(migration, wave);
      for (const once of [
        'prepareTarget',
        'closeWrites forward',
        'openWrites forward',
        'verify forward',
        'finalizeWave',
      ]) {
        assert.equal(calls.filter((call) => call === once).length, 1, `${once} of ${wave}`);
      }
    }
  });

  it('the next one waits while people have asked for a pause', async () => {
    const scenario = bench.prepare();
    let release: (value: object) => void = () => {};
    scenario.next(
      'verify',
      () =>
        new Promise((resolve) => {
          release = resolve;
        }),
    );
    const migration = await bench.start(scenario, twoWaves({ gates: { finalize: one } }));
    await migration.called('a: verify forward');
    await migration.send('pause', { by: 'ana' });
    release({ summary: 'verified' });
    await migration.until('a is paused', ({ waves: all }) => all[0]?.state === 'paused');
    assert.deepEqual(callsOf(migration, 'b'), []);
    await migration.send('resume', { by: 'ana' });
    await migration.until('both can be finalized', ({ gates }) => gates.length === 2);
    for (const wave of ['a', 'b']) await migration.send('approve', { gate: 'finalize', by: 'ana', wave });
    await migration.ends();
  });

  it('a cancel aborts the one that has not opened and rolls the others back', async () => {
    const migration = await bench.migrate(twoWaves({ gates: { cutover: one, finalize: one } }));
    await migration.gate('cutover');
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.until('b waits', ({ gates }) => gates.some(({ gate, wave }) => gate === 'cutover' && wave === 'b'));
    await migration.handle.cancel();
    const { waves: outcomes, sourceOfTruth } = await migration.ends('waves-cancelled');
    assert.deepEqual(outcomes, { a: 'rolledBack', b: 'aborted' });
    assert.deepEqual(sourceOfTruth, { a: 'source', b: 'source' });
  });
});

describe('every history of this file', () => {
  it('replays', async () => {
    assert.ok((await bench.replayAll()) >= 8);
  });
});
