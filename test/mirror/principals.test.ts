/** Ownership at replication factor 1, where no leader can be moved: earlier owners are denied. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Acl, aclKey, createAcls, describeAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import type { ClusterConfig } from '../../kafka/clusters.ts';
import { writeTxnMarkers } from '../../kafka/markers.ts';
import { allocateProducerId } from '../../kafka/producers.ts';
import { upsertScramUser } from '../../kafka/scram.ts';
import { runMirror } from '../../mirror/mirror.ts';
import { type MirrorPrincipal, MirrorPrincipals, restingAcls } from '../../mirror/principals.ts';
import { uniqueName } from '../support/stack.ts';
import {
  append,
  assertEqualRecords,
  createTopicPair,
  leaderOf,
  offsetsOf,
  openPair,
  readRecords,
  variedRecords,
} from './support.ts';

const clusterAuthorizationFailed = 31;
const pair = await openPair();
const names = Array.from({ length: 3 }, () => uniqueName('owner'));

function configFor(username: string): ClusterConfig {
  const { config } = pair.target;
  const sasl = { mechanism: 'scram-sha-512', username, password: 'secret-of-a-test' } as const;
  return { ...config, credentials: { ...config.credentials, own: { ...config.credentials.own, sasl } } };
}

const principals: MirrorPrincipal[] = names.map((name) => ({
  name: `User:${name}`,
  connect: () => Cluster.connect(configFor(name)),
}));

const opened: MirrorPrincipals[] = [];
after(async () => {
  for (const pool of opened) await pool.close();
});
function pool(restMs = 0): MirrorPrincipals {
  const made = new MirrorPrincipals({ admin: pair.target, principals, restMs });
  opened.push(made);
  return made;
}

before(async () => {
  const allow = (principal: string, rule: Omit<Acl, 'principal' | 'host' | 'permission' | 'patternType'>): Acl => ({
    ...rule,
    patternType: 'literal',
    principal,
    host: '*',
    permission: 'allow',
  });
  for (const name of names) {
    await upsertScramUser(pair.target, name, 'secret-of-a-test');
    const principal = `User:${name}`;
    await createAcls(pair.target, [
      allow(principal, { resourceType: 'cluster', resourceName: 'kafka-cluster', operation: 'alter' }),
      allow(principal, { resourceType: 'topic', resourceName: '*', operation: 'write' }),
      allow(principal, { resourceType: 'topic', resourceName: '*', operation: 'describe' }),
      allow(principal, { resourceType: 'transactional-id', resourceName: '*', operation: 'write' }),
    ]);
  }
});

/** Who may write markers, by what brokers say when asked to write one to a topic that does not exist. */
async function mayWriteMarkers(name: string): Promise<boolean> {
  await using cluster = await Cluster.connect(configFor(name));
  const marker = { topic: uniqueName('none'), partition: 0, producerId: 1n, producerEpoch: 0, coordinatorEpoch: 0 };
  const [broker] = cluster.brokers;
  const [answer] = await cluster.call({ broker: broker?.id ?? -1 }, writeTxnMarkers, [
    { ...marker, commit: false, count: 1 },
  ]);
  return answer?.errorCode !== clusterAuthorizationFailed;
}

describe('mirror principals', () => {
  it('are denied, all but the one in use', async () => {
    const rotation = pool();
    for (let turn = 0; turn < 4; turn++) {
      const { config } = await rotation.rotate();
      const inUse = config.credentials.own.sasl?.username;
      const may = [];
      for (const name of names) if (await mayWriteMarkers(name)) may.push(name);
      assert.deepEqual(may, [inUse]);
    }
    assert.equal(rotation.generation, 4);
  });

  it('shut out a mirror that wakes up late', async () => {
    const sleeper = pool();
    const asSleeper = await sleeper.rotate();
    await pool().rotate();

    const { topic } = await createTopicPair(pair);
    const [answer] = await asSleeper.call({ broker: await leaderOf(pair.target, topic) }, writeTxnMarkers, [
      { topic, partition: 0, producerId: 1n, producerEpoch: 0, coordinatorEpoch: 0, commit: false, count: 1 },
    ]);

    assert.equal(answer?.errorCode, clusterAuthorizationFailed);
    assert.equal(await offsetsOf(pair.target, topic).end(), 0n);
  });

  it('come back only after they have rested', async () => {
    const rotation = pool(600_000);
    for (const _ of names) await rotation.rotate();
    await assert.rejects(rotation.rotate(), { code: 'MIRROR_PRINCIPALS_RESTING', message: /3 mirrorPrincipals/ });
    const rules = (await describeAcls(pair.target)).map(aclKey);
    const resting = names.filter((name) => restingAcls(`User:${name}`).every((acl) => rules.includes(aclKey(acl))));
    assert.equal(resting.length, 2, 'the last one in use keeps its right until another takes its place');
  });

  it('carry markers for mirrors that take the same log from each other', async () => {
    const { topic, partitions } = await createTopicPair(pair);
    const producerId = await allocateProducerId(pair.source);
    const [leader] = pair.source.brokers;
    for (let n = 0; n < 10; n++) {
      await append(pair.source, topic, 0, { records: variedRecords(3, n * 3) });
      const marker = { topic, partition: 0, producerId, producerEpoch: 0, coordinatorEpoch: 0, commit: n % 2 === 0 };
      await pair.source.call({ broker: leader?.id ?? -1 }, writeTxnMarkers, [{ ...marker, count: 1 + (n % 3) }]);
    }
    const run = () =>
      runMirror({
        from: pair.source,
        into: pair.target,
        partitions,
        untilCaughtUp: true,
        signal: AbortSignal.timeout(90_000),
        principals: pool(),
      });

    await Promise.all([run(), run()]);

    assert.equal(await offsetsOf(pair.target, topic).end(), await offsetsOf(pair.source, topic).end());
    assertEqualRecords(await readRecords(pair.target, topic), await readRecords(pair.source, topic));
  });
});
