/**
 * One migration, there and back, of topics of every shape: written to in transactions (committed and aborted) the whole time,
 * compacted with holes and tombstones, stamped by the brokers, and plain. Judged by Apache's consumer under both isolation
 * levels, on both clusters. A stack of its own: settings of all brokers change, and the source's cleaner must be quick.
 */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { type Acl, createAcls } from '../../kafka/acls.ts';
import { raiseTerms } from '../../kafka/terms.ts';
import { type JavaRecord, readWithJava } from '../../stack/java-tools.ts';
import { readRecords } from '../mirror/support.ts';
import { ownStack, uniqueName } from '../support/stack.ts';
import { batchOf, Estate, type Side } from './support/estate.ts';
import { Operator } from './support/operator.ts';
import { TransactionalWriter } from './support/transactional-writer.ts';
import { waitFor } from './support/waiting.ts';

const { stack, clusters } = await ownStack({ brokerConfig: { source: { 'log.cleaner.backoff.ms': '200' } } });
const estate = await Estate.of(stack, clusters);
const operator = await Operator.at(stack);

const name = uniqueName('shapes');
const topics = {
  transactional: `${name}.transactional`,
  compacted: `${name}.compacted`,
  stamped: `${name}.stamped`,
  plain: `${name}.plain`,
} as const;
const all = Object.values(topics);
const waitMs = 120_000;
const verification = 'transaction.partition.verification.enable';
const sides = ['source', 'target'] as const;
const isolations = ['read_committed', 'read_uncommitted'] as const;

/** What a topic must have in the end where it lives. */
const settings: Readonly<Record<keyof typeof topics, Record<string, string>>> = {
  transactional: { 'retention.ms': '604800000' },
  compacted: {
    'cleanup.policy': 'compact',
    'segment.ms': '100',
    'min.cleanable.dirty.ratio': '0.01',
    'delete.retention.ms': '86400000',
  },
  stamped: { 'message.timestamp.type': 'LogAppendTime' },
  plain: { 'compression.type': 'lz4' },
};

before(async () => {
  for (const [kind, topic] of Object.entries(topics)) {
    const partitions = kind === 'transactional' ? 2 : 1;
    await estate.createTopic('source', topic, partitions, settings[kind as keyof typeof topics]);
    await estate.letIn('source', topic, 'app-writer-1');
  }
  const id: Acl = {
    resourceType: 'transactional-id',
    patternType: 'literal',
    resourceName: `tx-${topics.transactional}`,
    principal: 'User:app-writer-1',
    host: '*',
    operation: 'write',
    permission: 'allow',
  };
  await createAcls(estate.source, [id, { ...id, operation: 'describe' }]);
  // A fresh cluster's coordinators need a moment, which kafkajs does not give them.
  for (const side of sides) await raiseTerms(estate[side], [`tx-${topics.transactional}`]);
  await estate.append('source', topics.plain, batchOf(['a', 'b', 'c']));
  await estate.append('source', topics.stamped, batchOf(['a', 'b', 'c'], 1_700_000_000_000));
  await holesAndTombstones(topics.compacted);
  await operator.startWorker();
});

/** Ten keys over and over, one of them deleted in the end; returns when the cleaner has made holes. */
async function holesAndTombstones(topic: string): Promise<void> {
  const keys = Array.from({ length: 10 }, (_, i) => `key-${i}`);
  const began = Date.now() - 3_600_000;
  let written = 0;
  const append = async (records: readonly { key: string; value: string | null }[]) => {
    const made = records.map(({ key, value }) => ({
      timestamp: BigInt(began + written++ * 50),
      key: Buffer.from(key),
      value: value === null ? null : Buffer.from(value),
      headers: [],
    }));
    await estate.append('source', topic, { records: made });
  };
  for (let round = 0; round < 20; round++) await append(keys.map((key) => ({ key, value: `${key} of ${round}` })));
  await append([{ key: 'key-3', value: null }]);
  await append([{ key: 'key-4', value: 'last' }]);
  await waitFor('the source to compact', waitMs, async () => {
    return (await readRecords(estate.source, topic)).length < written / 2;
  });
}

/** What Apache's consumer gives, one line a record. */
async function read(side: Side, topic: string, isolation: (typeof isolations)[number]) {
  const cluster = estate.local(side);
  const { records, partitions } = await readWithJava(cluster, 'cutover', topic, { isolation });
  return {
    lines: records.map(line).sort(),
    records,
    ends: partitions.map(({ partition, end }) => `${partition}@${end}`),
  };
}

function line({ partition, offset, timestamp, key, value, headers }: JavaRecord): string {
  return `${partition}/${offset} @${timestamp} ${key?.toString() ?? 'null'}=${value?.toString() ?? 'null'} ${JSON.stringify(headers)}`;
}

/** Both clusters give the same, under both isolation levels; they must stand still. */
async function equal(compare: readonly string[]): Promise<void> {
  for (const topic of compare) {
    for (const isolation of isolations) {
      const [here, there] = [await read('source', topic, isolation), await read('target', topic, isolation)];
      assert.deepEqual(there.lines, here.lines, `${topic}, ${isolation}`);
      assert.deepEqual(there.ends, here.ends, `${topic}, ${isolation}`);
    }
  }
}

/** The newest record of each key, which is all that compaction promises once both clusters compact by themselves. */
async function newest(side: Side): Promise<Record<string, string>> {
  const { records } = await read(side, topics.compacted, 'read_committed');
  return Object.fromEntries(records.map((record) => [record.key?.toString() ?? '', line(record)]));
}

