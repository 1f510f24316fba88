/**
 * A mirror that takes partitions over moves their leaders, which changes the order of their replicas. In the end they are as they were:
 * read back through kafkajs, on a cluster of three brokers.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { createActivities } from '../../activities/activities.ts';
import type { Fenced, Scope } from '../../activities/types.ts';
import { parsePlan } from '../../contract/plan.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { moveLeaders, newestMetadata } from '../../kafka/leadership.ts';
import { replicaOrders, restoreReplicaOrders } from '../../kafka/replica-orders.ts';
import { createTopic } from '../../kafka/topics.ts';
import { Estate } from '../e2e/support/estate.ts';
import { ownStack, uniqueName } from '../support/stack.ts';
import { environment } from './environment.ts';

const { stack, clusters } = await ownStack({ parts: ['source', 'target'], brokers: { source: 1, target: 3 } });
const estate = await Estate.of(stack, clusters);
const activities = createActivities({ clusters, log: pino({ level: 'silent' }) });
after(() => activities[Symbol.asyncDispose]());

/** Of each wait for brokers. */
const patienceMs = 60_000;
const partitions = 3;
/** The cluster with three brokers. */
const three = estate.target;

interface Placed {
  readonly replicas: readonly number[];
  readonly leader: number;
}

/** Order of the replicas and leader of each partition, as kafkajs sees them. */
async function placed(topic: string): Promise<Placed[]> {
  const admin = estate.application('target', 'cutover').admin();
  await admin.connect();
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  await admin.disconnect();
  const found = [...(topics[0]?.partitions ?? [])].sort((a, b) => a.partitionId - b.partitionId);
  return found.map(({ replicas, leader }) => ({ replicas, leader }));
}

/** One broker may know a moment later than another. */
async function untilPlaced(topic: string, wanted: (now: readonly Placed[]) => boolean): Promise<void> {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const now = await placed(topic);
    if (wanted(now)) return;
    assert.ok(Date.now() < deadline, JSON.stringify(now));
    await sleep(100);
  }
}
const untilAsBefore = (topic: string, before: readonly Placed[]) =>
  untilPlaced(topic, (now) => JSON.stringify(now) === JSON.stringify(before));

const places = (topic: string) => Array.from({ length: partitions }, (_, partition) => ({ topic, partition }));

/** As the mirror does when it takes them over. */
async function takeOver(topic: string): Promise<void> {
  const before = await placed(topic);
  await moveLeaders(three, places(topic), await newestMetadata(three, places(topic)));
  await untilPlaced(topic, (now) =>
    now.every((p, i) => p.leader !== before[i]?.leader && p.replicas[0] !== before[i]?.replicas[0]),
  );
}

async function created(name: string, replicationFactor = 3): Promise<Placed[]> {
  await createTopic(three, { name, partitions, replicationFactor, configs: {} });
  await untilPlaced(name, (now) => now.length === partitions && now.every((p) => p.leader === p.replicas[0]));
  return placed(name);
}

/** A topic with one replica where there is one broker, with three where there are three; preflight has been made. */
async function given(way: { readonly source: string; readonly target: string }) {
  const name = uniqueName('leaders');
  const topic = `${name}.t`;
  await estate.createTopic('source', topic, partitions);
  const before = await created(topic);
  const plan = parsePlan({ name, ...way, topics: { include: [topic] } });
  const { inventory, findings } = await call(activities.preflight, { plan });
  assert.deepEqual(
    findings.filter((f) => f.severity === 'blocker'),
    [],
  );
  const scope: Scope = { plan, wave: 'all', inventory };
  return { topic, before, scope };
}

function call<Request, Result>(activity: (request: Request) => Promise<Result>, request: Request): Promise<Result> {
  return environment().run<[Request], Result, typeof activity>(activity, request);
}

