import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, describe, it } from 'node:test';
import type { Kafka } from 'kafkajs';
import { type PlanInput, parsePlan } from '../../contract/plan.ts';
import { type Acl, aclKey, awaitAcls, createAcls, deleteAcls, describeAcls } from '../../kafka/acls.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { describeProducers } from '../../kafka/producers.ts';
import {
  type AclFence,
  closeGroups,
  closeWrites,
  fenceRules,
  proveFence,
  watchFence,
} from '../../migration/fences/acl.ts';
import { fenceFor } from '../../migration/fences/fence.ts';
import { awaitStopped } from '../../migration/fences/stopped.ts';
import { openJournal } from '../../migration/journal.ts';
import { endTransactions, openTransactions } from '../../migration/transactions.ts';
import type { Wave } from '../../migration/wave.ts';
import { applicationOf } from '../kafka/applications.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { connectBoth, createOnBoth, freshStorage, memoryStorage, write } from './rig.ts';

const { stack, clusters: file } = await sharedStack();
const clusters = await connectBoth(file);
const ours = { own: 'User:cutover', forward: 'User:mirror-forward', reverse: 'User:mirror-reverse' };
const source = stack.source;
if (!source) throw new Error('these tests need a source of their own');

const allow = (principal: string, over: Partial<Acl> = {}): Acl => ({
  resourceType: 'topic',
  patternType: 'literal',
  resourceName: '',
  principal,
  host: '*',
  operation: 'write',
  permission: 'allow',
  ...over,
});

interface Stage {
  readonly topic: string;
  readonly fence: (deadlineMs?: number) => AclFence;
  readonly rules: () => Promise<string[]>;
}

/** A topic on the source that app-writer-1 may write (by name), app-writer-2 too (by prefix). */
async function stage(): Promise<Stage> {
  const topic = uniqueName('fenced');
  await createOnBoth(clusters, topic, 2);
  const granted = [
    allow('User:app-writer-1', { resourceName: topic }),
    allow('User:app-writer-2', { resourceName: topic.slice(0, -1), patternType: 'prefixed', operation: 'all' }),
    allow('User:app-reader-1', { resourceName: topic, operation: 'read' }),
    allow('User:mirror-reverse', { resourceName: topic }),
  ];
  await createAcls(clusters.source, granted);
  await awaitAcls(clusters.source, { present: granted });
  const journal = openJournal(freshStorage(clusters), clusters, uniqueName('m'));
  return {
    topic,
    fence: (deadlineMs = Date.now() + 20_000) => ({
      clusters,
      side: 'source',
      journal,
      wave: 'all',
      topics: [topic],
      principals: [],
      ours,
      deadlineMs,
    }),
    rules: async () =>
      (await describeAcls(clusters.source)).filter((a) => topic.startsWith(a.resourceName)).map(aclKey),
  };
}

const prove = (fence: AclFence, quietMs = 100) =>
  proveFence({
    ...fence,
    quietMs,
    partitions: [0, 1].map((partition) => ({ topic: fence.topics[0] ?? '', partition })),
  });

