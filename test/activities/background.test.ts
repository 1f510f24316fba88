/** The endless activities on real clusters: they work, they say how far they are, and they end when they are told to. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { pino } from 'pino';
import { createActivities } from '../../activities/activities.ts';
import type { Scope, ShardProgress } from '../../activities/types.ts';
import { parsePlan } from '../../contract/plan.ts';
import { commitOffsets, fetchOffsets } from '../../kafka/groups.ts';
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
  const { inventory, blockers } = await environment().run(activities.preflight, { plan });
  assert.equal(blockers, 0);
  scope = { plan, wave: 'all', inventory };
});

/** Starts it as a worker would; what it heartbeats is kept. */
function begin<Request>(activity: (request: Request) => Promise<unknown>, request: Request) {
  const worker = environment();
  const beats: unknown[] = [];
  worker.on('heartbeat', (details: unknown) => beats.push(details));
  const running = worker.run(activity, request);
  running.catch(() => {}); // looked at when it has ended
  const progress = () => beats.findLast((beat) => beat !== undefined) as ShardProgress | undefined;
  return { worker, running, beats, progress };
}

/** Cancelled by Temporal, it ends soon, and as cancelled. */
async function endsAsCancelled({ worker, running }: ReturnType<typeof begin>): Promise<void> {
  worker.cancel();
  const late = sleep(timeoutMs, undefined, { ref: false }).then(() => assert.fail(`not ended after ${timeoutMs} ms`));
  await assert.rejects(Promise.race([running, late]), CancelledFailure);
}

describe('an activity on real clusters', () => {
  it('prepareTarget runs twice as well as once', async () => {
    const once = await environment().run(activities.prepareTarget, scope);
    const standing = await estate.bothStanding({ of: name });
    const twice = await environment().run(activities.prepareTarget, scope);
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
      () => [mirror, audit].every(({ progress }) => progress()?.topics[topic]?.records === 6) || null,
      { standing: () => JSON.stringify([mirror.beats.at(-1), audit.beats.at(-1)]) },
    );
    assert.deepEqual(await estate.ends('target', topic), ['3', '3']);
    const { kind, direction, wave, topics } = mirror.progress() as ShardProgress;
    assert.deepEqual([kind, direction, wave], ['mirror', 'forward', 'all']);
    assert.deepEqual([topics[topic]?.position, topics[topic]?.end], [6, 6]);

    const measured = await environment().run(activities.measure, { ...scope, direction: forward });
    assert.deepEqual([measured.lagRecords, measured.groups.exact], [0, 1]);
    await endsAsCancelled(mirror);
    await endsAsCancelled(audit);
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

  it('watchFence, which watches for ever, ends as cancelled', async () => {
    const watch = begin(activities.watchFence, { ...scope, side: 'source' });
    await waitFor('two heartbeats', timeoutMs, () => watch.beats.length >= 2 || null);
    await endsAsCancelled(watch);
  });

  it('drainLag, which waits for a mirror that nobody runs, ends as cancelled', async () => {
    await estate.append('source', topic, batchOf(['d']));
    const drain = begin(activities.drainLag, { ...scope, direction: forward });
    await waitFor('a measurement', timeoutMs, () => drain.progress() !== undefined || null);
    assert.equal((drain.progress() as unknown as { lagRecords: number }).lagRecords, 1);
    await endsAsCancelled(drain);
  });

  it('mirror fails for good, with the code that people must see, once somebody else wrote to the target', async () => {
    await estate.append('target', topic, batchOf(['foreign']));
    await estate.append('source', topic, batchOf(['e']));
    const { running } = begin(activities.mirror, { ...scope, direction: forward, ...shard });
    const late = sleep(timeoutMs, undefined, { ref: false }).then(() => assert.fail(`not ended after ${timeoutMs} ms`));
    const error = await Promise.race([running, late]).catch((failed: unknown) => failed);
    assert.ok(error instanceof ApplicationFailure, String(error));
    assert.deepEqual([error.type, error.nonRetryable], ['TARGET_DIVERGED', true]);
    assert.match(error.message, new RegExp(`${topic}`));
  });
});
