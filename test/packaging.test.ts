/**
 * What people install: built and packed from a copy of the sources, installed into an empty folder, and run there with
 * Node 24. Skipped where no registry can be reached, because an installation needs the libraries.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { cleanEnvironment } from './client/command-line.ts';
import { Estate } from './e2e/support/estate.ts';
import { Operator } from './e2e/support/operator.ts';
import { waitFor } from './e2e/support/waiting.ts';
import { sharedStack, uniqueName } from './support/stack.ts';

const execute = promisify(execFile);
const root = join(import.meta.dirname, '..');
const work = mkdtempSync(join(tmpdir(), 'kafka-cutover-package-'));
after(() => rmSync(work, { recursive: true, force: true }));

const npmTimeoutMs = 170_000;
const commandTimeoutMs = 60_000;
const reachTimeoutMs = 15_000;
const outputBytesMax = 16 << 20;

/** npm as the user has it, whichever Node that runs on; fails with what it said. */
async function npm(cwd: string, args: readonly string[], timeout = npmTimeoutMs): Promise<string> {
  const options = { cwd, timeout, maxBuffer: outputBytesMax, env: cleanEnvironment() };
  const { stdout } = await execute('npm', args, options).catch(
    (error: Error & { stdout?: string; stderr?: string }) => {
      throw new Error(`npm ${args.join(' ')}: ${error.message}\n${error.stdout ?? ''}${error.stderr ?? ''}`);
    },
  );
  return stdout;
}

/** The sources as they are now, and the libraries that are there, so that nobody else's build is in the way. */
function copyOfTheSources(): string {
  const copy = join(work, 'sources');
  const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], { cwd: root });
  for (const path of listed.toString().split('\0').filter(Boolean)) {
    if (!existsSync(join(root, path))) continue;
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    cpSync(join(root, path), join(copy, path));
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

const unreachable = await npm(work, ['view', 'commander', 'version'], reachTimeoutMs).then(
  () => false,
  () => 'no package registry can be reached, so nothing can be installed',
);

describe('the package', { skip: unreachable }, () => {
  const folder = join(work, 'empty');
  const bin = join(folder, 'node_modules', '.bin', 'kafka-cutover');

  /** With the Node that runs the tests: npm's own may be older. */
  function run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<{ stdout: string; stderr: string }> {
    const options = { cwd: folder, timeout: commandTimeoutMs, maxBuffer: outputBytesMax, env: cleanEnvironment(env) };
    return execute(process.execPath, [bin, ...args], options);
  }

  it('is built, packed and installed into an empty folder', async () => {
    const copy = copyOfTheSources();
    await npm(copy, ['run', 'build']);
    const [packed] = JSON.parse(await npm(copy, ['pack', '--json', '--pack-destination', work])) as Packed[];
    assert.ok(packed);
    const paths = packed.files.map(({ path }) => path);
    for (const path of [
      'bin/kafka-cutover.js',
      'dist/client/cli.js',
      'dist/workflow-bundle.js',
      'README.md',
      'LICENSE',
    ]) {
      assert.ok(paths.includes(path), `${path} is packed`);
    }
    const foreign = paths.filter((path) => !/^(bin|dist|docs)\/|^(README\.md|LICENSE|package\.json)$/.test(path));
    assert.deepEqual(foreign, [], 'no tests, no sources');
    mkdirSync(folder);
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
    await npm(folder, ['install', '--no-audit', '--no-fund', '--prefer-offline', join(work, packed.filename)]);
    assert.ok(existsSync(bin));
    assert.ok(!existsSync(join(folder, 'node_modules', 'typescript')), 'development dependencies stay out');
  });

  it('says how it is used, and its version', async () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    assert.match((await run(['--help'])).stdout, /^Usage: kafka-cutover [\s\S]*Exit codes:/);
    assert.equal((await run(['--version'])).stdout.trim(), version);
  });

  it('plans on real clusters', async () => {
    const { stack, clusters } = await sharedStack();
    const estate = await Estate.of(stack, clusters);
    const name = uniqueName('packaged');
    await estate.createTopic('source', `${name}.created`);
    const file = join(folder, 'plan.yaml');
    writeFileSync(
      file,
      JSON.stringify({ name, source: 'legacy', target: 'next', topics: { include: [`${name}\\..*`] } }),
    );
    const { stdout } = await run(['plan', file, '--json'], stack.env);
    const { blockers, topics } = JSON.parse(stdout) as { blockers: number; topics: number };
    assert.deepEqual([blockers, topics], [0, 1]);
  });

  it('runs a worker, with the workflow code that it brought along, which ends in peace', async () => {
    const { env } = await Operator.at((await sharedStack()).stack);
    const worker = spawn(process.execPath, [bin, 'worker'], { cwd: folder, env: cleanEnvironment(env) });
    let log = '';
    for (const stream of [worker.stdout, worker.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        log += chunk;
      });
    }
    const ended = once(worker, 'exit');
    try {
      const ready = () => {
        assert.equal(worker.exitCode, null, log);
        return log.includes('worker is ready');
      };
      await waitFor('the worker to be ready', commandTimeoutMs, ready, { standing: () => log });
      assert.doesNotMatch(log, /bundling the workflow code/);
      worker.kill('SIGTERM');
      const late = sleep(commandTimeoutMs, undefined, { ref: false }).then(() => assert.fail(`still there\n${log}`));
      assert.deepEqual(await Promise.race([ended, late]), [0, null], log);
    } finally {
      worker.kill('SIGKILL');
    }
  });
});

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}
