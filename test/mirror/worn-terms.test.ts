/**
 * Ownership across two events that give an ownership id another producer (mirror/ownership.ts): its 32,767 terms are used up, and its coordinator
 * has forgotten it. Both are brought about in the coordinator's own log, as it writes them itself, and by moving its leader, which makes the
 * next one read it: 32,767 takeovers would take minutes, and forgetting takes 7 days (`transactional.id.expiration.ms`). Apache's consumer judges.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { encodeBatch } from '../../kafka/batches.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { moveLeaders, newestMetadata } from '../../kafka/leadership.ts';
import { writeTxnMarkers } from '../../kafka/markers.ts';
import { partitionKey } from '../../kafka/offsets.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import { createTopic } from '../../kafka/topics.ts';
import { type DescribedTransaction, describeTransactions } from '../../kafka/transactions.ts';
import { pause } from '../../kafka/waiting.ts';
import { rawProduce } from '../../kafka/wire.ts';
import { readOwners } from '../../migration/owners.ts';
import { openStorage } from '../../migration/storage.ts';
import { runAudit } from '../../mirror/audit.ts';
import { type MirrorPartition, runMirror } from '../../mirror/mirror.ts';
import { type Ownership, ownershipId, takeOwnership } from '../../mirror/ownership.ts';
import { readWithJava } from '../../stack/java-tools.ts';
import { ownStack, uniqueName } from '../support/stack.ts';
import { kafkajsOf, makeTopic, mirroredConfigs, offsetsOf, openPair } from './support.ts';

const withinMs = 240_000;
/** Of a producer (TransactionMetadata.isProducerEpochExhausted): the next term begins another one. */
const lastEpoch = 32_766;
const coordinatorsLog = '__transaction_state';
const empty = 0;

