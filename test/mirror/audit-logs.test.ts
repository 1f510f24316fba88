/** The audit on real logs: what a mirror carries is equal; what is planted on a target is found. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';
import { decodeRecords } from '../../kafka/batches.ts';
import { writeTxnMarkers } from '../../kafka/markers.ts';
import { listOffsets } from '../../kafka/offsets.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import type { KafkaRecord } from '../../kafka/record.ts';
import { alterTopicConfigs } from '../../kafka/topics.ts';
import { rawFetch } from '../../kafka/wire.ts';
import { type Auditing, auditStarts } from '../../migration/audit-positions.ts';
import { drainToBoundary } from '../../migration/boundary.ts';
import { type AuditOptions, type AuditPartition, type AuditStart, runAudit } from '../../mirror/audit.ts';
import { runMirror } from '../../mirror/mirror.ts';
import type { MirrorPartition } from '../../mirror/partition.ts';
import { singly } from '../../mirror/runs.ts';
import { slotsOf } from '../../mirror/slots.ts';
import { memoryStorage } from '../migration/rig.ts';
import { ownStack } from '../support/stack.ts';
import { append, createTopicPair, leaderOf, offsetsOf, openPair, readRecords, variedRecords } from './support.ts';

const started = ownStack({
  brokerConfig: {
    source: { 'log.cleaner.backoff.ms': '100' },
    // Aborted records are kept by writing them without a coordinator.
    target: { 'transaction.partition.verification.enable': 'false' },
  },
});
const pair = await openPair(started);
/** Of each wait for a broker. */
const patienceMs = 60_000;

/** An application of the source, patient with a coordinator that is still writing markers. */
function application(): Kafka {
  const { source } = pair.stack;
  assert.ok(source);
  return new Kafka({
    brokers: [source.bootstrap],
    logLevel: logLevel.NOTHING,
    retry: { retries: 50, initialRetryTime: 50, maxRetryTime: 500 },
    sasl: { mechanism: 'scram-sha-512', username: 'cutover', password: source.users.cutover ?? '' },
  });
}

/** A coordinator answers before its markers are written. */
async function untilStable(topic: string): Promise<void> {
  const deadline = Date.now() + patienceMs;
  const place = [{ topic, partition: 0 }];
  for (;;) {
    const ends = [await listOffsets(pair.source, place, 'lastStable'), await listOffsets(pair.source, place, 'logEnd')];
    if (ends[0]?.get(`${topic}/0`) === ends[1]?.get(`${topic}/0`)) return;
    assert.ok(Date.now() < deadline, 'a transaction stays open');
    await sleep(20);
  }
}

const from = (topic: string, position = 0n): AuditStart => ({ topic, partition: 0, position, records: 0, digest: '' });

async function audit(start: AuditStart, more: Partial<AuditOptions> = {}): Promise<AuditPartition> {
  const [found] = await runAudit({
    source: pair.source,
    target: pair.target,
    partitions: [start],
    signal: AbortSignal.timeout(patienceMs),
    untilCaughtUp: true,
    ...more,
  });
  assert.ok(found);
  return found;
}

const mirror = (partitions: readonly MirrorPartition[]) =>
  runMirror({
    from: pair.source,
    into: pair.target,
    partitions,
    signal: AbortSignal.timeout(patienceMs),
    untilCaughtUp: true,
  });

