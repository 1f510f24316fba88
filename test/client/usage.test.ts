import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { codes } from '../../contract/errors.ts';
import { type Ran, run, written } from './command-line.ts';

function errorOf(ran: Ran): { code: string; message: string; detail: Record<string, string> } {
  return ran.json().error as ReturnType<typeof errorOf>;
}

describe('the command line', () => {
  it('lists every command of the contract, without colours in a pipe', async () => {
    const { exitCode, stdout } = await run(['--help'], { FORCE_COLOR: '1' });

    assert.equal(exitCode, 0);
    for (const command of 'plan start status approve reject decide pause resume rollback abort tune report'.split(
      ' ',
    )) {
      assert.match(stdout, new RegExp(`^  ${command} `, 'm'));
    }
    for (const command of 'init mirror verify unfence worker stack schema explain completion'.split(' ')) {
      assert.match(stdout, new RegExp(`^  ${command} `, 'm'));
    }
    assert.ok(!stdout.includes('\x1b'));
  });

  it('is quick with --help: it loads neither Temporal nor Kafka nor zod', async () => {
    const script = `
      import { registerHooks } from 'node:module';
      const urls = [];
      registerHooks({ load: (url, context, next) => (urls.push(url), next(url, context)) });
      const { main } = await import(${JSON.stringify(new URL('../../client/cli.ts', import.meta.url).href)});
      await main(['--help']);
      console.error(JSON.stringify(urls));`;
    const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    const urls = JSON.parse(stderr) as string[];
    assert.ok(urls.some((url) => url.includes('/node_modules/commander/')));
    const packages = /\/node_modules\/(@temporalio|@platformatic|@grpc|kafkajs|zod|yaml|pino)\//;
    assert.deepEqual(
      urls.filter((url) => packages.test(url)),
      [],
    );
  });

  it('refuses what it does not know with exit code 2 and says why', async () => {
    const [command, option, gate, none, extra] = await Promise.all([
      run(['aprove', 'orders', 'cutover']),
      run(['status', 'orders', '--wath']),
      run(['approve', 'orders', 'cut', '--json']),
      run([]),
      run(['plan']),
    ]);

    assert.equal(command.exitCode, 2);
    assert.match(command.stderr, /USAGE: unknown command 'aprove'[\s\S]*approve/);
    assert.equal(option.exitCode, 2);
    assert.match(option.stderr, /unknown option '--wath'/);
    assert.equal(gate.exitCode, 2);
    assert.equal(errorOf(gate).code, 'USAGE');
    assert.match(errorOf(gate).message, /Allowed choices are start, cutover/);
    assert.equal(none.exitCode, 2);
    assert.equal(extra.exitCode, 2);
    for (const { stderr } of [command, option, gate, none, extra]) assert.doesNotMatch(stderr, /^ +at /m);
  });

  it('knows the commands of later versions and refuses them with a code', async () => {
    for (const args of [
      ['gateway', '--port', '1'],
      ['rehearse', 'plan.yaml'],
    ]) {
      const ran = await run([...args, '--json']);
      assert.equal(ran.exitCode, 2);
      assert.equal(errorOf(ran).code, 'NOT_SUPPORTED_YET');
    }
  });

  it('explains a code, and names similar ones for a wrong code', async () => {
    const known = await run(['explain', 'fence-not-proven']);
    assert.equal(known.exitCode, 0);
    assert.match(known.stdout, /FENCE_NOT_PROVEN/);
    assert.ok(known.stdout.includes(codes.FENCE_NOT_PROVEN.next));

    const unknown = await run(['explain', 'FENCE_BROKEN', '--json']);
    assert.equal(unknown.exitCode, 2);
    assert.match(errorOf(unknown).detail.wanted ?? '', /FENCE_NOT_PROVEN/);
  });

  it("prints the plan's JSON Schema", async () => {
    const ran = await run(['schema', '--json']);
    const schema = ran.json() as { $schema: string; required: string[]; properties: Record<string, unknown> };
    assert.match(schema.$schema, /json-schema\.org/);
    assert.deepEqual([...schema.required].sort(), ['name', 'source', 'target', 'topics']);
    assert.ok('fence' in schema.properties);
    const forPeople = await run(['schema']);
    assert.deepEqual(JSON.parse(forPeople.stdout), schema);
  });

  it('hands over to the newer Node of the checkout where the system has an older one', async (t) => {
    const systemNode = (process.env.PATH ?? '')
      .split(':')
      .map((part) => join(part, 'node'))
      .find((path) => existsSync(path) && !path.includes('node_modules'));
    if (!systemNode) return t.skip('no node on PATH');
    const version = execFileSync(systemNode, ['--version'], { encoding: 'utf8' });
    if (Number.parseInt(version.slice(1), 10) >= 24) return t.skip(`node on PATH is ${version.trim()}`);

    const help = await run(['explain', 'USAGE'], {}, systemNode);
    assert.equal(help.exitCode, 0, help.stderr);
    assert.match(help.stdout, /^USAGE/);
    const wrong = await run(['nonsense'], {}, systemNode);
    assert.equal(wrong.exitCode, 2);
  });
});

