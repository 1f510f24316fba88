import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Consumer, joinGroupV9 } from '@platformatic/kafka';
import type { Cluster } from '../../kafka/cluster.ts';
import { commitOffsets, deleteGroup, fetchOffsets } from '../../kafka/groups.ts';
import { expectedClasses, finalPositions, followOnce, readPositions, storePositions } from '../../migration/groups.ts';
import { applicationOf } from '../kafka/applications.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { connectBoth, createOnBoth, deleteRecords, freshStorage, memoryStorage, write } from './rig.ts';

const { stack, clusters: file } = await sharedStack();
const clusters = await connectBoth(file);
const { source, target } = clusters;
const local = stack;

/** A topic of three partitions with `records` each on both clusters, and a group name. */
async function stage(onSource = 10, onTarget = onSource) {
  const topic = uniqueName('t');
  await createOnBoth(clusters, topic, 3);
  for (const partition of [0, 1, 2]) {
    await write(source, topic, onSource, { partition });
    await write(target, topic, onTarget, { partition });
  }
  const boundary = new Map([0, 1, 2].map((p) => [`${topic}/${p}`, BigInt(onSource)]));
  return { topic, group: uniqueName('g'), topics: new Map([[topic, 3]]), boundary };
}

async function positionsOf(cluster: Cluster, group: string, topics: ReadonlyMap<string, number>) {
  const found = (await fetchOffsets(cluster, [group], { requireStable: false, topics })).get(group);
  return Object.fromEntries([...(found ?? [])].map(([key, p]) => [key.slice(-1), Number(p.offset)]));
}

const at = (topic: string, offsets: Record<number, number>) =>
  Object.entries(offsets).map(([partition, offset]) => ({
    topic,
    partition: Number(partition),
    offset: BigInt(offset),
    metadata: `m${partition}`,
  }));

describe('following a group that lives on the source', () => {
  it('carries its positions forwards and backwards, and what it never read stays so', async () => {
    const { topic, group, topics } = await stage();
    await commitOffsets(source, group, at(topic, { 0: 4, 1: 10 }));

    const first = await followOnce(clusters, [group], topics);
    assert.deepEqual(await positionsOf(target, group, topics), { 0: 4, 1: 10 });
    assert.deepEqual([first.written, first.totals.exact, first.totals.replays], [2, 2, 0]);

    await commitOffsets(source, group, at(topic, { 0: 2 }));
    assert.equal((await followOnce(clusters, [group], topics)).written, 1);
    assert.deepEqual(await positionsOf(target, group, topics), { 0: 2, 1: 10 });

    assert.equal((await followOnce(clusters, [group], topics)).written, 0);
    assert.equal((await followOnce(clusters, [group], topics, { refresh: true })).written, 2);
  });

  it('goes no further than what the target holds, and says how much would be read again', async () => {
    const { topic, group, topics } = await stage(10, 6);
    await commitOffsets(source, group, at(topic, { 0: 10, 1: 5 }));

    const { groups } = await followOnce(clusters, [group], topics);

    assert.deepEqual(await positionsOf(target, group, topics), { 0: 6, 1: 5 });
    assert.deepEqual(groups, [{ group, exact: 1, replays: 1, untranslatable: 0, replayedRecords: 4, skipped: null }]);
  });

  it('takes back positions that the group no longer has on the source', async () => {
    const { topic, group, topics } = await stage();
    await commitOffsets(source, group, at(topic, { 0: 4, 1: 5 }));
    await followOnce(clusters, [group], topics);
    await deleteGroup(source, group);
    await commitOffsets(source, group, at(topic, { 1: 5 }));

    await followOnce(clusters, [group], topics);

    assert.deepEqual(await positionsOf(target, group, topics), { 1: 5 });
  });

  it('never writes under members on the target, and names them', async () => {
    const { topic, group, topics } = await stage();
    await commitOffsets(source, group, at(topic, { 0: 4 }));
    await using consumer = await member(local.target, group, topic);

    const { groups, written } = await followOnce(clusters, [group], topics);

    assert.equal(written, 0);
    assert.match(groups[0]?.skipped ?? '', /1 members \(cutover at .*\), Stable on the target/);
    await consumer.stop();
  });
});

