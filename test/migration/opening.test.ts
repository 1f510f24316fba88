import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decideOpening, openingDecided, withdraw } from '../../migration/opening.ts';
import { openStorage, type Storage } from '../../migration/storage.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { connectBoth, disconnected, freshStorage, memoryStorage } from './rig.ts';

const { clusters: file } = await sharedStack();
const clusters = await connectBoth(file);

const forward = { migration: 'orders', wave: 'all', direction: 'forward' } as const;
const reverse = { ...forward, direction: 'reverse' } as const;
const later = () => Date.now() + 60_000;

describe('the opening decision', () => {
  it('is stored before it is given, and stands also after the deadline', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1_700_000_000_000 });
    const storage = memoryStorage();
    const deadlineMs = Date.now() + 50;
    const decision = await decideOpening(storage, { ...forward, deadlineMs });
    assert.deepEqual(await openingDecided(storage, forward), decision);

    t.mock.timers.setTime(deadlineMs + 1);
    assert.deepEqual(await decideOpening(storage, { ...forward, deadlineMs }), decision);
  });

  it('is refused once the deadline has passed, and nothing is stored', async () => {
    const storage = memoryStorage();
    await assert.rejects(decideOpening(storage, { ...forward, deadlineMs: Date.now() }), {
      code: 'FENCE_EXPIRED',
      message: /its deadline passed \d+ ms ago/,
    });
    assert.equal(await openingDecided(storage, forward), null);
  });

  it('refuses the fence to be lifted from then on', async () => {
    const storage = memoryStorage();
    await decideOpening(storage, { ...forward, deadlineMs: later() });
    await assert.rejects(withdraw(storage, { ...forward, throughMs: later() }), {
      code: 'UNFENCE_REFUSED',
      message: /opening the target was decided/,
    });
    assert.ok(await openingDecided(storage, forward));
  });

  it('of an earlier fence neither keeps a later one from being lifted nor lets it open', async () => {
    const storage = memoryStorage();
    const earlier = later();
    await decideOpening(storage, { ...forward, deadlineMs: earlier });
    const deadlineMs = earlier + 60_000;
    const concerns = (decision: { readonly deadlineMs: number }) => decision.deadlineMs >= deadlineMs;

    await withdraw(storage, { ...forward, throughMs: deadlineMs, concerns });

    await assert.rejects(decideOpening(storage, { ...forward, deadlineMs }), { code: 'FENCE_EXPIRED' });
  });

  it('is refused once somebody lifts the fence, and free again for the next fence', async () => {
    const storage = memoryStorage();
    const deadlineMs = later();
    await withdraw(storage, { ...forward, throughMs: deadlineMs });
    await assert.rejects(decideOpening(storage, { ...forward, deadlineMs }), {
      code: 'FENCE_EXPIRED',
      message: /lifted since/,
    });
    await decideOpening(storage, { ...forward, deadlineMs: deadlineMs + 1 });
  });

  it('counts for the way that was decided last', async () => {
    const storage = memoryStorage();
    const deadlineMs = later();
    await decideOpening(storage, { ...forward, deadlineMs });
    await withdraw(storage, { ...reverse, throughMs: deadlineMs }); // a rollback whose fence ran out
    assert.equal(await openingDecided(storage, reverse), null);

    await decideOpening(storage, { ...reverse, deadlineMs: deadlineMs + 1000 });
    assert.equal(await openingDecided(storage, forward), null);
    await assert.rejects(withdraw(storage, { ...reverse, throughMs: later() }), { code: 'UNFENCE_REFUSED' });

    await withdraw(storage, { ...forward, throughMs: deadlineMs + 1500 }); // the second move's fence ran out
    await decideOpening(storage, { ...forward, deadlineMs: deadlineMs + 2000 });
    assert.ok(await openingDecided(storage, forward));
    assert.equal(await openingDecided(storage, reverse), null);
  });

  it('needs both clusters, where lifting the fence needs only one', async () => {
    const deadlineMs = later();
    const wave = { ...forward, migration: uniqueName('m') };
    const half = openStorage({ source: clusters.source, target: await disconnected(file, 'next') });
    await assert.rejects(decideOpening(half, { ...wave, deadlineMs }));
    assert.equal(await openingDecided(freshStorage(clusters), wave), null);

    await withdraw(half, { ...wave, throughMs: deadlineMs });

    await assert.rejects(decideOpening(freshStorage(clusters), { ...wave, deadlineMs }), { code: 'FENCE_EXPIRED' });
    const otherHalf = openStorage({ source: await disconnected(file, 'legacy'), target: clusters.target });
    await assert.rejects(decideOpening(otherHalf, { ...wave, deadlineMs }), (error: { code?: string }) => {
      assert.notEqual(error.code, 'FENCE_EXPIRED', 'it cannot know');
      return true;
    });
  });

  it('and the lifting of the fence never both succeed, however their steps interleave', async () => {
    let both = 0;
    let decided = 0;
    let lifted = 0;
    // Every order of up to 12 storage operations of the two: bit n says who makes the n-th step.
    for (let order = 0; order < 2 ** 12; order++) {
      const deadlineMs = later();
      const waiting: (() => void)[][] = [[], []];
      const artifacts = memoryStorage();
      const stepwise = (who: number) => stepping(artifacts, () => new Promise<void>((go) => waiting[who]?.push(go)));
      const runs = [
        settled(decideOpening(stepwise(0), { ...forward, deadlineMs })),
        settled(withdraw(stepwise(1), { ...forward, throughMs: deadlineMs })),
      ];
      let open = 2;
      for (const run of runs) void run.then(() => open--);
      for (let step = 0; open > 0; step++) {
        await new Promise<void>((done) => setImmediate(done));
        const who = (order >> step) & 1;
        const go = waiting[who]?.shift() ?? waiting[1 - who]?.shift();
        go?.();
      }
      const [decision, withdrawal] = await Promise.all(runs);
      if (decision && withdrawal) both++;
      if (decision) decided++;
      if (withdrawal) lifted++;
      const stands = (await openingDecided(artifacts, forward)) !== null;
      assert.equal(stands, decision, `order ${order.toString(2)}`);
    }
    assert.equal(both, 0);
    assert.ok(decided > 0 && lifted > 0);
  });
});

const settled = (work: Promise<unknown>): Promise<boolean> =>
  work.then(
    () => true,
    () => false,
  );

function stepping(storage: Storage, turn: () => Promise<void>): Storage {
  return {
    degraded: null,
    put: async (...args) => turn().then(() => storage.put(...args)),
    putAll: async (...args) => turn().then(() => storage.putAll(...args)),
    get: async (...args) => turn().then(() => storage.get(...args)),
    list: async (...args) => turn().then(() => storage.list(...args)),
    getAll: async (...args) => turn().then(() => storage.getAll(...args)),
  };
}
