/**
 * A whole migration whose only worker is killed with SIGKILL again and again: while it mirrors, between the fence and
 * the opening, while it verifies. Applications never stop. KAFKA_CUTOVER_TEST_SEED repeats the moments of a run.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Glance } from '../e2e/support/migration.ts';
import { randomFrom, seedOf } from '../e2e/support/random.ts';
import { Scene } from '../e2e/support/scene.ts';
import { clean, faults, recordsOn, verdictOf } from '../e2e/support/verdict.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';

/** Of each of the two producers. */
const history = 10_000;
const recordsPerSecond = 100;
/** 20,000 records are about 2.5 MB: kills must find the mirror at work. */
const mirrorBytesPerSecond = 200_000;
const killsMin = 6;
/** A killed worker is noticed after 10 s of silence, 5 s within the fence, and needs its time to start. */
const phaseTimeoutMs = 150_000;

const { stack } = await sharedStack();
const scene = await Scene.open(stack, { name: uniqueName('crash') });
after(() => scene[Symbol.asyncDispose]());

describe('a migration whose worker is killed at random moments', () => {
  it('loses, repeats and reorders nothing', async (t) => {
    const seed = seedOf(process.env.KAFKA_CUTOVER_TEST_SEED);
    t.diagnostic(`KAFKA_CUTOVER_TEST_SEED=${seed}`);
    const random = randomFrom(seed);
    const kills: string[] = [];
    const options = { retryFailedSteps: true };

    // Given
    const worker = scene.worker().start();
    const [applications] = await Promise.all([scene.startApplications({ recordsPerSecond, history }), worker.ready()]);
    const migration = await scene.migration({ mirror: { maxBytesPerSecond: mirrorBytesPerSecond, shards: 2 } }).start();
    const killAt = async (phase: string, maxDelayMs: number): Promise<Glance> => {
      await sleep(random() * maxDelayMs);
      await worker.kill();
      const seen = await migration.glance();
      kills.push(`${phase}: ${seen.step}, source of truth ${seen.truth}`);
      scene.say(`killed (${phase}): ${JSON.stringify(seen)}`);
      worker.start();
      return seen;
    };

    // When: twice while it mirrors, the second time once its successor has got further.
    for (let kill = 0; kill < 2; kill++) {
      const before = await recordsOn(scene, 'next').catch(() => 0);
      await waitFor(
        `the mirror to carry more than ${before} records`,
        phaseTimeoutMs,
        async () => (await recordsOn(scene, 'next')) > before,
        { everyMs: 100 },
      );
      const seen = await killAt('mirror', 1_500);
      assert.equal(seen.truth, 'source');
    }
    await migration.untilGate('cutover', phaseTimeoutMs);
    await migration.signal('approve', { gate: 'cutover', by: 'kafka-owner' });
    // Between the fence and the opening, and there once more unless the first successor has finished it.
    await migration.until('the fence', phaseTimeoutMs, ({ truth }) => truth === 'none', options);
    await killAt('fence', 700);
    await worker.ready();
    if ((await migration.glance()).truth === 'none') await killAt('fence', 1_500);
    // And once it is open.
    await migration.until('the target to be open', phaseTimeoutMs, ({ truth }) => truth === 'target', options);
    await killAt('verify', random() < 0.5 ? 200 : 2_000);
    await migration.untilGate('finalize', phaseTimeoutMs, options);
    // The rest while the reverse mirror carries what applications write now.
    while (kills.length < killsMin) {
      await worker.ready();
      await killAt('finalize', 1_500);
    }

    // Then
    await waitFor('applications to write to the target', 60_000, () => applications.acknowledgedBy('next') > 0);
    await applications.finishProducers();
    const verdict = await verdictOf(scene, applications, { home: 'next', mirrored: true, java: true });
    scene.say(JSON.stringify({ seed, kills, verdict, retried: migration.retried }));
    assert.deepEqual(faults(verdict), clean);
    assert.equal(verdict.comparedByJava, verdict.acknowledged);
    const status = await waitFor('a worker that answers', phaseTimeoutMs, () => migration.status());
    const verified = status.steps.findLast(({ step }) => step === 'verify')?.summary ?? '';
    assert.match(verified, /^\d+ records equal up to the boundary/);
    assert.ok(kills.filter((line) => line.startsWith('fence') && line.endsWith('none')).length > 0, kills.join('\n'));
    await migration.signal('approve', { gate: 'finalize', by: 'orders-owner' });
    await migration.untilEnded('completed', phaseTimeoutMs);
  });
});
