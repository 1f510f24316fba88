/** The endless activities on real clusters: they work, they say how far they are, and they end when they are told to. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { pino } from 'pino';
import { createActivities } from '../../activities/activities.ts';
import type { Holding, Scope, ShardProgress } from '../../activities/types.ts';
import { parsePlan } from '../../contract/plan.ts';
import { commitOffsets, fetchOffsets } from '../../kafka/groups.ts';
import { alterTopicConfigs } from '../../kafka/topics.ts';
import { readLagCurves } from '../../migration/lag-curve.ts';
import { openStorage } from '../../migration/storage.ts';
import { batchOf, Estate } from '../e2e/support/estate.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { environment } from './environment.ts';

const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);
const activities = createActivities({ clusters, log: pino({ level: 'silent' }) });
after(() => activities[Symbol.asyncDispose]());

const name = uniqueName('background');
const [topic, group] = [`${name}.created`, `${name}-billing`];
const plan = parsePlan({ name, source: 'legacy', target: 'next', topics: { include: [`${name}\\..*`] } });
const timeoutMs = 60_000;
const forward = 'forward' as const;
const shard = { shard: 0, shards: 1 };

let scope: Scope;

before(async () => {
  await estate.createTopic('source', topic, 2);
  await estate.letIn('source', topic, 'app-writer-1', { user: 'app-reader-1', group });
  for (const partition of [0, 1]) await estate.append('source', topic, batchOf(['a', 'b', 'c']), partition);
  await commitOffsets(estate.source, group, [{ topic, partition: 0, offset: 2n }]);
  const { inventory, blockers } = await call(activities.preflight, { plan });
  assert.equal(blockers, 0);
  scope = { plan, wave: 'all', inventory };
});

/** `MockActivityEnvironment.run` forgets what an activity gives. */
function call<Request, Result>(activity: (request: Request) => Promise<Result>, request: Request): Promise<Result> {
  return environment().run<[Request], Result, typeof activity>(activity, request);
}

/** Starts it as a worker would; what it heartbeats is kept. */
function begin<Request>(activity: (request: Request) => Promise<unknown>, request: Request) {
  const worker = environment();
  const beats: unknown[] = [];
  worker.on('heartbeat', (details: unknown) => beats.push(details));
  const running = worker.run(activity, request);
  const ended: { error: unknown } = { error: null };
  running.catch((error: unknown) => {
    ended.error = error;
  });
  const progress = () => beats.findLast((beat) => beat !== undefined) as ShardProgress | undefined;
  return { worker, running, beats, progress, ended };
}

type Begun = ReturnType<typeof begin>;

/** @throws its own error when it has ended by itself */
function still(begun: Begun): Begun {
  if (begun.ended.error) throw begun.ended.error;
  return begun;
}

async function inTime<Result>(running: Promise<Result>): Promise<Result> {
  const late = sleep(timeoutMs, undefined, { ref: false }).then(() => assert.fail(`not ended after ${timeoutMs} ms`));
  return Promise.race([running, late]);
}

/** How it ends by itself. */
async function failureOf({ running }: Begun): Promise<ApplicationFailure> {
  const error = await inTime(running).catch((failed: unknown) => failed);
  assert.ok(error instanceof ApplicationFailure, String(error));
  return error;
}

/** Cancelled by Temporal, it ends soon, and as cancelled. */
async function endsAsCancelled({ worker, running }: Begun): Promise<void> {
  worker.cancel();
  await assert.rejects(inTime(running), CancelledFailure);
}

