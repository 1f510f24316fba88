/** What tells others, and what takes answers from them: `notify` webhooks and `kafka-cutover listen`, beside a real Temporal with the real workflow. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { MockActivityEnvironment } from '@temporalio/testing';
import { pino } from 'pino';
import { parse as parseYaml } from 'yaml';
import { createActivities } from '../../activities/activities.ts';
import { CutoverClient } from '../../client/cutover-client.ts';
import { bodyMax, startListener } from '../../client/listener.ts';
import type { Listening } from '../../client/listening.ts';
import type { Notice } from '../../contract/status.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { sign, signatureHeader, timestampHeader, verifySignature } from '../../migration/switches/webhook.ts';
import { makeAuthority } from '../kafka/certificates.ts';
import { Bench } from '../workflows/support/bench.ts';
import { failure } from '../workflows/support/scenario.ts';

const execute = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');
const log = pino({ level: 'silent' });
const secret = 'planted-sender-secret';

let bench: Bench;
let client: CutoverClient;
let listener: Listening;
before(async () => {
  bench = await Bench.start();
  client = await CutoverClient.connect({ TEMPORAL_ADDRESS: bench.env.address });
  const senders = new Map([['github', { secret, as: ['orders-owner', 'Release-Owner'] }]]);
  listener = await startListener({ client, senders, log, place: { host: '127.0.0.1', port: 0 } });
});
after(async () => {
  await listener[Symbol.asyncDispose]();
  await client[Symbol.asyncDispose]();
  await bench[Symbol.asyncDispose]();
});

describe('webhooks that a plan names under `notify`', () => {
  it('are told of steps, gates, alarms and the end, in order, each under an id of its own', async () => {
    const gates = { cutover: { approvals: 1, approvers: ['ana'] } };
    const scenario = bench.prepare();
    scenario.fail('verify', 'PARITY_FAILED', { retryable: false });
    const migration = await bench.start(scenario, { notify: ['chat', 'pager'], gates });
    await migration.gate('cutover');
    await migration.send('approve', { gate: 'cutover', by: 'ana' });
    await migration.failed('verify');
    await migration.send('decide', { step: 'verify', choice: 'retry', by: 'ana' });
    assert.equal((await migration.ends('notified')).outcome, 'completed');

    const requests = scenario.requests.get('notify') as { webhook: string; notices: Notice[] }[];
    const told = (name: string) => requests.filter(({ webhook }) => webhook === name).flatMap(({ notices }) => notices);
    const notices = told('chat');
    assert.deepEqual(told('pager'), notices);
    assert.equal(new Set(notices.map(({ id }) => id)).size, notices.length);
    const heard = notices.map(({ event, step, sourceOfTruth }) => `${event} ${step} ${sourceOfTruth.all}`);
    const wanted = [
      'step-changed preflight source',
      'step-changed prepare-target source',
      'gate-opened fence source',
      'step-changed fence none',
      'step-changed switch-producers target',
      'alarm verify target',
      'ended finalize target',
    ];
    // Producers and consumers are switched side by side, so that one step may be shown twice.
    const inOrder = [...new Set(heard.filter((line) => wanted.includes(line)))];
    assert.deepEqual(inOrder, wanted, heard.join('\n'));
    assert.deepEqual(heard.filter((line) => line === wanted[0]).length, 1);
    const { gate } = notices.find(({ event }) => event === 'gate-opened') ?? assert.fail();
    assert.partialDeepStrictEqual(gate, { gate: 'cutover', needed: 1, approvers: ['ana'], digest: 'digest-1' });
  });

  it('that do not answer hold nothing up, and it is said that they were not told', async () => {
    const scenario = bench.prepare();
    const failsAtGate = ({ notices }: { notices: Notice[] }) => {
      if (notices.some(({ event }) => event === 'gate-opened')) throw failure('WEBHOOK_FAILED', false);
      scenario.next('notify', failsAtGate);
    };
    scenario.next('notify', failsAtGate);
    const migration = await bench.start(scenario, { notify: ['chat'], gates: { finalize: { approvals: 1 } } });
    await migration.gate('finalize');
    const { findings } = await migration.until('it is said', (status) => status.findings.length > 0);
    assert.deepEqual(
      findings.map(({ code, where }) => [code, where]),
      [['WEBHOOK_FAILED', 'webhook chat']],
    );
    await migration.send('approve', { gate: 'finalize', by: 'ana' });
    assert.equal((await migration.ends()).outcome, 'completed');
  });

  it('get each notice signed, and again under the same id until they take it', async () => {
    const received: { body: string; valid: boolean }[] = [];
    const server = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      const header = (name: string) => String(request.headers[name.toLowerCase()]);
      received.push({ body, valid: verifySignature(secret, header(timestampHeader), body, header(signatureHeader)) });
      response.writeHead(received.length === 1 ? 500 : 204).end();
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const file = { legacy: { bootstrap: 'b:1' }, webhooks: { chat: { url, secret: { env: 'S' } } } };
    const clusters = parseClusters(JSON.stringify(file), 'clusters.yaml', { S: secret });
    await using activities = createActivities({ clusters, log });
    const notices = ['a/0', 'a/1'].map((id) => ({ id, event: 'alarm', text: 'x' }) as unknown as Notice);
    await new MockActivityEnvironment().run(activities.notify, { webhook: 'chat', notices });
    server.close();
    assert.deepEqual(
      received.map(({ body, valid }) => [(JSON.parse(body) as Notice).id, valid]),
      [
        ['a/0', true],
        ['a/0', true],
        ['a/1', true],
      ],
    );
  });
});

describe('answers over HTTPS', () => {
  interface How {
    readonly atMs?: number;
    readonly secret?: string;
    readonly sender?: string;
    readonly sent?: string;
  }

  async function post(message: object, how: How = {}): Promise<[number, string]> {
    const body = JSON.stringify({ id: 'one', message: 'approve', gate: 'cutover', by: 'orders-owner', ...message });
    const timestamp = String(Math.floor((how.atMs ?? Date.now()) / 1_000));
    const response = await fetch(`http://127.0.0.1:${listener.port}/v1/answers`, {
      method: 'POST',
      headers: {
        'Kafka-Cutover-Sender': how.sender ?? 'github',
        [timestampHeader]: timestamp,
        [signatureHeader]: sign(how.secret ?? secret, timestamp, body),
      },
      body: how.sent ?? body,
    });
    const { code, text, error } = (await response.json()) as Record<string, string>;
    return [response.status, code ?? text ?? error ?? ''];
  }

  const gates = { cutover: { approvals: 2, approvers: ['orders-owner', 'kafka-owner'] } };

  it('count once, of a listed sender in a name that it may use, signed just now and as it was sent', async () => {
    const migration = await bench.migrate({ gates });
    const about = { migration: migration.scenario.name };
    await migration.gate('cutover');
    const refused: [number, string, object, How?][] = [
      [401, 'SENDER_REFUSED', about, { secret: 'another' }],
      [401, 'SENDER_REFUSED', about, { sender: 'gitlab' }],
      [401, 'SENDER_REFUSED', about, { sender: 'gitlab', secret: 'nobody' }],
      [401, 'SENDER_REFUSED', about, { atMs: Date.now() - 302_000 }],
      [401, 'SENDER_REFUSED', about, { sent: JSON.stringify({ ...about, by: 'kafka-owner' }) }],
      [403, 'NOT_AN_APPROVER', { ...about, by: 'kafka-owner' }],
      [403, 'NOT_AN_APPROVER', { ...about, by: 'release-owner' }],
      [404, 'MIGRATION_NOT_FOUND', { migration: 'nothing-like-it' }],
      [409, 'GATE_NOT_OPEN', { ...about, gate: 'finalize' }],
      [409, 'DIGEST_MISMATCH', { ...about, digest: 'digest-0' }],
      [400, 'MESSAGE_INVALID', { ...about, message: 'abort' }],
      [413, `wanted at most ${bodyMax} bytes`, { ...about, reason: 'x'.repeat(bodyMax) }],
    ];
    for (const [status, code, message, how] of refused) {
      assert.deepEqual(await post(message, how), [status, code], JSON.stringify([message, how]).slice(0, 200));
    }
    const atMs = Date.now();
    const twice = [await post(about, { atMs }), await post(about, { atMs })];
    assert.deepEqual(twice, [
      [200, 'approved cutover, 1 of 2'],
      [200, 'approved cutover, 1 of 2'],
    ]);
    assert.deepEqual(await post({ ...about, id: 'two' }), [409, 'ALREADY_APPROVED']);
    await migration.send('approve', { gate: 'cutover', by: 'kafka-owner' });
    assert.equal((await migration.ends()).outcome, 'completed');
  });

  it('that were signed before the gate was opened are for another one', async () => {
    const atMs = Date.now() - 5_000;
    const migration = await bench.migrate({ gates });
    await migration.gate('cutover');
    assert.deepEqual(await post({ migration: migration.scenario.name }, { atMs }), [409, 'GATE_NOT_OPEN']);
    await migration.send('abort', { by: 'kafka-owner' });
    await migration.ends();
  });

  it('are taken from other machines over TLS alone', async () => {
    const senders = new Map([['github', { secret, as: ['ana'] }]]);
    const anywhere = { host: '0.0.0.0', port: 0 };
    await assert.rejects(async () => startListener({ client, senders, log, place: anywhere }), { code: 'USAGE' });
    const authority = makeAuthority('authority');
    const { cert, key } = authority.issue({ commonName: 'localhost' });
    await using secure = await startListener({ client, senders, log, place: { ...anywhere, tls: { cert, key } } });
    const health = ['--silent', '--insecure', `https://127.0.0.1:${secure.port}/healthz`];
    assert.match((await execute('curl', health)).stdout, /"ok":true/);
  });
});

describe('docs/approvals.md', () => {
  const document = readFileSync(join(root, 'docs', 'approvals.md'), 'utf8');
  const example = (name: string) => readFileSync(join(root, 'examples', 'approvals', name), 'utf8');

  it('shows what works: signal, Update, curl and GitHub Actions approve one gate', async () => {
    assert.ok(document.includes(`\`\`\`sh\n${example('approve.sh')}\`\`\``));
    assert.ok(document.includes(`\`\`\`yaml\n${example('github-actions.yaml')}\`\`\``));
    const scenario = bench.scenarios.add('orders');
    const approvers = ['kafka-owner', 'network-owner', 'orders-owner'];
    const migration = await bench.start(scenario, { gates: { cutover: { approvals: 3, approvers } } });
    await migration.gate('cutover');
    const env = {
      PATH: `${dirname(bench.cli)}:${process.env.PATH}`,
      TEMPORAL_ADDRESS: bench.env.address,
      LISTENER: `http://127.0.0.1:${listener.port}`,
    };
    const commands = [...document.matchAll(/^```sh\n(temporal .*)\n```$/gm)].map(([, command = '']) => command);
    assert.equal(commands.length, 2);
    for (const command of commands) await execute('sh', ['-c', command], { env });
    const workflow = parseYaml(example('github-actions.yaml')) as {
      jobs: { approve: { steps: { run?: string; env?: Record<string, string> }[] } };
    };
    const step = workflow.jobs.approve.steps.find(({ run }) => run) ?? assert.fail();
    const github = { MIGRATION: 'orders', SENDER_SECRET: secret, ANSWER_ID: '4711', SENDER: step.env?.SENDER ?? '' };
    const { stdout } = await execute('sh', ['-c', step.run ?? ''], { cwd: root, env: { ...env, ...github } });
    assert.match(stdout, /"text":"approved cutover, 3 of 3"/);
    assert.equal((await migration.ends()).outcome, 'completed');
  });
});
