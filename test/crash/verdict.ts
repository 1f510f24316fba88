/** What a migration that was struck may never show, whatever struck it. */
import { type Acknowledgement, judge, type Logs } from '../../examples/demo/judge.ts';
import type { Accepted } from './writers.ts';

export interface CellVerdict {
  readonly accepted: number;
  readonly compared: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  /** Everything that is wrong, one line each; nothing when all is well. */
  readonly faults: readonly string[];
}

export interface Evidence {
  /** Where applications write when all is over. */
  readonly home: 'legacy' | 'next';
  /** How often applications have moved: 0, 1, or 2 when they came back. */
  readonly moves: 0 | 1 | 2;
  readonly accepted: readonly Accepted[];
  readonly logs: Readonly<Record<'legacy' | 'next', Logs>>;
  /** Positions of the group, one line each, as committed where it was last at home, and as found at home now. */
  readonly positions: { readonly wanted: readonly string[]; readonly found: readonly string[] };
}

export function verdictOn({ home, moves, accepted, logs, positions }: Evidence): CellVerdict {
  const faults: string[] = [];
  const other = home === 'next' ? 'legacy' : 'next';
  const judged = judge(home, logs[home], logs[other], accepted satisfies readonly Acknowledgement[]);
  const { lost, duplicated, reordered } = judged.counts;
  if (lost + duplicated + reordered > 0) {
    faults.push(`${lost} records lost, ${duplicated} duplicated, ${reordered} reordered`);
  }
  faults.push(...judged.differences);
  faults.push(...bothOpen(accepted, moves));
  if (positions.wanted.join() !== positions.found.join()) {
    faults.push(`the group stands at ${positions.found.join(' ')} on ${home}, wanted ${positions.wanted.join(' ')}`);
  }
  return { accepted: accepted.length, compared: judged.compared, lost, duplicated, reordered, faults };
}

/**
 * Both clusters must never accept records within one fence. Applications begin on `legacy` and move `moves` times. Once one of the cluster
 * that they move to is known to be accepted, what is sent afterwards may be accepted there alone, until they move on. Of records that were
 * on their way at the same time nobody can say which was first: those the logs judge.
 */
export function bothOpen(accepted: readonly Accepted[], moves: number): string[] {
  let open = 'legacy';
  let since = 0;
  let left = accepted;
  for (let move = 0; move < moves; move++) {
    const next = open === 'legacy' ? 'next' : 'legacy';
    since = left.reduce((first, { cluster, at }) => (cluster === next ? Math.min(first, at) : first), Infinity);
    left = left.filter(({ sentAt }) => sentAt > since);
    open = next;
  }
  const wrong = left.filter(({ cluster }) => cluster !== open);
  const [first] = wrong;
  if (!first) return [];
  const lateMs =
    since === 0 ? 'though nothing had moved' : `${(first.sentAt - since).toFixed(1)} ms after ${open} had accepted`;
  return [
    `${first.cluster} accepted ${wrong.length} records that were sent when ${open} was open: the first, ${first.producer} ${first.firstSequence}, ${lateMs}`,
  ];
}
