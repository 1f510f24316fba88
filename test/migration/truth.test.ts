/** Which cluster is the source of truth, from what is stored and what the brokers show; no Temporal, no worker. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parsePlan } from '../../contract/plan.ts';
import type { Direction } from '../../contract/status.ts';
import { type Acl, aclKey, awaitAcls, createAcls, deleteAcls } from '../../kafka/acls.ts';
import { storeBoundary } from '../../migration/boundary.ts';
import { closeWrites } from '../../migration/fences/acl.ts';
import { takeInventory } from '../../migration/inventory.ts';
import { decideOpening } from '../../migration/opening.ts';
import { ensureProducerIds } from '../../migration/producer-ids.ts';
import { proveTruth, readRules } from '../../migration/truth.ts';
import { fenceOf, openWave, storeInventory, type Wave } from '../../migration/wave.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { connectBoth, createOnBoth, freshStorage, write } from './rig.ts';

const { clusters: file } = await sharedStack();
const clusters = await connectBoth(file);
const { source, target } = clusters;
const fenceMs = 60_000;

/** A prepared wave of one topic with five records on both clusters, as a process that has just started sees it. */
async function prepared() {
  const topic = uniqueName('truth');
  await createOnBoth(clusters, topic);
  for (const cluster of [source, target]) await write(cluster, topic, 5);
  const allow: Acl = {
    resourceType: 'topic',
    patternType: 'literal',
    resourceName: topic,
    principal: 'User:app-writer-1',
    host: '*',
    operation: 'write',
    permission: 'allow',
  };
  for (const cluster of [source, target]) {
    await createAcls(cluster, [allow]);
    await awaitAcls(cluster, { present: [allow] });
  }
  const plan = parsePlan({ name: uniqueName('truth'), source: 'legacy', target: 'next', topics: { include: [topic] } });
  const storage = freshStorage(clusters);
  const access = { source: (await readRules(source)).access, target: (await readRules(target)).access };
  const inventory = await storeInventory(storage, plan.name, {
    digest: 'd',
    plan,
    inventory: await takeInventory(source, target, plan),
    access,
    findings: [],
  });
  const wave = await openWave(clusters, storage, { plan, wave: 'all', inventory });
  const deny: Acl = { ...allow, permission: 'deny' };
  await wave.journal.make('all', 'protection', [{ kind: 'create-acls', cluster: 'target', acls: [deny] }]);
  const ids = {
    forward: await ensureProducerIds(wave, 'forward', target, wave.partitions),
    reverse: await ensureProducerIds(wave, 'reverse', source, wave.partitions),
  };
  const mirrored = (direction: Direction) => ids[direction].get(`${topic}/0`) ?? -1n;
  return { topic, allow, deny, wave, mirrored };
}

async function proof(wave: Wave) {
  const rules = { source: await readRules(source), target: await readRules(target) };
  const { sourceOfTruth, problems, beyond, since, proven } = await proveTruth(wave, rules);
  assert.equal(proven, problems.length === 0);
  return { truth: sourceOfTruth, problems, beyond, since };
}

/** Fences the cluster that the direction leaves, and decides to open the other: as a run does it, but for what it copies. */
async function fenceAndDecide(wave: Wave, direction: Direction, end: bigint): Promise<string> {
  const deadlineMs = Date.now() + fenceMs;
  await closeWrites(fenceOf(wave, direction === 'forward' ? 'source' : 'target', deadlineMs));
  const boundary = new Map(wave.topicNames.map((name) => [`${name}/0`, end]));
  const tookMs = { settle: 0, copy: 0, audit: 0 };
  await storeBoundary(wave.storage, { ...wave, direction, deadlineMs }, { boundary, audit: [], tookMs });
  return (await decideOpening(wave.storage, { ...wave, direction, deadlineMs })).at;
}

