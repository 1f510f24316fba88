/**
 * Clusters whose brokers refuse nobody: the source has no authorizer, the target lets everybody do what no rule speaks about. People, or a webhook,
 * hold the fence; whoever writes all the same is seen, before the opening and after it.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Producer } from 'kafkajs';
import { parse, stringify } from 'yaml';
import type { Code } from '../../contract/errors.ts';
import { raiseTerms } from '../../kafka/terms.ts';
import { signatureHeader, timestampHeader, verifySignature } from '../../migration/switches/webhook.ts';
import { KubernetesStandIn } from '../migration/kubernetes-stand-in.ts';
import { ownStack, uniqueName } from '../support/stack.ts';
import { batchOf, Estate, type Side } from './support/estate.ts';
import { Operator } from './support/operator.ts';
import { waitFor } from './support/waiting.ts';

const { stack, clusters } = await ownStack({
  brokerConfig: {
    source: { 'authorizer.class.name': '' },
    target: { 'allow.everyone.if.no.acl.found': 'true' },
  },
});
const dir = mkdtempSync(join(tmpdir(), 'kafka-cutover-held-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const secret = 'of the deployer';
const kubernetes = await KubernetesStandIn.start();
const deployer = await startDeployer();
const estate = await Estate.of(stack, clusters);
const operator = await Operator.at(stack, {
  clustersFile: clustersFile(),
  env: { DEPLOYER_SECRET: secret, KUBERNETES_TOKEN: kubernetes.token },
});

const waitMs = 60_000;
const waived: readonly Code[] = ['FENCE_NOT_ENFORCED', 'TARGET_NOT_PROTECTED'];
const waivers = waived.map((code) => ({ code, by: 'sam', reason: 'one application, and sam stops it' }));
const answered = (...args: readonly string[]) => operator.answer([...args, '--by', 'sam']);

before(() => operator.startWorker());

describe('a fence that brokers do not enforce', { concurrency: true }, () => {
  it('held by people is lifted by them when its time is up, is held again, and shows who writes to the source after the opening', async () => {
    const name = uniqueName('by-people');
    const topic = `${name}.created`;
    await estate.createTopic('source', topic, 2);
    // Transactional from the start: what a topic needs is part of what people approve.
    await estate.append('source', topic, batchOf(['a', 'b', 'c']));
    // A fresh cluster's coordinators need a moment, which kafkajs does not give them.
    await raiseTerms(estate.source, [name]);
    const forgotten = estate
      .application('source', 'app-writer-1')
      .producer({ transactionalId: name, idempotent: true, maxInFlightRequests: 1 });
    await forgotten.connect();
    const begun = async (value: string) => {
      const transaction = await forgotten.transaction();
      await transaction.send({ topic, messages: [{ partition: 1, value }] });
      return transaction;
    };
    await (await begun('early')).commit();
    const plan = {
      name,
      source: 'legacy',
      target: 'next',
      topics: { include: [topic.replaceAll('.', '\\.')] },
      groups: { include: ['no-group'] },
      fence: { kind: 'manual', maxHold: '12s', transactionWait: '1m', stopWithin: '30s' },
      verify: { producersWait: '20s' },
    };
    const refused = await operator.answer(['plan', operator.plan(plan)], 3);
    const blockers = (refused.findings as { code: string; severity: string }[]).filter(
      ({ severity }) => severity === 'blocker',
    );
    assert.deepEqual(blockers.map(({ code }) => code).sort(), [...waived].sort());

    await operator.answer(['start', operator.plan({ ...plan, waivers })]);
    const cutover = await operator.gate(name, 'cutover');
    assert.match(cutover.awaiting?.facts.join('\n') ?? '', /people stop everything that writes to .* on legacy/);

    // An application that nobody thought of has a transaction open, and outlasts the fence with it.
    const transaction = await begun('late');
    await answered('approve', name, 'cutover');
    const held = await operator.gate(name, 'unfence');
    assert.equal(held.sourceOfTruth.all, 'none');
    assert.match(held.awaiting?.facts[0] ?? '', new RegExp(`TRANSACTION_STUCK.*${name} \\(Ongoing`));

    // Nothing is opened; people start on the source again what they stopped, and it is mirrored on.
    await transaction.commit();
    await forgotten.disconnect();
    await estate.write('source', 'app-writer-1', topic, ['d', 'e']);
    await sameEnds(topic);
    assert.equal((await operator.status(name)).sourceOfTruth.all, 'none');
    await answered('approve', name, 'unfence');
    const again = await operator.gate(name, 'cutover');
    assert.equal(again.sourceOfTruth.all, 'source');
    assert.ok(again.findings.some(({ code }) => code === 'TRANSACTION_STUCK'));

    await answered('approve', name, 'cutover');
    const opened = await operator.gate(name, 'producers');
    assert.equal(opened.sourceOfTruth.all, 'target');
    // No rule of ours closed the target for good: it had none, and `allow.everyone.if.no.acl.found` still lets everybody in.
    await estate.write('target', 'app-writer-1', topic, ['f', 'g', 'h', 'i']);
    await answered('approve', name, 'producers');
    await operator.gate(name, 'consumers');
    await answered('approve', name, 'consumers');
    await operator.gate(name, 'finalize');

    const rogue = estate.application('source', 'app-writer-2').producer({ idempotent: true });
    await rogue.connect();
    await rogue.send({ topic, acks: -1, messages: [{ partition: 0, value: 'nobody stopped me' }] });
    await rogue.disconnect();
    const { failedStep } = await operator.until(name, 'it to be seen', (status) => status.failedStep !== null);
    assert.equal(failedStep?.code, 'SOURCE_WRITTEN_AFTER_FENCE');
    assert.match(
      failedStep?.message ?? '',
      new RegExp(`${topic}/0: written by producer \\d+ \\(epoch 0, last sequence 0`),
    );
    await answered('decide', name, 'fence', 'skip');
    await operator.gate(name, 'finalize');
    await answered('approve', name, 'finalize');
    assert.deepEqual(await operator.ending(name), { outcome: 'completed' });
  });

  it('held by a webhook names a writer that goes on, is lifted, holds, and holds once more on the way back', async () => {
    const name = uniqueName('by-webhook');
    const topic = `${name}.created`;
    await estate.createTopic('source', topic, 2);
    const object = kubernetes.addObject('shop/readers', 'ConfigMap', { servers: stack.source?.bootstrap ?? '' });
    const readers = kubernetes.addDeployment('shop/billing', 1);
    const configMap = { namespace: 'shop', name: 'readers', key: 'servers', restart: ['billing'] };
    const writer = new Writer(topic);
    const rogue = new Writer(topic, { idempotent: true });
    after(() => Promise.all([writer.stop(), rogue.stop()]));
    deployer.onCall = async ({ action, to }) => {
      if (action === 'fence') return writer.stop();
      if (action === 'unfence') await rogue.stop();
      await writer.start(to === 'legacy' ? 'source' : 'target');
    };
    await writer.start('source');
    await rogue.start('source');

    await operator.answer([
      'start',
      operator.plan({
        name,
        source: 'legacy',
        target: 'next',
        topics: { include: [topic.replaceAll('.', '\\.')] },
        groups: { include: ['no-group'] },
        fence: { kind: 'webhook', maxHold: '12s' },
        producers: { switch: 'webhook' },
        consumers: { switch: 'config-map', configMap },
        gates: { cutover: { approvals: 0 } },
        waivers,
      }),
    ]);
    const window = await operator.gate(name, 'finalize');
    assert.equal(window.sourceOfTruth.all, 'target');
    assert.deepEqual(
      deployer.calls.map(({ action, who, to }) => `${action} ${who} ${to}`),
      ['fence producers next', 'unfence producers legacy', 'fence producers next', 'switch producers next'],
    );
    const proof = window.steps.find(({ step, summary }) => step === 'fence' && /not enforced/.test(summary));
    assert.match(proof?.summary ?? '', /2 log ends still for 300 ms, watched from now on/);
    const [firstTry] = window.steps.filter(({ step }) => step === 'fence');
    assert.match(firstTry?.summary ?? '', /not held: FENCE_NOT_PROVEN: .*written by producer \d+ \(epoch 0/);
    assert.equal(object.data.servers, stack.target?.bootstrap);
    assert.equal(readers.generation, 2);

    await answered('rollback', name);
    assert.deepEqual(await operator.ending(name), { outcome: 'rolledBack' });
    await writer.stop();
    assert.deepEqual(
      deployer.calls.slice(4).map(({ action, who, to }) => `${action} ${who} ${to}`),
      ['fence producers legacy', 'rollback producers legacy'],
    );
    assert.deepEqual([object.data.servers, readers.generation], [stack.source?.bootstrap, 3]);
    assert.ok(writer.acknowledged.target > 0, 'what was written to the target was carried back');
    const written = writer.acknowledged.source + writer.acknowledged.target + rogue.acknowledged.source;
    const ends = (await estate.ends('source', topic)).reduce((sum, end) => sum + Number(end), 0);
    assert.equal(ends, written, 'every acknowledged record is on the source, once');
  });
});

/** An application that writes on and on until it is stopped. */
class Writer {
  readonly acknowledged: Record<Side, number> = { source: 0, target: 0 };
  readonly #topic: string;
  readonly #options: { readonly idempotent?: boolean };
  #running: { stopping: boolean; readonly ended: Promise<void> } | null = null;

