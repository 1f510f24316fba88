import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Context } from '@temporalio/activity';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import type { ShardProgress } from '../../activities/types.ts';
import { CutoverClient } from '../../client/cutover-client.ts';
import { type Finding, finding } from '../../contract/errors.ts';
import { taskQueues } from '../../contract/status.ts';
import { type LocalTemporal, type Stack, startStack } from '../../stack/stack.ts';
import { Chromium, withoutChromium } from '../support/chromium.ts';
import { uniqueName } from '../support/stack.ts';
import { cleanEnvironment, endAll, folder, launch, type Ran, run, written } from './command-line.ts';

const execute = promisify(execFile);

let stack: Stack | undefined;
let temporal: LocalTemporal;
let env: NodeJS.ProcessEnv;

before(async () => {
  // Its own server: the queue's real workers must not take what is meant for the stand-in.
  const dir = join(folder, 'stack');
  stack = await startStack({ dir, parts: ['temporal'], environment: cleanEnvironment() });
  assert.ok(stack.temporal);
  temporal = stack.temporal;
  env = { TEMPORAL_ADDRESS: temporal.address, TEMPORAL_NAMESPACE: temporal.namespace };
});

after(async () => {
  endAll();
  await stack?.stop();
});

const planOf = (name: string) => written(`name: ${name}\nsource: legacy\ntarget: next\ntopics: { include: ["a.*"] }\n`);

function codeOf(ran: Ran): string {
  return (ran.json().error as { code: string }).code;
}

describe('without anybody who answers', { concurrency: true }, () => {
  it('says within seconds that there is no Temporal server, with the address', async () => {
    const nobody = { TEMPORAL_ADDRESS: `127.0.0.1:${await unusedPort()}` };
    const startedAt = performance.now();
    const [status, start] = await Promise.all([
      run(['status', 'orders', '--json'], nobody),
      run(['start', planOf('orders')], nobody),
    ]);
    assert.ok(performance.now() - startedAt < 20_000);
    assert.equal(status.exitCode, 1);
    assert.equal(codeOf(status), 'TEMPORAL_UNREACHABLE');
    assert.equal(start.exitCode, 1);
    assert.match(start.stderr, new RegExp(`TEMPORAL_UNREACHABLE: .*${nobody.TEMPORAL_ADDRESS}`));
    assert.match(start.stderr, /Next: Check TEMPORAL_ADDRESS/);
    assert.doesNotMatch(start.stderr, /^ +at /m);
  });

  it('starts without a worker, says that it is missing, and still answers status from the server', async () => {
    const name = uniqueName('alone');
    const started = await run(['start', planOf(name)], env);
    assert.equal(started.exitCode, 0, started.stderr);
    assert.match(started.stdout, new RegExp(`started ${name} by tester: workflow cutover/${name}, run `));
    assert.match(started.stdout, /no worker is there yet: start one with kafka-cutover worker/);

    const [status, approve] = await Promise.all([
      run(['status', name, '--json'], env),
      run(['approve', name, 'cutover', '--by', 'kafka-owner', '--json'], env),
    ]);
    assert.equal(status.exitCode, 0, status.stderr);
    assert.match(String(status.json().note), /no worker answers/);
    assert.equal(status.json().state, 'running');
    assert.equal(approve.exitCode, 1);
    assert.equal(codeOf(approve), 'NOT_CONFIRMED');
    const { detail } = approve.json().error as { detail: { next: string } };
    assert.match(detail.next, /send it again, that is safe\./);
    assert.match(detail.next, new RegExp(`temporal workflow signal --workflow-id cutover/${name} --name approve`));

    // A worker that dies between the look and the message leaves the message unconfirmed.
    await using client = await CutoverClient.connect(env, { queryMs: 1_000, updateMs: 1_000 });
    await assert.rejects(client.send(name, 'approve', { gate: 'cutover', by: 'kafka-owner' }, null), {
      code: 'NOT_CONFIRMED',
      message: /sent but not confirmed within 1 s/,
    });
  });
});

