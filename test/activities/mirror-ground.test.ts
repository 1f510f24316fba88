/**
 * What a mirror needs of the cluster that it writes: settings of topics and brokers, rights, and their end at the switch. Read
 * back through kafkajs and as the mirror's own principal. On a stack of its own, because settings of all brokers change.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { ApplicationFailure } from '@temporalio/common';
import kafkajs, { type ConfigResourceTypes } from 'kafkajs';
import { pino } from 'pino';
import { createActivities } from '../../activities/activities.ts';
import type { Fenced, Scope } from '../../activities/types.ts';
import { CutoverError } from '../../contract/errors.ts';
import { type PlanInput, parsePlan } from '../../contract/plan.ts';
import { grantedOnCluster } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { listOffsets } from '../../kafka/offsets.ts';
import { raiseTerms } from '../../kafka/terms.ts';
import { growTopic } from '../../kafka/topics.ts';
import { describeTransactions } from '../../kafka/transactions.ts';
import { storeBoundary } from '../../migration/boundary.ts';
import { storageFor } from '../../migration/storage.ts';
import { ownershipId } from '../../mirror/ownership.ts';
import { batchOf, Estate, type Side } from '../e2e/support/estate.ts';
import { ownStack, uniqueName } from '../support/stack.ts';
import { environment } from './environment.ts';

const { stack, clusters } = await ownStack({ parts: ['source', 'target'] });
const estate = await Estate.of(stack, clusters);
const activities = createActivities({ clusters, log: pino({ level: 'silent' }) });
after(() => activities[Symbol.asyncDispose]());

// CommonJS without named exports for these.
const { ConfigResourceTypes: resourceTypes } = kafkajs;
const verification = 'transaction.partition.verification.enable';
const deadlineMs = () => Date.now() + 120_000;

/** The settings that a topic has on the source, most of which a mirror could not write under. */
const own = {
  'cleanup.policy': 'compact,delete',
  'message.timestamp.type': 'LogAppendTime',
  'compression.type': 'gzip',
  'retention.ms': '86400000',
  'retention.bytes': '1000000000',
  'max.message.bytes': '3000000',
  'min.compaction.lag.ms': '60000',
};

interface Given {
  readonly scope: Scope;
  readonly topic: string;
}

/** A topic with a committed transaction and records two days old, a writer and a plan; preflight has been made. */
async function given(prefix: string, more: Partial<PlanInput> = {}): Promise<Given> {
  const name = uniqueName(prefix);
  const topic = `${name}.created`;
  await estate.createTopic('source', topic, 1, own);
  await estate.letIn('source', topic, 'app-writer-1');
  await transact(topic);
  const plan = parsePlan({ name, source: 'legacy', target: 'next', topics: { include: [`${name}\\..*`] }, ...more });
  const { inventory, findings } = await call(activities.preflight, { plan });
  assert.deepEqual(
    findings.filter((f) => f.severity === 'blocker'),
    [],
  );
  return { scope: { plan, wave: 'all', inventory }, topic };
}

async function transact(topic: string): Promise<void> {
  // A fresh cluster's coordinators need a moment, which kafkajs does not give them.
  await raiseTerms(estate.source, [`tx-${topic}`]);
  const producer = estate.application('source', 'cutover').producer({
    transactionalId: `tx-${topic}`,
    idempotent: true,
    maxInFlightRequests: 1,
  });
  await producer.connect();
  const transaction = await producer.transaction();
  await transaction.send({ topic, messages: [{ key: 'k', value: 'v' }] });
  await transaction.commit();
  await producer.disconnect();
}

function call<Request, Result>(activity: (request: Request) => Promise<Result>, request: Request): Promise<Result> {
  return environment().run<[Request], Result, typeof activity>(activity, request);
}

/** Opening is decided at a boundary that nobody has written beyond. */
async function decideAtTheEnd(fence: Fenced, topic: string): Promise<void> {
  const [end = '0'] = await estate.ends('source', topic);
  const boundary = new Map([[`${topic}/0`, BigInt(end)]]);
  const at = { ...fence, migration: fence.plan.name };
  await storeBoundary(storageFor(estate), at, { boundary, audit: [], tookMs: { settle: 0, copy: 0, audit: 0 } });
  await call(activities.decideOpening, fence);
}

const forward = (scope: Scope): Fenced => ({ ...scope, direction: 'forward', deadlineMs: deadlineMs() });