/** All that was committed is there once, and nothing that was not. */
async function nothingLost(side: Side, writer: TransactionalWriter): Promise<void> {
  const { records } = await read(side, topics.transactional, 'read_committed');
  const found = records.map(({ value }) => value?.toString() ?? '').sort();
  const unknown = new Set(writer.unknown.map(({ value }) => value));
  const sure = found.filter((value) => !unknown.has(value));
  assert.deepEqual(sure, writer.committed.map(({ value }) => value).sort());
  const kept = (await read(side, topics.transactional, 'read_uncommitted')).records.length;
  assert.ok(kept > found.length, 'aborted records are kept for those who read them');
}

async function caughtUp(): Promise<void> {
  let standing = '';
  const look = async () => {
    const ends = await Promise.all(
      sides.map(async (side) => Promise.all(all.map((topic) => estate.ends(side, topic)))),
    );
    standing = `source ${JSON.stringify(ends[0])}, target ${JSON.stringify(ends[1])}`;
    return JSON.stringify(ends[0]) === JSON.stringify(ends[1]);
  };
  await waitFor('the mirror to catch up', waitMs, look, { everyMs: 200, standing: () => standing });
}

const approve = (gate: string) => operator.answer(['approve', name, gate, '--by', 'kafka-owner']);
const standing = async (side: Side) => (await estate.standing(side)).filter((one) => one.includes(verification));

describe('topics of every shape, written to in transactions the whole time', () => {
  it('move to the target and back, and both clusters hold the same under both isolation levels', async () => {
    const verified = { source: await standing('source'), target: await standing('target') };
    const writer = new TransactionalWriter(topics.transactional, 2);
    writer.writeTo('legacy', estate.application('source', 'app-writer-1'));
    await waitFor('history', waitMs, () => writer.committed.length > 60);

    // There.
    const file = operator.plan({
      name,
      source: 'legacy',
      target: 'next',
      topics: { include: [`${name.replaceAll('.', '\\.')}\\..*`] },
      groups: { include: ['nothing'] },
      producers: { switch: 'manual' },
      consumers: { switch: 'manual' },
      verify: { producersWait: '1s' },
    });
    await operator.answer(['start', file, '--by', 'sam']);
    const atCutover = await operator.gate(name, 'cutover');
    const said = new Set(atCutover.findings.map(({ code }) => code));
    for (const code of [
      'TOPIC_TRANSACTIONAL',
      'TOPIC_COMPACTED',
      'TOPIC_LOG_APPEND_TIME',
      'VERIFICATION_SUSPENDED',
    ] as const) {
      assert.ok(said.has(code), code);
    }
    await equal([topics.compacted, topics.stamped, topics.plain]);
    await approve('cutover');
    await writer.denied();
    await operator.gate(name, 'producers');
    await equal([topics.transactional, topics.stamped, topics.plain]);
    assert.deepEqual(await newest('target'), await newest('source'));
    await nothingLost('target', writer);

    // The target is open, as applications know it.
    assert.deepEqual(await standing('target'), verified.target, 'its brokers verify transactions again');
    writer.writeTo('next', estate.application('target', 'app-writer-1'));
    await estate.write('target', 'app-writer-1', topics.compacted, ['key-5', 'key-6']);
    await estate.write('target', 'app-writer-1', topics.stamped, ['d']);
    await estate.write('target', 'app-writer-1', topics.plain, ['d']);
    const stamped = (await read('target', topics.stamped, 'read_committed')).records.map((r) => r.timestampType);
    assert.equal(stamped.at(-1), 'LogAppendTime', 'its brokers stamp the topic again');
    await waitFor('transactions on the target', waitMs, () => writer.committedOn('next') > 40);
    await approve('producers');
    await operator.gate(name, 'consumers');
    await approve('consumers');
    await operator.gate(name, 'finalize');

    // And back.
    await operator.answer(['rollback', name, '--by', 'kafka-owner', '--reason', 'there and back']);
    await writer.denied();
    await operator.gate(name, 'producers');
    await caughtUp();
    await equal([topics.transactional, topics.stamped, topics.plain]);
    assert.deepEqual(await newest('source'), await newest('target'));
    await nothingLost('source', writer);
    assert.deepEqual(await standing('source'), verified.source);
    writer.writeTo('legacy', estate.application('source', 'app-writer-1'));
    const before = writer.committed.length;
    await waitFor('transactions on the source', waitMs, () => writer.committed.length > before + 8);
    await writer.stop();
    await nothingLost('source', writer);
    await approve('producers');
    await operator.gate(name, 'consumers');
    await approve('consumers');
    assert.deepEqual(await operator.ending(name), { outcome: 'rolledBack' });
    const { sourceOfTruth, notUndone } = await operator.status(name);
    assert.deepEqual([sourceOfTruth, notUndone], [{ all: 'source' }, []]);
    for (const [kind, topic] of Object.entries(topics)) {
      const now = (await estate.standing('source', { of: topic })).filter(
        (one) => one.startsWith(`topic ${topic}: `) && one.includes('='),
      );
      const wanted = Object.entries(settings[kind as keyof typeof topics]).map(
        ([key, value]) => `topic ${topic}: ${key}=${value}`,
      );
      assert.deepEqual(now, wanted.sort());
    }
  });
});