describe('with a worker', () => {
  let worker: Worker;
  let running: Promise<void>;
  let connection: NativeConnection;
  let client: CutoverClient;

  before(async () => {
    Runtime.install({ logger: new DefaultLogger('ERROR') });
    connection = await NativeConnection.connect({ address: temporal.address });
    worker = await Worker.create({
      connection,
      taskQueue: taskQueues.control,
      workflowsPath: fileURLToPath(new URL('./fake-cutover.ts', import.meta.url)),
      activities: { mirror, drainLag },
    });
    running = worker.run();
    client = await CutoverClient.connect(env);
  });

  after(async () => {
    endAll();
    await client[Symbol.asyncDispose]();
    worker.shutdown();
    await running;
    await connection.close();
  });

  it('starts once, shows the gate and how to approve it, and counts each person once', async () => {
    const name = uniqueName('orders');
    const plan = planOf(name);
    const started = await run(['start', plan, '--by', 'alice', '--json'], {
      ...env,
      KAFKA_CUTOVER_UI: 'http://ui:8233/',
    });
    assert.equal(started.exitCode, 0, started.stderr);
    const { runId } = started.json();
    assert.deepEqual(started.json(), {
      name,
      startedBy: 'alice',
      workflowId: `cutover/${name}`,
      runId,
      uiUrl: `http://ui:8233/namespaces/default/workflows/cutover%2F${name}/${runId}/history`,
      workerSeen: true,
    });

    const again = await run(['start', plan, '--json'], env);
    assert.equal(again.exitCode, 3);
    assert.equal(codeOf(again), 'ALREADY_RUNNING');
    assert.match(String((again.json().error as { message: string }).message), /is running already/);

    const shown = await run(['status', name], env);
    assert.equal(shown.exitCode, 0, shown.stderr);
    assert.match(shown.stdout, /gate cutover waits for 2 approvals/);
    assert.match(shown.stdout, /awaited +2 of 2 from: kafka-owner, orders-owner/);
    assert.match(shown.stdout, /to know +lag 0 records/);
    assert.ok(shown.stdout.includes(`kafka-cutover approve ${name} cutover --by WHO`));
    assert.ok(
      shown.stdout.includes(
        `temporal workflow signal --workflow-id cutover/${name} --name approve --input '{"gate":"cutover","by":"WHO"}'`,
      ),
    );
    assert.ok(!shown.stdout.includes('\x1b'));

    const refusals = [
      [['approve', name, 'cutover', '--by', 'mallory'], 'NOT_AN_APPROVER'],
      [['approve', name, 'finalize', '--by', 'kafka-owner'], 'GATE_NOT_OPEN'],
    ] as const;
    for (const [args, code] of refusals) {
      const refused = await run([...args, '--json'], env);
      assert.equal(refused.exitCode, 3);
      assert.equal(codeOf(refused), code);
    }

    const first = await run(['approve', name, 'cutover', '--by', 'kafka-owner', '--json'], env);
    assert.equal(first.exitCode, 0, first.stderr);
    assert.deepEqual(first.json().approvals, { given: 1, needed: 2 });
    const resent = await run(['approve', name, 'cutover', '--by', 'Kafka-Owner '], env);
    assert.equal(resent.exitCode, 0, 'the same approval sent again is answered as it was');
    assert.match(resent.stdout, /approved cutover, 1 of 2/);

    const halfway = await run(['status', name, '--json'], env);
    const { gates } = halfway.json() as { gates: { given: { by: string }[] }[] };
    assert.deepEqual(
      gates[0]?.given.map((approval) => approval.by),
      ['kafka-owner'],
    );

    const second = await run(['approve', name, 'cutover', '--by', 'orders-owner'], env);
    assert.match(second.stdout, /approved cutover, 2 of 2/);
    const ended = await run(['status', name, '--json'], env);
    assert.deepEqual(
      [ended.json().state, (ended.json().ending as { outcome: string }).outcome],
      ['completed', 'completed'],
    );
    const late = await run(['pause', name, '--json'], env);
    assert.equal(codeOf(late), 'MIGRATION_ENDED');
    assert.match(String((late.json().error as { message: string }).message), /has ended already/);

    const report = await run(['report', name, '--json'], env);
    assert.equal((report.json().pointer as { artifact: string }).artifact, 'evidence-1');

    const restarted = await run(['start', plan, '--json'], env);
    assert.equal(restarted.exitCode, 0, 'a migration that has ended may be started again');
    assert.notEqual(restarted.json().runId, runId);
  });

  it("changes the mirror's limit and shards, and shows them", async () => {
    const name = uniqueName('tuned');
    await run(['start', planOf(name)], env);
    const tuned = await run(['tune', name, '--max-bytes-per-second', '5000000', '--by', 'ana', '--json'], env);
    assert.equal(tuned.exitCode, 0, tuned.stderr);
    assert.equal(tuned.json().maxBytesPerSecond, 5_000_000);
    assert.equal((await run(['tune', name, '--shards', '4'], env)).exitCode, 0);
    const shown = await run(['status', name], env);
    assert.match(shown.stdout, /^mirror: at most 5\.0 MB\/s, 4 shards$/m);
    const usage = await Promise.all([run(['tune', name]), run(['tune', name, '--shards', '0'])]);
    assert.deepEqual(
      usage.map(({ exitCode }) => exitCode),
      [2, 2],
    );
  });

  it('shows under live where each topic is, from the heartbeats', async () => {
    const name = uniqueName('live');
    await run(['start', planOf(name)], env);
    await eventually(async () => ((await client.observe(name)).shards.length > 0 ? true : undefined));
    const status = (await run(['status', name, '--json'], env)).json();
    const topic = (status.live as Record<string, { position: number; end: number; lag: number }>)['orders.created'];
    assert.deepEqual([topic?.position, topic?.end, topic?.lag], [250, 1_000, 750]);
    const text = await run(['status', name], env);
    assert.match(text.stdout, /orders\.created +\[#+-+\] +25\.0% +250\/1,000/);
  });

  it('shows which transaction a waiting step waits for, for as long as it does', async () => {
    const name = uniqueName('held');
    await run(['start', planOf(name)], env);
    await eventually(async () => ((await client.observe(name)).holding.length > 0 ? true : undefined));

    const status = (await run(['status', name, '--json'], env)).json();
    const text = await run(['status', name], env);
    const watching = launch(['status', name, '--watch'], env);
    await once(watching.child.stdout, /found OPEN_TRANSACTION partition orders\.created\/3: transactional id pay-7/);
    const over = once(watching.child.stdout, /holds no more: OPEN_TRANSACTION partition orders\.created\/3/);
    held = [];
    await over;
    await eventually(async () => ((await client.observe(name)).status.findings.length === 0 ? true : undefined));
    await run(['reject', name, 'cutover'], env);
    await watching.ended;

    const [first] = status.findings as { code: string; where: string }[];
    assert.deepEqual([first?.code, first?.where], ['OPEN_TRANSACTION', 'partition orders.created/3']);
    assert.match(
      text.stdout,
      /warning OPEN_TRANSACTION partition orders\.created\/3: transactional id pay-7 \(producer 9\)/,
    );
  });

  describe('the live page', () => {
    const token = 'a token that nobody guesses';
    let url: string;
    let name: string;
    before(async () => {
      name = uniqueName('page');
      await run(['start', planOf(name)], env);
      await eventually(async () => ((await client.observe(name)).shards.length > 0 ? true : undefined));
      const { child } = launch(['dashboard', '--port', '0'], { ...env, KAFKA_CUTOVER_DASHBOARD_TOKEN: token });
      url = (await once(child.stderr, /dashboard: (http:\S+)/))[1] ?? '';
    });

    const decide = (
      headers: Record<string, string>,
      body: unknown = { message: 'approve', gate: 'cutover', by: 'x' },
    ) => fetch(`${url}m/${name}/decisions`, { method: 'POST', headers, body: JSON.stringify(body) });

    it('lists migrations, and says so where there is no such page', async () => {
      assert.match(await (await fetch(url)).text(), new RegExp(`<a href="/m/${name}">${name}</a>`));
      assert.equal((await fetch(`${url}nothing`)).status, 404);
    });

    it('answers to its own names only', async () => {
      const asked = (host: string) =>
        new Promise<number | undefined>((done, reject) => {
          const request = get(url, { headers: { host } }, (response) => {
            response.resume();
            done(response.statusCode);
          });
          request.on('error', reject);
        });
      assert.deepEqual(
        await Promise.all(['evil.example', `evil.example:${new URL(url).port}`, 'localhost.evil.example'].map(asked)),
        [403, 403, 403],
      );
      assert.deepEqual(await Promise.all(['localhost:1', '[::1]:1', new URL(url).host].map(asked)), [200, 200, 200]);
    });

    it('takes no decision without the token, from a form, or of a shape that is none', async () => {
      const bearer = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
      const answers = [
        await decide({ 'content-type': 'application/json' }),
        await decide({ ...bearer, authorization: `Bearer ${token}.` }),
        await decide({ ...bearer, authorization: token }),
        await decide(bearer, { message: 'abort', gate: 'cutover', by: 'x' }),
        await decide(bearer, { message: 'approve', gate: 'cutover', by: ' ' }),
        await decide(bearer, { message: 'approve', gate: 'cutover', by: 'x'.repeat(20_000) }),
      ];
      assert.deepEqual(
        answers.map(({ status }) => status),
        [401, 401, 401, 400, 400, 413],
      );
      const refused = await decide(bearer, { message: 'approve', gate: 'cutover', by: 'mallory' });
      assert.equal(refused.status, 409);
      assert.equal(((await refused.json()) as { error: { code: string } }).error.code, 'NOT_AN_APPROVER');
      assert.deepEqual((await client.observe(name)).status.gates[0]?.given, []);
    });

    it('is read-only without a token, and refuses one that could be guessed', async () => {
      const { child } = launch(['dashboard', '--port', '0'], env);
      const other = (await once(child.stderr, /dashboard: (http:\S+) \(read-only/))[1] ?? '';
      const sent = await fetch(`${other}m/${name}/decisions`, {
        method: 'POST',
        headers: { authorization: 'Bearer ' },
      });
      assert.equal(sent.status, 403);
      assert.doesNotMatch(await (await fetch(`${other}m/${name}`)).text(), /<dialog>/);
      child.kill('SIGINT');
      const short = await run(['dashboard', '--port', '0', '--token-file', written('short', 'txt')], env);
      assert.equal(short.exitCode, 2);
      assert.match(short.stderr, /USAGE: the token is too short .*at least 16/);
      const taken = await run(['dashboard', '--port', new URL(url).port], env);
      assert.match(taken.stderr, /USAGE: cannot listen there .*EADDRINUSE/);
    });

    it('shows in a browser what the workflow says, and takes approvals there', { skip: withoutChromium }, async () => {
      await using browser = await Chromium.start();
      const page = await browser.open(`${url}m/${name}`);
      await page.until('document.querySelector("[data-open-gate]")');
      const status = (await run(['status', name, '--json'], env)).json();
      const lag = (status.live as Record<string, { lag: number }>)['orders.created']?.lag;
      assert.equal(
        await page.value('document.querySelector("[data-topic=\\"orders.created\\"] [data-lag]").dataset.lag'),
        `${lag}`,
      );
      assert.equal(await page.value('document.querySelector("[data-figure=step]").textContent'), status.step);
      for (const [index, by] of ['kafka-owner', 'orders-owner'].entries()) {
        await page.value('document.querySelector("button[data-gate]").click()');
        await page.value(`{
          const form = document.querySelector('form');
          form.by.value = ${JSON.stringify(by)};
          form.token.value = ${JSON.stringify(token)};
          form.querySelector('[value=approve]').click();
        }`);
        await page.until(
          `document.querySelector('[data-answer]').textContent === 'approved cutover, ${index + 1} of 2'`,
        );
        await page.value('document.querySelector("dialog").close()');
      }
      await page.until('document.querySelector("[data-figure=state]").textContent === "completed"');
      await page.until('document.querySelector("[data-connection]").textContent === "it has ended"');
      assert.deepEqual(page.problems, []);
      assert.equal((await client.observe(name)).ending?.outcome, 'completed');
    });
  });

  it('waits for the end and exits with the outcome', async () => {
    const [done, rejected, back, blocked] = ['done', 'rejected', 'back', 'fails'].map(uniqueName) as [
      string,
      string,
      string,
      string,
    ];
    const waiting = [done, rejected, back, blocked].map((name) =>
      launch(['start', planOf(name), '--wait', '--json'], env),
    );
    await Promise.all(waiting.slice(0, 3).map(({ child }) => once(child.stderr, /gate cutover is open/)));
    // From elsewhere, with nothing of ours on the sender's side.
    for (const by of ['kafka-owner', 'orders-owner']) {
      const input = JSON.stringify({ gate: 'cutover', by });
      const args = ['workflow', 'signal', '--workflow-id', `cutover/${done}`, '--name', 'approve', '--input', input];
      await execute(temporal.cliPath, [...args, '--address', temporal.address]);
    }
    await run(['reject', rejected, 'cutover', '--by', 'kafka-owner', '--reason', 'not today'], env);
    await run(['rollback', back], env);

    const ends = await Promise.all(waiting.map(({ ended }) => ended));
    assert.deepEqual(
      ends.map((ran) => [ran.json().outcome, ran.exitCode]),
      [
        ['completed', 0],
        ['rejected', 3],
        ['rolledBack', 4],
        ['failed', 3],
      ],
    );
    assert.match(ends[3]?.stdout ?? '', /"code":"BLOCKED"/);
    assert.match(ends[0]?.stderr ?? '', /gate cutover is open, 0 of 2 approvals: kafka-cutover approve/);
    assert.match(ends[0]?.stderr ?? '', /preflight: done in/);
  });

  it('watches with plain lines in a pipe until the migration has ended', async () => {
    const name = uniqueName('watched');
    await run(['start', planOf(name)], env);
    const watching = launch(['status', name, '--watch'], env);
    await once(watching.child.stdout, /gate cutover is open/);
    // Listened for before it is caused: the line may come while the command that causes it is still ending.
    const paused = once(watching.child.stdout, /paused: go on with kafka-cutover resume/);
    await run(['pause', name], env);
    await paused;
    await run(['resume', name], env);
    await run(['reject', name, 'cutover'], env);
    const ran = await watching.ended;
    assert.equal(ran.exitCode, 3);
    assert.match(ran.stdout, /^ended: rejected$/m);
    assert.ok(!ran.stdout.includes('\x1b'));
  });

  it('may stop watching without stopping the migration', async () => {
    const name = uniqueName('left');
    await run(['start', planOf(name)], env);
    const watching = launch(['status', name, '--watch'], env);
    await once(watching.child.stdout, /gate cutover is open/);
    watching.child.kill('SIGINT');
    const ran = await watching.ended;
    assert.equal(ran.exitCode, 0);
    assert.match(ran.stderr, new RegExp(`${name} goes on`));
    assert.equal((await run(['status', name, '--json'], env)).json().state, 'waiting');
  });

  it('says so when there is no migration of that name', async () => {
    for (const args of [
      ['status', 'nobody'],
      ['approve', 'nobody', 'cutover'],
      ['report', 'nobody'],
    ]) {
      const ran = await run([...args, '--json'], env);
      assert.equal(ran.exitCode, 1);
      assert.equal(codeOf(ran), 'MIGRATION_NOT_FOUND');
    }
  });
});

let held: readonly Finding[] = [
  finding(
    'OPEN_TRANSACTION',
    'partition orders.created/3',
    'transactional id pay-7 (producer 9) is Ongoing since 48 s; what stands behind it waits for its end',
  ),
];

async function drainLag(): Promise<void> {
  const context = Context.current();
  const timer = setInterval(() => context.heartbeat({ lagRecords: 12, findings: held }), 200);
  await context.cancelled.finally(() => clearInterval(timer));
}

async function mirror(): Promise<void> {
  const context = Context.current();
  const progress: ShardProgress = {
    kind: 'mirror',
    direction: 'forward',
    wave: 'all',
    topics: { 'orders.created': { position: 250, end: 1_000, records: 250, bytes: 25_000 } },
  };
  const timer = setInterval(() => context.heartbeat(progress), 200);
  await context.cancelled.finally(() => clearInterval(timer));
}

/** Asks until there is an answer; fails after a minute. */
async function eventually<Value>(ask: () => Promise<Value | undefined>): Promise<Value> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    assert.ok(performance.now() < deadline, 'no answer within a minute');
    await sleep(100);
  }
}

/** Resolves when the output has shown `pattern`. */
function once(stream: NodeJS.ReadableStream, pattern: RegExp): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    let seen = '';
    const onData = (chunk: string) => {
      seen += chunk;
      const found = pattern.exec(seen);
      if (!found) return;
      stream.off('data', onData);
      resolve(found);
    };
    stream.on('data', onData);
    stream.once('end', () => reject(new Error(`ended without ${pattern}: ${seen}`)));
  });
}

function unusedPort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 1));
    });
  });
}
