/** The Slack app against a stand-in of Slack and a real Temporal server with the real workflow. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { pino } from 'pino';
import { CutoverClient } from '../../client/cutover-client.ts';
import { type RunningApp, startSlackApp } from '../../client/slack/app.ts';
import type { SlackPolicy } from '../../client/slack/policy.ts';
import { endAll, launch, written } from '../client/command-line.ts';
import { Bench, type Migration } from '../workflows/support/bench.ts';
import { type Message, SlackStandIn, signingSecret } from './stand-in.ts';

const users = { U0ANA: 'ana', U0BEN: 'ben' };
const two = { approvals: 2, approvers: ['ana', 'ben'] };
const one = { approvals: 1, approvers: ['ana', 'ben'] };

let bench: Bench;
let client: CutoverClient;
before(async () => {
  bench = await Bench.start();
  client = await CutoverClient.connect({ TEMPORAL_ADDRESS: bench.env.address });
});
after(async () => {
  endAll();
  await client[Symbol.asyncDispose]();
  await bench[Symbol.asyncDispose]();
});

/** An app of its own with a Slack of its own, for a test; what Slack refused fails the test. */
async function connected(more: (slack: SlackStandIn) => Partial<SlackPolicy> = () => ({})) {
  const slack = await SlackStandIn.start();
  const stop = new AbortController();
  const log = pino({ level: process.env.KAFKA_CUTOVER_LOG_LEVEL ?? 'silent' }, pino.destination(2));
  const policy = slack.policy(users, more(slack));
  const app: RunningApp = await startSlackApp({ policy, client, log, signal: stop.signal });
  return {
    slack,
    port: app.port ?? 0,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await app.ended;
      await slack[Symbol.asyncDispose]();
      assert.deepEqual(slack.refused, []);
    },
  };
}

/** What happened to the gate is in its message, and its buttons are gone. */
function closed(slack: SlackStandIn, gate: Message, text: RegExp): Promise<true> {
  return slack.until(
    `the gate says ${text}`,
    () => text.test(gate.text) && !JSON.stringify(gate.blocks).includes('actions'),
  );
}

const given = async (migration: Migration) => (await migration.status()).awaiting?.given.map(({ by }) => by);