/** Values in force, as kafkajs reads them. */
async function configs(side: Side, type: ConfigResourceTypes, name: string): Promise<Record<string, string>> {
  const admin = estate.application(side, 'cutover').admin();
  await admin.connect();
  const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type, name }] });
  await admin.disconnect();
  return Object.fromEntries(resources[0]?.configEntries.map((e) => [e.configName, e.configValue]) ?? []);
}
const topicConfigs = (side: Side, topic: string) => configs(side, resourceTypes.TOPIC, topic);
const verifies = async (side: Side) =>
  (await configs(side, resourceTypes.BROKER, String(estate[side].brokers[0]?.id)))[verification] === 'true';

/** As the brokers grant it to the mirror itself. */
async function markerRights(side: Side): Promise<string[]> {
  const role = side === 'target' ? 'forward' : 'reverse';
  await using mirror = await Cluster.connect(clusters.cluster(side === 'target' ? 'next' : 'legacy'), { as: role });
  return (await grantedOnCluster(mirror)).filter((one) => one === 'alter' || one === 'cluster-action');
}

/** Whether the mirror itself may take the partition over, which its term tells. */
async function mayOwn(side: Side, topic: string): Promise<boolean> {
  const role = side === 'target' ? 'forward' : 'reverse';
  await using mirror = await Cluster.connect(clusters.cluster(side === 'target' ? 'next' : 'legacy'), { as: role });
  try {
    await raiseTerms(mirror, [ownershipId({ topic, partition: 0 })]);
    return true;
  } catch (error) {
    if (error instanceof CutoverError && error.code === 'CLUSTER_ACCESS_DENIED') return false;
    throw error;
  }
}

const pick = (all: Record<string, string>, names: readonly string[]) =>
  Object.fromEntries(names.map((name) => [name, all[name]]));

const suspended = {
  'cleanup.policy': 'delete',
  'message.timestamp.type': 'CreateTime',
  'message.timestamp.before.max.ms': '9223372036854775807',
  'message.timestamp.after.max.ms': '9223372036854775807',
  'compression.type': 'producer',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'max.message.bytes': '3000000',
};
const retention = ['retention.ms', 'retention.bytes'];

