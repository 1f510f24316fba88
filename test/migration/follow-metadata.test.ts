import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Acl, aclKey } from '../../kafka/acls.ts';
import type { Change } from '../../migration/change.ts';
import { configsToFollow, quotasToDrop, rulesToDrop, settingsBefore } from '../../migration/follow-metadata.ts';
import type { JournalEntry, Purpose } from '../../migration/journal.ts';
import { topicDefaults } from '../../migration/topics.ts';

const entry = (purpose: Purpose, change: Change, inverse: Change): JournalEntry => ({
  id: '',
  order: 1,
  at: '',
  wave: 'all',
  purpose,
  change,
  inverse,
  state: 'made',
});
const configs = (set: Record<string, string>, unset: string[] = []): Change => ({
  kind: 'alter-topic-configs',
  cluster: 'target',
  topic: 'orders',
  set,
  unset,
});
const there = topicDefaults({
  'log.roll.ms': null,
  'log.flush.interval.ms': null,
  'log.cleanup.policy': 'delete',
  'log.retention.ms': '1',
  'min.insync.replicas': '1',
});
const shape = (settings: Record<string, string>) => ({
  name: 'orders',
  topicId: '',
  partitions: 1,
  replicationFactor: 1,
  configs: settings,
});

describe('settings that follow the source', () => {
  const created = entry(
    'topic',
    {
      kind: 'create-topic',
      cluster: 'target',
      topic: {
        name: 'orders',
        partitions: 1,
        replicationFactor: 1,
        configs: { 'segment.ms': '1', 'cleanup.policy': 'delete' },
      },
    },
    { kind: 'delete-topic', cluster: 'target', topic: 'orders' },
  );

  it('are set and unset, and those that are suspended while mirroring are left alone', () => {
    const before = settingsBefore([created], 'orders');
    const has = { 'segment.ms': '1', 'cleanup.policy': 'delete', 'retention.ms': '-1' };
    assert.deepEqual(
      configsToFollow(shape({ 'flush.ms': '5', 'cleanup.policy': 'compact', 'retention.ms': '7' }), has, {
        there,
        before,
      }),
      {
        ...configs({ 'flush.ms': '5' }, ['segment.ms']),
      },
    );
    assert.equal(configsToFollow(shape({ 'segment.ms': '1' }), has, { there, before }), null);
  });

  it('of a topic that was there before become what they were, and what was never ours stays', () => {
    const altered = entry('target-settings', configs({ 'segment.ms': '1' }), configs({ 'segment.ms': '9' }));
    const again = entry('target-settings', configs({ 'segment.ms': '2' }), configs({ 'segment.ms': '1' }));
    const before = settingsBefore([altered, again], 'orders');
    const has = { 'segment.ms': '2', 'min.insync.replicas': '2' };
    assert.deepEqual(configsToFollow(shape({}), has, { there, before }), configs({ 'segment.ms': '9' }));
  });

  it('that the target does not know, or that are about the machines of the source, stay there', () => {
    const strange = shape({ 'no.such.setting': '1', 'leader.replication.throttled.replicas': '*' });
    assert.equal(configsToFollow(strange, {}, { there, before: new Map() }), null);
  });
});

describe('what the source has no more', () => {
  const acl = (resourceName: string): Acl => ({
    resourceType: 'topic',
    patternType: 'literal',
    resourceName,
    principal: 'User:a',
    host: '*',
    operation: 'read',
    permission: 'allow',
  });
  const rules = (kind: 'create-acls' | 'delete-acls', ...names: string[]): Change => ({
    kind,
    cluster: 'target',
    acls: names.map(acl),
  });

  it('is taken away where we brought it and it still stands: no rule of the target’s own, none for another purpose', () => {
    const entries = [
      entry('acl', rules('create-acls', 'a', 'b', 'c', 'own'), rules('delete-acls', 'a', 'b', 'c')),
      entry('protection', rules('create-acls', 'p'), rules('delete-acls', 'p')),
    ];
    const present = ['a', 'b', 'own', 'p'].map(acl);
    assert.deepEqual(rulesToDrop(entries, [acl('b')], present).map(aclKey), [aclKey(acl('a'))]);
  });

  it('of quotas, is what it was before us, value by value', () => {
    const quotas = (set: Record<string, number>, unset: string[] = []): Change => ({
      kind: 'alter-quotas',
      cluster: 'target',
      quotas: [{ entity: { user: 'a' }, set, unset }],
    });
    const entries = [
      entry('quota', quotas({ x: 1, y: 1, z: 1 }), quotas({ x: 7 }, ['y', 'z'])),
      entry('quota', quotas({ x: 2 }), quotas({ x: 1 })),
    ];
    const has = [{ entity: { user: 'a' }, values: { x: 2, y: 1, z: 1, own: 5 } }];
    assert.deepEqual(quotasToDrop(entries, [{ entity: { user: 'a' }, values: { z: 1 } }], has), [
      { entity: { user: 'a' }, set: { x: 7 }, unset: ['y'] },
    ]);
    assert.deepEqual(quotasToDrop(entries, [], [{ entity: { user: 'a' }, values: { x: 7 } }]), []);
  });
});
