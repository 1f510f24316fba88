import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Code, Finding } from '../../contract/errors.ts';
import { type Plan, parsePlan } from '../../contract/plan.ts';
import { type Acl, awaitAcls, createAcls } from '../../kafka/acls.ts';
import { Cluster } from '../../kafka/cluster.ts';
import { commitOffsets } from '../../kafka/groups.ts';
import { alterTopicConfigs, createTopic } from '../../kafka/topics.ts';
import { difference, planDigest, takeInventory } from '../../migration/inventory.ts';
import { logNeeds } from '../../migration/needs.ts';
import { blockersOf, findFindings, gatherFacts, neverWaivable, nothingKnown } from '../../migration/preflight.ts';
import { ownershipPrefix } from '../../mirror/ownership.ts';
import type { LocalCluster } from '../../stack/stack.ts';
import { applicationOf } from '../kafka/applications.ts';
import { ownStack, uniqueName } from '../support/stack.ts';

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
  const facts = await gatherFacts(source, to, inventory);
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
  assert.deepEqual(codes(findings), ['ACL_SUPER_USERS', 'CONFIG_INHERITED_DIFFERS', 'OFFSETS_OUTSIDE_KAFKA']);
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
    const { findings } = await preflight(plan('appendtime'));
    assert.deepEqual(blockers(findings), []);
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

test('every feature of the contract that this version lacks is refused by name, and no waiver helps', async () => {
  const lacking = {
    replicator: { kind: 'mirrormaker2' },
    consumers: { when: 'later' },
    gates: { cutover: { proof: 'required' } },
    verify: { records: 'sample' },
    waves: ['a', 'b'].map((wave) => ({ name: wave, topics: { include: [wave] } })),
    waivers: [{ code: 'NOT_SUPPORTED_YET', by: 'a', reason: 'b' }],
  };
  const { findings } = await preflight(plan('plain', lacking));
  const refused = blockersOf(findings).filter((f) => f.code === 'NOT_SUPPORTED_YET');
  assert.deepEqual(refused.map((f) => f.where).sort(), [
    'plan consumers.when',
    'plan gates.cutover.proof',
    'plan replicator.kind',
    'plan verify.records',
    'plan waves',
  ]);
  assert.ok(neverWaivable.has('NOT_SUPPORTED_YET'));
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
      'records from the future',
      'TIMESTAMP_OUT_OF_RANGE',
      /stamped/,
      ({ facts }) => ({ shapes: facts.shapes.map((shape) => ({ ...shape, newestMs: facts.nowMs + 7_200_000 })) }),
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
