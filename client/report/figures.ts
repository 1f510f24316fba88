/**
 * What the report shows, worked out of the document: moves (one per fence that came to a boundary), the parts of each pause, parity per topic
 * and partition, lag over time. Pure.
 */
import type { Finding } from '../../contract/errors.ts';
import type { Direction, GateRecord, Phase } from '../../contract/status.ts';
import type { Evidence } from '../../migration/evidence.ts';
import type { LagCurve, LagSample } from '../../migration/lag-curve.ts';
import type { VerifyReport } from '../../migration/verify.ts';
import type { StepAnswer } from '../temporal-answers.ts';
import type { ReportDocument } from './document.ts';

/** As `migration/boundary.ts` stores it. */
interface BoundaryJson {
  readonly direction: Direction;
  readonly deadlineMs: number;
  readonly at: string;
  /** By `topic/partition`. */
  readonly boundary: Readonly<Record<string, string>>;
  readonly audit: readonly AuditJson[];
  readonly tookMs: { readonly settle: number; readonly copy: number; readonly audit: number };
}

interface AuditJson {
  readonly topic: string;
  readonly partition: number;
  readonly start: string;
  readonly position: string;
  readonly records: number;
  readonly digest: string;
  readonly differences: number;
  readonly abortedNotKept?: number;
}

/** As `migration/groups.ts` stores it. */
interface GroupsJson {
  readonly at: string;
  readonly positions: readonly {
    readonly group: string;
    readonly topic: string;
    readonly partition: number;
    readonly committed: string;
    readonly written: string;
    readonly class: string;
    readonly replays: number;
  }[];
  readonly groups: readonly {
    readonly group: string;
    readonly exact: number;
    readonly replays: number;
    readonly untranslatable: number;
    readonly replayedRecords: number;
    readonly skipped: string | null;
  }[];
}

export interface PartitionParity {
  readonly partition: number;
  readonly start: string;
  readonly boundary: string;
  /** Compared and equal up to here. */
  readonly audited: string;
  readonly records: number;
  /** Offsets below the boundary without a committed record. */
  readonly withoutRecord: number;
  readonly differences: number;
  /** SHA-256 over all records up to `audited`. */
  readonly digest: string;
  /** Compared up to the boundary, without a difference. */
  readonly proven: boolean;
}

export interface TopicParity {
  readonly topic: string;
  readonly partitions: readonly PartitionParity[];
  readonly proven: number;
  readonly records: number;
  readonly withoutRecord: number;
  readonly differences: number;
  readonly abortedNotKept: number;
  /** After the switch; null before `verify`. */
  readonly since: {
    readonly traffic: string;
    readonly newRecords: number;
    readonly carriedBack: number;
  } | null;
}

/** A fence that came to a boundary. */
export interface Move {
  /** Of the stored boundary. */
  readonly artifact: string;
  readonly wave: string;
  readonly direction: Direction;
  readonly boundaryAt: string;
  readonly topics: readonly TopicParity[];
  readonly groups: GroupsJson | null;
  readonly verify: VerifyReport | null;
  /** False: the fence was lifted again. */
  readonly opened: boolean;
}

/** Names of the parts of a pause, in their order. */
export const pauseParts = [
  'fence',
  'proof',
  'transactions',
  'drain',
  'audit',
  'offsets',
  'opening',
  'clients',
] as const;
export type PausePart = (typeof pauseParts)[number];

/** From the first rule that closes a cluster until applications write again. */
export interface Pause {
  readonly wave: string;
  readonly direction: Direction;
  readonly startedAt: string;
  readonly parts: readonly { readonly part: PausePart; readonly ms: number }[];
  /** Until writes were open; what clients took comes on top. Null where the fence was lifted. */
  readonly closedMs: number | null;
}

const partOf: Readonly<Record<Phase, PausePart | null>> = {
  close: 'fence',
  prove: 'proof',
  transactions: 'transactions',
  drain: 'drain',
  positions: 'offsets',
  'shut-out': 'opening',
  settings: 'opening',
  decision: 'opening',
  'open-writes': 'opening',
  // Beside the producers, which write already.
  'open-groups': null,
};
const inPause = ['fence', 'sync-offsets', 'switch-producers'];
/** Later than this after the opening, the first record says when an application had something to write. */
const clientsMaxMs = 120_000;

/** Of one wave and direction; milliseconds since 1970, records. */
export interface LagSeries {
  readonly wave: string;
  readonly direction: Direction;
  readonly kind: 'mirror' | 'audit';
  readonly points: readonly (readonly [atMs: number, lag: number])[];
}

