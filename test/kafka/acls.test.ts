import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Acl, aclKey, awaitAcls, createAcls, deleteAcls, describeAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { upsertScramUser } from '../../kafka/scram.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';

const { clusters } = await sharedStack();

for (const name of ['legacy', 'next']) {
  test(`${name}: deletes exactly the named rules and counts each once`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    const resourceName = uniqueName('acls');
    const rule = (over: Partial<Acl>): Acl => ({
      resourceType: 'topic',
      patternType: 'literal',
      resourceName,
      principal: 'User:CN=ö, "O"',
      host: '*',
      operation: 'write',
      permission: 'deny',
      ...over,
    });
    const rules = [
      rule({}),
      rule({ patternType: 'prefixed' }),
      rule({ permission: 'allow', host: '10.0.0.1', operation: 'all' }),
      rule({ resourceType: 'group', operation: 'read' }),
      rule({ resourceType: 'transactional-id', operation: 'describe' }),
      rule({ resourceType: 'user', operation: 'describe-tokens' }),
    ];
    await createAcls(cluster, rules);
    await createAcls(cluster, rules);
    await awaitAcls(cluster, { present: rules });
    const ours = async () =>
      (await describeAcls(cluster)).filter((acl) => acl.resourceName === resourceName).map(aclKey);
    assert.deepEqual(await ours(), rules.map(aclKey).sort());

    assert.equal(await deleteAcls(cluster, [rule({}), rule({})]), 1);
    await awaitAcls(cluster, { present: rules.slice(1), absent: [rule({})] });
    assert.equal((await ours()).length, rules.length - 1);
    assert.equal(await deleteAcls(cluster, rules), rules.length - 1);
    await awaitAcls(cluster, { absent: rules });
  });

  test(`${name}: says which broker lacks which rule`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    const acl: Acl = {
      resourceType: 'topic',
      patternType: 'literal',
      resourceName: 'no-such-rule',
      principal: 'User:a',
      host: '*',
      operation: 'write',
      permission: 'deny',
    };
    await assert.rejects(awaitAcls(cluster, { present: [acl] }, { timeoutMs: 50 }), {
      message: /broker 1 does not show: deny write topic "no-such-rule" for User:a from \*/,
    });
  });

  test(`${name}: refuses a principal that may not see the rules`, async () => {
    await using admin = await Cluster.connect(clusters.cluster(name));
    const username = uniqueName('nobody');
    await upsertScramUser(admin, username, 'secret-of-a-test');
    const { config } = admin;
    const sasl = { mechanism: 'scram-sha-512', username, password: 'secret-of-a-test' } as const;
    const credentials = { ...config.credentials, own: { ...config.credentials.own, sasl } };
    await using cluster = await Cluster.connect({ ...config, credentials });
    await assert.rejects(describeAcls(cluster), { code: 'CLUSTER_ACCESS_DENIED' });
  });
}
