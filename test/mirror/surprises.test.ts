/**
 * What happens to a source, or between the clusters, while it is mirrored (the table in docs/mirror.md): carried, or stopped with a code, and
 * never a silent difference. On a stack of its own, with three brokers to lose on the source. Apache's consumer and kafkajs judge.
 *
 * Tested elsewhere: retention and DeleteRecords, topics deleted and made anew, strangers' writes (mirror.test.ts); brokers that die or freeze
 * (brokers.test.ts); leaders of the target (ownership.test.ts).
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeBatch, type NewBatch, readBatches } from '../../kafka/batches.ts';
import type { Cluster, ClusterMetadata } from '../../kafka/cluster.ts';
import { codecNames } from '../../kafka/codecs.ts';
import { moveLeaders, newestMetadata } from '../../kafka/leadership.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import { alterQuotas } from '../../kafka/quotas.ts';
import { createTopic, growTopic } from '../../kafka/topics.ts';
import { type AuditOptions, runAudit } from '../../mirror/audit.ts';
import { Leaders } from '../../mirror/leaders.ts';
import { type MirrorOptions, type MirrorPartition, type MirrorResult, runMirror } from '../../mirror/mirror.ts';
import { LogReader } from '../../mirror/reader.ts';
import { readWithJava } from '../../stack/java-tools.ts';
import { ownStack, uniqueName } from '../support/stack.ts';
import {
  append,
  appendRaw,
  createTopicPair,
  kafkajsOf,
  makeTopic,
  mirroredConfigs,
  offsetsOf,
  openPair,
  variedRecords,
} from './support.ts';

/** Before it throttles, a broker lets as many seconds' worth of the quota through as it keeps windows; 11 of them by default. */
const shortQuotaWindows = { 'quota.window.num': '2' };

const pair = await openPair(
  ownStack({
    parts: ['source', 'target'],
    brokers: { source: 3, target: 1 },
    brokerConfig: { source: shortQuotaWindows, target: shortQuotaWindows },
  }),
);

/** For whatever is awaited here. */
const withinMs = 240_000;

function mirror(partitions: readonly MirrorPartition[], more: Partial<MirrorOptions> = {}): Promise<MirrorResult> {
  const limit = AbortSignal.timeout(withinMs);
  return runMirror({
    from: pair.source,
    into: pair.target,
    partitions,
    untilCaughtUp: true,
    ...more,
    signal: more.signal ? AbortSignal.any([more.signal, limit]) : limit,
  });
}

function audit(partitions: readonly MirrorPartition[], end: Pick<AuditOptions, 'until'> = {}) {
  const starts = partitions.map(({ topic, partition }) => ({ topic, partition, position: 0n, records: 0, digest: '' }));
  const signal = AbortSignal.timeout(withinMs);
  return runAudit({
    source: pair.source,
    target: pair.target,
    partitions: starts,
    signal,
    ...(end.until ? end : { untilCaughtUp: true }),
  });
}

/** Awaits a condition; tries again where asking fails, as brokers come and go here. */
async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (let last: unknown; ; await sleep(50)) {
    try {
      if (await condition()) return;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) throw new Error(`waited in vain until ${what}`, { cause: last });
  }
}

/** What Apache's consumer reads, one line a record. */
async function consumed(side: 'source' | 'target', topic: string, partition = 0): Promise<string[]> {
  const cluster = pair.stack[side];
  assert.ok(cluster, 'the judge needs a cluster of the stack');
  const { records } = await readWithJava(cluster, 'cutover', topic, { partition, isolation: 'read_uncommitted' });
  return records.map(({ offset, timestamp, key, value, headers }) =>
    [offset, `@${timestamp}`, ...[key, value].map((bytes) => bytes?.toString('latin1')), ...headers].join(' '),
  );
}

async function assertCarried(topic: string, partition = 0): Promise<string[]> {
  const wanted = await consumed('source', topic, partition);
  assert.deepEqual(await consumed('target', topic, partition), wanted);
  const ends = await Promise.all([pair.source, pair.target].map((c) => offsetsOf(c, topic, partition).end()));
  assert.equal(ends[1], ends[0]);
  return wanted;
}

