/**
 * A whole move with MirrorMaker 2 on a real Connect cluster, and the way back through a second one that begins at the boundary: applications write and read all
 * the while. Offsets differ on the two clusters, since the history holds transactions, so positions are found record by record.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { ProducerReport } from '../../examples/demo/producer.ts';
import { startConnect } from '../../stack/connect.ts';
import { deleteRecords, write } from '../migration/rig.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { Scene } from './support/scene.ts';
import { waitFor } from './support/waiting.ts';

const phaseTimeoutMs = 120_000;
const history = 1_000;
const { stack } = await sharedStack();
if (!stack.target) throw new Error('needs a stack of our own');
const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-connect-'));
const connect = await startConnect({
  cluster: stack.target,
  user: 'cutover',
  folder,
  groupId: uniqueName('connect'),
});
after(async () => {
  await connect[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});
const scene = await Scene.open(stack, {
  name: uniqueName('mm2-move'),
  clusters: { connects: { onprem: { url: connect.url } } },
});
after(() => scene[Symbol.asyncDispose]());

/** Both logs start elsewhere, so no record has the same offset on both clusters. */
async function shiftOffsets(by: number): Promise<void> {
  const source = await scene.cluster('legacy');
  for (const [topic, partitions] of Object.entries(scene.topics)) {
    for (let partition = 0; partition < partitions; partition++) {
      await write(source, topic, by, { partition });
      await deleteRecords(source, topic, partition, BigInt(by));
    }
  }
}

describe('a move with MirrorMaker 2', () => {
  it('switches and goes back without losing, repeating or reordering a record, whatever the offsets', async (t) => {
    await shiftOffsets(7);
    const worker = await scene.worker('worker').start().ready();
    const applications = await scene.startApplications({ recordsPerSecond: 50, history });
    const migration = await scene.migration({ replicator: { kind: 'mirrormaker2', connect: 'onprem' } }).start();
    const facts = await migration.untilGate('cutover', phaseTimeoutMs);
    scene.say(facts.join('\n           '));
    assert.ok(
      facts.some((line) => /0 replays|0 read/.test(line)),
      facts.join('; '),
    );

    await migration.signal('approve', { gate: 'cutover', by: 'kafka-owner' });
    await migration.untilGate('finalize', phaseTimeoutMs);
    scene.say('switched');
    await waitFor(
      'applications to write to the target',
      phaseTimeoutMs,
      () => applications.acknowledgedBy('next') > 100,
    );
    await migration.signal('rollback', { by: 'kafka-owner', reason: 'there and back' });
    await migration.untilEnded('rolledBack', phaseTimeoutMs);
    scene.say('rolled back');
    const before = applications.acknowledgedBy('legacy');
    await waitFor(
      'applications to write to the source again',
      phaseTimeoutMs,
      () => applications.acknowledgedBy('legacy') > before + 50,
    );
    const producers = await applications.finishProducers();
    t.diagnostic(`write pauses, the longest of all partitions: ${pausesOf(producers).join(' ms there, ')} ms back`);
    const acknowledged = applications.acknowledgements().reduce((sum, { count }) => sum + count, 0);
    const consumers = await waitFor('both groups to have read everything', phaseTimeoutMs, async () => {
      const all = await applications.consumers();
      return all.every(({ counts }) => counts.records >= acknowledged) ? all : null;
    });
    for (const { group, counts } of consumers) {
      t.diagnostic(`${group}: ${JSON.stringify(counts)}`);
      const { records, lost, duplicated, reordered } = counts;
      assert.deepEqual(
        { group, records, lost, duplicated, reordered },
        { group, records: acknowledged, lost: 0, duplicated: 0, reordered: 0 },
      );
    }
    // What was made on the Connect cluster is gone, as is what MirrorMaker 2 made beside the copies.
    assert.deepEqual(await (await fetch(`${connect.url}/connectors`)).json(), []);
    const { topics } = await (await scene.cluster('next')).metadata(null);
    assert.deepEqual(
      [...topics.keys()].filter((topic) => topic.includes(scene.name) && topic.endsWith('.internal')),
      [],
    );
    assert.ok(worker.running);
  });
});

/** Of each switch: how long the partition that waited longest was not written to. */
function pausesOf(producers: readonly ProducerReport[]): readonly number[] {
  const lanes = producers.flatMap(({ stints }) => Object.values(stints));
  const switches = Math.max(...lanes.map((stints) => stints.length - 1));
  return Array.from({ length: switches }, (_, i) =>
    Math.max(...lanes.map((stints) => (stints[i + 1]?.firstAt ?? 0) - (stints[i]?.lastAt ?? 0))),
  );
}
