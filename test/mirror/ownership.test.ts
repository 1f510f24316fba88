/**
 * The proof that markers have one owner at a time (mirror/ownership.ts), to be read by itself.
 *
 * Markers are no compare-and-set: whoever sends one gets an offset. So two mirrors that both believe that they may write push everything
 * behind by one, and the records that follow stand at wrong offsets. Here a log of which a third of the slots can only be written as markers
 * is carried by several processes at once, each of them frozen again and again, asleep with a marker that it was about to send, or with an
 * answer that it has not read. Then every slot of both logs is laid side by side.
 *
 * With three replicas any number of mirrors may try: each takeover moves the leader, raises the term, and looks again. With one replica nothing
 * can be moved; there one mirror at a time is what holds, killed as often as one likes. The long form, with brokers that die: npm run test:exact.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { listOffsets, partitionKey } from '../../kafka/offsets.ts';
import { describeProducers } from '../../kafka/producers.ts';
import type { Stack } from '../../stack/stack.ts';
import { randomFrom, seedOf } from '../e2e/support/random.ts';
import { ownStack } from '../support/stack.ts';
import { catchUp, hasCaughtUp, offsetsWritten } from './exact/catch-up.ts';
import { keepsAborted, type MirroredTopic, openClusters } from './exact/clusters.ts';
import { LogWriter } from './exact/log-writer.ts';
import { freezeByTurns, jobOn, MirrorChild } from './exact/mirror-child.ts';
import { compareSlots, countSlots, readSlots } from './exact/slots.ts';
import { transactionalLog } from './exact/transactional-log.ts';
import { joinStacks } from './exact/two-sizes.ts';

const seed = seedOf(process.env.KAFKA_CUTOVER_TEST_SEED);
const random = randomFrom(seed);
const partitions = 3;
/** Some 100 slots a partition. */
const stepsOfLog = 180;
const mirrorsAtOnce = 3;
const freezeMaxMs = 400;
const killsWithOneReplica = 6;
/** Written by one that is killed. */
const slotsPerLifeMax = 60;
const carriedTimeoutMs = 240_000;
/** Below it a frozen mirror never met another one's work. */
const takeoversMin = 4;

const clusters = await openClusters(await stackWithThreeTargetBrokers());
const writer = new LogWriter(clusters);
after(async () => {
  writer.stop();
  await clusters[Symbol.asyncDispose]();
});

it('three mirrors at once, frozen and thawed at random, give every slot its place (three replicas)', async (t) => {
  t.diagnostic(`seed ${seed}`);
  const mirrored = await written(3);
  const mirrors = Array.from({ length: mirrorsAtOnce }, () => startMirror(mirrored));
  const { freezes, failures } = await freezeByTurns(mirrors, {
    random,
    freezeMaxMs,
    timeoutMs: carriedTimeoutMs,
    until: () => hasCaughtUp(clusters, mirrored),
  });
  assert.deepEqual(failures, [], 'no mirror gave up');
  await assertEverySlot(mirrored, t.diagnostic.bind(t));
  const terms = await termsOf(mirrored);
  t.diagnostic(`${freezes} freezes, newest terms ${terms}`);
  assert.ok(terms.reduce((sum, term) => sum + term, 0) >= takeoversMin, 'they took the partitions from each other');
});

it('one mirror at a time, killed at random, gives every slot its place (one replica)', async (t) => {
  t.diagnostic(`seed ${seed}`);
  const mirrored = await written(1);

  const standsAt = () => offsetsWritten(clusters, mirrored);
  const killedAt = new Set<number>();
  for (let kill = 0; kill < killsWithOneReplica; kill++) {
    const mirror = startMirror(mirrored);
    const until = (await standsAt()) + Math.ceil(random() * slotsPerLifeMax);
    while (mirror.running && (await standsAt()) < until && !(await hasCaughtUp(clusters, mirrored)));
    await mirror.kill();
    assert.equal(mirror.failed, undefined, mirror.message);
    killedAt.add(await standsAt());
  }

  await catchUp(clusters, mirrored, { timeoutMs: carriedTimeoutMs });
  assert.ok(killedAt.size > 1, `it was killed on the way: ${[...killedAt]}`);
  await assertEverySlot(mirrored, t.diagnostic.bind(t));
});

const written = (replicationFactor: 1 | 3) =>
  transactionalLog(clusters, writer, { seed, partitions, steps: stepsOfLog, replicationFactor });

const startMirror = (mirrored: MirroredTopic) =>
  new MirrorChild(jobOn(mirrored, { lifeMs: carriedTimeoutMs * 2 }), clusters.stack.env);

async function assertEverySlot({ topic, partitions: of }: MirroredTopic, say: (line: string) => void): Promise<void> {
  const [sourceEnds, targetEnds] = [
    await listOffsets(clusters.source, of, 'logEnd'),
    await listOffsets(clusters.target, of, 'logEnd'),
  ];
  assert.deepEqual(targetEnds, sourceEnds);
  const counts = { records: 0, aborted: 0, markers: 0, holes: 0 };
  for (const { partition } of of) {
    const range = { start: 0n, end: sourceEnds.get(partitionKey(topic, partition)) ?? 0n };
    const wanted = await readSlots(clusters.source, topic, partition, range);
    const found = await readSlots(clusters.target, topic, partition, range);
    assert.deepEqual(compareSlots(wanted, found, { aborted: 'keep' }), []);
    countSlots(wanted, counts);
  }
  say(`slots: ${JSON.stringify(counts)}`);
  assert.ok(counts.markers > 10 && counts.aborted > 10, 'there was enough that needs an owner');
}

/** The newest epoch that each partition has seen of a producer that writes markers. */
async function termsOf({ partitions: of }: MirroredTopic): Promise<number[]> {
  const producers = await describeProducers(clusters.target, of);
  const plain = new Set(of.map(({ producerId }) => producerId));
  return [...producers.values()].map((list) =>
    Math.max(0, ...list.filter(({ producerId }) => !plain.has(producerId)).map(({ epoch }) => epoch)),
  );
}

/** One broker is enough to read from; two stacks, as a stack's clusters are of one size. */
async function stackWithThreeTargetBrokers(): Promise<Stack> {
  const [one, three] = await Promise.all([
    ownStack({ parts: ['source'] }),
    ownStack({ parts: ['target'], brokers: 3, brokerConfig: { target: keepsAborted } }),
  ]);
  const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-ownership-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return joinStacks(one.stack, three.stack, folder);
}
