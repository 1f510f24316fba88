/**
 * Every worker dies right after the fence was closed. The source stays closed, however late it is, until somebody
 * lifts the fence by hand with `kafka-cutover unfence`; once opening the target was decided nobody can.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { stringify } from 'yaml';
import { type Acl, aclKey, awaitAcls, createAcls, deleteAcls, describeAcls } from '../../kafka/acls.ts';
import { freePorts } from '../../stack/ports.ts';
import { applicationOf } from '../kafka/applications.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { Scene } from './support/scene.ts';
import { recordsOn } from './support/verdict.ts';
import { waitFor } from './support/waiting.ts';
import { cli } from './support/worker.ts';

const commandTimeoutMs = 90_000;
const phaseTimeoutMs = 120_000;
const maxHoldMs = 20_000;
const records = 50;

const { stack } = await sharedStack();
const [metricsPort = 0] = await freePorts(1);
const scene = await Scene.open(stack, {
  name: uniqueName('unfence'),
  topics: { created: 2 },
  writers: 1,
  readers: 0,
  env: { KAFKA_CUTOVER_METRICS: `127.0.0.1:${metricsPort}` },
});
after(() => scene[Symbol.asyncDispose]());
const [topic = ''] = Object.keys(scene.topics);

const producers = {
  legacy: applicationOf(scene.source, 'app-writer-1').producer(),
  next: applicationOf(scene.target, 'app-writer-1').producer(),
};
after(() => Promise.all([producers.legacy.disconnect(), producers.next.disconnect()]));
await Promise.all([producers.legacy.connect(), producers.next.connect()]);

/** What an application is told when it writes: null when it was written. */
async function write(cluster: 'legacy' | 'next', count = 1): Promise<string | null> {
  const messages = Array.from({ length: count }, (_, i) => ({ key: `k${i}`, value: `v${i}`, partition: i % 2 }));
  try {
    await producers[cluster].send({ topic, messages });
    return null;
  } catch (error) {
    return (error as { type?: string }).type ?? String(error);
  }
}

/** The series of that name that the worker shows. */
async function shownBy(metric: string): Promise<string[]> {
  const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  return metrics.split('\n').filter((line) => line.startsWith(`${metric}{`));
}

const refused = 'TOPIC_AUTHORIZATION_FAILED';

async function denied(): Promise<boolean> {
  const acls = await describeAcls(await scene.cluster('legacy'));
  return acls.some(
    (acl) => acl.resourceName === topic && acl.permission === 'deny' && acl.principal === 'User:app-writer-1',
  );
}

/** A command as a person runs it at night: without Temporal. */
function atNight(...args: string[]): Promise<{ code: number; answer: Record<string, unknown>; stderr: string }> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ...scene.env, TEMPORAL_ADDRESS: '127.0.0.1:1' };
    const how = { env, timeout: commandTimeoutMs };
    execFile(process.execPath, [cli, ...args, '--json'], how, (error, stdout, stderr) => {
      const code = error ? (error.code as unknown) : 0;
      if (typeof code !== 'number') return reject(error);
      const last = stdout.trim().split('\n').at(-1) ?? '';
      resolve({ code, answer: JSON.parse(last || '{}'), stderr });
    });
  });
}

const unfence = (file: string) => atNight('unfence', file);

interface Proof {
  readonly sourceOfTruth: string;
  readonly because: string;
  readonly problems: readonly string[];
}

/** `status --prove`: the exit code, and the only wave. */
async function prove(): Promise<Proof & { readonly code: number }> {
  const { code, answer, stderr } = await atNight('status', scene.name, '--prove');
  const [proof] = (answer.waves ?? []) as Proof[];
  assert.ok(proof, stderr);
  assert.match(String(answer.note), /it was not compared with what the workflow says: TEMPORAL_UNREACHABLE/);
  return { code, ...proof };
}

