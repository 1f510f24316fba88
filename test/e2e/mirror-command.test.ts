/** `mirror` and `verify` on the command line, without Temporal: what they print, what they carry, what they find. */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Finding } from '../../contract/errors.ts';
import type { Codec } from '../../kafka/codecs.ts';
import { openStorage } from '../../migration/storage.ts';
import { type JavaRecord, readWithJava } from '../../stack/java-tools.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { batchOf, Estate } from './support/estate.ts';
import { Operator } from './support/operator.ts';

const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);
const operator = await Operator.at(stack);

const name = uniqueName('by-command');
const [orders, empty] = [`${name}.orders`, `${name}.empty`];
const file = operator.plan({ name, source: 'legacy', target: 'next', topics: { include: [`${name}\\..*`] } });
const codecs: readonly Codec[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
const perBatch = 100;

before(async () => {
  await estate.createTopic('source', orders, 2, { 'max.message.bytes': '3000000' });
  await estate.createTopic('source', empty, 1);
  for (const partition of [0, 1]) {
    for (const codec of codecs) await estate.append('source', orders, { records: varied(perBatch), codec }, partition);
  }
  await estate.append('source', orders, { records: [{ ...plain(), value: Buffer.alloc(2_000_000, 'x') }] });
});

describe('`mirror FILE --until-caught-up --json`', () => {
  const written = 2 * codecs.length * perBatch + 1;

  it('carries everything, and ends with records, bytes, seconds and cpuSeconds as the last line', async () => {
    const ran = await operator.run(['mirror', file, '--until-caught-up', '--json']);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.equal(ran.stdout.trim().split('\n').length, 1, 'progress goes to stderr');
    const { records, bytes, seconds, cpuSeconds, ...more } = ran.json() as Record<string, number>;
    assert.deepEqual(more, {});
    assert.equal(records, written);
    assert.ok((bytes ?? 0) > 2_000_000, `${bytes} bytes`);
    for (const figure of [seconds, cpuSeconds]) assert.ok(typeof figure === 'number' && figure > 0, `${figure}`);
    assert.deepEqual(await estate.ends('target', orders), await estate.ends('source', orders));
    assert.deepEqual(await estate.ends('target', empty), ['0']);
  });

  it('leaves a copy that `plan` proves, without leaving anything on the clusters itself', async () => {
    const stored = async () => (await openStorage(estate).getAll(`${name}/`)).map((a) => `${a.name} ${a.bytes}`);
    const before = await stored();
    const { findings, blockers } = await operator.answer(['plan', file]);
    assert.equal(blockers, 0);
    const copies = (findings as Finding[]).filter(({ code }) => code === 'TARGET_TOPIC_EXISTS');
    assert.deepEqual(
      copies.map(({ message }) => message),
      Array(2).fill('is a copy that we made, and mirroring goes on from its end'),
    );
    assert.deepEqual(await stored(), before);
  });

  it('has nothing left to carry the second time, and only what is new the third', async () => {
    assert.equal((await operator.answer(['mirror', file, '--until-caught-up'])).records, 0);
    await estate.append('source', orders, batchOf(['new-1', 'new-2']), 1);
    assert.equal((await operator.answer(['mirror', file, '--until-caught-up'])).records, 2);
  });

  it("is the same log to Apache's own consumer: offsets, timestamps, keys, values, headers", async () => {
    const read = async (side: 'source' | 'target') =>
      readWithJava(estate.local(side), 'cutover', orders, { isolation: 'read_uncommitted' });
    const [here, there] = await Promise.all([read('source'), read('target')]);
    assert.equal(here.records.length, written + 2);
    assert.deepEqual(printed(there.records), printed(here.records));
    assert.deepEqual(there.partitions, here.partitions);
  });
});

describe('`verify FILE`', () => {
  it('says equal, exit 0', async () => {
    const { equal, partitions, records, differences } = await operator.answer(['verify', file]);
    assert.deepEqual([equal, partitions, differences], [true, 3, []]);
    assert.equal(records, 2 * codecs.length * perBatch + 3);
    const said = await operator.run(['verify', file]);
    assert.match(said.stdout, /^equal: 1,003 records in 3 partitions compared$/m);
  });

  it('names the partition and both ends when somebody has written to the target, exit 1', async () => {
    const at = await estate.append('target', orders, batchOf(['foreign']), 1);
    const { equal, differences } = await operator.answer(['verify', file], 1);
    assert.equal(equal, false);
    assert.deepEqual(differences, [`${orders}/1: the source ends at ${at}, the target at ${at + 1n}`]);
  });

  it('names the partition and the first offset when a record is another one, exit 1', async () => {
    const at = await estate.append('source', orders, batchOf(['ours', 'and another']), 1);
    const { differences } = await operator.answer(['verify', file], 1);
    const [ends, content, ...more] = differences as string[];
    assert.equal(ends, `${orders}/1: the source ends at ${at + 2n}, the target at ${at + 1n}`);
    assert.match(content ?? '', new RegExp(`^${orders}/1: 1 differ, first at offset ${at} \\(\\w+\\)$`));
    assert.deepEqual(more, []);
    const said = await operator.run(['verify', file]);
    assert.equal(said.exitCode, 1);
    assert.match(said.stdout, new RegExp(`^DIFFERENT: [\\s\\S]*${orders}/1: 1 differ, first at offset ${at}`));
  });

  it('and the mirror does not go on over a copy that is none any more', async () => {
    const { error } = await operator.answer(['mirror', file, '--until-caught-up'], 3);
    assert.equal((error as { code: string }).code, 'BLOCKED');
    assert.match((error as { message: string }).message, /TARGET_TOPIC_HAS_RECORDS \(target, topic .*orders\)/);
    assert.match((error as { message: string }).message, /preflight found 1 blockers/);
  });
});

function plain() {
  return { timestamp: BigInt(Date.now()), key: null as Buffer | null, value: null as Buffer | null, headers: [] };
}

/** With null keys and values, empty ones, and headers that repeat. */
function varied(count: number) {
  return Array.from({ length: count }, (_, i) => ({
    timestamp: BigInt(Date.now() - ((i * 7919) % 5_000)),
    key: i % 3 === 0 ? null : Buffer.from(`key-${i % 17}`),
    value: i % 5 === 0 ? null : Buffer.from(i % 7 === 0 ? '' : `value ${i}`),
    headers:
      i % 4 === 0
        ? ['', `${i}`, null].map((text) => ({
            key: Buffer.from('twice'),
            value: text === null ? null : Buffer.from(text),
          }))
        : [],
  }));
}

/** One line a record, by place: node's own difference of thousands of buffers takes minutes. */
function printed(records: readonly JavaRecord[]): string[] {
  const text = (bytes: Buffer | null) => (bytes === null ? 'null' : JSON.stringify(bytes.toString('latin1', 0, 100)));
  return records
    .map((r) => {
      const headers = r.headers.map(([key, value]) => `${key}=${text(value)}`).join();
      const place = `${r.partition}/${String(r.offset).padStart(8, '0')} @${r.timestamp} ${r.timestampType}`;
      return `${place} ${text(r.key)}: ${text(r.value)} ${r.value?.length} [${headers}]`;
    })
    .sort();
}