describe('the ACL fence', () => {
  it('stops every application that may write, and after it is lifted all is as it was', async () => {
    const { topic, fence, rules } = await stage();
    const before = await rules();
    await using writers = await producers(['app-writer-1', 'app-writer-2'], topic);
    await writers.sendAll();

    const denied = await closeWrites(fence());

    assert.deepEqual(denied.map((a) => a.principal).sort(), ['User:app-writer-1', 'User:app-writer-2']);
    assert.deepEqual(await writers.sendAll(), ['TOPIC_AUTHORIZATION_FAILED', 'TOPIC_AUTHORIZATION_FAILED']);
    const proof = await prove(fence());
    assert.deepEqual(
      [...proof.logEnds.values()].reduce((a, b) => a + b),
      2n,
    );
    assert.deepEqual([proof.rules, proof.brokers], [2, 1]);

    await fence().journal.undo('all', ['fence-source']);
    assert.deepEqual(await rules(), before);
    assert.deepEqual(await writers.sendAll(), ['sent', 'sent']);
  });

  it('set twice, as after a crash, is one fence', async () => {
    const { fence, rules } = await stage();
    const before = await rules();
    const first = await closeWrites(fence());
    const second = await closeWrites(fence());
    assert.deepEqual(second, first);
    await fence().journal.undo('all', ['fence-source']);
    assert.deepEqual(await rules(), before);
  });

  it('changes nothing once its deadline has passed', async () => {
    const { fence, rules } = await stage();
    const before = await rules();
    await assert.rejects(closeWrites(fence(Date.now() - 1)), {
      code: 'FENCE_EXPIRED',
      message: /cluster legacy, wave all.*past the deadline/s,
    });
    assert.deepEqual(await rules(), before);
    assert.deepEqual(await fence().journal.entries(), []);
  });

  it('refuses a topic that anybody may write, unless the plan names who does', async () => {
    const { topic, fence } = await stage();
    const open = [allow('User:*', { resourceName: topic })];
    await createAcls(clusters.source, open);
    await awaitAcls(clusters.source, { present: open });

    await assert.rejects(closeWrites(fence()), { code: 'ACL_OPEN_ENDED', message: new RegExp(topic) });
    assert.deepEqual(await fenceRules(fence().journal, 'all', 'fence-source'), []);

    const denied = await closeWrites({ ...fence(), principals: ['User:app-reader-2'] });
    const named = ['User:app-reader-1', 'User:app-reader-2', 'User:app-writer-1', 'User:app-writer-2'];
    assert.deepEqual(denied.map((a) => a.principal).sort(), named);
    await prove({ ...fence(), principals: ['User:app-reader-2'] });
    await assert.rejects(prove(fence()), {
      code: 'FENCE_NOT_PROVEN',
      message: /anybody whom no rule names may still write/,
    });
  });
});

describe('the proof of the fence', () => {
  it('names a writer who was let in after the fence was set', async () => {
    const { topic, fence } = await stage();
    await closeWrites(fence());
    const late = [allow('User:app-reader-2', { resourceName: topic })];
    await createAcls(clusters.source, late);
    await awaitAcls(clusters.source, { present: late });

    await assert.rejects(prove(fence()), {
      code: 'FENCE_NOT_PROVEN',
      message: new RegExp(`topic ${topic}.*User:app-reader-2 may still write`, 's'),
    });
  });

  it('fails when a rule of the fence is gone', async () => {
    const { fence } = await stage();
    const [rule] = await closeWrites(fence());
    assert.ok(rule);
    await deleteAcls(clusters.source, [rule]);
    await awaitAcls(clusters.source, { absent: [rule] });
    await assert.rejects(prove(fence(Date.now() + 300)), {
      code: 'FENCE_NOT_PROVEN',
      message: /broker 1 does not show: deny write/,
    });
  });

  it('waits while the log moves, and succeeds once it stands still', async () => {
    const { topic, fence } = await stage();
    await closeWrites(fence());
    // A super user, whom no rule stops.
    let writing = true;
    const loop = (async () => {
      for (let i = 0; i < 10; i++) await write(clusters.source, topic, 1);
      writing = false;
    })();
    await prove(fence(), 50);
    assert.equal(writing, false);
    await loop;
  });

  it('names the partition that still moves at the deadline, who writes there, and who is idle but may go on', async () => {
    const { topic, fence } = await stage();
    await write(clusters.source, topic, 1, { partition: 1, producerId: 99n, baseSequence: 0 });
    await write(clusters.source, topic, 1, { partition: 1, producerId: 98n, baseSequence: 0 });
    await closeWrites(fence());
    const partitions = [0, 1].map((partition) => ({ topic, partition }));
    const mirror = new Map([[`${topic}/1`, 98n]]);
    await writingOn(topic, { partition: 1, producerId: 4711n }, () =>
      assert.rejects(proveFence({ ...fence(Date.now() + 400), quietMs: 50, partitions, mirror }), {
        code: 'FENCE_NOT_PROVEN',
        message: new RegExp(
          `${topic}/1 moved from \\d+ to \\d+; ${topic}/1: written by producer 4711 \\(epoch 0, last sequence \\d+, last record stamped \\S+Z\\); ${topic}/1: idle producer 99 \\(epoch 0, last sequence 0, [^)]*\\)\\.`,
        ),
      }),
    );
  });
});