describe('what a handover is expected to cost', () => {
  it('is judged by the log that a position stands in, where the copy has other offsets', async () => {
    const { topic, group, topics } = await stage(10);
    await deleteRecords(target, topic, 0, 8n);
    await commitOffsets(source, group, at(topic, { 0: 5, 1: 10 }));
    const asSlots = await expectedClasses(clusters, [group], topics);
    assert.deepEqual([asSlots.exact, asSlots.untranslatable], [1, 1]);
    const translated = await expectedClasses(clusters, [group], topics, { sameOffsets: false });
    assert.deepEqual([translated.exact, translated.untranslatable, translated.replays], [2, 0, 0]);
  });
});

describe('the handover of a group', () => {
  it('writes the final positions where the group moves to, exactly, with their metadata', async () => {
    const { topic, group, topics, boundary } = await stage();
    await commitOffsets(source, group, at(topic, { 0: 4, 1: 10 }));

    const final = await finalPositions({ from: source, into: target, groups: [group], topics, boundary });

    assert.deepEqual(await positionsOf(target, group, topics), { 0: 4, 1: 10 });
    assert.deepEqual(final.totals, { exact: 2, replays: 0, untranslatable: 0, replayedRecords: 0 });
    const written = (await fetchOffsets(target, [group], { requireStable: true })).get(group)?.get(`${topic}/1`);
    assert.equal(written?.metadata, 'm1');

    const storage = memoryStorage();
    const name = await storePositions(
      storage,
      { migration: 'm', wave: 'all', direction: 'forward', deadlineMs: 1 },
      final,
    );
    assert.deepEqual(await readPositions(storage, name), final);
    assert.match(String((await storage.get(name))?.bytes), /"committed":"4"/);
  });

  it('works the same on the way back', async () => {
    const { topic, group, topics, boundary } = await stage();
    await commitOffsets(target, group, at(topic, { 2: 7 }));
    await finalPositions({ from: target, into: source, groups: [group], topics, boundary });
    assert.deepEqual(await positionsOf(source, group, topics), { 2: 7 });
  });

  it('puts a position beyond the end at the boundary, one below the first record at that record, and classes both', async () => {
    const { topic, group, topics, boundary } = await stage();
    await deleteRecords(source, topic, 0, 3n);
    await deleteRecords(target, topic, 0, 3n);
    await deleteRecords(target, topic, 1, 3n);
    await commitOffsets(source, group, at(topic, { 0: 1, 1: 1, 2: 99 }));

    const final = await finalPositions({ from: source, into: target, groups: [group], topics, boundary });

    assert.deepEqual(await positionsOf(target, group, topics), { 0: 3, 1: 3, 2: 10 });
    const classes = new Map(final.positions.map((p) => [p.partition, p.class]));
    assert.deepEqual(
      [classes.get(0), classes.get(1), classes.get(2)],
      ['exact', 'untranslatable', 'untranslatable'],
      'partition 1 still has the records on the source, so they would be skipped',
    );
  });

  it('is refused while the group has members, wherever they are', async () => {
    const { topic, group, topics, boundary } = await stage();
    await commitOffsets(source, group, at(topic, { 0: 4 }));
    const request = { from: source, into: target, groups: [group], topics, boundary };
    {
      await using consumer = await member(local.source, group, topic);
      await assert.rejects(finalPositions(request), {
        code: 'GROUP_ACTIVE',
        message: new RegExp(`cluster legacy, group ${group}.*1 members`, 's'),
      });
      await finalPositions({ ...request, fenced: new Set([group]) });
      await consumer.stop();
    }
    await using consumer = await member(local.target, group, topic);
    await assert.rejects(finalPositions(request), { code: 'GROUP_ACTIVE', message: /cluster next/ });
    await consumer.stop();
  });

  it('carries a group of the consumer protocol (KIP-848), which only brokers of the target know', async () => {
    const { topic, group, topics, boundary } = await stage();
    const stop = await newMember(group, topic);
    try {
      const request = { from: target, into: source, groups: [group], topics, boundary };
      await assert.rejects(finalPositions(request), { code: 'GROUP_ACTIVE', message: /cluster next/ });
    } finally {
      await stop();
    }
    await commitOffsets(target, group, at(topic, { 0: 4, 1: 7 }));
    const final = await finalPositions({ from: target, into: source, groups: [group], topics, boundary });
    assert.equal(final.totals.exact, 2);
    assert.deepEqual(await positionsOf(source, group, topics), { 0: 4, 1: 7 });
    // And again to where it is of the new protocol.
    await commitOffsets(source, group, at(topic, { 0: 5 }));
    await finalPositions({ from: source, into: target, groups: [group], topics, boundary });
    assert.deepEqual(await positionsOf(target, group, topics), { 0: 5, 1: 7 });
  });

  it('waits for a static member that has gone until its session ends, unless a fence keeps it out', async () => {
    const { topic, group, topics, boundary } = await stage();
    await commitOffsets(target, group, at(topic, { 0: 4 }));
    const protocols = [{ name: 'range', metadata: Buffer.alloc(0) }];
    const joined = await target.call(
      { group },
      joinGroupV9.api,
      group,
      45_000,
      45_000,
      '',
      'billing-1',
      'consumer',
      protocols,
    );
    assert.equal(joined.errorCode, 0);
    // It goes without leaving, as static members do, so that it finds its partitions again.
    const request = { from: target, into: source, groups: [group], topics, boundary };
    await assert.rejects(finalPositions(request), { code: 'GROUP_ACTIVE', message: /1 members/ });
    await finalPositions({ ...request, fenced: new Set([group]) });
  });

  it('is refused when somebody commits meanwhile without being a member', async () => {
    const { topic, group, topics, boundary } = await stage();
    await commitOffsets(source, group, at(topic, { 0: 4 }));
    let reads = 0;
    const from = interposed(source, async () => {
      // Between the read that is carried over and the one that checks it.
      if (++reads === 2) await commitOffsets(source, group, at(topic, { 0: 5 }));
    });
    await assert.rejects(finalPositions({ from, into: target, groups: [group], topics, boundary }), {
      code: 'GROUP_ACTIVE',
      message: /a position moved while it was handed over.*found 5, wanted 4/s,
    });
  });

  it('is refused when what is read back is not what was written', async () => {
    const { topic, group, topics, boundary } = await stage();
    await commitOffsets(source, group, at(topic, { 0: 4 }));
    let reads = 0;
    const into = interposed(target, async () => {
      if (++reads === 2) await commitOffsets(target, group, at(topic, { 0: 1 }));
    });
    await assert.rejects(finalPositions({ from: source, into, groups: [group], topics, boundary }), {
      code: 'OFFSETS_NOT_WRITTEN',
      message: new RegExp(`group ${group}, ${topic}/0: 1, wanted 4`),
    });
  });

  it('carries many groups at once', async () => {
    const { topic, topics, boundary } = await stage();
    const groups = Array.from({ length: 60 }, () => uniqueName('g'));
    for (const [i, group] of groups.entries()) await commitOffsets(source, group, at(topic, { 0: i % 11 }));
    const final = await finalPositions({ from: source, into: target, groups, topics, boundary });
    assert.equal(final.totals.exact, 60);
    assert.deepEqual(await positionsOf(target, groups[57] ?? '', topics), { 0: 2 });
    assert.equal((await freshStorage(clusters).list('no such thing')).length, 0);
  });
});