describe('an activity on real clusters', () => {
  it('prepareTarget runs twice as well as once', async () => {
    const once = await call(activities.prepareTarget, scope);
    const standing = await estate.bothStanding({ of: name });
    const twice = await call(activities.prepareTarget, scope);
    assert.match(once.summary, /^1 topics created, 4 access rules/);
    assert.match(twice.summary, /^0 topics created, 1 used again, 0 access rules/);
    assert.deepEqual(await estate.bothStanding({ of: name }), standing);
  });

  it('mirror and audit follow the source, say where they are, and end as cancelled', async () => {
    const mirror = begin(activities.mirror, { ...scope, direction: forward, ...shard });
    const audit = begin(activities.audit, { ...scope, ...shard });
    await waitFor(
      'mirror and audit to report six records',
      timeoutMs,
      () => [mirror, audit].every((one) => still(one).progress()?.topics[topic]?.records === 6) || null,
      { standing: () => JSON.stringify([mirror.beats.at(-1), audit.beats.at(-1)]) },
    );
    assert.deepEqual(await estate.ends('target', topic), ['3', '3']);
    const { kind, direction, wave, topics } = mirror.progress() as ShardProgress;
    assert.deepEqual([kind, direction, wave], ['mirror', 'forward', 'all']);
    assert.deepEqual([topics[topic]?.position, topics[topic]?.end], [6, 6]);

    const measured = await call(activities.measure, { ...scope, direction: forward });
    assert.deepEqual([measured.lagRecords, measured.groups.exact], [0, 1]);
    await endsAsCancelled(mirror);
    await endsAsCancelled(audit);

    const storage = openStorage({ source: estate.source, target: estate.target });
    const curves = await waitFor('both curves of lag in storage', timeoutMs, async () => {
      const stored = await readLagCurves(storage, name);
      return stored.length === 2 ? stored : null;
    });
    const kinds = curves.map(({ kind, samples: [, ...later], ...curve }) => [kind, curve.wave, later.at(-1)?.slice(1)]);
    assert.deepEqual(kinds.sort(), [
      ['audit', 'all', [6, 6]],
      ['mirror', 'all', [6, 6]],
    ]);
  });

  it('followGroups keeps positions alive, and ends as cancelled', async () => {
    const follow = begin(activities.followGroups, scope);
    const positionThere = async () =>
      [...((await fetchOffsets(estate.target, [group], { requireStable: false })).get(group)?.values() ?? [])][0]
        ?.offset;
    await waitFor('position 2 on the target', timeoutMs, async () => (await positionThere()) === 2n || null);
    await commitOffsets(estate.source, group, [{ topic, partition: 0, offset: 1n }]);
    await waitFor(
      'position 1 on the target: backwards too',
      timeoutMs,
      async () => (await positionThere()) === 1n || null,
    );
    assert.ok(follow.beats.length > 0);
    await endsAsCancelled(follow);
  });

  it('watchFence ends as cancelled while the fence stands, and with a code once somebody makes a hole in it', async () => {
    const fence = { ...scope, direction: forward, deadlineMs: Date.now() + timeoutMs };
    await call(activities.closeWrites, fence);
    const watched = begin(activities.watchFence, { ...scope, side: 'source' as const });
    const said = (one: Begun) => (one.progress() as unknown as Holding | undefined)?.findings;
    await waitFor(
      'a look at the source',
      timeoutMs,
      () => still(watched).beats.length >= 2 && said(watched)?.length === 0,
    );
    await endsAsCancelled(watched);

    // Nothing follows any more: another worker, which was not there when the fence was set, says what has changed since.
    await alterTopicConfigs(estate.source, topic, { set: { 'segment.ms': '700000' }, unset: [] });
    const again = begin(activities.watchFence, { ...scope, side: 'source' as const });
    const changed = await waitFor('the change to be said', timeoutMs, () => still(again) && (said(again)?.[0] ?? null));
    assert.deepEqual(
      [changed.code, changed.where, changed.message],
      [
        'SOURCE_CHANGED_AFTER_FENCE',
        `cluster legacy, topic ${topic}`,
        'TOPIC_CONFIG_CHANGED: segment.ms inherited -> 700000',
      ],
    );
    await estate.letIn('source', topic, 'app-writer-2');
    const { type, nonRetryable } = await failureOf(again);
    assert.deepEqual([type, nonRetryable], ['ACCESS_CHANGED', true]);
    assert.match((await call(activities.unfence, fence)).summary, /\d/);
  });

  it('drainLag, which waits for a mirror that nobody runs, ends as cancelled', async () => {
    await estate.append('source', topic, batchOf(['d']));
    const drain = begin(activities.drainLag, { ...scope, direction: forward });
    await waitFor('a measurement', timeoutMs, () => still(drain).progress() !== undefined || null);
    assert.equal((drain.progress() as unknown as { lagRecords: number }).lagRecords, 1);
    await endsAsCancelled(drain);
  });

  it('mirror fails for good, with the code that people must see, once somebody else wrote to the target', async () => {
    await estate.append('target', topic, batchOf(['foreign']));
    await estate.append('source', topic, batchOf(['e']));
    const failure = await failureOf(begin(activities.mirror, { ...scope, direction: forward, ...shard }));
    assert.deepEqual([failure.type, failure.nonRetryable], ['TARGET_DIVERGED', true]);
    assert.match(failure.message, new RegExp(topic));
  });
});
