/**
 * The boundary: per partition, the log end of the fenced cluster once nothing more can come. Records below it came
 * from there; records from it on belong to the other cluster.
 *
 * Between fence and opening every millisecond is a pause for applications, so all waits here poll fast.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { Direction } from '../contract/status.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { listOffsets, partitionKey, partitionOf, type TopicPartition } from '../kafka/offsets.ts';
import { type AuditPartition, type AuditStart, runAudit } from '../mirror/audit.ts';
import type { Clusters, Side } from './change.ts';
import { whoWrote } from './provenance.ts';
import { getJson, putJson, type Storage } from './storage.ts';

/** Log end per `topic/partition`. */
export type Boundary = ReadonlyMap<string, bigint>;

/** Which cluster a wave moves away from (fenced) and which it moves to (opened). */
export function sidesOf(direction: Direction): { readonly from: Side; readonly into: Side } {
  return direction === 'forward' ? { from: 'source', into: 'target' } : { from: 'target', into: 'source' };
}

export interface DrainOptions {
  readonly clusters: Clusters;
  readonly direction: Direction;
  readonly partitions: readonly TopicPartition[];
  /** Of the fence, milliseconds since 1970. */
  readonly deadlineMs: number;
  /** Where the audit stands, one per partition; it goes on from there. */
  readonly audit: readonly AuditStart[];
  /** Between the two looks that must agree; where no rule keeps writers out, long enough to see one. */
  readonly quietMs?: number;
  readonly signal?: AbortSignal;
  /** Records still to be copied, then records still to be compared. */
  readonly onProgress?: (left: { readonly copy: bigint; readonly audit: bigint }) => void;
}

export interface Drained {
  readonly boundary: Boundary;
  /** Log end of the other cluster; left out where it is the boundary. */
  readonly into?: Boundary;
  /** Where the audit stands afterwards: at the boundary on every partition. */
  readonly audit: readonly AuditPartition[];
  readonly tookMs: { readonly settle: number; readonly copy: number; readonly audit: number };
}

const pollMs = 20;

/**
 * Takes the boundary, waits until the other cluster's logs end exactly there, and audits the rest up to it.
 *
 * @throws CutoverError FENCE_EXPIRED (with what was still missing), TRANSACTION_STUCK, FENCE_NOT_PROVEN when the fenced
 *   cluster moved, TARGET_DIVERGED when the other log is longer, PARITY_FAILED with the first difference per partition
 */
export async function drainToBoundary(options: DrainOptions): Promise<Drained> {
  const { from, into } = sidesOf(options.direction);
  const [fenced, other] = [options.clusters[from], options.clusters[into]];
  const began = performance.now();
  const boundary = await takeBoundary(fenced, options);
  const settled = performance.now();
  await awaitCopy(other, boundary, options);
  const copied = performance.now();
  const audit = await auditTo(boundary, options);
  await refuseMoved(fenced, boundary);
  const audited = performance.now();
  const took = (a: number, b: number) => Math.round(b - a);
  return {
    boundary,
    audit,
    tookMs: { settle: took(began, settled), copy: took(settled, copied), audit: took(copied, audited) },
  };
}

/**
 * Nobody wrote to the fenced cluster since the boundary was taken.
 *
 * @throws CutoverError FENCE_NOT_PROVEN naming the first partition and who wrote
 */
export async function refuseMoved(fenced: Cluster, boundary: Boundary): Promise<void> {
  const ends = await listOffsets(fenced, [...boundary.keys()].map(partitionOf), 'logEnd');
  const moved = [...ends].filter(([key, end]) => end !== boundary.get(key));
  const [first] = moved;
  if (!first) return;
  const ranges = moved.map(([key, end]) => ({ ...partitionOf(key), from: boundary.get(key) ?? 0n, until: end }));
  throw new CutoverError('FENCE_NOT_PROVEN', {
    what: 'the fenced cluster was written to after the boundary was taken',
    where: `cluster ${fenced.name}, ${first[0]}${moved.length > 1 ? ` and ${moved.length - 1} more` : ''}`,
    found: [`log end ${first[1]}`, ...(await whoWrote(fenced, ranges))].join('; '),
    wanted: `log end ${boundary.get(first[0])}`,
  });
}

/**
 * Log end = high watermark = last stable offset, twice in a row, on every partition.
 *
 * @throws CutoverError TRANSACTION_STUCK, FENCE_NOT_PROVEN, FENCE_EXPIRED
 */
