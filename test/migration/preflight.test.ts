import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { after, before, describe, test } from 'node:test';
import { runPreflight } from '../../activities/preflight.ts';
import type { Code, Finding } from '../../contract/errors.ts';
import { type Plan, parsePlan } from '../../contract/plan.ts';
import { type Acl, awaitAcls, createAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { commitOffsets } from '../../kafka/groups.ts';
import { alterTopicConfigs, createTopic, refusedSettings, refusedTopics, topicConfigs } from '../../kafka/topics.ts';
import { difference, planDigest, takeInventory } from '../../migration/inventory.ts';
import { sampleLogShapes } from '../../migration/log-shape.ts';
import { logNeeds } from '../../migration/needs.ts';
import { gatherFacts, nothingKnown } from '../../migration/preflight/facts.ts';
import { readersWithoutPositions } from '../../migration/preflight/readers.ts';
import { blockersOf, findFindings } from '../../migration/preflight.ts';
import { ownershipPrefix } from '../../mirror/ownership.ts';
import type { LocalCluster } from '../../stack/stack.ts';
import { applicationOf } from '../kafka/applications.ts';
import { ownStack, uniqueName } from '../support/stack.ts';
import { write } from './rig.ts';

// Its own: rules and settings of all brokers that other tests leave would show in the findings.
const { stack, clusters } = await ownStack({ parts: ['source', 'target'] });
const run = uniqueName('preflight');
const name = (topic: string) => `${run}.${topic}`;
const plan = (topics: string, more: object = {}): Plan =>
  parsePlan({
    name: 'preflight',
    source: 'legacy',
    target: 'next',
    topics: { include: [`${run}\\.${topics}`] },
    ...more,
  });

let source: Cluster;
let target: Cluster;

const writer = (topic: string): Acl => ({
  resourceType: 'topic',
  patternType: 'literal',
  resourceName: name(topic),
  principal: 'User:app-writer-1',
  host: '*',
  operation: 'write',
  permission: 'allow',
});
const rules = [
  writer('plain'),
  { ...writer('plain'), operation: 'read', principal: 'User:app-reader-1' } satisfies Acl,
  { ...writer('open'), principal: 'User:*' } satisfies Acl,
];

/** Creates a topic on the source and, with `records`, writes them there as an application. */
async function sourceTopic(topic: string, configs: Record<string, string> = {}, records = 3, timestamp?: number) {
  await createTopic(source, { name: name(topic), partitions: 1, replicationFactor: 1, configs });
  if (records === 0) return;
  const producer = applicationOf(stack.source as LocalCluster, 'cutover').producer();
  await producer.connect();
  const messages = Array.from({ length: records }, (_, i) => ({
    key: String(i),
    value: 'x',
    ...(timestamp === undefined ? {} : { timestamp: String(timestamp) }),
  }));
  await producer.send({ topic: name(topic), messages });
  await producer.disconnect();
}

before(async () => {
  source = await Cluster.connect(clusters.cluster('legacy'));
  target = await Cluster.connect(clusters.cluster('next'));
  await createAcls(source, rules);
  await awaitAcls(source, { present: rules });
});
after(async () => {
  await source.close();
  await target.close();
});

async function preflight(wanted: Plan, to = target, known = nothingKnown) {
  const inventory = await takeInventory(source, to, wanted);
  const facts = await gatherFacts(source, to, inventory, { carryConfigs: wanted.metadata.configs });
  return { inventory, facts, findings: findFindings(inventory, wanted, facts, known) };
}
const codes = (findings: readonly Finding[]) => [...new Set(findings.map((f) => f.code))].sort();
const blockers = (findings: readonly Finding[]) => codes(blockersOf(findings));
const at = (findings: readonly Finding[], code: Code) => findings.find((f) => f.code === code);

test('an ordinary topic has no blocker, and its inventory says what moves', async () => {
  await sourceTopic('plain', { 'retention.ms': '86400000' });
  const group = name('group');
  await commitOffsets(source, group, [{ topic: name('plain'), partition: 0, offset: 1n }]);

  const { inventory, facts, findings } = await preflight(plan('plain'));

  assert.deepEqual(blockers(findings), []);
  assert.deepEqual(codes(findings), [
    'ACL_SUPER_USERS',
    'CLUSTER_FEATURES',
    'CONFIG_INHERITED_DIFFERS',
    'COPY_ESTIMATE',
    'GROUPS_SEEN',
    'OFFSETS_OUTSIDE_KAFKA',
    'WRITERS_SEEN',
  ]);
  assert.deepEqual(
    findings
      .filter(({ code }) => code === 'CLUSTER_FEATURES')
      .map(({ message }) => /^1 broker;.*(metadata\.version .*?\))/.exec(message)?.[1]),
    ['metadata.version 21 (Kafka 3.9)', 'metadata.version 30 (Kafka 4.3 or later)'],
  );
  assert.equal(at(findings, 'GROUPS_SEEN')?.message, '1 simple');
  assert.match(
    at(findings, 'WRITERS_SEEN')?.message ?? '',
    /^the rules let User:app-writer-1 write; .* 0 of 1 topics; no record came/,
  );
  // The stack's brokers run beside us, by the same clock and on the same disk.
  for (const clock of Object.values(facts.measurements?.clocks ?? {}))
    assert.ok(Math.abs(clock?.aheadMs ?? 1e9) < 60_000);
  const [disk] = facts.measurements?.targetDisks ?? [];
  assert.ok(disk && disk.usableBytes > 0 && disk.usableBytes <= disk.totalBytes);
  // Kafka 4.0 lowered this default from no limit to an hour (KIP-1030).
  assert.equal(at(findings, 'CONFIG_INHERITED_DIFFERS')?.where, 'setting message.timestamp.after.max.ms');
  const { structural, measured } = inventory;
  assert.equal(structural.topics[0]?.name, name('plain'));
  assert.deepEqual(structural.topics[0]?.configs, { 'retention.ms': '86400000' });
  assert.deepEqual(structural.groups, [{ group, type: 'classic' }]);
  assert.deepEqual(
    structural.acls.map((acl) => acl.principal),
    ['User:app-reader-1', 'User:app-writer-1'],
  );
  assert.deepEqual(
    measured.partitions.map((p) => [p.start, p.end]),
    [['0', '3']],
  );
  assert.ok((measured.partitions[0]?.bytes ?? 0) > 0);
  assert.equal(measured.groups[0]?.lag, 2);
  assert.deepEqual(JSON.parse(JSON.stringify(inventory)), inventory);
  assert.deepEqual(facts.source.access.superUser, { own: true, forward: false, reverse: false });
  assert.equal(facts.source.access.allowEveryone, false);
  assert.equal(facts.target.access.allowEveryone, false);
});

