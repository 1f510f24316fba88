/** Brokers that die and freeze under a mirror and its audit. On a stack of its own. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { runAudit } from '../../mirror/audit.ts';
import { runMirror } from '../../mirror/mirror.ts';
import { ownStack } from '../support/stack.ts';
import {
  append,
  assertEqualRecords,
  createTopicPair,
  offsetsOf,
  openPair,
  readRecords,
  variedRecords,
} from './support.ts';

const pair = await openPair(ownStack({ parts: ['source', 'target'] }));

it('goes on by itself after a broker of either side was killed or frozen, and so does the audit', async () => {
  const topics = await createTopicPair(pair, { partitions: 2 });
  const { topic, partitions } = topics;
  for (let n = 0; n < 150; n++) {
    for (const partition of [0, 1]) {
      await append(pair.source, topic, partition, { records: variedRecords(10, n * 10, 1_000) });
    }
  }
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(100_000)]);
  const maxBytesPerSecond = () => 300_000;
  const mirroring = runMirror({ from: pair.source, into: pair.target, partitions, signal, maxBytesPerSecond });
  const starts = partitions.map((p) => ({ topic, partition: p.partition, position: 0n, records: 0, digest: '' }));
  const auditing = runAudit({
    source: pair.source,
    target: pair.target,
    partitions: starts,
    signal,
    until: new Map(partitions.map((p) => [`${topic}/${p.partition}`, 1_500n])),
  });
  const target = pair.stack.target?.brokers[0];
  const source = pair.stack.source?.brokers[0];
  assert.ok(target && source);

  for (const broker of [target, source, target]) {
    await sleep(700);
    await broker.kill('SIGKILL');
    await broker.start();
  }
  await target.kill('SIGSTOP');
  await sleep(1_000);
  await target.kill('SIGCONT');

  const audited = await auditing;
  stop.abort();
  await mirroring;
  for (const { partition, position, records, differences } of audited) {
    assert.deepEqual([position, records, differences], [1_500n, 1_500, 0]);
    const wanted = await readRecords(pair.source, topic, partition);
    assertEqualRecords(await readRecords(pair.target, topic, partition), wanted);
    assert.equal(await offsetsOf(pair.target, topic, partition).end(), 1_500n);
  }
});
