import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parsePlan } from '../../contract/plan.ts';
import { readAudit, storeAudit } from '../../migration/audit-positions.ts';
import { readSample, sampleHistory, storeSample } from '../../migration/sample.ts';
import { verifyMove } from '../../migration/verify.ts';
import { runAudit } from '../../mirror/audit.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { connectBoth, createOnBoth, memoryStorage, write } from './rig.ts';

const { clusters: file } = await sharedStack();
const clusters = await connectBoth(file);
const { source, target } = clusters;
const signal = AbortSignal.timeout(60_000);
const migration = 'sampled';
const plan = parsePlan({
  name: migration,
  source: 'legacy',
  target: 'next',
  topics: { include: ['.*'] },
  verify: { records: 'sample' },
});
const batches = 30;
const each = 10;

/** As many batches on both; those whose numbers are given differ. */
async function stage(differing: readonly number[] = []): Promise<string> {
  const topic = uniqueName('sample');
  await createOnBoth(clusters, topic);
  for (let number = 0; number < batches; number++) {
    await write(source, topic, each, { prefix: `${number}-` });
    await write(target, topic, each, { prefix: differing.includes(number) ? 'other-' : `${number}-` });
  }
  return topic;
}

const nothing = (topic: string) => ({ topic, partition: 0, start: 0n, position: 0n, records: 0, digest: '' });
const sample = (topic: string, places: number) =>
  sampleHistory(clusters, [nothing(topic)], { signal, places, fullBelow: batches * each });

async function audited(topic: string) {
  const topicId = (await source.metadata([topic])).topics.get(topic)?.topicId ?? '';
  const topics = [{ name: topic, topicId, partitions: 1, replicationFactor: 1, configs: {} }];
  return { storage: memoryStorage(), migration, clusters, topics };
}

describe('a sample', () => {
  it('is the first batch, the last one and some between, each compared whole', async () => {
    const topic = await stage();
    const { partitions, differing } = await sample(topic, 5);
    assert.deepEqual(differing, []);
    const [{ batches: looked = 0, records = 0, end = '' } = {}] = partitions;
    assert.equal(end, String(batches * each));
    // Places may fall into one batch.
    assert.ok(looked >= 2 && looked <= 7, `${looked} batches`);
    assert.equal(records, looked * each);
  });

  it('finds what differs in the first batch and in the last one', async () => {
    for (const number of [0, batches - 1]) {
      const { partitions, differing } = await sample(await stage([number]), 0);
      assert.deepEqual(partitions, []);
      assert.deepEqual(
        differing.map(({ first }) => [first?.offset, first?.kind]),
        [[BigInt(number * each), 'value']],
      );
    }
  });

  it('is not taken of a partition with few offsets, nor where something is proven already', async () => {
    const topic = await stage();
    const few = await sampleHistory(clusters, [nothing(topic)], { signal, places: 5, fullBelow: batches * each + 1 });
    const proven = { ...nothing(topic), position: 10n, digest: 'proven' };
    const many = { signal, places: 5, fullBelow: 1 };
    const known = await sampleHistory(clusters, [proven], many);
    const compacted = await sampleHistory(clusters, [{ ...nothing(topic), compacted: true }], many);
    assert.deepEqual([few.partitions, known.partitions, compacted.partitions], [[], [], []]);
  });
});

describe('what follows a sample', () => {
  it('is compared in full, goes on where it was, and proves nothing to whoever wants proof', async () => {
    // What differs between first and last is not seen by a sample of these two.
    const topic = await stage([batches / 2]);
    const { partitions } = await sample(topic, 0);
    const wave = { ...(await audited(topic)), plan };
    await storeSample(wave, 'all-0-of-1', partitions);
    const end = BigInt(partitions[0]?.end ?? 0);
    await write(source, topic, 3);
    await write(target, topic, 3);
    const start = [{ ...nothing(topic), position: end }];
    const boundary = new Map([[`${topic}/0`, end + 3n]]);
    const positions = await runAudit({ ...clusters, partitions: start, until: boundary, signal });
    await storeAudit(wave, 'all-0-of-1', positions);

    const [mine] = await readAudit(wave, start);
    assert.deepEqual([mine?.start, mine?.position, mine?.records], [end, end + 3n, 3]);
    const { plan: _, ...whoWantsProof } = wave;
    const [proven] = await readAudit(whoWantsProof, start);
    assert.deepEqual([proven?.position, proven?.digest], [0n, '']);

    const sampled = await readSample(wave, [topic]);
    const report = await verifyMove({
      clusters,
      direction: 'forward',
      structural: { sourceClusterId: 's', targetClusterId: 't', topics: wave.topics, groups: [], acls: [], quotas: [] },
      boundary,
      audit: positions,
      positions: null,
      mirrorBack: new Map(),
      sampled,
      plan: { metadata: { configs: false, acls: false, quotas: false } },
    });
    assert.deepEqual([sampled, report.parityProven, report.recordsCompared], [{ batches: 2, records: 20 }, false, 23]);
    assert.ok(report.findings.some(({ code }) => code === 'PARITY_SAMPLED'));
  });
});
