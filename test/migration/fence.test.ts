import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Kafka } from 'kafkajs';
import { type Acl, aclKey, awaitAcls, createAcls, deleteAcls, describeAcls } from '../../kafka/acls.ts';
import { describeProducers } from '../../kafka/producers.ts';
import {
  type AclFence,
  closeGroups,
  closeWrites,
  fenceRules,
  proveFence,
  watchFence,
} from '../../migration/fences/acl.ts';
import { openJournal } from '../../migration/journal.ts';
import { endTransactions, openTransactions } from '../../migration/transactions.ts';
import { applicationOf } from '../kafka/applications.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { connectBoth, createOnBoth, freshStorage, write } from './rig.ts';

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

  it('names the partition that still moves at the deadline, and the producer seen there', async () => {
    const { topic, fence } = await stage();
    await closeWrites(fence());
    let stop = false;
    const loop = (async () => {
      for (let i = 0; !stop; i++)
        await write(clusters.source, topic, 1, { partition: 1, producerId: 4711n, baseSequence: i });
    })();
    await assert.rejects(prove(fence(Date.now() + 400), 50), {
      code: 'FENCE_NOT_PROVEN',
      message: new RegExp(`${topic}/1 moved from \\d+ to \\d+ \\(producers 4711\\)`),
    });
    stop = true;
    await loop;
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