describe('what goes wrong', { concurrency: 4 }, () => {
  const cases: Readonly<
    Record<string, { args: readonly string[]; code: string; env?: NodeJS.ProcessEnv; exitCode?: number }>
  > = {
    'a command that is none': { args: ['nonsense'], code: 'USAGE' },
    'an option that is none': { args: ['plan', '--nonsense'], code: 'USAGE' },
    'half the version of a worker': { args: ['worker', '--build-id', '7'], code: 'USAGE' },
    'an argument too few': { args: ['approve', 'orders'], code: 'USAGE' },
    'an argument too many': { args: ['status', 'orders', 'again'], code: 'USAGE' },
    'a folder for a plan': { args: ['plan', '.'], code: 'PLAN_INVALID' },
    'a plan that is no text': { args: ['plan', process.execPath], code: 'PLAN_INVALID' },
    'a plan that names itself': { args: ['plan', written('a: &a [*a]')], code: 'PLAN_INVALID' },
    'a clusters file that is none': {
      args: ['plan', written('name: a\nsource: b\ntarget: c\ntopics: { include: [d] }')],
      env: { KAFKA_CUTOVER_CLUSTERS: '/dev/null' },
      code: 'CLUSTERS_INVALID',
    },
    'an address that is none': {
      args: ['status', 'orders'],
      env: { TEMPORAL_ADDRESS: '::::' },
      code: 'TEMPORAL_UNREACHABLE',
      exitCode: 1,
    },
    'a report of another kind': { args: ['report', 'orders', '--out', 'orders.pdf'], code: 'USAGE' },
    'a step that is none': { args: ['decide', 'orders', 'dance', 'retry'], code: 'USAGE' },
    'a number that is none': { args: ['tune', 'orders', '--shards', 'many'], code: 'USAGE' },
    'a code that is none': { args: ['explain', '__proto__'], code: 'USAGE' },
    'a shell that is none': { args: ['completion', 'powershell'], code: 'USAGE' },
    nobody: { args: ['approve', 'orders', 'cutover', '--by', '  '], code: 'USAGE' },
  };
  for (const [name, { args, code, env = {}, exitCode = 2 }] of Object.entries(cases)) {
    it(`is a code and a next step, never a stack: ${name}`, async () => {
      const ran = await run(args, env);
      assert.equal(ran.exitCode, exitCode, ran.stderr);
      assert.match(ran.stderr, new RegExp(`^${code}: .+\\n  Next: .+`));
      assert.doesNotMatch(ran.stderr, /^ +at |node:internal|Error:/m);
      assert.equal(ran.stdout, '');
    });
  }

  it('shows where in the code it came from to whoever asks', async () => {
    const ran = await run(['explain', 'NONSENSE'], { KAFKA_CUTOVER_DEBUG: '1' });
    assert.match(ran.stderr, /^ +at .*explain\.[tj]s/m);
  });
});

describe('completion', () => {
  const words = (...typed: readonly string[]) => {
    const line = `COMP_WORDS=(kafka-cutover ${typed.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${typed.length}`;
    return `${line}; _kafka_cutover; echo "\${COMPREPLY[*]}"`;
  };

  it('of bash knows commands, choices and options', async (t) => {
    const { stdout: script } = await run(['completion', 'bash']);
    const asked = [
      words('st'),
      words('approve', 'orders', 'cut'),
      words('stack', 'up', '--b'),
      words('decide', 'x', 'fen'),
    ];
    const { stdout, error } = spawnSync('bash', ['-c', `${script}\n${asked.join('\n')}`], { encoding: 'utf8' });
    if (error) return t.skip('no bash');
    assert.deepEqual(stdout.trim().split('\n'), ['start status stack', 'cutover', '--brokers', 'fence']);
  });

  it('of zsh and fish names every command that --help lists', async () => {
    const [help, zsh, fish] = await Promise.all([
      run(['--help']),
      run(['completion', 'zsh']),
      run(['completion', 'fish']),
    ]);
    const listed = [...help.stdout.matchAll(/^ {2}([a-z]+) /gm)]
      .map((match) => match[1])
      .filter((name) => name !== 'help');
    for (const name of listed) {
      assert.match(zsh.stdout, new RegExp(`^    '${name}:`, 'm'));
      assert.match(
        fish.stdout,
        new RegExp(`^complete -c kafka-cutover -n __fish_use_subcommand -f -a ${name} -d '`, 'm'),
      );
    }
  });
});

describe('docs/cli.md', () => {
  it('describes every command and option that --help lists', async () => {
    const docs = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'cli.md'), 'utf8');
    const { stdout } = await run(['--help']);
    const listed = [...stdout.matchAll(/^ {2}([a-z]+) /gm)].map((match) => match[1]);
    const commands = listed.filter((command) => command !== 'help');
    assert.ok(commands.length >= 18, `found ${commands}`);
    const helps = await Promise.all(commands.map((command) => run([`${command}`, '--help'])));
    for (const [index, command] of commands.entries()) {
      assert.match(docs, new RegExp(`\`${command}[ \`]`), `${command} is missing`);
      for (const [option] of helps[index]?.stdout.matchAll(/--[a-z-]+/g) ?? []) {
        if (option !== '--help') assert.ok(docs.includes(option), `${command} ${option} is missing`);
      }
    }
  });
});

