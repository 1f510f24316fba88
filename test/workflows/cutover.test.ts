import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { finding } from '../../contract/errors.ts';
import { phases, type Status, type StepRecord } from '../../contract/status.ts';
import { Bench } from './support/bench.ts';
import { afterOpening, beatOn, failure, goBack, toTarget } from './support/scenario.ts';

let bench: Bench;
before(async () => {
  bench = await Bench.start();
});
after(() => bench[Symbol.asyncDispose]());

const one = { approvals: 1 };

describe('a cutover without people', { concurrency: 4 }, () => {
  it('runs every step in order and completes', async () => {
    const migration = await bench.migrate();
    const result = await migration.ends('completed');
    assert.equal(result.outcome, 'completed');
    assert.deepEqual(result.sourceOfTruth, { all: 'target' });
    assert.equal(result.evidence.artifact, 'evidence-1');
    assert.deepEqual(migration.scenario.calls, [
      'prepareTarget',
      ...toTarget,
      ...afterOpening('forward'),
      'finalizeWave',
      'writeEvidence',
    ]);
    const { steps, state } = await migration.status();
    assert.equal(state, 'completed');
    assert.ok(steps.every((record) => record.endedAt !== null));
    assert.deepEqual(
      steps.map((record) => record.step),
      [
        'preflight',
        'prepare-target',
        'mirror',
        'drain-lag',
        'drain-lag',
        'fence',
        'sync-offsets',
        'switch-producers',
        'switch-consumers',
        'verify',
        'finalize',
      ],
    );
  });

  it('hands on with the evidence when each part of the pause ended, in the order in which they did', async () => {
    const migration = await bench.migrate();
    await migration.ends();
    const [evidence] = migration.scenario.requests.get('writeEvidence') as { steps: StepRecord[] }[];
    const ended = evidence?.steps.flatMap(({ startedAt, endedAt, phases: own = [] }) => {
      assert.ok(own.every((phase) => startedAt <= phase.endedAt && phase.endedAt <= (endedAt ?? '')));
      return own;
    });
    const names = ended?.map(({ name }) => name) ?? [];
    assert.equal(names[0], 'close');
    // Beside the proof.
    assert.deepEqual(names.slice(1, 6).sort(), ['drain', 'prove', 'settings', 'shut-out', 'transactions']);
    assert.deepEqual(names.slice(6), ['positions', 'decision', 'open-writes']);
    assert.ok(names.every((name) => phases.includes(name)));
    assert.deepEqual(
      ended?.map(({ endedAt }) => endedAt),
      ended?.map(({ endedAt }) => endedAt).sort(),
    );
  });

  it('keeps mirrors, audit, positions and the watch running only while each is wanted', async () => {
    const migration = await bench.migrate();
    await migration.ends('followed');
    const { background } = migration.scenario;
    const at = (what: string) => background.indexOf(what);
    assert.ok(at('-mirror forward') < at('+mirror reverse'), 'the forward mirror ends before the reverse one begins');
    assert.deepEqual([...background].sort(), [
      '+audit',
      '+followGroups',
      '+followMetadata',
      '+mirror forward',
      '+mirror reverse',
      '+watchFence source',
      '-audit',
      '-followGroups',
      '-followMetadata',
      '-mirror forward',
      '-mirror reverse',
      '-watchFence source',
    ]);
  });

  it('runs one mirror and one audit per shard', async () => {
    const migration = await bench.migrate({ mirror: { shards: 3 } });
    await migration.ends();
    const shards = migration.scenario.requests.get('mirror') as { direction: string; shard: number; shards: number }[];
    const forward = shards.filter((request) => request.direction === 'forward');
    assert.deepEqual(forward.map((request) => request.shard).sort(), [0, 1, 2]);
    assert.ok(forward.every((request) => request.shards === 3));
  });

  it('keeps its history short', async () => {
    const migration = await bench.migrate();
    await migration.ends();
    const { events = [] } = await migration.handle.fetchHistory();
    assert.ok((events?.length ?? 0) < 250, `${events?.length} events`);
  });
});

