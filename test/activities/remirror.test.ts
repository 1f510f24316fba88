/** A spoiled target topic on real clusters: when it is mirrored again by itself, and when people must look. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { ApplicationFailure } from '@temporalio/common';
import { pino } from 'pino';
import { createActivities } from '../../activities/activities.ts';
import type { Scope } from '../../activities/types.ts';
import { parsePlan } from '../../contract/plan.ts';
import { describeAcls } from '../../kafka/acls.ts';
import { listGroups } from '../../kafka/groups.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import { decideOpening } from '../../migration/opening.ts';
import { readProducerIds } from '../../migration/producer-ids.ts';
import { Estate } from '../e2e/support/estate.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { freshStorage } from '../migration/rig.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { environment } from './environment.ts';

const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);
const activities = createActivities({ clusters, log: pino({ level: 'silent' }) });
after(() => activities[Symbol.asyncDispose]());

const timeoutMs = 60_000;
const shard = { shard: 0, shards: 1 };
const forward = 'forward' as const;

interface Given {
  readonly scope: Scope;
  readonly topic: string;
  readonly name: string;
}

const records = (...values: readonly string[]) =>
  values.map((value, i) => ({ timestamp: 1_700_000_000_000n + BigInt(i), key: null, value: Buffer.from(value) }));

function call<Request, Result>(activity: (request: Request) => Promise<Result>, request: Request): Promise<Result> {
  return environment().run<[Request], Result, typeof activity>(activity, request);
}

/** A topic that is prepared on the target, as a wave has it. */
async function given(): Promise<Given> {
  const name = uniqueName('again');
  const topic = `${name}.created`;
  await estate.createTopic('source', topic);
  await estate.letIn('source', topic, 'app-writer-1', { user: 'app-reader-1', group: `${name}-billing` });
  const plan = parsePlan({ name, source: 'legacy', target: 'next', topics: { include: [`${name}\\..*`] } });
  const { inventory, blockers } = await call(activities.preflight, { plan });
  assert.equal(blockers, 0);
  const scope = { plan, wave: 'all', inventory };
  await call(activities.prepareTarget, scope);
  await estate.append('source', topic, { records: records('a', 'b', 'c') });
  return { scope, topic, name };
}

/** Writes a wrong record in the place of the second one, as if the mirror had. */
async function spoil({ topic, name }: Given, producerId?: bigint): Promise<void> {
  const ours = (await readProducerIds(freshStorage(estate), name, 'forward')).get(`${topic}/0`);
  assert.ok(ours !== undefined);
  await estate.append('target', topic, { records: records('a', 'wrong', 'c'), producerId: producerId ?? ours });
}

async function failing(running: Promise<unknown>): Promise<ApplicationFailure> {
  const error = await running.then(
    () => assert.fail('it did not fail'),
    (failed: unknown) => failed,
  );
  assert.ok(error instanceof ApplicationFailure, String(error));
  return error;
}

const audit = ({ scope }: Given) => failing(environment().run(activities.audit, { ...scope, ...shard }));
const remirror = ({ scope }: Given) => call(activities.remirror, scope);

async function idOn(side: 'source' | 'target', topic: string): Promise<string | undefined> {
  return (await estate[side].metadata([topic])).topics.get(topic)?.topicId;
}

/** It says so, and the topic still stands. */
async function stays(spoiled: Given, why: RegExp): Promise<void> {
  const before = await idOn('target', spoiled.topic);
  const { type, message } = await failing(remirror(spoiled));
  assert.equal(type, 'PARITY_FAILED');
  assert.match(message, why);
  assert.equal(await idOn('target', spoiled.topic), before);
}

