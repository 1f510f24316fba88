/**
 * The demo's processes. They are started detached, so that Ctrl-C reaches the demo alone and it can end them in
 * order, and their identities are on disk, so that the next demo can end what a killed one left behind.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  endProcess,
  identitiesIn,
  isAlive,
  launch,
  logExcerpt,
  type ProcessIdentity,
  startIdentity,
  writeFileAtomically,
} from '../../stack/processes.ts';

/** How long a process may take to end by itself. A worker finishes what it is doing first. */
const graceMs = 5_000;

export interface Child {
  readonly name: string;
  readonly identity: ProcessIdentity;
  readonly logFile: string;
}

export class Children {
  readonly #dir: string;
  readonly #children: Child[] = [];

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /**
   * Makes `dir` ours, and ends what an earlier demo left running there.
   *
   * @throws Error when a demo is still running in `dir`
   */
  static async in(dir: string): Promise<Children> {
    const pids = join(dir, 'pids');
    const left = identitiesIn(pids);
    const earlier = left.get('demo');
    if (earlier && earlier.pid !== process.pid && isAlive(earlier)) {
      throw new Error(`a demo runs in ${dir} already (process ${earlier.pid}): end it with Ctrl-C, or choose --dir`);
    }
    await Promise.all([...left.values()].map((identity) => endProcess(identity, graceMs)));
    for (const name of ['pids', 'logs']) {
      rmSync(join(dir, name), { recursive: true, force: true });
      mkdirSync(join(dir, name), { recursive: true, mode: 0o700 });
    }
    const own: ProcessIdentity = { pid: process.pid, started: startIdentity(process.pid) ?? '' };
    writeFileAtomically(join(pids, 'demo.json'), JSON.stringify(own));
    return new Children(dir);
  }

  get logFolder(): string {
    return join(this.#dir, 'logs');
  }

  /** Runs a file of this repository with the Node that runs the demo. */
  start(name: string, args: readonly string[], env: Record<string, string>): void {
    const logFile = join(this.logFolder, `${name}.log`);
    const identity = launch(join(this.#dir, 'pids', `${name}.json`), {
      command: process.execPath,
      args,
      cwd: this.#dir,
      env: { ...process.env, ...env },
      logFile,
    });
    this.#children.push({ name, identity, logFile });
  }

  /** @throws Error with the end of its log, when one of them has ended */
  check(): void {
    const dead = this.#children.find((child) => !isAlive(child.identity));
    if (dead) throw new Error(`${dead.name} has ended; ${dead.logFile} ends with\n${logExcerpt(dead.logFile)}`);
  }

  async stop(): Promise<void> {
    const ending = this.#children.splice(0);
    await Promise.all(ending.map((child) => endProcess(child.identity, graceMs)));
    rmSync(join(this.#dir, 'pids'), { recursive: true, force: true });
  }
}