/** Two producers' transactions, interleaved with each other and with plain records; gives how many records were aborted. */
async function writeTransactions(topic: string): Promise<number> {
  const kafka = application();
  const producers = await Promise.all(
    ['a', 'b'].map(async (name) => {
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
  for (let round = 0; round < 6; round++) {
    const open = await Promise.all(producers.map((producer) => producer.transaction()));
    for (const [index, transaction] of open.entries()) {
      const messages = [1, 2, 3].map((n) => ({ key: `${n}`, value: `${round}.${index}.${n}`, partition: 0 }));
      await transaction.send({ topic, messages });
      await append(pair.source, topic, 0, { records: variedRecords(2, round * 10 + index) });
    }
    for (const [index, transaction] of open.entries()) {
      if ((round + index) % 3 === 0) {
        await transaction.abort();
        aborted += 3;
      } else await transaction.commit();
    }
  }
  for (const producer of producers) await producer.disconnect();
  await untilStable(topic);
  return aborted;
}

/** Copies slot by slot, without the mirror, and with a fault. */
async function copyWith(topic: string, fault: 'none' | 'extra marker' | 'aborted made visible' | 'one record late') {
  const place = { topic, partition: 0 };
  const [leader, producerId] = [await leaderOf(pair.target, topic), await allocateProducerId(pair.target)];
  const marker = (count: number) =>
    pair.target.call({ broker: leader }, writeTxnMarkers, [
      { ...place, producerId, producerEpoch: 0, coordinatorEpoch: 0, commit: false, count },
    ]);
  const answer = await pair.source.call({ broker: await leaderOf(pair.source, topic) }, rawFetch, {
    maxWaitMs: 1_000,
    minBytes: 1,
    maxBytes: 8_000_000,
    isolation: 'readCommitted',
    topics: [{ topic, partitions: [{ partition: 0, fetchOffset: 0n, maxBytes: 8_000_000 }] }],
  });
  const [fetched] = answer.partitions;
  assert.ok(fetched);
  const { pieces } = slotsOf(fetched, { from: 0n, keepAborted: true, otherProducerId: null });
  let planted = fault === 'none';
  for (const piece of singly(pieces)) {
    if (piece.kind === 'invisible') {
      const extra = fault === 'extra marker' && piece.from > 20n && !planted;
      planted ||= extra;
      await marker(Number(piece.end - piece.from) + (extra ? 1 : 0));
    } else if (piece.aborted && (planted || fault !== 'aborted made visible')) {
      await marker(Number(piece.end - piece.from));
    } else {
      planted ||= piece.aborted;
      const records = decodeRecords(piece.batch);
      const late = fault === 'one record late' && piece.from > 20n && !planted;
      planted ||= late;
      await append(pair.target, topic, 0, {
        records: records.map((r, i) => (late && i === 0 ? { ...r, timestamp: r.timestamp + 1n } : r)),
      });
    }
  }
  assert.ok(planted);
}

describe('the audit of transactions', () => {
  for (const keepAborted of [true, false]) {
    it(`finds a mirrored log equal whose aborted records are ${keepAborted ? 'kept' : 'dropped'}`, async () => {
      const { topic, partitions } = await createTopicPair(pair);
      const aborted = await writeTransactions(topic);
      await mirror(partitions.map((p) => ({ ...p, keepAborted })));

      const found = await audit(from(topic));

      assert.deepEqual([found.differences, found.first], [0, null]);
      assert.equal(found.position, await offsetsOf(pair.source, topic).end());
      assert.equal(found.abortedNotKept, keepAborted ? 0 : aborted);
      assert.equal(found.records, 12 * 5 - aborted);
      const goesOn = await audit(found);
      assert.deepEqual(
        [goesOn.digest, goesOn.records, goesOn.abortedNotKept],
        [found.digest, found.records, found.abortedNotKept],
      );
    });
  }

  it('finds a copy by hand equal, which shows that what follows are the faults alone', async () => {
    const { topic } = await createTopicPair(pair);
    const aborted = await writeTransactions(topic);
    await copyWith(topic, 'none');

    const found = await audit(from(topic));

    assert.deepEqual([found.differences, found.abortedNotKept], [0, aborted]);
  });

  it('finds the slot from which on one marker too many has shifted everything', async () => {
    const { topic } = await createTopicPair(pair);
    await writeTransactions(topic);
    await copyWith(topic, 'extra marker');

    const found = await audit(from(topic));

    assert.ok(found.differences > 10);
    assert.ok(found.first && found.first.offset > 20n);
    const firstBehind = (await readRecords(pair.source, topic)).find((r) => r.offset >= (found.first?.offset ?? 0n));
    assert.equal(found.first.offset, firstBehind?.offset);
  });

  it('finds aborted records that became visible', async () => {
    const { topic } = await createTopicPair(pair);
    await writeTransactions(topic);
    await copyWith(topic, 'aborted made visible');

    const found = await audit(from(topic));

    assert.deepEqual([found.differences, found.first?.kind], [3, 'extra']);
  });

  it('finds a millisecond', async () => {
    const { topic } = await createTopicPair(pair);
    await writeTransactions(topic);
    await copyWith(topic, 'one record late');

    const found = await audit(from(topic));

    assert.deepEqual([found.differences, found.first?.kind], [1, 'timestamp']);
  });

  it('stands at an open one, says so, and goes on when it ends', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    await append(pair.source, topic, 0, { records: variedRecords(4) });
    await mirror(partitions);
    const producer = application().producer({
      transactionalId: topic,
      maxInFlightRequests: 1,
      idempotent: true,
    });
    await producer.connect();
    const transaction = await producer.transaction();
    await transaction.send({ topic, messages: [{ value: 'x', partition: 0 }] });
    let said: AuditPartition | undefined;
    const stop = new AbortController();
    const auditing = audit(from(topic), {
      untilCaughtUp: false,
      until: new Map([[`${topic}/0`, 6n]]),
      signal: AbortSignal.any([stop.signal, AbortSignal.timeout(patienceMs)]),
      onProgress: ([progress]) => {
        if (progress?.waitingFor) said = progress;
      },
    });
    const deadline = Date.now() + patienceMs;
    while (!said && Date.now() < deadline) await sleep(50);
    assert.equal(said?.position, 4n);
    assert.match(said?.waitingFor ?? '', /^source last stable offset 4 of 5, for \d+ s$/);

    await transaction.abort();
    await producer.disconnect();
    await untilStable(topic);
    await mirror(partitions);

    const found = await auditing;
    assert.deepEqual([found.position, found.differences, found.waitingFor], [6n, 0, null]);
  });
});

describe('the audit of compacted topics', () => {
  const quick = {
    'cleanup.policy': 'compact',
    'segment.ms': '50',
    'min.cleanable.dirty.ratio': '0',
  };
  const compacted = { compacted: true, deleteRetentionMs: 86_400_000 };

  async function put(topic: string, content: Readonly<Record<string, string | null>>): Promise<void> {
    const records = Object.entries(content).map(([key, value]) => ({
      timestamp: BigInt(Date.now()),
      key: Buffer.from(key),
      value: value === null ? null : Buffer.from(value),
    }));
    await append(pair.source, topic, 0, { records });
  }

  /** Lets the source's cleaner run until its log is as wanted: records of key `roll` close its segments. */
  async function clean(
    topic: string,
    done: (records: readonly KafkaRecord[]) => boolean,
    deleteRetentionMs: number,
  ): Promise<void> {
    const set = { ...quick, 'delete.retention.ms': `${deleteRetentionMs}` };
    await alterTopicConfigs(pair.source, topic, { set, unset: [] });
    const deadline = Date.now() + patienceMs;
    for (let n = 0; !done(await readRecords(pair.source, topic)); n++) {
      assert.ok(Date.now() < deadline, 'the cleaner of the source did not run');
      await put(topic, { roll: `${n}` });
      await sleep(100);
    }
    await alterTopicConfigs(pair.source, topic, { set: { 'min.cleanable.dirty.ratio': '1' }, unset: [] });
  }

  const has = (records: readonly KafkaRecord[], key: string, value?: string) =>
    records.some((r) => r.key?.toString() === key && (value === undefined || r.value?.toString() === value));

  /** Apart from the proof: the source still has no trace of the key that the target shows. */
  async function livesOnTargetAlone(topic: string, key: string): Promise<void> {
    assert.ok(has(await readRecords(pair.target, topic), key));
    assert.ok(!has(await readRecords(pair.source, topic), key));
  }

  it('finds equal what the cleaner of the source removed after it was copied', async () => {
    const { topic, partitions } = await createTopicPair(pair, { sourceConfigs: { 'cleanup.policy': 'compact' } });
    for (let n = 0; n < 20; n++) await put(topic, { a: `${n}`, b: `${n}`, [`c${n}`]: 'once' });
    await mirror(partitions);
    await put(topic, { a: 'last', b: null });
    const done = (records: readonly KafkaRecord[]) => !has(records, 'a', '19') && !has(records, 'b', '0');
    await clean(topic, done, compacted.deleteRetentionMs);
    await mirror(partitions);

    const found = await audit({ ...from(topic), ...compacted });
    const strict = await audit(from(topic));

    const end = (await listOffsets(pair.source, [{ topic, partition: 0 }], 'logEnd')).get(`${topic}/0`);
    assert.deepEqual([found.differences, found.position], [0, end]);
    assert.ok(found.superseded >= 30, `${found.superseded} superseded`);
    assert.equal(strict.first?.kind, 'extra');
  });

  it('is lenient at the fence too, where both clusters have the cleaner suspended right after it ran', async () => {
    const { topic, partitions } = await createTopicPair(pair, { sourceConfigs: { 'cleanup.policy': 'compact' } });
    for (let n = 0; n < 20; n++) await put(topic, { a: `${n}` });
    await mirror(partitions);
    await put(topic, { a: 'last' });
    await clean(topic, (records) => !has(records, 'a', '19'), compacted.deleteRetentionMs);
    await mirror(partitions);
    for (const cluster of [pair.source, pair.target]) {
      await alterTopicConfigs(cluster, topic, { set: { 'cleanup.policy': 'delete' }, unset: [] });
    }
    const shape = { name: topic, topicId: 's', partitions: 1, replicationFactor: 1, configs: {} };
    const wave = { storage: memoryStorage(), migration: topic, clusters: pair, topics: [shape] };
    const drain = async (auditing: Auditing) =>
      drainToBoundary({
        clusters: pair,
        direction: 'forward',
        partitions: [{ topic, partition: 0 }],
        deadlineMs: Date.now() + patienceMs,
        audit: await auditStarts(auditing, [{ topic, partition: 0 }]),
      });

    const approved = await drain({ ...wave, needs: { compacted: [topic] } });
    const byShape = await drain({ ...wave, topics: [{ ...shape, configs: { 'cleanup.policy': 'compact,delete' } }] });

    const end = (await listOffsets(pair.source, [{ topic, partition: 0 }], 'logEnd')).get(`${topic}/0`);
    assert.deepEqual([approved.boundary.get(`${topic}/0`), byShape.boundary.get(`${topic}/0`)], [end, end]);
    assert.ok((approved.audit[0]?.superseded ?? 0) >= 10);
    await assert.rejects(drain({ ...wave, needs: { compacted: [] } }), { code: 'PARITY_FAILED' });
  });

  it('finds a key that lives on because its tombstone came and went while the mirror was away', async () => {
    const { topic, partitions } = await createTopicPair(pair, { sourceConfigs: { 'cleanup.policy': 'compact' } });
    await put(topic, { lost: 'alive', kept: '1', standing: '1' });
    await mirror(partitions);
    const before = await audit({ ...from(topic), ...compacted });
    await put(topic, { lost: null, kept: '2' });
    await clean(topic, (records) => !has(records, 'lost'), 0);
    await mirror(partitions);
    await livesOnTargetAlone(topic, 'lost');

    const whole = await audit({ ...from(topic), ...compacted });
    // Going on from what was proven while the key was still on both sides: the proof is too old to know of tombstones.
    const late = { ...before, ...compacted, sourceReadAtMs: Date.now() - compacted.deleteRetentionMs };
    const goesOn = await audit(late);

    assert.deepEqual([whole.differences, whole.first?.kind, whole.first?.offset], [1, 'resurrected', 0n]);
    assert.deepEqual([goesOn.differences, goesOn.first?.kind, goesOn.first?.offset], [1, 'resurrected', 0n]);
  });

  it('finds a record of another key in the place of one', async () => {
    const { topic } = await createTopicPair(pair, { sourceConfigs: { 'cleanup.policy': 'compact' } });
    await put(topic, { a: '1' });
    const [record] = await readRecords(pair.source, topic);
    assert.ok(record);
    await append(pair.target, topic, 0, { records: [{ ...record, key: Buffer.from('other') }] });

    const found = await audit({ ...from(topic), ...compacted });

    assert.deepEqual([found.differences, found.first?.kind], [1, 'key']);
  });
});
