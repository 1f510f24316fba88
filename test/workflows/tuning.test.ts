import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { MirrorShard } from '../../activities/types.ts';
import { Bench, type Migration } from './support/bench.ts';

let bench: Bench;
before(async () => {
  bench = await Bench.start();
});
after(() => bench[Symbol.asyncDispose]());

const one = { approvals: 1 };
/** VERSIONING_BEHAVIOR_AUTO_UPGRADE */
const autoUpgrade = 2;

function mirrors(migration: Migration, direction = 'forward'): MirrorShard[] {
  const requests = (migration.scenario.requests.get('mirror') ?? []) as MirrorShard[];
  return requests.filter((request) => request.direction === direction);
}

const starts = (migration: Migration, what: string) =>
  migration.scenario.background.filter((line) => line === `+${what}`).length;

/** The next call of the activity goes on until it is told to return. */
function holding(migration: Migration, name: 'endTransactions' | 'balanceShards', answer: object): () => void {
  let release: (value: object) => void = () => {};
  const held = new Promise<object>((resolve) => {
    release = resolve;
  });
  migration.scenario.next(name, () => held);
  return () => release(answer);
}

describe('a mirror that is tuned', { concurrency: 4 }, () => {
  it('goes on with the new numbers at once, and status shows them', async () => {
    const migration = await bench.migrate({ mirror: { maxBytesPerSecond: 1_000, shards: 2 }, gates: { cutover: one } });
    const gate = await migration.gate('cutover');
    assert.deepEqual(gate.mirror, { maxBytesPerSecond: 1_000, shards: 2, tuned: null });
    await migration.until('both audits run', () => starts(migration, 'audit') === 2);

    const receipt = await migration.send('tune', { by: 'ana', maxBytesPerSecond: 5_000 });
    assert.equal(receipt.text, 'tuned the mirror to 5000 bytes a second, 2 shards');
    await migration.until('the new limit is in force', ({ mirror }) => mirror?.maxBytesPerSecond === 5_000);
    await migration.until('both shards run again', () => mirrors(migration).length === 4);
    assert.deepEqual(
      mirrors(migration)
        .map(({ shard, shards, maxBytesPerSecond }) => `${maxBytesPerSecond} for shard ${shard} of ${shards}`)
        .sort(),
      ['1000 for shard 0 of 2', '1000 for shard 1 of 2', '5000 for shard 0 of 2', '5000 for shard 1 of 2'],
    );
    assert.equal(starts(migration, 'audit'), 2, 'the audit has no limit');

    await migration.signal('tune', { by: 'ana', maxBytesPerSecond: 0, shards: 1 });
    await migration.until('one shard is in force', ({ mirror }) => mirror?.shards === 1);
    await migration.until(
      'mirror and audit run again',
      () => starts(migration, 'audit') === 3 && mirrors(migration).length === 5,
    );
    assert.deepEqual(mirrors(migration).at(-1)?.maxBytesPerSecond, 0);
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.ends('tuned');
    assert.deepEqual(
      mirrors(migration, 'reverse').map(({ shards, maxBytesPerSecond }) => [shards, maxBytesPerSecond]),
      [[1, 0]],
    );
    const [evidence] = migration.scenario.requests.get('writeEvidence') as { decisions: string[] }[];
    assert.match(evidence?.decisions.join('\n') ?? '', /tuned the mirror to no limit, 1 shard, by ana/);
  });

  it('is never two mirrors at once', async () => {
    const migration = await bench.migrate({ gates: { cutover: one } });
    await migration.gate('cutover');
    for (const shards of [2, 5, 3]) await migration.signal('tune', { by: 'ana', shards });
    await migration.until('three shards are in force', ({ mirror }) => mirror?.shards === 3 && mirror.tuned === null);
    await migration.until('all three run', () =>
      mirrors(migration)
        .slice(-3)
        .every(({ shards }) => shards === 3),
    );
    let running = 0;
    let shards = 1;
    let started = 0;
    for (const line of migration.scenario.background) {
      if (line === '-mirror forward') running--;
      if (line !== '+mirror forward') continue;
      const next = mirrors(migration)[started++]?.shards ?? 0;
      if (next !== shards) assert.equal(running, 0, 'those with other settings have ended');
      shards = next;
      running++;
    }
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.ends();
  });

  it('within the fence goes on as it is until applications write again', async () => {
    const scenario = bench.prepare();
    const migration = bench.migration(scenario);
    const release = holding(migration, 'endTransactions', { summary: 'ended' });
    await bench.start(scenario, { mirror: { shards: 2 } });
    await migration.called('endTransactions forward');
    const receipt = await migration.send('tune', { by: 'ana', maxBytesPerSecond: 9_000 });
    assert.match(receipt.text, /once the fence is over$/);
    const fenced = await migration.status();
    assert.deepEqual(fenced.mirror, {
      maxBytesPerSecond: 0,
      shards: 2,
      tuned: { maxBytesPerSecond: 9_000, shards: 2 },
    });
    release();
    await migration.ends();
    assert.equal(mirrors(migration).length, 2, 'the mirror forward was not started again');
    assert.deepEqual(
      mirrors(migration, 'reverse').map(({ maxBytesPerSecond }) => maxBytesPerSecond),
      [9_000, 9_000],
    );
  });

  it('within a fence that is lifted takes its new numbers afterwards', async () => {
    const scenario = bench.prepare().hang('endTransactions');
    const migration = await bench.start(scenario, { gates: { cutover: one } });
    await migration.gate('cutover');
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.called('endTransactions forward');
    await migration.send('tune', { by: 'ana', maxBytesPerSecond: 9_000 });
    assert.equal(mirrors(migration).length, 1);
    await migration.send('pause', { by: 'ana' });
    await migration.until('the fence is lifted', ({ sourceOfTruth }) => sourceOfTruth.all === 'source');
    await migration.until('the limit is in force', ({ mirror }) => mirror?.maxBytesPerSecond === 9_000);
    await migration.until('it runs again', () => mirrors(migration).at(-1)?.maxBytesPerSecond === 9_000);
    const lifted = scenario.calls.indexOf('unfence forward');
    assert.ok(lifted >= 0);
    await migration.send('resume', { by: 'ana' });
    await migration.ends();
  });

  it('keeps its numbers when the run continues as new', async () => {
    const migration = await bench.migrate({ gates: { cutover: one } }, { memo: { continueAsNewAfterEvents: 40 } });
    const { runId } = await migration.handle.describe();
    await migration.gate('cutover');
    await migration.send('tune', { by: 'ana', shards: 2 });
    await migration.runsAnew(runId);
    const status = await migration.until('two shards', ({ mirror }) => mirror?.shards === 2);
    assert.equal(status.mirror?.tuned, null);
    await migration.until('both run', () => mirrors(migration).filter(({ shards }) => shards === 2).length >= 2);
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.ends();
  });

  it('refuses numbers that are none, and people who are on no list', async () => {
    const migration = await bench.migrate({ gates: { cutover: { approvals: 1, approvers: ['owner'] } } });
    await migration.gate('cutover');
    assert.equal(await migration.refused('tune', { by: 'stranger', shards: 2 }), 'NOT_AN_APPROVER');
    for (const wrong of [{}, { shards: 0 }, { shards: 1_001 }, { shards: 1.5 }, { maxBytesPerSecond: -1 }]) {
      assert.equal(
        await migration.refused('tune', { by: 'owner', ...wrong }),
        'MESSAGE_INVALID',
        JSON.stringify(wrong),
      );
    }
    assert.equal(await migration.refused('tune', { by: 'owner', shards: '2' }), 'MESSAGE_INVALID');
    await migration.send('approve', { gate: 'cutover', by: 'owner' });
    await migration.ends();
    assert.equal(mirrors(migration).length, 1);
  });
});

