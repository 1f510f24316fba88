/** The machine that a row was measured on. */
import { execFileSync } from 'node:child_process';
import { cpus, loadavg, totalmem } from 'node:os';

export interface Conditions {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGB: number;
  readonly node: string;
  readonly kafkaSource: string;
  readonly kafkaTarget: string;
  readonly targetReplicas: number;
  /** Of the code that was measured; `unknown` outside a checkout. */
  readonly revision: string;
  /** Load average of the last minute when the bench began: near 0 means that the machine was ours alone. */
  readonly loadAtStart: number;
  /** The same at the row's end: everything that the row runs, and strangers. */
  readonly loadDuring: number;
}

export function machine(): Pick<Conditions, 'processor' | 'cores' | 'memoryGB' | 'node'> {
  const all = cpus();
  return {
    processor: (all[0]?.model ?? 'unknown').replace(/\s+/g, ' ').trim(),
    cores: all.length,
    memoryGB: Math.round(totalmem() / 1e9),
    node: process.versions.node,
  };
}

export function loadNow(): number {
  return Math.round((loadavg()[0] ?? 0) * 100) / 100;
}

/** The commit, and whether files differ from it. */
export function revision(): string {
  // Without optional locks: looking must not get into the way of somebody's commit.
  const git = (...args: string[]) =>
    execFileSync('git', ['--no-optional-locks', ...args], {
      cwd: import.meta.dirname,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .toString()
      .trim();
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no') !== '';
    return `${git('rev-parse', '--short', 'HEAD')}${changed ? ' with changes' : ''}`;
  } catch {
    return 'unknown';
  }
}