describe('an unclean leader election on the source', () => {
  /** Led and followed by the same two brokers, so that one election truncates them all. */
  const roles = ['shorter', 'regrown', 'as long as before', 'mirrored later'] as const;

  it('never leaves a silent difference, whether the source stays shorter or grows past the copy again', async () => {
    const topic = uniqueName('unclean');
    const configs = { 'retention.ms': '-1', 'min.insync.replicas': '1', 'unclean.leader.election.enable': 'true' };
    const count = 36;
    await createTopic(pair.source, { name: topic, partitions: count, replicationFactor: 2, configs });
    await makeTopic(pair.target, topic, count, mirroredConfigs);
    const described = (await pair.source.metadata([topic])).topics.get(topic);
    const byBrokers = Map.groupBy(described?.partitions ?? [], (p) => `${p.leader} ${p.replicas}`);
    const [chosen] = [...byBrokers.values()].sort((a, b) => b.length - a.length);
    assert.ok(chosen && chosen.length >= roles.length, 'four partitions have the same leader and follower');
    const leader = pair.stack.source?.brokers.find(({ id }) => id === chosen[0]?.leader);
    const follower = pair.stack.source?.brokers.find(({ id }) => id !== leader?.id && chosen[0]?.replicas.includes(id));
    assert.ok(leader && follower);
    const parts: MirrorPartition[] = [];
    for (const { partition } of chosen.slice(0, roles.length)) {
      const producerId = await allocateProducerId(pair.target);
      parts.push({ topic, topicId: described?.topicId ?? '', partition, producerId, otherProducerId: null });
    }
    const [shorter, regrown, asLong, later] = parts as [
      MirrorPartition,
      MirrorPartition,
      MirrorPartition,
      MirrorPartition,
    ];
    const write = async (to: readonly MirrorPartition[], records: number, first: number) => {
      for (const { partition } of to) {
        for (let n = 0; n < records; n += 10) {
          await append(pair.source, topic, partition, { records: variedRecords(10, first + n) });
        }
      }
    };

    // Given records that only the leader has: its follower is down, and one replica in sync is enough for acks=all.
    await write(parts, 100, 0);
    await until('the follower has it all', async () => {
      const seen = (await pair.source.metadata([topic])).topics.get(topic);
      return parts.every(({ partition }) => seen?.partitions[partition]?.inSyncReplicas.length === 2);
    });
    await follower.kill('SIGTERM');
    await write(parts, 100, 100);
    await mirror(parts);
    const proven = await audit(parts);
    assert.deepEqual(
      proven.map((p) => [p.position, p.differences]),
      parts.map(() => [200n, 0]),
    );

    // Mirrors of three of them at work; what they ask of the source while it changes leaders is held back.
    const gate = Promise.withResolvers<void>();
    const held = heldBack(pair.source, gate.promise);
    const outcomes = new Map<string, string>();
    const running = [shorter, regrown, asLong].map((p, at) =>
      mirror([p], { from: held, untilCaughtUp: false }).then(
        (result) => outcomes.set(roles[at] ?? '', `carried to ${result.partitions[0]?.position}`),
        (error) => outcomes.set(roles[at] ?? '', error.code),
      ),
    );
    await held.following(3);

    // When the leader dies, and the follower that was down comes back.
    held.hold();
    await leader.kill('SIGKILL');
    await follower.start();
    await until('the follower leads', async () => {
      const seen = (await pair.source.metadata([topic])).topics.get(topic);
      return parts.every(({ partition }) => seen?.partitions[partition]?.leader === follower.id);
    });
    for (const { partition } of parts) assert.equal(await offsetsOf(pair.source, topic, partition).end(), 100n);
    await write([regrown, later], 150, 5_000);
    await write([asLong], 100, 5_000);
    gate.resolve();

    await Promise.all(running);
    assert.deepEqual(Object.fromEntries(outcomes), {
      shorter: 'TARGET_DIVERGED',
      regrown: 'TARGET_DIVERGED',
      'as long as before': 'TARGET_DIVERGED',
    });
    await assert.rejects(mirror([later]), { code: 'TARGET_DIVERGED' });
    // An audit does not read again what it has proven: only the mirror's own look can tell.
    const [whole] = await audit([regrown], { until: new Map([[`${topic}/${regrown.partition}`, 200n]]) });
    assert.equal(whole?.position, 200n);
    assert.ok(whole.differences > 0);
    await leader.start();
  });
});

