import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Acl, aclKey } from '../../kafka/acls.ts';
import {
  aclsLeftOut,
  carriedAcls,
  deniedToUs,
  fenceAcls,
  mayWriteMarkers,
  mirrorAcls,
  missingAcls,
  type OurPrincipals,
  ownershipAcls,
  protectionAcls,
  shutOutAcls,
} from '../../migration/acls.ts';
import { mayDo, readersOf, writersOf } from '../../migration/authorizer.ts';
import { ownershipId } from '../../mirror/ownership.ts';

const ours: OurPrincipals = { own: 'User:cutover', forward: 'User:forward', reverse: 'User:reverse' };
const moved = { topics: ['orders.a', 'orders.b'], groups: ['orders-app'] };
const noMapping = { principals: [] };
const both = { forward: true, reverse: true };

function acl(principal: string, operation: Acl['operation'], over: Partial<Acl> = {}): Acl {
  return {
    resourceType: 'topic',
    patternType: 'literal',
    resourceName: 'orders.a',
    principal,
    host: '*',
    operation,
    permission: 'allow',
    ...over,
  };
}
const keys = (acls: readonly Acl[]) => acls.map(aclKey);

test('carries rules by name and by prefix as they are, and those on everything only for what moves', () => {
  const acls = [
    acl('User:a', 'write'),
    acl('User:a', 'read', { patternType: 'prefixed', resourceName: 'orders.' }),
    acl('User:a', 'describe', { resourceName: '*' }),
    acl('User:a', 'read', { resourceType: 'group', resourceName: '*' }),
    acl('User:a', 'write', { resourceName: 'payments' }),
    acl('User:a', 'read', { patternType: 'prefixed', resourceName: 'payments.' }),
    acl('User:b', 'write', { permission: 'deny', host: '10.0.0.1' }),
  ];
  assert.deepEqual(keys(carriedAcls({ acls }, moved, noMapping, ours)), [
    'allow describe topic "orders.a" for User:a from *',
    'allow describe topic "orders.b" for User:a from *',
    'allow read group "orders-app" for User:a from *',
    'allow read topic prefixed "orders." for User:a from *',
    'allow write topic "orders.a" for User:a from *',
    'deny write topic "orders.a" for User:b from 10.0.0.1',
  ]);
});

test('carries transactional ids of writers only, maps principals, and leaves our own rules out', () => {
  const acls = [
    acl('User:a', 'write'),
    acl('User:a', 'write', { resourceType: 'transactional-id', resourceName: 'tx', patternType: 'prefixed' }),
    acl('User:a', 'idempotent-write', { resourceType: 'cluster', resourceName: 'kafka-cluster' }),
    acl('User:a', 'alter', { resourceType: 'cluster', resourceName: 'kafka-cluster' }),
    acl('User:b', 'read'),
    acl('User:b', 'write', { resourceType: 'transactional-id', resourceName: 'other' }),
    acl('User:forward', 'read'),
  ];
  const plan = { principals: [{ source: 'User:a', target: 'User:A' }] };
  assert.deepEqual(keys(carriedAcls({ acls }, moved, plan, ours)), [
    'allow idempotent-write cluster "kafka-cluster" for User:A from *',
    'allow read topic "orders.a" for User:b from *',
    'allow write topic "orders.a" for User:A from *',
    'allow write transactional-id prefixed "tx" for User:A from *',
  ]);
});

test('carries what principals with rights may see of the cluster and what is denied to them there; their rights on users as far as these move', () => {
  const cluster = { resourceType: 'cluster', resourceName: 'kafka-cluster' } as const;
  const acls = [
    acl('User:a', 'read'),
    acl('User:b', 'read'),
    acl('User:a', 'describe', cluster),
    acl('User:a', 'create', { ...cluster, permission: 'deny' }),
    acl('User:a', 'describe-tokens', { resourceType: 'user', resourceName: '*' }),
    acl('User:a', 'describe', { resourceType: 'delegation-token', resourceName: '*' }),
    acl('User:stranger', 'describe', cluster),
    acl('User:stranger', 'create-tokens', { resourceType: 'user', resourceName: 'User:a' }),
  ];
  const left = [
    acl('User:a', 'alter', cluster),
    acl('User:a', 'all', cluster),
    acl('User:a', 'create', cluster),
    acl('User:a', 'create-tokens', { resourceType: 'user', resourceName: 'User:stranger' }),
    acl('User:a', 'describe', { resourceType: 'delegation-token', resourceName: 'token-1' }),
  ];
  const plan = { principals: [{ source: 'User:b', target: 'User:B' }] };
  const rules = { acls: [...acls, ...left, acl('User:stranger', 'alter', cluster)] };
  assert.deepEqual(keys(carriedAcls(rules, moved, plan, ours)), [
    'allow describe cluster "kafka-cluster" for User:a from *',
    'allow describe delegation-token "*" for User:a from *',
    'allow describe-tokens user "User:B" for User:a from *',
    'allow describe-tokens user "User:a" for User:a from *',
    'allow read topic "orders.a" for User:B from *',
    'allow read topic "orders.a" for User:a from *',
    'deny create cluster "kafka-cluster" for User:a from *',
  ]);
  assert.deepEqual(keys(aclsLeftOut(rules, moved, plan, ours)), keys(left).sort());
});

