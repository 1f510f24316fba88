/**
 * Whole moves and ways back under applications that never stop, with MirrorMaker 2 and, for comparison, with our own replicator, in turn: what was lost,
 * duplicated and reordered, how long writers waited, and for what.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from '../../bench/statistics.ts';
import type { PlanInput } from '../../contract/plan.ts';
import { startConnect } from '../../stack/connect.ts';
import { startStack } from '../../stack/stack.ts';
import { Scene } from '../e2e/support/scene.ts';
import { type Switch, thereAndBack } from './there-and-back.ts';

const kinds = ['mirrormaker2', 'exact'] as const;

export interface Moves {
  /** Of each kind. */
  readonly runs: number;
  readonly kinds: Readonly<Record<(typeof kinds)[number], KindOfMoves>>;
}

export interface KindOfMoves {
  /** Of all runs together. */
  readonly records: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  /** Given to a group again. */
  readonly replayed: number;
  readonly there: Pauses;
  readonly back: Pauses;
}

export interface Pauses {
  readonly ms: readonly number[];
  /** Medians, in milliseconds. */
  readonly phases: Readonly<Record<string, number>>;
}

export async function moves(say: (line: string) => void, { runs }: { readonly runs: number }): Promise<Moves> {
  const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-moves-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
  await using stack = await startStack({ dir: join(folder, 'stack') });
  if (!stack.target) throw new Error('needs a stack of our own');
  await using worker = await startConnect({
    cluster: stack.target,
    user: 'cutover',
    folder: join(folder, 'connect'),
    groupId: 'moves',
  });
  const found: Record<(typeof kinds)[number], Awaited<ReturnType<typeof thereAndBack>>[]> = {
    mirrormaker2: [],
    exact: [],
  };
  for (let run = 1; run <= runs; run++) {
    for (const kind of kinds) {
      const replicator: PlanInput['replicator'] = kind === 'exact' ? { kind } : { kind, connect: 'onprem' };
      await using scene = await Scene.open(stack, {
        name: `moves-${kind}-${run}`,
        clusters: { connects: { onprem: { url: worker.url } } },
      });
      const round = await thereAndBack(scene, replicator);
      found[kind].push(round);
      for (const [way, { pauseMs, phases }] of Object.entries({ there: round.there, back: round.back })) {
        say(
          `${kind}, run ${run} of ${runs}, ${way}: ${pauseMs} ms; ${phases.map((phase) => phase.join(' ')).join(', ')}`,
        );
      }
    }
  }
  const told = (kind: (typeof kinds)[number]): KindOfMoves => {
    const rounds = found[kind];
    const sum = (count: 'lost' | 'duplicated' | 'reordered' | 'replayed') =>
      rounds.flatMap(({ consumers }) => consumers).reduce((all, { counts }) => all + counts[count], 0);
    return {
      records: rounds.reduce((all, { acknowledged }) => all + acknowledged, 0),
      lost: sum('lost'),
      duplicated: sum('duplicated'),
      reordered: sum('reordered'),
      replayed: sum('replayed'),
      there: pausesOf(rounds.map(({ there }) => there)),
      back: pausesOf(rounds.map(({ back }) => back)),
    };
  };
  return { runs, kinds: { mirrormaker2: told('mirrormaker2'), exact: told('exact') } };
}

function pausesOf(switches: readonly Switch[]): Pauses {
  const names = [...new Set(switches.flatMap(({ phases }) => phases.map(([name]) => name)))];
  const took = (name: string) =>
    switches.map(({ phases }) => phases.filter(([one]) => one === name).reduce((sum, [, ms]) => sum + ms, 0));
  return {
    ms: switches.map(({ pauseMs }) => pauseMs),
    phases: Object.fromEntries(names.map((name) => [name, median(took(name))])),
  };
}