describe('reading under a leader', () => {
  const where = (topic: string) => [{ topic, partition: 0 }];

  it('gives nothing of a leader that was elected later, be it the same broker', async (t) => {
    const topic = uniqueName('elected-again');
    await createTopic(pair.source, { name: topic, partitions: 1, replicationFactor: 3, configs: {} });
    const [known] = [...(await newestMetadata(pair.source, where(topic))).values()];
    await append(pair.source, topic, 0, { records: variedRecords(10) });
    const leaders = new Leaders(pair.source, new Map([[topic, '']]));
    await until('the leader is known', async () => {
      await leaders.refresh();
      return leaders.epochOf(topic, 0) >= (known?.leaderEpoch ?? 0);
    });
    const leaderEpoch = leaders.epochOf(topic, 0);
    const partition = { topic, partition: 0, nextFetch: 0n, reading: true, generation: 0, leaderEpoch };
    let refused = 0;
    let failure: Error | undefined;
    const reader = new LogReader({
      cluster: pair.source,
      leaders,
      partitions: [partition],
      room: () => true,
      work: () => undefined,
      onAnswer: (p, { records }) => {
        for (const { nextOffset } of readBatches(records)) p.nextFetch = nextOffset;
      },
      onOtherLeader: () => refused++,
      onOutOfRange: () => assert.fail('nothing was truncated'),
      onFailure: (error) => {
        failure = error;
      },
    });
    t.after(() => reader.stop());
    reader.follow();
    await until('the first records are read', async () => partition.nextFetch === 10n);

    // Around the brokers, until the first one leads again.
    for (let leader = -1; leader !== known?.leader; ) {
      const moved = (await moveLeaders(pair.source, where(topic), await newestMetadata(pair.source, where(topic)))).get(
        `${topic}/0`,
      );
      if (moved && 'leader' in moved) leader = moved.leader;
    }
    // Refused, with nothing appended, by a leader of which some broker has not heard yet.
    await until(
      'more is written',
      async () => (await append(pair.source, topic, 0, { records: variedRecords(10, 10) })) === 10n,
    );
    const againLed = () => leaders.of(topic, 0) === known?.leader && leaders.epochOf(topic, 0) > leaderEpoch;
    await until('it is refused', async () => refused > 0 && againLed());
    const refusedBefore = refused;
    await until('it is refused again', async () => refused > refusedBefore + 3);

    assert.equal(partition.nextFetch, 10n);
    await until('the rest is read under the new leader', async () => {
      partition.leaderEpoch = leaders.epochOf(topic, 0);
      return partition.nextFetch === 20n;
    });
    assert.equal(failure, undefined);
  });

  it('goes by the newest leader that any broker has named', async () => {
    const topic = uniqueName('behind');
    await createTopic(pair.source, { name: topic, partitions: 1, replicationFactor: 3, configs: {} });
    const answers: ClusterMetadata[] = [];
    const asked = new Proxy(pair.source, {
      get: (target, name) => (name === 'metadata' ? async () => answers.shift() : Reflect.get(target, name, target)),
    });
    await until('every broker knows the topic', async () => {
      const [seen] = [...(await newestMetadata(pair.source, where(topic))).values()];
      return (await pair.source.metadata([topic])).topics.get(topic)?.partitions[0]?.leader === seen?.leader;
    });
    const before = await pair.source.metadata([topic]);
    const moved = (await moveLeaders(pair.source, where(topic), await newestMetadata(pair.source, where(topic)))).get(
      `${topic}/0`,
    );
    assert.ok(moved && 'leader' in moved);
    await until('it is known', async () => {
      const after = await pair.source.metadata([topic]);
      answers.splice(0, 1, after);
      return after.topics.get(topic)?.partitions[0]?.leader === moved.leader;
    });
    answers.push(before);

    const leaders = new Leaders(asked, new Map([[topic, '']]));
    await leaders.refresh();
    await leaders.refresh();

    assert.deepEqual(answers, []);
    assert.equal(leaders.of(topic, 0), moved.leader);
    assert.ok(leaders.epochOf(topic, 0) >= moved.leaderEpoch);
  });
});