test('the digest stays while records, positions and lags move, and changes with what people approved', async () => {
  const wanted = plan('plain');
  const first = await preflight(wanted);
  await commitOffsets(source, name('group'), [{ topic: name('plain'), partition: 0, offset: 2n }]);
  const second = await preflight(wanted);
  const digest = planDigest(wanted, first.inventory.structural, first.findings);
  assert.equal(planDigest(wanted, second.inventory.structural, second.findings), digest);
  assert.deepEqual(difference(first.inventory.structural, second.inventory.structural), []);
  assert.notEqual(
    planDigest(plan('plain', { verify: { producersWait: '6m' } }), first.inventory.structural, []),
    digest,
  );

  const { structural } = first.inventory;
  const grown = {
    ...structural,
    topics: structural.topics.map((topic) => ({ ...topic, partitions: 2 })),
    acls: [],
    groups: [],
  };
  assert.notEqual(planDigest(wanted, grown, first.findings), digest);
  assert.deepEqual(difference(structural, grown), [
    `topic ${name('plain')}: partitions 1 -> 2`,
    `group ${name('group')} is gone`,
    `access rule gone: allow read topic "${name('plain')}" for User:app-reader-1 from *`,
    `access rule gone: allow write topic "${name('plain')}" for User:app-writer-1 from *`,
  ]);
});

test('what the migration itself added to the source does not change the inventory', async () => {
  const wanted = plan('plain');
  const ours = {
    aclKeys: new Set([`allow write topic "${name('plain')}" for User:app-writer-1 from *`]),
    configs: new Map([[name('plain'), { 'retention.ms': null, 'cleanup.policy': 'delete' }]]),
  };
  const { structural } = await takeInventory(source, target, wanted, { ours });
  assert.equal(structural.acls.length, 1);
  assert.deepEqual(structural.topics[0]?.configs, { 'cleanup.policy': 'delete' });
});

