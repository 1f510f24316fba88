/**
 * A mirror that sleeps through the switch: frozen (SIGSTOP) while it waits for the next records, replaced by another
 * worker, and woken (SIGCONT) once applications write to the target. It does not know that it has slept: records that
 * it has not carried lie in its sockets, and it goes on before anybody can tell it.
 *
 * The broker's own log is the witness that it tried: without the DENY that shuts the forward mirror out there is no
 * refused write of it to be found, and the test fails.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { describeAcls } from '../../kafka/acls.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { Scene } from './support/scene.ts';
import { clean, faults, recordsOn, verdictOf } from './support/verdict.ts';
import { waitFor } from './support/waiting.ts';

const history = 4_000;
/** Each with a fetch of its own under way when it is frozen. */
const shards = 2;
/** A limit that is never reached: what was read is then sent before anything else is asked for. */
const mirrorBytesPerSecond = 100_000_000;
const phaseTimeoutMs = 120_000;

const { stack } = await sharedStack();
const scene = await Scene.open(stack, { name: uniqueName('zombie'), topics: { created: 4 }, writers: 1, readers: 1 });
after(() => scene[Symbol.asyncDispose]());
const [topic = ''] = Object.keys(scene.topics);

/** Writes of the forward mirror to our topic that the target's broker has refused, in its own words. */
function refusedWrites(): string[] {
  return readFileSync(scene.target.brokers[0]?.logFile ?? '', 'utf8')
    .split('\n')
    .filter((line) => line.includes('User:mirror-forward is Denied operation = WRITE') && line.includes(topic));
}

describe('a forward mirror that slept through the switch', () => {
  it('can do nothing any more when it wakes', async () => {
    // Given: a mirror that is frozen with records unsent, and another that has taken over and made the switch.
    const control = scene.worker('control', 'control').start();
    const sleeper = scene.worker('sleeper', 'mirror').start();
    const [applications] = await Promise.all([
      scene.startApplications({ recordsPerSecond: 100, history }),
      control.ready(),
      sleeper.ready(),
    ]);
    const migration = await scene.migration({ mirror: { maxBytesPerSecond: mirrorBytesPerSecond, shards } }).start();
    await waitFor('the mirror to carry the history', phaseTimeoutMs, async () => {
      return (await recordsOn(scene, 'next')) >= history;
    });
    sleeper.freeze();
    const carried = await recordsOn(scene, 'next');
    scene.say(`frozen with ${carried} records carried`);
    const successor = scene.worker('successor', 'mirror').start();
    await waitFor('more records on the source than the sleeper has seen', phaseTimeoutMs, async () => {
      return (await recordsOn(scene, 'legacy')) > carried + 100;
    });
    await successor.ready();
    await migration.untilGate('cutover', phaseTimeoutMs);
    await migration.signal('approve', { gate: 'cutover', by: 'kafka-owner' });
    await migration.untilGate('finalize', phaseTimeoutMs);
    await waitFor('an application to write to the target', phaseTimeoutMs, () => {
      return applications.acknowledgedBy('next') > 100;
    });
    scene.say('switched');
    const rules = await describeAcls(await scene.cluster('next'));
    const shutOut = rules.some(({ principal, permission, operation, resourceName }) => {
      return (
        principal === 'User:mirror-forward' && permission === 'deny' && operation === 'write' && resourceName === topic
      );
    });
    assert.ok(shutOut, 'the forward mirror is denied on the target');
    assert.deepEqual(refusedWrites(), [], 'nobody has tried before the sleeper wakes');

    // When
    sleeper.thaw();

    // Then it tries at once, and is refused by name.
    const [refused = ''] = await waitFor('the broker to refuse the woken mirror', 30_000, () => {
      const lines = refusedWrites();
      return lines.length > 0 ? lines : null;
    });
    assert.match(refused, /for request = Produce/);
    await waitFor('the sleeper to say why', 30_000, () => sleeper.log.includes('MIRROR_SHUT_OUT'), {
      standing: () => sleeper.log.slice(-2_000),
    });
    assert.match(sleeper.log, /TOPIC_AUTHORIZATION_FAILED/);
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
