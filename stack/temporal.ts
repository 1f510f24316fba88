/** The Temporal dev server with its UI: one process, its state in one SQLite file. */
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { CutoverError } from '../contract/errors.ts';
import { freePorts } from './ports.ts';
import { isAlive, launch, logExcerpt } from './processes.ts';

const run = promisify(execFile);

const readyTimeoutMs = 30_000;
const readyPollMs = 50;

export interface LocalTemporal {
  /** `host:port` of the gRPC frontend. */
  readonly address: string;
  readonly namespace: string;
  /** Null for a server from outside, of which only the address is known. */
  readonly uiUrl: string | null;
  /** The `temporal` executable. */
  readonly cliPath: string;
  /** Null for a server from outside. */
  readonly pid: number | null;
}

/** @param again the server that ran in this folder: the new one goes on with its state, at its addresses */
export async function startTemporal(
  folder: string,
  pidFile: string,
  cliPath: string,
  signal: AbortSignal,
  again?: Pick<LocalTemporal, 'address' | 'uiUrl'>,
): Promise<LocalTemporal> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const before = again && [again.address, again.uiUrl ?? ''].map((where) => Number(where.split(':').at(-1)));
  const [port = 0, uiPort = 0] = before ?? (await freePorts(2));
  const logFile = join(folder, 'temporal.log');
  const address = `127.0.0.1:${port}`;
  // The user's own Temporal profiles and TEMPORAL_* variables mean another server.
  const ownOnly = ['--disable-config-file', '--disable-config-env'];
  const ports = ['--ip', '127.0.0.1', '--port', String(port), '--ui-port', String(uiPort)];
  signal.throwIfAborted();
  const identity = launch(pidFile, {
    command: cliPath,
    args: [
      'server',
      'start-dev',
      ...ports,
      '--db-filename',
      join(folder, 'temporal.db'),
      '--log-level',
      'warn',
      ...ownOnly,
    ],
    cwd: folder,
    logFile,
  });
  const deadline = performance.now() + readyTimeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const died = !isAlive(identity);
    if (died || performance.now() > deadline) {
      throw new CutoverError('STACK_UNAVAILABLE', {
        what: `the Temporal dev server ${died ? 'ended while it started' : `was not ready after ${readyTimeoutMs / 1000} s`}`,
        where: logFile,
        found: `in its log:\n${logExcerpt(logFile)}\n`,
        next: 'Read its log. After "Address already in use", start again: other ports are chosen.',
      });
    }
    const describe = ['operator', 'namespace', 'describe', 'default', '--address', address, ...ownOnly];
    const ready = await run(cliPath, describe, { signal, timeout: 5000 }).then(
      () => true,
      () => false,
    );
    if (ready) break;
    await sleep(readyPollMs, undefined, { signal });
  }
  return { address, namespace: 'default', uiUrl: `http://127.0.0.1:${uiPort}`, cliPath, pid: identity.pid };
}
