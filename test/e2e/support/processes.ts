/**
 * Processes of this repository's files that tests kill, freeze and start again. All of them are ended by pid, with the
 * scene that they belong to and at the latest with the process that started them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { excerpt } from '../../../stack/processes.ts';
import { waitFor } from './waiting.ts';

/** The kernel needs a moment even for SIGKILL when the disk is busy. */
const goneTimeoutMs = 10_000;

const running = new Set<Process>();
process.once('exit', () => {
  for (const one of running) one.child.kill('SIGKILL');
});
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(1));

export class Process {
  readonly name: string;
  readonly child: ChildProcess;
  readonly logFile: string;
  readonly #gone: Promise<void>;
  #alive = true;

  /** Runs `args` with the Node that runs the tests; its output is appended to `<dir>/<name>.log`. */
  constructor(dir: string, name: string, args: readonly string[], env: Readonly<Record<string, string>>) {
    this.name = name;
    this.logFile = join(dir, `${name}.log`);
    const log = openSync(this.logFile, 'a', 0o600);
    this.child = spawn(process.execPath, args, {
      cwd: dir,
      env: { ...process.env, ...env },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    running.add(this);
    this.#gone = new Promise((resolve) => {
      const end = () => {
        this.#alive = false;
        running.delete(this);
        resolve();
      };
      this.child.once('exit', end);
      this.child.once('error', end);
    });
  }

  get alive(): boolean {
    return this.#alive;
  }

  get log(): string {
    return readFileSync(this.logFile, 'utf8');
  }

  /** @throws Error with the end of its log when it has ended */
  check(): void {
    if (!this.#alive) throw new Error(`${this.name} has ended; ${this.logFile} ends with\n${excerpt(this.log)}`);
  }

  /** SIGKILL; returns when it is gone. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await waitFor(`${this.name} to be gone after SIGKILL`, goneTimeoutMs, () => !this.#alive, { everyMs: 5 });
    await this.#gone;
  }

  freeze(): void {
    this.child.kill('SIGSTOP');
  }

  thaw(): void {
    this.child.kill('SIGCONT');
  }
}
