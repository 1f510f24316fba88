/**
 * Brokers that die (SIGKILL) and come back while records are carried: first the target's, then the source's. A stack
 * of its own, because nobody else would survive it.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import type { LocalCluster } from '../../stack/cluster.ts';
import { ownStack, uniqueName } from '../support/stack.ts';
import { Scene } from './support/scene.ts';
import { clean, faults, recordsOn, verdictOf } from './support/verdict.ts';
import { waitFor } from './support/waiting.ts';

const history = 6_000;
/** 6,000 records are about 800 KB: both brokers must find the mirror at work. */
const mirrorBytesPerSecond = 60_000;
const phaseTimeoutMs = 120_000;

const { stack } = await ownStack();
const scene = await Scene.open(stack, { name: uniqueName('brokers'), topics: { created: 2 }, writers: 1, readers: 1 });
after(() => scene[Symbol.asyncDispose]());

async function dieAndComeBack({ name, brokers: [broker] }: LocalCluster): Promise<void> {
  await broker?.kill('SIGKILL');
  scene.say(`the ${name} broker is dead`);
  await broker?.start();
  scene.say(`the ${name} broker is back`);
}

async function carriesOn(): Promise<number> {
  const before = await recordsOn(scene, 'next').catch(() => 0);
  return waitFor(`the mirror to carry more than ${before} records`, phaseTimeoutMs, async () => {
    const records = await recordsOn(scene, 'next').catch(() => 0);
    return records > before ? records : null;
  });
}

describe('a migration whose brokers die and come back', () => {
  it('goes on by itself, and loses, repeats and reorders nothing', async () => {
    // Given
    const worker = scene.worker().start();
    const [applications] = await Promise.all([
      scene.startApplications({ recordsPerSecond: 50, history }),
      worker.ready(),
    ]);
    const migration = await scene.migration({ mirror: { maxBytesPerSecond: mirrorBytesPerSecond, shards: 1 } }).start();

    // When
    const atFirst = await carriesOn();
    await dieAndComeBack(scene.target);
    const afterTarget = await carriesOn();
    assert.ok(afterTarget < history, `the mirror was still at work: ${atFirst}, then ${afterTarget} of ${history}`);
    await dieAndComeBack(scene.source);
    scene.say(`${await carriesOn()} records carried`);

    // Then
    await migration.untilGate('cutover', phaseTimeoutMs);
    await migration.signal('approve', { gate: 'cutover', by: 'kafka-owner' });
    await migration.untilGate('finalize', phaseTimeoutMs);
    await waitFor('applications to write to the target', phaseTimeoutMs, () => applications.acknowledgedBy('next') > 0);
    const producers = await applications.finishProducers();
    assert.deepEqual(
      producers.map(({ unclear }) => unclear),
      [0],
      'the producer knows of every batch whether it was written',
    );
    const verdict = await verdictOf(scene, applications, { home: 'next', mirrored: true, java: true });
    scene.say(JSON.stringify(verdict));
    assert.deepEqual(faults(verdict), clean);
    await migration.signal('approve', { gate: 'finalize', by: 'orders-owner' });
    await migration.untilEnded('completed', phaseTimeoutMs);
    assert.ok(worker.running, 'the worker has lived through it');
  });
});
