/** `init` where nobody can be asked: what it writes, and what it refuses. On real clusters: `test/e2e/manual-switch.test.ts`. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { clustersText, planText } from '../../client/init-files.ts';
import { readPlanFile } from '../../client/plan-file.ts';
import { parsePlan } from '../../contract/plan.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { folder, run } from './command-line.ts';

const fresh = () => mkdtempSync(join(folder, 'init-'));
const both = ['--source', 'legacy', '--target', 'next'];
const addresses = ['--source-bootstrap', '127.0.0.1:1', '--target-bootstrap', '127.0.0.1:1'];

describe('init without anybody to ask', () => {
  it('names the first option that is missing', async () => {
    for (const [args, wanted] of [
      [[], '--source'],
      [both, '--source-bootstrap'],
      [[...both, ...addresses], '--name'],
    ] as const) {
      const ran = await run(['init', '--out', fresh(), ...args, '--json']);
      assert.equal(ran.exitCode, 2);
      const { code, detail } = ran.json().error as { code: string; detail: { wanted: string } };
      assert.deepEqual([code, detail.wanted], ['USAGE', wanted]);
    }
  });

  it('writes files that plan takes, also while no cluster answers, and says so', async () => {
    const out = fresh();
    const user = ['--source-user', 'cutover', '--mechanism', 'plain', '--tls'];
    const args = ['init', '--out', out, '--name', 'orders', ...both, ...addresses, ...user, '--topics', 'orders\\..*'];
    const ran = await run([...args, '--json'], { LEGACY_PASSWORD: 'secret' });
    assert.equal(ran.exitCode, 0, ran.stderr);
    const { written, notes, seen } = ran.json() as { written: string[]; notes: string[]; seen: null };
    assert.deepEqual(written, [join(out, 'clusters.yaml'), join(out, 'orders.yaml')]);
    assert.match(notes.join(), /not looked at: CLUSTER_UNREACHABLE/);
    assert.equal(seen, null);
    const { plan } = readPlanFile(join(out, 'orders.yaml'));
    assert.deepEqual(
      [plan.name, plan.source, plan.target, plan.topics.include],
      ['orders', 'legacy', 'next', ['orders\\..*']],
    );
    const text = readFileSync(join(out, 'clusters.yaml'), 'utf8');
    const { own } = parseClusters(text, 'clusters.yaml', { LEGACY_PASSWORD: 'secret' }).cluster('legacy').credentials;
    assert.deepEqual(own.sasl, { mechanism: 'plain', username: 'cutover', password: 'secret' });
    assert.ok(own.tls);
    assert.doesNotMatch(text, /secret/);
  });

  it('writes over nothing that is there, unless it is told to', async () => {
    const out = fresh();
    writeFileSync(
      join(out, 'clusters.yaml'),
      'legacy: { bootstrap: "127.0.0.1:1" }\nnext: { bootstrap: "127.0.0.1:1" }\n',
    );
    writeFileSync(join(out, 'orders.yaml'), 'mine');
    const args = ['init', '--out', out, '--name', 'orders', ...both, '--topics', 'a'];
    const refused = await run(args);
    assert.equal(refused.exitCode, 2);
    assert.match(refused.stderr, /there is a plan of that name already/);
    assert.equal(readFileSync(join(out, 'orders.yaml'), 'utf8'), 'mine');
    assert.equal((await run([...args, '--force'])).exitCode, 0);
    assert.match(readFileSync(join(out, 'clusters.yaml'), 'utf8'), /^legacy: \{/);
  });

  it('writes nothing for a pattern, a name or a cluster that is none', async () => {
    const cases = [
      ['--name', 'orders', ...both, ...addresses, '--topics', 'a('],
      ['--name', 'Orders!', ...both, ...addresses, '--topics', 'a'],
      ['--name', 'orders', '--source', 'next', '--target', 'next', ...addresses, '--topics', 'a'],
    ];
    for (const args of cases) {
      const ran = await run(['init', '--out', fresh(), ...args, '--json']);
      assert.equal(ran.exitCode, 2, ran.stdout);
      assert.equal((ran.json().error as { code: string }).code, 'PLAN_INVALID');
    }
  });
});

describe('the files that init writes', () => {
  const hostile = 'a: {b}\n# "c"';

  it('mean what was said, whatever it was', () => {
    const seen = {
      topics: 1,
      partitions: 2,
      groups: [hostile],
      otherTopics: [hostile],
      sourceBrokers: 3,
      targetBrokers: 3,
    };
    const plan = { name: 'orders', source: hostile, target: 'next', topics: 'x"\\.y', groups: 'g\\d', seen };
    const parsed = parsePlan(parse(planText(plan)));
    assert.deepEqual([parsed.source, parsed.topics.include, parsed.groups?.include], [hostile, ['x"\\.y'], ['g\\d']]);
    const cluster = { name: hostile, bootstrap: 'a:1,b:2', user: 'u"', mechanism: 'scram-sha-512', tls: false };
    const clusters = parse(clustersText([cluster])) as Record<string, { sasl: { username: string } }>;
    assert.equal(clusters[hostile]?.sasl.username, 'u"');
  });
});
