/** Keeps the channel as Temporal has it: looks at every migration that runs, and has the board show what is new. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { CutoverError } from '../../contract/errors.ts';
import type { CutoverClient, Observation } from '../cutover-client.ts';
import { cardOf, closedFailure, closedGate, failedStep, openGate } from './blocks.ts';
import type { Board } from './board.ts';
import { entriesOf } from './thread.ts';

/** Between two looks at everything; an answer in Slack is looked at at once. */
export const lookEveryMs = 2_000;
/** Migrations that are followed at the same time; more are left to others, and said in the log. */
export const migrationsMax = 50;
/** A report that cannot be made so often is left to whoever asks for it. */
const reportAttemptsMax = 3;
/** An unimportant change of a card (its lag) is shown so often. */
const cardEveryMs = 30_000;

export class Watch {
  readonly #client: CutoverClient;
  readonly #board: Board;
  readonly #log: Logger;
  readonly #report: ((migration: string) => Promise<string>) | null;
  /** Attempts at the report of a migration that has ended, by its run. */
  readonly #reports = new Map<string, number>();
  /** Migrations to look at, and the runs whose messages have to be brought to an end. */
  readonly #followed = new Map<string, Set<string>>();
  readonly #cards = new Map<string, { readonly shown: string; readonly atMs: number }>();
  /** Gates that were seen open, by the key of their message. */
  readonly #gates = new Map<string, { readonly run: string; readonly gate: string; readonly wave: string | null }>();
  /** Failed steps that were seen waiting, likewise. */
  readonly #failures = new Map<string, Failed>();
  /** One look at a time: the second of two would post again what the first is posting. */
  #looking: Promise<void> = Promise.resolve();

  constructor(options: {
    readonly client: CutoverClient;
    readonly board: Board;
    readonly log: Logger;
    /** Makes the page of a migration that has ended. */
    readonly report: ((migration: string) => Promise<string>) | null;
  }) {
    this.#client = options.client;
    this.#board = options.board;
    this.#log = options.log;
    this.#report = options.report;
  }

  /** Until `signal`; what fails is tried again with the next look. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look();
      await sleep(lookEveryMs, undefined, { signal }).catch(() => {});
    }
    await this.#looking;
  }

  /** Takes up what an earlier process has left in the channel. */
  async recall(): Promise<void> {
    for (const { key, migration, run } of await this.#board.recall()) {
      this.#follow(migration, run);
      const [, gate = '', wave = ''] = key.split('|');
      const failed = failedOf(key);
      if (failed !== null) this.#failures.set(key, failed);
      else if (gate !== '') this.#gates.set(key, { run, gate, wave: wave || null });
    }
  }

  /** @param only the one migration of which something is new */
  look(only?: string): Promise<void> {
    this.#looking = this.#looking.then(() => this.#lookAll(only));
    return this.#looking;
  }