describe('shards that get on unevenly', { concurrency: 4 }, () => {
  const weights = { weights: 'weights-1', summary: 'left by shard: 9.0 MB, 0.1 MB' };

  it('are started again with partitions spread anew', async () => {
    const scenario = bench.prepare().next('balanceShards', () => weights);
    const migration = await bench.start(scenario, { mirror: { shards: 2 }, gates: { cutover: one } });
    await migration.gate('cutover');
    await migration.until('both run with the new weights', () => mirrors(migration).length === 4);
    assert.deepEqual(
      mirrors(migration).map(({ weights: name }) => name),
      [null, null, 'weights-1', 'weights-1'],
    );
    await migration.until('they are watched again', () => starts(migration, 'balanceShards forward') === 2);
    assert.equal((scenario.requests.get('balanceShards') as MirrorShard[])[1]?.weights, 'weights-1');
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.ends('balanced');
  });

  it('are left alone within the fence', async () => {
    const scenario = bench.prepare();
    const migration = bench.migration(scenario);
    const balance = holding(migration, 'balanceShards', weights);
    const release = holding(migration, 'endTransactions', { summary: 'ended' });
    await bench.start(scenario, { mirror: { shards: 2 } });
    await migration.called('endTransactions forward');
    balance();
    await migration.until('the watch has ended', () => scenario.background.includes('-balanceShards forward'));
    release();
    await migration.ends();
    assert.equal(mirrors(migration).length, 2);
  });

  it('go on when the watch over them fails', async () => {
    const scenario = bench.prepare().fail('balanceShards', 'STORAGE_CORRUPT');
    const migration = await bench.start(scenario, { mirror: { shards: 2 }, gates: { cutover: one } });
    const { failedStep } = await migration.gate('cutover');
    await migration.until('the watch has failed', () => scenario.background.includes('-balanceShards forward'));
    assert.equal(failedStep, null);
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.ends();
    assert.equal(mirrors(migration).length, 2);
  });

  it('are not watched where there is only one', async () => {
    const migration = await bench.migrate();
    await migration.ends();
    assert.equal(starts(migration, 'balanceShards forward'), 0);
  });
});

describe('workers of two builds', () => {
  it('hand a migration that is under way over to the one that is made the current version', async () => {
    await bench.stopWorkers();
    const start = async (buildId: string) => {
      const version = { deployment: 'kafka-cutover', buildId };
      await bench.startWorkers(version);
      const setCurrent = [
        'worker',
        'deployment',
        'set-current-version',
        '--yes',
        '--deployment-name',
        version.deployment,
      ];
      // Temporal knows a version once its workers have asked for tasks of both queues.
      await bench.until(`build ${buildId} is known`, () =>
        bench.temporal(...setCurrent, '--build-id', buildId).then(
          () => true,
          () => false,
        ),
      );
    };
    await start('one');
    const migration = await bench.migrate({ gates: { cutover: one } });
    const version = async () => {
      const { versioningInfo } = (await migration.handle.describe()).raw.workflowExecutionInfo ?? {};
      return [versioningInfo?.behavior, versioningInfo?.deploymentVersion?.buildId];
    };
    await migration.gate('cutover');
    assert.deepEqual(await version(), [autoUpgrade, 'one']);
    await start('two');
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
    assert.deepEqual(await version(), [autoUpgrade, 'two']);
  });
});

describe('every history of this file', () => {
  it('replays', async () => {
    assert.ok((await bench.replayAll()) >= 9);
  });
});