const pair = await openPair(ownStack({ parts: ['source', 'target'], brokers: { source: 1, target: 3 } }));
const { source, target } = pair;
// Clients under this name may write to internal topics (KafkaApis.handleProduceRequest).
const coordinator = await Cluster.connect(target.config, { clientId: '__admin_client' });
after(() => coordinator.close());
const directory = mkdtempSync(join(tmpdir(), 'kafka-cutover-worn-terms-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const topic = uniqueName('worn');
const id = ownershipId({ topic, partition: 0 });
const where = [{ topic, partition: 0 }];

it('goes on under another producer when the terms are used up or the id is forgotten, and earlier owners stay out', async () => {
  await makeTopic(source, topic, 1, { 'retention.ms': '-1' });
  await createTopic(target, { name: topic, partitions: 1, replicationFactor: 3, configs: mirroredConfigs });
  const producerId = await allocateProducerId(target);
  const partition: MirrorPartition = { topic, topicId: '', partition: 0, producerId, otherProducerId: null };
  const owners = async () => {
    const known = await readOwners(openStorage({ directory }), 'worn', 'forward', target, where);
    return [...(known.get(partitionKey(topic, 0)) ?? [])];
  };

  await writeTransactions();
  await carry(partition);
  const first = await described();
  assert.deepEqual(await owners(), [first?.producerId]);

  // The last term but one, taken by a mirror that then falls asleep.
  await rewrite(first && { ...first, producerEpoch: lastEpoch - 1 });
  const asleep = await own();
  assert.deepEqual([asleep.producerId, asleep.term], [first?.producerId, lastEpoch]);
  await writeTransactions();
  await carry(partition);
  const second = await described();
  assert.notEqual(second?.producerId, first?.producerId);
  assert.deepEqual(await owners(), [first?.producerId, second?.producerId]);
  await assertShutOut(asleep);

  // Forgotten: the same as a producer that nobody has had yet.
  const asleepToo = await own();
  assert.equal(asleepToo.producerId, second?.producerId);
  await rewrite(undefined);
  await writeTransactions();
  await carry(partition);
  const third = await described();
  assert.ok(third && third.producerId !== second?.producerId);
  assert.deepEqual(await owners(), [first?.producerId, second?.producerId, third.producerId]);
  await assertShutOut(asleepToo);

  const [audited] = await runAudit({
    source,
    target,
    partitions: [{ topic, partition: 0, position: 0n, records: 0, digest: '' }],
    signal: AbortSignal.timeout(withinMs),
    untilCaughtUp: true,
  });
  assert.deepEqual([audited?.position, audited?.differences], [await offsetsOf(source, topic).end(), 0]);
});

/** Markers are between the records, so the mirror needs an owner. */
async function writeTransactions(): Promise<void> {
  const producer = kafkajsOf(source).producer({ transactionalId: topic, maxInFlightRequests: 1, idempotent: true });
  await producer.connect();
  for (let n = 0; n < 4; n++) {
    const transaction = await producer.transaction();
    await transaction.send({
      topic,
      messages: ['a', 'b', 'c'].map((value) => ({ value: `${n}${value}`, partition: 0 })),
    });
    await (n % 2 === 1 ? transaction.abort() : transaction.commit());
  }
  await producer.disconnect();
}

async function carry(partition: MirrorPartition): Promise<void> {
  const signal = AbortSignal.timeout(withinMs);
  await runMirror({ from: source, into: target, partitions: [partition], signal, untilCaughtUp: true });
  const [wanted, found] = await Promise.all(
    ([pair.stack.source, pair.stack.target] as const).map((cluster) => {
      assert.ok(cluster);
      return readWithJava(cluster, 'cutover', topic);
    }),
  );
  assert.ok((wanted?.records.length ?? 0) > 0);
  assert.deepEqual(found, wanted);
}

async function described(): Promise<DescribedTransaction | undefined> {
  return (await describeTransactions(target, [id])).get(id);
}

async function own(): Promise<Ownership> {
  const owner = (await takeOwnership({ into: target }, where)).get(partitionKey(topic, 0));
  assert.ok(owner && 'term' in owner, String(owner));
  return owner;
}

/**
 * What it would still send goes to the leader that it knew, and takes no slot. Its term alone would not stop it, as that was another producer's: so not
 * where leadership has come round to that broker again (ownership.ts, what is left).
 */
async function assertShutOut(owner: Ownership): Promise<void> {
  const known = await newestMetadata(target, where);
  if (known.get(partitionKey(topic, 0))?.leader === owner.leader) await moveLeaders(target, where, known);
  const before = await offsetsOf(target, topic).end();
  const [answer] = await target.call({ broker: owner.leader }, writeTxnMarkers, [
    {
      topic,
      partition: 0,
      producerId: owner.producerId,
      producerEpoch: owner.term,
      coordinatorEpoch: owner.term,
      commit: false,
      count: 1,
    },
  ]);
  assert.notEqual(answer?.errorCode, 0);
  assert.equal(await offsetsOf(target, topic).end(), before);
}

/** Writes the id's state as its coordinator does, or that there is none, and has another broker take the coordinator's part over. */
async function rewrite(state: DescribedTransaction | undefined): Promise<void> {
  const count = (await target.metadata([coordinatorsLog])).topics.get(coordinatorsLog)?.partitions.length ?? 1;
  const place = { topic: coordinatorsLog, partition: Math.abs(javaHash(id)) % count };
  const leading = (await newestMetadata(target, [place])).get(partitionKey(place.topic, place.partition));
  const { bytes } = encodeBatch({
    records: [{ timestamp: BigInt(Date.now()), key: idBytes(id), value: stateBytes(state) }],
  });
  const [answer] = await coordinator.call({ broker: leading?.leader ?? -1 }, rawProduce, {
    timeoutMs: 10_000,
    topics: [{ topic: place.topic, partitions: [{ partition: place.partition, records: [bytes] }] }],
  });
  assert.equal(answer?.errorCode, 0);
  const moved = (await moveLeaders(target, [place], await newestMetadata(target, [place]))).get(
    partitionKey(place.topic, place.partition),
  );
  assert.ok(moved && 'leader' in moved, String(moved));
  const deadline = performance.now() + withinMs;
  while ((await described())?.producerEpoch !== state?.producerEpoch) {
    assert.ok(performance.now() < deadline, 'the new coordinator has not read it');
    await pause(50);
  }
}

/** String.hashCode: what coordinators are chosen by. */
function javaHash(text: string): number {
  let hash = 0;
  for (let at = 0; at < text.length; at++) hash = (Math.imul(hash, 31) + text.charCodeAt(at)) | 0;
  return hash;
}

/** TransactionLogKey v0. */
function idBytes(transactionalId: string): Buffer {
  const text = Buffer.from(transactionalId);
  const head = Buffer.alloc(4);
  head.writeInt16BE(text.length, 2);
  return Buffer.concat([head, text]);
}

/** TransactionLogValue v0: nothing open. */
function stateBytes(state: DescribedTransaction | undefined): Buffer | null {
  if (!state) return null;
  const value = Buffer.alloc(37);
  let at = value.writeInt16BE(0, 0);
  at = value.writeBigInt64BE(state.producerId, at);
  at = value.writeInt16BE(state.producerEpoch, at);
  at = value.writeInt32BE(state.timeoutMs, at);
  at = value.writeInt8(empty, at);
  at = value.writeInt32BE(-1, at);
  at = value.writeBigInt64BE(BigInt(Date.now()), at);
  value.writeBigInt64BE(-1n, at);
  return value;
}
