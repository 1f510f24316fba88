/** What a bridge makes of one record, and of what it remembers. Whole bridges run on real brokers in test/e2e/bridge.test.ts. */
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Partitioners } from 'kafkajs';
import { BridgeMap, joinStretches, mapRecords } from '../../mirror/bridge-map.ts';
import { loadTransform, partitionOfKey, type Transform, transformed, unchanged } from '../../mirror/bridge-module.ts';

const place = { topic: 'orders', partition: 2 };
const record = {
  offset: 7n,
  timestamp: 1_700_000_000_000n,
  key: Buffer.from('k'),
  value: Buffer.from('v'),
  headers: [{ key: Buffer.from('h'), value: null }],
};
const rules = {
  nameOf: (topic: string) => `${topic}.v2`,
  partitions: new Map([
    ['orders.v2', 4],
    ['audit', 1],
  ]),
  timeoutMs: 20,
};
const made = (transform: Transform, given = record) => transformed(transform, place, given, rules);

describe('a record that goes through a module', () => {
  it('stays as it is, in its partition, where the module changes nothing', async () => {
    const { offset: _, ...written } = record;
    assert.deepEqual(await made(unchanged), [{ topic: 'orders.v2', partition: 2, record: written }]);
  });

  it('goes where its new key leads, unless the module says where', async () => {
    const [rekeyed] = await made(() => ({ key: 'other' }));
    assert.deepEqual([rekeyed?.partition, rekeyed?.record.key?.toString()], [null, 'other']);
    const [placed] = await made(() => ({ key: 'other', partition: 3 }));
    assert.equal(placed?.partition, 3);
    // Another number of partitions: the old place means nothing there.
    const [elsewhere] = await made(() => ({ topic: 'audit' }));
    assert.deepEqual([elsewhere?.topic, elsewhere?.partition], ['audit', null]);
    const [keyless] = await made(() => ({ key: null, topic: 'audit' }));
    assert.equal(keyless?.partition, 0);
  });

  it('is left out, or becomes several, also by a module that takes its time', async () => {
    assert.deepEqual(await made(() => null), []);
    assert.deepEqual(await made(async () => undefined), []);
    const several = await made(async () => [{ value: 'a' }, { value: null, topic: 'audit' }]);
    assert.deepEqual(
      several.map(({ record: { value } }) => value?.toString()),
      ['a', undefined],
    );
  });

  const poison: Record<string, readonly [Transform, RegExp]> = {
    'a module that throws': [() => JSON.parse('{'), /JSON/],
    'a module that never ends': [() => new Promise(() => {}), /longer than 20 ms/],
    'a text instead of a record': [() => 'v', /gave string, not a record/],
    'a key that nobody knows': [() => ({ vlaue: '' }), /`vlaue`/],
    'a topic that the plan does not name': [() => ({ topic: 'payroll' }), /payroll, which the plan does not name/],
    'a partition that is not there': [() => ({ partition: 4 }), /partition 4 of orders\.v2, which has 4/],
    'a value that is no bytes': [() => ({ value: 5 }), /`value` is number/],
    'headers that are no list': [() => ({ headers: { a: 'b' } }), /`headers` is no list/],
    'a header without a key': [() => ({ headers: [{ value: 'b' }] }), /header without a key/],
  };
  for (const [what, [transform, message]] of Object.entries(poison)) {
    it(`is poison with ${what}`, async () => {
      await assert.rejects(made(transform), message);
    });
  }

  it('cannot be changed through what the module was given', async () => {
    const [out] = await made((given) => {
      given.value?.fill(0);
      return {};
    });
    assert.equal(out?.record.value?.toString(), 'v');
  });

  it("has its key's partition where Java's producers put it", () => {
    const choose = Partitioners.DefaultPartitioner();
    for (const key of ['', 'a', 'ab', 'abc', 'abcd', 'order-4711', 'schöne Grüße', 'x'.repeat(99)]) {
      const partitionMetadata = Array.from({ length: 12 }, (_, partitionId) => ({ partitionId, leader: 1 }) as never);
      const wanted = choose({ topic: 't', partitionMetadata, message: { key: Buffer.from(key), value: null } });
      assert.equal(partitionOfKey(Buffer.from(key), 12), wanted, key);
    }
  });
});

describe('the module of a bridge', () => {
  const file = (text: string) => {
    const path = join(mkdtempSync(join(tmpdir(), 'kafka-cutover-module-')), 'module.mjs');
    writeFileSync(path, text);
    return path;
  };

  it('is a file that exports `transform`, by name or as its default', async () => {
    for (const text of [
      'export const transform = () => null;',
      'export default () => null;',
      'export default { transform: () => null };',
    ]) {
      assert.equal((await loadTransform(file(text)))(record as never), null);
    }
  });

  it('is refused where it cannot be loaded, or exports none', async () => {
    await assert.rejects(
      loadTransform(file('export const transfrom = 1;')),
      /BRIDGE_MODULE_INVALID.*no function `transform`/,
    );
    await assert.rejects(loadTransform(file('export {')), /BRIDGE_MODULE_INVALID/);
    await assert.rejects(loadTransform('/nowhere/module.mjs'), /BRIDGE_MODULE_INVALID.*nowhere/);
  });
});

