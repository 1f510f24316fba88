/**
 * Migrations under principals that are no super users and may do what `kafka-cutover acls` lists, nothing else: one there and back, with all
 * that takes a right of its own, one that is finalized, and one that is taken back with its topics.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parsePlan } from '../../contract/plan.ts';
import { type Acl, createAcls, deleteAcls, describeAcls } from '../../kafka/acls.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { commitOffsets, deleteGroupOffsets, fetchOffsets } from '../../kafka/groups.ts';
import { alterQuotas } from '../../kafka/quotas.ts';
import { deleteScramUser, upsertScramUser } from '../../kafka/scram.ts';
import { topicConfigs } from '../../kafka/topics.ts';
import { aclsOf, leastRights } from '../../migration/least-rights.ts';
import { ownStack, uniqueName } from '../support/stack.ts';
import { batchOf, Estate, type Side } from './support/estate.ts';
import { Operator } from './support/operator.ts';

// Rules on all groups, which are made and taken away here, would drop the approvals of every migration beside it.
const { stack, clusters } = await ownStack();
const estate = await Estate.of(stack, clusters);
const base = uniqueName('least');
const password = 'only-for-this-test';
const users = { own: `${base}-own`, forward: `${base}-forward`, reverse: `${base}-reverse` };

const clustersFile = join(mkdtempSync(join(tmpdir(), 'kafka-cutover-least-')), 'clusters.yaml');
const login = (username: string) => ({
  sasl: { mechanism: 'scram-sha-512', username, password: { env: 'LEAST_PASSWORD' } },
});
const entry = (side: Side) => ({
  bootstrap: estate.local(side).bootstrap,
  ...login(users.own),
  forward: login(users.forward),
  reverse: login(users.reverse),
});
const text = JSON.stringify({ legacy: entry('source'), next: entry('target') });
writeFileSync(clustersFile, text);
const env = { LEAST_PASSWORD: password };
const operator = await Operator.at(stack, { clustersFile, env });

const free = { approvals: 0 };
const planOf = (name: string) => ({
  name,
  source: 'legacy',
  target: 'next',
  topics: { include: [`${name}\\..*`] },
  groups: { include: [`${name}-.*`] },
  fence: { transactionWait: '1s' },
  gates: { cutover: { approvals: 1 }, producers: free, consumers: free, finalize: { approvals: 1 }, rollback: free },
  verify: { producersWait: '0s' },
});
const quota = { entity: { user: 'app-writer-1' }, set: { producer_byte_rate: 10_000_000 }, unset: [] };
const plans = {
  back: planOf(`${base}-back`),
  done: { ...planOf(`${base}-done`), finalize: { unfenceSource: true } },
  undone: planOf(`${base}-undone`),
};

const configs = parseClusters(text, clustersFile, env);
const granted: Record<Side, Acl[]> = { source: [], target: [] };
for (const plan of Object.values(plans)) {
  const rights = leastRights(parsePlan(plan), { source: configs.cluster('legacy'), target: configs.cluster('next') });
  for (const side of ['source', 'target'] as const) {
    granted[side].push(...aclsOf(rights.filter((right) => right.side === side && right.granted === 'by you')));
  }
}

async function topicWithRecords(name: string): Promise<{ topic: string; group: string }> {
  const [topic, group] = [`${name}.orders`, `${name}-billing`];
  await estate.createTopic('source', topic, 2, { 'retention.ms': '86400000' });
  await estate.letIn('source', topic, 'app-writer-1', { user: 'app-reader-1', group });
  for (const partition of [0, 1]) await estate.append('source', topic, batchOf(['0', '1', '2', '3']), partition);
  await commitOffsets(
    estate.source,
    group,
    [0, 1].map((partition) => ({ topic, partition, offset: 2n, metadata: null })),
  );
  return { topic, group };
}

const answered = (args: readonly string[]) => operator.answer([...args, '--by', 'kafka-owner']);

describe('under nothing but the rights that are listed', { concurrency: true }, () => {
  before(async () => {
    for (const side of ['source', 'target'] as const) {
      for (const user of Object.values(users)) await upsertScramUser(estate[side], user, password);
      await createAcls(estate[side], granted[side]);
    }
    await operator.startWorker();
  });
  after(async () => {
    await alterQuotas(estate.source, [{ entity: quota.entity, set: {}, unset: ['producer_byte_rate'] }]);
    for (const side of ['source', 'target'] as const) {
      await deleteAcls(estate[side], granted[side]);
      for (const user of Object.values(users)) await deleteScramUser(estate[side], user, 'scram-sha-512');
    }
  });

  it('moves there and back: transactions, partitions that are added, quotas, positions', async () => {
    const plan = plans.back;
    const { name } = plan;
    const { topic, group } = await topicWithRecords(name);
    await alterQuotas(estate.source, [quota]);
    const producer = estate
      .application('source', 'cutover')
      .producer({ transactionalId: `${name}-id`, maxInFlightRequests: 1 });
    await using _ending = { [Symbol.asyncDispose]: () => producer.disconnect() };
    await producer.connect();
    const aborted = await producer.transaction();
    await aborted.send({ topic, messages: [{ value: 'aborted', partition: 0 }] });
    await aborted.abort();

    await operator.answer(['start', operator.plan(plan)]);
    const first = await operator.gate(name, 'cutover');
    assert.deepEqual(
      first.findings.filter(({ code }) => /ACCESS|ABORTED|MARKERS|DENIED/.test(code)),
      [],
    );

    // What people do in the meantime, and what each takes: ALTER on the topic, DELETE on the group, WRITE on the transactional id.
    const admin = estate.application('source', 'cutover').admin();
    await admin.connect();
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
    await admin.disconnect();
    await deleteGroupOffsets(estate.source, group, [{ topic, partition: 1 }]);
    const open = await producer.transaction();
    await open.send({ topic, messages: [{ value: 'open', partition: 0 }] });
    await approvedUntilTaken(name);
    await operator.gate(name, 'finalize');
    assert.deepEqual(await positions('target', group), [`${topic}/0@2`]);
    assert.equal((await estate.ends('target', topic)).length, 3);

    await estate.letIn('target', topic, 'app-writer-1');
    await estate.write('target', 'app-writer-1', topic, ['written on the target']);
    await answered(['rollback', name]);
    await operator.until(name, 'the end', ({ state }) => state === 'rolledBack');
    assert.deepEqual(await operator.ending(name), { outcome: 'rolledBack' });
    const sum = (ends: readonly string[]) => ends.reduce((total, end) => total + Number(end), 0);
    assert.equal(sum(await estate.ends('source', topic)), sum(await estate.ends('target', topic)));
    assert.deepEqual((await operator.status(name)).notUndone, []);
  });

  it('is finalized: retention is what it was, the source is given free, and the mirrors may do nothing any more', async () => {
    const { name } = plans.done;
    const { topic } = await topicWithRecords(name);
    await operator.answer(['start', operator.plan(plans.done)]);
    await operator.gate(name, 'cutover');
    assert.deepEqual([await mirrorRules('source', topic), await mirrorRules('target', topic)].map(Boolean), [
      true,
      true,
    ]);
    await approvedUntilTaken(name);
    await operator.gate(name, 'finalize');
    await answered(['approve', name, 'finalize']);
    await operator.until(name, 'the end', ({ state }) => state === 'completed');
    assert.deepEqual(await operator.ending(name), { outcome: 'completed' });
    assert.deepEqual((await operator.status(name)).notUndone, []);
    assert.deepEqual([await mirrorRules('source', topic), await mirrorRules('target', topic)], [0, 0]);
    const configs = (await topicConfigs(estate.target, [topic])).get(topic);
    assert.equal(configs?.get('retention.ms')?.value, '86400000');
    await estate.write('source', 'app-writer-1', topic, ['free again']);
  });

  it('is aborted with its topics, and leaves no rule of the mirrors behind', async () => {
    const { name } = plans.undone;
    const { topic } = await topicWithRecords(name);
    await operator.answer(['start', operator.plan(plans.undone)]);
    await operator.gate(name, 'cutover');
    assert.equal(await mirrorRules('target', topic), 6);
    await answered(['abort', name, '--remove-target']);
    assert.deepEqual(await operator.ending(name), { outcome: 'aborted' });
    assert.equal((await estate.target.metadata([topic])).topics.has(topic), false);
    assert.equal(await mirrorRules('target', topic), 0);
  });
});

/** Of both mirrors' principals, ALLOW on the topic. */
async function mirrorRules(side: Side, topic: string): Promise<number> {
  const principals = [users.forward, users.reverse].map((user) => `User:${user}`);
  const rules = (await describeAcls(estate[side])).filter(({ permission, resourceName, principal }) => {
    return permission === 'allow' && resourceName === topic && principals.includes(principal);
  });
  return rules.length;
}

/** An approval counts for what the gate shows; what changed since drops it, once. */
async function approvedUntilTaken(name: string): Promise<void> {
  for (let { digest, awaiting } = await operator.status(name); awaiting?.gate === 'cutover'; ) {
    await answered(['approve', name, 'cutover']);
    const seen = digest;
    ({ digest, awaiting } = await operator.until(
      name,
      'the approval to be taken or dropped',
      (status) => status.digest !== seen || status.awaiting?.gate !== 'cutover',
    ));
    if (digest !== seen) ({ digest, awaiting } = await operator.gate(name, 'cutover'));
  }
}

async function positions(side: Side, group: string): Promise<string[]> {
  const found = (await fetchOffsets(estate[side], [group], { requireStable: false })).get(group);
  return [...(found?.values() ?? [])].map((one) => `${one.topic}/${one.partition}@${one.offset}`).sort();
}
