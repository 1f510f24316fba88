import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { finding } from '../../contract/errors.ts';
import { parsePlan } from '../../contract/plan.ts';
import { type Acl, aclKey, awaitAcls, createAcls } from '../../kafka/acls.ts';
import { commitOffsets } from '../../kafka/groups.ts';
import { writeTxnMarkers } from '../../kafka/markers.ts';
import { raiseTerms } from '../../kafka/terms.ts';
import { alterTopicConfigs } from '../../kafka/topics.ts';
import { drainToBoundary, storeBoundary } from '../../migration/boundary.ts';
import { assembleEvidence, readEvidence, storeEvidence } from '../../migration/evidence.ts';
import { finalPositions, storePositions } from '../../migration/groups.ts';
import type { Inventory, Structural } from '../../migration/inventory.ts';
import { openJournal } from '../../migration/journal.ts';
import { readOwners } from '../../migration/owners.ts';
import { watchProvenance } from '../../migration/provenance.ts';
import { storeReport, type VerifyOptions, verifyMove } from '../../migration/verify.ts';
import { type StoredInventory, storeInventory } from '../../migration/wave.ts';
import { ownershipId } from '../../mirror/ownership.ts';
import { waitFor } from '../e2e/support/waiting.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { connectBoth, createOnBoth, memoryStorage, write } from './rig.ts';

const { clusters: file } = await sharedStack();
const clusters = await connectBoth(file);
const { source, target } = clusters;
/** Of the reverse mirror, on the source. */
const mirrorBack = 815n;

/** A topic that was moved with 10 records a partition, a group at 4, and 3 new records carried back. */
async function moved() {
  const topic = uniqueName('t');
  const group = uniqueName('g');
  await createOnBoth(clusters, topic, 2);
  const partitions = [0, 1].map((partition) => ({ topic, partition }));
  for (const partition of [0, 1]) {
    await write(source, topic, 10, { partition });
    await write(target, topic, 10, { partition });
  }
  await commitOffsets(source, group, [{ topic, partition: 0, offset: 4n }]);
  const drained = await drainToBoundary({
    clusters,
    direction: 'forward',
    partitions,
    deadlineMs: Date.now() + 20_000,
    audit: partitions.map((p) => ({ ...p, position: 0n, records: 0, digest: '' })),
  });
  const topics = new Map([[topic, 2]]);
  const { boundary, audit } = drained;
  const positions = await finalPositions({ from: source, into: target, groups: [group], topics, boundary });
  await write(target, topic, 3, { partition: 1, prefix: 'new' });
  await write(source, topic, 3, { partition: 1, prefix: 'new', producerId: mirrorBack, baseSequence: 10 });
  const acl: Acl = {
    resourceType: 'topic',
    patternType: 'literal',
    resourceName: topic,
    principal: 'User:app-writer-1',
    host: '*',
    operation: 'write',
    permission: 'allow',
  };
  await createAcls(target, [acl]);
  await awaitAcls(target, { present: [acl] });
  const structural: Structural = {
    sourceClusterId: source.clusterId,
    targetClusterId: target.clusterId,
    topics: [{ name: topic, topicId: '', partitions: 2, replicationFactor: 1, configs: {} }],
    groups: [{ group, type: 'classic' }],
    acls: [acl],
    quotas: [],
  };
  const options: VerifyOptions = {
    clusters,
    direction: 'forward',
    structural,
    boundary,
    audit,
    positions,
    mirrorBack: new Map(partitions.map((p) => [`${p.topic}/${p.partition}`, mirrorBack])),
    plan: { metadata: { configs: true, acls: true, quotas: true } },
  };
  return { topic, group, options, drained };
}

const codesOf = (report: Awaited<ReturnType<typeof verifyMove>>) => report.findings.map((f) => f.code);