describe('a source that changes shape while it is mirrored', () => {
  it('may get more partitions: those that are mirrored go on untouched', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await append(pair.source, topic, 0, { records: variedRecords(50) });
    const stop = new AbortController();
    const running = mirror(partitions, { untilCaughtUp: false, signal: stop.signal });
    await until('the first records are there', async () => (await offsetsOf(pair.target, topic).end()) === 50n);

    await growTopic(pair.source, topic, 3);
    await append(pair.source, topic, 2, { records: variedRecords(10) });
    await append(pair.source, topic, 0, { records: variedRecords(50, 50) });

    await until('the later ones are too', async () => (await offsetsOf(pair.target, topic).end()) === 100n);
    stop.abort();
    await running;
    assert.equal((await assertCarried(topic)).length, 100);
    const copy = (await pair.target.metadata([topic])).topics.get(topic);
    assert.equal(copy?.partitions.length, 1, 'the new ones are for whoever plans, not for the engine');
  });

  it('may move its leaders during traffic', async () => {
    const topic = uniqueName('moving');
    await createTopic(pair.source, {
      name: topic,
      partitions: 1,
      replicationFactor: 3,
      configs: { 'retention.ms': '-1' },
    });
    await makeTopic(pair.target, topic, 1, mirroredConfigs);
    const producerId = await allocateProducerId(pair.target);
    const partitions: MirrorPartition[] = [{ topic, topicId: '', partition: 0, producerId, otherProducerId: null }];
    const stop = new AbortController();
    const running = mirror(partitions, { untilCaughtUp: false, signal: stop.signal });
    let written = 0;
    let moving = true;
    const writing = (async () => {
      while (moving) {
        // Refused while the leader moves: nothing was appended then.
        await append(pair.source, topic, 0, { records: variedRecords(7, written) }).then(
          () => {
            written += 7;
          },
          () => sleep(20),
        );
      }
    })();

    const ledBy = new Set<number>();
    for (let move = 0; move < 6; move++) {
      const before = await offsetsOf(pair.target, topic).end();
      await until('the mirror goes on', async () => (await offsetsOf(pair.target, topic).end()) > before);
      const where = [{ topic, partition: 0 }];
      for (const moved of (await moveLeaders(pair.source, where, await newestMetadata(pair.source, where))).values()) {
        if ('leader' in moved) ledBy.add(moved.leader);
      }
    }
    moving = false;
    await writing;
    const end = await offsetsOf(pair.source, topic).end();
    await until('all is carried', async () => (await offsetsOf(pair.target, topic).end()) === end);
    stop.abort();
    await running;

    assert.ok(ledBy.size > 1, `led by ${[...ledBy]}`);
    assert.ok((await assertCarried(topic)).length >= written);
  });
});

describe('quotas of the cluster', () => {
  const user = 'cutover';
  /** A second. */
  const rate = 150_000;

  it('slow the mirror and the audit down, and empty throttled answers are no holes', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    for (let n = 0; n < 60; n++) {
      await append(pair.source, topic, 0, { records: variedRecords(10, n * 10, 1_000) });
    }
    const limits = [
      [pair.source, { consumer_byte_rate: rate }],
      [pair.target, { producer_byte_rate: rate }],
    ] as const;
    for (const [cluster, set] of limits) await alterQuotas(cluster, [{ entity: { user }, set, unset: [] }]);

    const began = performance.now();
    const [audited] = await Promise.all([audit(partitions), mirror(partitions)]);
    const seconds = (performance.now() - began) / 1_000;

    for (const [cluster, set] of limits) {
      await alterQuotas(cluster, [{ entity: { user }, set: {}, unset: Object.keys(set) }]);
    }
    assert.deepEqual([audited[0]?.position, audited[0]?.differences], [600n, 0]);
    assert.equal((await assertCarried(topic)).length, 600);
    assert.ok(seconds > 3, `throttled: ${seconds} s`);
  });
});