test('the fence leaves nobody who may write, removes nothing, and spares the mirrors', () => {
  const rules = {
    acls: [
      acl('User:a', 'write'),
      acl('User:b', 'all', { patternType: 'prefixed', resourceName: 'ord' }),
      acl('User:reader', 'read'),
      acl('User:reverse', 'write'),
    ],
  };
  const fence = fenceAcls(rules, moved.topics, { principals: [], exempt: ours });
  assert.deepEqual(keys(fence.acls), [
    'deny write topic "orders.a" for User:a from *',
    'deny write topic "orders.a" for User:b from *',
    'deny write topic "orders.b" for User:b from *',
  ]);
  const fenced = { acls: [...rules.acls, ...fence.acls] };
  assert.deepEqual(writersOf(fenced, 'orders.a').named, ['User:reverse']);
  assert.ok(mayDo(fenced, 'User:reader', '10.0.0.1', 'read', { type: 'topic', name: 'orders.a' }));
});

test('the fence names topics that it cannot close by name, and closes them for those that the plan names', () => {
  const rules = { acls: [acl('User:*', 'write')] };
  assert.deepEqual(fenceAcls(rules, moved.topics, { principals: [], exempt: ours }).openEnded, ['orders.a']);
  const named = fenceAcls(rules, moved.topics, { principals: ['User:x', 'User:y'], exempt: ours });
  assert.deepEqual(named.openEnded, []);
  assert.deepEqual(keys(named.acls), [
    'deny write topic "orders.a" for User:x from *',
    'deny write topic "orders.a" for User:y from *',
  ]);
});

test('everybody is denied at once only where that is asked for', () => {
  const rules = { acls: [acl('User:*', 'write')] };
  const fence = fenceAcls(rules, ['orders.a'], { principals: [], exempt: ours, denyEverybody: true });
  assert.deepEqual(keys(fence.acls), ['deny write topic "orders.a" for User:* from *']);
  assert.deepEqual(fence.openEnded, []);
});

test('the protected target refuses writers and group members, and lets the forward mirror write', () => {
  const applications = [
    acl('User:a', 'write'),
    acl('User:a', 'read', { resourceType: 'group', resourceName: 'orders-app' }),
  ];
  const mirror = mirrorAcls('target', { acls: [] }, moved.topics, ours, both);
  const rules = { acls: [...applications, ...mirror] };
  const protection = protectionAcls(rules, moved, { principals: [], exempt: ours });
  const all = { acls: [...rules.acls, ...protection.acls] };
  assert.deepEqual(writersOf(all, 'orders.a'), { named: ['User:forward'], everybody: false });
  assert.deepEqual(readersOf(all, 'orders-app'), { named: [], everybody: false });

  const closed = { acls: [...all.acls, ...shutOutAcls('User:forward', moved.topics, 'User:own')] };
  assert.deepEqual(writersOf(closed, 'orders.a').named, []);
  assert.ok(!mayDo(closed, 'User:forward', '*', 'delete', { type: 'topic', name: 'orders.b' }));
});