describe('verifying a move', () => {
  it('proves what is proven and counts what was moved', async () => {
    const { options } = await moved();

    const report = await verifyMove(options);

    assert.deepEqual(report.findings, []);
    assert.equal(report.parityProven, true);
    assert.equal(report.recordsCompared, 20);
    assert.deepEqual(
      report.topics.map(({ topic: _, ...rest }) => rest),
      [{ partitions: 2, records: 20, traffic: 'seen', newRecords: 3, carriedBack: 3 }],
    );
    assert.deepEqual(report.groups, { checked: 1, asWritten: 1, movedOn: 0 });
    assert.equal(report.aclsCompared, 1);
  });

  it('finds the first record that somebody else wrote to the fenced source, and who', async () => {
    const { topic, options } = await moved();
    await write(source, topic, 2, { partition: 1, producerId: 4711n, baseSequence: 0 });
    await write(source, topic, 1, { partition: 0 });

    const report = await verifyMove(options);

    assert.deepEqual(report.findings.map((f) => [f.code, f.severity, f.where, f.message]).sort(), [
      [
        'SOURCE_WRITTEN_AFTER_FENCE',
        'blocker',
        `cluster legacy, ${topic}/0`,
        'a producer without an id wrote 1 records at offset 10; the boundary is 10',
      ],
      [
        'SOURCE_WRITTEN_AFTER_FENCE',
        'blocker',
        `cluster legacy, ${topic}/1`,
        'producer 4711 wrote 2 records at offset 13; the boundary is 10',
      ],
    ]);
  });

  it('goes by the walk of both logs where offsets differ: strangers, duplicates, and where the other log begins', async () => {
    const { topic, options } = await moved();
    // Producers are not asked: those of other replicators have no ids of ours.
    await write(source, topic, 2, { partition: 1, producerId: 4711n, baseSequence: 0 });
    const into = new Map([...options.boundary].map(([key, end]) => [key, end - 2n]));
    const audit = options.audit.map((p) => ({ ...p, duplicated: p.partition === 0 ? 4 : 0 }));
    const strangers = [{ topic, partition: 1, foreign: 2 }];

    const report = await verifyMove({ ...options, into, audit, strangers });

    assert.deepEqual(report.findings.map((f) => [f.code, f.where, f.message]).sort(), [
      ['RECORDS_DUPLICATED', `${topic}/0`, '4 records stand there more than once'],
      ['SOURCE_WRITTEN_AFTER_FENCE', `cluster legacy, ${topic}/1`, '2 records that were not written to next'],
    ]);
    // At least once is no lack of proof: every record is there.
    assert.equal(report.parityProven, true);
    assert.equal(report.topics[0]?.newRecords, 3 + 2 * 2);
    assert.deepEqual((await verifyMove({ ...options, strangers: [] })).findings, []);
  });

  it('says which topics nobody writes to yet', async () => {
    const { topic, options } = await moved();
    const quiet = {
      ...options,
      boundary: new Map([...options.boundary].map(([key, end]) => [key, key.endsWith('/1') ? 13n : end])),
    };
    const audit = options.audit.map((p) => ({ ...p, position: 13n }));
    const report = await verifyMove({ ...quiet, audit });
    assert.deepEqual(
      report.findings.map((f) => [f.code, f.where]),
      [['TOPIC_SILENT', `cluster next, topic ${topic}`]],
    );
  });

  it('is not proven where the audit stopped before the boundary, or found a difference', async () => {
    const { options } = await moved();
    const first = { offset: 7n, kind: 'value', sourceHash: 'a', targetHash: 'b' } as const;
    const audit = options.audit.map((p) =>
      p.partition === 0 ? { ...p, position: 9n } : { ...p, differences: 1, first },
    );
    const report = await verifyMove({ ...options, audit });
    assert.equal(report.parityProven, false);
    assert.deepEqual(codesOf(report).sort(), ['AUDIT_BEHIND', 'PARITY_FAILED']);
  });

  it('lets groups go on, but not back, and misses a position that is gone', async () => {
    const { topic, group, options } = await moved();
    const at = (offset: bigint) => commitOffsets(target, group, [{ topic, partition: 0, offset }]);
    await at(9n);
    assert.deepEqual((await verifyMove(options)).groups, { checked: 1, asWritten: 0, movedOn: 1 });
    await at(3n);
    const report = await verifyMove(options);
    assert.deepEqual(
      report.findings.map((f) => [f.code, f.message]),
      [['OFFSETS_NOT_WRITTEN', 'position 3, written was 4']],
    );
  });

  it('compares settings and access rules with what people approved', async () => {
    const { topic, options } = await moved();
    await alterTopicConfigs(target, topic, {
      set: { 'max.message.bytes': '2000000', 'retention.ms': '-1' },
      unset: [],
    });
    const structural: Structural = {
      ...options.structural,
      topics: options.structural.topics.map((t) => ({
        ...t,
        configs: { 'segment.ms': '9000000', 'retention.ms': '5' },
      })),
      acls: [...options.structural.acls, { ...(options.structural.acls[0] as Acl), principal: 'User:app-writer-2' }],
    };
    const report = await verifyMove({ ...options, structural });
    assert.deepEqual(
      report.findings.map((f) => `${f.code} ${f.message}`).sort(),
      [
        `ACCESS_CHANGED the access rule is missing: allow write topic "${topic}" for User:app-writer-2 from *`,
        'CONFIG_DIFFERS max.message.bytes is 2000000, wanted inherited',
        'CONFIG_DIFFERS segment.ms is inherited, wanted 9000000',
      ],
      'retention waits for the end of the migration',
    );
    const unasked = { metadata: { configs: false, acls: false, quotas: false } };
    assert.deepEqual(codesOf(await verifyMove({ ...options, structural, plan: unasked })), []);
  });

  it('tells what came to the source, or went from it, since people approved from a rule that somebody took away', async () => {
    const { topic, options } = await moved();
    const [carried] = options.structural.acls;
    assert.ok(carried);
    const came = { ...carried, principal: 'User:app-writer-2' };
    const report = await verifyMove({
      ...options,
      structural: { ...options.structural, acls: [carried, came] },
      approvedAcls: new Set([aclKey(carried)]),
      leftOver: {
        acls: [{ ...carried, operation: 'read' }],
        quotas: [{ entity: { user: 'a' }, set: {}, unset: ['producer_byte_rate'] }],
      },
    });
    assert.deepEqual(report.findings.map(({ code, severity, where }) => `${code} ${severity} ${where}`).sort(), [
      `ACCESS_DIFFERS warning cluster next, allow read topic "${topic}" for User:app-writer-1 from *`,
      `ACCESS_DIFFERS warning cluster next, allow write topic "${topic}" for User:app-writer-2 from *`,
      'CONFIG_DIFFERS warning cluster next, quota of user "a"',
    ]);
  });
});

