import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type PlanInput, parsePlan } from '../../contract/plan.ts';
import type { Acl } from '../../kafka/acls.ts';
import type { Inventory } from '../../migration/inventory.ts';
import {
  aboutWaves,
  offsetsPartitionOf,
  partOf,
  type SplitFacts,
  splitByWave,
  topicsUpTo,
} from '../../migration/waves.ts';

const plan = (waves: PlanInput['waves']) =>
  parsePlan({ name: 'm', source: 'legacy', target: 'next', topics: { include: ['.*'] }, waves });

const acl = (
  resourceType: Acl['resourceType'],
  resourceName: string,
  patternType: Acl['patternType'] = 'literal',
): Acl => ({
  resourceType,
  resourceName,
  patternType,
  principal: 'User:app',
  host: '*',
  operation: 'read',
  permission: 'allow',
});

/** Groups with the topics that they have positions on. */
function inventory(topics: readonly string[], groups: Readonly<Record<string, readonly string[]>> = {}): Inventory {
  const partitions = topics.map((topic) => ({ topic, partition: 0, start: '0', end: '5', bytes: 1 }));
  const cluster = { brokers: 1, features: {}, authorizer: true };
  return {
    structural: {
      sourceClusterId: 's',
      targetClusterId: 't',
      topics: topics.map((name) => ({ name, topicId: name, partitions: 1, replicationFactor: 1, configs: {} })),
      groups: Object.keys(groups).map((group) => ({ group, type: 'classic' })),
      acls: [
        acl('topic', 'a'),
        acl('topic', 'b'),
        acl('topic', '', 'prefixed'),
        acl('group', 'g-b'),
        acl('cluster', 'kafka-cluster'),
      ],
      quotas: [{ entity: { user: 'app' }, values: { consumer_byte_rate: 1 } }],
    },
    measured: {
      takenAt: '',
      source: cluster,
      target: cluster,
      partitions,
      groups: Object.entries(groups).map(([group, read]) => ({
        group,
        state: 'Empty',
        members: 0,
        lag: 0,
        positions: read.map((topic) => ({ topic, partition: 0, offset: '1' })),
      })),
      groupsOutsidePlan: [],
      internalTopics: [],
    },
  };
}

const two = plan([
  { name: 'first', topics: { include: ['a.*'] } },
  { name: 'second', topics: { include: ['b.*'] } },
]);
const nothing: SplitFacts = { producers: [], offsetsPartitionCount: 50, streamsTopics: [] };
const found = (of: Inventory, facts: Partial<SplitFacts> = {}, waves = two) =>
  aboutWaves(of, waves, { ...nothing, ...facts }).map(({ code, where, message }) => `${code} ${where}: ${message}`);

describe('waves of a plan', () => {
  it('share out its topics and groups: a group goes with the last topic that it reads', () => {
    const split = splitByWave(
      two,
      inventory(['a', 'a2', 'b'], { 'g-a': ['a'], 'g-b': ['b'], both: ['a', 'b'], none: [] }),
    );
    assert.deepEqual(split.problems, []);
    assert.deepEqual(split.waves, [
      { name: 'first', topics: ['a', 'a2'], groups: ['g-a'] },
      { name: 'second', topics: ['b'], groups: ['g-b', 'both', 'none'] },
    ]);
  });

  it('follow what the plan says of groups', () => {
    const named = plan([
      { name: 'first', topics: { include: ['a'] }, groups: { include: ['both'] } },
      { name: 'second', topics: { include: ['b'] } },
    ]);
    const { waves } = splitByWave(named, inventory(['a', 'b'], { both: ['a', 'b'], other: ['a'] }));
    assert.deepEqual(
      waves.map((wave) => wave.groups),
      [['both'], ['other']],
    );
  });

  it('are one where the plan names none', () => {
    const of = inventory(['a'], { g: ['a'] });
    assert.deepEqual(splitByWave(plan([]), of).waves, [{ name: 'all', topics: ['a'], groups: ['g'] }]);
    assert.equal(partOf(plan([]), of, 'all'), of);
  });

  it('must neither overlap nor leave a remainder', () => {
    const named = plan([
      { name: 'first', topics: { include: ['a', 'b'] }, groups: { include: ['g'] } },
      { name: 'second', topics: { include: ['b'] }, groups: { include: ['g'] } },
    ]);
    assert.deepEqual(found(inventory(['a', 'b', 'c'], { g: ['b'], h: ['b'] }), {}, named), [
      'PLAN_INVALID plan waves: topic b is in waves first and second',
      'PLAN_INVALID plan waves: topic c is in no wave',
      'PLAN_INVALID plan waves: group g is in waves first and second',
      'PLAN_INVALID plan waves: group h is in no wave',
    ]);
  });

  it('see their own part of the inventory: rules that cover its topics and groups, the rest with the first', () => {
    const of = inventory(['a', 'b'], { 'g-a': ['a'], 'g-b': ['b'] });
    const [first, second] = [partOf(two, of, 'first'), partOf(two, of, 'second')];
    const names = ({ structural }: Inventory) =>
      structural.acls.map((rule) => `${rule.resourceType} ${rule.resourceName}`);
    assert.deepEqual(names(first), ['topic a', 'topic ', 'cluster kafka-cluster']);
    assert.deepEqual(names(second), ['topic b', 'topic ', 'group g-b']);
    assert.deepEqual([first.structural.quotas.length, second.structural.quotas.length], [1, 0]);
    assert.deepEqual(
      [first, second].map(({ measured }) => [
        measured.partitions.map((p) => p.topic),
        measured.groups.map((g) => g.group),
      ]),
      [
        [['a'], ['g-a']],
        [['b'], ['g-b']],
      ],
    );
  });

  it('carry positions on their own topics and on those moved before', () => {
    const of = inventory(['a', 'b']);
    assert.deepEqual([topicsUpTo(two, of, 'first'), topicsUpTo(two, of, 'second')], [['a'], ['a', 'b']]);
  });
});