describe('the watch over the fence', () => {
  const watchOf = async (stage: Stage, signal: AbortSignal) => ({
    cluster: clusters.source,
    rules: await fenceRules(stage.fence().journal, 'all', 'fence-source'),
    topics: [stage.topic],
    ours,
    principals: [],
    signal,
    intervalMs: 20,
  });

  it('ends quietly when it is no longer needed', async () => {
    const staged = await stage();
    await closeWrites(staged.fence());
    const stop = new AbortController();
    let looks = 0;
    await watchFence({ ...(await watchOf(staged, stop.signal)), onLook: () => ++looks === 3 && stop.abort() });
    assert.equal(looks, 3);
  });

  it('cries out when somebody takes a rule away', async () => {
    const staged = await stage();
    const [rule] = await closeWrites(staged.fence());
    assert.ok(rule);
    const watch = watchFence(await watchOf(staged, AbortSignal.timeout(20_000)));
    await deleteAcls(clusters.source, [rule]);
    await assert.rejects(watch, {
      code: 'ACCESS_CHANGED',
      message: new RegExp(`gone: deny write topic "${staged.topic}"`),
    });
  });

  it('cries out when somebody lets a writer in, and shows by which rule', async () => {
    const staged = await stage();
    await closeWrites(staged.fence());
    const watch = watchFence(await watchOf(staged, AbortSignal.timeout(20_000)));
    await createAcls(clusters.source, [allow('User:app-reader-2', { resourceName: staged.topic, operation: 'all' })]);
    await assert.rejects(watch, {
      code: 'ACCESS_CHANGED',
      message: new RegExp(`User:app-reader-2 may write ${staged.topic} .*allow all topic`),
    });
  });
});

describe('the group fence', () => {
  it('keeps members from committing, and lets them again when it is lifted', async () => {
    const { topic, fence } = await stage();
    const group = uniqueName('g');
    const granted = [
      allow('User:app-reader-1', { resourceType: 'group', resourceName: group, operation: 'read' }),
      allow('User:app-reader-1', { resourceName: topic, operation: 'read' }),
    ];
    await createAcls(clusters.source, granted);
    await awaitAcls(clusters.source, { present: granted });
    await using cleanup = new AsyncDisposableStack();
    const consumer = applicationOf(source, 'app-reader-1').consumer({ groupId: group, maxWaitTimeInMs: 100 });
    await consumer.connect();
    cleanup.defer(() => consumer.disconnect());
    await consumer.subscribe({ topic });
    const joined = new Promise((done) => consumer.on('consumer.group_join', done));
    await consumer.run({ eachMessage: async () => {} });
    await joined;
    const commit = () =>
      consumer.commitOffsets([{ topic, partition: 0, offset: '0' }]).then(
        () => 'committed',
        (error: Error) => error.message,
      );
    assert.equal(await commit(), 'committed');

    const denied = await closeGroups({ ...fence(), groups: [group] });

    assert.deepEqual(
      denied.map((a) => [a.resourceType, a.operation, a.principal]),
      [['group', 'read', 'User:app-reader-1']],
    );
    assert.match(await commit(), /Group authorization failed/);
    await fence().journal.undo('all', ['group-fence-source']);
    assert.equal(await commit(), 'committed');
  });
});

describe('transactions at the fence', () => {
  it('are waited for, and ended when they do not end by themselves', async () => {
    const topic = uniqueName('txn');
    await createOnBoth(clusters, topic, 2);
    const partitions = [0, 1].map((partition) => ({ topic, partition }));
    const kafka = applicationOf(source, 'cutover');
    const [endsItself, hangs] = await Promise.all([begun(kafka, topic, 0), begun(kafka, topic, 1)]);
    assert.deepEqual(
      (await openTransactions(clusters.source, partitions))
        .map((t) => [t.transactionalId, t.state, t.partitions])
        .sort(),
      [
        [endsItself.id, 'Ongoing', [`${topic}/0`]],
        [hangs.id, 'Ongoing', [`${topic}/1`]],
      ].sort(),
    );
    setTimeout(() => void endsItself.commit(), 100);

    const result = await endTransactions(clusters.source, partitions, {
      waitMs: 1_500,
      deadlineMs: Date.now() + 20_000,
    });

    assert.deepEqual(result, { waitedFor: [endsItself.id], ended: [hangs.id] });
    assert.deepEqual(await openTransactions(clusters.source, partitions), []);
    const states = [...(await describeProducers(clusters.source, partitions)).values()].flat();
    assert.deepEqual(
      states.map((s) => s.currentTxnStartOffset),
      [-1n, -1n],
    );
    await Promise.all([endsItself.close(), hangs.close()]);
  });

  it('are named when there is no time to end them', async () => {
    const topic = uniqueName('txn');
    await createOnBoth(clusters, topic);
    const kafka = applicationOf(source, 'cutover');
    const hangs = await begun(kafka, topic, 0);
    const partitions = [{ topic, partition: 0 }];
    await assert.rejects(endTransactions(clusters.source, partitions, { waitMs: 50, deadlineMs: Date.now() + 50 }), {
      code: 'TRANSACTION_STUCK',
      message: new RegExp(`${hangs.id} \\(Ongoing, \\d+ ms, on ${topic}/0\\)`),
    });
    await hangs.abort();
    await hangs.close();
  });

  it('of other topics are left alone', async () => {
    const [topic, other] = [uniqueName('txn'), uniqueName('txn')];
    await createOnBoth(clusters, topic);
    await createOnBoth(clusters, other);
    const open = await begun(applicationOf(source, 'cutover'), other, 0);
    const began = Date.now();
    await endTransactions(clusters.source, [{ topic, partition: 0 }], { waitMs: 10_000, deadlineMs: began + 10_000 });
    assert.ok(Date.now() - began < 5_000);
    await open.commit();
    await open.close();
  });
});