describe('watching a fenced cluster', () => {
  it('lets the mirror write, and cries out at the first record of anybody else', async () => {
    const { topic, options } = await moved();
    let looks = 0;
    const watch = watchProvenance(source, options.boundary, options.mirrorBack, {
      signal: AbortSignal.timeout(20_000),
      intervalMs: 10,
      onLook: () => looks++,
    });
    watch.catch(() => {});
    while (looks < 2) await new Promise((done) => setTimeout(done, 10));
    await write(source, topic, 1, { partition: 1, producerId: mirrorBack, baseSequence: 13 });
    const seen = looks + 2;
    while (looks < seen) await new Promise((done) => setTimeout(done, 10));

    await write(source, topic, 1, { partition: 1, producerId: 4711n, baseSequence: 0 });

    await assert.rejects(watch, {
      code: 'SOURCE_WRITTEN_AFTER_FENCE',
      message: new RegExp(
        `cluster legacy.*${topic}/1 from offset 14 on; ${topic}/1: written by producer 4711 \\(epoch 0, last sequence 0, last record stamped 2023-11-14T22:13:20.000Z\\)`,
        's',
      ),
    });
  });
});

describe('markers on a fenced cluster', () => {
  it('of the mirror’s ownership are its own, also of a term that begins while one watches; of anybody else they are not', async () => {
    const { topic, options } = await moved();
    const place = { topic, partition: 1 };
    const storage = memoryStorage();
    const partitions = [{ topic, partition: 0 }, place];
    const owners = () => readOwners(storage, 'm', 'reverse', source, partitions);
    let looks = 0;
    const watch = watchProvenance(source, options.boundary, options.mirrorBack, {
      signal: AbortSignal.timeout(30_000),
      owners,
      intervalMs: 10,
      onLook: () => looks++,
    });
    watch.catch(() => {});
    const [broker = -1] = source.brokers.map(({ id }) => id);
    const mark = async (producerId: bigint, producerEpoch: number) => {
      const marker = { ...place, producerId, producerEpoch, coordinatorEpoch: producerEpoch, commit: false, count: 2 };
      const [answer] = await source.call({ broker }, writeTxnMarkers, [marker]);
      assert.equal(answer?.errorCode, 0);
    };

    const term = (await raiseTerms(source, [ownershipId(place)])).get(ownershipId(place));
    assert.ok(term);
    await mark(term.producerId, term.epoch);
    const seen = looks + 2;
    await waitFor('the watch to have seen them', 20_000, () => looks >= seen);
    assert.deepEqual(
      (await owners()).get(`${topic}/1`),
      new Set([term.producerId]),
      'remembered, as ids are forgotten',
    );
    const structural = { ...options.structural, acls: [] };
    const report = await verifyMove({ ...options, structural, ownersBack: owners });
    assert.deepEqual(
      report.findings.filter((found) => found.severity === 'blocker'),
      [],
    );

    await mark(4711n, 0);
    await assert.rejects(watch, {
      code: 'SOURCE_WRITTEN_AFTER_FENCE',
      message: new RegExp(`${topic}/1 from offset 15 on; ${topic}/1: written by producer 4711`),
    });
  });
});

