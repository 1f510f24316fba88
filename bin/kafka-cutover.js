#!/usr/bin/env node
/**
 * The entry of the command line. Plain JavaScript that old versions of Node can read: its first job is to
 * find a Node that can run the rest. A checkout brings one along (the development dependency `node`), so a
 * machine with an older Node needs nothing else.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const nodeVersionMin = 24;
/** How long what is left open may keep the process alive once the command has given its answer. */
const lingerMs = 3000;

/**
 * What mirrors copies gigabytes for hours, and V8 would give its short-lived objects three times up to 32 MB: memory that nobody
 * needs (measured over 1,000 partitions: 110 MB less, at the same CPU time). It can only be said when Node starts.
 */
const mirroring = ['mirror', 'worker'];
const semiSpaceOption = '--max-semi-space-size';
const semiSpaceFlag = `${semiSpaceOption}=4`;

/** Two SIGINTs within this time are one Ctrl-C. */
const oneWishMs = 500;

const here = dirname(fileURLToPath(import.meta.url));

if (Number.parseInt(process.versions.node, 10) >= nodeVersionMin) await runHere();
else runWithNewerNode();

async function runHere() {
  endWithParent();
  limitMemory();
  module.enableCompileCache?.(); // `--help` in half the time; falls back silently where /tmp is read-only
  // Node refuses to run TypeScript below node_modules, so what is installed runs from dist/.
  const sources = join(here, '..', 'client', 'cli.ts');
  const built = join(here, '..', 'dist', 'client', 'cli.js');
  const installed = here.split(/[\\/]/).includes('node_modules');
  const entry = !installed && existsSync(sources) ? sources : built;
  if (!existsSync(entry)) {
    process.stderr.write(`kafka-cutover: ${entry} is missing. Next: run \`npm run build\`, or install it again.\n`);
    process.exitCode = 1;
    return;
  }
  const { main } = await import(new URL(`file://${entry}`).href);
  process.exitCode = await main(process.argv.slice(2));
  setTimeout(() => process.exit(), lingerMs).unref();
}

function runWithNewerNode() {
  const newer = findNode();
  if (!newer) {
    process.stderr.write(
      `kafka-cutover needs Node ${nodeVersionMin} or later; this is ${process.version} (${process.execPath}). ` +
        'Next: install it from https://nodejs.org, or run `npm ci` in a checkout, which brings one along.\n',
    );
    process.exitCode = 1;
    return;
  }
  const script = fileURLToPath(import.meta.url);
  const child = spawn(newer, [...process.execArgv, semiSpaceFlag, script, ...process.argv.slice(2)], {
    // The channel carries nothing: it closes when this process dies, however it dies (see endWithParent).
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'];
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`kafka-cutover: ${newer} cannot be started: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on('exit', (code, signal) => {
    if (child.connected) child.disconnect();
    if (!signal) {
      process.exitCode = code ?? 1;
      return;
    }
    for (const each of signals) process.removeAllListeners(each);
    process.exitCode = 128 + (constants.signals[signal] ?? 0);
    process.kill(process.pid, signal);
  });
}

/** Becomes the same process again, with the flag. Where that cannot be done, it only takes more memory. */
function limitMemory() {
  const command = process.argv.slice(2).find((argument) => !argument.startsWith('-'));
  if (!mirroring.includes(command) || process.channel || !process.execve || process.platform === 'win32') return;
  const given = [...process.execArgv, process.env.NODE_OPTIONS ?? ''];
  if (given.some((option) => option.replaceAll('_', '-').includes(semiSpaceOption))) return;
  const script = fileURLToPath(import.meta.url);
  const args = [process.execPath, ...process.execArgv, semiSpaceFlag, script, ...process.argv.slice(2)];
  process.execve(process.execPath, args, process.env);
}

/**
 * Started by an older Node, we end when it does: killed with SIGKILL it could not tell us, and a worker
 * that its supervisor believes dead would go on mirroring.
 */
function endWithParent() {
  if (!process.channel) return;
  process.channel.unref();
  // Ctrl-C reaches both of us, and our parent relays its own: two that come at once are one wish.
  let interruptedAt = Number.NEGATIVE_INFINITY;
  process.on('SIGINT', () => {
    const again = performance.now() - interruptedAt < oneWishMs;
    interruptedAt = performance.now();
    if (!again && process.listenerCount('SIGINT') === 1) process.exit(130);
  });
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
}

/** The `node` package's binary in the nearest node_modules that has one. */
function findNode() {
  for (let folder = join(here, '..'); ; folder = dirname(folder)) {
    for (const name of ['node', 'node.exe']) {
      const candidate = join(folder, 'node_modules', 'node', 'bin', name);
      if (existsSync(candidate)) return candidate;
    }
    if (dirname(folder) === folder) return null;
  }
}
