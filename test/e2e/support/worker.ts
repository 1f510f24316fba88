/** A worker as a real process, through the command that people use. */
import { statSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Process } from './processes.ts';
import { waitFor } from './waiting.ts';

export const cli = fileURLToPath(new URL('../../../bin/kafka-cutover.js', import.meta.url));
/** Bundling the workflow code takes 3 s alone, and many times that on a machine that does other things too. */
const readyTimeoutMs = 90_000;

export class WorkerProcess {
  readonly name: string;
  readonly #dir: string;
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  #process: Process | null = null;
  /** Length of the log when the process of now was started. */
  #logFrom = 0;

  /** @param args the file that Node runs, and what it is told; by default the command that people use */
  constructor(
    dir: string,
    name: string,
    env: Readonly<Record<string, string>>,
    args: readonly string[] = [cli, 'worker'],
  ) {
    this.name = name;
    this.#dir = dir;
    this.#env = env;
    this.#args = args;
  }

  get pid(): number | undefined {
    return this.#process?.child.pid;
  }

  get running(): boolean {
    return this.#process?.alive === true;
  }

  /** How Temporal calls it. */
  get identity(): string {
    return `${this.#current.child.pid}@${hostname()}`;
  }

  start(): this {
    this.#logFrom = statSync(join(this.#dir, `${this.name}.log`), { throwIfNoEntry: false })?.size ?? 0;
    this.#process = new Process(this.#dir, this.name, this.#args, this.#env);
    return this;
  }

  /** Since it was started last. */
  get log(): string {
    return Buffer.from(this.#current.log).subarray(this.#logFrom).toString();
  }

  async ready(): Promise<this> {
    await waitFor(`${this.name} to be ready`, readyTimeoutMs, () => {
      this.#current.check();
      return this.log.includes('worker is ready');
    });
    return this;
  }

  /** SIGKILL: it can finish nothing and tell nobody. */
  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  /** SIGSTOP: it sleeps, and does not know it. */
  freeze(): void {
    this.#current.freeze();
  }

  thaw(): void {
    this.#current.thaw();
  }

  get #current(): Process {
    if (!this.#process) throw new Error(`${this.name} was never started`);
    return this.#process;
  }
}