  constructor(topic: string, options: { readonly idempotent?: boolean } = {}) {
    this.#topic = topic;
    this.#options = options;
  }

  async start(side: Side): Promise<void> {
    await this.stop();
    const producer = estate.application(side, 'app-writer-1').producer(this.#options);
    await producer.connect();
    const running = { stopping: false, ended: Promise.resolve() };
    this.#running = Object.assign(running, { ended: this.#write(producer, side, running) });
  }

  async stop(): Promise<void> {
    const running = this.#running;
    this.#running = null;
    if (!running) return;
    running.stopping = true;
    await running.ended;
  }

  async #write(producer: Producer, side: Side, running: { readonly stopping: boolean }): Promise<void> {
    for (let i = 0; !running.stopping; i++, await sleep(20)) {
      await producer.send({ topic: this.#topic, acks: -1, messages: [{ partition: i % 2, value: `${i}` }] });
      this.acknowledged[side]++;
    }
    await producer.disconnect();
  }
}

interface Call {
  readonly id: string;
  readonly action: string;
  readonly who: string;
  readonly to: string;
}

/** Answers once it has done what was asked; a call that it knows is not done again. */
async function startDeployer() {
  const known = new Map<string, Promise<void>>();
  const state = { calls: [] as Call[], onCall: async (_: Call): Promise<void> => {}, port: 0 };
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', async () => {
      const header = (wanted: string) => String(request.headers[wanted.toLowerCase()]);
      if (!verifySignature(secret, header(timestampHeader), body, header(signatureHeader))) {
        response.writeHead(401).end();
        return;
      }
      const call = JSON.parse(body) as Call;
      if (!known.has(call.id)) {
        state.calls.push(call);
        known.set(call.id, state.onCall(call));
      }
      const done = await known.get(call.id)?.then(
        () => true,
        () => false,
      );
      response.writeHead(done ? 204 : 500).end();
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  state.port = (server.address() as AddressInfo).port;
  return state;
}

function clustersFile(): string {
  const path = join(dir, 'clusters.yaml');
  writeFileSync(join(dir, 'kubernetes.pem'), kubernetes.config.ca);
  const webhooks = { deployer: { url: `http://127.0.0.1:${deployer.port}/`, secret: { env: 'DEPLOYER_SECRET' } } };
  const prod = { server: kubernetes.config.server, ca: { file: 'kubernetes.pem' }, token: { env: 'KUBERNETES_TOKEN' } };
  const entries = parse(readFileSync(stack.clustersFile, 'utf8'));
  writeFileSync(path, stringify({ ...entries, webhooks, kubernetes: { prod } }), { mode: 0o600 });
  return path;
}

async function sameEnds(topic: string): Promise<void> {
  const look = async () => `${await estate.ends('source', topic)}` === `${await estate.ends('target', topic)}`;
  await waitFor(`the mirror of ${topic}`, waitMs, look, { everyMs: 200 });
}
