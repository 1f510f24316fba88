/** What the audit remembers between processes and runs, and when it must not believe its memory. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Cluster } from '../../kafka/cluster.ts';
import { type Audited, readAudit, refuseDifferences, storeAudit } from '../../migration/audit-positions.ts';
import type { AuditPartition } from '../../mirror/audit.ts';
import { memoryStorage } from './rig.ts';

const topic = { name: 'orders', topicId: 'source-1', partitions: 1, replicationFactor: 1, configs: {} };
const partitions = [{ topic: 'orders', partition: 0 }];

/** A target that knows one topic, under that id. */
const targetWith = (topicId: string) =>
  ({ metadata: async () => ({ topics: new Map([['orders', { topicId }]]) }) }) as unknown as Cluster;

function audited(storage = memoryStorage(), topicId = 'target-1', shape = topic): Audited {
  return { storage, migration: 'orders', clusters: { target: targetWith(topicId) }, topics: [shape] };
}

function proven(position: bigint, differences = 0): AuditPartition {
  const first = { offset: 3n, kind: 'value', sourceHash: 'a', targetHash: 'b' } as const;
  const digest = `2:0:${'a'.repeat(64)}:${'b'.repeat(64)}`;
  const base = { topic: 'orders', partition: 0, start: 0n, position, records: Number(position), digest, bytes: 0 };
  const counts = { abortedNotKept: 4, superseded: 2 };
  const facts = { sourceReadAtMs: 1_700_000_000_000, waitingFor: null };
  return { ...base, ...counts, ...facts, differences, first: differences > 0 ? first : null };
}

describe('audit positions', () => {
  it('begin at the beginning, and go on from the furthest of all writers', async () => {
    const storage = memoryStorage();
    assert.equal((await readAudit(audited(storage), partitions))[0]?.position, 0n);
    await storeAudit(audited(storage), 'shard', [proven(70n)]);
    await storeAudit(audited(storage), 'fence', [proven(90n)]);
    await storeAudit(audited(storage), 'preflight', [proven(80n)]);
    assert.equal((await readAudit(audited(storage), partitions))[0]?.position, 90n);
  });

  it('keep what was counted', async () => {
    const storage = memoryStorage();
    await storeAudit(audited(storage), 'shard', [proven(70n)]);
    const [now] = await readAudit(audited(storage), partitions);
    assert.deepEqual([now?.abortedNotKept, now?.superseded, now?.sourceReadAtMs], [4, 2, 1_700_000_000_000]);
  });

  it('begin anew after what an earlier build stored, whose digest goes on otherwise', async () => {
    const storage = memoryStorage();
    const digest = `0:${'a'.repeat(64)}:${'b'.repeat(64)}`;
    await storeAudit(audited(storage), 'shard', [{ ...proven(70n), digest }]);
    assert.equal((await readAudit(audited(storage), partitions))[0]?.position, 0n);
  });

  it('do not vouch for a topic that was deleted and created again, on either cluster', async () => {
    const storage = memoryStorage();
    await storeAudit(audited(storage), 'shard', [proven(70n)]);
    const [recreatedThere] = await readAudit(audited(storage, 'target-2'), partitions);
    const [recreatedHere] = await readAudit(
      audited(storage, 'target-1', { ...topic, topicId: 'source-2' }),
      partitions,
    );
    assert.deepEqual([recreatedThere?.position, recreatedHere?.position], [0n, 0n]);
  });

  it('with differences are not kept, and are refused with the first one', async () => {
    const storage = memoryStorage();
    await storeAudit(audited(storage), 'shard', [proven(70n, 2)]);
    assert.equal((await readAudit(audited(storage), partitions))[0]?.position, 0n);
    assert.throws(() => refuseDifferences([proven(70n, 2)]), {
      code: 'PARITY_FAILED',
      message: /orders\/0 at offset 3: value \(2 in all\)/,
    });
  });
});