export async function takeBoundary(
  fenced: Cluster,
  options: Pick<DrainOptions, 'partitions' | 'deadlineMs' | 'quietMs' | 'signal'>,
): Promise<Boundary> {
  let before: ReadonlyMap<string, bigint> | null = null;
  let last: ReadonlyMap<string, bigint> = new Map();
  for (;;) {
    options.signal?.throwIfAborted();
    // In this order: each may only grow, so the later ones, when equal to the first, were equal all the while.
    const ends = await listOffsets(fenced, options.partitions, 'logEnd');
    const watermarks = await listOffsets(fenced, options.partitions, 'highWatermark');
    const stable = await listOffsets(fenced, options.partitions, 'lastStable');
    const unsettled = options.partitions.map(keyOf).filter((key) => {
      const end = ends.get(key);
      return watermarks.get(key) !== end || stable.get(key) !== end || (before !== null && before.get(key) !== end);
    });
    if (unsettled.length === 0 && before !== null) return ends;
    // Never at the first look: what moves shows only at the second one.
    if (unsettled.length > 0 && last.size > 0 && Date.now() > options.deadlineMs) {
      const key = unsettled[0] ?? '';
      const place = {
        where: `cluster ${fenced.name}, ${key}`,
        found: `log end ${ends.get(key)}, high watermark ${watermarks.get(key)}, last stable ${stable.get(key)}`,
        wanted: 'all three equal, twice in a row',
      };
      if ((stable.get(key) ?? 0n) < (watermarks.get(key) ?? 0n)) {
        throw new CutoverError('TRANSACTION_STUCK', { what: 'a transaction stays open', ...place });
      }
      if (last.has(key) && last.get(key) !== ends.get(key)) {
        const moved = { ...partitionOf(key), from: last.get(key) ?? 0n, until: ends.get(key) ?? 0n };
        const found = [place.found, ...(await whoWrote(fenced, [moved]))].join('; ');
        throw new CutoverError('FENCE_NOT_PROVEN', {
          what: 'somebody still writes to the fenced cluster',
          ...place,
          found,
        });
      }
      throw new CutoverError('FENCE_EXPIRED', { what: 'the last records were not replicated in time', ...place });
    }
    last = ends;
    before = unsettled.length === 0 ? ends : null;
    await sleep(before ? (options.quietMs ?? pollMs) : pollMs);
  }
}

async function awaitCopy(other: Cluster, boundary: Boundary, options: DrainOptions): Promise<void> {
  let open = [...options.partitions];
  for (;;) {
    options.signal?.throwIfAborted();
    const ends = await listOffsets(other, open, 'logEnd');
    const watermarks = await listOffsets(other, open, 'highWatermark');
    // Aborted records that are kept stay open until the marker behind them: readers of committed records would wait for it.
    const stable = await listOffsets(other, open, 'lastStable');
    const longer = open.find((p) => endOf(ends, p) > endOf(boundary, p));
    if (longer) {
      throw new CutoverError('TARGET_DIVERGED', {
        what: 'the log that is about to open is longer than the fenced one',
        where: `cluster ${other.name}, ${keyOf(longer)}`,
        found: `log end ${endOf(ends, longer)}`,
        wanted: `log end ${endOf(boundary, longer)}`,
      });
    }
    open = open.filter((p) => [ends, watermarks, stable].some((offsets) => endOf(offsets, p) !== endOf(boundary, p)));
    const copy = open.reduce((sum, p) => sum + endOf(boundary, p) - endOf(ends, p), 0n);
    options.onProgress?.({ copy, audit: auditLeft(boundary, options) });
    if (open.length === 0) return;
    if (Date.now() > options.deadlineMs) {
      const slow = open.slice(0, 3).map((p) => `${keyOf(p)} at ${endOf(ends, p)} of ${endOf(boundary, p)}`);
      throw new CutoverError('FENCE_EXPIRED', {
        what: 'the last records were not copied in time',
        where: `cluster ${other.name}`,
        found: `${copy} records missing on ${open.length} partitions: ${slow.join(', ')}`,
      });
    }
    await sleep(pollMs);
  }
}

