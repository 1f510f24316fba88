/**
 * Mirrors that may not write markers: each comes of a transaction without records (mirror/marker-transactions.ts). The same logs, kills and
 * doubles as where they may, and the same judges: Apache's consumer, and every slot.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as fc from 'fast-check';
import { awaitAcls, deleteAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { writeTxnMarkers } from '../../kafka/markers.ts';
import { listOffsets, partitionKey } from '../../kafka/offsets.ts';
import { allocateProducerId, describeProducers } from '../../kafka/producers.ts';
import { abortTransaction, addToTransaction, describeTransactions } from '../../kafka/transactions.ts';
import { writeMarkers } from '../../mirror/marker-transactions.ts';
import { runMirror } from '../../mirror/mirror.ts';
import { type Ownership, ownershipId, takeOwnership } from '../../mirror/ownership.ts';
import { randomFrom, seedOf } from '../e2e/support/random.ts';
import { ownStack } from '../support/stack.ts';
import { catchUp, hasCaughtUp, offsetsWritten } from './exact/catch-up.ts';
import { createTopics, type MirroredTopic, openClusters } from './exact/clusters.ts';
import { interruptions, mirrorInterrupted } from './exact/interruptions.ts';
import { Judge } from './exact/judge.ts';
import { LogWriter, quickCleaner } from './exact/log-writer.ts';
import { freezeByTurns, jobOn, MirrorChild } from './exact/mirror-child.ts';
import { liveProducers, liveSteps, randomLog } from './exact/random-log.ts';
import { transactionalLog } from './exact/transactional-log.ts';
import { configAs, idRule, setMarkerRight, userWithoutMarkerRights } from './exact/without-marker-rights.ts';
import { append, leaderOf, openTransaction, variedRecords } from './support.ts';

const cases = 2;
const seed = seedOf(process.env.KAFKA_CUTOVER_TEST_SEED);
const random = randomFrom(seed);
const partitions = 2;
const stepsOfLog = 90;
const kills = 6;
const slotsPerLifeMax = 25;
const freezeMaxMs = 400;
const carriedTimeoutMs = 240_000;

const { stack } = await ownStack({ parts: ['source', 'target'], brokerConfig: { source: quickCleaner } });
const clusters = await openClusters(stack);
const user = await userWithoutMarkerRights(clusters.target);
const into = await Cluster.connect(configAs(clusters.target.config, user));
const asUser = { ...clusters, target: into };
const writer = new LogWriter(clusters);
const judge = new Judge(clusters);
after(async () => {
  writer.stop();
  judge.stop();
  await into.close();
  await clusters[Symbol.asyncDispose]();
});

const written = () => transactionalLog(clusters, writer, { seed, partitions, steps: stepsOfLog });

const startMirror = (mirrored: MirroredTopic) =>
  new MirrorChild(jobOn(mirrored, { writesAs: user, lifeMs: carriedTimeoutMs * 2 }), clusters.stack.env);

async function assertSame({ topic }: MirroredTopic): Promise<void> {
  const { differences, slots } = await judge.judge({ topic, partitions }, { aborted: 'drop' });
  assert.deepEqual(differences, []);
  assert.ok(slots.markers > 10 && slots.aborted > 10, 'there was enough that nobody sees');
}

const standsAt = (mirrored: MirroredTopic) => offsetsWritten(clusters, mirrored);

describe('without a right on the cluster', () => {
  it('random logs are carried exactly, without their aborted records, however often the mirror is interrupted', async (t) => {
    t.diagnostic(`seed ${seed}`);
    const total = { records: 0, aborted: 0, markers: 0, holes: 0 };
    const property = fc.asyncProperty(
      randomLog(),
      fc.boolean(),
      interruptions({ max: 2, killsMax: 1 }),
      async (log, keepAborted, planned) => {
        const { partitions: count, producers } = log;
        const mirrored = await createTopics(clusters, { partitions: count, keepAborted });
        const written = writer.log(mirrored.topic, count, producers);

        await written.write([...log.steps, ...log.tail]);
        await written.endAll();
        await mirrorInterrupted(asUser, mirrored, planned, { writesAs: user });

        const judged = await judge.judge({ topic: mirrored.topic, partitions: count }, { aborted: 'drop' });
        assert.deepEqual(judged.differences, []);
        for (const kind of ['records', 'aborted', 'markers', 'holes'] as const) total[kind] += judged.slots[kind];
      },
    );
    await fc.assert(property, { seed, numRuns: cases, endOnFailure: true });
    t.diagnostic(`slots: ${JSON.stringify(total)}`);
    assert.ok(total.records > 0 && total.markers > 0, 'there was something to carry');
  });

  it('one mirror at a time, killed at random, gives every slot its place', async (t) => {
    t.diagnostic(`seed ${seed}`);
    const mirrored = await written();
    for (let kill = 0; kill < kills; kill++) {
      const mirror = startMirror(mirrored);
      const until = (await standsAt(mirrored)) + Math.ceil(random() * slotsPerLifeMax);
      while (mirror.running && (await standsAt(mirrored)) < until && !(await hasCaughtUp(clusters, mirrored)));
      await mirror.kill();
      assert.equal(mirror.failed, undefined, mirror.message);
    }
    await catchUp(asUser, mirrored, { timeoutMs: carriedTimeoutMs });
    await assertSame(mirrored);
  });

  it('two mirrors at once, frozen and thawed at random, give every slot its place, at one replica too', async (t) => {
    const mirrored = await written();
    const mirrors = [startMirror(mirrored), startMirror(mirrored)];
    const { freezes, failures } = await freezeByTurns(mirrors, {
      random,
      freezeMaxMs,
      timeoutMs: carriedTimeoutMs,
      until: () => hasCaughtUp(clusters, mirrored),
    });
    t.diagnostic(`${freezes} freezes`);
    assert.deepEqual(failures, [], 'no mirror gave up');
    await assertSame(mirrored);
  });

  it('an owner that is replaced with transactions begun leaves their markers, and can begin no others', async () => {
    const { topic } = await createTopics(clusters, { partitions: 1, keepAborted: false });
    const place = { topic, partition: 0 };
    const take = async () => {
      const owner = (await takeOwnership({ into }, [place])).get(partitionKey(topic, 0)) as Ownership;
      assert.ok(owner.transactions && owner.fence === 'producer');
      return owner.transactions;
    };
    const end = async () => (await listOffsets(clusters.target, [place], 'logEnd')).get(partitionKey(topic, 0));
    const sleeper = await take();
    assert.equal(await writeMarkers(into, place, sleeper), 0);
    assert.equal(await end(), BigInt(sleeper.length));
    const [open, ending, idle] = sleeper;
    assert.ok(open && ending && idle);
    assert.equal(await addToTransaction(into, open, place), 0);
    assert.equal(await addToTransaction(into, ending, place), 0);
    assert.equal(await abortTransaction(into, ending), 0);

    await take();
    const taken = await end();

    assert.equal(taken, BigInt(sleeper.length) + 2n, 'what was begun is in the log when the position is read');
    const invalidProducerEpoch = 47;
    const producerFenced = 90;
    const refused = [
      await abortTransaction(into, open),
      await addToTransaction(into, idle, place),
      await writeMarkers(into, place, sleeper),
    ];
    assert.ok(
      refused.every((code) => code === producerFenced || code === invalidProducerEpoch),
      `${refused}`,
    );
    assert.equal(await end(), taken);
  });

  it('two that take over at once are never both the owner', async () => {
    const { topic } = await createTopics(clusters, { partitions: 1, keepAborted: false });
    const place = { topic, partition: 0 };
    // Over connections of their own, or one would wait for the other.
    await using other = await Cluster.connect(configAs(clusters.target.config, user));
    let owned = 0;
    for (let round = 0; round < 20; round++) {
      const taken = await Promise.all([into, other].map((as) => takeOwnership({ into: as }, [place])));
      const owners = taken.flatMap((each) => [...each.values()]).filter((each) => 'transactions' in each);
      const states = await Promise.all(
        owners.map(async ({ transactions = [] }) => {
          const now = await describeTransactions(
            into,
            transactions.map(({ id }) => id),
          );
          return transactions.map(({ id, epoch }) => now.get(id)?.producerEpoch === epoch);
        }),
      );
      // One that was the owner in between holds nothing any more; one that came too late may hold some, but is no owner.
      assert.ok(states.filter((held) => held.some(Boolean)).length <= 1, JSON.stringify(states));
      owned += owners.length;
    }
    assert.ok(owned > 0);
  });
});

describe('a marker too many', () => {
  it('where the source is not decided yet holds the mirror back, and stops it once a record is due there', async () => {
    const { topic, partitions: of } = await createTopics(clusters, { partitions: 1, keepAborted: false });
    const place = { topic, partition: 0 };
    await append(clusters.source, topic, 0, { records: variedRecords(3) });
    await catchUp(asUser, { topic, partitions: of });
    const transaction = await openTransaction(clusters.source, topic);
    const owner = (await takeOwnership({ into }, [place])).get(partitionKey(topic, 0)) as Ownership;
    assert.equal(await writeMarkers(into, place, owner.transactions?.slice(0, 1) ?? []), 0);
    const seen: bigint[] = [];
    const mirroring = runMirror({
      from: clusters.source,
      into,
      partitions: of,
      signal: AbortSignal.timeout(carriedTimeoutMs),
      onProgress: ([p]) => seen.push(p?.position ?? -1n),
    });
    const ended = assert.rejects(mirroring, {
      code: 'TARGET_DIVERGED',
      message: /the last slot is not that of cluster/,
    });
    while (seen.length < 4) await sleep(50);
    await transaction.end('commit');

    await ended;
    assert.ok(
      seen.every((position) => position === 0n),
      `it took nothing for carried: ${seen}`,
    );
  });

  it('shows also where a second one has put the end of the log on a slot that is rightly empty', async () => {
    const { topic, partitions: of } = await createTopics(clusters, { partitions: 1, keepAborted: false });
    const place = { topic, partition: 0 };
    await append(clusters.source, topic, 0, { records: variedRecords(3) });
    await catchUp(asUser, { topic, partitions: of });
    await append(clusters.source, topic, 0, { records: variedRecords(1) });
    const producerId = await allocateProducerId(clusters.source);
    const marker = { ...place, producerId, producerEpoch: 0, coordinatorEpoch: 0, commit: false, count: 1 };
    await clusters.source.call({ broker: await leaderOf(clusters.source, topic) }, writeTxnMarkers, [marker]);
    const owner = (await takeOwnership({ into }, [place])).get(partitionKey(topic, 0)) as Ownership;
    assert.equal(await writeMarkers(into, place, owner.transactions?.slice(0, 2) ?? []), 0);

    const mirroring = runMirror({
      from: clusters.source,
      into,
      partitions: of,
      signal: AbortSignal.timeout(carriedTimeoutMs),
      untilCaughtUp: true,
    });

    await assert.rejects(mirroring, { code: 'TARGET_DIVERGED', message: /offset 3/ });
  });
});

describe('when rights change while a mirror runs', () => {
  it('it goes on with the other way, and what one had begun the other ends', async () => {
    await setMarkerRight(clusters.target, user, true);
    const mirrored = await createTopics(clusters, { partitions, keepAborted: false });
    const log = writer.log(mirrored.topic, partitions, liveProducers);
    const write = async (salt: number) => {
      await log.write(liveSteps({ seed: seed + salt, partitions, count: 40, transactions: true, old: false }));
      await log.endAll();
    };
    const stop = new AbortController();
    const running = runMirror({
      from: clusters.source,
      into,
      partitions: mirrored.partitions,
      signal: AbortSignal.any([stop.signal, AbortSignal.timeout(carriedTimeoutMs)]),
    });
    const caughtUp = async () => {
      while (!(await hasCaughtUp(clusters, mirrored))) await Promise.race([sleep(50), running]);
    };
    const ownerIds = async () => {
      const ids = mirrored.partitions.map(ownershipId);
      const own = new Set([...(await describeTransactions(into, ids)).values()].map(({ producerId }) => producerId));
      const plain = new Set(mirrored.partitions.map(({ producerId }) => producerId));
      const producers = [...(await describeProducers(clusters.target, mirrored.partitions)).values()].flat();
      const direct = producers.filter(({ producerId }) => own.has(producerId)).length;
      const others = producers.filter(({ producerId }) => !own.has(producerId) && !plain.has(producerId)).length;
      return { direct, others };
    };
    await write(1);
    await caughtUp();
    const before = await ownerIds();
    assert.ok(before.direct > 0 && before.others === 0, JSON.stringify(before));

    await setMarkerRight(clusters.target, user, false);
    await write(2);
    await caughtUp();

    assert.ok((await ownerIds()).others > 0, 'markers come of transactions');
    stop.abort();
    await running;
    await setMarkerRight(clusters.target, user, true);
    await write(3);
    await catchUp(asUser, mirrored, { timeoutMs: carriedTimeoutMs });
    await setMarkerRight(clusters.target, user, false);
    await assertSame(mirrored);
  });

  it('it stops where even transactions are refused', async () => {
    const rule = idRule(user);
    await deleteAcls(clusters.target, [rule]);
    await awaitAcls(clusters.target, { absent: [rule] });
    const mirrored = await written();

    const mirroring = runMirror({
      from: clusters.source,
      into,
      partitions: mirrored.partitions,
      signal: AbortSignal.timeout(carriedTimeoutMs),
      untilCaughtUp: true,
    });

    await assert.rejects(mirroring, {
      code: 'MARKERS_NOT_ALLOWED',
      message: /WRITE and DESCRIBE on transactional ids/,
    });
  });
});
