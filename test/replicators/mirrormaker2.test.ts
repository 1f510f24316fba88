/** MirrorMaker 2 on a real Connect cluster, driven as a migration drives it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { prepareActivities } from '../../activities/prepare.ts';
import { describeAcls } from '../../kafka/acls.ts';
import { listOffsets } from '../../kafka/offsets.ts';
import { createTopic, deleteTopic } from '../../kafka/topics.ts';
import { Connect } from '../../replicators/connect.ts';
import { mirrormaker2 } from '../../replicators/mirrormaker2.ts';
import type { Leg } from '../../replicators/replicator.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { connectBoth, write } from '../migration/rig.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
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
  await createTopic(clusters.source, { name: topic, partitions: 2, replicationFactor: 1, configs: {} });
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
    const rulesBefore = (await describeAcls(clusters.target)).length;
    const first = running(leg);
    const key = (partition: number) => `${topic}/${partition}`;
    await until('the copy', async () => (await endsOf('target', topic))[key(1)] === 50n);
    await until('its own positions', async () => (await mirrormaker2.position(leg)).get(key(0)) === 50n);
    assert.equal((await mirrormaker2.position(leg)).get(key(1)), 50n);

    await first.end();
    assert.match(await mirrormaker2.stop(leg), /stopped \(onprem: source, heartbeat\)/);
    await write(clusters.source, topic, 10, { partition: 0, prefix: 'later' });
    const source = `kafka-cutover.${name}.all.forward.source`;
    assert.deepEqual(await connect.status(source), { state: 'STOPPED', trace: '', tasks: [] });
    assert.equal((await mirrormaker2.stop(leg)) !== '', true);

    // As after a fence that was lifted: no record twice, none left out.
    const second = running(leg);
    await until('the rest', async () => (await endsOf('target', topic))[key(0)] === 60n);
    assert.deepEqual(await endsOf('target', topic), { [key(0)]: 60n, [key(1)]: 50n });
    await second.end();

    const removed = await mirrormaker2.remove(leg);
    assert.deepEqual(removed.map((line) => line.split(' ')[0]).sort(), ['connector', 'connector', 'topic']);
    assert.equal(await connect.settings(source), null);
    assert.deepEqual(await mirrormaker2.remove(leg), []);
    assert.equal((await describeAcls(clusters.target)).length, rulesBefore);

    // The same plan again, on a target made anew: what the worker remembered of the first run would leave out the history.
    await deleteTopic(clusters.target, topic);
    await createTopic(clusters.target, { name: topic, partitions: 2, replicationFactor: 1, configs: {} });
    const third = running(leg);
    await until('the copy again', async () => (await endsOf('target', topic))[key(0)] === 60n);
    await third.end();
    await mirrormaker2.remove(leg);
  });
});
