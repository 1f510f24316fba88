import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { FetchSession, type SessionPartition } from '../../kafka/fetch-session.ts';
import { type RawFetchAnswer, type RawFetchedPartition, rawFetch } from '../../kafka/wire.ts';
import { append, createTopicPair, leaderOf, openPair, variedRecords } from '../mirror/support.ts';

const sessionIdNotFound = 70;
const invalidSessionEpoch = 71;

const ask = (partition: number, fetchOffset: bigint, maxBytes = 1_000_000): SessionPartition => ({
  topic: 'orders',
  partition,
  fetchOffset,
  maxBytes,
});

function news(partition: number, highWatermark: bigint, more: Partial<RawFetchedPartition> = {}): RawFetchedPartition {
  return {
    topic: 'orders',
    partition,
    errorCode: 0,
    highWatermark,
    lastStableOffset: highWatermark,
    logStartOffset: 0n,
    abortedTransactions: [],
    records: Buffer.alloc(0),
    ...more,
  };
}

function answer(partitions: readonly RawFetchedPartition[], sessionId = 7, errorCode = 0): RawFetchAnswer {
  return { throttleMs: 0, errorCode, sessionId, partitions };
}

const named = (request: ReturnType<FetchSession['request']>) =>
  request.topics.flatMap(({ partitions }) => partitions.map((p) => p.partition));

describe('what a session sends', () => {
  const begun = (wanted: readonly SessionPartition[]) => {
    const session = new FetchSession();
    assert.deepEqual(session.request(wanted).session, { id: 0, epoch: 0 });
    session.answered(answer(wanted.map((p) => news(p.partition, p.fetchOffset))));
    return session;
  };

  it('is everything at first, then only what changed', () => {
    const session = begun([ask(0, 0n), ask(1, 0n), ask(2, 0n)]);
    const second = session.request([ask(0, 0n), ask(1, 5n), ask(2, 0n)]);
    assert.deepEqual(named(second), [1]);
    assert.deepEqual(second.session, { id: 7, epoch: 1 });
    session.answered(answer([]));
    const third = session.request([ask(0, 0n), ask(1, 5n), ask(2, 0n, 500)]);
    assert.deepEqual(named(third), [2], 'another size is a change too');
    assert.deepEqual(third.session, { id: 7, epoch: 2 });
  });

  it('takes out what is not wanted any more, and puts it in again', () => {
    const session = begun([ask(0, 0n), ask(1, 0n)]);
    const without = session.request([ask(0, 0n)]);
    assert.deepEqual(without.forgotten, [{ topic: 'orders', partitions: [1] }]);
    session.answered(answer([]));
    const again = session.request([ask(0, 0n), ask(1, 0n)]);
    assert.deepEqual(again.forgotten, []);
    assert.deepEqual(named(again), [1]);
  });

  for (const [what, errorCode, id] of [
    ['does not know the session', sessionIdNotFound, 0],
    ['is out of step with the session', invalidSessionEpoch, 7],
  ] as const) {
    it(`is everything again after the broker ${what}`, () => {
      const session = begun([ask(0, 0n), ask(1, 0n)]);
      session.request([ask(0, 3n), ask(1, 0n)]);
      assert.equal(session.answered(answer([], 0, errorCode)), null);
      const anew = session.request([ask(0, 3n), ask(1, 0n)]);
      assert.deepEqual(named(anew), [0, 1]);
      assert.deepEqual(anew.session, { id, epoch: 0 });
    });
  }

  it('is everything every time where the broker keeps no session', () => {
    const session = new FetchSession();
    for (let i = 0; i < 3; i++) {
      const request = session.request([ask(0, 0n), ask(1, 0n)]);
      assert.deepEqual(named(request), [0, 1]);
      assert.deepEqual(request.session, { id: 0, epoch: 0 });
      session.answered(answer([news(0, 0n), news(1, 0n)], 0));
      assert.equal(session.established, false);
    }
  });
});

