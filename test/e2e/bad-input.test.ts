/**
 * What a user may get wrong: each is refused with its code and exit code, through `plan` and through `start --wait`, and
 * neither cluster is any different afterwards. Its own stack: whole clusters are compared, so nobody else may write.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse, stringify } from 'yaml';
import type { Finding } from '../../contract/errors.ts';
import { freePorts } from '../../stack/ports.ts';
import { ownStack } from '../support/stack.ts';
import { batchOf, Estate } from './support/estate.ts';
import { Operator, type Ran } from './support/operator.ts';

const { stack, clusters } = await ownStack();
const estate = await Estate.of(stack, clusters);
const clustersFile = join(stack.dir, 'bad-clusters.yaml');
const operator = await Operator.at(stack, { clustersFile, env: { WRONG: 'not the password' } });

const dayMs = 86_400_000;
const storage = '__kafka_cutover';
const servers: Server[] = [];
const startTimeoutMs = 120_000;

interface Case {
  readonly title: string;
  readonly plan: Readonly<Record<string, unknown>>;
  /** As the refusal itself, or as the one blocker that preflight finds. */
  readonly code: string;
  readonly exitCode: number;
  /** Preflight says it, in its findings. */
  readonly found?: true;
  /** What the message must name. */
  readonly says: RegExp;
}

const base = { source: 'legacy', target: 'next', topics: { include: ['orders'] } };
const moving = (topic: string) => ({ ...base, topics: { include: [topic] } });