describe('a fence that brokers do not enforce', () => {
  /** What the fence of a wave with one topic needs to know of it. */
  async function heldStage(kind: 'webhook' | 'manual', over: Partial<PlanInput> = {}, groups: readonly string[] = []) {
    const topic = uniqueName('held');
    await createOnBoth(clusters, topic, 2);
    const receiver = await startReceiver();
    const { webhook } = receiver;
    const file = parseClusters(
      JSON.stringify({
        legacy: { bootstrap: 'a:1' },
        next: { bootstrap: 'b:1' },
        webhooks: { [webhook.name]: { url: webhook.url, secret: { env: 'S' } } },
      }),
      'clusters.yaml',
      { S: 'secret' },
    );
    const fence = { kind, quiet: '100ms', ...over.fence };
    const plan = parsePlan({
      name: topic,
      source: 'legacy',
      target: 'next',
      topics: { include: [topic] },
      ...over,
      fence,
    });
    const wave = {
      plan,
      migration: topic,
      wave: 'all',
      clusters,
      storage: memoryStorage(),
      beforeSend: () => {},
      topicNames: [topic],
      partitions: [0, 1].map((partition) => ({ topic, partition })),
      groups,
    } as unknown as Wave;
    const open = (deadlineMs: number) => fenceFor(wave, file, { direction: 'forward', deadlineMs });
    return { topic, wave, file, open, receiver };
  }
  const soon = () => Date.now() + 20_000;
  const never = new AbortController().signal;

  it('tells the webhook under one id to stop the writers, and once to let them go on, however often it is closed and lifted', async () => {
    const { topic, open, receiver } = await heldStage('webhook');
    const fence = open(soon());
    assert.deepEqual([fence.enforced, fence.reversible, await fence.began()], [false, true, '']);
    await fence.close(never);
    const began = await fence.began();
    assert.match(began, /^20/, 'noted, for whoever comes after a crash');
    await fence.close(never);
    assert.equal(await fence.began(), began);
    await fence.lift();
    await fence.lift();
    assert.equal(await fence.began(), '');

    const calls = receiver.received.map((body) => JSON.parse(body));
    assert.deepEqual(
      calls.map(({ action, who, from, to, topics }) => [action, who, from, to, topics]),
      [
        ['fence', 'producers', 'legacy', 'next', [topic]],
        ['fence', 'producers', 'legacy', 'next', [topic]],
        ['unfence', 'producers', 'legacy', 'legacy', [topic]],
      ],
    );
    assert.equal(calls[0].id, calls[1].id, 'one fence is one id');
    assert.notEqual(calls[0].id, calls[2].id);
  });

  it('calls nobody once its deadline has passed, or once it was lifted', async () => {
    const { open, receiver } = await heldStage('webhook');
    await assert.rejects(open(Date.now() - 1).close(never), { code: 'FENCE_EXPIRED' });
    assert.deepEqual([receiver.received, await open(soon()).began()], [[], '']);

    const fence = open(soon());
    await fence.close(never);
    await fence.lift();
    await assert.rejects(fence.close(never), { code: 'FENCE_EXPIRED', message: /was lifted/ });
    assert.equal(receiver.received.length, 2);
  });

  it('is not lifted while the webhook does not let the writers go on', async () => {
    const { open, receiver } = await heldStage('webhook');
    const fence = open(soon());
    await fence.close(never);
    await receiver.close();
    const { notUndone } = await fence.lift();
    assert.match(notUndone.join(), /the writers of legacy were not told to go on: WEBHOOK_FAILED/);
    assert.notEqual(await fence.began(), '');
  });

  it('is proven by still log ends alone, and names who still writes', async () => {
    const { topic, open } = await heldStage('manual');
    await open(soon()).close(never);
    await open(soon()).prove(never);
    await writingOn(topic, { partition: 0, producerId: 815n }, () =>
      assert.rejects(open(Date.now() + 300).prove(never), {
        code: 'FENCE_NOT_PROVEN',
        message: new RegExp(`${topic}/0: written by producer 815 \\(epoch 0`),
      }),
    );
  });

  it('of people begins when groups are empty and nothing writes, and names members with their addresses else', async () => {
    const group = uniqueName('g');
    const { topic, wave, file } = await heldStage('manual', { fence: { stopWithin: '300ms' } }, [group]);
    const consumer = applicationOf(source, 'cutover').consumer({ groupId: group, maxWaitTimeInMs: 100 });
    await using cleanup = new AsyncDisposableStack();
    await consumer.connect();
    cleanup.defer(() => consumer.disconnect());
    await consumer.subscribe({ topic });
    const joined = new Promise((done) => consumer.on('consumer.group_join', done));
    await consumer.run({ eachMessage: async () => {} });
    await joined;

    await assert.rejects(awaitStopped(wave, file, 'forward', never), {
      code: 'GROUP_ACTIVE',
      message: new RegExp(`group ${group}.*1 members \\(cutover at /127\\.0\\.0\\.1`),
    });
    await consumer.stop();
    await consumer.disconnect();
    await writingOn(topic, { partition: 1, producerId: 816n }, () =>
      assert.rejects(awaitStopped(wave, file, 'forward', never), {
        code: 'FENCE_NOT_PROVEN',
        message: new RegExp(`people were to stop what writes.*${topic}/1: written by producer 816`),
      }),
    );
    assert.match(
      await awaitStopped(wave, file, 'forward', never),
      /nothing wrote to legacy for 100 ms, 1 groups are empty/,
    );
  });

  it('leaves the members of groups to whoever stops them: none counts as fenced', async () => {
    const groups = [uniqueName('g')];
    const { open, receiver } = await heldStage('webhook', {}, groups);
    assert.deepEqual(await open(soon()).closeGroups(new Map(), never), new Set());
    const { action, who } = JSON.parse(receiver.received[0] ?? '{}');
    assert.deepEqual([action, who], ['fence', 'consumers']);
  });
});