describe('sizes and codecs that the target sets', () => {
  const maxBatchBytes = 10_000;
  const small = { 'max.message.bytes': `${maxBatchBytes}` };
  const incompressible = (bytes: number, seed: number) => {
    let state = seed;
    return Buffer.from(
      Uint8Array.from({ length: bytes }, () => {
        state = (state * 48_271) % 2_147_483_647;
        return state;
      }),
    );
  };
  const recordsOf = (count: number, bytes: number): NewBatch['records'] =>
    Array.from({ length: count }, (_, n) => ({
      timestamp: 1_700_000_000_000n + BigInt(n),
      key: Buffer.from(`${n}`),
      value: incompressible(bytes, n + 1),
    }));

  it('cut batches that are too large at the borders of their records, compressed or not', async () => {
    const { topic, partitions } = await createTopicPair(pair, { targetConfigs: small });
    for (const codec of codecNames) {
      const batch = encodeBatch({ codec, records: recordsOf(60, 900) });
      assert.ok(batch.byteLength > 5 * maxBatchBytes);
      await appendRaw(pair.source, topic, 0, batch);
      await append(pair.source, topic, 0, { codec, records: variedRecords(5) });
    }

    await mirror(partitions, { maxBatchBytes });

    assert.equal((await assertCarried(topic)).length, codecNames.length * 65);
  });

  it('stop the mirror before a record that is too large by itself, and say at which offset', async () => {
    for (const codec of ['none', 'lz4'] as const) {
      const { topic, partitions } = await createTopicPair(pair, { targetConfigs: small });
      const tooLarge = { timestamp: 1n, key: null, value: incompressible(12_000, 99) };
      const records = recordsOf(40, 500).with(23, tooLarge);
      await append(pair.source, topic, 0, { codec, records });

      await assert.rejects(mirror(partitions, { maxBatchBytes }), (error: { code: string; message: string }) => {
        assert.equal(error.code, 'RECORD_TOO_LARGE');
        assert.match(error.message, /offset 23\b/);
        return true;
      });

      assert.equal(await offsetsOf(pair.target, topic).end(), 23n);
      assert.deepEqual(await consumed('target', topic), (await consumed('source', topic)).slice(0, 23));
    }
  });

  it('change nothing where the target compresses anew', async () => {
    for (const setting of ['zstd', 'uncompressed']) {
      const { topic, partitions } = await createTopicPair(pair, { targetConfigs: { 'compression.type': setting } });
      for (const codec of codecNames) {
        for (let n = 0; n < 5; n++) {
          await append(pair.source, topic, 0, { codec, records: variedRecords(1 + n * 20, n * 100, 300) });
        }
      }

      await mirror(partitions);

      await assertCarried(topic);
    }
  });
});

describe('timestamps', () => {
  const odd = [1n, 1_000_000_000_000n, BigInt(Date.now()), BigInt(Date.now()) + 90_000_000n, 4_102_444_800_000n, -1n];
  const anyTime = {
    'message.timestamp.before.max.ms': '9223372036854775807',
    'message.timestamp.after.max.ms': '9223372036854775807',
  };
  const write = async (topic: string) => {
    for (const codec of ['none', 'gzip'] as const) {
      const records = odd.map((timestamp) => ({ timestamp, key: null, value: Buffer.from(`${timestamp}`) }));
      for (const record of records) await append(pair.source, topic, 0, { codec, records: [record] });
      await append(pair.source, topic, 0, { codec, records });
    }
  };

  it('of any year are carried where the limits of the target are suspended', async () => {
    const { topic, partitions } = await createTopicPair(pair, { sourceConfigs: anyTime });
    await write(topic);

    await mirror(partitions);

    assert.equal((await assertCarried(topic)).length, odd.length * 4);
  });

  it('beyond limits that were not suspended stop the mirror, and nothing is written at another time', async () => {
    const { topic, partitions } = await createTopicPair(pair, {
      sourceConfigs: anyTime,
      targetConfigs: { 'message.timestamp.after.max.ms': '3600000' },
    });
    await append(pair.source, topic, 0, { records: [{ timestamp: odd[4] ?? 0n, key: null, value: null }] });

    await assert.rejects(mirror(partitions), { code: 'LOG_SHAPE_UNSUPPORTED' });

    assert.equal(await offsetsOf(pair.target, topic).end(), 0n);
  });
});

