/**
 * Points of a migration at which something can be made to happen, and the files by which a worker and whoever drives it agree on that.
 *
 * A point is known by its name: `closeWrites forward create-acls@legacy sent`: the activity, the way that the applications move, what
 * is done to which cluster, and the moment of it. The worker notes every point that it passes; before it passes one it looks whether
 * a fault is armed there.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomically } from '../../stack/processes.ts';

export const moments = ['before-journal', 'after-journal', 'sent', 'answered', 'before-complete'] as const;
export type Moment = (typeof moments)[number];

/** What happens to whom; the first two the worker does to itself, the others are done from outside while it waits. */
export const faultKinds = [
  'kill',
  'freeze',
  'cut',
  'revoke',
  'temporal-restart',
  'source-broker-restart',
  'target-broker-restart',
] as const;
export type FaultKind = (typeof faultKinds)[number];

/**
 * A migration waits for people between its legs: until gate `cutover`; from there until the target is open, or all is undone; from there on; and
 * from when the source is open again. Each begins from a state that people have seen, so each can be struck by itself.
 */
export const legs = ['begin', 'cutover', 'opened', 'back'] as const;
export type Leg = (typeof legs)[number];

export interface Fault {
  readonly point: string;
  /** From when on it is armed. */
  readonly leg: Leg;
  /**
   * Which of the changes that pass the point, from 1 on, in the order in which each first came so far, whichever worker made it. Where one fault alone
   * is to happen, which of the times that the point is passed: then two changes may be alike.
   */
  readonly occurrence: number;
  /** `meddle`: somebody from outside does something, which the migration's driver knows. */
  readonly kind: FaultKind | 'meddle';
  /** How long it lasts, where it lasts. */
  readonly lastsMs: number;
}

/** Of a worker that waits for somebody outside to begin with a fault. */
const beginTimeoutMs = 60_000;
const lookEveryMs = 5;

/** The files of one migration. */
export class PointFiles {
  readonly #passed: string;
  readonly #armed: string;
  readonly #changes: string;
  readonly #path: (name: string) => string;

  constructor(dir: string, migration: string) {
    this.#path = (name) => join(dir, `${migration}.${name}`);
    this.#passed = this.#path('points');
    this.#armed = this.#path('faults.json');
    this.#changes = this.#path('changes');
  }

  // The driver's side.

  /** Those that are null come later. */
  arm(faults: readonly (Fault | null)[]): void {
    writeFileAtomically(this.#armed, JSON.stringify(faults));
  }

  /** Names, in the order in which they were passed. */
  passed(): string[] {
    return existsSync(this.#passed) ? readFileSync(this.#passed, 'utf8').split('\n').slice(0, -1) : [];
  }

  reached(fault: number): boolean {
    return existsSync(this.#path(`reached-${fault}`)) && this.reachedBy(fault) > 0;
  }

  /** The worker's process id. */
  reachedBy(fault: number): number {
    return Number(readFileSync(this.#path(`reached-${fault}`), 'utf8'));
  }

  /** Whether the attempt that was put to sleep has woken up and is through with what it did. */
  isThrough(fault: number): boolean {
    return existsSync(this.#path(`through-${fault}`));
  }

  /** Lets the worker go on. */
  begun(fault: number): void {
    writeFileSync(this.#path(`begun-${fault}`), '');
  }

  // The worker's side.

  armed(): readonly (Fault | null)[] {
    return existsSync(this.#armed) ? (JSON.parse(readFileSync(this.#armed, 'utf8')) as (Fault | null)[]) : [];
  }

  note(point: string): void {
    appendFileSync(this.#passed, `${point}\n`);
  }

  /** The change's number among those of its kind, from 1 on, which it keeps whoever makes it again. */
  rank(kind: string, change: string): number {
    const prefix = `${kind}\t`;
    const lines = existsSync(this.#changes) ? readFileSync(this.#changes, 'utf8').split('\n') : [];
    const known = lines.filter((line) => line.startsWith(prefix)).map((line) => line.slice(prefix.length));
    const found = known.indexOf(change);
    if (found >= 0) return found + 1;
    appendFileSync(this.#changes, `${prefix}${change}\n`);
    return known.length + 1;
  }

  /** Whether it is for this worker to do; a fault happens once, however many workers there are. */
  claim(fault: number): boolean {
    try {
      writeFileSync(this.#path(`reached-${fault}`), String(process.pid), { flag: 'wx' });
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  sleptThrough(fault: number): void {
    writeFileSync(this.#path(`through-${fault}`), '');
  }

  /** Holds the whole process still until somebody outside has begun. */
  awaitBegun(fault: number): void {
    const still = new Int32Array(new SharedArrayBuffer(4));
    for (let waited = 0; waited < beginTimeoutMs && !existsSync(this.#path(`begun-${fault}`)); waited += lookEveryMs) {
      Atomics.wait(still, 0, 0, lookEveryMs);
    }
  }
}