export interface Figures {
  readonly steps: readonly StepAnswer[];
  readonly gates: readonly GateRecord[];
  readonly decisions: readonly { readonly at: string; readonly text: string }[];
  readonly moves: readonly Move[];
  readonly pauses: readonly Pause[];
  readonly lag: readonly LagSeries[];
  readonly findings: readonly Finding[];
  readonly totals: Totals;
}

/** Over the last move of every wave. */
export interface Totals {
  readonly partitions: number;
  readonly provenPartitions: number;
  readonly records: number;
  readonly withoutRecord: number;
  readonly differences: number;
  readonly exact: number;
  readonly replays: number;
  readonly untranslatable: number;
  readonly replayedRecords: number;
  readonly settingsCompared: number;
  readonly rulesCompared: number;
  readonly quotasCompared: number;
  readonly standing: number;
  /** Of the longest pause that ended in an opening. */
  readonly pauseMs: number | null;
}

export function figuresOf({ evidence, status }: Pick<ReportDocument, 'evidence' | 'status'>): Figures {
  const steps = [...(evidence?.steps.length ? evidence.steps : (status?.steps ?? []))] as StepAnswer[];
  steps.sort((a, b) => (a.startedAt < b.startedAt ? -1 : 1));
  const since = steps[0]?.startedAt ?? '';
  const moves = evidence ? movesOf(evidence, since) : [];
  const pauses = pausesOf(steps, moves, evidence ? tookOf(evidence) : new Map());
  return {
    steps,
    gates: evidence?.gates ?? [],
    decisions: (evidence?.decisions ?? []).map(decisionOf),
    moves,
    pauses,
    lag: lagOf(evidence?.lag ?? [], Date.parse(since) || 0),
    findings: findingsOf(evidence, status?.findings as readonly Finding[] | undefined, moves),
    totals: totalsOf(moves, pauses, evidence),
  };
}

/** `2026-11-22T01:00:00.000Z approved cutover, 1 of 1, by ana (claimed, signal): why`. */
function decisionOf(line: string): { at: string; text: string } {
  const space = line.indexOf(' ');
  return Number.isNaN(Date.parse(line.slice(0, space)))
    ? { at: '', text: line }
    : { at: line.slice(0, space), text: line.slice(space + 1) };
}

// ---- Moves

/** Those of this run, in the order in which they happened. */
function movesOf(evidence: Evidence, since: string): Move[] {
  const openings = evidence.openings as Readonly<Record<string, { readonly deadlineMs?: number | null }>>;
  return Object.entries(evidence.boundaries as Readonly<Record<string, BoundaryJson>>)
    .filter(([, stored]) => stored.at >= since)
    .sort(([, a], [, b]) => (a.at < b.at ? -1 : 1))
    .map(([name, stored]): Move => {
      const [fence = '', wave = ''] = name.split('/').reverse();
      const beside = <Stored>(all: Readonly<Record<string, unknown>>): Stored | null =>
        (Object.entries(all).find(([other]) => other.endsWith(`/${wave}/${fence}`))?.[1] as Stored | undefined) ?? null;
      const verify = beside<VerifyReport>(evidence.verifications);
      return {
        artifact: name,
        wave,
        direction: stored.direction,
        boundaryAt: stored.at,
        topics: parityOf(stored, verify),
        groups: beside<GroupsJson>(evidence.groups),
        verify,
        opened: openings[`${evidence.plan.name}/opening/${wave}/${stored.direction}`]?.deadlineMs === stored.deadlineMs,
      };
    });
}

/** An earlier build tells none. */
function phasesOf(step: StepAnswer): readonly { readonly name: Phase; readonly endedAt: string }[] {
  return (step.phases as readonly { name: Phase; endedAt: string }[] | undefined) ?? [];
}