describe('preflight', { concurrency: 4 }, () => {
  it('fails the run with BLOCKED and shows the blockers, and nothing is changed', async () => {
    const scenario = bench.prepare();
    scenario.findings = [finding('NO_TOPICS', 'legacy', 'nothing matches')];
    const migration = await bench.start(scenario);
    assert.equal(await migration.fails('blocked'), 'BLOCKED');
    assert.deepEqual(scenario.calls, []);
    const status = await migration.status();
    assert.equal(status.state, 'failed');
    assert.equal(status.findings[0]?.code, 'NO_TOPICS');
  });

  it("refuses another workflow id than the plan's", async () => {
    const scenario = bench.prepare();
    const migration = await bench.start(scenario, {}, { id: `cutover/other-${scenario.name}` });
    assert.equal(await migration.fails(), 'WORKFLOW_ID_MISMATCH');
    assert.deepEqual(scenario.calls, []);
  });

  it('refuses a plan with an unknown key', async () => {
    const migration = await bench.migrate({ surprise: true } as object);
    assert.equal(await migration.fails(), 'PLAN_INVALID');
  });

  it('refuses four eyes without a starter', async () => {
    assert.equal(await (await bench.migrate({ fourEyes: true })).fails(), 'PLAN_INVALID');
  });

  it('tries a cluster that does not answer three times and fails with its code', async () => {
    const scenario = bench.prepare();
    for (let i = 0; i < 3; i++) scenario.fail('preflight', 'CLUSTER_UNREACHABLE');
    const migration = await bench.start(scenario);
    assert.equal(await migration.fails(), 'CLUSTER_UNREACHABLE');
  });
});

