/** A mirror in a process of its own, at the mercy of its owner. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MirrorJob } from '../mirror-process.ts';
import type { MirroredTopic } from './clusters.ts';

const program = join(import.meta.dirname, '..', 'mirror-process.ts');

/** Every partition of a topic, carried under our own login. */
export function jobOn({ topic, partitions }: MirroredTopic, more: Partial<MirrorJob> = {}): MirrorJob {
  const producerIds = partitions.map(({ producerId }) => String(producerId));
  const keepAborted = partitions[0]?.keepAborted === true;
  return { role: 'own', topic, producerIds, each: { keepAborted }, ...more };
}

export class MirrorChild {
  readonly #process: ChildProcess;
  /** Resolves when the mirror has been seen at work, or has ended. */
  readonly working: Promise<unknown>;
  readonly ended: Promise<unknown>;
  /** The code of the error that it ended with by itself. */
  failed: string | undefined;
  message: string | undefined;

  constructor(job: MirrorJob, environment: Readonly<Record<string, string>>) {
    this.#process = spawn(process.execPath, [program, JSON.stringify(job)], {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.ended = once(this.#process, 'close');
    const firstWord = new Promise<void>((done) => {
      const output = this.#process.stdout;
      if (!output) return;
      createInterface({ input: output }).on('line', (text) => {
        const line = JSON.parse(text) as { failed?: string; message?: string };
        this.failed ??= line.failed;
        this.message ??= line.message;
        done();
      });
    });
    this.working = Promise.race([firstWord, this.ended]);
  }

  get running(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  freeze(): void {
    this.#process.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.ended;
  }
}

export interface Freezing {
  readonly random: () => number;
  readonly freezeMaxMs: number;
  readonly timeoutMs: number;
  readonly until: () => Promise<boolean>;
}

/** Freezes and thaws one mirror after the other, then ends them all. Gives how often, and what mirrors that gave up said. */
export async function freezeByTurns(
  mirrors: readonly MirrorChild[],
  { random, freezeMaxMs, timeoutMs, until }: Freezing,
): Promise<{ readonly freezes: number; readonly failures: readonly (string | undefined)[] }> {
  await Promise.all(mirrors.map((mirror) => mirror.working));
  let freezes = 0;
  const deadline = performance.now() + timeoutMs;
  while (!(await until()) && performance.now() < deadline) {
    const mirror = mirrors[Math.floor(random() * mirrors.length)];
    mirror?.freeze();
    await sleep(random() * freezeMaxMs);
    mirror?.thaw();
    freezes++;
  }
  // Whoever has just woken up gets its chance to do harm.
  await sleep(freezeMaxMs);
  const failures = mirrors.map(({ failed, message }) => failed && `${failed} ${message}`).filter(Boolean);
  await Promise.all(mirrors.map((mirror) => mirror.kill()));
  return { freezes, failures };
}