/** While `act` runs, somebody whom nothing stops writes to the source. */
async function writingOn(
  topic: string,
  how: { readonly partition: number; readonly producerId: bigint },
  act: () => Promise<unknown>,
): Promise<void> {
  let stop = false;
  const loop = (async () => {
    for (let i = 0; !stop; i++) await write(clusters.source, topic, 1, { ...how, baseSequence: i });
  })();
  await act().finally(() => {
    stop = true;
  });
  await loop;
}

/** A webhook that answers 200 until it is closed. */
async function startReceiver() {
  const received: string[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      received.push(body);
      response.end();
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const close = async () => {
    server.closeAllConnections();
    server.close();
  };
  after(close);
  const { port } = server.address() as AddressInfo;
  return { received, close, webhook: { name: 'deployer', url: `http://127.0.0.1:${port}/` } };
}

/** A transaction with one record in it, open. */
async function begun(kafka: Kafka, topic: string, partition: number) {
  const id = uniqueName('id');
  const producer = kafka.producer({ transactionalId: id, idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const transaction = await producer.transaction();
  await transaction.send({ topic, messages: [{ partition, value: 'x' }] });
  return {
    id,
    commit: () => transaction.commit(),
    abort: () => transaction.abort(),
    close: () => producer.disconnect(),
  };
}

async function producers(users: readonly string[], topic: string) {
  const connected = await Promise.all(
    users.map(async (user) => {
      const producer = applicationOf(source as NonNullable<typeof source>, user).producer();
      await producer.connect();
      return producer;
    }),
  );
  return {
    /** What each of them was told: `sent`, or the error's name. */
    sendAll: () =>
      Promise.all(
        connected.map((producer) =>
          producer.send({ topic, messages: [{ partition: 0, value: 'x' }] }).then(
            () => 'sent',
            (error: { type?: string; name?: string }) => error.type ?? error.name,
          ),
        ),
      ),
    async [Symbol.asyncDispose]() {
      await Promise.all(connected.map((producer) => producer.disconnect()));
    },
  };
}
