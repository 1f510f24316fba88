/** Logs whose offsets are not all records: transactions, holes, timestamps of the broker. Judged by Apache's consumer. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { raiseTerms } from '../../kafka/terms.ts';
import { alterTopicConfigs } from '../../kafka/topics.ts';
import { runMirror } from '../../mirror/mirror.ts';
import { ownershipId } from '../../mirror/ownership.ts';
import type { MirrorPartition } from '../../mirror/partition.ts';
import { readWithJava } from '../../stack/java-tools.ts';
import { append, createTopicPair, kafkajsOf, offsetsOf, openPair, readLog, variedRecords } from './support.ts';

const pair = await openPair();

const mirror = (partitions: readonly MirrorPartition[], signal = new AbortController().signal) =>
  runMirror({ from: pair.source, into: pair.target, partitions, signal, untilCaughtUp: true });

/** What Apache's own consumer reads, one line a record. */
async function consumed(side: 'source' | 'target', topic: string, isolation: 'committed' | 'uncommitted') {
  const cluster = pair.stack[side];
  assert.ok(cluster, 'the judge needs a cluster of the stack');
  const { records } = await readWithJava(cluster, 'cutover', topic, { isolation: `read_${isolation}` });
  return records.map(
    ({ offset, timestamp, key, value, headers }) => `${offset} @${timestamp} ${key} ${value} ${headers}`,
  );
}

/** Three producers' transactions, interleaved, with plain records between; gives how many records were aborted. */
async function writeTransactions(topic: string, rounds: number): Promise<number> {
  const kafka = kafkajsOf(pair.source);
  const producers = await Promise.all(
    ['a', 'b', 'c'].map(async (name) => {
      const producer = kafka.producer({
        transactionalId: `${topic}-${name}`,
        maxInFlightRequests: 1,
        idempotent: true,
      });
      await producer.connect();
      return producer;
    }),
  );
  let aborted = 0;
  for (let round = 0; round < rounds; round++) {
    const open = [];
    for (const [index, producer] of producers.entries()) {
      const transaction = await producer.transaction();
      const messages = Array.from({ length: 1 + ((round + index) % 3) }, (_, n) => ({
        key: `${n}`,
        value: `${round}.${index}.${n}`,
      }));
      await transaction.send({ topic, messages: messages.map((message) => ({ ...message, partition: 0 })) });
      open.push({ transaction, count: messages.length });
      if ((round + index) % 2 === 0)
        await append(pair.source, topic, 0, { records: variedRecords(2, round * 10 + index) });
    }
    for (const [index, { transaction, count }] of open.entries()) {
      if ((round + index) % 3 === 0) {
        await transaction.abort();
        aborted += count;
      } else await transaction.commit();
    }
  }
  for (const producer of producers) await producer.disconnect();
  return aborted;
}