  async #lookAll(only?: string): Promise<void> {
    try {
      await this.recall();
      if (only === undefined) {
        const running = await this.#client.running(migrationsMax);
        if (running.length === migrationsMax)
          this.#log.warn({ migrationsMax }, 'more migrations run than are followed');
        for (const name of running) this.#follow(name);
      }
    } catch (error) {
      return this.#failed(error, 'migrations could not be listed');
    }
    for (const name of only === undefined ? this.#followed.keys() : [only]) {
      try {
        await this.#one(name);
      } catch (error) {
        this.#failed(error, 'a migration could not be shown', name);
      }
    }
  }

  #follow(name: string, run?: string): void {
    const runs = this.#followed.get(name) ?? new Set<string>();
    this.#followed.set(name, run === undefined ? runs : runs.add(run));
  }

  async #one(name: string): Promise<void> {
    const look = await this.#client.observe(name);
    const { firstRunId: run, ending } = look;
    const gone = [...(this.#followed.get(name) ?? [])].filter((other) => other !== run);
    for (const earlier of gone) await this.#endEarlier(name, earlier);
    this.#followed.set(name, new Set([run]));
    const card = await this.#card(name, look);
    // Without a worker only the server speaks: what it does not know is not over.
    if (look.note === null || ending) {
      await this.#showGates(name, look);
      await this.#showFailure(name, look);
      await this.#board.follow(card, entriesOf(look.status, ending));
    }
    if (ending) await this.#attachReport(name, run, card);
    if (ending) this.#followed.delete(name);
  }

  /** Throws where it shall be tried again with the next look. */
  async #attachReport(name: string, run: string, card: string): Promise<void> {
    const make = this.#report;
    if (make === null) return;
    const attempt = (this.#reports.get(run) ?? 0) + 1;
    this.#reports.set(run, attempt);
    try {
      const file = { name: `${name}-${run.slice(0, 8)}.html`, title: `Report of ${name}`, make: () => make(name) };
      await this.#board.attach(card, file);
    } catch (error) {
      if (attempt < reportAttemptsMax) throw error;
      this.#failed(error, 'a report could not be put into its thread', name);
    }
    this.#reports.delete(run);
  }

  async #card(name: string, { status, note, ending, firstRunId: run }: Observation): Promise<string> {
    const outcome = ending?.outcome ?? null;
    const content = cardOf(status, { note, outcome });
    const shown = JSON.stringify({ ...cardOf({ ...status, lagRecords: null }, { note, outcome }) });
    const before = this.#cards.get(run);
    const quiet = before?.shown === shown && Date.now() - before.atMs < cardEveryMs && ending === null;
    const of = { key: run, migration: name, run, over: ending !== null };
    if (quiet && before) return this.#board.posted(run) ?? this.#board.show('card', of, content);
    const ts = await this.#board.show('card', of, content);
    this.#cards.set(run, { shown, atMs: Date.now() });
    return ts;
  }

  async #showGates(name: string, { status, firstRunId: run, ending }: Observation): Promise<void> {
    const open = new Set<string>();
    for (const gate of ending ? [] : status.gates) {
      // A window that ends by itself asks nobody.
      if (gate.needed === 0) continue;
      const key = keyOf(run, gate);
      open.add(key);
      this.#gates.set(key, { run, gate: gate.gate, wave: gate.wave });
      await this.#board.show('gate', { key, migration: name, run, over: false }, openGate(status, gate, run));
    }
    for (const [key, gate] of this.#gates) {
      if (gate.run !== run || open.has(key)) continue;
      const answered = status.answered.findLast((one) => keyOf(run, one) === key) ?? null;
      await this.#board.show('gate', { key, migration: name, run, over: true }, closedGate(name, gate, answered));
      this.#gates.delete(key);
    }
  }

  async #showFailure(name: string, { status, firstRunId: run, ending }: Observation): Promise<void> {
    const { failedStep: failure, wave } = status;
    const content = ending ? null : failedStep(status, run);
    const open = failure?.at && content ? [run, failureMark, failure.step, wave ?? '', failure.at].join('|') : null;
    if (open !== null && content) {
      this.#failures.set(open, failedOf(open) as Failed);
      await this.#board.show('failure', { key: open, migration: name, run, over: false }, content);
    }
    for (const [key, failed] of this.#failures) {
      if (failed.run !== run || key === open) continue;
      await this.#board.show('failure', { key, migration: name, run, over: true }, closedFailure(status, failed));
      this.#failures.delete(key);
    }
  }

  /** Another migration of the same name runs by now: nobody answers for this one any more. */
  async #endEarlier(name: string, run: string): Promise<void> {
    for (const [key, gate] of this.#gates) {
      if (gate.run !== run) continue;
      await this.#board.show('gate', { key, migration: name, run, over: true }, closedGate(name, gate, null));
      this.#gates.delete(key);
    }
    for (const [key, failed] of this.#failures) {
      if (failed.run !== run) continue;
      const content = closedFailure({ name, decisions: [] }, failed);
      await this.#board.show('failure', { key, migration: name, run, over: true }, content);
      this.#failures.delete(key);
    }
    if (this.#board.posted(run) === null) return;
    const text = `${name}: ended; a later migration of this name has a message of its own`;
    await this.#board.show('card', { key: run, migration: name, run, over: true }, { text, blocks: [] });
  }

  #failed(error: unknown, what: string, migration?: string): void {
    if (error instanceof CutoverError && error.code === 'MIGRATION_NOT_FOUND' && migration !== undefined) {
      this.#followed.delete(migration); // older than the server remembers
    }
    // Slack's errors carry the request, and that the token: their message alone is told.
    this.#log.warn({ migration, text: (error as Error).message }, what);
  }
}

interface Failed {
  readonly run: string;
  readonly step: string;
  readonly wave: string | null;
  readonly at: string;
}

/** Stands in a failure's key where a gate's has the gate. */
const failureMark = 'failed step';

function failedOf(key: string): Failed | null {
  const [run = '', mark, step = '', wave = '', at = ''] = key.split('|');
  return mark === failureMark ? { run, step, wave: wave || null, at } : null;
}

const keyOf = (
  run: string,
  { gate, wave, openedAt }: { gate: string; wave: string | null; openedAt: string },
): string => [run, gate, wave ?? '', openedAt].join('|');
