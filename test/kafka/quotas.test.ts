import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cluster } from '../../kafka/cluster.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { alterQuotas, describeQuotas, quotaKey } from '../../kafka/quotas.ts';
import { deleteScramUser, describeScramUsers, upsertScramUser } from '../../kafka/scram.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';

const { clusters } = await sharedStack();

for (const name of ['legacy', 'next']) {
  test(`${name}: quotas of users, client ids and defaults are set, read and removed`, async () => {
    await using cluster = await Cluster.connect(clusters.cluster(name));
    const user = `${uniqueName('quotas')} ä/%`;
    const entities = [{ user }, { user, clientId: null }, { user, clientId: 'c' }, { ip: '203.0.113.7' }];
    const key = (i: number) => (i === 3 ? 'connection_creation_rate' : 'producer_byte_rate');
    await alterQuotas(
      cluster,
      entities.map((entity, i) => ({ entity, set: { [key(i)]: 1_000 + i }, unset: [] })),
    );
    const wanted = entities.map(quotaKey);
    const ours = async () => (await describeQuotas(cluster)).filter((quota) => wanted.includes(quotaKey(quota.entity)));
    assert.deepEqual(
      Object.fromEntries((await ours()).map((quota) => [quotaKey(quota.entity), quota.values])),
      Object.fromEntries(entities.map((entity, i) => [quotaKey(entity), { [key(i)]: 1_000 + i }])),
    );
    await alterQuotas(
      cluster,
      entities.map((entity, i) => ({ entity, set: {}, unset: [key(i)] })),
    );
    assert.deepEqual(await ours(), []);
  });

  test(`${name}: a SCRAM user that we create can log in, is listed without its secret, and is deleted`, async () => {
    const config = clusters.cluster(name);
    await using cluster = await Cluster.connect(config);
    const user = uniqueName('scram');
    await upsertScramUser(cluster, user, 'pässword', 'scram-sha-256');
    assert.deepEqual((await describeScramUsers(cluster)).get(user), [
      { mechanism: 'scram-sha-256', iterations: 4_096 },
    ]);

    const login = (password: string) => {
      const sasl = `{ mechanism: scram-sha-256, username: ${user}, password: { env: P } }`;
      const file = parseClusters(`x: { bootstrap: "${config.bootstrap[0]}", sasl: ${sasl} }`, 'test', { P: password });
      return Cluster.connect(file.cluster('x'));
    };
    await (await login('pässword')).close();
    await assert.rejects(login('wrong'), { code: 'CLUSTER_AUTH_FAILED' });

    await deleteScramUser(cluster, user, 'scram-sha-512');
    assert.equal((await describeScramUsers(cluster)).get(user)?.length, 1, 'the other mechanism stays');
    await deleteScramUser(cluster, user, 'scram-sha-256');
    assert.equal((await describeScramUsers(cluster)).has(user), false);
  });
}
