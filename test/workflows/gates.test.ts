import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { asActivities } from '../../activities/failures.ts';
import { holdingActivities } from '../../activities/holding.ts';
import { signedAnswer } from '../../client/signing.ts';
import { finding } from '../../contract/errors.ts';
import { run, written } from '../client/command-line.ts';
import { Bench, type Migration } from './support/bench.ts';
import { beat } from './support/scenario.ts';

let bench: Bench;
before(async () => {
  bench = await Bench.start();
});
after(() => bench[Symbol.asyncDispose]());

const one = { approvals: 1 };

describe('a gate', { concurrency: 4 }, () => {
  it('that wants two approvals wants two people', async () => {
    const migration = await bench.migrate({ gates: { cutover: { approvals: 2 } } });
    const open = await migration.gate('cutover');
    assert.equal(open.state, 'waiting');
    assert.equal(open.step, 'fence');
    assert.equal(open.next, `kafka-cutover approve ${open.name} cutover --by WHO`);
    assert.equal(open.awaiting?.needed, 2);
    assert.ok(open.awaiting?.facts.some((fact) => fact.includes('lag 7 records')));
    assert.deepEqual(open.lagRecords, 7);

    assert.equal((await migration.send('approve', { gate: 'cutover', by: 'ana' })).text, 'approved cutover, 1 of 2');
    assert.equal(await migration.refused('approve', { gate: 'cutover', by: ' ANA ' }), 'ALREADY_APPROVED');
    await migration.signal('approve', { gate: 'cutover', by: 'Ana' });
    const refused = await migration.until('the second one is refused', (status) => status.refused.length === 1);
    assert.deepEqual([refused.refused[0]?.code, refused.refused[0]?.by], ['ALREADY_APPROVED', 'Ana']);
    assert.equal(migration.scenario.count('closeWrites'), 0);

    await migration.send('approve', { gate: 'cutover', by: 'ben' });
    assert.equal((await migration.ends('two-approvals')).outcome, 'completed');
  });

  it('takes approvals from its list alone, trimmed and in any case, and not from the starter', async () => {
    const migration = await bench.migrate({
      gates: { start: { approvals: 1, approvers: ['Kafka-Owner', 'starter'] } },
      startedBy: 'Starter',
      fourEyes: true,
    });
    await migration.gate('start');
    assert.equal(await migration.refused('approve', { gate: 'start', by: 'eva' }), 'NOT_AN_APPROVER');
    assert.equal(await migration.refused('reject', { gate: 'start', by: 'eva' }), 'NOT_AN_APPROVER');
    assert.equal(await migration.refused('abort', { by: 'eva' }), 'NOT_AN_APPROVER');
    assert.equal(await migration.refused('approve', { gate: 'start', by: ' STARTER' }), 'FOUR_EYES');
    await migration.signal('approve', { gate: 'start', by: ' kafka-owner ' });
    assert.equal((await migration.ends()).outcome, 'completed');
  });

  it('refuses early, late, misaddressed and malformed messages, and no later one hangs', async () => {
    const migration = await bench.migrate({ gates: { start: one, cutover: one } });
    const { digest } = await migration.gate('start');
    assert.equal(await migration.refused('approve', { gate: 'cutover', by: 'ana' }), 'GATE_NOT_OPEN');
    assert.equal(await migration.refused('approve', { gate: 'start', by: 'ana', digest: 'x' }), 'DIGEST_MISMATCH');
    assert.equal(await migration.refused('approve', { gate: 'start' }), 'MESSAGE_INVALID');
    assert.equal(await migration.refused('approve', { gate: 'begin' as 'start', by: 'ana' }), 'MESSAGE_INVALID');
    assert.equal(await migration.refused('decide', { step: 'fence', choice: 'retry', by: 'a' }), 'NOTHING_TO_DECIDE');
    await migration.signal('approve', { gate: 'cutover', by: 'ana' });
    await migration.handle.signal('approve');
    await migration.handle.signal('approve', 'yes');
    const { refused } = await migration.until('all are refused', (status) => status.refused.length === 3);
    assert.deepEqual(
      refused.map((refusal) => refusal.code),
      ['GATE_NOT_OPEN', 'MESSAGE_INVALID', 'MESSAGE_INVALID'],
    );
    await migration.send('approve', { gate: 'start', by: 'ana', digest: digest ?? '' });
    await migration.gate('cutover');
    assert.equal(await migration.refused('approve', { gate: 'start', by: 'ana' }), 'ALREADY_APPROVED');
    assert.equal(await migration.refused('approve', { gate: 'start', by: 'ben' }), 'GATE_NOT_OPEN');
    assert.equal(await migration.refused('approve', { gate: 'cutover', wave: 'two', by: 'ben' }), 'GATE_NOT_OPEN');
    await migration.send('approve', { by: 'ben', wave: 'all' });
    assert.equal((await migration.ends('refused-messages')).outcome, 'completed');
  });

  it('drops approvals when the digest changed, shows the difference, and stays open', async () => {
    const migration = await bench.migrate({ gates: { start: { approvals: 2 } } });
    await migration.gate('start');
    await migration.send('approve', { gate: 'start', by: 'ana' });
    migration.scenario.digest = 'digest-2';
    migration.scenario.difference = ['topic orders has 12 partitions'];
    await migration.send('approve', { gate: 'start', by: 'ben' });
    const status = await migration.until('they are dropped', (now) => now.awaiting?.digest === 'digest-2');
    assert.deepEqual(status.awaiting?.given, []);
    const changed = status.findings.find((found) => found.code === 'DIGEST_CHANGED');
    assert.match(changed?.message ?? '', /12 partitions/);
    assert.equal(await migration.refused('approve', { by: 'ana', digest: 'digest-1' }), 'DIGEST_MISMATCH');
    await migration.send('approve', { by: 'ana', digest: 'digest-2' });
    await migration.send('approve', { by: 'ben' });
    assert.equal((await migration.ends('digest-changed')).outcome, 'completed');
    const [prepared] = migration.scenario.requests.get('prepareTarget') ?? [];
    assert.partialDeepStrictEqual(prepared, { inventory: 'inventory-digest-2' });
  });

  it('cutover prepares what is new before it asks again', async () => {
    const migration = await bench.migrate({ gates: { cutover: one } });
    await migration.gate('cutover');
    migration.scenario.digest = 'digest-2';
    await migration.send('approve', { by: 'ana' });
    await migration.until('it has prepared again', () => migration.scenario.count('prepareTarget') === 2);
    await migration.send('approve', { by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
    const [, again] = migration.scenario.requests.get('prepareTarget') ?? [];
    assert.partialDeepStrictEqual(again, { inventory: 'inventory-digest-2' });
    const mirrors = migration.scenario.requests.get('mirror') ?? [];
    assert.partialDeepStrictEqual(mirrors[1], { direction: 'forward', inventory: 'inventory-digest-2' });
  });

  it('keeps the approvals of other gates when a digest changes', async () => {
    const migration = await bench.migrate({ gates: { start: one, finalize: one } });
    await migration.gate('start');
    await migration.send('approve', { by: 'ana' });
    await migration.gate('finalize');
    migration.scenario.digest = 'digest-2';
    await migration.send('approve', { by: 'ana' });
    await migration.until('the finalize gate shows the new one', (now) => now.awaiting?.digest === 'digest-2');
    await migration.send('approve', { by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
  });

  it('that is rejected at start ends the run, and nothing was changed', async () => {
    const migration = await bench.migrate({ gates: { start: one } });
    await migration.gate('start');
    await migration.send('reject', { gate: 'start', by: 'ana', reason: 'not this week' });
    assert.equal((await migration.ends('rejected-at-start')).outcome, 'rejected');
    assert.deepEqual(migration.scenario.calls, ['writeEvidence']);
    const [evidence] = migration.scenario.requests.get('writeEvidence') ?? [];
    assert.match((evidence as { decisions: string[] }).decisions[0] ?? '', /rejected start, by ana.*not this week/);
  });

  it('that is rejected at cutover mirrors on and opens again on resume', async () => {
    const migration = await bench.migrate({ gates: { cutover: { approvals: 2 } } });
    await migration.gate('cutover');
    await migration.send('approve', { by: 'ana' });
    await migration.send('reject', { by: 'ben' });
    const paused = await migration.until('it waits', (status) => status.state === 'paused');
    assert.deepEqual(paused.gates, []);
    assert.ok(!migration.scenario.background.includes('-mirror forward'));
    await migration.send('resume', { by: 'ben' });
    const again = await migration.gate('cutover');
    assert.deepEqual(again.awaiting?.given, []);
    await migration.send('approve', { by: 'ana' });
    await migration.send('approve', { by: 'ben' });
    assert.equal((await migration.ends('rejected-at-cutover')).outcome, 'completed');
  });

  for (const rejected of ['producers', 'consumers', 'finalize'] as const) {
    it(`that is rejected at ${rejected} opens gate rollback, to which the rejection is no approval`, async () => {
      const manual = { switch: 'manual' } as const;
      const switches = rejected === 'finalize' ? {} : { [rejected]: manual };
      const migration = await bench.migrate({ gates: { finalize: one }, ...switches });
      await migration.gate(rejected);
      await migration.send('reject', { gate: rejected, by: 'ana' });
      const status = await migration.gate('rollback');
      assert.deepEqual(status.awaiting?.given, []);
      await migration.send('reject', { gate: 'rollback', by: 'ben' });
      await migration.gate(rejected);
      await migration.send('reject', { gate: rejected, by: 'ana' });
      await migration.gate('rollback');
      await migration.send('approve', { gate: 'rollback', by: 'ana' });
      if (rejected !== 'finalize') {
        await migration.gate(rejected);
        await migration.send('approve', { gate: rejected, by: 'ana' });
      }
      assert.equal((await migration.ends()).outcome, 'rolledBack');
    });
  }

  it('that times out rejects and never approves', async () => {
    const start = await bench.migrate({ gates: { start: { approvals: 1, timeout: '300ms' } } });
    const cutover = await bench.migrate({ gates: { cutover: { approvals: 1, timeout: '300ms' } } });
    const finalize = await bench.migrate({ gates: { finalize: { approvals: 1, timeout: '300ms' } } });
    assert.equal((await start.ends('timed-out-at-start')).outcome, 'rejected');
    const waiting = await cutover.until('it waits for resume', (status) => status.state === 'paused');
    assert.deepEqual(waiting.sourceOfTruth, { all: 'source' });
    await cutover.signal('abort', { by: 'ana' });
    assert.equal((await cutover.ends()).outcome, 'aborted');
    await finalize.gate('rollback');
    await finalize.send('approve', { by: 'ana' });
    assert.equal((await finalize.ends()).outcome, 'rolledBack');
  });

  it('with approvals 0 at finalize passes when the rollback window ends, and not before', async () => {
    const migration = await bench.migrate({ rollback: { window: '5s' } });
    const status = await migration.gate('finalize');
    assert.equal(status.next, null, 'nobody is awaited');
    assert.equal((await migration.ends()).outcome, 'completed');
    const { steps, waves } = await migration.status();
    const finalized = steps.find(({ step }) => step === 'finalize')?.startedAt ?? '';
    const waited = Date.parse(finalized) - Date.parse(waves[0]?.since ?? '');
    assert.ok(waited >= 5_000, `waited ${waited} ms`);
  });

  it('does not pass while the run is paused', async () => {
    const migration = await bench.migrate({ gates: { cutover: one } });
    await migration.gate('cutover');
    await migration.send('pause', { by: 'ana' });
    await migration.send('approve', { by: 'ben' });
    const status = await migration.until('it is paused', (now) => now.state === 'paused');
    assert.equal(status.awaiting?.given.length, 1);
    assert.equal(status.next, `kafka-cutover resume ${status.name} --by WHO`);
    assert.equal(migration.scenario.count('closeWrites'), 0);
    await migration.send('resume', { by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
  });

  it('shows itself in search attributes and in the details of the UI', async () => {
    const migration = await bench.migrate({ gates: { cutover: one } });
    const { name } = await migration.gate('cutover');
    const metadata = await migration.handle.query<{ currentDetails?: string }>('__temporal_workflow_metadata');
    const details = metadata.currentDetails ?? '';
    assert.match(details, /Gate cutover: 0 of 1 approvals/);
    assert.ok(details.includes(`kafka-cutover approve ${name} cutover --by WHO`));
    assert.ok(
      details.includes(
        `temporal workflow signal --workflow-id cutover/${name} --name approve --input '{"gate":"cutover","by":"WHO"}'`,
      ),
    );
    const { searchAttributes, memo } = await migration.handle.describe();
    assert.equal(memo?.digest, 'digest-1');
    assert.deepEqual(searchAttributes, {
      MigrationStep: ['fence'],
      SourceCluster: ['legacy'],
      TargetCluster: ['next'],
      AwaitingApproval: [true],
      SourceOfTruth: ['all=source'],
      BuildIds: searchAttributes.BuildIds,
      TemporalChangeVersion: searchAttributes.TemporalChangeVersion,
    });
    const views = /^## Views[\s\S]*?^```\n([\s\S]*?)^```/m.exec(await readFile('docs/temporal.md', 'utf8'))?.[1] ?? '';
    const [running = '', waiting = '', ...others] = views.trim().split('\n');
    assert.equal(others.length, 5);
    for (const query of others) await bench.env.client.workflow.count(query);
    // The list comes a moment after.
    for (const query of [running, waiting]) {
      const found = `${query} AND WorkflowId = '${migration.handle.workflowId}'`;
      await bench.until(query, async () => (await bench.env.client.workflow.count(found)).count === 1);
    }
    await migration.send('abort', { by: 'ana' });
    await migration.ends();
  });

  it('shows in the details of the UI what a running activity finds, and when it was read', async () => {
    const where = 'cluster legacy, transaction t-1';
    const found = finding('OPEN_TRANSACTION', where, 'open for 31 s');
    const scenario = bench.prepare().next('drainLag', async () => {
      for (;;) await beat({ findings: [found] });
    });
    const { readHolding } = asActivities(holdingActivities(), { endless: true });
    let isHeard = false;
    const real: typeof readHolding = async (request) => {
      while (!isHeard) await beat();
      return readHolding(request);
    };
    scenario.next('readHolding', real);
    const migration = await bench.start(scenario);
    const shown = async () => {
      const metadata = await migration.handle.query<{ currentDetails?: string }>('__temporal_workflow_metadata');
      return metadata.currentDetails ?? '';
    };
    await migration.until('drain-lag waits', ({ step }) => step === 'drain-lag');
    assert.doesNotMatch(await shown(), /OPEN_TRANSACTION/);
    await bench.until('the heartbeat is with the server', async () => {
      const { raw } = await migration.handle.describe();
      return raw.pendingActivities?.some(({ activityType, heartbeatDetails }) => {
        return activityType?.name === 'drainLag' && heartbeatDetails;
      });
    });
    isHeard = true;
    const at =
      /### Found by what runs, as of \S+\n- OPEN_TRANSACTION \(cluster legacy, transaction t-1\): open for 31 s/;
    await bench.until('it is shown', async () => at.test(await shown()));
    assert.deepEqual((await migration.status()).findings, [], 'of what ran, `status` reads by itself');
    const again = () => (scenario.requests.get('readHolding') ?? [])[1] as Parameters<typeof readHolding>[0];
    await bench.until('it is read again', async () => again());
    assert.deepEqual([again().shown, again().restMs], [[found], 15_000]);
    await migration.send('abort', { by: 'ana' });
    assert.equal((await migration.ends('found-while-running')).outcome, 'aborted');
  });
});

describe('a gate whose proof is required', { concurrency: 2 }, () => {
  const signed = { approvals: 2, approvers: ['ana', 'ben'], proof: 'required' as const };
  let keys: { readonly ana: KeyObject; readonly ben: KeyObject };
  before(() => {
    keys = { ana: bench.scenarios.signer('Ana'), ben: bench.scenarios.signer('ben') };
  });
  type Said = { run?: string; digest?: string; message?: 'approve' | 'reject' };

  /** A message of `by` about the gate as it is shown, or as the test would have it. */
  async function answer(migration: Migration, by: 'ana' | 'ben', key: KeyObject, said: Said = {}, validMs?: number) {
    const [status, { raw }] = await Promise.all([migration.status(), migration.handle.describe()]);
    const gate = status.awaiting ?? assert.fail('no gate is open');
    const run = raw.workflowExecutionInfo?.firstRunId ?? '';
    const shown = { ...gate, approvers: [...gate.approvers], facts: [], given: [] };
    const about = { message: 'approve', migration: status.name, run, gate: shown, by, ...said } as const;
    return { gate: gate.gate, by, ...signedAnswer(key, about, validMs) };
  }

  it('counts what is signed for this gate, run and plan by the key of an approver who may, and shows it as verified', async () => {
    const migration = await bench.migrate({ gates: { cutover: signed } });
    const { awaiting } = await migration.gate('cutover');
    assert.equal(awaiting?.proof, 'required');
    const eves = generateKeyPairSync('ed25519').privateKey;
    const refusals: [string, Record<string, unknown>][] = [
      ['PROOF_REQUIRED', { gate: 'cutover', by: 'ana' }],
      ['PROOF_REQUIRED', { gate: 'cutover', by: 'ana', signature: 'x' }],
      ['PROOF_INVALID', await answer(migration, 'ana', eves)],
      ['PROOF_INVALID', await answer(migration, 'ana', keys.ben)],
      ['PROOF_INVALID', await answer(migration, 'ana', keys.ana, { message: 'reject' })],
      ['PROOF_INVALID', await answer(migration, 'ana', keys.ana, { run: 'an earlier one' })],
      ['PROOF_INVALID', await answer(migration, 'ana', keys.ana, { digest: 'digest-0' })],
      ['PROOF_INVALID', await answer(migration, 'ana', keys.ana, {}, -1)],
      ['PROOF_INVALID', { ...(await answer(migration, 'ana', keys.ana)), expiresAt: '2999-01-01T00:00:00Z' }],
      ['NOT_AN_APPROVER', { ...(await answer(migration, 'ana', keys.ana)), by: 'eve' }],
    ];
    for (const [code, message] of refusals) assert.equal(await migration.refused('approve', message), code);
    assert.equal(await migration.refused('reject', { gate: 'cutover', by: 'ana' }), 'PROOF_REQUIRED');
    await migration.signal('approve', await answer(migration, 'ana', eves));
    const { refused } = await migration.until('the forged signal is refused', ({ refused }) => refused.length > 0);
    assert.deepEqual([refused[0]?.code, refused[0]?.by], ['PROOF_INVALID', 'ana']);

    const good = await answer(migration, 'ana', keys.ana);
    assert.equal((await migration.send('approve', good)).text, 'approved cutover, 1 of 2');
    assert.equal(await migration.refused('approve', good), 'ALREADY_APPROVED');
    const { awaiting: half } = await migration.status();
    assert.deepEqual(
      half?.given.map(({ by, how, channel }) => [by, how, channel]),
      [['ana', 'verified', 'update']],
    );
    assert.equal(migration.scenario.count('closeWrites'), 0);
    await migration.signal('approve', await answer(migration, 'ben', keys.ben));
    assert.equal((await migration.ends('signed-approvals')).outcome, 'completed');
  });

  it('that is opened again wants to be signed again, and what it shows may not change while a signature is checked', async () => {
    const migration = await bench.migrate({ gates: { cutover: signed } });
    await migration.gate('cutover');
    const early = await answer(migration, 'ana', keys.ana);
    await migration.send('reject', await answer(migration, 'ben', keys.ben, { message: 'reject' }));
    await migration.until('it is rejected', ({ state }) => state === 'paused');
    await migration.send('resume', { by: 'ana' });
    await migration.gate('cutover');
    assert.equal(await migration.refused('approve', early), 'PROOF_INVALID');

    const released = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    migration.scenario.next('verifyApproval', () => {
      asked.resolve();
      return released.promise;
    });
    const late = migration.refused('approve', await answer(migration, 'ana', keys.ana));
    await asked.promise;
    await migration.send('reject', await answer(migration, 'ben', keys.ben, { message: 'reject' }));
    await migration.until('it is rejected again', ({ state }) => state === 'paused');
    await migration.send('resume', { by: 'ana' });
    await migration.gate('cutover');
    released.resolve();
    assert.equal(await late, 'PROOF_INVALID');

    // The command signs what the workflow checks.
    const files = { ana: written(pem(keys.ana), 'pem'), ben: written(pem(keys.ben), 'pem') };
    const env = { TEMPORAL_ADDRESS: bench.env.address };
    const command = (by: 'ana' | 'ben', ...more: string[]) =>
      run(['approve', migration.scenario.name, 'cutover', '--by', by, ...more, '--json'], env);
    const unsigned = await command('ana');
    assert.equal((unsigned.json().error as { code: string }).code, 'PROOF_REQUIRED');
    assert.equal(unsigned.exitCode, 3);
    const approved = [await command('ana', '--key', files.ana), await command('ben', '--key', files.ben)];
    assert.deepEqual(
      approved.map(({ exitCode, stderr }) => [exitCode, stderr]),
      [
        [0, ''],
        [0, ''],
      ],
    );
    assert.equal((await migration.ends()).outcome, 'completed');
  });

  it('rollback is not approved by asking for it', async () => {
    const migration = await bench.migrate({
      rollback: { window: '1h' },
      gates: { finalize: one, rollback: { approvals: 1, approvers: ['ana'], proof: 'required' } },
    });
    await migration.gate('finalize');
    await migration.send('rollback', { by: 'ana' });
    const { awaiting } = await migration.gate('rollback');
    assert.deepEqual(awaiting?.given, []);
    assert.equal(await migration.refused('rollback', { by: 'ana' }), 'PROOF_REQUIRED');
    await migration.send('approve', await answer(migration, 'ana', keys.ana));
    assert.equal((await migration.ends()).outcome, 'rolledBack');
  });
});

const pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

describe("the temporal command's signals", () => {
  it('are enough to start, approve, roll back and approve that', async () => {
    const scenario = bench.prepare();
    const id = `cutover/${scenario.name}`;
    const plan = {
      name: scenario.name,
      source: 'legacy',
      target: 'next',
      topics: { include: ['orders'] },
      producers: { switch: 'webhook' },
      consumers: { switch: 'webhook' },
      gates: { cutover: { approvals: 2 } },
    };
    const input = JSON.stringify(plan);
    const queue = ['--task-queue', 'kafka-cutover'];
    await bench.temporal('workflow', 'start', '--type', 'cutover', ...queue, '--workflow-id', id, '--input', input);
    const migration = bench.migration(scenario);
    const signal = (name: string, message: object) =>
      bench.temporal('workflow', 'signal', '--workflow-id', id, '--name', name, '--input', JSON.stringify(message));
    await migration.gate('cutover');
    await signal('approve', { gate: 'cutover', by: 'x' });
    await signal('approve', { gate: 'cutover', by: 'y' });
    await migration.gate('finalize');
    await signal('rollback', { by: 'x' });
    assert.equal((await migration.ends()).outcome, 'rolledBack');
  });
});

describe('an open gate', () => {
  it('has somebody who reminds of it for as long as it is open, wherever the run continues', async () => {
    const migration = await bench.migrate(
      { gates: { cutover: { approvals: 1, remindEvery: '2h' } } },
      { memo: { continueAsNewAfterEvents: 40 } },
    );
    const { runId } = await migration.handle.describe();
    await migration.gate('cutover');
    const reminding = () => {
      const lines = migration.scenario.background.filter((line) => line.endsWith('remind'));
      return lines.filter((line) => line.startsWith('+')).length - lines.filter((line) => line.startsWith('-')).length;
    };
    await migration.runsAnew(runId);
    await migration.until('one reminds again', () => reminding() === 1);
    const asked = migration.scenario.requests.get('remind')?.at(-1) as { gate: string; everyMs: number };
    assert.deepEqual([asked.gate, asked.everyMs], ['cutover', 7_200_000]);
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.ends();
    await migration.until('nobody reminds', () => reminding() === 0);
  });
});

describe('a run that lasts', () => {
  it('goes on with another worker at an open gate', async () => {
    const migration = await bench.migrate({ gates: { cutover: { approvals: 3 } } });
    await migration.gate('cutover');
    await migration.send('approve', { by: 'ana' });
    await bench.stopWorkers();
    await migration.signal('approve', { gate: 'cutover', by: 'ben' });
    await bench.startWorkers();
    const mirrors = () => migration.scenario.background.filter((line) => line === '+mirror forward');
    await migration.until('the mirror goes on with the next worker', () => mirrors().length === 2);
    const { awaiting } = await migration.status();
    assert.equal(awaiting?.given.length, 2);
    await migration.send('approve', { by: 'eva' });
    assert.equal((await migration.ends('another-worker')).outcome, 'completed');
  });

  it('continues as new with an open gate and the approval that it has', async () => {
    const memo = { continueAsNewAfterEvents: 60 };
    const migration = await bench.migrate({ gates: { start: one, cutover: { approvals: 3 } } }, { memo });
    await migration.gate('start');
    await migration.send('approve', { gate: 'start', by: 'ana' });
    await migration.gate('cutover');
    const first = (await migration.handle.describe()).runId;
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    for (let i = 0; i < 20; i++) await migration.signal('approve', { gate: 'start', by: `late-${i}` });
    await migration.send('approve', { gate: 'cutover', by: 'ben' });
    const status = await migration.until('it runs anew', (now) => now.awaiting?.given.length === 2);
    assert.deepEqual(
      status.awaiting?.given.map((given) => given.by),
      ['ana', 'ben'],
    );
    await migration.runsAnew(first);
    assert.equal(migration.scenario.count('prepareTarget'), 1, 'what was done is not done again');
    assert.equal(await migration.refused('approve', { gate: 'start', by: 'ana' }), 'ALREADY_APPROVED');
    await migration.send('approve', { gate: 'cutover', by: 'eva' });
    const result = await migration.handle.result();
    assert.partialDeepStrictEqual(result, { outcome: 'completed', sourceOfTruth: { all: 'target' } });
    await migration.keepHistory('continued');
    assert.equal(migration.scenario.count('closeWrites'), 1);
    const { background } = migration.scenario;
    assert.equal(
      background.filter((line) => line.startsWith('+')).length,
      background.filter((line) => line.startsWith('-')).length,
      'every background activity that began has ended',
    );
  });

  it('continues as new on the way back', async () => {
    const memo = { continueAsNewAfterEvents: 70 };
    const gates = { finalize: one, rollback: { approvals: 2 } };
    const migration = await bench.migrate({ gates }, { memo });
    await migration.gate('finalize');
    await migration.send('rollback', { by: 'ana' });
    await migration.gate('rollback');
    for (let i = 0; i < 30; i++) await migration.signal('approve', { gate: 'start', by: `late-${i}` });
    await migration.send('approve', { gate: 'rollback', by: 'ben' });
    const result = await migration.handle.result();
    assert.partialDeepStrictEqual(result, { outcome: 'rolledBack', sourceOfTruth: { all: 'source' } });
    await migration.keepHistory('continued-on-the-way-back');
    for (const once of ['closeWrites', 'decideOpening', 'openWrites'] as const) {
      assert.equal(migration.scenario.count(once), 2, `${once} once a direction`);
    }
  });
});

describe('a fence that people hold', { concurrency: 4 }, () => {
  const byPeople = { fence: { kind: 'manual' }, gates: { cutover: one, finalize: one } } as const;
  const beyondTheGate = async (migration: Migration) => {
    await migration.gate('cutover');
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
  };

  it('begins once they have stopped what writes, and not when they said so', async () => {
    const scenario = bench.prepare();
    let stoppedAtMs = 0;
    scenario.next('awaitStopped', () => {
      stoppedAtMs = Date.now();
      return { summary: 'stopped' };
    });
    const migration = await bench.start(scenario, byPeople);
    await beyondTheGate(migration);
    await migration.gate('finalize');
    const { calls } = scenario;
    assert.equal(calls.indexOf('closeWrites forward'), calls.indexOf('awaitStopped forward') + 1);
    const [{ deadlineMs } = { deadlineMs: 0 }] = scenario.requests.get('closeWrites') as { deadlineMs: number }[];
    assert.ok(deadlineMs >= stoppedAtMs + 60_000, 'fence.maxHold counts from when nothing writes any more');
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
  });

  it('is not begun where they have not, and asks them again with who still writes', async () => {
    const scenario = bench.prepare().fail('awaitStopped', 'FENCE_NOT_PROVEN');
    const migration = await bench.start(scenario, byPeople);
    await beyondTheGate(migration);
    await migration.until('it is shown', ({ findings }) => findings.some(({ code }) => code === 'FENCE_NOT_PROVEN'));
    const again = await migration.gate('cutover');
    assert.deepEqual([again.awaiting?.given, again.sourceOfTruth], [[], { all: 'source' }]);
    assert.deepEqual([scenario.count('closeWrites'), scenario.count('unfence')], [0, 0]);
    await migration.send('abort', { by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'aborted');
  });

  it('is lifted by them when its deadline passes: until one says so nothing is said to be open', async () => {
    const scenario = bench.prepare().fail('decideOpening', 'FENCE_EXPIRED', { retryable: false });
    const migration = await bench.start(scenario, byPeople);
    await beyondTheGate(migration);
    const held = await migration.gate('unfence');
    assert.deepEqual([held.sourceOfTruth, held.step, held.state], [{ all: 'none' }, 'fence', 'waiting']);
    assert.equal(held.next, `kafka-cutover approve ${held.name} unfence --by WHO`);
    const facts = held.awaiting?.facts.join('\n') ?? '';
    assert.match(facts, /FENCE_EXPIRED[\s\S]*next stays closed[\s\S]*start on legacy again what was stopped there/);
    const last = (kind: string) => scenario.background.filter((line) => line.endsWith(kind)).at(-1);
    await migration.until('the mirror goes on', () => last('mirror forward') === '+mirror forward');
    assert.equal(last('watchFence source'), '-watchFence source');
    assert.equal(await migration.refused('reject', { gate: 'unfence', by: 'ana' }), 'MESSAGE_INVALID');

    await migration.send('approve', { gate: 'unfence', by: 'ana' });
    const again = await migration.gate('cutover');
    assert.deepEqual([again.sourceOfTruth, again.awaiting?.given], [{ all: 'source' }, []]);
    assert.ok(again.findings.some(({ code, where }) => code === 'FENCE_EXPIRED' && where === 'fence'));
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.gate('finalize');
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    assert.equal((await migration.ends('unfenced-by-people')).outcome, 'completed');
    assert.equal(scenario.count('awaitStopped'), 2);
  });

  it('is lifted by them before an abort that came meanwhile undoes anything', async () => {
    const scenario = bench.prepare().hang('drainToBoundary');
    const migration = await bench.start(scenario, byPeople);
    await beyondTheGate(migration);
    await migration.called('drainToBoundary forward');
    await migration.send('abort', { by: 'ana' });
    await migration.gate('unfence');
    assert.equal(scenario.count('undoAll'), 0);
    await migration.send('approve', { gate: 'unfence', by: 'ana' });
    const result = await migration.ends();
    assert.deepEqual([result.outcome, result.sourceOfTruth], ['aborted', { all: 'source' }]);
  });

  it('on the way back waits for their word, which asking for a rollback is not', async () => {
    const scenario = bench.prepare();
    const migration = await bench.start(scenario, byPeople);
    await beyondTheGate(migration);
    await migration.gate('finalize');
    scenario.fail('proveFence', 'FENCE_NOT_PROVEN');
    await migration.send('rollback', { by: 'ana' });
    const open = await migration.gate('rollback');
    assert.deepEqual(open.awaiting?.given, []);
    await migration.send('approve', { gate: 'rollback', by: 'ana' });
    const held = await migration.gate('unfence');
    assert.deepEqual(held.sourceOfTruth, { all: 'none' });
    assert.match(held.awaiting?.facts.join('\n') ?? '', /legacy stays closed[\s\S]*start on next again/);
    await migration.send('approve', { gate: 'unfence', by: 'ana' });
    const stayed = await migration.gate('finalize');
    assert.deepEqual(stayed.sourceOfTruth, { all: 'target' });
    assert.ok(stayed.findings.some(({ code }) => code === 'FENCE_NOT_PROVEN'));

    await migration.send('rollback', { by: 'ana' });
    await migration.gate('rollback');
    await migration.send('approve', { gate: 'rollback', by: 'ana' });
    const result = await migration.ends('rolled-back-held-by-people');
    assert.deepEqual([result.outcome, result.sourceOfTruth], ['rolledBack', { all: 'source' }]);
    assert.equal(scenario.calls.filter((call) => call === 'awaitStopped reverse').length, 2);
  });

  it('asks them again after a pause, since what they stopped runs again', async () => {
    const scenario = bench.prepare();
    const migration = await bench.start(scenario, byPeople);
    await beyondTheGate(migration);
    await migration.gate('finalize');
    scenario.hang('drainToBoundary');
    await migration.send('rollback', { by: 'ana' });
    await migration.gate('rollback');
    await migration.send('approve', { gate: 'rollback', by: 'ana' });
    await migration.called('drainToBoundary reverse');
    await migration.send('pause', { by: 'ana' });
    await migration.gate('unfence');
    await migration.send('approve', { gate: 'unfence', by: 'ana' });
    const again = await migration.gate('rollback');
    assert.deepEqual(again.awaiting?.given, []);
    await migration.send('resume', { by: 'ana' });
    await migration.send('approve', { gate: 'rollback', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'rolledBack');
  });
});

describe('a fence held by a webhook', () => {
  it('is lifted without people, and tried again', async () => {
    const scenario = bench.prepare().fail('drainToBoundary', 'FENCE_NOT_PROVEN');
    const migration = await bench.start(scenario, { fence: { kind: 'webhook' } });
    assert.equal((await migration.ends()).outcome, 'completed');
    assert.deepEqual([scenario.count('unfence'), scenario.count('closeWrites')], [1, 2]);
    assert.equal(scenario.count('awaitStopped'), 0);
  });
});

describe('every history of this file', () => {
  it('replays', async () => {
    assert.ok((await bench.replayAll()) > 10);
  });
});