describe('what a bridge remembers', () => {
  const stretch = (first: number, count: number, partition: number, at: number) => ({
    first: BigInt(first),
    count,
    topic: 'orders.v2',
    partition,
    at: BigInt(at),
  });
  const mapOf = (...carried: Parameters<typeof mapRecords>[1][]) => {
    const map = new BridgeMap('plan');
    for (const one of carried) {
      for (const { key, value } of mapRecords('plan', one)) map.take(key, value);
      // Another plan's, whose name begins alike.
      for (const { key, value } of mapRecords('plan-b', { ...one, next: 999n })) map.take(key, value);
    }
    return map;
  };

  it('joins what follows one another on both sides, and nothing else', () => {
    const single = [stretch(5, 1, 0, 9), stretch(6, 1, 0, 10), stretch(8, 1, 0, 11), stretch(9, 1, 1, 12)];
    assert.deepEqual(joinStretches(single), [stretch(5, 2, 0, 9), stretch(8, 1, 0, 11), stretch(9, 1, 1, 12)]);
  });

  it('is read back as it was written, the newest position counting', () => {
    const map = mapOf(
      { topic: 'a/b', partition: 1, next: 10n, stretches: [stretch(0, 10, 0, 0)] },
      { topic: 'a/b', partition: 1, next: 25n, stretches: [stretch(12, 3, 0, 10)] },
      { topic: 'a/b', partition: 0, next: 4n, stretches: [] },
    );
    assert.deepEqual(Object.fromEntries(map.positions), { 'a/b/1': 25n, 'a/b/0': 4n });
    assert.deepEqual(map.stretchesOf('a/b', 1), [stretch(0, 10, 0, 0), stretch(12, 3, 0, 10)]);
  });

  it('says where a group goes on: at the first record that it has not read, and how many it reads again', () => {
    const map = mapOf(
      { topic: 't', partition: 0, next: 10n, stretches: [stretch(0, 4, 0, 0), stretch(6, 2, 0, 7)] },
      { topic: 't', partition: 1, next: 3n, stretches: [stretch(0, 3, 0, 4)] },
    );
    const at = (p0: bigint, p1: bigint) =>
      map
        .translate(
          ['t'],
          new Map([
            ['t/0', p0],
            ['t/1', p1],
          ]),
          'dead',
        )
        .map(({ position, replays }) => [position, replays]);
    assert.deepEqual(at(0n, 0n), [[0n, 0]]);
    assert.deepEqual(at(2n, 0n), [[2n, 0]]);
    // Between two records of the source that were left out.
    assert.deepEqual(at(5n, 3n), [[7n, 0]]);
    assert.deepEqual(at(10n, 3n), [[9n, 0]]);
    // Partition 1 was read to its end, partition 0 was not: its three records lie behind.
    assert.deepEqual(at(2n, 3n), [[2n, 3]]);
    assert.deepEqual(at(10n, 1n), [[5n, 2]]);
  });

  it('leads nobody to dead letters, and counts those that a group has not read', () => {
    const dead = { first: 4n, count: 2, topic: 'dead', partition: 0, at: 70n };
    const map = mapOf({ topic: 't', partition: 0, next: 6n, stretches: [stretch(0, 4, 0, 0), dead] });
    const at = new Map([['t/0', 5n]]);
    assert.deepEqual(map.translate(['t'], at, 'dead'), [
      { topic: 'orders.v2', partition: 0, position: 4n, replays: 0, from: ['t/0'] },
    ]);
    assert.equal(map.deadLetters(['t'], at, 'dead'), 1);
  });

  it('leads back to the first record that was not read, whatever became of it', () => {
    const map = mapOf(
      // Record 2 became two, in two partitions; 4 and 5 were left out.
      {
        topic: 't',
        partition: 0,
        next: 6n,
        stretches: [stretch(0, 3, 0, 0), stretch(2, 1, 1, 0), stretch(3, 1, 1, 1)],
      },
      { topic: 't', partition: 1, next: 9n, stretches: [] },
    );
    const back = (p0: bigint, p1: bigint) =>
      map
        .translateBack(
          ['t'],
          new Map([
            ['orders.v2/0', p0],
            ['orders.v2/1', p1],
          ]),
          'dead',
        )
        .map(({ topic, partition, position, replays }) => [`${topic}/${partition}`, position, replays]);
    const other = ['t/1', 9n, 0];
    assert.deepEqual(back(3n, 2n), [['t/0', 6n, 0], other]);
    // One half of record 2 was read, and so was 3.
    assert.deepEqual(back(2n, 2n), [['t/0', 2n, 2], other]);
    assert.deepEqual(back(3n, 0n), [['t/0', 2n, 1], other]);
    assert.deepEqual(back(0n, 0n), [['t/0', 0n, 0], other]);
  });
});