describe('the source of truth', () => {
  it('is the source, nobody, the target and the source again, with the time of each decision', async () => {
    const { topic, wave, mirrored } = await prepared();
    assert.deepEqual(await proof(wave), { truth: 'source', problems: [], beyond: [], since: null });

    const opened = await fenceAndDecide(wave, 'forward', 5n);
    const closed = { side: 'source', partitions: 1, offsets: 0 };
    assert.deepEqual(await proof(wave), { truth: 'none', problems: [], beyond: [closed], since: opened });

    await wave.journal.undo('all', ['protection']);
    await write(source, topic, 3, { producerId: mirrored('reverse'), baseSequence: 0 });
    const carried = { ...closed, offsets: 3 };
    assert.deepEqual(await proof(wave), { truth: 'target', problems: [], beyond: [carried], since: opened });
    // Finalized, it is no less so.
    const finalized = await openWave(clusters, freshStorage(clusters), scopeOf(wave));
    await finalized.journal.keep('all');
    assert.equal((await proof(finalized)).truth, 'target');
  });

  it('goes back by a fence of the target, and stays there whatever was decided before', async () => {
    const { topic, wave, mirrored } = await prepared();
    await fenceAndDecide(wave, 'forward', 5n);
    await wave.journal.undo('all', ['protection']);
    const back = await fenceAndDecide(wave, 'reverse', 5n);
    assert.equal((await proof(wave)).truth, 'none');
    await wave.journal.undo('all', ['fence-source']);
    await write(target, topic, 1, { producerId: mirrored('forward'), baseSequence: 0 });
    assert.deepEqual(await proof(wave), {
      truth: 'source',
      problems: [],
      beyond: [{ side: 'target', partitions: 1, offsets: 1 }],
      since: back,
    });
  });

  it('is not proven where a rule lets somebody in, one of ours is gone, or a log is not the mirror’s', async () => {
    const { topic, allow, deny, wave } = await prepared();
    const place = 'target (next): ';
    const stranger = { ...allow, principal: 'User:app-writer-2' };
    await createAcls(target, [stranger]);
    await awaitAcls(target, { present: [stranger] });
    assert.deepEqual((await proof(wave)).problems, [`${place}User:app-writer-2 may write ${topic}`]);
    await deleteAcls(target, [stranger, deny, allow]);
    await awaitAcls(target, { absent: [stranger, deny, allow] });
    assert.deepEqual((await proof(wave)).problems, [`${place}gone: ${aclKey(deny)} (broker 1)`]);

    await fenceAndDecide(wave, 'forward', 5n);
    await wave.journal.undo('all', ['protection']);
    await write(source, topic, 2, { producerId: 4711n, baseSequence: 0 });
    assert.deepEqual((await proof(wave)).problems, [
      `source (legacy): ${topic}/0: producer 4711 wrote at offset 5, beyond the boundary 5; it is not our mirror`,
    ]);
  });

  it('is not proven while a fenced log moves, nor where a log ends below its boundary', async () => {
    const { topic, wave } = await prepared();
    await closeWrites(fenceOf(wave, 'source', Date.now() + fenceMs));
    let writing = true;
    const writer = (async () => {
      while (writing) await write(source, topic, 1);
    })();
    const moving = await proof(wave);
    writing = false;
    await writer;
    assert.equal(moving.truth, 'none');
    assert.match(moving.problems.join(), /somebody writes, the log end moved from \d+ to \d+/);

    await fenceAndDecide(wave, 'forward', 1_000_000n);
    assert.match((await proof(wave)).problems.join(), /the log ends at \d+, below the boundary 1000000/);
  });

  it('looks at the topics that were fenced, not at those that came since', async () => {
    const { wave } = await prepared();
    await fenceAndDecide(wave, 'forward', 5n);
    await wave.journal.undo('all', ['protection']);
    // Open on the source, as it was never fenced.
    const { topic: later } = await prepared();
    assert.deepEqual((await proof({ ...wave, topicNames: [...wave.topicNames, later] })).problems, []);
  });
});

function scopeOf({ plan, wave }: Wave) {
  return { plan, wave, inventory: `${plan.name}/inventory/d` };
}