describe('the Slack app', () => {
  it('posts a gate with its numbers, takes one decision a person, edits it to the outcome, and follows to the end', async () => {
    await using running = await connected();
    const { slack } = running;
    const migration = await bench.migrate({ gates: { cutover: two } });
    const { name } = migration.scenario;
    const gate = await slack.gate(name, 'cutover');
    const shown = JSON.stringify(gate.blocks);
    for (const number of [
      '7 records',
      '0 of 2 approvals',
      'ana, ben',
      'digest-1',
      'expected pause 900 ms',
      'TOPIC_AUTHORIZATION_FAILED',
      'Findings waived',
    ]) {
      assert.ok(shown.includes(number), `${number} in ${shown}`);
    }
    await slack.send(slack.click(gate, 'Details', 'U0BEN'));
    const details = await slack.until('the details are shown', () => slack.views[0]);
    assert.match(JSON.stringify(details.blocks), new RegExp(`kafka-cutover approve ${name} cutover --by WHO`));

    // Slack repeats what it does not hear about, and people click twice.
    const click = slack.click(gate, 'Approve', 'U0ANA');
    await Promise.all([slack.send(click), slack.send(click), slack.send(slack.click(gate, 'Approve', 'U0ANA'))]);
    await slack.until(
      'the message says who',
      () => gate.text.includes('1 of 2') && JSON.stringify(gate.blocks).includes('ana (claimed)'),
    );
    assert.deepEqual(await given(migration), ['ana']);
    await slack.send(slack.click(gate, 'Approve', 'U0BEN'));
    await closed(slack, gate, /approved by ana \(claimed\), ben \(claimed\) at /);
    assert.equal((await migration.ends()).outcome, 'completed');

    const [card, ...others] = slack.cards(name);
    assert.equal(others.length, 0);
    await slack.until('the card says the end', () => card?.text.includes('completed'));
    const thread = await slack.until('the thread says the end', () => {
      const said = slack.thread(card);
      return said.includes('has ended') && said;
    });
    for (const line of [
      'preflight: done',
      'fence: done',
      'gate cutover approved by ana',
      `kafka-cutover report ${name}`,
    ]) {
      assert.ok(thread.includes(line), `${line} in ${thread}`);
    }
    assert.deepEqual(slack.told, []);
    assert.equal(slack.gates(name).length, 1);
  });

  it('leaves it to the workflow who may approve, and tells whom it refuses, and nobody else', async () => {
    await using running = await connected();
    const { slack } = running;
    const gates = { cutover: two, finalize: { approvals: 1 } };
    const migration = await bench.migrate({ gates, startedBy: 'ben', fourEyes: true });
    const gate = await slack.gate(migration.scenario.name, 'cutover');
    await slack.send(slack.click(gate, 'Approve', 'U0EVE'));
    await slack.until('eve is told', () =>
      slack.told.find(
        ({ user, text }) => user === 'U0EVE' && text.includes('NOT_AN_APPROVER: slack:U0EVE is not an approver'),
      ),
    );
    await slack.send(slack.click(gate, 'Approve', 'U0BEN'));
    await slack.until('ben is told', () =>
      slack.told.find(({ user, text }) => user === 'U0BEN' && text.includes('FOUR_EYES')),
    );
    assert.deepEqual(await given(migration), []);
    const refused = await slack.until('the thread says so too', () =>
      slack.thread(slack.cards(migration.scenario.name)[0]),
    );
    assert.doesNotMatch(refused, /ana/);

    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    const digest = JSON.stringify(gate.blocks);
    assert.match(digest, /digest-1/);
    await migration.send('abort', { by: 'ana' });
    await closed(slack, gate, /closed: the migration went on, or ended, without it/);
    assert.equal((await migration.ends()).outcome, 'aborted');
  });

  it('where anyone may approve takes those whom slack.yaml lists', async () => {
    await using running = await connected();
    const { slack } = running;
    const migration = await bench.migrate({ gates: { cutover: { approvals: 1 } } });
    const gate = await slack.gate(migration.scenario.name, 'cutover');
    await slack.send(slack.click(gate, 'Approve', 'U0EVE'));
    await slack.until('eve is told', () =>
      slack.told.find(({ text }) => text.includes('NOT_AN_APPROVER: Slack user U0EVE')),
    );
    await slack.send(slack.slash(`pause ${migration.scenario.name}`, 'U0EVE'));
    await slack.until('eve is told again', () => slack.told.length === 2);
    assert.deepEqual(await given(migration), []);
    await slack.send(slack.click(gate, 'Approve', 'U0ANA'));
    assert.equal((await migration.ends()).outcome, 'completed');
  });

  it('asks for a reason to reject, and takes no answer for a gate that was opened again', async () => {
    await using running = await connected();
    const { slack } = running;
    const migration = await bench.migrate({ gates: { cutover: one } });
    const gate = await slack.gate(migration.scenario.name, 'cutover');
    const early = slack.click(gate, 'Approve', 'U0BEN');
    await slack.send(slack.click(gate, 'Reject', 'U0ANA'));
    const view = await slack.until('a window asks why', () => slack.views[0]);
    const rejection = slack.submit(view, 'not tonight <!channel>', 'U0ANA');
    await Promise.all([slack.send(rejection), slack.send(rejection)]);
    await closed(slack, gate, /rejected by ana \(claimed\) at .*: not tonight &lt;!channel&gt; \(Slack user U0ANA\)/);
    await migration.until('it is paused', ({ state }) => state === 'paused');

    await slack.send(slack.slash(`resume ${migration.scenario.name}`, 'U0BEN'));
    const again = await slack.until('the gate is posted again', () => slack.gates(migration.scenario.name)[1]);
    await slack.send(early);
    await slack.until('ben is told', () =>
      slack.told.find(({ text }) => text.includes('GATE_NOT_OPEN: gate cutover was opened again at')),
    );
    assert.deepEqual(await given(migration), []);
    await slack.send(slack.click(again, 'Approve', 'U0BEN'));
    await closed(slack, again, /approved by ben/);
    assert.equal((await migration.ends()).outcome, 'completed');
  });

  it('answers the slash command: status, pause, resume and, asked twice, rollback', async () => {
    await using running = await connected();
    const { slack } = running;
    const finalize = { approvals: 1, approvers: ['ana'] };
    const migration = await bench.migrate({
      rollback: { window: '1h' },
      gates: { finalize, rollback: { approvals: 1 } },
    });
    const { name } = migration.scenario;
    await slack.gate(name, 'finalize');
    const told = (text: RegExp) =>
      slack.until(`ana is told ${text}`, () => slack.told.find((one) => text.test(one.text)));
    await slack.send(slack.slash(`status ${name}`, 'U0ANA'));
    await told(/waiting at finalize[\s\S]*source of truth: target[\s\S]*gate finalize: 0 of 1 approvals/);
    const pause = slack.slash(`pause ${name} a moment`, 'U0ANA');
    await Promise.all([slack.send(pause), slack.send(pause)]);
    await told(/asked for a pause/);
    await slack.send(slack.slash(`resume ${name}`, 'U0ANA'));
    await told(/resumed/);
    // A pause that Slack repeats late is the one that was.
    await slack.send(pause);
    await slack.until(
      'it is answered',
      () => slack.told.filter(({ text }) => text.includes('asked for a pause')).length === 3,
    );
    assert.notEqual((await migration.status()).state, 'paused');
    await slack.send(slack.slash(`abort ${name}`, 'U0ANA'));
    await told(/USAGE: no such command/);
    await slack.send(slack.slash('status nothing-like-it', 'U0ANA'));
    await told(/MIGRATION_NOT_FOUND/);

    await slack.send(slack.slash(`rollback ${name}`, 'U0ANA'));
    const view = await slack.until('a window asks why', () => slack.views[0]);
    assert.equal(migration.scenario.count('rollbackCost'), 0);
    await slack.send(slack.submit(view, 'consumers fail', 'U0ANA'));
    assert.equal((await migration.ends()).outcome, 'rolledBack');
  });

  it('signs what its users answer, where a gate wants proof', async () => {
    const key = bench.scenarios.signer('ana');
    await using running = await connected(() => ({ key }));
    const { slack } = running;
    const migration = await bench.migrate({ gates: { cutover: { ...one, proof: 'required' } } });
    const gate = await slack.gate(migration.scenario.name, 'cutover');
    await slack.send(slack.click(gate, 'Approve', 'U0BEN'));
    await slack.until('ben is told', () =>
      slack.told.find(({ user, text }) => user === 'U0BEN' && text.includes('PROOF_INVALID')),
    );
    const hourOld = slack.click(gate, 'Approve', 'U0ANA');
    const [action] = hourOld.actions;
    await slack.send({
      ...hourOld,
      actions: [{ ...action, action_ts: String(Date.now() / 1_000 - 3_600) }] as typeof hourOld.actions,
    });
    await slack.until('ana is told', () =>
      slack.told.find(({ user, text }) => user === 'U0ANA' && text.includes('signed to count until')),
    );
    const click = slack.click(gate, 'Approve', 'U0ANA');
    await Promise.all([slack.send(click), slack.send(click)]);
    await closed(slack, gate, /approved by ana \(verified\)/);
    assert.equal((await migration.ends()).outcome, 'completed');
    assert.equal(slack.told.length, 2);
  });
});

