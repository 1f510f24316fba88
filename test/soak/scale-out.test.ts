/**
 * Several workers carry one migration's shards; one of them is killed with SIGKILL while it copies, and the others go on
 * with what it had; one that comes in its place takes some of it over. Then the limit that kept the copy slow is taken away while it runs.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { Scene } from '../e2e/support/scene.ts';
import { clean, faults, recordsOn, verdictOf } from '../e2e/support/verdict.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';

/** Of each of the two producers; 20,000 records are about 2.5 MB. */
const history = 10_000;
/** Slow enough that nothing is done before somebody says so. */
const mirrorBytesPerSecond = 10_000;
/** Instead of 10 minutes. */
const balanceAfter = '5s';
const shards = 4;
const phaseTimeoutMs = 150_000;

const { stack } = await sharedStack();
const env = { KAFKA_CUTOVER_BALANCE_AFTER: balanceAfter };
const scene = await Scene.open(stack, { name: uniqueName('scale'), env });
after(() => scene[Symbol.asyncDispose]());

describe('a migration whose shards run on two workers', () => {
  it('goes on with all of them on one when the other is killed, spreads them over one that comes, and loses nothing', async (t) => {
    // Given
    const control = await scene.worker('control', 'control').start().ready();
    const workers = [scene.worker('mirror-1', 'mirror').start(), scene.worker('mirror-2', 'mirror').start()];
    for (const worker of workers) await worker.ready();
    const applications = await scene.startApplications({ recordsPerSecond: 100, history });
    const migration = await scene.migration({ mirror: { maxBytesPerSecond: mirrorBytesPerSecond, shards } }).start();
    const placed = await waitFor('all shards to run', phaseTimeoutMs, async () => {
      const running = await migration.mirrorShards();
      return running.size === shards ? running : null;
    });
    const perWorker = workers.map(({ identity }) => [...placed.values()].filter((one) => one === identity).length);
    scene.say(`shards by worker: ${perWorker.join(', ')}`);
    const victim = workers[(perWorker[0] ?? 0) > 0 ? 0 : 1];
    const survivor = workers.find((worker) => worker !== victim);
    if (!victim || !survivor) throw new Error('two workers were wanted');
    const lostShards = [...placed.values()].filter((identity) => identity === victim.identity);
    assert.ok(lostShards.length > 0);
    const before = await recordsOn(scene, 'next');
    assert.ok(before < 2 * history, `the copy is not done: ${before}`);

    // When
    const killedAt = performance.now();
    await victim.kill();

    // Then
    await waitFor('the other worker to have taken over', phaseTimeoutMs, async () => {
      const carriers = [...(await migration.mirrorShards()).values()];
      return carriers.length === shards && carriers.every((identity) => identity === survivor.identity);
    });
    const seconds = (performance.now() - killedAt) / 1000;
    t.diagnostic(`${lostShards.length} of ${shards} shards went on elsewhere ${seconds.toFixed(1)} s after the kill`);
    assert.ok((await recordsOn(scene, 'next')) < 2 * history, 'there was something left to carry');
    scene.say(`went on after ${seconds.toFixed(1)} s`);

    // When
    const comer = await scene.worker('mirror-3', 'mirror').start().ready();

    // Then
    await waitFor('the worker that came to have a share', phaseTimeoutMs, async () => {
      const carriers = [...(await migration.mirrorShards()).values()];
      return carriers.length === shards && carriers.includes(comer.identity) && carriers.includes(survivor.identity);
    });
    assert.ok((await recordsOn(scene, 'next')) < 2 * history, 'there was something left to give away');
    scene.say('a worker that came carries shards');
    await scene.client.send(scene.name, 'tune', { by: 'kafka-owner', maxBytesPerSecond: 0, shards: 2 }, null);
    const status = await waitFor('the new settings to be in force', phaseTimeoutMs, async () => {
      const seen = await migration.status();
      return seen?.mirror?.shards === 2 ? seen : null;
    });
    assert.deepEqual(status.mirror, { maxBytesPerSecond: 0, shards: 2, tuned: null });
    scene.say('tuned');
    await migration.untilGate('cutover', phaseTimeoutMs);
    await migration.signal('approve', { gate: 'cutover', by: 'kafka-owner' });
    await migration.untilGate('finalize', phaseTimeoutMs);
    scene.say('switched');
    await waitFor('applications to write to the target', phaseTimeoutMs, () => applications.acknowledgedBy('next') > 0);
    await applications.finishProducers();
    const verdict = await verdictOf(scene, applications, { home: 'next', mirrored: true, java: true });
    scene.say(JSON.stringify(verdict));
    assert.deepEqual(faults(verdict), clean);
    assert.equal(verdict.comparedByJava, verdict.acknowledged);
    await migration.signal('approve', { gate: 'finalize', by: 'kafka-owner' });
    await migration.untilEnded('completed', phaseTimeoutMs);
    for (const worker of [control, survivor, comer]) assert.ok(worker.running, `${worker.name} is alive`);
  });
});