describe('the evidence', () => {
  it('holds everything that was proven and changed, put together from storage alone', async () => {
    const { topic, options, drained } = await moved();
    const migration = uniqueName('m').toLowerCase();
    const storage = memoryStorage();
    const move = { migration, wave: 'all', direction: 'forward', deadlineMs: 1 } as const;
    const inventory = { structural: options.structural, measured: {} } as Inventory;
    const known = [finding('TOPIC_COMPACTED', `topic ${topic}`, 'cleanup.policy is compact')];
    const stored = { digest: '1', inventory, access: {}, findings: known } as unknown as StoredInventory;
    const inventoryName = await storeInventory(storage, migration, stored);
    await storeBoundary(storage, move, drained);
    if (options.positions) await storePositions(storage, move, options.positions);
    await storeReport(storage, move, await verifyMove(options));
    const journal = openJournal(storage, clusters, migration);
    await journal.make('all', 'target-settings', [
      { kind: 'alter-topic-configs', cluster: 'target', topic, set: { 'retention.ms': '-1' }, unset: [] },
    ]);
    const plan = parsePlan({ name: migration, source: 'legacy', target: 'next', topics: { include: [topic] } });
    const input = {
      plan,
      digest: 'd',
      inventory: inventoryName,
      outcome: 'completed',
      waves: [{ wave: 'all', outcome: 'completed' as const, sourceOfTruth: 'target' as const, since: null, proof: '' }],
      steps: [],
      decisions: ['cutover approved by a'],
      findings: [],
    };

    const name = await storeEvidence(storage, input);

    assert.equal(name, `${migration}/evidence`);
    const evidence = await readEvidence(storage, migration);
    assert.deepEqual(evidence?.clusters, { sourceId: source.clusterId, targetId: target.clusterId });
    const boundary = Object.values(evidence?.boundaries ?? {})[0] as { boundary: object; audit: { digest: string }[] };
    assert.deepEqual(boundary.boundary, { [`${topic}/0`]: '10', [`${topic}/1`]: '10' });
    assert.deepEqual(
      boundary.audit.map((p) => p.digest),
      drained.audit.map((p) => p.digest),
    );
    assert.equal(Object.keys(evidence?.groups ?? {}).length, 1);
    assert.equal(Object.keys(evidence?.verifications ?? {}).length, 1);
    assert.deepEqual(evidence?.standing, [`wave all, target-settings: target: topic ${topic}: retention.ms=-1`]);
    assert.equal(evidence?.decisions[0], 'cutover approved by a');
    assert.deepEqual(evidence?.inventory?.findings, known, 'all of them, however few a workflow carries');

    await journal.undo('all', 'all');
    assert.deepEqual((await assembleEvidence(storage, input)).standing, []);
  });
});