function parityOf({ boundary, audit }: BoundaryJson, verify: VerifyReport | null): TopicParity[] {
  const audited = new Map(audit.map((p) => [`${p.topic}/${p.partition}`, p]));
  const reported = new Map(verify?.topics.map((topic) => [topic.topic, topic]));
  const byTopic = new Map<string, PartitionParity[]>();
  const aborted = new Map<string, number>();
  for (const [key, end] of Object.entries(boundary)) {
    const slash = key.lastIndexOf('/');
    const topic = key.slice(0, slash);
    const p = audited.get(key);
    const { start = '0', position = '0', records = 0, differences = 0 } = p ?? {};
    const list = byTopic.get(topic) ?? [];
    byTopic.set(topic, list);
    aborted.set(topic, (aborted.get(topic) ?? 0) + (p?.abortedNotKept ?? 0));
    list.push({
      partition: Number(key.slice(slash + 1)),
      start,
      boundary: end,
      audited: position,
      records,
      withoutRecord: Math.max(0, Number(BigInt(position) - BigInt(start)) - records),
      differences,
      digest: p?.digest.split(':').at(-1) ?? '',
      proven: p !== undefined && differences === 0 && BigInt(position) >= BigInt(end),
    });
  }
  return [...byTopic]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([topic, partitions]) => {
      const sum = (of: (p: PartitionParity) => number) => partitions.reduce((total, p) => total + of(p), 0);
      const after = reported.get(topic);
      return {
        topic,
        partitions: partitions.sort((a, b) => a.partition - b.partition),
        proven: partitions.filter((p) => p.proven).length,
        records: sum((p) => p.records),
        withoutRecord: sum((p) => p.withoutRecord),
        differences: sum((p) => p.differences),
        abortedNotKept: aborted.get(topic) ?? 0,
        since: after ? { traffic: after.traffic, newRecords: after.newRecords, carriedBack: after.carriedBack } : null,
      };
    });
}

/** The last move of every wave: where it stands. */
export function lastMoves(moves: readonly Move[]): readonly Move[] {
  return [...new Map(moves.map((move) => [move.wave, move])).values()];
}

// ---- Pauses

/** What copying and comparing took at each boundary, by when it was taken. */
function tookOf(evidence: Evidence): ReadonlyMap<string, number> {
  const stored = Object.values(evidence.boundaries as Readonly<Record<string, BoundaryJson>>);
  return new Map(stored.map(({ at, tookMs }) => [at, tookMs?.audit ?? 0]));
}

function pausesOf(steps: readonly StepAnswer[], moves: readonly Move[], auditMs: ReadonlyMap<string, number>): Pause[] {
  const waves = [...new Set(steps.map((step) => step.wave))];
  return waves
    .flatMap((wave) => {
      const own = steps.filter((step) => step.wave === wave && inPause.includes(step.step));
      const attempts: StepAnswer[][] = [];
      for (const step of own) {
        if (step.step === 'fence') attempts.push([step]);
        else attempts.at(-1)?.push(step);
      }
      return attempts.flatMap((attempt) => pauseOf(attempt, moves, auditMs) ?? []);
    })
    .sort((a, b) => (a.startedAt < b.startedAt ? -1 : 1));
}

function pauseOf(
  attempt: readonly StepAnswer[],
  moves: readonly Move[],
  auditMs: ReadonlyMap<string, number>,
): Pause | null {
  const [first] = attempt;
  if (!first || attempt.every((step) => phasesOf(step).length === 0)) return null;
  const { wave, direction, startedAt } = first;
  const spent = new Map<PausePart, number>();
  const add = (part: PausePart, ms: number) => spent.set(part, (spent.get(part) ?? 0) + Math.max(0, ms));
  const phases = attempt.flatMap(phasesOf);
  const move = moves.find((one) => one.wave === wave && one.direction === direction && one.boundaryAt >= startedAt);
  let from = Date.parse(startedAt);
  let openedMs: number | null = null;
  for (const { name, endedAt } of phases) {
    const part = partOf[name];
    if (!part) continue;
    const until = Date.parse(endedAt);
    const audit = name === 'drain' && move ? Math.min(until - from, auditMs.get(move.boundaryAt) ?? 0) : 0;
    add(part, until - from - audit);
    if (audit > 0) add('audit', audit);
    from = until;
    if (name === 'open-writes') openedMs = until;
  }
  const written = move?.opened && move.verify?.firstRecordAt ? Date.parse(move.verify.firstRecordAt) : null;
  if (openedMs !== null && written !== null && written > openedMs && written - openedMs <= clientsMaxMs) {
    add('clients', written - openedMs);
  }
  return {
    wave: wave ?? '',
    direction: direction as Direction,
    startedAt,
    parts: pauseParts.flatMap((part) => (spent.has(part) ? [{ part, ms: spent.get(part) ?? 0 }] : [])),
    closedMs: openedMs === null ? null : openedMs - Date.parse(startedAt),
  };
}

// ---- Lag

