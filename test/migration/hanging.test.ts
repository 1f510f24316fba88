/** Transactions that partitions hold open and no coordinator knows; on a stack of its own, whose brokers take them. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { parsePlan } from '../../contract/plan.ts';
import { encodeBatch } from '../../kafka/batches.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import { rawProduce } from '../../kafka/wire.ts';
import { takeInventory } from '../../migration/inventory.ts';
import { gatherFacts } from '../../migration/preflight/facts.ts';
import { findFindings } from '../../migration/preflight.ts';
import { endTransactions, holdingFindings, holdingTransactions } from '../../migration/transactions.ts';
import { leaderOf, makeTopic } from '../mirror/support.ts';
import { ownStack, uniqueName } from '../support/stack.ts';

const { clusters } = await ownStack({
  parts: ['source'],
  brokerConfig: { source: { 'transaction.partition.verification.enable': 'false' } },
});
const transactional = 0x10;

it('a transaction that no coordinator knows is said to hold its partition, and refused at the fence', async () => {
  await using source = await Cluster.connect(clusters.cluster('legacy'));
  const topic = uniqueName('hanging');
  await makeTopic(source, topic, 2, {});
  const partitions = [0, 1].map((partition) => ({ topic, partition }));
  const producerId = await allocateProducerId(source);
  const records = [{ timestamp: BigInt(Date.now() - 60_000), key: null, value: Buffer.from('a') }];
  const { bytes } = encodeBatch({ records, attributes: transactional, producerId, baseSequence: 0 });
  const [written] = await source.call({ broker: await leaderOf(source, topic, 1) }, rawProduce, {
    timeoutMs: 10_000,
    transactionalId: topic,
    topics: [{ topic, partitions: [{ partition: 1, records: [bytes] }] }],
  });
  assert.equal(written?.errorCode, 0, written?.errorMessage ?? '');

  const found = await holdingTransactions(source, partitions);
  // No target is needed to read the source, so it is its own.
  const plan = parsePlan({ name: 'hanging', source: 'legacy', target: 'next', topics: { include: [topic] } });
  const inventory = await takeInventory(source, source, plan);
  const facts = await gatherFacts(source, source, inventory, { measure: false });
  const ending = endTransactions(source, partitions, { waitMs: 0, deadlineMs: Date.now() + 20_000 });

  assert.deepEqual(
    found.map((t) => [t.transactionalId, t.producerId, t.partitions]),
    [[null, producerId, [`${topic}/1`]]],
  );
  assert.match(
    holdingFindings(found)[0]?.message ?? '',
    new RegExp(
      `^a transaction \\(producer ${producerId}\\) is unknown to any coordinator that we may ask since \\d+ s;`,
    ),
  );
  const told = findFindings(inventory, plan, facts).filter(({ code }) => code === 'HANGING_TRANSACTION');
  assert.deepEqual(
    told.map(({ where, message }) => [where, message]),
    [[`partition ${topic}/1`, `producer ${producerId}, open since offset 0; no coordinator that we may ask knows it`]],
  );
  await assert.rejects(ending, {
    code: 'TRANSACTION_STUCK',
    message: new RegExp(`${topic}/1: producer ${producerId}`),
  });
});
