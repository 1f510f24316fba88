/** Runs the real `bin/kafka-cutover.js` as a user would, with pipes in place of a terminal. */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const bin = join(import.meta.dirname, '..', '..', 'bin', 'kafka-cutover.js');
/** Where the commands run: there is no clusters.yaml in it. */
export const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-cli-'));

export interface Ran {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The last line of stdout, parsed. */
  json(): Record<string, unknown>;
}

/** The environment without what a developer's shell may say about Temporal, clusters or colours. */
export function cleanEnvironment(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env, USER: 'tester', ...extra };
  for (const name of Object.keys(env)) {
    if (/^(TEMPORAL_|KAFKA_CUTOVER_|NO_COLOR|FORCE_COLOR|NODE_TEST)/.test(name) && !(name in extra)) delete env[name];
  }
  return env;
}

const running = new Set<ChildProcess>();

/** Ends what a failed test has left behind, so that the file can end. */
export function endAll(): void {
  for (const child of running) child.kill('SIGKILL');
}

export function launch(args: readonly string[], env: NodeJS.ProcessEnv = {}, node = process.execPath) {
  const child = spawn(node, [bin, ...args], { cwd: folder, env: cleanEnvironment(env) });
  child.stdin.end();
  running.add(child);
  child.once('close', () => running.delete(child));
  return { child, ended: ended(child) };
}

export function run(args: readonly string[], env: NodeJS.ProcessEnv = {}, node?: string): Promise<Ran> {
  return launch(args, env, node).ended;
}

function ended(child: ChildProcessWithoutNullStreams): Promise<Ran> {
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode, signal) => {
      const json = () => JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Record<string, unknown>;
      resolve({ exitCode, signal, stdout, stderr, json });
    });
  });
}

let files = 0;

/** Writes a file and gives its path. */
export function written(text: string, extension = 'yaml'): string {
  const path = join(folder, `plan-${files++}.${extension}`);
  writeFileSync(path, text);
  return path;
}
