/**
 * The opening decision: the line after which a fence is never lifted by itself. Whoever opens a cluster decides
 * first; whoever lifts a fence withdraws it first. Each writes its own artifact and then reads the
 * other's, so of two that run at the same moment at most one goes on (and in the worst case neither: the source
 * stays fenced, which is safe, and either may try again). A fence can be lifted with one cluster down; opening needs
 * both, and reads both, so it cannot miss a lifting that only one of them took.
 *
 * A fence is known by its deadline. Directions follow one another, so the decision with the latest deadline counts.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Direction } from '../contract/status.ts';
import { getJson, putJson, type Storage } from './storage.ts';

export interface Fence {
  readonly migration: string;
  readonly wave: string;
  /** The way the wave moves when the decision is taken. */
  readonly direction: Direction;
}

export interface Decision {
  readonly direction: Direction;
  /** Of the fence under which it was decided, milliseconds since 1970. */
  readonly deadlineMs: number;
  /** ISO 8601. */
  readonly at: string;
}

/** A fence that is to be lifted. */
export interface Withdrawn extends Fence {
  readonly throughMs: number;
  /**
   * Whether a standing decision was taken under this very fence. One that an earlier fence left (an earlier run of the
   * same plan, a put that failed half-way) must neither keep this one from being lifted nor open anything. Default: it was.
   */
  readonly concerns?: (decision: Decision) => boolean;
}

interface StoredDecision {
  /** Null once taken back. */
  readonly deadlineMs: number | null;
  readonly at: string;
}

interface StoredWithdrawal {
  /** Fences with a deadline up to here are lifted, or about to be. */
  readonly throughMs: number | null;
  readonly at: string;
}

/**
 * Decides to open, on both clusters, unless the fence's time is up or somebody lifts it. Deciding again under the
 * same fence gives the decision that stands, also after the deadline.
 *
 * @throws CutoverError FENCE_EXPIRED, CLUSTER_UNREACHABLE, KAFKA_REQUEST_FAILED: then nothing may be opened
 */
export async function decideOpening(
  storage: Storage,
  fence: Fence & { readonly deadlineMs: number },
): Promise<Decision> {
  await refuseWithdrawn(storage, fence);
  const standing = await getJson<StoredDecision>(storage, decisionName(fence));
  if (standing?.deadlineMs === fence.deadlineMs) {
    return { direction: fence.direction, deadlineMs: fence.deadlineMs, at: standing.at };
  }
  const overMs = Date.now() - fence.deadlineMs;
  if (overMs >= 0) throw expired(fence, `its deadline passed ${overMs} ms ago`);
  const at = new Date().toISOString();
  await putJson(storage, decisionName(fence), { deadlineMs: fence.deadlineMs, at } satisfies StoredDecision);
  try {
    await refuseWithdrawn(storage, fence);
  } catch (error) {
    await putJson(storage, decisionName(fence), { deadlineMs: null, at } satisfies StoredDecision, { on: 'any' });
    throw error;
  }
  return { direction: fence.direction, deadlineMs: fence.deadlineMs, at };
}

/** The decision to open in this direction that counts, or null: never taken, taken back, or followed by the other way. */
export async function openingDecided(storage: Storage, fence: Fence): Promise<Decision | null> {
  const other: Direction = fence.direction === 'forward' ? 'reverse' : 'forward';
  const [mine, theirs] = [await decisionOf(storage, fence), await decisionOf(storage, { ...fence, direction: other })];
  return mine && theirs && theirs.deadlineMs > mine.deadlineMs ? null : mine;
}

/**
 * Makes sure that nothing will be opened under fences with a deadline up to `throughMs`, so that they can be lifted.
 * By hand, where the deadline is not known: now plus `fence.maxHold`, which no later fence can have.
 *
 * @throws CutoverError UNFENCE_REFUSED when opening was decided under this fence
 */
export async function withdraw(storage: Storage, fence: Withdrawn): Promise<void> {
  await refuseDecided(storage, fence);
  const at = new Date().toISOString();
  await putJson(storage, withdrawalName(fence), { throughMs: fence.throughMs, at } satisfies StoredWithdrawal, {
    on: 'any',
  });
  try {
    await refuseDecided(storage, fence);
  } catch (error) {
    await putJson(storage, withdrawalName(fence), { throughMs: null, at } satisfies StoredWithdrawal, { on: 'any' });
    throw error;
  }
}

async function decisionOf(storage: Storage, fence: Fence): Promise<Decision | null> {
  const stored = await getJson<StoredDecision>(storage, decisionName(fence));
  if (stored === null || stored.deadlineMs === null) return null;
  return { direction: fence.direction, deadlineMs: stored.deadlineMs, at: stored.at };
}

/** Since when this fence is lifted, or about to be (ISO 8601); null where it is not. */
export async function withdrawnSince(
  storage: Storage,
  fence: Fence & { readonly deadlineMs: number },
): Promise<string | null> {
  const withdrawal = await getJson<StoredWithdrawal>(storage, withdrawalName(fence), { from: 'both' });
  const throughMs = withdrawal?.throughMs ?? null;
  return withdrawal && throughMs !== null && throughMs >= fence.deadlineMs ? withdrawal.at : null;
}

async function refuseWithdrawn(storage: Storage, fence: Fence & { readonly deadlineMs: number }): Promise<void> {
  const since = await withdrawnSince(storage, fence);
  if (since !== null) throw expired(fence, `lifted since ${since}`);
}

async function refuseDecided(storage: Storage, fence: Withdrawn): Promise<void> {
  const decision = await openingDecided(storage, fence);
  if (!decision || fence.concerns?.(decision) === false) return;
  const opened = fence.direction === 'forward' ? 'the target' : 'the source';
  throw new CutoverError('UNFENCE_REFUSED', {
    what: `opening ${opened} was decided`,
    where: `migration ${fence.migration}, wave ${fence.wave}`,
    found: `decided at ${decision.at}`,
  });
}

function expired(fence: Fence, found: string): CutoverError {
  return new CutoverError('FENCE_EXPIRED', {
    what: 'the fence does not hold any more, so nothing may be opened',
    where: `migration ${fence.migration}, wave ${fence.wave}, ${fence.direction}`,
    found,
  });
}

const decisionName = ({ migration, wave, direction }: Fence): string => `${migration}/opening/${wave}/${direction}`;
const withdrawalName = ({ migration, wave, direction }: Fence): string =>
  `${migration}/opening/${wave}/${direction}-withdrawn`;
