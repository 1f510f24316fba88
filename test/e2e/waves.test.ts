/**
 * A plan of two waves on real clusters: the second moves while the first can still go back, the first goes back alone, and what
 * waves would tear apart is refused before anything is changed.
 */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { describeAcls } from '../../kafka/acls.ts';
import { commitOffsets, fetchOffsets } from '../../kafka/groups.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { Estate, type Side } from './support/estate.ts';
import { Operator, type RunOptions, withoutTemporal } from './support/operator.ts';
import { waitFor } from './support/waiting.ts';

const { stack, clusters } = await sharedStack();
const estate = await Estate.of(stack, clusters);
const operator = await Operator.at(stack);

before(() => operator.startWorker());

const free = { approvals: 0 };
const literally = (name: string) => name.replaceAll('.', '\\.');

/** Two topics, and a group for each; the second reads both. */
async function estateFor(prefix: string) {
  const name = uniqueName(prefix);
  const [orders, payments] = [`${name}.orders`, `${name}.payments`];
  const [billing, audit] = [`${name}-billing`, `${name}-audit`];
  for (const topic of [orders, payments]) {
    await estate.createTopic('source', topic, 1);
    await estate.letIn('source', topic, 'app-writer-1');
    await estate.write('source', 'app-writer-1', topic, ['0', '1', '2', '3']);
  }
  await estate.letIn('source', orders, 'app-writer-1', { user: 'app-reader-1', group: billing });
  for (const topic of [orders, payments])
    await estate.letIn('source', topic, 'app-writer-1', { user: 'app-reader-1', group: audit });
  await commit(billing, orders, 2n);
  await commit(audit, orders, 3n);
  await commit(audit, payments, 1n);
  const file = operator.plan({
    name,
    source: 'legacy',
    target: 'next',
    topics: { include: [`${literally(name)}\\..*`] },
    waves: [
      { name: 'orders', topics: { include: [literally(orders)] } },
      { name: 'payments', topics: { include: [literally(payments)] } },
    ],
    gates: { cutover: { approvals: 1 }, producers: free, consumers: free, finalize: { approvals: 1 } },
    verify: { producersWait: '0s' },
  });
  return { name, orders, payments, billing, audit, file };
}

const commit = (group: string, topic: string, offset: bigint) =>
  commitOffsets(estate.source, group, [{ topic, partition: 0, offset, metadata: null }]);

async function positions(side: Side, group: string): Promise<string[]> {
  const found = (await fetchOffsets(estate[side], [group], { requireStable: false })).get(group);
  return [...(found?.values() ?? [])].map(({ topic, offset }) => `${topic.split('.').at(-1)}@${offset}`).sort();
}

const mayWrite = (side: Side, topic: string) => estate.mayWrite(side, 'app-writer-1', topic);

const sides = async (topic: string) => ({
  source: await mayWrite('source', topic),
  target: await mayWrite('target', topic),
});
const answered = (args: readonly string[]) => operator.answer([...args, '--by', 'kafka-owner']);