describe('a log of another shape than plain is carried, and preflight says what that takes:', () => {
  test('compacted, with tombstones at risk where copying may take too long', async () => {
    await sourceTopic('compacted', { 'cleanup.policy': 'compact,delete', 'delete.retention.ms': '3600000' }, 0);
    const wanted = plan('compacted');
    const { inventory, facts, findings } = await preflight(wanted);
    assert.deepEqual(blockers(findings), []);
    assert.equal(at(findings, 'TOPIC_COMPACTED')?.message, 'cleanup.policy is compact,delete');
    assert.match(
      at(findings, 'MARKER_OWNERSHIP_WEAK')?.message ?? '',
      /one replica and no mirrorPrincipals: no leader to move/,
    );
    assert.ok(at(findings, 'TIMESTAMP_OFFSETS_INEXACT'));
    assert.equal(at(findings, 'TOMBSTONES_AT_RISK'), undefined);
    assert.equal(at(findings, 'VERIFICATION_SUSPENDED'), undefined, 'nothing transactional, nothing suspended');
    const { measured } = inventory;
    const large = measured.partitions.map((p) => ({ ...p, bytes: 100_000_000_000 }));
    const risky = findFindings({ ...inventory, measured: { ...measured, partitions: large } }, wanted, facts);
    assert.match(
      at(risky, 'TOMBSTONES_AT_RISK')?.message ?? '',
      /may take 1\.4 h, the source keeps tombstones for 1\.0 h/,
    );
  });

  test('stamped by the broker, by its setting now or earlier', async () => {
    await sourceTopic('appendtime', { 'message.timestamp.type': 'LogAppendTime' });
    const { findings, facts } = await preflight(plan('appendtime'));
    assert.deepEqual(blockers(findings), []);
    // The broker runs beside us.
    assert.ok(Math.abs((facts.shapes[0]?.brokerStampMs ?? 0) - facts.nowMs) < 60_000);
    assert.match(at(findings, 'TOPIC_LOG_APPEND_TIME')?.message ?? '', /message\.timestamp\.type is LogAppendTime/);
    await alterTopicConfigs(source, name('appendtime'), { set: {}, unset: ['message.timestamp.type'] });
    const later = await preflight(plan('appendtime'));
    assert.match(at(later.findings, 'TOPIC_LOG_APPEND_TIME')?.message ?? '', /partition 0, offset 0/);
  });

  test('transactional, naming who has one open, and with a digest that open transactions do not change', async () => {
    await sourceTopic('transactional', {}, 1);
    const id = name('transactional');
    const wanted = plan('transactional');
    const producer = applicationOf(stack.source as LocalCluster, 'cutover').producer({
      transactionalId: id,
      idempotent: true,
      maxInFlightRequests: 1,
    });
    await producer.connect();
    const transaction = await producer.transaction();
    await transaction.send({ topic: id, messages: [{ value: 'x' }] });
    const open = await preflight(wanted);
    assert.deepEqual(blockers(open.findings), []);
    assert.match(
      at(open.findings, 'OPEN_TRANSACTION')?.message ?? '',
      new RegExp(`transactional id ${id} \\(producer \\d+\\) is Ongoing since \\d+ s`),
    );
    await transaction.commit();
    await producer.disconnect();
    const closed = await preflight(wanted);
    assert.equal(at(closed.findings, 'OPEN_TRANSACTION'), undefined);
    assert.deepEqual(
      [...new Set(closed.findings.filter((f) => f.code === 'VERIFICATION_SUSPENDED').map((f) => f.where))],
      ['source', 'target'],
    );
    assert.deepEqual(logNeeds(closed.inventory, wanted, closed.facts), {
      transactional: [id],
      compacted: [],
      old: [],
      brokers: {
        source: { 'transaction.partition.verification.enable': 'false' },
        target: { 'transaction.partition.verification.enable': 'false' },
      },
    });
    const digest = (taken: typeof open) => planDigest(wanted, taken.inventory.structural, taken.findings);
    assert.equal(digest(open), digest(closed));
  });

  test('aborted records are dropped where the plan says so, or where the brokers cannot be set for them', async () => {
    const { inventory, facts } = await preflight(plan('transactional'));
    const drop = plan('transactional', { mirror: { abortedRecords: 'drop' } });
    const dropped = findFindings(inventory, drop, facts);
    assert.match(at(dropped, 'ABORTED_NOT_KEPT')?.message ?? '', /mirror\.abortedRecords is drop/);
    assert.equal(at(dropped, 'VERIFICATION_SUSPENDED'), undefined);
    assert.deepEqual(logNeeds(inventory, drop, facts).brokers, { source: {}, target: {} });

    const clusterOperations = { ...facts.target.access.clusterOperations, own: ['describe', 'alter'] as const };
    const weak = { ...facts, target: { ...facts.target, access: { ...facts.target.access, clusterOperations } } };
    const refused = at(findFindings(inventory, plan('transactional'), weak), 'ABORTED_NOT_KEPT');
    assert.match(refused?.message ?? '', /User:cutover may not ALTER_CONFIGS the cluster/);
    assert.deepEqual(logNeeds(inventory, plan('transactional'), weak).brokers.target, {});

    // Before Kafka 3.6 nothing verifies, and nothing has to be set.
    const { 'transaction.partition.verification.enable': _, ...old } = facts.target.brokerConfigs;
    const older = findFindings(inventory, plan('transactional'), {
      ...facts,
      target: { ...facts.target, brokerConfigs: old },
    });
    assert.deepEqual(
      older.filter((f) => f.where === 'target' && /ABORTED|VERIFICATION/.test(f.code)),
      [],
    );
  });

  test('a mirror that may not write markers makes them by transactions, which is weaker; without those it is refused', async () => {
    const denied = (resource: Pick<Acl, 'resourceType' | 'patternType' | 'resourceName'>, principal: string): Acl => ({
      ...resource,
      principal,
      host: '*',
      operation: 'all',
      permission: 'deny',
    });
    const cluster = { resourceType: 'cluster', patternType: 'literal', resourceName: 'kafka-cluster' } as const;
    const ids = { resourceType: 'transactional-id', patternType: 'prefixed', resourceName: ownershipPrefix } as const;
    const judged = async (topic: string, side: 'source' | 'target', resource: typeof cluster | typeof ids) => {
      const { inventory, facts } = await preflight(plan(topic));
      const acl = denied(resource, side === 'target' ? 'User:mirror-forward' : 'User:mirror-reverse');
      const weak = { ...facts, [side]: { ...facts[side], acls: [...(facts[side].acls ?? []), acl] } };
      return findFindings(inventory, plan(topic), weak);
    };
    const byTransactions = await judged('transactional', 'target', cluster);
    assert.deepEqual(blockers(byTransactions), []);
    assert.match(
      at(byTransactions, 'MARKERS_BY_TRANSACTIONS')?.message ?? '',
      /User:mirror-forward has neither .* a rule denies it; .* about 1 offsets without a record, 0\.0 h at 300 a second/,
    );
    assert.match(at(byTransactions, 'ABORTED_NOT_KEPT')?.message ?? '', /has neither ALTER nor CLUSTER_ACTION/);
    assert.ok(at(byTransactions, 'TIMESTAMP_OFFSETS_INEXACT'));
    assert.equal(at(byTransactions, 'MARKER_OWNERSHIP_WEAK'), undefined, 'Kafka itself keeps earlier owners out');
    assert.deepEqual(blockers(await judged('compacted', 'target', cluster)), []);

    for (const topic of ['transactional', 'compacted']) {
      const refused = await judged(topic, 'target', ids);
      assert.deepEqual(blockers(refused), ['MARKERS_NOT_ALLOWED']);
      assert.match(
        at(refused, 'MARKERS_NOT_ALLOWED')?.message ?? '',
        /no WRITE on transactional ids .* a rule denies it/,
      );
    }

    // The reverse mirror needs the same of the source, which is known before the start.
    const back = await judged('transactional', 'source', cluster);
    assert.deepEqual(blockers(back), []);
    assert.match(at(back, 'ROLLBACK_WEAK')?.message ?? '', /each marker carried back comes of a transaction/);
    assert.deepEqual(blockers(await judged('transactional', 'source', ids)), ['ROLLBACK_IMPOSSIBLE']);
  });

  test('older than the target remembers producers, which is told and remedied as far as it goes', async () => {
    await sourceTopic('old', { 'retention.ms': '-1' }, 1, Date.now() - 30 * 86_400_000);
    const { inventory, facts, findings } = await preflight(plan('old'));
    assert.deepEqual(blockers(findings), []);
    assert.match(at(findings, 'PRODUCER_EXPIRY')?.message ?? '', /720\.0 h old.* 24\.0 h; .* raised to 596\.5 h/);
    const { brokers, old } = logNeeds(inventory, plan('old'), facts);
    assert.deepEqual(old, [name('old')]);
    assert.deepEqual(brokers.target, { 'producer.id.expiration.ms': '2147483647' });
  });
});