/** Somebody who consumes as a member of the group, on one cluster. */
async function member(cluster: typeof stack.source, groupId: string, topic: string) {
  if (!cluster) throw new Error('these tests need a stack of their own');
  const consumer = applicationOf(cluster, 'cutover').consumer({ groupId, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic });
  const joined = new Promise((done) => consumer.on('consumer.group_join', done));
  await consumer.run({ autoCommit: false, eachMessage: async () => {} });
  await joined;
  let stopped = false;
  const stop = async () => {
    if (!stopped) await consumer.disconnect();
    stopped = true;
  };
  return { stop, [Symbol.asyncDispose]: stop };
}

/** A member on the target by the consumer protocol; gives what stops it. */
async function newMember(group: string, topic: string) {
  if (!local.target) throw new Error('these tests need a stack of their own');
  const consumer = new Consumer({
    groupId: group,
    clientId: 'billing',
    bootstrapBrokers: local.target.bootstrap.split(','),
    sasl: { mechanism: 'SCRAM-SHA-512', username: 'cutover', password: local.target.users.cutover ?? '' },
    groupProtocol: 'consumer',
  });
  const stream = await consumer.consume({ topics: [topic], mode: 'latest', autocommit: false });
  return async () => {
    await stream.close();
    await consumer.close(true);
  };
}

/** The same cluster, with something happening before each time that positions are read. */
function interposed(cluster: Cluster, beforeRead: () => Promise<void>): Cluster {
  return new Proxy(cluster, {
    get(original, property) {
      const value = Reflect.get(original, property, original) as unknown;
      if (property !== 'call' || typeof value !== 'function') {
        return typeof value === 'function' ? value.bind(original) : value;
      }
      return async (destination: unknown, api: { key?: number }, ...args: unknown[]) => {
        const offsetFetchKey = 9;
        if (api.key === offsetFetchKey) await beforeRead();
        return value.call(original, destination, api, ...args);
      };
    },
  });
}