describe('a plan of two waves', { concurrency: true }, () => {
  it('moves them one after the other, and takes one back while the other stays', async () => {
    const { name, orders, payments, billing, audit, file } = await estateFor('waves');
    await operator.answer(['start', file]);
    await operator.gate(name, 'cutover');
    assert.equal(
      (await estate.target.metadata([payments])).topics.has(payments),
      false,
      'not prepared before its turn',
    );
    await answered(['approve', name, 'cutover', '--wave', 'orders']);

    const second = await operator.until(name, 'payments waits for its cutover', ({ gates }) =>
      gates.some(({ gate, wave }) => gate === 'cutover' && wave === 'payments'),
    );
    assert.deepEqual(second.sourceOfTruth, { orders: 'target', payments: 'source' });
    assert.match(second.waves[0]?.proof ?? '', /^legacy closed: \d+ rules seen on \d+ brokers, 1 log ends still/);
    assert.deepEqual(await sides(orders), { source: false, target: true });
    assert.deepEqual(await sides(payments), { source: true, target: false });
    assert.deepEqual(await positions('target', billing), ['orders@2']);

    await answered(['approve', name, 'cutover', '--wave', 'payments']);
    await operator.until(
      name,
      'both can be finalized',
      ({ gates }) => gates.filter(({ gate }) => gate === 'finalize').length === 2,
    );
    assert.deepEqual(await sides(payments), { source: false, target: true });
    // Of the topic that moved before as well.
    assert.deepEqual(await positions('target', audit), ['orders@3', 'payments@1']);

    const refusal = await operator.answer(['rollback', name, '--by', 'kafka-owner'], 3);
    assert.match(JSON.stringify(refusal), /orders, payments/);
    await answered(['rollback', name, '--wave', 'orders']);
    const back = await operator.until(name, 'orders is back', ({ waves }) => waves[0]?.state === 'rolledBack');
    assert.deepEqual(back.sourceOfTruth, { orders: 'source', payments: 'target' });
    assert.deepEqual(await sides(orders), { source: true, target: false });
    assert.deepEqual(await sides(payments), { source: false, target: true });

    // From the clusters alone, and compared with the workflow where it answers.
    const proven = async (options: RunOptions) => {
      const answer = await operator.answer(['status', name, '--prove'], 0, options);
      const waves = answer.waves as { sourceOfTruth: string; workflow: string | null; problems: string[] }[];
      return [answer.proven, ...waves.map((wave) => `${wave.sourceOfTruth} ${wave.workflow} ${wave.problems}`)];
    };
    assert.deepEqual(await proven(withoutTemporal), [true, 'source null ', 'target null ']);
    assert.deepEqual(await proven({}), [true, 'source source ', 'target target ']);

    await answered(['approve', name, 'finalize']);
    assert.deepEqual(await operator.ending(name), { outcome: 'rolledBack' });
    const report = await operator.answer(['report', name]);
    assert.equal(report.outcome, 'rolledBack');
    // The record that was written on the target is on the source at its offset, with what came after it.
    const [ends] = await estate.ends('source', orders);
    assert.ok(Number(ends) >= 6, `${ends} records`);
  });

  it('is refused where a transaction, or a topic, would be torn apart', async () => {
    const { name, orders, payments, file } = await estateFor('torn');
    const producer = estate.application('source', 'cutover').producer({
      transactionalId: `tx-${name}`,
      idempotent: true,
      maxInFlightRequests: 1,
    });
    try {
      await producer.connect();
      const transaction = await producer.transaction();
      for (const topic of [orders, payments]) await transaction.send({ topic, messages: [{ value: 'x' }] });
      await transaction.commit();
    } finally {
      await producer.disconnect();
    }
    await estate.createTopic('source', `${name}.refunds`, 1);

    const { findings } = (await operator.answer(['plan', file], 3)) as unknown as {
      findings: { code: string; message: string }[];
    };
    const said = (code: string) => findings.filter((found) => found.code === code).map(({ message }) => message);
    assert.deepEqual(said('TRANSACTION_ACROSS_WAVES'), [
      `it writes ${orders} (wave orders), ${payments} (wave payments)`,
    ]);
    assert.deepEqual(said('PLAN_INVALID'), [`topic ${name}.refunds is in no wave`]);
    assert.equal(said('GROUP_AFTER_TOPICS').length, 1);
  });
});

describe('groups that move later than the producers', () => {
  it('read on on the source what is written to the target, and are handed over when people say so', async () => {
    const name = uniqueName('later');
    const [topic, group] = [`${name}.orders`, `${name}-billing`];
    await estate.createTopic('source', topic, 1);
    await estate.letIn('source', topic, 'app-writer-1', { user: 'app-reader-1', group });
    await estate.write('source', 'app-writer-1', topic, ['0', '1']);
    const file = operator.plan({
      name,
      source: 'legacy',
      target: 'next',
      topics: { include: [literally(topic)] },
      groups: { include: [group] },
      consumers: { switch: 'manual', when: 'later' },
      gates: { cutover: free, producers: free, finalize: { approvals: 1 } },
      verify: { producersWait: '0s' },
    });
    const seen: string[] = [];
    const reading = estate.application('source', 'app-reader-1').consumer({ groupId: group });
    try {
      await reading.connect();
      await reading.subscribe({ topic, fromBeginning: true });
      await reading.run({ eachMessage: async ({ message }) => void seen.push(String(message.value)) });
      await operator.answer(['start', file]);
      const waiting = await operator.gate(name, 'consumers');
      assert.equal(waiting.sourceOfTruth.all, 'target');
      assert.match(waiting.awaiting?.facts.join() ?? '', /the groups read on on legacy/);
      await estate.write('target', 'app-writer-1', topic, ['2']);
      await waitFor('the group to read on the source what was written to the target', 60_000, () => seen.includes('2'));
    } finally {
      await reading.disconnect();
    }
    assert.deepEqual(seen, ['0', '1', '2']);
    await answered(['approve', name, 'consumers']);
    await operator.gate(name, 'finalize');
    assert.deepEqual(await positions('target', group), ['orders@3']);
    // One home: the source keeps its members out from now on.
    const denied = (await describeAcls(estate.source)).filter(
      (acl) => acl.resourceName === group && acl.permission === 'deny',
    );
    assert.ok(denied.length > 0);
    await answered(['approve', name, 'finalize']);
    assert.deepEqual(await operator.ending(name), { outcome: 'completed' });
  });
});
