/** What a workflow is told of a bridge before anything starts, and whose module a worker takes. Whole moves: test/e2e/bridge-move.test.ts. */
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { PlanInput } from '../../contract/plan.ts';
import { type Capabilities, type ReplicatorKind, replicatorKinds } from '../../contract/replicators.ts';
import { putJson } from '../../migration/storage.ts';
import { bridge } from '../../replicators/bridge.ts';
import { replicatorOf } from '../../replicators/registry.ts';
import { onPaper } from './paper-wave.ts';

const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-modules-'));
const path = join(folder, 'orders.mjs');
writeFileSync(path, 'export const transform = () => null;');

const stage = (replicator: object) =>
  onPaper({
    topics: { orders: 2 },
    replicator: { kind: 'bridge', ...replicator } as PlanInput['replicator'],
    clusters: { modules: { orders: path, broken: join(folder, 'nowhere.mjs') } },
  });
const blockers = async (replicator: object) =>
  (await bridge.plan(stage(replicator).inquiry))
    .filter(({ code }) => code === 'REPLICATOR_CANNOT')
    .map(({ where, message }) => `${where}: ${message}`);

describe('a bridge in a workflow', () => {
  it('is refused with other names, or a module that a worker does not have', async () => {
    assert.deepEqual(await blockers({ module: 'orders' }), []);
    assert.match(String(await blockers({ rename: { orders: 'v2' } })), /replicator\.rename.*under their names/);
    assert.match(String(await blockers({ outputs: ['other'] })), /replicator\.outputs/);
    assert.match(String(await blockers({ module: './orders.mjs' })), /unknown module.*one of: orders, broken/);
    assert.match(String(await blockers({ module: 'broken' })), /cannot be used.*nowhere\.mjs/);
  });

  it('names the code that will run in the workers, by what the file holds', async () => {
    const risks = async () => String((await bridge.plan(stage({ module: 'orders' }).inquiry)).map((f) => f.message));
    const [, before] = /module orders \(sha256 ([0-9a-f]{64})\)/.exec(await risks()) ?? [];
    assert.ok(before);
    writeFileSync(path, 'export const transform = () => ({});');
    const [, after] = /module orders \(sha256 ([0-9a-f]{64})\)/.exec(await risks()) ?? [];
    assert.notEqual(after, before);
  });

  it('goes on with the module that it began with, and no other', async () => {
    const { wave, leg } = stage({ module: 'orders' });
    await putJson(wave.storage, 'orders/bridge/all', { sha256: 'f'.repeat(64) });
    const walking = bridge.walk?.(leg('forward'), { partitions: [], signal: new AbortController().signal });
    await assert.rejects(async () => walking, /BRIDGE_MODULE_INVALID.*another module.*wanted sha256 ffff/);
  });
});

describe('a replicator under which records arrive changed', () => {
  it('brings its own comparison and positions, and no other does', () => {
    for (const [kind, flags] of Object.entries(replicatorKinds) as [ReplicatorKind, Capabilities][]) {
      const { walk, translate } = replicatorOf({ replicator: { kind } as never });
      const own = [walk !== undefined, translate !== undefined];
      assert.deepEqual(own, Array(2).fill(!flags.exactTranslation), kind);
    }
  });
});
