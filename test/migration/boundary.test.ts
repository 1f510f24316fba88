import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { allocateProducerId } from '../../kafka/producers.ts';
import {
  type DrainOptions,
  drainToBoundary,
  latestBoundary,
  readBoundary,
  storeBoundary,
} from '../../migration/boundary.ts';
import type { AuditStart } from '../../mirror/audit.ts';
import { runMirror } from '../../mirror/mirror.ts';
import { applicationOf } from '../kafka/applications.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { connectBoth, createOnBoth, memoryStorage, write } from './rig.ts';

const { stack, clusters: file } = await sharedStack();
const clusters = await connectBoth(file);
const { source, target } = clusters;

async function stage(partitions = 2) {
  const topic = uniqueName('t');
  await createOnBoth(clusters, topic, partitions);
  const list = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }));
  const audit: AuditStart[] = list.map((p) => ({ ...p, position: 0n, records: 0, digest: '' }));
  const options = (over: Partial<DrainOptions> = {}): DrainOptions => ({
    clusters,
    direction: 'forward',
    partitions: list,
    deadlineMs: Date.now() + 20_000,
    audit,
    ...over,
  });
  return { topic, list, options };
}

const numbers = (boundary: ReadonlyMap<string, bigint>) => [...boundary.values()].map(Number);

describe('draining to the boundary', () => {
  it('waits for the last records of a running mirror, and proves all of them equal', async () => {
    const { topic, list, options } = await stage();
    await write(source, topic, 3000, { partition: 0 });
    await write(source, topic, 500, { partition: 1 });
    const stop = new AbortController();
    const ids = await Promise.all(list.map(() => allocateProducerId(target)));
    let copyLeft = 0n;
    const draining = drainToBoundary(
      options({
        onProgress: ({ copy }) => {
          copyLeft = copy > copyLeft ? copy : copyLeft;
        },
      }),
    );
    const mirroring = runMirror({
      from: source,
      into: target,
      partitions: list.map((p, i) => ({ ...p, topicId: '', producerId: ids[i] ?? -1n, otherProducerId: null })),
      signal: stop.signal,
    });

    const drained = await draining;

    stop.abort();
    await mirroring;
    assert.deepEqual(numbers(drained.boundary), [3000, 500]);
    assert.deepEqual(drained.audit.map((p) => [Number(p.position), p.records, p.differences]).sort(), [
      [3000, 3000, 0],
      [500, 500, 0],
    ]);
    assert.equal(copyLeft, 3500n);
  });

  it('has nothing to wait for where nothing was ever written', async () => {
    const { options } = await stage();
    assert.deepEqual(numbers((await drainToBoundary(options())).boundary), [0, 0]);
  });

  it('goes on with the audit where it stood', async () => {
    const { topic, list, options } = await stage(1);
    await write(source, topic, 10);
    await write(target, topic, 10);
    const first = await drainToBoundary(options());
    await write(source, topic, 5);
    await write(target, topic, 5);

    const second = await drainToBoundary(options({ audit: first.audit }));

    assert.deepEqual(
      second.audit.map((p) => [p.position, p.records]),
      [[15n, 15]],
    );
    assert.notEqual(second.audit[0]?.digest, first.audit[0]?.digest);
    const whole = await drainToBoundary(options());
    assert.equal(whole.audit[0]?.digest, second.audit[0]?.digest);
    assert.equal(list.length, 1);
  });

  it('refuses when a record differs, and names the first offset of each partition', async () => {
    const { topic, options } = await stage();
    await write(source, topic, 10, { partition: 1 });
    await write(target, topic, 4, { partition: 1 });
    await write(target, topic, 6, { partition: 1, prefix: 'w' });
    await assert.rejects(drainToBoundary(options()), {
      code: 'PARITY_FAILED',
      message: new RegExp(`1 of 2 partitions.*${topic}/1 at offset 4: (key|value|timestamp)`, 's'),
    });
  });

  it('refuses a log that is longer than the fenced one', async () => {
    const { topic, options } = await stage();
    await write(target, topic, 1, { partition: 1 });
    await assert.rejects(drainToBoundary(options()), {
      code: 'TARGET_DIVERGED',
      message: new RegExp(`cluster next, ${topic}/1.*found log end 1, wanted log end 0`, 's'),
    });
  });

  it('gives up at the deadline, and says what was missing and where', async () => {
    const { topic, options } = await stage();
    await write(source, topic, 10, { partition: 0 });
    await write(target, topic, 4, { partition: 0 });
    await assert.rejects(drainToBoundary(options({ deadlineMs: Date.now() + 200 })), {
      code: 'FENCE_EXPIRED',
      message: new RegExp(`6 records missing on 1 partitions: ${topic}/0 at 4 of 10`),
    });
  });

  it('gives up on a source that still moves', async () => {
    const { topic, options } = await stage(1);
    let stop = false;
    const loop = (async () => {
      while (!stop) await write(source, topic, 1);
    })();
    await assert.rejects(drainToBoundary(options({ deadlineMs: Date.now() + 300 })), {
      code: 'FENCE_NOT_PROVEN',
      message: new RegExp(
        `somebody still writes.*cluster legacy, ${topic}/0.*written by a producer without an id`,
        's',
      ),
    });
    stop = true;
    await loop;
  });

  it('is not fooled by a writer that pauses, where nothing but its word keeps it out', async () => {
    const { topic, options } = await stage(1);
    let stop = false;
    const loop = (async () => {
      // Pauses for far longer than two looks are apart, and far shorter than it must be quiet.
      for (; !stop; await sleep(100)) await write(source, topic, 1);
    })();
    await assert.rejects(drainToBoundary(options({ quietMs: 3_000, deadlineMs: Date.now() + 300 })), {
      code: 'FENCE_NOT_PROVEN',
    });
    stop = true;
    await loop;
  });

  it('is not fooled by a record that comes after the boundary was taken', async () => {
    const { topic, options } = await stage(1);
    await write(source, topic, 10);
    const draining = drainToBoundary(
      options({
        onProgress: () => {
          late ??= write(source, topic, 1).then(() => write(target, topic, 10));
        },
      }),
    );
    let late: Promise<unknown> | undefined;
    await assert.rejects(draining, {
      code: 'FENCE_NOT_PROVEN',
      message: new RegExp(
        `cluster legacy, ${topic}/0.*found log end 11; ${topic}/0: written by a producer without an id, wanted log end 10`,
        's',
      ),
    });
    await late;
  });

  it('names the partition that an open transaction holds back', async () => {
    if (!stack.source) return;
    const { topic, options } = await stage();
    const producer = applicationOf(stack.source, 'cutover').producer({
      transactionalId: uniqueName('id'),
      idempotent: true,
      maxInFlightRequests: 1,
    });
    await producer.connect();
    const transaction = await producer.transaction();
    await transaction.send({ topic, messages: [{ partition: 1, value: 'x' }] });
    await assert.rejects(drainToBoundary(options({ deadlineMs: Date.now() + 200 })), {
      code: 'TRANSACTION_STUCK',
      message: new RegExp(`${topic}/1.*log end 1, high watermark 1, last stable 0`, 's'),
    });
    await transaction.abort();
    await producer.disconnect();
  });

  it('works the same on the way back', async () => {
    const { topic, options } = await stage(1);
    await write(target, topic, 7);
    await write(source, topic, 7);
    const drained = await drainToBoundary(options({ direction: 'reverse' }));
    assert.deepEqual(numbers(drained.boundary), [7]);
    await write(source, topic, 1);
    await assert.rejects(drainToBoundary(options({ direction: 'reverse' })), {
      code: 'TARGET_DIVERGED',
      message: /cluster legacy/,
    });
  });
});