test('a target topic with records is refused unless it is a proven copy; other shapes always', async () => {
  await sourceTopic('taken', {}, 1);
  await createTopic(target, { name: name('taken'), partitions: 1, replicationFactor: 1, configs: {} });
  const empty = await preflight(plan('taken'));
  assert.deepEqual(blockers(empty.findings), []);
  assert.ok(at(empty.findings, 'TARGET_TOPIC_EXISTS'));

  const producer = applicationOf(stack.target as LocalCluster, 'cutover').producer();
  await producer.connect();
  await producer.send({ topic: name('taken'), messages: [{ value: 'x' }] });
  await producer.disconnect();
  const taken = await preflight(
    plan('taken', { waivers: [{ code: 'TARGET_TOPIC_HAS_RECORDS', by: 'a', reason: 'b' }] }),
  );
  assert.deepEqual(blockers(taken.findings), ['TARGET_TOPIC_HAS_RECORDS']);
  assert.match(at(taken.findings, 'TARGET_TOPIC_HAS_RECORDS')?.message ?? '', /cannot be waived/);
  const proven = await preflight(plan('taken'), target, { ...nothingKnown, provenCopies: new Set([name('taken')]) });
  assert.deepEqual(blockers(proven.findings), []);

  await sourceTopic('shape', {}, 0);
  await createTopic(target, { name: name('shape'), partitions: 2, replicationFactor: 1, configs: {} });
  assert.deepEqual(blockers((await preflight(plan('shape'))).findings), ['TARGET_TOPIC_DIFFERS']);
});

test('settings that would bite on the target are found before anything is made', async () => {
  await sourceTopic('settings', { 'min.insync.replicas': '2', 'max.message.bytes': '5000000' }, 0);
  const carried = await preflight(plan('settings'));
  assert.deepEqual(blockers(carried.findings), ['MIN_INSYNC_ABOVE_REPLICAS']);
  const left = await preflight(plan('settings', { metadata: { configs: false } }));
  assert.deepEqual(blockers(left.findings), ['MESSAGE_SIZE_LIMIT']);
});

test('what the target does not say to a login without rights is told apart from what it takes', async () => {
  const { users } = stack.target as LocalCluster;
  const sasl = { mechanism: 'scram-sha-512', username: 'app-writer-2', password: users['app-writer-2'] ?? '' } as const;
  const { config } = target;
  await using nobody = await Cluster.connect({ ...config, credentials: { ...config.credentials, own: { sasl } } });
  const topic = name('never-made');
  const fresh = await refusedTopics(nobody, [{ name: topic, partitions: 1, replicationFactor: 1, configs: {} }]);
  const settings = await refusedSettings(nobody, new Map([[topic, { set: { 'retention.ms': '1' }, unset: [] }]]));
  for (const { refused, unjudged } of [fresh, settings]) {
    assert.equal(refused.size, 0);
    assert.match(unjudged.get(topic) ?? '', /^(TOPIC|CLUSTER)_AUTHORIZATION_FAILED/);
  }
});

test('what the target would refuse is found before anything is made, in its own words', async () => {
  // Kafka 4.0 takes no segments below 1 MiB (KIP-1030).
  await sourceTopic('small-segments', { 'segment.bytes': '524288' }, 0);
  const wanted = plan('small-segments', { waivers: [{ code: 'TARGET_REFUSES_TOPIC', by: 'a', reason: 'b' }] });
  const fresh = await preflight(wanted);
  assert.deepEqual(blockers(fresh.findings), ['TARGET_REFUSES_TOPIC']);
  assert.match(at(fresh.findings, 'TARGET_REFUSES_TOPIC')?.message ?? '', /^INVALID_CONFIG \(40\): .*segment\.bytes/);
  assert.equal((await target.metadata([name('small-segments')])).topics.size, 0, 'it was asked, and nothing made');

  await createTopic(target, { name: name('small-segments'), partitions: 1, replicationFactor: 1, configs: {} });
  const existing = await preflight(wanted);
  assert.match(at(existing.findings, 'TARGET_REFUSES_TOPIC')?.message ?? '', /segment\.bytes/);
  const configs = (await topicConfigs(target, [name('small-segments')])).get(name('small-segments'));
  assert.equal(configs?.get('retention.ms')?.source, 'default', 'nothing was set either');
  assert.deepEqual(blockers((await preflight(plan('small-segments', { metadata: { configs: false } }))).findings), []);
});

test('settings of an existing target topic that would be replaced are told, unless they are ours', async () => {
  const configs = { 'retention.ms': '3600000', 'segment.ms': '7200000' };
  await sourceTopic('replaced', { 'retention.ms': '1000000', 'segment.ms': '7200000' }, 0);
  await createTopic(target, { name: name('replaced'), partitions: 1, replicationFactor: 1, configs });
  const { inventory, facts, findings } = await preflight(plan('replaced'));
  assert.equal(at(findings, 'CONFIG_REPLACED')?.message, 'retention.ms 3600000 becomes 1000000');
  const ours = { ...nothingKnown, created: new Set([name('replaced')]) };
  assert.equal(at(findFindings(inventory, plan('replaced'), facts, ours), 'CONFIG_REPLACED'), undefined);
});

test('a group is told by its protocol, its name on the target, and positions that no log holds any more', async () => {
  await sourceTopic('positions', {}, 3);
  const group = name('lost');
  await commitOffsets(source, group, [{ topic: name('positions'), partition: 0, offset: 99n }]);
  const wanted = plan('positions');
  const first = await preflight(wanted);
  assert.equal(
    at(first.findings, 'GROUP_POSITION_OUTSIDE_LOG')?.message,
    `${name('positions')}/0 at 99, kept are 0 to 3`,
  );
  assert.equal(at(first.findings, 'GROUP_NAME_TAKEN'), undefined);
  await createTopic(target, { name: name('elsewhere'), partitions: 1, replicationFactor: 1, configs: {} });
  await commitOffsets(target, group, [{ topic: name('elsewhere'), partition: 0, offset: 0n }]);
  await commitOffsets(source, group, [{ topic: name('positions'), partition: 0, offset: 3n }]);
  const second = await preflight(wanted);
  assert.match(at(second.findings, 'GROUP_NAME_TAKEN')?.message ?? '', /1 positions on topics that are not moved/);
  assert.equal(at(second.findings, 'GROUP_POSITION_OUTSIDE_LOG'), undefined, 'the end of a log is within it');

  const structural = { ...second.inventory.structural, groups: [{ group, type: 'consumer' as const }] };
  const consumers = { ...second.inventory, structural };
  assert.deepEqual(blockers(findFindings(consumers, wanted, second.facts)), []);
  for (const off of [
    { brokerConfigs: { ...second.facts.target.brokerConfigs, 'group.coordinator.rebalance.protocols': 'classic' } },
    { brokerConfigs: {} },
  ]) {
    const facts = { ...second.facts, target: { ...second.facts.target, ...off } };
    const { measured } = consumers;
    const old = { ...consumers, measured: { ...measured, target: { ...measured.target, features: {} } } };
    assert.ok(blockers(findFindings(old, wanted, facts)).includes('GROUP_PROTOCOL_UNSUPPORTED'));
  }
});

