/** `init`, where nobody can be asked and at a terminal: what it writes, and what it refuses. On real clusters: `test/e2e/manual-switch.test.ts`. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { clustersText, planText } from '../../client/init-files.ts';
import { readPlanFile } from '../../client/plan-file.ts';
import { parsePlan } from '../../contract/plan.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { bin, cleanEnvironment, folder, run } from './command-line.ts';

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

describe('init at a terminal', () => {
  const atTerminal = async (dialogue: readonly [shown: string, typed: string][], out: string) => {
    const typing = [join(import.meta.dirname, 'pseudo-terminal.py'), JSON.stringify(dialogue)];
    const command = [process.execPath, bin, 'init', '--out', out];
    const env = cleanEnvironment({ NEXT_PASSWORD: 'planted', TERM: 'xterm' });
    const child = spawn('python3', [...typing, ...command], { env, timeout: 60_000 });
    let shown = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      shown += chunk;
    });
    const [exitCode] = (await once(child, 'close')) as [number | null];
    return { exitCode, shown };
  };
  const enter = '\r';

  it('asks again what is no answer, takes Enter for what is usual, and says which password is not set', async () => {
    const out = fresh();
    const { exitCode, shown } = await atTerminal(
      [
        ['cluster that is left [legacy]: ', enter],
        ['cluster that is moved to [next]: ', `legacy${enter}`],
        ['wanted another cluster than the source', ''],
        ['cluster that is moved to [next]: ', enter],
        ['Addresses of legacy (host:port,...): ', `nonsense${enter}`],
        ['"nonsense" is no address', ''],
        ['Addresses of legacy (host:port,...): ', `127.0.0.1:1${enter}`],
        ['encrypted (TLS)? yes or no [no]: ', `y${enter}`],
        ['log in to legacy as (empty: no login): ', `cutover${enter}`],
        ['[scram-sha-512]: ', `plain${enter}`],
        ['LEGACY_PASSWORD, which is not set', ''],
        ['Addresses of next (host:port,...): ', `127.0.0.1:1${enter}`],
        ['encrypted (TLS)? yes or no [no]: ', enter],
        ['log in to next as (empty: no login): ', `cutover${enter}`],
        ['[scram-sha-512]: ', enter],
        ['Name of the plan [move]: ', `Orders!${enter}`],
        ['wanted small letters', ''],
        ['Name of the plan [move]: ', `orders${enter}`],
        ['Topics to move (a regular expression) [.*]: ', `orders(${enter}`],
        ['Unterminated group', ''],
        ['Topics to move (a regular expression) [.*]: ', `orders\\..*${enter}`],
      ],
      out,
    );
    assert.equal(exitCode, 0, shown);
    assert.ok(shown.includes(`next: set LEGACY_PASSWORD, then kafka-cutover plan ${join(out, 'orders.yaml')}`), shown);
    const { plan } = readPlanFile(join(out, 'orders.yaml'));
    assert.deepEqual([plan.source, plan.target, plan.topics.include], ['legacy', 'next', ['orders\\..*']]);
    const env = { LEGACY_PASSWORD: 'a', NEXT_PASSWORD: 'b' };
    const { clusters } = parseClusters(readFileSync(join(out, 'clusters.yaml'), 'utf8'), 'clusters.yaml', env);
    const logins = ['legacy', 'next'].map((name) => clusters.get(name)?.credentials.own);
    assert.deepEqual(
      logins.map((own) => [own?.sasl?.mechanism, own?.tls !== undefined]),
      [
        ['plain', true],
        ['scram-sha-512', false],
      ],
    );
  });

  it('writes nothing where the person has had enough', async () => {
    const out = fresh();
    for (const key of ['\u0003', '\u0004']) {
      const { exitCode, shown } = await atTerminal([['cluster that is left', key]], out);
      assert.equal(exitCode, 2, shown);
      assert.match(shown, /USAGE: stopped before everything was said[\s\S]*Nothing was written/);
    }
    assert.deepEqual(readdirSync(out), []);
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
