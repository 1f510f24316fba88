/** Mirrors that are killed, doubled, frozen and shut out lose, repeat and reorder nothing. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Acl, awaitAcls, createAcls } from '../../kafka/acls.ts';
import { codecNames } from '../../kafka/codecs.ts';
import { runMirror } from '../../mirror/mirror.ts';
import type { MirrorJob } from './mirror-process.ts';
import {
  append,
  assertEqualRecords,
  createTopicPair,
  offsetsOf,
  openPair,
  readRecords,
  type TopicPair,
  variedRecords,
} from './support.ts';

const pair = await openPair();

interface Child {
  readonly process: ChildProcess;
  readonly lines: Record<string, unknown>[];
  /** Resolves when the mirror has been seen at work. */
  readonly working: Promise<void>;
  readonly ended: Promise<unknown>;
}

function startMirror(job: MirrorJob): Child {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'mirror-process.ts'), JSON.stringify(job)], {
    env: { ...process.env, ...pair.stack.env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: Record<string, unknown>[] = [];
  const working = new Promise<void>((done) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      lines.push(JSON.parse(line));
      done();
    });
  });
  return { process: child, lines, working, ended: once(child, 'exit') };
}

async function fillSource(topic: string, partition: number, batches: number): Promise<void> {
  let n = 0;
  for (let i = 0; i < batches; i++) {
    const count = 1 + ((i * 31) % 40);
    const codec = i % 3 === 0 ? (codecNames[i % codecNames.length] ?? 'none') : 'none';
    await append(pair.source, topic, partition, { codec, records: variedRecords(count, n, 400) });
    n += count;
  }
}

function jobFor({ topic, partitions }: TopicPair, more: Partial<MirrorJob> = {}): MirrorJob {
  return { role: 'own', topic, producerIds: partitions.map((p) => String(p.producerId)), ...more };
}

/** Catches up in this process and compares everything. */
async function assertCarriedWhole({ topic, partitions }: TopicPair): Promise<void> {
  const signal = AbortSignal.timeout(30_000);
  await runMirror({ from: pair.source, into: pair.target, partitions, signal, untilCaughtUp: true });
  for (const { partition } of partitions) {
    const wanted = await readRecords(pair.source, topic, partition);
    assertEqualRecords(await readRecords(pair.target, topic, partition), wanted);
    const end = await offsetsOf(pair.source, topic, partition).end();
    assert.equal(await offsetsOf(pair.target, topic, partition).end(), end);
  }
}

describe('a mirror', () => {
  it('that is killed at a dozen random moments carries every record once, in its place', async () => {
    const topics = await createTopicPair(pair, { partitions: 2 });
    await Promise.all([fillSource(topics.topic, 0, 400), fillSource(topics.topic, 1, 400)]);
    const whole = await offsetsOf(pair.source, topics.topic).end();
    const positions: bigint[] = [];

    for (let round = 0; round < 12; round++) {
      const child = startMirror(jobFor(topics, { maxBytesPerSecond: 2_000_000 }));
      await child.working;
      // Every other one is killed right after its first write, or before it; the rest at any time after one.
      const { end } = offsetsOf(pair.target, topics.topic);
      const before = await end();
      while (round % 2 === 1 && (await end()) === before && before < whole) await sleep(5);
      await sleep(Math.random() * 150);
      child.process.kill('SIGKILL');
      await child.ended;
      positions.push(await end());
    }

    const ends = new Set(positions);
    assert.ok(ends.size >= 4, `the mirror got on between the kills: ${[...ends]}`);
    await assertCarriedWhole(topics);
  });

  it('that runs twice, and sleeps now and then, carries every record once, in its place', async () => {
    const topics = await createTopicPair(pair, { partitions: 2 });
    await Promise.all([fillSource(topics.topic, 0, 300), fillSource(topics.topic, 1, 300)]);
    const children = [20_000, 5_000, 200_000].map((maxBatchBytes) =>
      startMirror(jobFor(topics, { maxBytesPerSecond: 700_000, maxBatchBytes })),
    );
    await Promise.all(children.map((child) => child.working));

    for (let i = 0; i < 25; i++) {
      const child = children[i % children.length];
      child?.process.kill('SIGSTOP');
      await sleep(60 + Math.random() * 120);
      child?.process.kill('SIGCONT');
      await append(pair.source, topics.topic, i % 2, { records: variedRecords(3, 100_000 + i * 3) });
      await sleep(Math.random() * 40);
    }

    for (const child of children) {
      assert.equal(child.process.exitCode, null, `a mirror gave up: ${JSON.stringify(child.lines.at(-1))}`);
      child.process.kill('SIGKILL');
      await child.ended;
    }
    await assertCarriedWhole(topics);
  });

  it('that slept through the switch can write nothing any more', async () => {
    const topics = await createTopicPair(pair);
    const { topic } = topics;
    const allow = (operation: Acl['operation']): Acl => ({
      resourceType: 'topic',
      patternType: 'literal',
      resourceName: topic,
      principal: 'User:mirror-forward',
      host: '*',
      operation,
      permission: 'allow',
    });
    const rights = [allow('read'), allow('describe'), allow('write')];
    for (const cluster of [pair.source, pair.target]) {
      await createAcls(cluster, rights);
      await awaitAcls(cluster, { present: rights });
    }
    await append(pair.source, topic, 0, { records: variedRecords(10) });
    const child = startMirror(jobFor(topics, { role: 'forward' }));
    while ((await offsetsOf(pair.target, topic).end()) < 10n) await sleep(10);

    child.process.kill('SIGSTOP');
    const deny: Acl = { ...allow('write'), permission: 'deny' };
    await createAcls(pair.target, [deny]);
    await awaitAcls(pair.target, { present: [deny] });
    await append(pair.source, topic, 0, { records: variedRecords(5, 10) });
    await append(pair.target, topic, 0, { records: variedRecords(7, 500) });
    child.process.kill('SIGCONT');
    await child.ended;

    assert.deepEqual(child.lines.at(-1), { failed: 'MIRROR_SHUT_OUT' });
    assert.equal(await offsetsOf(pair.target, topic).end(), 17n);
  });
});