describe('leaders that the mirror moved', () => {
  const ends = {
    finalizeWave: (scope: Scope) => call(activities.finalizeWave, scope),
    settleRollback: (scope: Scope) => call(activities.settleRollback, scope),
    undoAll: (scope: Scope) => call(activities.undoAll, { ...scope, removeTarget: false }),
  };

  for (const [name, end] of Object.entries(ends)) {
    it(`are back on the target after ${name}`, async () => {
      const { topic, before, scope } = await given({ source: 'legacy', target: 'next' });
      await call(activities.prepareTarget, scope);
      await takeOver(topic);
      // A repeated attempt must not take our order for the one that people had.
      await call(activities.prepareTarget, scope);
      await takeOver(topic);

      const { notUndone } = await end(scope);

      assert.deepEqual(notUndone, []);
      await untilAsBefore(topic, before);
    });
  }

  it('are back on the source, which the mirror of the way back wrote', async () => {
    const { topic, before, scope } = await given({ source: 'next', target: 'legacy' });
    const fence: Fenced = { ...scope, direction: 'forward', deadlineMs: Date.now() + 120_000 };
    await call(activities.prepareTarget, scope);
    await call(activities.closeWrites, fence);
    await takeOver(topic);

    const { notUndone } = await ends.settleRollback(scope);

    assert.deepEqual(notUndone, []);
    await untilAsBefore(topic, before);
    await call(activities.unfence, fence);
  });
});

describe('orders of replicas', () => {
  it('that nobody changed are left alone, which needs no right; others need ALTER on the cluster', async () => {
    const topic = uniqueName('orders');
    const before = await created(topic);
    await estate.letIn('target', topic, 'app-writer-1');
    const config = clusters.cluster('next');
    const password = stack.target?.users['app-writer-1'] ?? '';
    const own = { ...config.credentials.own, sasl: { mechanism: 'SCRAM-SHA-512', username: 'app-writer-1', password } };
    await using application = await Cluster.connect({
      ...config,
      credentials: { ...config.credentials, own },
    } as typeof config);
    const orders = await replicaOrders(three, [topic]);
    assert.equal(orders.length, partitions);

    const untouched = await restoreReplicaOrders(application, orders);
    await takeOver(topic);
    const refused = restoreReplicaOrders(application, orders);

    assert.equal(untouched, false);
    await assert.rejects(refused, { code: 'CLUSTER_ACCESS_DENIED' });
    assert.equal(await restoreReplicaOrders(three, orders), true);
    await untilAsBefore(topic, before);
    assert.equal(await restoreReplicaOrders(three, orders), false);
  });

  it('of partitions that somebody gave other replicas meanwhile stay as that somebody wants them', async () => {
    const topic = uniqueName('reassigned');
    const before = await created(topic, 2);
    const orders = await replicaOrders(three, [topic]);
    const brokers = three.brokers.map(({ id }) => id);
    const [first] = before as [Placed];
    const wanted = [...brokers.filter((id) => !first.replicas.includes(id)), first.replicas[1] as number];
    const admin = estate.application('target', 'cutover').admin();
    await admin.connect();
    const partitionAssignment = [{ partition: 0, replicas: wanted }];
    await admin.alterPartitionReassignments({ topics: [{ topic, partitionAssignment }] });
    await admin.disconnect();
    await untilPlaced(topic, ([p]) => JSON.stringify(p?.replicas) === JSON.stringify(wanted));

    await restoreReplicaOrders(three, orders);

    assert.deepEqual((await placed(topic))[0]?.replicas, wanted);
  });

  it('of one replica, and of topics that are gone, are none', async () => {
    const topic = uniqueName('single');
    await created(topic, 1);
    assert.deepEqual(await replicaOrders(three, [topic, uniqueName('gone')]), []);
    assert.equal(
      await restoreReplicaOrders(three, [{ topic: uniqueName('gone'), partition: 0, replicas: [2, 1], leader: 2 }]),
      false,
    );
  });
});
