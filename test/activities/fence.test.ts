/** The last look before opening is decided: after it, a writer that nobody stopped has made a record on the source only. */
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { CancelledFailure } from '@temporalio/activity';
import { pino } from 'pino';
import { createActivities } from '../../activities/activities.ts';
import { parsePlan } from '../../contract/plan.ts';
import { aclKey, deleteAcls, describeAcls } from '../../kafka/acls.ts';
import { storeBoundary } from '../../migration/boundary.ts';
import { decideOpening, openingDecided, withdraw } from '../../migration/opening.ts';
import { storageFor } from '../../migration/storage.ts';
import { batchOf, Estate } from '../e2e/support/estate.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { environment } from './environment.ts';

const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);
const activities = createActivities({ clusters, log: pino({ level: 'silent' }) });
after(() => activities[Symbol.asyncDispose]());

it('decides nothing when somebody wrote to the fenced cluster since its boundary was taken, and names who', async () => {
  const name = uniqueName('late');
  await estate.createTopic('source', name);
  await estate.append('source', name, batchOf(['a', 'b']));
  const plan = parsePlan({ name, source: 'legacy', target: 'next', topics: { include: [name] } });
  const { inventory } = (await environment().run(activities.preflight, { plan })) as { inventory: string };
  const fence = { migration: name, wave: 'all', direction: 'forward', deadlineMs: Date.now() + 60_000 } as const;
  const drained = { boundary: new Map([[`${name}/0`, 2n]]), audit: [], tookMs: { settle: 0, copy: 0, audit: 0 } };
  const storage = storageFor(estate);
  await storeBoundary(storage, fence, drained);
  const decide = () => environment().run(activities.decideOpening, { ...fence, plan, inventory });

  await estate.append('source', name, { ...batchOf(['c']), producerId: 4711n, baseSequence: 0 });

  await assert.rejects(decide() as Promise<unknown>, {
    type: 'FENCE_NOT_PROVEN',
    message: new RegExp(`${name}/0.*log end 3; ${name}/0: written by producer 4711 \\(epoch 0.*wanted log end 2`),
  });
  assert.equal(await openingDecided(storage, fence), null);

  await storeBoundary(storage, fence, { ...drained, boundary: new Map([[`${name}/0`, 3n]]) });
  await decide();
  assert.ok(await openingDecided(storageFor(estate), fence));
});

it('closes the fenced cluster again when somebody opens it after the opening was decided, and never before', async () => {
  const name = uniqueName('opened-again');
  await estate.createTopic('source', name);
  await estate.letIn('source', name, 'app-writer-1');
  const plan = parsePlan({ name, source: 'legacy', target: 'next', topics: { include: [name] } });
  const { inventory } = (await environment().run(activities.preflight, { plan })) as { inventory: string };
  const fence = { migration: name, wave: 'all', direction: 'forward', deadlineMs: Date.now() + 60_000 } as const;
  const request = { ...fence, plan, inventory };
  await environment().run(activities.closeWrites, request);
  const [denied] = (await describeAcls(estate.source)).filter(
    (acl) => acl.resourceName === name && acl.permission === 'deny',
  );
  assert.ok(denied);
  const opened = async () => (await describeAcls(estate.source)).every((acl) => aclKey(acl) !== aclKey(denied));
  const watch = () =>
    environment().run(activities.watchFence, { ...request, side: 'source' as const }) as Promise<unknown>;

  await deleteAcls(estate.source, [denied]);
  await assert.rejects(watch(), { type: 'ACCESS_CHANGED', message: /were changed \(cluster legacy\)/ });
  assert.equal(await opened(), true, 'the attempt is lifted, not mended');

  const storage = storageFor(estate);
  await storeBoundary(storage, fence, {
    boundary: new Map([[`${name}/0`, 0n]]),
    audit: [],
    tookMs: { settle: 0, copy: 0, audit: 0 },
  });
  await decideOpening(storage, fence);
  await assert.rejects(watch(), { type: 'ACCESS_CHANGED', message: /closed again with \d+ DENY rules/ });
  assert.equal(await opened(), false);
  const still = environment();
  setTimeout(() => still.cancel(), 1_000);
  const again = still.run(activities.watchFence, { ...request, side: 'source' as const });
  await assert.rejects(again as Promise<unknown>, CancelledFailure);
});

it('takes no writer that was let go on for one that nobody stopped, and one that nobody stopped for nothing else', async () => {
  const name = uniqueName('let-go-on');
  await estate.createTopic('source', name);
  const plan = parsePlan({ name, source: 'legacy', target: 'next', topics: { include: [name] } });
  const { inventory } = (await environment().run(activities.preflight, { plan })) as { inventory: string };
  const fence = { migration: name, wave: 'all', direction: 'forward', deadlineMs: Date.now() + 60_000 } as const;
  const storage = storageFor(estate);
  const drained = { boundary: new Map([[`${name}/0`, 0n]]), audit: [], tookMs: { settle: 0, copy: 0, audit: 0 } };
  await storeBoundary(storage, fence, drained);
  await estate.append('source', name, batchOf(['a']));
  const watch = (worker = environment()) =>
    worker.run(activities.watchFence, { ...fence, plan, inventory, side: 'source' as const });

  await assert.rejects(watch() as Promise<unknown>, { type: 'SOURCE_WRITTEN_AFTER_FENCE' });

  await withdraw(storage, { ...fence, throughMs: fence.deadlineMs });
  const worker = environment();
  // Long after the look at which it failed before.
  setTimeout(() => worker.cancel(), 1_000);
  await assert.rejects(watch(worker) as Promise<unknown>, CancelledFailure);
});
