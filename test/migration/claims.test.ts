import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { claim, ownersOf, release } from '../../migration/claims.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { connectBoth, freshStorage } from './rig.ts';

const { clusters: file } = await sharedStack();
const clusters = await connectBoth(file);

describe('claims', () => {
  it('make one migration the owner, name it to others, and free what is released', async () => {
    const wanted = { topics: [uniqueName('t'), uniqueName('t')], groups: [uniqueName('g')] };
    await claim(clusters, freshStorage(clusters), 'orders', wanted);

    const owners = await ownersOf(freshStorage(clusters), wanted);
    assert.deepEqual(
      owners.map(({ kind, name, migration }) => [kind, name, migration]),
      [
        ['topic', wanted.topics[0], 'orders'],
        ['topic', wanted.topics[1], 'orders'],
        ['group', wanted.groups[0], 'orders'],
      ],
    );
    await assert.rejects(
      claim(clusters, freshStorage(clusters), 'billing', { topics: wanted.topics.slice(1), groups: [] }),
      { code: 'CLAIMED_BY_OTHER', message: new RegExp(`migration orders.*${wanted.topics[1]}`, 's') },
    );
    await assert.rejects(claim(clusters, freshStorage(clusters), 'billing', { topics: [], groups: wanted.groups }), {
      code: 'CLAIMED_BY_OTHER',
    });

    await release(freshStorage(clusters), 'billing', wanted);
    assert.equal((await ownersOf(freshStorage(clusters), wanted)).length, 3);
    await release(freshStorage(clusters), 'orders', wanted);
    assert.deepEqual(await ownersOf(freshStorage(clusters), wanted), []);
    await claim(clusters, freshStorage(clusters), 'billing', wanted);
    assert.equal((await ownersOf(freshStorage(clusters), wanted))[0]?.migration, 'billing');
  });

  it('stay with the migration that claims again, alone or twice at once', async () => {
    const wanted = { topics: [uniqueName('t')], groups: [] };
    await claim(clusters, freshStorage(clusters), 'orders', wanted);
    const [before] = await ownersOf(freshStorage(clusters), wanted);
    await claim(clusters, freshStorage(clusters), 'orders', wanted);
    assert.deepEqual(await ownersOf(freshStorage(clusters), wanted), [before]);

    const fresh = { topics: [uniqueName('t')], groups: [] };
    const twice = [1, 2].map(() => claim(clusters, freshStorage(clusters), 'orders', fresh));
    await Promise.all(twice);
    assert.equal((await ownersOf(freshStorage(clusters), fresh)).length, 1);
  });

  it('never go to two migrations that start at the same moment', async () => {
    for (let round = 0; round < 12; round++) {
      const wanted = { topics: [uniqueName('t')], groups: [] };
      const names = ['a', 'b', 'c'];
      const results = await Promise.allSettled(
        names.map((name) => claim(clusters, freshStorage(clusters), name, wanted)),
      );
      const winners = names.filter((_, i) => results[i]?.status === 'fulfilled');
      assert.ok(winners.length <= 1, `round ${round}: ${winners.join(' and ')} both own it`);
      for (const result of results) {
        if (result.status === 'rejected') assert.equal(result.reason.code, 'CLAIMED_BY_OTHER', result.reason.message);
      }
      const [owner] = await ownersOf(freshStorage(clusters), wanted);
      if (winners[0]) assert.equal(owner?.migration, winners[0]);
    }
  });
});
