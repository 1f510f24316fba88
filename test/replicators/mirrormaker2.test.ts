/** MirrorMaker 2 on a real Connect cluster, driven as a migration drives it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { runDedicated } from '../../activities/foreground-replicator.ts';
import { prepareActivities } from '../../activities/prepare.ts';
import { type Acl, createAcls, deleteAcls, describeAcls } from '../../kafka/acls.ts';
import { commitOffsets } from '../../kafka/groups.ts';
import { listOffsets } from '../../kafka/offsets.ts';
import { createTopic, deleteTopic } from '../../kafka/topics.ts';
import { carryTranslated, drainPairs, storePairs } from '../../migration/pairs.ts';
import { readInventory } from '../../migration/wave.ts';
import { Connect } from '../../replicators/connect.ts';
import { mirrormaker2 } from '../../replicators/mirrormaker2.ts';
import type { Leg } from '../../replicators/replicator.ts';
import { startDedicated } from '../../stack/connect.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { connectBoth, write } from '../migration/rig.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { keepsOldRecords, lag, lopsidedTopic, truthOf } from './lagging.ts';
import { connectRig, onprem, waveOf } from './rig.ts';

const { stack, clusters: file } = await sharedStack();
const clusters = await connectBoth(file);
const rig = await connectRig(stack);
const connect = new Connect(rig.file.connect(onprem));
const patienceMs = 60_000;

/** A topic of two partitions on the source, with records, and a wave that moves it. */
async function stage(records: number) {
  const name = uniqueName('mm2');
  const topic = `${name}.created`;
  await createTopic(clusters.source, { name: topic, partitions: 2, replicationFactor: 1, configs: keepsOldRecords });
  for (const partition of [0, 1]) await write(clusters.source, topic, records, { partition });
  const { scope, wave } = await waveOf(rig, { name, topics: { include: [topic.replace('.', '\\.')] } });
  await prepareActivities(rig.connections).prepareTarget(scope);
  return { name, topic, wave };
}

/** Runs as the activity does, until told to end. */
function running(leg: Omit<Leg, 'signal'>) {
  const ending = new AbortController();
  const job = {
    ...leg,
    signal: ending.signal,
    shard: 0,
    shards: 1,
    weights: null,
    maxBytesPerSecond: 0,
    mirrorPair: () => Promise.reject(new Error('not ours to connect')),
    onProgress: () => {},
  };
  const ended = mirrormaker2.run(job);
  ended.catch(() => {});
  return {
    end: async () => {
      ending.abort();
      await ended;
    },
    ended,
  };
}

const endsOf = async (side: 'source' | 'target', topic: string) => {
  const partitions = [0, 1].map((partition) => ({ topic, partition }));
  return Object.fromEntries(await listOffsets(clusters[side], partitions, 'logEnd'));
};

const until = (what: string, look: () => Promise<boolean>) => waitFor(what, patienceMs, look, { everyMs: 100 });