describe('an abort', { concurrency: 4 }, () => {
  it('at gate start ends the run without undoing anything', async () => {
    const migration = await bench.migrate({ gates: { start: one } });
    await migration.gate('start');
    await migration.send('abort', { by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'aborted');
    assert.deepEqual(migration.scenario.calls, ['writeEvidence']);
  });

  it('before the fence stops the mirror and undoes every change', async () => {
    const migration = await bench.migrate({ gates: { cutover: one } });
    await migration.gate('cutover');
    await migration.send('abort', { by: 'ana', removeTarget: true });
    const result = await migration.ends('aborted-before-fence');
    assert.equal(result.outcome, 'aborted');
    assert.deepEqual(result.sourceOfTruth, { all: 'source' });
    assert.deepEqual(migration.scenario.calls, ['prepareTarget', 'drainLag forward', 'undoAll', 'writeEvidence']);
    const [undo] = migration.scenario.requests.get('undoAll') ?? [];
    assert.partialDeepStrictEqual(undo, { removeTarget: true, wave: 'all', inventory: 'inventory-digest-1' });
    assert.ok(migration.scenario.background.includes('-mirror forward'));
  });

  it('while it prepares cancels what is under way and undoes', async () => {
    const scenario = bench.prepare().hang('prepareTarget');
    const migration = await bench.start(scenario);
    await migration.called('prepareTarget');
    await migration.signal('abort', { by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'aborted');
    assert.deepEqual(scenario.calls, ['prepareTarget', 'undoAll', 'writeEvidence']);
  });

  it('inside the fence lifts the fence before anything is undone', async () => {
    const scenario = bench.prepare().hang('drainToBoundary');
    const migration = await bench.start(scenario);
    await migration.called('drainToBoundary forward');
    assert.deepEqual((await migration.status()).sourceOfTruth, { all: 'none' });
    await migration.send('abort', { by: 'ana' });
    const result = await migration.ends('aborted-in-fence');
    assert.equal(result.outcome, 'aborted');
    assert.deepEqual(result.sourceOfTruth, { all: 'source' });
    assert.deepEqual(scenario.calls.slice(-4), [
      'drainToBoundary forward',
      'unfence forward',
      'undoAll',
      'writeEvidence',
    ]);
  });

  it('reports what could not be undone', async () => {
    const scenario = bench.prepare();
    scenario.next('undoAll', () => ({ summary: 'undone', undone: 1, notUndone: ['ACL x: delete it by hand'] }));
    const migration = await bench.start(scenario, { gates: { cutover: one } });
    await migration.gate('cutover');
    await migration.send('rollback', { by: 'ana' });
    const result = await migration.ends();
    assert.equal(result.outcome, 'aborted', 'a rollback before the opening equals an abort');
    assert.deepEqual(result.notUndone, ['ACL x: delete it by hand']);
  });

  it("is what Temporal's cancel means before the opening", async () => {
    const migration = await bench.migrate({ gates: { cutover: one } });
    await migration.gate('cutover');
    await migration.handle.cancel();
    assert.equal((await migration.ends('cancelled')).outcome, 'aborted');
    assert.ok(migration.scenario.calls.includes('undoAll'));
  });

  it('is refused with USE_ROLLBACK once the target is open', async () => {
    const migration = await bench.migrate({ gates: { finalize: one } });
    await migration.gate('finalize');
    assert.equal(await migration.refused('abort', { by: 'ana' }), 'USE_ROLLBACK');
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
  });
});

describe('the fence', { concurrency: 4 }, () => {
  it('is lifted when its time is over, and tried again after the lag is ready', async () => {
    const scenario = bench.prepare().hang('proveFence');
    const migration = await bench.start(scenario, { fence: { maxHold: '6s' } });
    const result = await migration.ends('fence-expired');
    assert.equal(result.outcome, 'completed');
    assert.deepEqual(scenario.calls.slice(0, 12), [
      'prepareTarget',
      'drainLag forward',
      'drainLag forward',
      'closeWrites forward',
      'proveFence forward',
      'endTransactions forward',
      'drainToBoundary forward',
      'shutOutMirror forward',
      'restoreSettings forward',
      'unfence forward',
      'drainLag forward',
      'drainLag forward',
    ]);
    assert.equal(scenario.count('closeWrites'), 2);
  });

  it('is tried three times for a passing reason, then waits for a decision', async () => {
    const scenario = bench.prepare();
    for (let i = 0; i < 3; i++) scenario.fail('proveFence', 'FENCE_NOT_PROVEN');
    const migration = await bench.start(scenario);
    const status = await migration.failed('fence');
    assert.equal(status.failedStep?.code, 'FENCE_NOT_PROVEN');
    assert.deepEqual(status.failedStep?.choices, ['retry', 'rollback']);
    assert.equal(status.state, 'waiting');
    assert.deepEqual(status.sourceOfTruth, { all: 'source' });
    assert.equal(status.next, `kafka-cutover decide ${scenario.name} fence retry --by WHO`);
    assert.equal(scenario.count('unfence'), 3);
    assert.equal(await migration.refused('decide', { step: 'fence', choice: 'skip', by: 'ana' }), 'MESSAGE_INVALID');
    await migration.send('decide', { step: 'fence', choice: 'retry', by: 'ana' });
    assert.equal((await migration.ends('fence-decided')).outcome, 'completed');
  });

  it('waits for a decision at once when trying again cannot help, and rollback there aborts', async () => {
    const scenario = bench.prepare().fail('drainToBoundary', 'PARITY_FAILED');
    const migration = await bench.start(scenario);
    await migration.failed('fence');
    await migration.signal('decide', { step: 'fence', choice: 'rollback', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'aborted');
    assert.deepEqual(scenario.calls.slice(-3), ['unfence forward', 'undoAll', 'writeEvidence']);
  });

  it('gives the mirror its work back when it is lifted after the mirror was shut out', async () => {
    const scenario = bench.prepare().fail('decideOpening', 'FENCE_EXPIRED');
    const migration = await bench.start(scenario);
    assert.equal((await migration.ends()).outcome, 'completed');
    const mirrors = scenario.background.filter((line) => line.includes('mirror'));
    assert.deepEqual(mirrors, [
      '+mirror forward',
      '-mirror forward',
      '+mirror reverse',
      '-mirror reverse',
      '+mirror forward',
      '-mirror forward',
      '+mirror reverse',
      '-mirror reverse',
    ]);
  });

  it('promotes after the opening decision, before anybody is let in, where the replicator wants that', async () => {
    const scenario = bench.prepare().fail('promote', 'KAFKA_REQUEST_FAILED');
    const migration = await bench.start(scenario, { replicator: { kind: 'cluster-linking', at: 'confluent' } });
    assert.equal((await migration.ends()).outcome, 'completed');
    const from = scenario.calls.indexOf('decideOpening forward');
    assert.deepEqual(scenario.calls.slice(from, from + 4), [
      'decideOpening forward',
      'promote forward',
      'promote forward',
      'openWrites forward',
    ]);
  });

  it('goes forward when opening was decided but the answer was lost', async () => {
    const scenario = bench.prepare().fail('decideOpening', 'KAFKA_REQUEST_FAILED', { retryable: false });
    scenario.fail('unfence', 'UNFENCE_REFUSED');
    const migration = await bench.start(scenario);
    assert.equal((await migration.ends('decision-answer-lost')).outcome, 'completed');
    assert.equal(scenario.count('closeWrites'), 1);
    const from = scenario.calls.indexOf('decideOpening forward');
    assert.deepEqual(scenario.calls.slice(from, from + 3), [
      'decideOpening forward',
      'unfence forward',
      'openWrites forward',
    ]);
  });

  it('is lifted for a pause, and closed again after resume without a new approval', async () => {
    const scenario = bench.prepare().hang('drainToBoundary');
    const migration = await bench.start(scenario, { gates: { cutover: one } });
    await migration.gate('cutover');
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.called('drainToBoundary forward');
    await migration.send('pause', { by: 'ben' });
    const paused = await migration.until('it is paused', (status) => status.state === 'paused');
    assert.deepEqual(paused.sourceOfTruth, { all: 'source' });
    assert.equal(paused.next, `kafka-cutover resume ${scenario.name} --by WHO`);
    await migration.send('resume', { by: 'ben' });
    assert.equal((await migration.ends('paused-in-fence')).outcome, 'completed');
    assert.equal(scenario.count('closeWrites'), 2);
    assert.equal(scenario.count('unfence'), 1);
  });

  it('opens the gate again when the digest changed before the next attempt', async () => {
    const scenario = bench.prepare().fail('proveFence', 'FENCE_NOT_PROVEN');
    scenario.next('unfence', () => {
      scenario.digest = 'digest-2';
      return { summary: 'lifted', undone: 1, notUndone: [] };
    });
    const migration = await bench.start(scenario, { gates: { cutover: one } });
    await migration.gate('cutover');
    await migration.send('approve', { by: 'ana' });
    const status = await migration.until('it asks again', (now) => now.awaiting?.digest === 'digest-2');
    assert.deepEqual(status.awaiting?.given, []);
    await migration.until('it has prepared again', () => scenario.count('prepareTarget') === 2);
    await migration.send('approve', { by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
  });

  it('counts on the mirror: a mirror that diverges inside it lifts the fence and waits for people', async () => {
    const scenario = bench.prepare().hang('drainToBoundary');
    const diverge = scenario.failLater('mirror', 'TARGET_DIVERGED');
    const migration = await bench.start(scenario);
    await migration.called('drainToBoundary forward');
    diverge();
    const status = await migration.failed('mirror');
    assert.equal(status.failedStep?.code, 'TARGET_DIVERGED');
    await migration.until('the fence is lifted', (now) => now.sourceOfTruth.all === 'source');
    await migration.send('decide', { step: 'mirror', choice: 'retry', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
  });
});

describe('a failed step', { concurrency: 4 }, () => {
  it('before the fence waits for a decision and is tried again', async () => {
    const scenario = bench.prepare().fail('prepareTarget', 'CLAIMED_BY_OTHER');
    const migration = await bench.start(scenario);
    const status = await migration.failed('prepare-target');
    assert.equal(status.failedStep?.code, 'CLAIMED_BY_OTHER');
    assert.equal(await migration.refused('decide', { step: 'verify', choice: 'retry', by: 'a' }), 'NOTHING_TO_DECIDE');
    await migration.send('decide', { step: 'prepare-target', choice: 'retry', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
    assert.equal(scenario.count('prepareTarget'), 2);
  });

  it('in the background holds the next border up until people decide', async () => {
    const scenario = bench.prepare().fail('mirror', 'SOURCE_TRUNCATED').hang('drainLag');
    const migration = await bench.start(scenario);
    assert.deepEqual((await migration.failed('mirror')).failedStep?.choices, ['retry', 'rollback']);
    await migration.send('decide', { step: 'mirror', choice: 'rollback', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'aborted');
    assert.ok(scenario.calls.includes('undoAll'));
  });

  it('after the opening may be skipped, and a skipped verify never finalizes by itself', async () => {
    const scenario = bench.prepare().fail('verify', 'PARITY_FAILED');
    const migration = await bench.start(scenario);
    await migration.failed('verify');
    await migration.send('decide', { step: 'verify', choice: 'skip', by: 'ana' });
    const status = await migration.gate('finalize');
    assert.equal(status.awaiting?.needed, 1);
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
  });

  it('while opening is tried until it works', async () => {
    const scenario = bench.prepare();
    scenario.fail('openWrites', 'CLUSTER_UNREACHABLE').fail('openWrites', 'CLUSTER_ACCESS_DENIED');
    const migration = await bench.start(scenario);
    const status = await migration.failed('switch-producers');
    assert.deepEqual(status.failedStep?.choices, ['retry']);
    assert.deepEqual(status.sourceOfTruth, { all: 'none' });
    await migration.send('decide', { step: 'switch-producers', choice: 'retry', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
    assert.equal(scenario.count('openWrites'), 3);
  });

  it('of the watch over the fence lifts the fence while that is possible', async () => {
    const scenario = bench.prepare();
    scenario.fail('watchFence', 'ACCESS_CHANGED').hang('endTransactions');
    const migration = await bench.start(scenario);
    const failed = (status: Status) => status.failedStep?.step === 'fence' && status.sourceOfTruth.all === 'source';
    const status = await migration.until('the fence is lifted', failed);
    assert.equal(status.failedStep?.code, 'ACCESS_CHANGED');
    assert.deepEqual(status.failedStep?.choices, ['retry', 'rollback']);
    assert.deepEqual(scenario.calls.slice(-2), ['endTransactions forward', 'unfence forward']);
    await migration.send('abort', { by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'aborted');
  });

  it('of the watch over the fence asks nobody once the fence is being lifted', async () => {
    const scenario = bench.prepare().fail('decideOpening', 'FENCE_EXPIRED', { retryable: false });
    let isLifting = false;
    let isLifted = false;
    // It sees applications that write again, before it hears that it is to end.
    scenario.next('watchFence', async () => {
      while (!isLifting) await beatOn();
      throw failure('SOURCE_WRITTEN_AFTER_FENCE');
    });
    scenario.next('unfence', async () => {
      isLifting = true;
      while (!isLifted) await beatOn();
      return { summary: 'undone', undone: 1, notUndone: [] };
    });
    const migration = await bench.start(scenario, { gates: { finalize: one } });
    await bench.until('the watch has failed', async () => {
      const { events } = await migration.handle.fetchHistory();
      return events?.some(({ activityTaskFailedEventAttributes: failed }) =>
        failed?.failure?.message?.includes('SOURCE_WRITTEN_AFTER_FENCE'),
      );
    });
    const { failedStep, step } = await migration.status();
    assert.deepEqual([failedStep, step], [null, 'switch-producers']);
    isLifted = true;
    await migration.gate('finalize');
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    assert.equal((await migration.ends('lifted-beside-watch')).outcome, 'completed');
    assert.deepEqual([scenario.count('unfence'), scenario.count('closeWrites')], [1, 2]);
  });

  it('of the watch over the fence is an alarm after the opening, which people may end', async () => {
    const scenario = bench.prepare();
    const change = scenario.failLater('watchFence', 'ACCESS_CHANGED');
    const migration = await bench.start(scenario, { producers: { switch: 'manual' } });
    await migration.gate('producers');
    change();
    const status = await migration.failed('fence');
    assert.deepEqual(status.failedStep?.choices, ['retry', 'rollback', 'skip']);
    await migration.send('approve', { gate: 'producers', by: 'ana' });
    await migration.send('decide', { step: 'fence', choice: 'skip', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
  });

  it('of the reverse mirror may be given up, and then there is no way back', async () => {
    const scenario = bench.prepare();
    scenario.hang('mirror');
    const loop = scenario.failLater('mirror', 'MIRROR_LOOP');
    const migration = await bench.start(scenario, { gates: { finalize: one } });
    await migration.gate('finalize');
    loop();
    await migration.failed('mirror');
    await migration.send('decide', { step: 'mirror', choice: 'skip', by: 'ana' });
    assert.equal(await migration.refused('rollback', { by: 'ana' }), 'ROLLBACK_IMPOSSIBLE');
    await migration.send('approve', { by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
  });
});

describe('a rollback after the opening', { concurrency: 4 }, () => {
  it('runs the cutover backwards and ends on the source', async () => {
    const migration = await bench.migrate({ gates: { finalize: one } });
    await migration.gate('finalize');
    await migration.send('rollback', { by: 'ana', reason: 'orders are late' });
    const result = await migration.ends('rolled-back');
    assert.equal(result.outcome, 'rolledBack');
    assert.deepEqual(result.sourceOfTruth, { all: 'source' });
    assert.deepEqual(migration.scenario.calls, [
      'prepareTarget',
      ...toTarget,
      ...afterOpening('forward'),
      ...goBack,
      ...afterOpening('reverse'),
      'settleRollback',
      'writeEvidence',
    ]);
    const drained = migration.scenario.requests.get('moveGroups') as { boundary: string }[];
    assert.deepEqual(
      drained.map((request) => request.boundary),
      ['boundary-forward', 'boundary-reverse'],
    );
    const { step, steps } = await migration.status();
    assert.equal(step, 'rollback');
    assert.ok(steps.some((record) => record.step === 'fence' && record.direction === 'reverse'));
  });

  it('says its cost first and waits for a second approver', async () => {
    const gates = { finalize: one, cutover: { approvals: 0, approvers: ['ana', 'ben'] }, rollback: { approvals: 2 } };
    const migration = await bench.migrate({ gates });
    await migration.gate('finalize');
    await migration.send('rollback', { by: 'Ana' });
    const status = await migration.gate('rollback');
    assert.deepEqual(status.awaiting?.facts, ['0 records lost', '412 target-native records carried back']);
    assert.deepEqual(status.awaiting?.approvers, ['ana', 'ben'], "they default to the cutover gate's");
    assert.deepEqual(
      status.awaiting?.given.map((given) => given.by),
      ['Ana'],
    );
    assert.equal(status.step, 'rollback');
    assert.equal(await migration.refused('rollback', { by: 'ana' }), 'ALREADY_APPROVED');
    await migration.send('rollback', { by: 'ben' });
    assert.equal((await migration.ends()).outcome, 'rolledBack');
  });

  it('that is rejected leaves the run where it was, with the approvals that it had', async () => {
    const gates = { finalize: { approvals: 2 }, rollback: { approvals: 2 } };
    const migration = await bench.migrate({ gates });
    await migration.gate('finalize');
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    await migration.send('rollback', { by: 'ben' });
    await migration.gate('rollback');
    assert.equal(await migration.refused('approve', { by: 'eva' }), 'MESSAGE_INVALID', 'two gates are open');
    await migration.send('reject', { gate: 'rollback', by: 'eva' });
    const status = await migration.gate('finalize');
    assert.equal(status.awaiting?.given.length, 1);
    assert.deepEqual(status.sourceOfTruth, { all: 'target' });
    await migration.send('approve', { gate: 'finalize', by: 'eva' });
    assert.equal((await migration.ends('rollback-rejected')).outcome, 'completed');
  });

  it('that fails before its own decision gives the target back and shows why', async () => {
    const scenario = bench.prepare();
    const migration = await bench.start(scenario, { gates: { finalize: one } });
    await migration.gate('finalize');
    scenario.fail('drainToBoundary', 'AUDIT_BEHIND', { retryable: false });
    await migration.send('rollback', { by: 'ana' });
    await migration.called('unfence reverse');
    const status = await migration.gate('finalize');
    assert.deepEqual(status.sourceOfTruth, { all: 'target' });
    assert.ok(status.findings.some((found) => found.code === 'AUDIT_BEHIND' && found.where === 'rollback'));
    await migration.send('rollback', { by: 'ana' });
    assert.equal((await migration.ends('rollback-failed-once')).outcome, 'rolledBack');
    const mirrors = scenario.background.filter((line) => line.includes('mirror'));
    assert.deepEqual(mirrors, ['+mirror forward', '-mirror forward', '+mirror reverse', '-mirror reverse']);
  });

  it('paused inside its fence lifts it, and goes on after resume', async () => {
    const scenario = bench.prepare();
    const migration = await bench.start(scenario, { gates: { finalize: one } });
    await migration.gate('finalize');
    scenario.hang('proveFence');
    await migration.send('rollback', { by: 'ana' });
    await migration.called('proveFence reverse');
    await migration.send('pause', { by: 'ana' });
    const paused = await migration.until('it is paused', (status) => status.state === 'paused');
    assert.deepEqual(paused.sourceOfTruth, { all: 'target' });
    await migration.send('resume', { by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'rolledBack');
  });

  it('is refused where there is no reverse mirror', async () => {
    const rollback = { window: '0s', reverseMirror: false };
    const migration = await bench.migrate({ gates: { finalize: one }, rollback });
    await migration.gate('finalize');
    assert.equal(await migration.refused('rollback', { by: 'ana' }), 'ROLLBACK_IMPOSSIBLE');
    assert.equal(await migration.refused('reject', { gate: 'finalize', by: 'ana' }), 'ROLLBACK_IMPOSSIBLE');
    await migration.handle.cancel();
    const refused = await migration.until('the cancel is refused', (status) => status.refused.length > 0);
    assert.equal(refused.refused[0]?.code, 'ROLLBACK_IMPOSSIBLE');
    await migration.send('approve', { by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
    assert.ok(!migration.scenario.background.includes('+mirror reverse'));
  });

  it("is what Temporal's cancel means after the opening", async () => {
    const migration = await bench.migrate({ gates: { finalize: one } });
    await migration.gate('finalize');
    await migration.handle.cancel();
    assert.equal((await migration.ends()).outcome, 'rolledBack');
  });

  it('asks people again to point producers and consumers back when they switch by hand', async () => {
    const manual = { switch: 'manual' } as const;
    const migration = await bench.migrate({ gates: { finalize: one }, producers: manual, consumers: manual });
    for (const gate of ['producers', 'consumers'] as const) {
      await migration.gate(gate);
      await migration.send('approve', { gate, by: 'ana' });
    }
    await migration.gate('finalize');
    await migration.send('rollback', { by: 'ana' });
    await migration.gate('producers');
    assert.equal(await migration.refused('reject', { gate: 'producers', by: 'ana' }), 'ROLLBACK_IMPOSSIBLE');
    await migration.send('approve', { gate: 'producers', by: 'ana' });
    await migration.gate('consumers');
    await migration.send('approve', { gate: 'consumers', by: 'ana' });
    assert.equal((await migration.ends('rolled-back-by-hand')).outcome, 'rolledBack');
    assert.equal(migration.scenario.count('callSwitch'), 0);
  });
});

describe('every history of this file', () => {
  it('replays', async () => {
    assert.ok((await bench.replayAll()) > 10);
  });
});