describe('the stored boundary', () => {
  const fence = { migration: 'orders', wave: 'all', direction: 'forward', deadlineMs: 1_700_000_000_000 } as const;
  const drained = {
    boundary: new Map([['t/0', 2n ** 60n]]),
    audit: [
      {
        topic: 't',
        partition: 0,
        start: 1n,
        position: 2n ** 60n,
        records: 5,
        digest: 'd',
        bytes: 9,
        differences: 0,
        first: null,
        abortedNotKept: 3,
        superseded: 4,
        sourceReadAtMs: null,
        waitingFor: null,
      },
    ],
    tookMs: { settle: 1, copy: 2, audit: 3 },
  };

  it('comes back as it was, offsets exact', async () => {
    const storage = memoryStorage();
    const name = await storeBoundary(storage, fence, drained);
    const { at, ...stored } = await readBoundary(storage, name);
    const wanted = { direction: 'forward', deadlineMs: fence.deadlineMs, ...drained };
    // Where records keep their offsets, the other log ends there too.
    assert.deepEqual(stored, { ...wanted, into: drained.boundary });
    const into = new Map([['t/0', 2n ** 59n]]);
    await storeBoundary(storage, fence, { ...drained, into });
    assert.deepEqual((await readBoundary(storage, name)).into, into);
    await storeBoundary(storage, fence, drained);
    assert.ok(!Number.isNaN(Date.parse(at)));
    assert.match(String((await storage.get(name))?.bytes), /"t\/0":"1152921504606846976"/);
  });

  it('is found by wave and direction, the newest first', async () => {
    const storage = memoryStorage();
    assert.equal(await latestBoundary(storage, fence), null);
    const names = [
      await storeBoundary(storage, fence, drained),
      await storeBoundary(storage, { ...fence, deadlineMs: fence.deadlineMs + 1, direction: 'reverse' }, drained),
    ];
    assert.equal(await latestBoundary(storage, { migration: 'orders', wave: 'all' }), names[1]);
    assert.equal(await latestBoundary(storage, fence), names[0]);
    assert.equal(await latestBoundary(storage, { migration: 'orders', wave: 'al' }), null);
  });

  it('that is missing is an error, not an empty one', async () => {
    await assert.rejects(readBoundary(memoryStorage(), 'orders/boundary/x'), { code: 'STORAGE_CORRUPT' });
  });
});
