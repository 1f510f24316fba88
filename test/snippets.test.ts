/**
 * What people copy out of the documents works: every command line of ours is parsed by the real command line, every YAML block by the real
 * readers of plans, clusters.yaml and codec.yaml, or it is a file in `examples/`, which has a test of its own.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, extname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { parse } from 'yaml';
import { program } from '../client/cli.ts';
import { parsePlan, planSchema } from '../contract/plan.ts';
import { gateNames, messageNames, steps } from '../contract/status.ts';
import { parseClusters } from '../kafka/clusters.ts';
import { readCodec } from '../worker/codec.ts';
import { makeAuthority } from './kafka/certificates.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], { cwd: root })
  .toString()
  .split('\0');
const documents = files.filter((path) => path.endsWith('.md') && path !== 'CHANGELOG.md');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const examples = files
  .filter((path) => path.startsWith('examples/') && path.endsWith('.yaml'))
  .map((path) => ({ path, text: read(path) }));

interface Block {
  readonly where: string;
  readonly language: string;
  readonly text: string;
}

/** What stands between two lines of three backticks; `where` is the document and the line that it begins at. */
const blocks: readonly Block[] = documents.flatMap((path) => {
  const text = read(path);
  return [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(({ 1: language = '', 2: inner = '', index }) => ({
    where: `${path}:${text.slice(0, index).split('\n').length}`,
    language,
    text: inner,
  }));
});

describe('command lines in the documents', () => {
  const found = [
    ...blocks.flatMap(({ where, text }) =>
      text.split('\n').flatMap((line) => commandsIn(line).map((command) => ({ where, command }))),
    ),
    ...documents.flatMap((path) =>
      [
        ...read(path)
          .replace(/^```[\s\S]*?^```$/gm, '')
          .matchAll(/`([^`\n]+)`/g),
      ].flatMap(([, span = '']) => commandsIn(span).map((command) => ({ where: path, command }))),
    ),
  ];

  it('are found at all', () => {
    assert.ok(found.length > 80, `${found.length}`);
    assert.ok(found.some(({ where }) => where.startsWith('README.md')));
    assert.ok(found.some(({ where }) => where.startsWith('RUNBOOK.md')));
  });

  it('name commands, options and choices that exist, with as many arguments as they take', async () => {
    const wrong = await Promise.all(
      found.map(async ({ where, command }) => {
        const refusal = await refusalOf(command);
        return refusal === null ? [] : [`${where}: kafka-cutover ${command}: ${refusal}`];
      }),
    );
    assert.equal(wrong.flat().join('\n'), '');
  });

  it('are refused by this test where they are wrong', async () => {
    for (const [command, refusal] of [
      ['aprove orders cutover', /unknown command/],
      ['approve orders', /missing required argument/],
      ['approve orders cutover --bye ana', /unknown option/],
      ['decide orders STEP retry|undo', /'undo' is invalid/],
      ['plan a.yaml b.yaml', /too many arguments/],
    ] as const) {
      assert.match((await refusalOf(command)) ?? 'taken', refusal, command);
    }
  });

  it('of Temporal send messages that exist, in JSON', () => {
    const sent = blocks.flatMap(({ where, text }) =>
      [...text.matchAll(/^temporal workflow (?:signal|update).*--name (\S+) --input '(.*)'$/gm)].map(
        ([, name = '', input = '']) => ({ where, name, input: JSON.parse(input) as { gate: string; by: string } }),
      ),
    );
    assert.ok(sent.length >= 4);
    for (const { where, name, input } of sent) {
      assert.ok((messageNames as readonly string[]).includes(name), `${where}: ${name}`);
      assert.ok((gateNames as readonly string[]).includes(input.gate) && input.by, where);
    }
  });
});

describe('YAML in the documents', () => {
  const work = mkdtempSync(join(tmpdir(), 'kafka-cutover-snippets-'));
  after(() => rmSync(work, { recursive: true }));
  const smallest = { name: 'orders', source: 'legacy', target: 'next', topics: { include: ['orders\\..*'] } };
  const planKeys = Object.keys(planSchema.shape);
  const clusterKeys = ['bootstrap', 'sasl', 'tls', 'forward', 'reverse', 'principal', 'registry'];
  const authority = makeAuthority('documents');
  const publicKey = generateKeyPairSync('ed25519').publicKey.export({ format: 'pem', type: 'spki' });

  /** A block may show a part of a plan and a part of clusters.yaml, each behind a comment that says so. */
  const parts = blocks
    .filter(({ language }) => language === 'yaml')
    .flatMap(({ where, text }) =>
      text
        .split(/^# (?:plan|clusters\.yaml)$/m)
        .filter((part) => part.trim() !== '')
        .map((part) => ({ where, text: part })),
    );

  for (const { where, text } of parts) {
    it(`is taken by what reads it: ${where}`, () => {
      if (examples.some((file) => file.text.includes(text))) return;
      assert.ok(!where.startsWith('README.md'), 'wanted in README: what stands in a file of examples/');
      const value = parse(text) as Record<string, unknown>;
      const keys = Object.keys(value);
      if (keys.every((key) => planKeys.includes(key))) {
        parsePlan({ ...smallest, ...value }, where);
      } else if ('current' in value) {
        const file = join(work, 'codec.yaml');
        writeFileSync(file, text);
        writeFileSync(join(work, 'k2.key'), Buffer.alloc(32).toString('base64'));
        assert.ok(readCodec({ KAFKA_CUTOVER_CODEC: file, CODEC_K1: Buffer.alloc(32, 1).toString('base64') }));
      } else {
        const isCluster = keys.every((key) => clusterKeys.includes(key));
        const cluster = { bootstrap: 'a:1', ...value };
        const whole = isCluster ? { legacy: cluster } : withAddresses(value);
        parseClusters(JSON.stringify(whole), join(work, 'clusters.yaml'), secretsOf(text));
      }
    });
  }

  /** Where only a part of a cluster is shown it says no address. */
  function withAddresses(value: Record<string, unknown>): Record<string, unknown> {
    const isCluster = (entry: unknown) => clusterKeys.some((key) => key in (entry as object));
    return Object.fromEntries(
      Object.entries(value).map(([name, entry]) => [
        name,
        isCluster(entry) ? { bootstrap: 'a:1', ...(entry as object) } : entry,
      ]),
    );
  }

  /** Variables and files that a block names, with something in them that can be read. */
  function secretsOf(text: string): NodeJS.ProcessEnv {
    const { cert, key } = authority.issue({ commonName: 'planted' });
    for (const [, path = ''] of text.matchAll(/file: ([\w-][\w./-]*)/g)) {
      mkdirSync(join(work, dirname(path)), { recursive: true });
      writeFileSync(join(work, path), { '.key': key, '.pub': publicKey }[extname(path)] ?? cert);
    }
    return Object.fromEntries([...text.matchAll(/env: (\w+)/g)].map(([, name = '']) => [name, 'planted']));
  }
});

/** Command lines of ours in one line of code: what follows our name up to a comment or another command. */
function commandsIn(line: string): string[] {
  return [...line.matchAll(/(?:^|(?<!--[\w-]+)[\s(])kafka-cutover ((?:[a-z]|-)[^#;&>]*)/g)].map(([, command = '']) =>
    command
      .replace(/\)\s*$/, '')
      .replace(/ \|.*$/, '')
      .trim(),
  );
}

/** What documents write in capitals, with something that is taken there. */
const stands: Readonly<Record<string, string>> = {
  GATE: 'cutover',
  STEP: steps[0],
  CHOICE: 'retry',
  N: '1',
  SHELL: 'bash',
  COMMAND: 'plan',
};

/**
 * Why the command line would not be taken, or null. Brackets hold what may be left out, `a|b` are choices: each is tried.
 */
async function refusalOf(command: string): Promise<string | null> {
  const words = command
    .replace(/[[\]]/g, ' ')
    .replaceAll('...', ' ')
    .trim()
    .split(/\s+/)
    .map((word) => word.split('|').map((choice) => stands[choice] ?? choice));
  // A command's name alone stands for the command.
  if (words.length === 1) words.push(['--help']);
  const most = Math.max(...words.map((choices) => choices.length));
  for (let nth = 0; nth < most; nth += 1) {
    const argv = words.map((choices) => choices[nth % choices.length] ?? '');
    const parsed: Command = program(() => async () => {});
    for (const each of [parsed, ...parsed.commands, ...parsed.commands.flatMap((inner) => inner.commands)]) {
      each.configureOutput({ writeOut: () => {}, writeErr: () => {}, outputError: () => {} });
    }
    try {
      await parsed.parseAsync(argv, { from: 'user' });
    } catch (error) {
      const { exitCode, message } = error as { exitCode?: number; message: string };
      if (exitCode !== 0) return message;
    }
  }
  return null;
}
