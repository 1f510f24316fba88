/** What MirrorMaker 2 is told, in either mode and direction. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ReplicatorPlan } from '../../contract/plan.ts';
import type { ClusterConfig } from '../../kafka/clusters.ts';
import {
  dedicatedProperties,
  dedicatedSecrets,
  isOurSetting,
  offsetSyncsTopic,
  sideSettings,
  sourceSettings,
  type Work,
} from '../../replicators/mirrormaker2-settings.ts';

function cluster(name: string): ClusterConfig {
  const login = (role: string) => ({
    sasl: {
      mechanism: 'scram-sha-512' as const,
      username: `${name}-${role}`,
      password: `planted "${role}" of ${name}`,
    },
  });
  return {
    name,
    bootstrap: [`${name}:9092`],
    credentials: { own: login('own'), forward: login('forward'), reverse: login('reverse') },
    hasOwnPrincipal: { forward: true, reverse: true },
    mirrorPrincipals: [],
    scramUsers: new Map(),
    registry: null,
  };
}

function work(direction: 'forward' | 'reverse', plan: Partial<ReplicatorPlan<'mirrormaker2'>> = {}): Work {
  return {
    migration: 'orders',
    wave: 'all',
    direction,
    plan: { kind: 'mirrormaker2', connect: 'onprem', naming: 'identity', settings: {}, ...plan },
    clusters: { source: cluster('legacy'), target: cluster('next') },
    topics: ['orders.created', 'orders.replica'],
    groups: ['billing'],
    targetBrokers: 5,
    recordBytesMax: 5_000_000,
    partitions: 12,
  };
}

describe('the connector that copies', () => {
  it('reads and writes under the logins of its direction, where the records go', () => {
    const forward = sourceSettings(work('forward')).settings;
    assert.equal(forward['source.cluster.bootstrap.servers'], 'legacy:9092');
    assert.equal(forward['producer.override.bootstrap.servers'], 'next:9092');
    assert.match(
      forward['producer.override.sasl.jaas.config'] ?? '',
      /username="next-forward" password="planted \\"forward\\" of next"/,
    );
    const reverse = sourceSettings(work('reverse')).settings;
    assert.equal(reverse['source.cluster.bootstrap.servers'], 'next:9092');
    assert.equal(reverse['producer.override.bootstrap.servers'], 'legacy:9092');
    assert.match(reverse['producer.override.sasl.jaas.config'] ?? '', /username="legacy-reverse"/);
  });

  it('closes the traps of its defaults', () => {
    const { settings } = sourceSettings(work('forward'));
    const bytes = 'org.apache.kafka.connect.converters.ByteArrayConverter';
    const wanted = {
      'header.converter': bytes,
      'value.converter': bytes,
      'source.consumer.isolation.level': 'read_committed',
      'topics.exclude': '',
      'refresh.topics.interval.seconds': '30',
      'sync.topic.acls.enabled': 'false',
      'replication.factor': '3',
      'producer.override.max.request.size': '5065536',
      topics: 'orders[.]created,orders[.]replica',
    };
    for (const [name, value] of Object.entries(wanted)) assert.equal(settings[name], value, name);
  });

  it('lets the plan set all but what our steps rely on', () => {
    const given = { 'tasks.max': '3', 'producer.override.linger.ms': '50' };
    const { settings } = sourceSettings(work('forward', { settings: given }));
    for (const [name, value] of Object.entries(given)) assert.equal(settings[name], value);
    const ours = [
      'topics',
      'sync.group.offsets.enabled',
      'transforms.a.type',
      'source.cluster.sasl.mechanism',
      'header.converter',
    ];
    assert.deepEqual([...ours, ...Object.keys(given)].filter(isOurSetting), ours);
  });

  it('keeps its notes on the target in both directions, apart from one another', () => {
    const [forward, reverse] = [work('forward'), work('reverse')];
    assert.equal(sourceSettings(forward).settings['offset-syncs.topic.location'], 'target');
    assert.equal(sourceSettings(reverse).settings['offset-syncs.topic.location'], 'source');
    assert.notEqual(offsetSyncsTopic(forward), offsetSyncsTopic(reverse));
  });
});

describe('the connectors beside it', () => {
  it('write no position of a group, and are not there on the way back', () => {
    const beside = sideSettings(work('forward'));
    assert.deepEqual(
      beside.map(({ name }) => name.split('.').at(-1)),
      ['checkpoint', 'heartbeat'],
    );
    assert.equal(beside[0]?.settings['sync.group.offsets.enabled'], 'false');
    assert.deepEqual(sideSettings(work('reverse')), []);
  });
});

describe('the file of a dedicated process', () => {
  it('holds no secret, and names the variables that do', () => {
    const text = dedicatedProperties(work('forward'));
    assert.ok(!text.includes('planted'), text);
    assert.deepEqual(dedicatedSecrets(text), ['LEGACY_PASSWORD', 'NEXT_PASSWORD']);
    assert.match(
      text,
      /^orders-all-forward-legacy->orders-all-forward-next\.topics = orders\[\.\]created,orders\[\.\]replica$/m,
    );
    assert.match(text, /^orders-all-forward-next\.producer\.max\.request\.size = 5065536$/m);
    assert.match(text, /^config\.storage\.replication\.factor = 3$/m);
  });
});