describe('over HTTP', () => {
  it("acts on Slack's requests alone: not forged, not changed, not old, not huge; a replayed one is no second decision", async () => {
    await using running = await connected(() => ({
      requests: { by: 'http', host: '127.0.0.1', port: 0, signingSecret },
    }));
    const { slack, port } = running;
    const migration = await bench.migrate({ gates: { cutover: two } });
    const gate = await slack.gate(migration.scenario.name, 'cutover');
    const click = slack.click(gate, 'Approve', 'U0ANA');
    const status = async (
      ...as: Parameters<SlackStandIn['post']> extends [unknown, unknown, ...infer Rest] ? Rest : never
    ) => (await slack.post(port, click, ...as)).status;
    assert.equal(await status({ secret: 'another' }), 401);
    assert.equal(await status({ atMs: Date.now() - 301_000 }), 401);
    assert.equal(await status({ sentBody: (body) => body.replace('U0ANA', 'U0BEN') }), 401);
    assert.equal(await status({ sentBody: (body) => `${body}&more=${'x'.repeat(300_000)}` }), 413);
    assert.deepEqual(await given(migration), []);
    const atMs = Date.now();
    assert.deepEqual([await status({ atMs }), await status({ atMs }), await status({ atMs })], [200, 200, 200]);
    await slack.until('the message says who', () => gate.text.includes('1 of 2'));
    assert.deepEqual(await given(migration), ['ana']);
    assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
    assert.equal((await slack.post(port, slack.click(gate, 'Approve', 'U0BEN'))).status, 200);
    assert.equal((await migration.ends()).outcome, 'completed');
    await closed(slack, gate, /approved by ana/);
  });
});

describe('the command `slack`', () => {
  it('can be killed and started anew: it edits the messages that are there, and posts what nobody did', async () => {
    await using slack = await SlackStandIn.start();
    const { text, env } = slack.policyFile(users);
    const command = () => launch(['slack', '--policy', written(text)], { ...env, TEMPORAL_ADDRESS: bench.env.address });
    const migration = await bench.migrate({ gates: { start: one, cutover: one, finalize: one } });
    const { name } = migration.scenario;
    // The first answer is lost: whether the message is there, only Slack knows.
    slack.loseAnswerOf.add('chat.postMessage');
    const first = command();
    const start = await slack.gate(name, 'start');
    first.child.kill('SIGKILL');
    await once(first.child, 'close');
    await migration.send('approve', { gate: 'start', by: 'ana' });
    await migration.gate('cutover');

    const second = command();
    await closed(slack, start, /approved by ana/);
    const cutover = await slack.gate(name, 'cutover');
    await slack.send(slack.click(cutover, 'Approve', 'U0BEN'));
    await closed(slack, cutover, /approved by ben/);
    const finalize = await slack.gate(name, 'finalize');
    second.child.kill('SIGKILL');
    await once(second.child, 'close');
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');

    // It has ended while nobody was there, and is brought to its end all the same.
    const third = command();
    await closed(slack, finalize, /approved by ana/);
    await slack.until('the thread says the end', () => slack.thread(slack.cards(name)[0]).includes('has ended'));
    third.child.kill('SIGTERM');
    const { exitCode, stdout, stderr } = await third.ended;
    assert.deepEqual([exitCode, stdout.trim()], [0, 'Slack app stopped'], stderr);
    assert.deepEqual([slack.cards(name).length, slack.gates(name).length], [1, 3]);
    const lines = slack.thread(slack.cards(name)[0]).split('\n');
    assert.equal(new Set(lines).size, lines.length, 'nothing is said twice');
    assert.doesNotMatch(stderr, /planted/);
    assert.deepEqual(slack.refused, []);
  });
});
