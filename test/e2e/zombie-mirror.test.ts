/**
 * A mirror that sleeps through the switch: frozen (SIGSTOP) with records still to carry, replaced by another worker,
 * and woken (SIGCONT) once applications write to the target. It does not know that it has slept and goes on; its line
 * to Temporal is held up, so that nobody can tell it either (else it is cancelled within milliseconds, and the race
 * would prove nothing).
 *
 * The broker's own log is the witness that it tried: without the DENY that shuts the forward mirror out there is no
 * refused write of it to be found, and the test fails.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { Relay } from './support/relay.ts';
import { Scene } from './support/scene.ts';
import { clean, faults, recordsOn, verdictOf } from './support/verdict.ts';
import { waitFor } from './support/waiting.ts';

const history = 8_000;
/** Slow enough to be caught in the middle of its history: 8,000 records are about 1 MB. */
const mirrorBytesPerSecond = 150_000;

const { stack } = await sharedStack();
const scene = await Scene.open(stack, { name: uniqueName('zombie'), topics: { created: 2 }, writers: 1, readers: 1 });
after(() => scene[Symbol.asyncDispose]());

/** Writes of the forward mirror to our topic that the target's broker has refused, in its own words. */
function refusedWrites(): string[] {
  const [topic = ''] = Object.keys(scene.topics);
  return readFileSync(scene.target.brokers[0]?.logFile ?? '', 'utf8')
    .split('\n')
    .filter((line) => line.includes('User:mirror-forward is Denied operation = WRITE') && line.includes(topic));
}

describe('a forward mirror that slept through the switch', () => {
  it('can do nothing any more when it wakes', async () => {
    // Given: a mirror that is frozen with records unsent, and another that has taken over and made the switch.
    const control = scene.worker('control', 'control').start();
    const line = scene.use(await Relay.to(stack.temporal?.address ?? ''));
    const sleeper = scene.worker('sleeper', 'mirror', { TEMPORAL_ADDRESS: line.address }).start();
    const [applications] = await Promise.all([
      scene.startApplications({ recordsPerSecond: 100, history }),
      control.ready(),
      sleeper.ready(),
    ]);
    const migration = await scene.migration({ mirror: { maxBytesPerSecond: mirrorBytesPerSecond, shards: 1 } }).start();
    const carried = await waitFor('the mirror to be in the middle of its history', 60_000, async () => {
      const records = await recordsOn(scene, 'next');
      return records > 500 ? records : null;
    });
    sleeper.freeze();
    scene.say(`frozen with ${carried} records carried`);
    assert.ok(carried < history - 2_000, `frozen in time: ${carried} of ${history} carried`);

    const successor = await scene.worker('successor', 'mirror').start().ready();
    scene.say('the successor is ready');
    await migration.untilGate('cutover', 90_000);
    await migration.signal('approve', { gate: 'cutover', by: 'kafka-owner' });
    await migration.untilGate('finalize', 90_000);
    scene.say('switched');
    await waitFor('an application to write to the target', 30_000, () => applications.acknowledgedBy('next') > 100);
    assert.deepEqual(refusedWrites(), [], 'nobody has tried before the sleeper wakes');

    // When
    line.hold();
    sleeper.thaw();

    // Then it tries at once, and is refused by name.
    const [refused] = await waitFor('the broker to refuse the woken mirror', 30_000, () => {
      const lines = refusedWrites();
      return lines.length > 0 ? lines : null;
    });
    assert.match(refused ?? '', /for request = Produce/);
    await waitFor('the sleeper to say why', 30_000, () => sleeper.log.includes('MIRROR_SHUT_OUT'));
    assert.match(sleeper.log, /TOPIC_AUTHORIZATION_FAILED/);
    line.release();
    scene.say('the sleeper was refused');

    // And the target's log holds what applications wrote, each record once, in its place.
    await applications.finishProducers();
    const verdict = await verdictOf(scene, applications, { home: 'next', mirrored: true, java: true });
    assert.deepEqual(faults(verdict), clean);
    assert.ok(applications.acknowledgedBy('next') > 100);
    scene.say(JSON.stringify(verdict));
    await migration.signal('approve', { gate: 'finalize', by: 'kafka-owner' });
    await migration.untilEnded('completed', 60_000);
    for (const worker of [control, sleeper, successor]) assert.ok(worker.running, `${worker.name} is alive`);
  });
});
