import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Acl, awaitAcls, createAcls, describeAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { createTopic } from '../../kafka/topics.ts';
import { probeAccess } from '../../migration/access.ts';
import { mayDo } from '../../migration/authorizer.ts';
import { aclsOrNull } from '../../migration/inventory.ts';
import { ownStack } from '../support/stack.ts';

// The target allows everybody what no rule speaks about; the source has no authorizer at all.
const { clusters } = await ownStack({
  parts: ['source', 'target'],
  brokerConfig: {
    source: { 'authorizer.class.name': '' },
    target: { 'allow.everyone.if.no.acl.found': 'true' },
  },
});

const rule = (resourceType: Acl['resourceType'], resourceName: string, principal: string): Acl => ({
  resourceType,
  patternType: 'literal',
  resourceName,
  principal,
  host: '*',
  operation: 'describe',
  permission: 'allow',
});

test('a cluster without an authorizer is told apart from one without rules', async () => {
  await using cluster = await Cluster.connect(clusters.cluster('legacy'));
  await assert.rejects(describeAcls(cluster), { code: 'ACL_AUTHORIZER_ABSENT' });
  assert.equal(await aclsOrNull(cluster), null);
  const access = await probeAccess(cluster, null);
  assert.deepEqual(access.superUser, { own: null, forward: null, reverse: null });
});

test('allow.everyone.if.no.acl.found is found out by asking, though brokers hide it', async () => {
  await using cluster = await Cluster.connect(clusters.cluster('next'));
  assert.deepEqual(await describeAcls(cluster), []);
  // Nothing speaks about anything: super users cannot be told apart.
  const before = await probeAccess(cluster, []);
  assert.deepEqual([before.allowEveryone, before.superUser.forward], [null, null]);

  const acls = [rule('cluster', 'kafka-cluster', 'User:somebody')];
  await createAcls(cluster, acls);
  await awaitAcls(cluster, { present: acls });
  const access = await probeAccess(cluster, acls);
  assert.deepEqual(access.superUser, { own: true, forward: false, reverse: false });
  assert.equal(access.allowEveryone, true);
});

test('the first rule about a topic closes it for everybody else, as the model says', async () => {
  await using admin = await Cluster.connect(clusters.cluster('next'));
  await using mirror = await Cluster.connect(clusters.cluster('next'), { as: 'forward' });
  await createTopic(admin, { name: 'open', partitions: 1, replicationFactor: 1, configs: {} });
  const sees = async () => (await mirror.metadata(['open'])).topics.has('open');
  const model = (acls: readonly Acl[]) =>
    mayDo({ acls, allowEveryone: true }, 'User:mirror-forward', '127.0.0.1', 'describe', {
      type: 'topic',
      name: 'open',
    });
  assert.deepEqual([await sees(), model([])], [true, true]);

  const acls = [rule('topic', 'open', 'User:somebody')];
  await createAcls(admin, acls);
  await awaitAcls(admin, { present: acls });

  assert.deepEqual([await sees(), model(acls)], [false, false]);
});

test('a super user is known by a topic that rules close to it, where no mirror has a login of its own', async () => {
  const alone = { ...clusters.cluster('next'), hasOwnPrincipal: { forward: false, reverse: false } };
  await using cluster = await Cluster.connect(alone);
  const access = await probeAccess(cluster, [rule('topic', 'orders', 'User:somebody')]);
  assert.deepEqual([access.superUser.own, access.allowEveryone], [true, null]);
  const unclosed = await probeAccess(cluster, [rule('topic', 'orders', 'User:cutover')]);
  assert.equal(unclosed.superUser.own, null);
});