test('a group that reads and commits nothing is a question for its owners, until it commits or somebody answers', async () => {
  await sourceTopic('outside', {}, 3);
  const topic = name('outside');
  const group = name('keeps-its-own');
  const consumer = applicationOf(stack.source as LocalCluster, 'cutover').consumer({
    groupId: group,
    maxWaitTimeInMs: 100,
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  const { promise: read, resolve } = Promise.withResolvers<void>();
  await consumer.run({ autoCommit: false, eachMessage: async () => resolve() });
  await read;
  const readers = await readersWithoutPositions(source, new Set([topic]), 0);
  assert.deepEqual(readers, [{ group, topics: [topic] }]);
  assert.deepEqual(await readersWithoutPositions(source, new Set(), 0), [], 'of topics without records nobody commits');
  await consumer.commitOffsets([{ topic, partition: 0, offset: '1' }]);
  const committed = await readersWithoutPositions(source, new Set([topic]), 0);
  await consumer.disconnect();
  assert.deepEqual(committed, []);

  const { inventory, facts } = await preflight(plan('outside'));
  const told = { ...facts, measurements: facts.measurements && { ...facts.measurements, readers } };
  const asked = findFindings(inventory, plan('outside'), told);
  assert.deepEqual(blockers(asked), ['READERS_WITHOUT_POSITIONS']);
  const digest = (findings: readonly Finding[]) => planDigest(plan('outside'), inventory.structural, findings);
  assert.equal(digest(asked), digest(findFindings(inventory, plan('outside'), facts)), 'it comes and goes');
  const waivers = [{ code: 'READERS_WITHOUT_POSITIONS', by: 'sam', reason: 'a database holds them' }];
  assert.deepEqual(blockers(findFindings(inventory, plan('outside', { waivers }), told)), []);
});

test('who writes is told by rules, ids and movement; a super user by records that no rule allows', async () => {
  await sourceTopic('moving', {}, 1);
  const wanted = plan('moving');
  const inventory = await takeInventory(source, target, wanted);
  await write(source, name('moving'), 2);
  const facts = await gatherFacts(source, target, inventory);
  assert.deepEqual(facts.measurements?.arrived, { [name('moving')]: 2 });
  const findings = findFindings(inventory, wanted, facts);
  assert.match(
    at(findings, 'WRITERS_SEEN')?.message ?? '',
    /let nobody by name write; .*records came to .*moving while/,
  );
  assert.match(at(findings, 'WRITERS_UNSEEN')?.message ?? '', /no partition knows a producer/);
  assert.match(at(findings, 'WRITER_NOT_FENCED')?.message ?? '', /a super user writes/);
  const ruled = { ...facts, source: { ...facts.source, acls: [writer('moving')] } };
  assert.equal(at(findFindings(inventory, wanted, ruled), 'WRITER_NOT_FENCED'), undefined);
  assert.equal(
    at(findFindings(inventory, wanted, { ...facts, producers: { [name('moving')]: 1 } }), 'WRITERS_UNSEEN'),
    undefined,
  );
});

test('logs are looked into with few requests: each topic first, large batches too, and what is left out is told', async () => {
  await createTopic(source, { name: name('large'), partitions: 5, replicationFactor: 1, configs: {} });
  for (const partition of [0, 1, 2, 3, 4]) {
    await write(source, name('large'), 1, { partition, prefix: 'x'.repeat(200_000) });
  }
  const { inventory, facts } = await preflight(plan('(large|positions)'));
  assert.deepEqual(
    facts.shapes.map(({ topic, unsampled, sampledOffsets }) => [topic, unsampled, sampledOffsets]),
    [
      [name('large'), 0, 5],
      [name('positions'), 0, 3],
    ],
  );
  const kept = inventory.measured.partitions.map((p) => ({ ...p, start: BigInt(p.start), end: BigInt(p.end) }));
  // One for the first partitions, one that shows how large the others' batches are, and one that asks for as much.
  const three = await sampleLogShapes(source, kept, { requests: 3 });
  assert.deepEqual(
    three.map(({ unsampled }) => unsampled),
    [0, 0],
  );
  // The first request brings the one large batch that a broker gives whatever its size, and what is small.
  const shapes = await sampleLogShapes(source, kept, { requests: 1 });
  assert.deepEqual(
    shapes.map(({ topic, unsampled, sampledOffsets }) => [topic, unsampled, sampledOffsets]),
    [
      [name('large'), 4, 1],
      [name('positions'), 0, 3],
    ],
  );
  const told = at(findFindings(inventory, plan('large'), { ...facts, shapes }), 'LOGS_PARTLY_SAMPLED');
  assert.match(told?.message ?? '', /^4 of 6 partitions/);
});

test('takes as many requests for many topics and groups as for few', async () => {
  const many = Array.from({ length: 12 }, (_, i) => `many-${i}`);
  for (const topic of many) {
    await sourceTopic(topic, {}, 1);
    await commitOffsets(source, name(`${topic}-group`), [{ topic: name(topic), partition: 0, offset: 1n }]);
  }
  const requests = new Map<number, number>();
  const count = (event: unknown) => {
    const { apiKey } = event as { readonly apiKey: number };
    requests.set(apiKey, (requests.get(apiKey) ?? 0) + 1);
  };
  const ofPlan = async (topics: string) => {
    requests.clear();
    const { topics: found, groups } = await runPreflight(plan(topics), clusters);
    return { found, groups, requests: Object.fromEntries(requests) };
  };
  subscribe('tracing:plt:kafka:connections:api:start', count);
  const few = await ofPlan('many-[01]');
  const all = await ofPlan('many-.*');
  unsubscribe('tracing:plt:kafka:connections:api:start', count);
  assert.deepEqual([few.found, few.groups, all.found, all.groups], [2, 2, 12, 12]);
  assert.deepEqual(all.requests, few.requests);
});

test('a group with members or positions on the target is refused, unless the positions are ours', async () => {
  const group = name('group');
  await createTopic(target, { name: name('plain'), partitions: 1, replicationFactor: 1, configs: {} });
  await commitOffsets(target, group, [{ topic: name('plain'), partition: 0, offset: 0n }]);
  assert.deepEqual(blockers((await preflight(plan('plain'))).findings), ['GROUP_EXISTS_ON_TARGET']);
  const ours = { ...nothingKnown, ownGroups: new Set([group]) };
  assert.deepEqual(blockers((await preflight(plan('plain'), target, ours)).findings), []);

  const consumer = applicationOf(stack.target as LocalCluster, 'cutover').consumer({
    groupId: group,
    maxWaitTimeInMs: 100,
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [name('plain')] });
  const joined = new Promise((done) => consumer.on(consumer.events.GROUP_JOIN, done));
  await consumer.run({ eachMessage: async () => {} });
  await joined;
  const active = await preflight(plan('plain'), target, ours);
  await consumer.disconnect();
  assert.deepEqual(blockers(active.findings), ['GROUP_ACTIVE_ON_TARGET']);
  const outside = await preflight(plan('plain', { groups: { include: ['nothing'] } }));
  assert.match(at(outside.findings, 'GROUP_OUTSIDE_PLAN')?.message ?? '', new RegExp(group));
});

test('an open-ended ALLOW is refused until the plan names the writers or somebody waives it', async () => {
  await sourceTopic('open', {}, 0);
  const open = await preflight(plan('open'));
  assert.deepEqual(blockers(open.findings), ['ACL_OPEN_ENDED']);
  const named = await preflight(plan('open', { fence: { principals: ['User:app-writer-1'] } }));
  assert.deepEqual(blockers(named.findings), ['FENCE_ON_TRUST']);
  assert.match(at(named.findings, 'FENCE_ON_TRUST')?.message ?? '', /; the plan names User:app-writer-1$/);
  const waived = await preflight(
    plan('open', { waivers: [{ code: 'ACL_OPEN_ENDED', by: 'sam', reason: 'isolated' }] }),
  );
  assert.deepEqual(blockers(waived.findings), []);
  assert.deepEqual(at(waived.findings, 'ACL_OPEN_ENDED')?.waived, { by: 'sam', reason: 'isolated' });
});

test('mirrors without rights are refused where the plan does not let us grant them', async () => {
  const { findings } = await preflight(plan('plain', { metadata: { acls: false }, groups: { include: ['nothing'] } }));
  assert.ok(blockers(findings).includes('ACCESS_MISSING'));
});

test('the same cluster twice, and no topic, are refused', async () => {
  const { findings } = await preflight(plan('plain'), source);
  assert.ok(blockers(findings).includes('SAME_CLUSTER'));
  assert.deepEqual(blockers((await preflight(plan('nothing-like-it'))).findings), ['NO_TOPICS']);
  const internal = await preflight(parsePlan({ ...base(), topics: { include: ['__consumer_offsets'] } }));
  assert.ok(at(internal.findings, 'TOPIC_INTERNAL'));
});

test('a step that the flags of a replicator rule out is refused before anything starts, and no waiver helps', async () => {
  const waivers = ['REPLICATOR_CANNOT', 'ROLLBACK_IMPOSSIBLE'].map((code) => ({ code, by: 'a', reason: 'b' }));
  const oneWay = { kind: 'automq-linking', at: 'automq' } as const;
  const refused = async (change: object) => {
    const { findings } = await preflight(plan('plain', { replicator: oneWay, waivers, ...change }));
    return blockers(findings).includes('REPLICATOR_CANNOT');
  };
  assert.equal(await refused({}), true);
  assert.equal(await refused({ rollback: { reverseMirror: false } }), false);
});

test('giving up the way back needs a waiver by name', async () => {
  const oneWay = { rollback: { reverseMirror: false }, groups: { include: ['nothing'] } };
  assert.deepEqual(blockers((await preflight(plan('plain', oneWay))).findings), ['ROLLBACK_IMPOSSIBLE']);
  const waivers = [{ code: 'ROLLBACK_IMPOSSIBLE', by: 'sam', reason: 'test data' }];
  assert.deepEqual(blockers((await preflight(plan('plain', { ...oneWay, waivers }))).findings), []);
});

describe('judging facts as they may be elsewhere:', () => {
  type Taken = Awaited<ReturnType<typeof preflight>>;
  type Case = readonly [what: string, code: Code, message: RegExp, change: (taken: Taken) => Partial<Taken['facts']>];
  const access = (taken: Taken, side: 'source' | 'target', over: object) => ({
    [side]: { ...taken.facts[side], access: { ...taken.facts[side].access, ...over } },
  });
  const measured = ({ facts }: Taken, over: Partial<NonNullable<Taken['facts']['measurements']>>) => ({
    measurements: facts.measurements && { ...facts.measurements, ...over },
  });
  const rule = ({ facts }: Taken, acl: Acl) => ({
    source: { ...facts.source, acls: [...(facts.source.acls ?? []), acl] },
  });
  const settings = (taken: Taken, brokerConfigs: object) => ({
    target: { ...taken.facts.target, brokerConfigs: { ...taken.facts.target.brokerConfigs, ...brokerConfigs } },
  });
  const cases: readonly Case[] = [
    [
      'no authorizer on the target',
      'ACL_AUTHORIZER_ABSENT',
      /no authorizer/,
      ({ facts }) => ({ target: { ...facts.target, acls: null } }),
    ],
    [
      'a mirror that is a super user',
      'ACL_MIRROR_IS_SUPER_USER',
      /forward mirror's principal User:mirror-forward is a super user/,
      (taken) => access(taken, 'target', { superUser: { own: true, forward: true, reverse: false } }),
    ],
    [
      'a mirror without a principal of its own',
      'ACL_MIRROR_IS_SUPER_USER',
      /User:cutover is our own principal/,
      (taken) =>
        access(taken, 'target', {
          principals: { own: 'User:cutover', forward: 'User:cutover', reverse: 'User:cutover' },
          superUser: { own: false, forward: false, reverse: false },
        }),
    ],
    [
      'our own principal without rights',
      'ACCESS_MISSING',
      /User:cutover may not ALTER the cluster, READ .*, ALTER-CONFIGS/,
      (taken) =>
        access(taken, 'source', {
          superUser: { own: false, forward: false, reverse: false },
          clusterOperations: { own: ['describe'], forward: [], reverse: [] },
        }),
    ],
    [
      'a cluster that is too old',
      'VERSION_UNSUPPORTED',
      /does not serve Fetch v12/,
      ({ facts }) => ({ source: { ...facts.source, missingRequests: ['broker 1 does not serve Fetch v12'] } }),
    ],
    [
      'users that cannot log in on the target',
      'SCRAM_USERS_MISSING',
      /User:app-writer-1 has no SCRAM/,
      ({ facts }) => ({ scramUsers: { ...facts.scramUsers, target: ['app-reader-1'] } }),
    ],
    [
      'a default quota that differs',
      'QUOTA_UNSUPPORTED',
      /user default: producer_byte_rate 5/,
      ({ facts }) => ({
        source: { ...facts.source, quotas: [{ entity: { user: null }, values: { producer_byte_rate: 5 } }] },
      }),
    ],
    [
      'a quota of a user where rules do not tell who the users are',
      'QUOTA_UNSUPPORTED',
      /user "somebody": producer_byte_rate 5/,
      ({ facts }) => ({
        source: {
          ...facts.source,
          acls: null,
          quotas: [{ entity: { user: 'somebody' }, values: { producer_byte_rate: 5 } }],
        },
      }),
    ],
    [
      'records from the future',
      'TIMESTAMP_OUT_OF_RANGE',
      /stamped/,
      ({ facts }) => ({ shapes: facts.shapes.map((shape) => ({ ...shape, newestMs: facts.nowMs + 7_200_000 })) }),
    ],
    [
      'a clock that is off',
      'CLOCK_SKEW',
      /active controller is 12\.0 s behind ours, give or take 4 ms/,
      (taken) => measured(taken, { clocks: { source: { aheadMs: -12_000, uncertainMs: 4 }, target: null } }),
    ],
    [
      'a broker whose clock is ahead, by what it stamps',
      'CLOCK_SKEW',
      /a broker that led it stamped a record 30\.0 s ahead of our clock/,
      ({ facts }) => ({ shapes: facts.shapes.map((shape) => ({ ...shape, brokerStampMs: facts.nowMs + 30_000 })) }),
    ],
    [
      'a target that does not say what it would refuse',
      'TARGET_NOT_JUDGED',
      /TOPIC_AUTHORIZATION_FAILED, of a, b$/,
      (taken) => measured(taken, { unjudged: { a: 'TOPIC_AUTHORIZATION_FAILED', b: 'TOPIC_AUTHORIZATION_FAILED' } }),
    ],
    [
      'a target with too little room on one broker',
      'TARGET_DISK_SHORT',
      /are needed with all replicas, .* broker 7 has 0\.0 MB free/,
      (taken) => measured(taken, { targetDisks: [{ broker: 7, totalBytes: 10, usableBytes: 1 }] }),
    ],
    [
      'a target that does not tell its room',
      'TARGET_DISK_UNKNOWN',
      /1 of 1 brokers do not tell/,
      (taken) => measured(taken, { targetDisks: [] }),
    ],
    [
      'a source that can only be read slowly',
      'RETENTION_OUTRUNS_COPY',
      /copying may take .* h, the source keeps its records for 24\.0 h \(retention\.ms 86400000\)/,
      (taken) => measured(taken, { readSpeed: { bytes: 1, ms: 1e9 } }),
    ],
    [
      'a log that turns over by size',
      'RETENTION_OUTRUNS_COPY',
      /retention\.bytes 1000 at the rate of now/,
      (taken) => ({
        ...measured(taken, { arrived: { [name('plain')]: 1_000_000 }, readSpeed: { bytes: 1, ms: 100 } }),
        inForce: { [name('plain')]: { ...taken.facts.inForce[name('plain')], 'retention.bytes': '1000' } },
      }),
    ],
    [
      'brokers of different versions',
      'BROKERS_UNEVEN',
      /Fetch up to 16 or 17/,
      ({ facts }) => ({ source: { ...facts.source, uneven: ['Fetch up to 16 or 17'] } }),
    ],
    [
      'a setting that is hidden',
      'CONFIG_UNREADABLE',
      /hidden by the brokers: some\.password/,
      () => ({ unreadable: { [name('plain')]: ['some.password'] } }),
    ],
    [
      'rights that are not copied',
      'ACL_NOT_CARRIED',
      /allow create cluster "kafka-cluster" for User:app-writer-1/,
      (taken) =>
        rule(taken, {
          ...writer('plain'),
          resourceType: 'cluster',
          resourceName: 'kafka-cluster',
          operation: 'create',
        }),
    ],
    [
      'records without a timestamp',
      'PRODUCER_EXPIRY',
      /has no timestamp/,
      ({ facts }) => ({ shapes: facts.shapes.map((shape) => ({ ...shape, oldestMs: -1 })) }),
    ],
    [
      'message format v0 or v1',
      'TOPIC_OLD_FORMAT',
      /partition 0, offset 4/,
      ({ facts }) => ({ shapes: facts.shapes.map((shape) => ({ ...shape, oldFormatAt: 'partition 0, offset 4' })) }),
    ],
    [
      'a target that takes smaller requests',
      'MESSAGE_SIZE_LIMIT',
      /1048588 bytes, a request to the target may have 1000/,
      (taken) => settings(taken, { 'socket.request.max.bytes': '1000' }),
    ],
    [
      'another default retention',
      'CONFIG_INHERITED_DIFFERS',
      /delete on the source, compact on the target/,
      (taken) => settings(taken, { 'log.cleanup.policy': 'compact' }),
    ],
    [
      'a setting that the target does not know',
      'CONFIG_UNSUPPORTED',
      /not copied/,
      (taken) =>
        settings(taken, {
          'log.retention.ms': undefined,
          'log.retention.minutes': undefined,
          'log.retention.hours': undefined,
        }),
    ],
    [
      'everybody may write what no rule speaks about',
      'ACL_OPEN_ENDED',
      /everybody may write/,
      ({ facts }) => ({
        source: { ...facts.source, acls: [], access: { ...facts.source.access, allowEveryone: null } },
      }),
    ],
  ];
  for (const [what, code, message, change] of cases) {
    test(what, async () => {
      const wanted = plan('plain', { groups: { include: ['nothing'] } });
      const taken = await preflight(wanted);
      const others = taken.findings.filter((found) => found.code === code);
      const facts = JSON.parse(JSON.stringify({ ...taken.facts, ...change(taken) })) as Taken['facts'];
      const findings = findFindings(taken.inventory, wanted, facts).filter((found) => found.code === code);
      assert.ok(findings.length > others.length || code === 'CONFIG_INHERITED_DIFFERS', `${others.length} before`);
      assert.ok(
        findings.some((found) => message.test(found.message)),
        findings.map((found) => found.message).join('\n'),
      );
    });
  }

  test('fewer brokers than replicas', async () => {
    const taken = await preflight(plan('plain'));
    const { structural } = taken.inventory;
    const inventory = {
      ...taken.inventory,
      structural: { ...structural, topics: structural.topics.map((topic) => ({ ...topic, replicationFactor: 3 })) },
    };
    const facts = { ...taken.facts, targetTopics: {} };
    const found = at(findFindings(inventory, plan('plain'), facts), 'REPLICATION_FACTOR_REDUCED');
    assert.equal(found?.message, '3 replicas on the source, 1 on the target (1 brokers)');
  });

  test('a target that lacks a feature of the source, a rule for one address, and a topic of Kafka’s own', async () => {
    const { inventory, facts } = await preflight(plan('plain'));
    const { structural, measured: sizes } = inventory;
    const features = { ...sizes.target.features, 'transaction.version': 1 };
    const newer = { ...sizes, source: { ...sizes.source, features: { 'transaction.version': 2 } } };
    const bound = { ...structural, acls: structural.acls.map((acl) => ({ ...acl, host: '10.0.0.7' })) };
    const elsewhere = { structural: bound, measured: { ...newer, target: { ...sizes.target, features } } };
    const existing = { partitions: 1, replicationFactor: 1, configs: {}, records: 0, written: false, internal: true };
    const found = findFindings(elsewhere, plan('plain'), { ...facts, targetTopics: { [name('plain')]: existing } });
    assert.equal(at(found, 'FEATURE_MISSING')?.message, 'transaction.version 2 on the source, 1 there');
    assert.match(at(found, 'ACL_HOST_BOUND')?.message ?? '', /for User:app-reader-1 from 10\.0\.0\.7/);
    assert.ok(blockers(found).includes('TARGET_TOPIC_INTERNAL'));
  });

  test('users of another mechanism than SCRAM, quietly those that are ours, and groups of other kinds', async () => {
    const { inventory, facts } = await preflight(plan('plain'));
    const judged = (over: object) =>
      findFindings({ ...inventory, measured: { ...inventory.measured, ...over } }, plan('plain'), facts);
    assert.deepEqual(inventory.measured.principals, ['User:app-reader-1', 'User:app-writer-1']);
    const found = judged({
      principals: ['User:*', 'User:CN=orders', 'User:app-reader-1', 'User:cutover'],
      otherGroups: ['tasks (share)'],
    });
    assert.equal(
      at(found, 'PRINCIPAL_UNPROVEN')?.message,
      'User:CN=orders has rights, and no SCRAM user there: whether they can log in cannot be read',
    );
    assert.equal(at(found, 'GROUP_KIND_UNSEEN')?.message, 'tasks (share)');
  });

  test('the estimate says what it rests on', async () => {
    const { inventory, facts } = await preflight(plan('plain'));
    const estimate = (bytes: number | null, over: object, more = {}) => {
      const partitions = inventory.measured.partitions.map((p) => ({ ...p, bytes }));
      const sized = { ...inventory, measured: { ...inventory.measured, partitions } };
      const measurements = facts.measurements && { ...facts.measurements, ...over };
      return at(findFindings(sized, plan('plain', more), { ...facts, measurements }), 'COPY_ESTIMATE')?.message;
    };
    const readSpeed = { bytes: 100_000_000, ms: 1_000 };
    assert.equal(
      estimate(36e10, { readSpeed }),
      '360.0 GB to copy: about 60 min at 100.0 MB/s (as fast as the source was read for 1.0 s; what the target takes was not tried)',
    );
    assert.match(
      estimate(36e10, { readSpeed }, { mirror: { maxBytesPerSecond: 50_000_000 } }) ?? '',
      /about 2\.0 h at 50\.0 MB\/s \(the limit of mirror\.maxBytesPerSecond\)/,
    );
    assert.match(estimate(1_000, {}) ?? '', /about 1 s at 20\.0 MB\/s \(assumed: there is too little to measure\)/);
    assert.match(estimate(null, { readSpeed }) ?? '', /^an unknown size .* to copy$/);
  });

  test('a group of a kind that cannot be moved', async () => {
    const { inventory, facts } = await preflight(plan('plain'));
    const groups = [{ group: 'g', type: 'share' as const }];
    const shared = { ...inventory, structural: { ...inventory.structural, groups } };
    assert.ok(codes(findFindings(shared, plan('plain'), facts)).includes('GROUP_UNSUPPORTED'));
  });
});

function base() {
  return { name: 'preflight', source: 'legacy', target: 'next' };
}
