import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Acl, aclKey, describeAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { describeQuotas } from '../../kafka/quotas.ts';
import { topicConfigs } from '../../kafka/topics.ts';
import { applyChange, type Change, describeChange, inverseOf, stateBefore } from '../../migration/change.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';

const { clusters } = await sharedStack();
const name = uniqueName('change');

const acl = (principal: string): Acl => ({
  resourceType: 'topic',
  patternType: 'literal',
  resourceName: name,
  principal,
  host: '*',
  operation: 'write',
  permission: 'deny',
});

test('each change is made once, survives the journal, and is undone exactly', async () => {
  await using source = await Cluster.connect(clusters.cluster('legacy'));
  await using target = await Cluster.connect(clusters.cluster('next'));
  const both = { source, target };
  const journalled = <Value>(value: Value): Value => JSON.parse(JSON.stringify(value)) as Value;
  const make = async (change: Change) => {
    const inverse = journalled(inverseOf(change, journalled(await stateBefore(change, both))));
    assert.equal(await applyChange(journalled(change), both), true, describeChange(change));
    assert.equal(await applyChange(change, both), false, `again: ${describeChange(change)}`);
    return inverse;
  };
  const explicit = async () => {
    const configs = (await topicConfigs(target, [name])).get(name) ?? new Map();
    return Object.fromEntries([...configs].filter(([, e]) => e.source === 'topic').map(([key, e]) => [key, e.value]));
  };
  const create = await make({
    kind: 'create-topic',
    cluster: 'target',
    topic: { name, partitions: 2, replicationFactor: 1, configs: { 'retention.ms': '5', 'segment.bytes': '2000000' } },
  });
  assert.deepEqual(create, { kind: 'delete-topic', cluster: 'target', topic: name });

  const alter = await make({
    kind: 'alter-topic-configs',
    cluster: 'target',
    topic: name,
    set: { 'retention.ms': '-1', 'compression.type': 'producer' },
    unset: ['segment.bytes'],
  });
  assert.deepEqual(await explicit(), { 'retention.ms': '-1', 'compression.type': 'producer' });

  // A rule that the user had is not touched by the inverse of a change that adds it too.
  await applyChange({ kind: 'create-acls', cluster: 'source', acls: [acl('User:had')] }, both);
  const deny = await make({ kind: 'create-acls', cluster: 'source', acls: [acl('User:had'), acl('User:ours')] });
  assert.deepEqual(deny, { kind: 'delete-acls', cluster: 'source', acls: [acl('User:ours')] });

  const quota = await make({
    kind: 'alter-quotas',
    cluster: 'target',
    quotas: [{ entity: { user: name }, set: { producer_byte_rate: 1_000 }, unset: [] }],
  });

  for (const inverse of [quota, deny, alter]) await applyChange(inverse as Change, both);
  assert.deepEqual(await explicit(), { 'retention.ms': '5', 'segment.bytes': '2000000' });
  const left = (await describeAcls(source)).filter((rule) => rule.resourceName === name).map(aclKey);
  assert.deepEqual(left, [aclKey(acl('User:had'))]);
  assert.ok(!(await describeQuotas(target)).some((q) => q.entity.user === name));

  await applyChange(create as Change, both);
  assert.equal((await target.metadata([name])).topics.size, 0);
  await applyChange({ kind: 'delete-acls', cluster: 'source', acls: [acl('User:had')] }, both);
});

test('a topic that was there before us has no inverse that deletes it', () => {
  const change: Change = {
    kind: 'create-topic',
    cluster: 'target',
    topic: { name, partitions: 1, replicationFactor: 1, configs: {} },
  };
  assert.equal(inverseOf(change, { topicExisted: true }), null);
});