describe('what a session gives', () => {
  it('is an empty answer where nothing came although the log goes on, and none where it ends', () => {
    const session = new FetchSession();
    session.request([ask(0, 5n), ask(1, 5n)]);
    session.answered(answer([news(0, 9n, { lastStableOffset: 8n }), news(1, 5n)]));
    session.request([ask(0, 5n), ask(1, 5n)]);
    assert.deepEqual(session.answered(answer([])), [news(0, 9n, { lastStableOffset: 8n })]);
    session.request([ask(0, 9n), ask(1, 2n)]);
    assert.deepEqual(session.answered(answer([])), [news(1, 5n)], 'where it is asked for from further back');
  });
});

describe('a session with a real broker', () => {
  let pair: Awaited<ReturnType<typeof openPair>>;
  const opening = openPair();
  before(async () => {
    pair = await opening;
  });

  const fetchOn = async (broker: number, session: FetchSession, wanted: readonly SessionPartition[]) => {
    const got = await pair.source.call({ broker }, rawFetch, {
      maxWaitMs: 50,
      minBytes: 1,
      maxBytes: 8_000_000,
      isolation: 'readUncommitted',
      ...session.request(wanted),
    });
    return { got, answered: session.answered(got) };
  };

  it('names partitions only when they have news, and survives being evicted', async () => {
    const { topic } = await createTopicPair(pair, { partitions: 50 });
    const broker = await leaderOf(pair.source, topic);
    const wanted = Array.from({ length: 50 }, (_, partition) => ({
      topic,
      partition,
      fetchOffset: 0n,
      maxBytes: 100_000,
    }));
    const session = new FetchSession();
    const first = await fetchOn(broker, session, wanted);
    assert.equal(first.got.partitions.length, 50);
    assert.ok(session.established);
    const quiet = await fetchOn(broker, session, wanted);
    assert.deepEqual(quiet.got.partitions, []);

    await append(pair.source, topic, 17, { records: variedRecords(3) });
    const one = await fetchOn(broker, session, wanted);
    assert.deepEqual(
      one.got.partitions.map((p) => [p.partition, p.highWatermark, p.records.length > 0]),
      [[17, 3n, true]],
    );

    // Out of the session: what it gets meanwhile is not told.
    await append(pair.source, topic, 20, { records: variedRecords(1) });
    const without = await fetchOn(
      broker,
      session,
      wanted.filter(({ partition }) => partition !== 20 && partition !== 17),
    );
    assert.deepEqual(without.got.partitions, []);

    // Somebody ends our session on the broker: that is what an eviction looks like from here.
    const { session: ours } = session.request(wanted);
    const closing = { session: { id: ours.id, epoch: -1 }, topics: [] };
    await pair.source.call({ broker }, rawFetch, {
      maxWaitMs: 0,
      minBytes: 0,
      maxBytes: 1_000,
      isolation: 'readUncommitted',
      ...closing,
    });
    const evicted = await fetchOn(broker, session, wanted);
    assert.equal(evicted.got.errorCode, sessionIdNotFound);
    assert.equal(evicted.answered, null);
    const anew = await fetchOn(broker, session, wanted);
    assert.equal(anew.got.partitions.length, 50);
    assert.deepEqual(
      anew.answered?.filter((p) => p.records.length > 0).map((p) => p.partition),
      [17, 20],
    );
  });

  it('is begun anew when an answer was lost', async () => {
    const { topic } = await createTopicPair(pair, { partitions: 2 });
    const broker = await leaderOf(pair.source, topic);
    const wanted = [0, 1].map((partition) => ({ topic, partition, fetchOffset: 0n, maxBytes: 100_000 }));
    const session = new FetchSession();
    await fetchOn(broker, session, wanted);
    session.lost();
    await append(pair.source, topic, 1, { records: variedRecords(2) });
    const { got, answered } = await fetchOn(broker, session, wanted);
    assert.equal(got.errorCode, 0);
    assert.deepEqual(
      answered?.map((p) => [p.partition, p.highWatermark]),
      [
        [0, 0n],
        [1, 2n],
      ],
    );
  });
});
