/** What the demo found out, as an object for scripts and as a table for people. */
import { table } from '../../client/table.ts';
import type { StepAnswer } from '../../client/temporal-answers.ts';
import { count } from '../../client/units.ts';
import type { Reports } from './applications.ts';

/** Printed by `--json`; the keys are part of the contract. */
export interface DemoResult {
  readonly moves: readonly Move[];
  /** From the start of the demo, clusters included, to the last check. */
  readonly seconds: number;
}

export interface Move {
  /** `forward` is source to target, `reverse` the way back. */
  readonly direction: 'forward' | 'reverse';
  /** Records that the cluster which was left had taken since the move before: what the mirror had to bring across. */
  readonly records: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  /** Records that a group was given again from the same offset, both groups together: what at-least-once allows. */
  readonly replayed: number;
  /** The same records on both clusters, in the same order. */
  readonly recordsEqual: boolean;
  readonly offsetsEqual: boolean;
  /** Of both groups, as the steps have told. */
  readonly positions: Positions;
  /** From the last acknowledgement of one cluster to the first of the other: the longest of all producers' partitions. */
  readonly writePauseMs: number;
  readonly steps: readonly { readonly step: string; readonly ms: number }[];
}

/** How the positions of groups were carried. */
export interface Positions {
  readonly exact: number;
  readonly replays: number;
  readonly untranslatable: number;
}

/** Counted from the demo's beginning; a move's own are the difference to the move before. */
export interface Totals {
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly replayed: number;
}

export const nothingYet: Totals = { lost: 0, duplicated: 0, reordered: 0, replayed: 0 };

export const difference = (now: Totals, before: Totals): Totals => ({
  lost: Math.max(0, now.lost - before.lost),
  duplicated: Math.max(0, now.duplicated - before.duplicated),
  reordered: Math.max(0, now.reordered - before.reordered),
  replayed: Math.max(0, now.replayed - before.replayed),
});

/** A later look at a move may find more, and never takes anything back. */
export const worse = (
  move: Move,
  found: Totals,
  { recordsEqual, offsetsEqual }: Pick<Move, 'recordsEqual' | 'offsetsEqual'>,
): Move => ({
  ...move,
  lost: Math.max(move.lost, found.lost),
  duplicated: Math.max(move.duplicated, found.duplicated),
  reordered: Math.max(move.reordered, found.reordered),
  replayed: Math.max(move.replayed, found.replayed),
  recordsEqual: move.recordsEqual && recordsEqual,
  offsetsEqual: move.offsetsEqual && offsetsEqual,
});

/** @param offsetIdentity of the replicator: without it, offsets that differ are no fault */
export function isClean({ moves }: DemoResult, offsetIdentity = true): boolean {
  return (
    moves.length === (offsetIdentity ? 3 : 2) &&
    moves.every(
      (move) =>
        move.lost + move.duplicated + move.reordered === 0 &&
        move.recordsEqual &&
        (move.offsetsEqual || !offsetIdentity) &&
        move.positions.replays + move.positions.untranslatable === 0 &&
        Number.isFinite(move.writePauseMs),
    )
  );
}

/** What the producers saw of the last switch. NaN where a partition has no acknowledgement from one of the clusters. */
export function lastSwitch({ producers }: Reports): { writePauseMs: number; records: number } {
  const switches = producers
    .flatMap((producer) => Object.values(producer.stints))
    .map((stints) => ({ left: stints.at(-2), entered: stints.at(-1) }));
  return {
    writePauseMs: Math.max(
      ...switches.map(({ left, entered }) => (left && entered ? entered.firstAt - left.lastAt : Number.NaN)),
    ),
    records: switches.reduce((sum, { left }) => sum + (left?.records ?? 0), 0),
  };
}

/** Of the last `sync-offsets` among them, from its line. */
export function positionsOf(steps: readonly StepAnswer[]): Positions {
  const line = steps.findLast(({ step }) => step === 'sync-offsets')?.summary ?? '';
  const [exact = 0, replays = 0, untranslatable = 0] = [
    ...line.matchAll(/(\d+) (?=positions exact|read \d+ records again|untranslatable)/g),
  ].map(([, number]) => Number(number));
  return { exact, replays, untranslatable };
}

/** The steps that have ended, with their times. */
export function stepTimes(steps: readonly StepAnswer[]): Move['steps'] {
  return steps.flatMap(({ step, startedAt, endedAt }) =>
    endedAt === null ? [] : [{ step, ms: Date.parse(endedAt) - Date.parse(startedAt) }],
  );
}

export function resultTable({ moves, seconds }: DemoResult): string[] {
  const row = (title: string, cell: (move: Move) => string) => [title, ...moves.map(cell)];
  const number = (value: number) => (Number.isFinite(value) ? count(value) : '?');
  const stepNames = [...new Set(moves.flatMap((move) => move.steps.map(({ step }) => step)))];
  const time = (move: Move, name: string) => {
    const ms = move.steps.filter(({ step }) => step === name).map((step) => step.ms);
    return ms.length === 0 ? '-' : `${number(ms.reduce((sum, each) => sum + each, 0))} ms`;
  };
  const right = moves.map((_, index) => index + 1);
  return table(
    [
      ['', ...moves.map(({ direction }, index) => `${index + 1}. ${direction === 'forward' ? 'there' : 'back'}`)],
      row('records moved', (move) => number(move.records)),
      row('lost', (move) => number(move.lost)),
      row('duplicated', (move) => number(move.duplicated)),
      row('reordered', (move) => number(move.reordered)),
      row('replayed', (move) => number(move.replayed)),
      row('records equal', (move) => (move.recordsEqual ? 'yes' : 'NO')),
      row('positions exact', ({ positions: { exact, replays, untranslatable } }) => {
        const all = exact + replays + untranslatable;
        return exact === all ? `all ${count(all)}` : `${count(exact)} of ${count(all)}`;
      }),
      row('offsets equal', (move) => (move.offsetsEqual ? 'yes' : 'NO')),
      row('write pause', (move) => `${number(move.writePauseMs)} ms`),
      [''],
      ...stepNames.map((name) => row(name, (move) => time(move, name))),
      [''],
      ['all in all', `${seconds.toFixed(1)} s`],
    ],
    right,
  );
}