test('mirrors get what their direction needs, and nothing that they have already', () => {
  const onSource = mirrorAcls('source', { acls: [] }, ['orders.a'], ours, both);
  assert.deepEqual(keys(onSource), [
    'allow delete topic "orders.a" for User:reverse from *',
    'allow describe topic "orders.a" for User:forward from *',
    'allow describe topic "orders.a" for User:reverse from *',
    'allow read topic "orders.a" for User:forward from *',
    'allow read topic "orders.a" for User:reverse from *',
    'allow write topic "orders.a" for User:reverse from *',
  ]);
  const onTarget = mirrorAcls('target', { acls: [] }, ['orders.a'], ours, { forward: true, reverse: false });
  assert.equal(onTarget.length, 4);
  const granted = [acl('User:forward', 'all', { patternType: 'prefixed', resourceName: 'o' })];
  assert.deepEqual(mirrorAcls('target', { acls: granted }, ['orders.a'], ours, { forward: true, reverse: false }), []);
  assert.deepEqual(
    mirrorAcls('target', { acls: [] }, ['orders.a'], { ...ours, forward: ours.own }, { forward: true, reverse: false }),
    [],
  );
});

test('a right that something denies to a mirror is reported, since no ALLOW can give it', () => {
  const rules = {
    acls: [acl('User:forward', 'read', { permission: 'deny', patternType: 'prefixed', resourceName: 'orders' })],
  };
  const denied = deniedToUs('source', rules, ['orders.a'], ours, { forward: true, reverse: false });
  assert.deepEqual(keys(denied), ['allow read topic "orders.a" for User:forward from *']);
});

test('a rule that is there already is not ours to add, and so never ours to remove', () => {
  const fence = [acl('User:a', 'write', { permission: 'deny' }), acl('User:b', 'write', { permission: 'deny' })];
  const change = missingAcls('source', fence, [fence[0] as Acl]);
  assert.deepEqual(change, { kind: 'create-acls', cluster: 'source', acls: [fence[1]] });
  assert.equal(missingAcls('source', fence, fence), null);
});

describe('what markers take', () => {
  const cluster = (principal: string, operation: Acl['operation'], permission: Acl['permission']): Acl => ({
    resourceType: 'cluster',
    patternType: 'literal',
    resourceName: 'kafka-cluster',
    principal,
    host: '*',
    operation,
    permission,
  });
  const superUsers = new Set(['User:cutover']);
  const others = [cluster('User:admin', 'all', 'allow')];

  test('is ALTER on the cluster and the ownership ids, for the mirror that writes there', () => {
    const wanted = ownershipAcls('target', { acls: others, superUsers }, ours, both);
    assert.deepEqual(wanted.map(aclKey), [
      'allow alter cluster "kafka-cluster" for User:forward from *',
      'allow describe transactional-id prefixed "kafka-cutover-own-" for User:forward from *',
      'allow write transactional-id prefixed "kafka-cutover-own-" for User:forward from *',
    ]);
    assert.ok(mayWriteMarkers({ acls: [...others, ...wanted], superUsers }, 'User:forward'));
    assert.ok(!mayWriteMarkers({ acls: others, superUsers }, 'User:forward'));
    assert.deepEqual(
      ownershipAcls('source', { acls: others, superUsers }, ours, { forward: true, reverse: false }),
      [],
    );
  });

  test('is held by each migration: a rule of another one counts as wanted, a wider one of the user does not', () => {
    const wanted = ownershipAcls('target', { acls: others, superUsers }, ours, both);
    assert.deepEqual(ownershipAcls('target', { acls: [...others, ...wanted], superUsers }, ours, both), wanted);
    const wider = [cluster('User:forward', 'all', 'allow')];
    const rest = ownershipAcls('target', { acls: wider, superUsers }, ours, both);
    assert.ok(!rest.some((acl) => acl.resourceType === 'cluster'));
  });

  test('is not asked for where no rule speaks about the cluster and everybody may: the first rule would close it for them', () => {
    assert.deepEqual(ownershipAcls('target', { acls: [], superUsers, allowEveryone: true }, ours, both), []);
  });

  test('ends for the topics that were switched, for nobody but the mirror', () => {
    const acls = [...others, ...ownershipAcls('target', { acls: others, superUsers }, ours, both)];
    const allowEveryone = { acls: shutOutAcls('User:forward', ['a'], 'User:own'), allowEveryone: true };
    for (const rules of [{ acls: [...acls, ...allowEveryone.acls] }, allowEveryone]) {
      const may = (principal: string, topic: string) =>
        mayDo(rules, principal, '*', 'write', {
          type: 'transactional-id',
          name: ownershipId({ topic, partition: 1 }),
        });
      assert.ok(!may('User:forward', 'a'));
      assert.ok(may('User:forward', 'a-b'), 'a topic whose name begins alike');
      assert.ok(may('User:own', 'a'), 'the switch itself takes the partitions over');
    }
  });
});
