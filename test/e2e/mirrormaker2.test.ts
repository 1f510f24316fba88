/**
 * A whole move with MirrorMaker 2 on a real Connect cluster, and the way back through a second one that begins at the boundary: applications write and read all
 * the while. Offsets differ on the two clusters, since the history holds transactions, so positions are found record by record.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { startConnect } from '../../stack/connect.ts';
import { thereAndBack } from '../replicators/there-and-back.ts';
import { sharedStack, uniqueName } from '../support/stack.ts';
import { Scene } from './support/scene.ts';

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

describe('a move with MirrorMaker 2', () => {
  it('switches and goes back without losing, repeating or reordering a record, whatever the offsets', async (t) => {
    const round = await thereAndBack(scene, { kind: 'mirrormaker2', connect: 'onprem' });
    const { facts, acknowledged, consumers, there, back } = round;
    assert.ok(
      facts.some((line) => /0 replays|0 read/.test(line)),
      facts.join('; '),
    );
    for (const { pauseMs, phases } of [there, back]) {
      t.diagnostic(
        `write pause, the longest of all partitions: ${pauseMs} ms; ${phases.map((p) => p.join(' ')).join(', ')}`,
      );
    }
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
  });
});