describe('a fence whose workers are all dead', () => {
  it('stands until it is lifted by hand, and the migration goes on when a worker comes back', async () => {
    // Given: records, and a migration that is approved.
    // A broker knows of a right a moment after it was given.
    const letIn = async () => (await write('legacy', records)) === null;
    await waitFor('the application to be let in', phaseTimeoutMs, letIn);
    const worker = await scene.worker().start().ready();
    const free = { approvals: 0 };
    const migration = await scene
      .migration({
        // A long proof, so that the worker dies before opening the target is decided.
        fence: { maxHold: `${maxHoldMs}ms`, quiet: '6s' },
        producers: { switch: 'manual' },
        consumers: { switch: 'manual' },
        groups: { include: ['no-group'] },
        gates: { cutover: { approvals: 1, approvers: ['kafka-owner'] }, producers: free, consumers: free },
        verify: { producersWait: '1s' },
      })
      .start();
    const file = join(scene.dir, 'plan.yaml');
    writeFileSync(file, stringify(migration.plan));
    await migration.untilGate('cutover', phaseTimeoutMs);

    // When: the fence is closed, and nobody is left.
    await migration.signal('approve', { gate: 'cutover', by: 'kafka-owner' });
    await waitFor('DENY for the application on the source', phaseTimeoutMs, denied, { everyMs: 10 });
    await worker.kill();
    const closedAt = performance.now();
    scene.say('the fence is closed, the worker is dead');

    // Then: it is closed, also when its time is up.
    assert.equal((await migration.glance()).truth, 'none');
    assert.equal(await write('legacy'), refused);
    assert.equal(await write('next'), refused);
    await waitFor('the deadline of the fence', maxHoldMs + 10_000, () => performance.now() > closedAt + maxHoldMs);
    assert.equal(await write('legacy'), refused, 'a deadline opens nothing by itself');
    assert.equal(await recordsOn(scene, 'legacy'), records);
    const fenced = await prove();
    assert.deepEqual([fenced.code, fenced.sourceOfTruth, fenced.problems], [0, 'none', []]);
    assert.match(fenced.because, /legacy was fenced/);
    await leaksAreFound();
    scene.say('the fence is proven from the clusters alone, and its leaks are found');

    // And by hand it opens.
    const lifted = await unfence(file);
    assert.equal(lifted.code, 0, lifted.stderr);
    assert.ok(Number(lifted.answer.undone) > 0, JSON.stringify(lifted.answer));
    assert.deepEqual(lifted.answer.notUndone, []);
    assert.equal(await write('legacy', records), null);
    assert.equal(await write('next'), refused);
    scene.say('lifted by hand, the application writes again');
    const again = await unfence(file);
    assert.equal(again.code, 0, again.stderr);

    // And a worker that comes back goes on: it lifts what there is to lift, mirrors, and makes the switch.
    worker.start();
    await migration.untilGate('finalize', phaseTimeoutMs, { retryFailedSteps: true });
    scene.say(`switched; told to try again: ${JSON.stringify(migration.retried)}`);
    assert.equal((await migration.glance()).truth, 'target');
    assert.equal(await recordsOn(scene, 'next'), 2 * records);
    assert.equal(await write('next', records), null);
    assert.equal(await write('legacy'), refused);
    for (const name of ['mirror_records_total', 'mirror_bytes_total', 'mirror_batches_total', 'fence_seconds']) {
      const [shown] = await shownBy(`kafka_cutover_${name}`);
      assert.ok(Number(shown?.split(' ').at(-1)) > 0, `${name}: ${shown}`);
    }

    // And after the decision nobody lifts the fence by hand, worker or not.
    await worker.kill();
    const tooLate = await unfence(file);
    assert.equal(tooLate.code, 3, tooLate.stderr);
    assert.match(`${JSON.stringify(tooLate.answer)} ${tooLate.stderr}`, /UNFENCE_REFUSED/);
    assert.equal(await write('legacy'), refused);
    assert.equal(await write('next'), null);
    const opened = await prove();
    assert.deepEqual([opened.code, opened.sourceOfTruth, opened.problems], [0, 'target', []]);
    scene.say('refused once opening was decided');

    worker.start();
    await migration.signal('approve', { gate: 'finalize', by: 'kafka-owner' });
    await migration.untilEnded('completed', phaseTimeoutMs);

    // And its metrics say who has been the source of truth since before it was started: alarms about a fence outlive its worker.
    const truth = await shownBy('kafka_cutover_source_of_truth_since_seconds');
    assert.equal(truth.length, 1, truth.join('\n'));
    assert.match(truth[0] ?? '', /cluster="target"/);
  });
});

/** Somebody lets an application in, or takes a rule of the fence away, while nobody watches. */
async function leaksAreFound(): Promise<void> {
  const source = await scene.cluster('legacy');
  const rules = (await describeAcls(source)).filter((acl) => acl.resourceName === topic);
  const deny = rules.find(({ permission, principal }) => permission === 'deny' && principal === 'User:app-writer-1');
  assert.ok(deny);
  const stranger: Acl = { ...deny, permission: 'allow', principal: 'User:app-writer-2' };
  await deleteAcls(source, [deny]);
  await createAcls(source, [stranger]);
  await awaitAcls(source, { absent: [deny], present: [stranger] });
  const leaking = await prove();
  assert.equal(leaking.code, 1);
  assert.deepEqual(leaking.problems, [
    `source (legacy): User:app-writer-1, User:app-writer-2 may write ${topic}`,
    `source (legacy): gone: ${aclKey(deny)} (broker 1)`,
  ]);
  await deleteAcls(source, [stranger]);
  await createAcls(source, [deny]);
  await awaitAcls(source, { absent: [stranger], present: [deny] });
}