async function auditTo(boundary: Boundary, options: DrainOptions): Promise<readonly AuditPartition[]> {
  const timeout = AbortSignal.timeout(Math.max(1, options.deadlineMs - Date.now()));
  const standing = new Map(options.audit.map((p) => [keyOf(p), p]));
  const missing = options.partitions.find((p) => !standing.has(keyOf(p)));
  if (missing) {
    throw new CutoverError('AUDIT_BEHIND', {
      what: 'the audit has never looked at a partition',
      where: keyOf(missing),
    });
  }
  const result = await runAudit({
    source: options.clusters.source,
    target: options.clusters.target,
    partitions: options.audit,
    until: boundary,
    signal: options.signal ? AbortSignal.any([timeout, options.signal]) : timeout,
    onProgress: (positions) => options.onProgress?.({ copy: 0n, audit: left(boundary, positions) }),
  });
  options.signal?.throwIfAborted();
  const differing = result.filter((p) => p.first !== null);
  if (differing.length > 0) {
    const shown = differing.slice(0, 5).map((p) => `${keyOf(p)} at offset ${p.first?.offset}: ${p.first?.kind}`);
    throw new CutoverError('PARITY_FAILED', {
      what: 'records differ between the clusters',
      where: `${differing.length} of ${result.length} partitions`,
      found: shown.join('; '),
    });
  }
  const behind = result.filter((p) => p.position < endOf(boundary, p));
  if (behind.length > 0) {
    throw new CutoverError('FENCE_EXPIRED', {
      what: 'the last records were not compared in time',
      found: `${left(boundary, behind)} records on ${behind.length} partitions not compared`,
    });
  }
  return result;
}

function auditLeft(boundary: Boundary, options: DrainOptions): bigint {
  return left(boundary, options.audit);
}

function left(boundary: Boundary, positions: readonly (TopicPartition & { readonly position: bigint })[]): bigint {
  return positions.reduce((sum, p) => {
    const open = endOf(boundary, p) - p.position;
    return sum + (open > 0n ? open : 0n);
  }, 0n);
}

export interface StoredBoundary {
  readonly direction: Direction;
  readonly deadlineMs: number;
  /** ISO 8601. */
  readonly at: string;
  readonly boundary: Boundary;
  /** Log end of the other cluster, where its own records begin; the same offsets as `boundary` where records keep theirs. */
  readonly into: Boundary;
  readonly audit: readonly AuditPartition[];
  readonly tookMs: Drained['tookMs'];
}

/** One name per fence, so that each move has a boundary of its own; sorted by time. */
export function boundaryName(fence: {
  readonly migration: string;
  readonly wave: string;
  readonly direction: Direction;
  readonly deadlineMs: number;
}): string {
  return `${fence.migration}/boundary/${fence.wave}/${fence.deadlineMs}-${fence.direction}`;
}

/** Stores what `drainToBoundary` gave, on both clusters; gives the artifact's name. */
export async function storeBoundary(
  storage: Storage,
  fence: Parameters<typeof boundaryName>[0],
  drained: Drained,
): Promise<string> {
  const name = boundaryName(fence);
  await putJson(storage, name, {
    direction: fence.direction,
    deadlineMs: fence.deadlineMs,
    at: new Date().toISOString(),
    boundary: drained.boundary,
    into: drained.into ?? drained.boundary,
    audit: drained.audit,
    tookMs: drained.tookMs,
  } satisfies StoredBoundary);
  return name;
}

/** @throws CutoverError STORAGE_CORRUPT when there is none of that name */
export async function readBoundary(storage: Storage, name: string): Promise<StoredBoundary> {
  const stored = await getJson<Json>(storage, name);
  if (!stored) {
    throw new CutoverError('STORAGE_CORRUPT', { what: 'a stored boundary is missing', where: `artifact ${name}` });
  }
  const offsets = (ends: Readonly<Record<string, string>>) =>
    new Map(Object.entries(ends).map(([key, end]) => [key, BigInt(end)]));
  return {
    direction: stored.direction,
    deadlineMs: stored.deadlineMs,
    at: stored.at,
    boundary: offsets(stored.boundary),
    // Earlier builds stored none: offsets were the same.
    into: offsets(stored.into ?? stored.boundary),
    audit: stored.audit.map((p) => ({
      ...p,
      start: BigInt(p.start),
      position: BigInt(p.position),
    })),
    tookMs: stored.tookMs,
  };
}

/** Name of the newest boundary of a wave, or null. */
export async function latestBoundary(
  storage: Storage,
  wave: { readonly migration: string; readonly wave: string; readonly direction?: Direction },
): Promise<string | null> {
  const names = await storage.list(`${wave.migration}/boundary/${wave.wave}/`);
  return names.filter((name) => name.endsWith(`-${wave.direction ?? ''}`) || !wave.direction).at(-1) ?? null;
}

interface Json extends Omit<StoredBoundary, 'boundary' | 'into' | 'audit'> {
  readonly boundary: Readonly<Record<string, string>>;
  readonly into?: Readonly<Record<string, string>>;
  readonly audit: readonly (Omit<AuditPartition, 'start' | 'position'> & {
    readonly start: string;
    readonly position: string;
  })[];
}

const keyOf = (p: TopicPartition): string => partitionKey(p.topic, p.partition);
const endOf = (ends: ReadonlyMap<string, bigint>, p: TopicPartition): bigint => ends.get(keyOf(p)) ?? 0n;
