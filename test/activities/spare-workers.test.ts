import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SpareWorkers } from '../../activities/spare-workers.ts';

type Counts = Readonly<Record<string, number>>;

/** One look after the other: who asked when, who carries how many shards. */
async function looks(...seen: readonly { readonly polling: Counts; readonly carrying: Counts }[]) {
  const rest = [...seen];
  const spare = new SpareWorkers(async () => {
    const { polling, carrying } = rest.shift() ?? assert.fail('one look too many');
    return { polling: new Map(Object.entries(polling)), carrying: new Map(Object.entries(carrying)) };
  });
  const found: string[] = [];
  for (const _ of seen) found.push((await spare.look()).join());
  return found;
}

describe('a worker without a shard', () => {
  it('is spare at once when it has come since the shards were handed out', async () => {
    const carrying = { a: 4 };
    assert.deepEqual(await looks({ polling: { a: 10 }, carrying }, { polling: { a: 10, b: 20 }, carrying }), ['', 'b']);
  });

  it('that was there before is spare once it asks again, as one under its old name does', async () => {
    const carrying = { a: 4 };
    const polling = (at: number) => ({ a: 10, b: at });
    const seen = [10, 10, 70].map((at) => ({ polling: polling(at), carrying }));
    assert.deepEqual(await looks(...seen), ['', '', 'b']);
  });

  it('that was killed never asks again, though the server lists it for minutes', async () => {
    const polling = { a: 10, killed: 10 };
    const seen = [{ a: 2, killed: 2 }, { a: 4 }, { a: 4 }, { a: 4 }].map((carrying) => ({ polling, carrying }));
    assert.deepEqual(await looks(...seen), ['', '', '', '']);
  });

  it('is not spare where every other has one shard: there is nothing to give away', async () => {
    const carrying = { a: 1, b: 1 };
    const polling = { a: 10, b: 10 };
    assert.deepEqual(await looks({ polling, carrying }, { polling: { ...polling, c: 20 }, carrying }), ['', '']);
  });

  it('is not looked for where the server does not tell', async () => {
    const spare = new SpareWorkers(() => Promise.reject(new Error('denied')));
    assert.deepEqual(await spare.look(), []);
  });
});