describe('what waves tear apart', () => {
  it('is a group before or after a topic that it reads', () => {
    const early = plan([
      { name: 'first', topics: { include: ['a'] }, groups: { include: ['early'] } },
      { name: 'second', topics: { include: ['b'] } },
    ]);
    assert.deepEqual(found(inventory(['a', 'b'], { early: ['a', 'b'], late: ['a', 'b'] }), {}, early), [
      'GROUP_BEFORE_TOPICS group early, wave first: it also reads b (wave second)',
      'GROUP_AFTER_TOPICS group late, wave second: it also reads a (wave first)',
    ]);
  });

  it('is a transaction over topics of two waves', () => {
    const producers = [
      { transactionalId: 'whole', topics: ['a'], offsetsPartitions: [] },
      { transactionalId: 'torn', topics: ['a', 'b'], offsetsPartitions: [] },
    ];
    assert.deepEqual(found(inventory(['a', 'b']), { producers }), [
      'TRANSACTION_ACROSS_WAVES transactional id torn: it writes a (wave first), b (wave second)',
    ]);
  });

  it('is a transaction that commits positions of a group of another wave, where no other group can be meant', () => {
    const of = inventory(['a', 'b'], { 'g-a': ['a'], 'g-b': ['b'] });
    const writes = (offsetsPartitions: number[]) => [{ transactionalId: 't', topics: ['a'], offsetsPartitions }];
    const [home, apart] = [offsetsPartitionOf('g-a', 50), offsetsPartitionOf('g-b', 50)];
    assert.deepEqual(found(of, { producers: writes([home]) }), []);
    assert.deepEqual(found(of, { producers: writes([apart]) }), [
      'TRANSACTION_ACROSS_WAVES transactional id t: it writes a (wave first), positions of g-b (wave second)',
    ]);
    // One partition for all groups: the group of its own wave may be the one.
    assert.deepEqual(found(of, { producers: writes([0]), offsetsPartitionCount: 1 }), []);
  });

  it("is a Kafka Streams application's own topic away from its group", () => {
    const of = inventory(['a', 'b', 'b-app-store-changelog'], { 'b-app': ['b'], b: ['b'] });
    const streamsTopics = ['b-app-store-changelog', 'b-app-x-repartition', 'stranger-x-changelog'];
    assert.deepEqual(found(of, { streamsTopics }), [
      'STREAMS_TOPIC_APART topic b-app-x-repartition: it is not part of the plan; its application, group b-app, is in wave second',
    ]);
    const apart = plan([
      { name: 'first', topics: { include: ['a', '.*changelog'] } },
      { name: 'second', topics: { include: ['b'] } },
    ]);
    assert.deepEqual(found(of, { streamsTopics: streamsTopics.slice(0, 1) }, apart), [
      'STREAMS_TOPIC_APART topic b-app-store-changelog: it is in wave first; its application, group b-app, is in wave second',
    ]);
  });
});

it('a group lies in the partition of __consumer_offsets that brokers choose', () => {
  // Java: Math.abs("orders-app".hashCode()) % 50, and a name whose hash is Integer.MIN_VALUE.
  assert.equal(offsetsPartitionOf('a', 50), 97 % 50);
  assert.equal(offsetsPartitionOf('polygenelubricants', 50), 0);
});
