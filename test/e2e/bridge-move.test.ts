/** A whole move through a module of people's own: filtered, under other keys, with other values; and what the audit makes of a module that lies, and of a stranger. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { NewRecord } from '../../kafka/batches.ts';
import { commitOffsets, fetchOffsets } from '../../kafka/groups.ts';
import { listOffsets, partitionKey } from '../../kafka/offsets.ts';
import { runBridgeAudit } from '../../mirror/bridge-audit.ts';
import { deadLetterOf } from '../../mirror/bridge-log.ts';
import { loadTransform, type Transform } from '../../mirror/bridge-module.ts';
import { readWithJava } from '../../stack/java-tools.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { Estate } from './support/estate.ts';
import { Scene } from './support/scene.ts';

const phaseTimeoutMs = 120_000;
const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);
const scene = await Scene.open(stack, {
  name: uniqueName('bridge-move'),
  topics: { created: 2 },
  writers: 1,
  readers: 1,
  clusters: { modules: { orders: './orders.mjs' } },
});
after(() => scene[Symbol.asyncDispose]());

const topic = `${scene.name}.created`;
const group = `${scene.name}-group-1`;
const places = [0, 1].map((partition) => ({ topic, partition }));
const before = 400;
const total = 600;
const modulePath = join(scene.dir, 'orders.mjs');
// One in four is left out, one in a hundred cannot be read, and an order's key is its customer.
writeFileSync(
  modulePath,
  `export function transform({ value }) {
    const { number, customer } = JSON.parse(value.toString());
    return number % 4 === 3 ? null : { key: customer, value: JSON.stringify({ number, seen: true }) };
  }`,
);
const isPoison = (number: number) => number % 100 === 50;
const isKept = (number: number) => !isPoison(number) && number % 4 !== 3;

/** Even numbers lie in partition 0, odd ones in 1. */
async function write(from: number, until: number): Promise<void> {
  for (const { partition } of places) {
    const records: NewRecord[] = [];
    for (let number = from; number < until; number++) {
      if (number % 2 !== partition) continue;
      const order = JSON.stringify({ number, customer: `customer-${number % 5}` });
      records.push({
        timestamp: BigInt(Date.now() - total + number),
        key: Buffer.from(String(number)),
        value: Buffer.from(isPoison(number) ? 'no order' : order),
      });
    }
    await estate.append('source', topic, { records }, partition);
  }
}

const audit = async (transform: Transform, until: ReadonlyMap<string, bigint>) => {
  const nothing = { records: 0, missing: 0, duplicated: 0, reordered: 0, foreign: 0, superseded: 0 };
  const beginning = { origin: 0n, copy: 0n };
  const start = { start: beginning, place: beginning, anchors: [], counts: nothing };
  const audited = await runBridgeAudit({
    origin: estate.source,
    copy: estate.target,
    name: scene.name,
    transform,
    rules: { nameOf: (name) => name, partitions: new Map([[topic, 2]]), timeoutMs: 1_000 },
    deadLetter: deadLetterOf(scene.name),
    partitions: places.map((place) => ({ ...place, ...start })),
    until,
    signal: new AbortController().signal,
  });
  const sum = (kind: 'records' | 'missing' | 'reordered' | 'foreign' | 'leftOut' | 'deadLettered') =>
    audited.reduce((all, { counts }) => all + (counts[kind] ?? 0), 0);
  return {
    records: sum('records'),
    missing: sum('missing'),
    reordered: sum('reordered'),
    foreign: sum('foreign'),
    leftOut: sum('leftOut'),
    deadLettered: sum('deadLettered'),
  };
};

describe('a move through a bridge', () => {
  it('carries, proves and hands over what the module makes of each record', async () => {
    await write(0, before);
    // Of partition 1 the group has read nothing.
    await commitOffsets(estate.source, group, [{ topic, partition: 0, offset: 120n }]);
    await scene.worker().start().ready();
    scene.say('worker ready');
    const migration = await scene
      .migration({
        replicator: { kind: 'bridge', module: 'orders' },
        rollback: { reverseMirror: false },
        producers: { switch: 'manual' },
        consumers: { switch: 'manual' },
        gates: {
          cutover: { approvals: 1 },
          producers: { approvals: 0 },
          consumers: { approvals: 0 },
          finalize: { approvals: 1 },
        },
        verify: { producersWait: '1s' },
        waivers: [{ code: 'ROLLBACK_IMPOSSIBLE', by: 'kafka-owner', reason: 'values are changed' }],
      })
      .start();
    const facts = await migration.untilGate('cutover', phaseTimeoutMs);
    scene.say(facts.join('\n           '));
    // Which of the two partitions was carried first decides whether any are read again.
    const [, exact, replaying] = /(\d) positions exact, (\d) read \d+ records again, 0 unt/.exec(facts.join()) ?? [];
    assert.equal(Number(exact) + Number(replaying), 2, facts.join('; '));
    await write(before, total);
    await migration.signal('approve', { gate: 'cutover', by: 'kafka-owner' });
    await migration.untilGate('finalize', phaseTimeoutMs);
    scene.say('switched');

    const { records } = await readWithJava(estate.local('target'), 'cutover', topic);
    const numberOf = ({ value }: { readonly value: Buffer | null }) =>
      (JSON.parse(value?.toString() ?? '') as { number: number }).number;
    const wanted = Array.from({ length: total }, (_, number) => number).filter(isKept);
    assert.deepEqual(
      records.map(numberOf).toSorted((a, b) => a - b),
      wanted,
    );
    const isUnread = (number: number) => number % 2 === 1 || number >= 240;
    const positions = (await fetchOffsets(estate.target, [group], { requireStable: true })).get(group);
    for (const { partition } of places) {
      const first = records.find((record) => record.partition === partition && isUnread(numberOf(record)));
      assert.equal(positions?.get(partitionKey(topic, partition))?.offset, BigInt(first?.offset ?? -1));
    }
    await migration.signal('approve', { gate: 'finalize', by: 'kafka-owner' });
    await migration.untilEnded('completed', phaseTimeoutMs);
    scene.say('finalized');
  });

  it('finds nothing wrong with what the bridge did, and everything that a module or a stranger did otherwise', async () => {
    const until = await listOffsets(estate.source, places, 'lastStable');
    const honest = await loadTransform(modulePath);
    const counts = { records: total, missing: 0, reordered: 0, foreign: 0, leftOut: 150, deadLettered: 6 };
    assert.deepEqual(await audit(honest, until), counts);

    const other =
      (number: number): Transform =>
      (record) => {
        const order = JSON.parse(record.value?.toString() ?? '') as { number: number };
        return order.number === number ? { key: 'x', value: 'other' } : honest(record);
      };
    // What stands there is not what this one makes; in the same partition or in another one.
    const lying = await audit(other(200), until);
    assert.ok(lying.missing > 0, JSON.stringify(lying));
    // This one carries a record that was left out, and leaves out one that was carried.
    assert.equal((await audit(other(203), until)).missing, 1);
    const dropping: Transform = (record) =>
      record.value?.toString().includes('"number":201,') ? null : honest(record);
    assert.equal((await audit(dropping, until)).foreign, 1);

    await estate.append('target', topic, { records: [{ timestamp: 0n, key: null, value: Buffer.from('a stranger') }] });
    assert.deepEqual(await audit(honest, until), { ...counts, foreign: 1 });
  });
});