describe('a spoiled topic before the switch', () => {
  it('is deleted, prepared anew and mirrored from the start, after which the audit finds it equal', async () => {
    const topic = await given();
    await spoil(topic);
    const [before, rules] = [await idOn('target', topic.topic), (await describeAcls(estate.target)).length];
    const found = await audit(topic);
    assert.equal(found.type, 'PARITY_FAILED');

    const { findings = [] } = await remirror(topic);

    assert.deepEqual(
      findings.map(({ code, where, message }) => [code, where, /partition 0 at offset 1: value/.test(message)]),
      [['TOPIC_REMIRRORED', `target, topic ${topic.topic}`, true]],
    );
    const after = await idOn('target', topic.topic);
    assert.ok(after !== undefined && after !== before);
    assert.equal((await describeAcls(estate.target)).length, rules, 'applications are kept out as before');
    assert.deepEqual((await remirror(topic)).findings, [], 'twice is once');
    assert.equal(await idOn('target', topic.topic), after);

    const worker = environment();
    const [mirroring, auditing] = [
      worker.run(activities.mirror, { ...topic.scope, direction: forward, ...shard }),
      worker.run(activities.audit, { ...topic.scope, ...shard }),
    ];
    await waitFor('mirror and audit at the end', timeoutMs, async () => {
      const { auditLagRecords, lagRecords } = await call(activities.measure, { ...topic.scope, direction: forward });
      return (lagRecords === 0 && auditLagRecords === 0) || null;
    });
    worker.cancel();
    await Promise.allSettled([mirroring, auditing]);
    assert.deepEqual(await estate.ends('target', topic.topic), ['3']);
  });

  it('that was made again after its creation was lost half way is made all the same', async () => {
    const topic = await given();
    await spoil(topic);
    await audit(topic);
    const admin = estate.application('target', 'cutover').admin();
    await admin.connect();
    await admin.deleteTopics({ topics: [topic.topic] });
    await admin.disconnect();

    await remirror(topic);

    assert.ok(await idOn('target', topic.topic));
  });

  it('stays when somebody else wrote to it', async () => {
    const topic = await given();
    await spoil(topic, await allocateProducerId(estate.target));
    await audit(topic);

    await stays(topic, /holds records from offset 0 on that producer \d+ wrote/);
  });

  it('stays when we did not make it', async () => {
    const topic = await given();
    await spoil(topic);
    await audit(topic);
    const storage = freshStorage(estate);
    for (const { name, bytes } of await storage.getAll(`${topic.name}/journal/`)) {
      const entry = JSON.parse(String(bytes));
      if (entry.purpose === 'topic')
        await storage.put(name, Buffer.from(JSON.stringify({ ...entry, state: 'undone' })));
    }

    await stays(topic, /our journal does not say that we made it/);
  });

  it('stays when the rule is gone that kept applications out', async () => {
    const topic = await given();
    await spoil(topic);
    await audit(topic);
    const admin = estate.application('target', 'cutover').admin();
    await admin.connect();
    const denied = {
      resourceType: 2,
      resourceName: topic.topic,
      resourcePatternType: 3,
      operation: 1,
      permissionType: 2,
    };
    await admin.deleteAcls({ filters: [denied] });
    await admin.disconnect();

    await waitFor('the rule to be gone', timeoutMs, async () => {
      const left = await describeAcls(estate.target);
      return !left.some((acl) => acl.resourceName === topic.topic && acl.permission === 'deny') || null;
    });
    await stays(topic, /the rule that kept applications out of it is gone/);
  });

  it('stays when a group reads it', async () => {
    const topic = await given();
    await spoil(topic);
    await audit(topic);
    const groupId = `${topic.name}-early`;
    const consumer = estate.application('target', 'cutover').consumer({ groupId });
    await consumer.connect();
    await consumer.subscribe({ topic: topic.topic, fromBeginning: true });
    await consumer.run({ autoCommitInterval: 50, eachMessage: async () => {} });
    const committed = async () => {
      const admin = estate.application('target', 'cutover').admin();
      await admin.connect();
      const offsets = await admin.fetchOffsets({ groupId, topics: [topic.topic] });
      await admin.disconnect();
      return offsets[0]?.partitions.some((p) => p.offset === '3') || null;
    };
    await waitFor('a position of the group', timeoutMs, committed);
    assert.ok((await listGroups(estate.target)).some(({ group, state }) => group === groupId && state === 'Stable'));

    await stays(topic, new RegExp(`it is read by ${groupId}`));

    await consumer.disconnect();
  });

  it('stays while the source is fenced, and once opening the target was decided', async () => {
    const topic = await given();
    await spoil(topic);
    await audit(topic);
    const fence = { ...topic.scope, direction: forward, deadlineMs: Date.now() + timeoutMs };
    await call(activities.closeWrites, fence);

    await stays(topic, /the source is fenced/);

    const where = { migration: topic.name, wave: 'all', direction: forward };
    await decideOpening(freshStorage(estate), { ...where, deadlineMs: fence.deadlineMs });
    await stays(topic, /the target was opened/);
  });

  it('stays after it was mirrored again three times in one run', async () => {
    const topic = await given();
    for (let times = 0; times < 3; times++) {
      await spoil(topic);
      await audit(topic);
      assert.equal((await remirror(topic)).findings?.length, 1);
    }
    await spoil(topic);
    await audit(topic);

    await stays(topic, /mirrored again 3 times in this run/);
  });
});