describe('look-ups by timestamp', () => {
  /** Per cluster, what it answers for each timestamp; the log end where there is nothing as late. */
  async function lookedUp(
    topic: string,
    timestamps: readonly bigint[],
  ): Promise<{ source: number[]; target: number[] }> {
    const found = { source: [] as number[], target: [] as number[] };
    for (const side of ['source', 'target'] as const) {
      const admin = kafkajsOf(pair[side]).admin();
      await admin.connect();
      for (const timestamp of timestamps) {
        const [answer] = await admin.fetchTopicOffsetsByTimestamp(topic, Number(timestamp));
        found[side].push(Number(answer?.offset));
      }
      await admin.disconnect();
    }
    return found;
  }

  const around = (timestamps: readonly bigint[]) =>
    [...new Set(timestamps.flatMap((t) => [t - 1n, t, t + 1n]))].sort((a, b) => Number(a - b));

  it('answer the same on both clusters where the log has no markers', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    const timestamps: bigint[] = [];
    for (let n = 0; n < 30; n++) {
      const records = variedRecords(1 + (n % 5), n * 300, 200);
      await append(pair.source, topic, 0, { codec: codecNames[n % codecNames.length] ?? 'none', records });
      timestamps.push(...records.map(({ timestamp }) => timestamp));
    }

    await mirror(partitions);

    const { source, target } = await lookedUp(topic, around(timestamps));
    assert.ok(new Set(source).size > 10, `${source}`);
    assert.deepEqual(target, source);
  });

  it('answer the same or earlier, never later, where the log has markers', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    const timestamps = Array.from({ length: 12 }, (_, n) => BigInt(Date.now() - 86_400_000 + n * 1_000));
    const producer = kafkajsOf(pair.source).producer({
      transactionalId: topic,
      maxInFlightRequests: 1,
      idempotent: true,
    });
    await producer.connect();
    for (const [n, timestamp] of timestamps.entries()) {
      const records = [{ timestamp, key: null, value: Buffer.from(`${n}`) }];
      await append(pair.source, topic, 0, { records });
      if (n % 4 !== 3) continue;
      const transaction = await producer.transaction();
      const messages = [{ value: `t${n}`, partition: 0, timestamp: `${timestamp}` }];
      await transaction.send({ topic, messages });
      // Aborted first: its record becomes a marker, which carries the time of its writing.
      await (n % 8 === 3 ? transaction.abort() : transaction.commit());
    }
    await producer.disconnect();

    await mirror(partitions);

    await until('both logs end alike', async () => {
      const ends = await Promise.all([pair.source, pair.target].map((c) => offsetsOf(c, topic).end()));
      return ends[0] === ends[1];
    });
    const { source, target } = await lookedUp(topic, around(timestamps));
    for (const [at, offset] of target.entries()) assert.ok(offset <= (source[at] ?? -1), `${target} against ${source}`);
    assert.notDeepEqual(target, source, 'it is earlier somewhere, as people are told');
  });
});

/** A cluster whose own connections can be held back before they are opened. */
function heldBack(cluster: Cluster, gate: Promise<void>) {
  let holding = false;
  let opened = 0;
  return Object.assign(
    new Proxy(cluster, {
      get(target, name) {
        const value = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        if (name !== 'open') return value.bind(target);
        return async (brokerId: number) => {
          if (holding) await gate;
          opened++;
          return target.open(brokerId);
        };
      },
    }),
    {
      hold: () => {
        holding = true;
      },
      following: (count: number) => until('mirrors read', async () => opened >= count),
    },
  );
}
