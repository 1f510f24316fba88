/**
 * Mirrors that sleep through the switch: two are frozen (SIGSTOP), a worker with its mirror and a `kafka-cutover mirror`
 * that somebody suspended and forgot. Another worker takes over, applications move to the target and write there, and
 * the sleepers wake (SIGCONT), each with records that it believes to be missing there.
 *
 * Temporal tells the worker within milliseconds that it has slept; now and then its mirror is faster. The suspended
 * command is told by nobody, and tries for sure. The broker's own log is the witness: without the DENY that shuts the
 * forward mirror out there is no refused write of it to be found, and the test fails.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { sharedStack, uniqueName } from '../support/stack.ts';
import type { Applications } from './support/applications.ts';
import { Scene } from './support/scene.ts';
import { clean, faults, recordsOn, verdictOf } from './support/verdict.ts';
import { waitFor } from './support/waiting.ts';

const history = 4_000;
const phaseTimeoutMs = 120_000;
/** The answer to the last batch is on its way when the log shows it. */
const quietMs = 300;

const { stack } = await sharedStack();
const scene = await Scene.open(stack, { name: uniqueName('zombie'), topics: { created: 2 }, writers: 1, readers: 1 });
after(() => scene[Symbol.asyncDispose]());
const [topic = ''] = Object.keys(scene.topics);

/** Writes of the forward mirror to our topic that the target's broker has refused, in its own words. */
function refusedWrites(): string[] {
  return readFileSync(scene.target.brokers[0]?.logFile ?? '', 'utf8')
    .split('\n')
    .filter((line) => line.includes('User:mirror-forward is Denied operation = WRITE') && line.includes(topic));
}

/**
 * Freezes a mirror that has nothing on its way: all that it still does is wait for the next records. One that has, reads
 * its position again when it wakes, meets the reverse mirror's records, and stops with MIRROR_LOOP without a try.
 */
async function freezeCaughtUp(applications: Applications, atLeast: number, mirror: { freeze(): void }): Promise<void> {
  applications.holdProducers();
  await waitFor('the mirror to have carried everything', phaseTimeoutMs, async () => {
    const [written, carried] = await Promise.all([recordsOn(scene, 'legacy'), recordsOn(scene, 'next')]);
    return carried === written && carried >= atLeast;
  });
  await sleep(quietMs);
  mirror.freeze();
  applications.releaseProducers();
}

describe('forward mirrors that slept through the switch', () => {
  it('can do nothing any more when they wake', async () => {
    // Given: two mirrors that are frozen, and another that has taken over and made the switch.
    const control = scene.worker('control', 'control').start();
    const sleeper = scene.worker('sleeper', 'mirror').start();
    const applications = await scene.startApplications({ recordsPerSecond: 100, history });
    const migration = scene.migration();
    const planFile = join(scene.dir, 'plan.yaml');
    writeFileSync(planFile, stringify(migration.plan));
    const forgotten = scene.command('forgotten', 'mirror', planFile, '--json');
    await freezeCaughtUp(applications, history, forgotten);
    const carried = await recordsOn(scene, 'next');
    scene.say(`the command is frozen with ${carried} records carried`);

    await Promise.all([control.ready(), sleeper.ready()]);
    await migration.start();
    await waitFor('the worker to carry more', phaseTimeoutMs, async () => (await recordsOn(scene, 'next')) > carried);
    await freezeCaughtUp(applications, carried, sleeper);
    scene.say('the worker is frozen too');
    const successor = scene.worker('successor', 'mirror').start();
    await migration.untilGate('cutover', phaseTimeoutMs);
    await migration.signal('approve', { gate: 'cutover', by: 'kafka-owner' });
    await migration.untilGate('finalize', phaseTimeoutMs);
    await waitFor('an application to write to the target', phaseTimeoutMs, () => {
      return applications.acknowledgedBy('next') > 100;
    });
    scene.say('switched, and applications write to the target');
    assert.deepEqual(refusedWrites(), [], 'nobody has tried before they wake');

    // When
    forgotten.thaw();
    sleeper.thaw();

    // Then they try, and are refused by name.
    const [refused = ''] = await waitFor('the broker to refuse a woken mirror', 30_000, () => {
      const lines = refusedWrites();
      return lines.length > 0 ? lines : null;
    });
    assert.match(refused, /for request = Produce/);
    await waitFor('the command to end', 30_000, () => !forgotten.alive);
    assert.notEqual(forgotten.child.exitCode, 0);
    assert.match(forgotten.log, /MIRROR_SHUT_OUT.*TOPIC_AUTHORIZATION_FAILED/s);
    const told = sleeper.log.includes('MIRROR_SHUT_OUT') ? 'was refused too' : 'was told before it tried';
    scene.say(`the command was refused, the worker ${told}`);

    // And the target's log holds what applications wrote, each record once, in its place.
    await applications.finishProducers();
    const verdict = await verdictOf(scene, applications, { home: 'next', mirrored: true, java: true });
    scene.say(JSON.stringify(verdict));
    assert.deepEqual(faults(verdict), clean);
    await migration.signal('approve', { gate: 'finalize', by: 'kafka-owner' });
    await migration.untilEnded('completed', phaseTimeoutMs);
    for (const worker of [control, sleeper, successor]) assert.ok(worker.running, `${worker.name} is alive`);
  });
});