describe('transactions', () => {
  it('keep every committed record at its offset, and hide the aborted ones', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    const aborted = await writeTransactions(topic, 8);
    assert.ok(aborted > 5);

    await mirror(partitions);

    assert.equal(await offsetsOf(pair.target, topic).end(), await offsetsOf(pair.source, topic).end());
    assert.deepEqual(await consumed('target', topic, 'committed'), await consumed('source', topic, 'committed'));
    const visible = (await consumed('source', topic, 'uncommitted')).length - aborted;
    assert.equal((await consumed('target', topic, 'uncommitted')).length, visible);
  });

  it('wait for an open one, and go on when it ends', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    const producer = kafkajsOf(pair.source).producer({
      transactionalId: topic,
      maxInFlightRequests: 1,
      idempotent: true,
    });
    await producer.connect();
    await append(pair.source, topic, 0, { records: variedRecords(4) });
    const transaction = await producer.transaction();
    await transaction.send({ topic, messages: [{ value: 'x', partition: 0 }] });
    await append(pair.source, topic, 0, { records: variedRecords(3, 20) });

    let held: bigint | undefined;
    const running = runMirror({
      from: pair.source,
      into: pair.target,
      partitions,
      signal: AbortSignal.timeout(60_000),
      untilCaughtUp: true,
      onProgress: ([p]) => {
        if (p && p.position === 4n && p.end === 8n) held = p.stableEnd;
      },
    });
    while (held === undefined) await sleep(20);
    await transaction.commit();
    await running;
    await producer.disconnect();
    // Its marker stands after the end that the run began with.
    await mirror(partitions);

    assert.equal(held, 4n);
    assert.equal(await offsetsOf(pair.target, topic).end(), 9n);
    assert.deepEqual(await consumed('target', topic, 'committed'), await consumed('source', topic, 'committed'));
  });

  it('go on where a stopped mirror left off, in the middle of them', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await writeTransactions(topic, 12);
    for (let stops = 0; stops < 6; stops++) {
      const before = await offsetsOf(pair.target, topic).end();
      const stop = new AbortController();
      const running = mirror(partitions, stop.signal);
      while ((await offsetsOf(pair.target, topic).end()) < before + 3n) {
        if (before + 3n > (await offsetsOf(pair.source, topic).end())) break;
      }
      stop.abort();
      await running;
    }
    await mirror(partitions);

    assert.equal(await offsetsOf(pair.target, topic).end(), await offsetsOf(pair.source, topic).end());
    assert.deepEqual(await consumed('target', topic, 'committed'), await consumed('source', topic, 'committed'));
  });

  it('take the partition back from an owner of a newer term', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await writeTransactions(topic, 2);
    await mirror(partitions);
    await raiseTerms(pair.target, [ownershipId({ topic, partition: 0 })]);
    await writeTransactions(topic, 2);

    await mirror(partitions);

    assert.deepEqual(await consumed('target', topic, 'committed'), await consumed('source', topic, 'committed'));
  });
});

describe('holes', () => {
  it('of a compacted log are offsets without records', async () => {
    const { topic, partitions } = await createTopicPair(pair, {
      sourceConfigs: { 'cleanup.policy': 'compact', 'segment.ms': '100', 'min.cleanable.dirty.ratio': '0' },
    });
    for (let n = 0; n < 40; n++) {
      const records = Array.from({ length: 5 }, (_, i) => ({
        timestamp: BigInt(Date.now()),
        key: Buffer.from(`key-${(n * 5 + i) % 7}`),
        value: n % 9 === 0 ? null : Buffer.from(`${n}.${i}`),
      }));
      await append(pair.source, topic, 0, { records, codec: n % 2 === 0 ? 'lz4' : 'none' });
      if (n % 10 === 9) await sleep(150);
    }
    const holes = async () => {
      let next = 0n;
      let count = 0;
      for (const batch of await readLog(pair.source, topic)) {
        count += Number(batch.baseOffset - next) + batch.lastOffsetDelta + 1 - batch.recordCount;
        next = batch.nextOffset;
      }
      return count;
    };
    while ((await holes()) < 50) await sleep(200);
    await alterTopicConfigs(pair.source, topic, { set: { 'min.cleanable.dirty.ratio': '1' }, unset: [] });

    await mirror(partitions);

    assert.equal(await offsetsOf(pair.target, topic).end(), 200n);
    assert.deepEqual(await consumed('target', topic, 'committed'), await consumed('source', topic, 'committed'));
  });
});

describe('timestamps of the broker', () => {
  it('are kept as they are, though the written topic has timestamps of producers', async () => {
    const { topic, partitions } = await createTopicPair(pair, {
      sourceConfigs: { 'message.timestamp.type': 'LogAppendTime' },
    });
    for (const codec of ['none', 'lz4', 'gzip'] as const) {
      await append(pair.source, topic, 0, { records: variedRecords(30), codec });
      for (let n = 0; n < 5; n++) await append(pair.source, topic, 0, { records: variedRecords(1, n), codec });
    }

    await mirror(partitions);

    assert.deepEqual(await consumed('target', topic, 'committed'), await consumed('source', topic, 'committed'));
  });
});