describe('a plan that is wrong', () => {
  const good = 'name: orders\nsource: legacy\ntarget: next\ntopics:\n  include: ["a"]\n';
  const cases = {
    'an unknown key': [`${good}gatez: {}\n`, /line 6: gatez: Unrecognized key/, 6],
    'an unknown key inside': [`${good}fence:\n  kind: acl\n  maxhold: 5s\n`, /line 8: fence\.maxhold/, 8],
    'a bad regular expression': [good.replace('"a"', '"a("'), /line 5: topics\.include\.0: not a JavaScript/, 5],
    'a bad name': [good.replace('orders', 'Orders!'), /line 1: name: wanted \[a-z0-9\]/, 1],
    'a missing key': [good.replace('target: next\n', ''), /target: /, null],
    'a bad duration': [`${good}rollback: { window: 3 days }\n`, /line 6: rollback\.window: wanted a duration/, 6],
    'the same cluster twice': [good.replace('next', 'legacy'), /line 3: target: wanted another cluster/, 3],
    'a value of the wrong type': [`${good}waivers: yes\n`, /line 6: waivers: /, 6],
    'a key twice': [`${good}name: again\n`, /Map keys must be unique/, 6],
    'not YAML': ['name: [', /neither YAML nor JSON/, 1],
    'an empty file': ['', /expected object/, null],
    'JSON with a wrong value': ['{\n "name": "orders",\n "source": 1\n}', /line 3: source: /, 3],
  } as const;

  for (const [name, [text, message, line]] of Object.entries(cases)) {
    it(`is refused with path and line: ${name}`, async () => {
      const file = written(text);
      const ran = await run(['start', file, '--json']);
      assert.equal(ran.exitCode, 2, ran.stderr);
      const error = errorOf(ran);
      assert.equal(error.code, 'PLAN_INVALID');
      assert.match(error.message, message);
      if (line !== null) assert.match(error.detail.where ?? '', new RegExp(`^${file}:${line}`));
      assert.equal(ran.stdout.trim().split('\n').length, 1);
    });
  }

  it('is refused when it cannot be read, by every command that takes one', async () => {
    for (const command of ['plan', 'start', 'mirror', 'verify', 'unfence']) {
      const ran = await run([command, 'nowhere.yaml']);
      assert.equal(ran.exitCode, 2);
      assert.match(ran.stderr, /PLAN_INVALID: cannot read the plan \(nowhere\.yaml\): found ENOENT/);
    }
  });

  it('is refused when it names what clusters.yaml does not have, before anything is connected to', async () => {
    const plan = written(`${good}producers: { switch: webhook, webhook: pager }\n`);
    const clusters = written('legacy: { bootstrap: "127.0.0.1:1" }\n');
    const both = written('legacy: { bootstrap: "127.0.0.1:1" }\nnext: { bootstrap: "127.0.0.1:1" }\n');
    const wrong = written('legacy: { bootstrap: 5 }\n');
    const [absent, unknown, webhook, invalid] = await Promise.all([
      run(['plan', plan, '--json']),
      run(['plan', plan, '--json'], { KAFKA_CUTOVER_CLUSTERS: clusters }),
      run(['plan', plan, '--json'], { KAFKA_CUTOVER_CLUSTERS: both }),
      run(['plan', plan, '--json'], { KAFKA_CUTOVER_CLUSTERS: wrong }),
    ]);
    assert.deepEqual(
      [absent, unknown, webhook, invalid].map((ran) => [ran.exitCode, errorOf(ran).code]),
      [
        [2, 'CLUSTERS_INVALID'],
        [2, 'CLUSTER_UNKNOWN'],
        [2, 'WEBHOOK_UNKNOWN'],
        [2, 'CLUSTERS_INVALID'],
      ],
    );
  });
});

describe('the examples', () => {
  it('are valid plans and clusters files', async () => {
    const examples = join(import.meta.dirname, '..', '..', 'examples');
    const secrets = ['LEGACY', 'NEXT'].flatMap((cluster) =>
      ['', '_FORWARD', '_REVERSE'].map((role) => [`KAFKA_CUTOVER_${cluster}${role}_PASSWORD`, 'secret']),
    );
    const env = {
      ...Object.fromEntries(secrets),
      DEPLOYER_SECRET: 'secret',
      KAFKA_CUTOVER_CLUSTERS: join(examples, 'clusters.yaml'),
    };
    const { readPlanAndClusters } = await import('../../client/plan-and-clusters.ts');
    const { plan, clusters } = await readPlanAndClusters(join(examples, 'orders.yaml'), env);
    assert.equal(plan.name, 'orders');
    assert.equal(plan.gates.cutover.approvals, 2);
    assert.equal(clusters.cluster('legacy').hasOwnPrincipal.forward, true);
  });
});