function lagOf(curves: readonly LagCurve[], sinceMs: number): LagSeries[] {
  const own = curves
    .map((curve) => ({ ...curve, samples: curve.samples.filter(([at]) => at >= sinceMs) }))
    .filter((curve) => curve.samples.length > 0);
  const series: LagSeries[] = [];
  for (const [key, mirrors] of Map.groupBy(
    own.filter((curve) => curve.kind === 'mirror'),
    ({ wave, direction }) => JSON.stringify([wave, direction]),
  )) {
    const [wave, direction] = JSON.parse(key) as [string, Direction];
    const ends = summed(mirrors, ([, , end]) => end);
    const behind = summed(mirrors, ([, position, end]) => end - position);
    series.push({ wave, direction, kind: 'mirror', points: behind });
    const audits = own.filter((curve) => curve.kind === 'audit' && curve.wave === wave);
    if (direction === 'reverse' || audits.length === 0) continue;
    const last = ends.at(-1)?.[0] ?? 0;
    const positions = summed(audits, ([, position]) => position).filter(([at]) => at <= last);
    const end = at(ends);
    const points = positions.map(([atMs, position]) => [atMs, Math.max(0, end(atMs) - position)] as const);
    series.push({ wave, direction, kind: 'audit', points });
  }
  return series;
}

/** All shards together: each counts from its first sample to its last, with the newest that it had at the moment. */
function summed(
  curves: readonly { readonly samples: readonly LagSample[] }[],
  of: (sample: LagSample) => number,
): (readonly [number, number])[] {
  const times = [...new Set(curves.flatMap(({ samples }) => samples.map(([atMs]) => atMs)))].sort((a, b) => a - b);
  const series = curves.map(({ samples }) => ({
    first: samples[0]?.[0] ?? 0,
    last: samples.at(-1)?.[0] ?? 0,
    value: at(samples.map((sample) => [sample[0], of(sample)] as const)),
  }));
  return times.map((time) => {
    const live = series.filter(({ first, last }) => first <= time && time <= last);
    return [
      time,
      Math.max(
        0,
        live.reduce((sum, { value }) => sum + value(time), 0),
      ),
    ] as const;
  });
}

/** The newest value at a moment; moments must be asked for in their order. */
function at(points: readonly (readonly [number, number])[]): (atMs: number) => number {
  let index = 0;
  return (atMs) => {
    while (index + 1 < points.length && (points[index + 1]?.[0] ?? 0) <= atMs) index++;
    return points[index]?.[1] ?? 0;
  };
}

// ---- Findings, totals

/** What preflight found and what verify found, once each, the worst first. */
function findingsOf(
  evidence: Evidence | null,
  shown: readonly Finding[] | undefined,
  moves: readonly Move[],
): Finding[] {
  const stored = evidence?.inventory?.findings.length ? evidence.inventory.findings : (evidence?.findings ?? []);
  const all = [...stored, ...moves.flatMap((move) => move.verify?.findings ?? []), ...(evidence ? [] : (shown ?? []))];
  const once = new Map(all.map((found) => [`${found.code} ${found.where} ${found.message}`, found]));
  const order = { blocker: 0, warning: 1, info: 2 } as const;
  return [...once.values()].sort((a, b) => order[a.severity] - order[b.severity]);
}

function totalsOf(moves: readonly Move[], pauses: readonly Pause[], evidence: Evidence | null): Totals {
  const last = lastMoves(moves);
  const topics = last.flatMap((move) => move.topics);
  const groups = last.flatMap((move) => move.groups?.groups ?? []);
  const verified = last.flatMap((move) => move.verify ?? []);
  const sum = <Item>(items: readonly Item[], of: (item: Item) => number) =>
    items.reduce((total, item) => total + of(item), 0);
  const closed = pauses.flatMap(({ closedMs }) => (closedMs === null ? [] : [closedMs]));
  return {
    partitions: sum(topics, (topic) => topic.partitions.length),
    provenPartitions: sum(topics, (topic) => topic.proven),
    records: sum(topics, (topic) => topic.records),
    withoutRecord: sum(topics, (topic) => topic.withoutRecord),
    differences: sum(topics, (topic) => topic.differences),
    exact: sum(groups, (group) => group.exact),
    replays: sum(groups, (group) => group.replays),
    untranslatable: sum(groups, (group) => group.untranslatable),
    replayedRecords: sum(groups, (group) => group.replayedRecords),
    settingsCompared: sum(verified, (report) => report.configsCompared),
    rulesCompared: sum(verified, (report) => report.aclsCompared),
    quotasCompared: sum(verified, (report) => report.quotasCompared),
    standing: evidence?.standing.length ?? 0,
    pauseMs: closed.length > 0 ? Math.max(...closed) : null,
  };
}