describe('MirrorMaker 2 on a Connect cluster', () => {
  it('copies from the start, says how far it is, stops for good, goes on where it was, and is taken away whole', async () => {
    const { name, topic, wave } = await stage(50);
    const signal = new AbortController().signal;
    const leg = { wave, direction: 'forward', file: rig.file, signal } as const;
    // The journal's to take away, not the replicator's.
    const rules = async () =>
      (await describeAcls(clusters.target)).filter(({ resourceName }) => resourceName.includes(name)).length;
    const rulesBefore = await rules();
    const first = running(leg);
    const key = (partition: number) => `${topic}/${partition}`;
    await until('the copy', async () => (await endsOf('target', topic))[key(1)] === 50n);
    await until('its own positions', async () => (await mirrormaker2.position(leg)).get(key(0)) === 50n);
    assert.equal((await mirrormaker2.position(leg)).get(key(1)), 50n);

    await first.end();
    assert.match(await mirrormaker2.stop(leg), /next stopped \(kafka-cutover\..*\.source\)/);
    await write(clusters.source, topic, 10, { partition: 0, prefix: 'later' });
    const source = `kafka-cutover.${name}.all.forward.source`;
    assert.deepEqual(await connect.status(source), { state: 'STOPPED', trace: '', tasks: [] });
    assert.equal((await mirrormaker2.stop(leg)) !== '', true);

    // As after a fence that was lifted: no record twice, none left out.
    const second = running(leg);
    await until('the rest', async () => (await endsOf('target', topic))[key(0)] === 60n);
    assert.deepEqual(await endsOf('target', topic), { [key(0)]: 60n, [key(1)]: 50n });
    await second.end();
    // Applications wait: a rule keeps it out already, so telling it is enough, and a Connect cluster that does not answer holds nothing up.
    const silent = createServer(() => {}).listen(0);
    const { port } = silent.address() as AddressInfo;
    const elsewhere = { ...rig.file, connect: () => ({ name: onprem, url: `http://127.0.0.1:${port}` }) };
    assert.match(
      await mirrormaker2.stop({ ...leg, file: elsewhere, keptOut: true }),
      /did not answer.*kept out by the rule/,
    );
    silent.closeAllConnections();
    silent.close();
    assert.match(await mirrormaker2.stop({ ...leg, keptOut: true }), /told to stop/);
    await until('its end', async () => (await connect.status(source))?.state === 'STOPPED');

    const removed = await mirrormaker2.remove(leg);
    assert.deepEqual(removed.map((line) => line.split(' ')[0]).sort(), ['connector', 'connector', 'topic']);
    assert.equal(await connect.settings(source), null);
    assert.deepEqual(await mirrormaker2.remove(leg), []);
    assert.equal(await rules(), rulesBefore);

    // The same plan again, on a target made anew: what the worker remembered of the first run would leave out the history.
    await deleteTopic(clusters.target, topic);
    await createTopic(clusters.target, { name: topic, partitions: 2, replicationFactor: 1, configs: keepsOldRecords });
    const third = running(leg);
    await until('the copy again', async () => (await endsOf('target', topic))[key(0)] === 60n);
    await third.end();
    await mirrormaker2.remove(leg);
  });

  it('starts a task again that failed, once what stopped it is gone', async () => {
    const { topic, wave, name } = await stage(10);
    const leg = { wave, direction: 'forward', file: rig.file } as const;
    const denied: Acl = {
      resourceType: 'topic',
      patternType: 'literal',
      resourceName: topic,
      principal: 'User:mirror-forward',
      host: '*',
      operation: 'write',
      permission: 'deny',
    };
    await createAcls(clusters.target, [denied]);
    const run = running(leg);
    const source = `kafka-cutover.${name}.all.forward.source`;
    await until('the task to fail', async () => {
      const status = await connect.status(source);
      return status?.tasks.some(({ state, trace }) => state === 'FAILED' && trace !== '') ?? false;
    });
    assert.deepEqual(Object.values(await endsOf('target', topic)), [0n, 0n]);
    await deleteAcls(clusters.target, [denied]);
    let standing = '';
    const copied = waitFor(
      'the copy',
      patienceMs,
      async () => {
        const ends = await endsOf('target', topic);
        standing = `${JSON.stringify(await connect.status(source))}; ${Object.values(ends)}; at ${JSON.stringify(await connect.offsets(source))}`;
        // At least once: a task that was started again repeats what it had not noted.
        return Object.values(ends).every((end) => end >= 10n);
      },
      { everyMs: 100, standing: () => standing },
    );
    await Promise.race([copied, run.ended]);
    await copied;
    await run.end();
    await mirrormaker2.remove({ ...leg, signal: new AbortController().signal });
  });

  it('is refused before anything starts where it cannot do what the plan asks, and its traps are told', async () => {
    const topic = `${uniqueName('mm2-plan')}.created`;
    const configs = { 'min.insync.replicas': '1' };
    await createTopic(clusters.source, { name: topic, partitions: 1, replicationFactor: 1, configs });
    // Old enough for the findings that our own mirror has.
    await write(clusters.source, topic, 1);
    const found = async (replicator: object) => {
      const plan = { name: uniqueName('mm2-plan'), topics: { include: [topic.replace('.', '\\.')] } };
      const kind = 'mirrormaker2' as const;
      const { wave, scope } = await waveOf(rig, { ...plan, replicator: { kind, connect: onprem, ...replicator } });
      const { findings } = await readInventory(wave.storage, scope.inventory);
      // What is said of our own mirror alone.
      const ours = /^(OFFSETS_OUTSIDE_KAFKA|PRODUCER_EXPIRY|MARKERS_|VERIFICATION_)/;
      assert.deepEqual(
        findings.map(({ code }) => code).filter((code) => ours.test(code)),
        [],
      );
      return findings.filter(({ code }) => code.startsWith('REPLICATOR_'));
    };
    const cannot = async (replicator: object) =>
      (await found(replicator)).filter(({ code }) => code === 'REPLICATOR_CANNOT').map(({ message }) => message);

    const plain = await found({});
    assert.deepEqual(await cannot({}), []);
    const told = plain.map(({ code, message }) => `${code} ${message}`).join('\n');
    for (const trap of [
      /LEAVES.*replication factor 2/,
      /LEAVES.*min\.insync/,
      /LEAVES.*base64/,
      /LEAVES.*10 minutes/,
      /RISK.*other offsets/,
    ]) {
      assert.match(told, trap);
    }
    assert.match((await cannot({ settings: { 'tasks.max': 'none' } }))[0] ?? '', /would refuse connector.*tasks\.max/);
    assert.match(
      (await cannot({ settings: { 'topics.exclude': 'a' } }))[0] ?? '',
      /topics\.exclude is what our steps rely on/,
    );
    assert.match((await cannot({ naming: 'prefixed' }))[0] ?? '', /would be called legacy\.<topic>/);
    assert.match((await cannot({ connect: 'dedicated' }))[0] ?? '', /cannot carry back/);
    await assert.rejects(found({ connect: 'cloud' }), { code: 'REPLICATOR_UNKNOWN' });
  });

  it('copies in dedicated mode with the file that we print, under its own login, and leaves nothing on the source', async () => {
    const name = uniqueName('mm2-dedicated');
    const [topic, group] = [`${name}.created`, `${name}-billing`];
    await createTopic(clusters.source, { name: topic, partitions: 2, replicationFactor: 1, configs: keepsOldRecords });
    for (const partition of [0, 1]) await write(clusters.source, topic, 50, { partition });
    await commitOffsets(clusters.source, group, [{ topic, partition: 1, offset: 20n }]);
    const before = [...(await clusters.source.metadata(null)).topics.keys()];
    const settings = { listeners: 'http://127.0.0.1:0', 'emit.checkpoints.interval.seconds': '1' };
    const plan = {
      name,
      topics: { include: [topic.replace('.', '\\.')] },
      groups: { include: [group] },
      replicator: { kind: 'mirrormaker2' as const, connect: 'dedicated', settings },
      rollback: { reverseMirror: false },
    };
    const { scope, wave } = await waveOf(rig, plan);
    await prepareActivities(rig.connections).prepareTarget(scope);
    const { properties, secrets } = await runDedicated(scope.plan, rig.file);
    const passwords = secrets.map((secret) => {
      const side = secret.startsWith('LEGACY') ? stack.source : stack.target;
      return [secret, side?.users['mirror-forward'] ?? ''];
    });
    const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-dedicated-'));
    const { signal } = new AbortController();
    const leg = { wave, direction: 'forward', file: rig.file, signal } as const;
    {
      await using process = await startDedicated({ properties, secrets: Object.fromEntries(passwords), folder });
      const holds = async (what: string) => {
        process.check();
        const { topics } = await clusters.target.metadata(null);
        const found = [...topics.keys()].find((one) => one.includes(name) && one.includes(what));
        if (!found) return false;
        return (
          (await listOffsets(clusters.target, [{ topic: found, partition: 0 }], 'logEnd')).get(`${found}/0`) !== 0n
        );
      };
      await until('the syncs of offsets', () => holds('offset-syncs'));
      await until('the checkpoint of the group', () => holds('checkpoints'));
      const drained = await drainPairs(wave, { direction: 'forward', deadlineMs: Date.now() + patienceMs, signal });
      assert.deepEqual(
        drained.pairs.map(({ counts }) => counts.records),
        [50, 50],
      );
    }
    assert.deepEqual([...(await clusters.source.metadata(null)).topics.keys()].sort(), before.sort());
    assert.match(await mirrormaker2.stop(leg), /only its rights on next keep it out/);
    const removed = await mirrormaker2.remove(leg);
    // Syncs, checkpoints, and the three of the Connect cluster that it is.
    assert.equal(removed.length, 5, removed.join());
    rmSync(folder, { recursive: true, force: true });
  });

  it('gets every position of lagging groups exact, past transactions, aborts and a head that was cut away', async () => {
    const name = uniqueName('mm2-lag');
    const estate = { topic: `${name}.created`, partitions: 2 };
    await lopsidedTopic(clusters, stack, estate, 600);
    const groups = Array.from({ length: 40 }, (_, i) => `${name}-group-${i}`);
    const partitions = [0, 1].map((partition) => ({ topic: estate.topic, partition }));
    const ends = await listOffsets(clusters.source, partitions, 'highWatermark');
    const positions = await lag(clusters, estate, groups, { start: 5n, ends });
    const { scope, wave } = await waveOf(rig, {
      name,
      topics: { include: [estate.topic.replace('.', '\\.')] },
      groups: { include: [`${name}-group-.*`] },
    });
    await prepareActivities(rig.connections).prepareTarget(scope);
    const leg = { wave, direction: 'forward', file: rig.file } as const;
    const run = running(leg);
    const { signal } = new AbortController();
    const drained = await drainPairs(wave, { direction: 'forward', deadlineMs: Date.now() + patienceMs, signal });
    await storePairs(wave, 'forward', 'fence', drained.pairs);
    await run.end();
    await mirrormaker2.remove({ ...leg, signal });
    assert.notDeepEqual(drained.into, drained.boundary);

    const carried = await carryTranslated(wave, 'forward', positions, { boundary: drained.boundary, signal });

    const truth = await truthOf(stack, estate.topic);
    for (const { group, partition, committed, written, class: how } of carried) {
      const key = `${estate.topic}/${partition}`;
      const wanted = truth(partition, committed) ?? drained.into?.get(key);
      assert.deepEqual([group, key, committed, written, how], [group, key, committed, wanted, 'exact']);
    }
    assert.equal(carried.length, 80);
    const beyond = { group: 'g', topic: estate.topic, partition: 0, offset: 1_000_000n };
    const [past] = await carryTranslated(wave, 'forward', [beyond], { boundary: drained.boundary, signal });
    assert.deepEqual([past?.class, past?.written], ['untranslatable', drained.into?.get(`${estate.topic}/0`)]);
  });
});
