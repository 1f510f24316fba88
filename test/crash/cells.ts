/** The cells of the matrix, what is known of each, and which of them one migration can be struck by. */
import type { Path } from './cell.ts';
import { type Fault, type FaultKind, faultKinds, type Leg, legs } from './points.ts';

export interface Cell {
  readonly name: string;
  /** `closeWrites forward`: what people see as one step or part of it. */
  readonly step: string;
  readonly path: Path;
  readonly leg: Leg;
  readonly point: string;
  readonly occurrence: number;
  readonly kind: FaultKind;
}

export type PointsByLeg = Readonly<Record<Leg, readonly string[]>>;
/** Of the paths that somebody has noted. */
export type Points = Readonly<Partial<Record<Path, PointsByLeg>>>;

const strikesPerLeg = 6;
/** Of one step: other changes of it each time. */
const strikesPerStep = 3;

/** Endless activities pass a point again and again; once is enough. */
const endless = /^(mirror|audit|followGroups|watchFence|balanceShards) /;
/** What only looks is read again, whoever dies. */
const looks = /^(parsePlan|preflight|takeDigest|drainLag|rollbackCost|writeEvidence) /;

/** Where a path begins to be one of its own: what it shares with another is struck there. */
const ownLegs: Readonly<Record<Path, readonly Leg[]>> = {
  forward: ['begin', 'cutover', 'opened'],
  reverse: ['opened', 'back'],
  abort: ['cutover'],
  later: ['opened'],
};

/** Of a path that shares more with others: the steps that are its own. */
const ownSteps: Partial<Record<Path, RegExp>> = {
  abort: /^(unfence|undoAll) /,
  later: /^(moveGroups|openGroups|keepGroups) /,
};

/** Legs that each path goes through. */
const legsOf: Readonly<Record<Path, readonly Leg[]>> = {
  forward: ['begin', 'cutover', 'opened'],
  reverse: ['begin', 'cutover', 'opened', 'back'],
  abort: ['begin', 'cutover'],
  later: ['begin', 'opened'],
};

export function cellsOf(points: Points): Cell[] {
  return (Object.entries(points) as [Path, PointsByLeg][]).flatMap(([path, byLeg]) =>
    ownLegs[path].flatMap((leg) => cellsOfLeg(path, leg, byLeg[leg])),
  );
}

function cellsOfLeg(path: Path, leg: Leg, points: readonly string[]): Cell[] {
  const cells: Cell[] = [];
  const passed = new Map<string, number>();
  for (const point of points) {
    const occurrence = (passed.get(point) ?? 0) + 1;
    passed.set(point, occurrence);
    if (looks.test(point) || (occurrence > 1 && endless.test(point))) continue;
    if (ownSteps[path]?.test(point) === false) continue;
    for (const kind of faultKinds) cells.push(cell(path, leg, point, occurrence, kind));
  }
  return cells;
}

/** One that people name; its leg is where its path begins to be one of its own. */
export function cellNamed(name: string): Cell {
  const [, path, point, occurrence = '1', kind] = /^(\w+): (.+?)(?: #(\d+))?: ([a-z-]+)$/.exec(name) ?? [];
  const knownPath = (Object.keys(ownLegs) as Path[]).find((one) => one === path);
  const knownKind = faultKinds.find((one) => one === kind);
  const leg = knownPath && ownLegs[knownPath][0];
  if (!knownPath || !knownKind || !point || !leg) throw new Error(`no cell has the name ${name}`);
  return cell(knownPath, leg, point, Number(occurrence), knownKind);
}

function cell(path: Path, leg: Leg, point: string, occurrence: number, kind: FaultKind): Cell {
  const name = `${path}: ${point}${occurrence > 1 ? ` #${occurrence}` : ''}: ${kind}`;
  return { name, step: point.split(' ', 2).join(' '), path, leg, point, occurrence, kind };
}

export function faultOf({ point, leg, occurrence, kind }: Cell, lastsMs: number): Fault {
  return { point, leg, occurrence, kind, lastsMs };
}

/** What one migration is struck by: cells of one kind of fault, each at another change, a few in each of its legs. */
export interface Strikes {
  readonly path: Path;
  readonly cells: readonly Cell[];
}

/**
 * Takes the first cell and, from those that follow, what the same migration can be struck by too: on the path where that is most. A migration
 * takes many times as long as a fault, and what is judged (records, who accepted when, positions) adds up over all of it.
 *
 * @param alone cells that are to be struck by themselves, because together with others something was wrong, or they were not reached
 */
export function nextStrikes(pending: readonly Cell[], alone: ReadonlySet<string>): Strikes | null {
  const [first] = pending;
  if (!first) return null;
  if (alone.has(first.name)) return { path: first.path, cells: [first] };
  const others = pending.filter(({ kind, name }) => kind === first.kind && !alone.has(name));
  const candidates = (Object.keys(legsOf) as Path[])
    .filter((path) => goes(first, path))
    .map((path): Strikes => {
      const possible = [first, ...others.filter((one) => one !== first && goes(one, path))];
      return { path, cells: legsOf[path].flatMap((leg) => someOf(possible.filter((one) => one.leg === leg))) };
    });
  return candidates.reduce((best, one) => (one.cells.length > best.cells.length ? one : best));
}

/** The first few, of a step several where each strikes another change: one that is struck when it is sent may never be answered. */
function someOf(cells: readonly Cell[]): readonly Cell[] {
  const some: Cell[] = [];
  for (const one of cells) {
    const ofStep = some.filter(({ step }) => step === one.step);
    const fits = ofStep.length < strikesPerStep && ofStep.every((other) => changeOf(other) !== changeOf(one));
    if (fits && some.length < strikesPerLeg) some.push(one);
  }
  return some;
}

/** `closeWrites forward create-acls 1`; of what has no parts, the step alone. */
function changeOf({ step, point, occurrence }: Cell): string {
  const thing = point
    .slice(step.length + 1)
    .split(' ')
    .at(0)
    ?.replace(/^(boundary|decision|withdrawal)@.*/, '$1');
  return `${step} ${thing} ${occurrence}`;
}

/** Whether a migration of the path passes the cell's point: up to the opening the ways there and back are one. */
function goes(one: Cell, path: Path): boolean {
  if (one.path === path) return true;
  if (one.path !== 'forward') return false;
  return one.leg === 'begin' || (one.leg === 'cutover' && path === 'reverse');
}

/** In the order in which they are to be run: every kill, then each fault at each step, then the rest; by chance within these. */
export function inOrder(cells: readonly Cell[], random: () => number): Cell[] {
  const shuffled = cells
    .map((one) => ({ one, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ one }) => one);
  const steps = new Set<string>();
  const ranked = shuffled.map((one) => {
    const step = `${one.path} ${one.step} ${one.kind}`;
    const first = !steps.has(step);
    steps.add(step);
    return { one, rank: one.kind === 'kill' ? 0 : first ? 1 : 2 };
  });
  return ranked
    .sort((a, b) => a.rank - b.rank || legs.indexOf(b.one.leg) - legs.indexOf(a.one.leg))
    .map(({ one }) => one);
}
