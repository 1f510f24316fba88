/** Every plan in `examples/` is read as a user's would be, with the clusters file beside it: nobody copies one that does not load. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, extname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readPlanFile } from '../../client/plan-file.ts';
import { codes } from '../../contract/errors.ts';
import { replicatorKinds } from '../../contract/replicators.ts';
import { readClusters } from '../../kafka/clusters.ts';
import { checkNames } from '../../migration/plan-names.ts';
import { beyondReplicator } from '../../migration/preflight.ts';
import { loadTransform } from '../../mirror/bridge-module.ts';
import { makeAuthority } from '../kafka/certificates.ts';

const examples = join(import.meta.dirname, '..', '..', 'examples');
const work = mkdtempSync(join(tmpdir(), 'kafka-cutover-examples-'));
after(() => rmSync(work, { recursive: true }));
cpSync(examples, work, { recursive: true });

/** A case is a folder; the first of all, `orders.yaml`, stands in front. */
const cases = [
  { name: 'orders', plan: join(work, 'orders.yaml'), clusters: join(work, 'clusters.yaml') },
  ...readdirSync(join(work, 'plans')).map((name) => {
    const folder = join(work, 'plans', name);
    return { name, plan: join(folder, 'plan.yaml'), clusters: join(folder, 'clusters.yaml') };
  }),
];
const authority = makeAuthority('examples');

/** What people keep out of these files: variables with something in them, certificates that are some. */
function secretsOf(file: string): NodeJS.ProcessEnv {
  const text = readFileSync(file, 'utf8').replace(/#.*$/gm, '');
  const issued = new Map<string, { readonly cert: string; readonly key: string }>();
  for (const [, path = ''] of text.matchAll(/file: ([\w./-]+)/g)) {
    const stem = basename(path, extname(path));
    const pair = issued.get(stem) ?? authority.issue({ commonName: stem });
    issued.set(stem, pair);
    const isKey = path.endsWith('.key');
    writeFileSync(join(dirname(file), path), isKey ? pair.key : pair.cert);
  }
  return Object.fromEntries([...text.matchAll(/env: (\w+)/g)].map(([, name = '']) => [name, 'planted']));
}

const read = ({ plan, clusters }: (typeof cases)[number]) => ({
  plan: readPlanFile(plan).plan,
  clusters: readClusters(clusters, secretsOf(clusters)),
});

describe('the plans in examples/', () => {
  for (const example of cases) {
    it(`${example.name} loads with its clusters file, and asks for nothing that this version cannot do`, async () => {
      const { plan, clusters } = read(example);
      checkNames(plan, clusters);
      for (const { code } of plan.waivers) assert.ok(code in codes, `no code ${code}`);
      if (plan.replicator.kind !== 'bridge') {
        assert.deepEqual(beyondReplicator(plan), []);
        return;
      }
      // No workflow drives it: its command does, with the module beside the plan.
      const transform = await loadTransform(join(dirname(example.plan), plan.replicator.module ?? ''));
      const record = { topic: 'orders.created', partition: 0, offset: 0n, timestamp: 0, key: null, headers: [] };
      const value = Buffer.from('{"id":1,"creditCard":"4111"}');
      assert.deepEqual(transform({ ...record, value }), { value: '{"id":1}' });
      assert.deepEqual(transform({ ...record, value: Buffer.from('{"test":true}') }), null);
      assert.deepEqual(transform({ ...record, value: null }), {});
    });
  }

  it('have a name of their own each, and every replicator one at least', () => {
    const plans = cases.map((example) => readPlanFile(example.plan).plan);
    assert.equal(new Set(plans.map(({ name }) => name)).size, plans.length);
    const kinds = new Set<string>(plans.map(({ replicator }) => replicator.kind));
    assert.deepEqual([...kinds].sort(), Object.keys(replicatorKinds).sort());
  });

  it('stand alone in their folders, but for the module of the bridge', () => {
    const files = readdirSync(join(examples, 'plans'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => `${basename(entry.parentPath)}/${entry.name}`);
    const wanted = cases.slice(1).flatMap(({ name }) => [`${name}/clusters.yaml`, `${name}/plan.yaml`]);
    assert.deepEqual(files.sort(), [...wanted, 'bridge/orders.mjs'].sort());
  });

  it('are listed in its README, as is every other folder', () => {
    const readme = readFileSync(join(examples, 'README.md'), 'utf8');
    const linked = new Set([...readme.matchAll(/\]\(([\w./-]+)\)/g)].map(([, link = '']) => link));
    const folders = readdirSync(examples, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    const wanted = [
      'orders.yaml',
      'clusters.yaml',
      ...cases.slice(1).map(({ name }) => `plans/${name}`),
      ...folders.map(({ name }) => name).filter((name) => name !== 'plans'),
    ];
    assert.deepEqual(
      wanted.filter((path) => !linked.has(path)),
      [],
    );
  });
});