describe('the ground that mirrors write on', () => {
  it('is prepared, given back at the switch, taken again when the fence is lifted, and as it was in the end', async () => {
    const { scope, topic } = await given('ground');
    const message = ['cleanup.policy', 'message.timestamp.type', 'compression.type', 'max.message.bytes'];
    const had = { target: await verifies('target'), source: await verifies('source') };
    assert.deepEqual(had, { target: true, source: true });

    await call(activities.prepareTarget, scope);
    assert.deepEqual(pick(await topicConfigs('target', topic), Object.keys(suspended)), suspended);
    assert.equal(await verifies('target'), false);
    assert.equal(await verifies('source'), true, 'nothing but the mirror back needs it there');
    assert.deepEqual(await markerRights('target'), ['alter']);
    assert.deepEqual(await markerRights('source'), ['alter']);
    // What people approved is not changed by what we did.
    const { difference } = await call(activities.takeDigest, scope);
    assert.deepEqual(difference, []);

    // The mirror has owned the partition once.
    const id = ownershipId({ topic, partition: 0 });
    const term = (await raiseTerms(estate.target, [id])).get(id);
    const fence = forward(scope);
    await call(activities.closeWrites, fence);
    assert.deepEqual(pick(await topicConfigs('source', topic), Object.keys(suspended)), suspended);
    assert.equal(await verifies('source'), false);
    const shut = await call(activities.shutOutMirror, fence);
    assert.match(shut.summary, /User:mirror-forward denied on next.*; ownership of 1 partitions ended/);
    assert.equal(await mayOwn('target', topic), false);
    const after = (await describeTransactions(estate.target, [id])).get(id);
    assert.equal(after?.producerEpoch, (term?.epoch ?? 0) + 1, 'a newer term: who wakes up sees that it is over');
    await call(activities.restoreSettings, fence);
    assert.deepEqual(pick(await topicConfigs('target', topic), message), pick(own, message));
    assert.deepEqual(pick(await topicConfigs('target', topic), retention), pick(suspended, retention));
    assert.equal(await verifies('target'), true);

    const lifted = await call(activities.unfence, fence);
    assert.deepEqual(lifted.notUndone, []);
    assert.deepEqual(pick(await topicConfigs('target', topic), Object.keys(suspended)), suspended);
    assert.deepEqual(pick(await topicConfigs('source', topic), Object.keys(own)), own);
    assert.deepEqual([await verifies('target'), await verifies('source')], [false, true]);
    assert.equal(await mayOwn('target', topic), true);

    const again = forward(scope);
    for (const step of ['closeWrites', 'shutOutMirror', 'restoreSettings'] as const) {
      await call(activities[step] as (request: Fenced) => Promise<unknown>, again);
    }
    await decideAtTheEnd(again, topic);
    assert.deepEqual(await markerRights('source'), ['alter'], 'the mirror back needs it now');
    const finalized = await call(activities.finalizeWave, scope);
    assert.deepEqual(finalized.notUndone, []);
    assert.deepEqual(pick(await topicConfigs('target', topic), Object.keys(own)), own);
    assert.deepEqual(pick(await topicConfigs('source', topic), Object.keys(own)), own);
    assert.deepEqual([await verifies('target'), await verifies('source')], [true, true]);
    assert.deepEqual([await markerRights('target'), await markerRights('source')], [[], []]);
    const left = [...(await estate.standing('target')), ...(await estate.standing('source'))];
    assert.deepEqual(
      left.filter((line) => line.includes('kafka-cluster') && line.includes('mirror-')),
      [],
      'the next migration may use the same principals',
    );
  });

  it('is shared: what another migration still relies on stays until that one is done, and it may begin at any time', async () => {
    const one = await given('shared');
    await call(activities.prepareTarget, one.scope);
    const fence = forward(one.scope);
    await call(activities.closeWrites, fence);
    await call(activities.shutOutMirror, fence);
    // Mirrors as the same principal, which is shut out of the other's topics.
    const other = await given('shared');
    await call(activities.prepareTarget, other.scope);
    assert.deepEqual([await mayOwn('target', one.topic), await mayOwn('target', other.topic)], [false, true]);

    await call(activities.restoreSettings, fence);
    await decideAtTheEnd(fence, one.topic);
    await call(activities.finalizeWave, one.scope);
    assert.equal(await verifies('target'), false);
    assert.deepEqual(await markerRights('target'), ['alter']);

    const undone = await call(activities.undoAll, { ...other.scope, removeTarget: true });
    assert.deepEqual(undone.notUndone, []);
    assert.equal(await verifies('target'), true);
    assert.deepEqual(await markerRights('target'), []);
  });

  it('is left alone where the plan drops aborted records', async () => {
    const { scope } = await given('drops', { mirror: { abortedRecords: 'drop' } });
    await call(activities.prepareTarget, scope);
    assert.equal(await verifies('target'), true);
    await call(activities.undoAll, { ...scope, removeTarget: true });
  });
});

describe('partitions that are added while a topic is mirrored', () => {
  it('stop the fence before anything is closed, and are taken along once people approved them', async () => {
    const { scope, topic } = await given('grown');
    await call(activities.prepareTarget, scope);
    await growTopic(estate.source, topic, 3);
    // Its leader knows it a moment later.
    await listOffsets(estate.source, [{ topic, partition: 2 }], 'logEnd');
    await estate.append('source', topic, batchOf(['late']), 2);

    const refused = await call(activities.closeWrites, forward(scope)).then(
      () => assert.fail('not refused'),
      (error: unknown) => error,
    );
    assert.ok(refused instanceof ApplicationFailure);
    assert.equal(refused.type, 'PARTITIONS_ADDED');
    assert.match(refused.message, new RegExp(`topic ${topic}\\): found 3 partitions, wanted 1 partitions`));
    await estate.write('source', 'app-writer-1', topic, ['still open']);

    const { digest, difference, findings, inventory } = await call(activities.takeDigest, scope);
    assert.ok(difference.includes(`topic ${topic}: partitions 1 -> 3`), difference.join('; '));
    assert.deepEqual(
      findings.filter((f) => f.code === 'TARGET_TOPIC_GROWS').map((f) => f.message),
      ['3 partitions on the source, 1 on the copy that we made'],
    );
    assert.notEqual(digest, scope.inventory);
    const approved = { ...scope, inventory };
    await call(activities.prepareTarget, approved);
    const { topics } = await estate.target.metadata([topic]);
    assert.equal(topics.get(topic)?.partitions.length, 3);
    const undone = await call(activities.undoAll, { ...approved, removeTarget: true });
    assert.deepEqual(undone.notUndone, []);
  });
});
