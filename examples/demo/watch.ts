/** Looks at everything that runs, a few times a second, shows it, and waits for things to happen. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { CutoverClient, Observation } from '../../client/cutover-client.ts';
import type { GateAnswer } from '../../client/temporal-answers.ts';
import { count, duration } from '../../client/units.ts';
import type { Applications, Reports } from './applications.ts';
import type { Children } from './children.ts';
import type { Display } from './display.ts';

const lookEveryMs = 300;
const gateTimeoutMs = 180_000;
const endTimeoutMs = 180_000;

/** One look at everything. */
export interface View {
  readonly reports: Reports;
  /** Null before the first start. */
  readonly migration: Observation | null;
}

export class WaitedTooLong extends Error {}

export interface Watched {
  readonly migration: string;
  readonly applications: Applications;
  readonly client: CutoverClient;
  readonly children: Children;
  readonly display: Display;
  readonly signal: AbortSignal;
}

export class Watch {
  readonly #watched: Watched;
  /** Before the first start there is no migration to ask about. */
  started = false;

  constructor(watched: Watched) {
    this.#watched = watched;
  }

  /**
   * Looks until `ready`. Rejects when a process dies, a step fails or the demo is interrupted.
   *
   * @throws WaitedTooLong after `timeoutMs`, with how things stand
   */
  async until(what: string, timeoutMs: number, ready: (view: View) => boolean): Promise<View> {
    const deadline = performance.now() + timeoutMs;
    let shownStep = '';
    for (;;) {
      const view = await this.#look();
      if (view && ready(view)) return view;
      const seen = view?.migration;
      const failed = seen?.status.failedStep;
      if (failed) throw new Error(`step ${failed.step} failed: ${failed.message}`);
      if (seen && !seen.ending && !seen.note && seen.status.step !== shownStep) {
        shownStep = seen.status.step;
        this.#watched.display.say(`step ${shownStep}`);
      }
      if (performance.now() > deadline) {
        throw new WaitedTooLong(`waited ${duration(timeoutMs)} for ${what}${seen ? `: ${standing(seen)}` : ''}`);
      }
      await sleep(lookEveryMs);
    }
  }

  /** Keeps looking while something else is done. */
  async meanwhile<Result>(work: Promise<Result>): Promise<Result> {
    let busy = true;
    const done = work.finally(() => {
      busy = false;
    });
    done.catch(() => undefined); // awaited below, perhaps after a look has failed
    while (busy) {
      await this.#look();
      await Promise.race([done, sleep(lookEveryMs)]);
    }
    return done;
  }

  async untilGate(name: string): Promise<GateAnswer> {
    const { migration } = await this.until(`gate ${name}`, gateTimeoutMs, ({ migration: seen }) => {
      if (seen?.ending) {
        const { outcome, message } = seen.ending;
        throw new Error(`it ended as ${outcome} before gate ${name}: ${message ?? ''}\n  ${standing(seen)}`);
      }
      return seen?.status.awaiting?.gate === name;
    });
    const gate = migration?.status.awaiting;
    if (!gate) throw new Error(`gate ${name} has closed by itself`);
    const approvers = gate.approvers.length > 0 ? ` from ${gate.approvers.join(', ')}` : '';
    const approvals = gate.needed === 1 ? '1 approval' : `${gate.needed} approvals`;
    this.#watched.display.say(`gate ${name} waits for ${approvals}${approvers}`);
    return gate;
  }

  async untilEnded(outcome: string): Promise<void> {
    await this.until(`the migration to end as ${outcome}`, endTimeoutMs, ({ migration: seen }) => {
      if (seen?.ending && seen.ending.outcome !== outcome) {
        throw new Error(`it ended as ${seen.ending.outcome}, wanted ${outcome}: ${seen.ending.message ?? ''}`);
      }
      return seen?.ending?.outcome === outcome;
    });
    this.#watched.display.say(`the migration has ended: ${outcome}`);
  }

  async #look(): Promise<View | null> {
    const { applications, children, client, display, migration, signal } = this.#watched;
    signal.throwIfAborted();
    children.check();
    // Until they listen, the applications do not answer; when they die, `check` says so.
    const reports = await applications.reports().catch(() => null);
    if (!reports) return null;
    const view = { reports, migration: this.started ? await client.observe(migration) : null };
    display.tick(tickLine(view));
    return view;
  }
}

export const written = ({ producers }: Reports): number =>
  producers.reduce((sum, producer) => sum + producer.written, 0);

function tickLine({ reports, migration: seen }: View): string {
  const clusters = [...new Set(reports.producers.map(({ cluster }) => cluster))].join(' and ');
  const waiting = reports.producers.reduce((sum, producer) => sum + producer.waiting, 0);
  const parts = [
    `written ${count(written(reports))} (${clusters}${waiting > 100 ? `, ${count(waiting)} waiting` : ''})`,
    ...reports.consumers.map(({ group, counts }) => `${group} ${count(counts.records)}`),
  ];
  if (seen && !seen.ending) {
    const { step, lagRecords, awaiting } = seen.status;
    const retrying = seen.retrying[0];
    parts.push(awaiting ? `gate ${awaiting.gate}` : `${step}${lagRecords ? `, ${count(lagRecords)} behind` : ''}`);
    if (retrying) parts.push(`${retrying.activity} tries again: ${retrying.code}`);
  }
  return parts.join(' | ');
}

/** In words, for when it is not where it should be. */
function standing({ status, note, retrying }: Observation): string {
  const lines = [
    `${status.state} at ${status.step}`,
    ...status.findings.filter((found) => found.severity === 'blocker').map((found) => `${found.code} ${found.message}`),
    ...status.refused.map((refusal) => `refused: ${refusal.code} ${refusal.text}`),
    ...retrying.map((retry) => `${retry.activity}, attempt ${retry.attempt}: ${retry.message}`),
    ...(note ? [note] : []),
  ];
  return lines.join('\n  ');
}