const cases: readonly Case[] = [
  {
    title: 'an unknown key',
    plan: { ...base, fence: { maxHoldd: '60s' } },
    code: 'PLAN_INVALID',
    exitCode: 2,
    says: /line \d+: fence\.maxHoldd: .*[Uu]nrecognized/,
  },
  {
    title: 'a bad regular expression',
    plan: moving('orders(.*'),
    code: 'PLAN_INVALID',
    exitCode: 2,
    says: /topics\.include\.0: not a JavaScript regular expression/,
  },
  {
    title: 'an unknown cluster',
    plan: { ...base, target: 'nowhere' },
    code: 'CLUSTER_UNKNOWN',
    exitCode: 2,
    says: /found nowhere, wanted one of: legacy, next/,
  },
  {
    title: 'the same name as source and target',
    plan: { ...base, target: 'legacy' },
    code: 'PLAN_INVALID',
    exitCode: 2,
    says: /target: wanted another cluster/,
  },
  {
    title: 'the same cluster under two names',
    plan: { ...base, target: 'twin' },
    code: 'SAME_CLUSTER',
    exitCode: 3,
    found: true,
    says: /both have the cluster id/,
  },
  {
    title: 'no matching topic',
    plan: moving('nothing\\..*'),
    code: 'NO_TOPICS',
    exitCode: 3,
    found: true,
    says: /no topic matches \(include nothing/,
  },
  {
    title: 'a target topic with records of somebody else',
    plan: moving('taken'),
    code: 'TARGET_TOPIC_HAS_RECORDS',
    exitCode: 3,
    found: true,
    says: /holds 1 records, and is not a copy that we made/,
  },
  {
    title: 'a target topic whose records equal the source but are nobody’s proven copy',
    plan: moving('twice'),
    code: 'TARGET_TOPIC_HAS_RECORDS',
    exitCode: 3,
    found: true,
    says: /not a copy that we made/,
  },
  {
    title: 'a target topic of another shape',
    plan: moving('shape'),
    code: 'TARGET_TOPIC_DIFFERS',
    exitCode: 3,
    found: true,
    says: /2 partitions, the source has 1/,
  },
  {
    title: 'brokers that cannot be reached',
    plan: { ...base, target: 'gone' },
    code: 'CLUSTER_UNREACHABLE',
    exitCode: 1,
    says: /cluster gone/,
  },
  {
    title: 'brokers that close every connection',
    plan: { ...base, target: 'refusing' },
    code: 'CLUSTER_UNREACHABLE',
    exitCode: 1,
    says: /cluster refusing/,
  },
  {
    title: 'a wrong password',
    plan: { ...base, target: 'mistyped' },
    code: 'CLUSTER_AUTH_FAILED',
    exitCode: 1,
    says: /cluster mistyped/,
  },
  {
    title: 'a wrong password of a mirror',
    plan: { ...base, target: 'mirrorless' },
    code: 'CLUSTER_AUTH_FAILED',
    exitCode: 1,
    says: /cluster mirrorless/,
  },
];

/** Through a worker, where preflight runs as an activity; `parsePlan` and the CLI share the rest. */
const startedToo = new Set([
  'an unknown key',
  'an unknown cluster',
  'the same cluster under two names',
  'no matching topic',
  'a target topic with records of somebody else',
  'brokers that cannot be reached',
  'brokers that close every connection',
  'a wrong password',
]);

let untouched: { source: string[]; target: string[] };

before(async () => {
  await furnish();
  await writeClusters();
  untouched = await estate.bothStanding();
});

after(() => {
  for (const server of servers) server.close();
});

describe('`plan` refuses, and leaves nothing on either cluster:', { concurrency: 3 }, () => {
  for (const bad of cases) {
    it(`${bad.title}: ${bad.code}, exit ${bad.exitCode}`, async () => {
      const file = operator.plan({ name: nameOf(bad), ...bad.plan });
      const ran = await operator.run(['plan', file, '--json']);
      refusedAs(bad, ran);
      if (bad.found) assert.deepEqual(blockersOf(ran.json()), [bad.code]);
      else assert.equal((ran.json().error as { code: string }).code, bad.code, ran.stdout);
      assert.doesNotMatch(ran.stderr, /^ +at /m, 'no stack of ours');
      await nothingChanged([]);
    });
  }

  it('a topic of any shape has no blocker, so that the refusals above are about what they say', async () => {
    const shapes = ['orders', 'compacted', 'transactional', 'stamped', 'old'];
    const answer = await operator.answer([
      'plan',
      operator.plan({ name: 'fine', ...base, topics: { include: shapes } }),
    ]);
    assert.deepEqual(blockersOf(answer), []);
    assert.equal(answer.topics, shapes.length);
    const said = new Set((answer.findings as Finding[]).map(({ code }) => code));
    for (const code of [
      'TOPIC_COMPACTED',
      'TOPIC_TRANSACTIONAL',
      'TOPIC_LOG_APPEND_TIME',
      'PRODUCER_EXPIRY',
    ] as const) {
      assert.ok(said.has(code), code);
    }
    await nothingChanged([]);
  });

  it('brokers that take a connection and never answer, within half a minute', async () => {
    const ran = await operator.run(['plan', operator.plan({ name: 'mute', ...base, target: 'mute' }), '--json'], {
      timeoutMs: 40_000,
    });
    assert.equal(ran.exitCode, 1, ran.stderr);
    assert.equal((ran.json().error as { code: string }).code, 'CLUSTER_UNREACHABLE');
  });
});

describe('`start --wait` refuses, and changes nothing but its own storage:', { concurrency: 5 }, () => {
  before(() => operator.startWorker());

  for (const bad of cases.filter(({ title }) => startedToo.has(title))) {
    it(`${bad.title}: ${bad.code}, exit ${bad.exitCode}`, async () => {
      const file = operator.plan({ name: nameOf(bad), ...bad.plan });
      const ran = await operator.run(['start', file, '--wait', '--json'], { timeoutMs: startTimeoutMs });
      refusedAs(bad, ran);
      if (bad.code === 'PLAN_INVALID') {
        assert.equal((ran.json().error as { code: string }).code, bad.code);
      } else {
        const { outcome, ending, step } = ran.json() as { outcome: string; ending: { code: string }; step: string };
        assert.deepEqual([outcome, step], ['failed', 'preflight']);
        assert.equal(ending.code, bad.found ? 'BLOCKED' : bad.code, ran.stdout);
        if (bad.found) assert.deepEqual(blockersOf(ran.json()), [bad.code]);
      }
      await nothingChanged([storage]);
    });
  }

  it('what our own client never saw, because it came through the `temporal` command', async () => {
    const input = JSON.stringify({ name: 'bypass', ...base, fence: { maxHoldd: '60s' } });
    const start = ['workflow', 'start', '--type', 'cutover', '--task-queue', 'kafka-cutover'];
    await operator.temporal(...start, '--workflow-id', 'cutover/bypass', '--input', input);
    const { type, message } = await operator.ending('bypass');
    assert.equal(type, 'PLAN_INVALID');
    assert.match(message ?? '', /fence: Unrecognized key: "maxHoldd"/);
    await nothingChanged([storage]);
  });
});

function nameOf({ code, plan }: Case): string {
  return `${code}-${cases.findIndex((bad) => bad.plan === plan)}`.toLowerCase().replaceAll('_', '-');
}

function refusedAs(bad: Case, ran: Ran): void {
  const said = `${ran.stdout}${ran.stderr}`;
  assert.equal(ran.exitCode, bad.exitCode, said);
  assert.match(said, bad.says);
}

function blockersOf(answer: Record<string, unknown>): string[] {
  return (answer.findings as Finding[])
    .filter(({ severity, waived }) => severity === 'blocker' && !waived)
    .map(({ code }) => code);
}

/** @param but topics that may have come into being, or have been written to */
async function nothingChanged(but: readonly string[]): Promise<void> {
  const now = await estate.bothStanding();
  const without = (lines: readonly string[]) =>
    lines.filter((line) => !but.some((name) => line.startsWith(`topic ${name}`)));
  assert.deepEqual(without(now.source), untouched.source);
  assert.deepEqual(without(now.target), untouched.target);
}

/** Topics of every kind, and an application that may write one of them and read it in a group. */
async function furnish(): Promise<void> {
  const values = ['a', 'b', 'c'];
  const now = Date.now();
  const plain = ['orders', 'taken', 'twice', 'transactional', 'old', 'shape'];
  for (const topic of plain) await estate.createTopic('source', topic, 1, { 'retention.ms': '-1' });
  await estate.createTopic('source', 'compacted', 1, { 'cleanup.policy': 'compact' });
  await estate.createTopic('source', 'stamped', 1, { 'message.timestamp.type': 'LogAppendTime' });
  for (const topic of ['orders', 'taken', 'twice', 'stamped'])
    await estate.append('source', topic, batchOf(values, now));
  await estate.append('source', 'old', batchOf(values, now - 30 * dayMs));
  await estate.append('source', 'compacted', batchOf(values, now));
  await writeInTransaction('transactional');

  await estate.createTopic('target', 'taken');
  await estate.append('target', 'taken', batchOf(['a'], now));
  await estate.createTopic('target', 'twice');
  await estate.append('target', 'twice', batchOf(values, now));
  await estate.createTopic('target', 'shape', 2);

  await estate.letIn('source', 'orders', 'app-writer-1', { user: 'app-reader-1', group: 'billing' });
}

async function writeInTransaction(topic: string): Promise<void> {
  const producer = estate
    .application('source', 'cutover')
    .producer({ transactionalId: topic, idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const transaction = await producer.transaction();
  await transaction.send({ topic, messages: [{ value: 'a' }] });
  await transaction.commit();
  await producer.disconnect();
}

/** The stack's clusters, and some that nobody can work with. */
async function writeClusters(): Promise<void> {
  const { legacy, next } = parse(readFileSync(stack.clustersFile, 'utf8')) as Record<string, Entry>;
  assert.ok(legacy && next);
  const [closed = 0] = await freePorts(1);
  const wrong = { ...next.sasl, password: { env: 'WRONG' } };
  const at = (port: number) => ({ ...next, bootstrap: `127.0.0.1:${port}` });
  const entries = {
    legacy,
    next,
    twin: legacy,
    gone: at(closed),
    refusing: at(await listener((socket) => socket.destroy())),
    mute: at(await listener(() => {})),
    mistyped: { ...next, sasl: wrong },
    mirrorless: { ...next, forward: { sasl: { ...next.forward.sasl, password: { env: 'WRONG' } } } },
  };
  writeFileSync(clustersFile, stringify(entries, { aliasDuplicateObjects: false }));
}

interface Entry {
  readonly sasl: object;
  readonly forward: { readonly sasl: object };
}

async function listener(onConnection: (socket: import('node:net').Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {}); // a client that gives up is what is wanted here
    onConnection(socket);
  });
  servers.push(server);
  server.unref();
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return (server.address() as { port: number }).port;
}
