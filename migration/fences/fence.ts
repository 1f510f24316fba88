/**
 * A fence, of whatever kind: how it is set, proven, watched and lifted. What is the same for every kind (the deadline, the boundary, the
 * opening decision, the records that arrive at a fenced cluster) is not here.
 */
import { CutoverError } from '../../contract/errors.ts';
import { type FenceKind, fenceKinds } from '../../contract/fences.ts';
import type { Direction } from '../../contract/status.ts';
import type { ClustersFile } from '../../kafka/clusters.ts';
import { boundaryName, sidesOf } from '../boundary.ts';
import type { UndoReport } from '../journal.ts';
import { openingDecided } from '../opening.ts';
import { readProducerIds } from '../producer-ids.ts';
import { fenceOf, fencePrincipals, type Wave } from '../wave.ts';
import { stopperOf, tellClients } from '../webhooks.ts';
import { closeGroups, closeWrites, fenceBegan, fenceRules, proveFence, refuseExpired, watchFence } from './acl.ts';
import { heldFence, liftHeld, noteHeld } from './held.ts';
import { awaitStillness } from './stillness.ts';

export interface Fence extends FenceKind {
  /** Takes the cluster out of applications' hands; said twice, it is one fence. FENCE_EXPIRED. */
  close(signal: AbortSignal): Promise<string>;
  /** Shows that nobody writes any more. FENCE_NOT_PROVEN naming who does. */
  prove(signal: AbortSignal): Promise<string>;
  /** Stops the wave's groups (at no boundary when they move later than the producers); gives those whose members can do nothing any more, so that they need not be empty. */
  closeGroups(boundary: ReadonlyMap<string, bigint> | null, signal: AbortSignal): Promise<ReadonlySet<string>>;
  /** Looks at what the fence relies on until `signal` aborts, beside the records themselves. ACCESS_CHANGED. */
  watch(signal: AbortSignal): Promise<void>;
  /** When the standing fence was first recorded (ISO 8601), or '' without one: whatever is older belongs to another fence. */
  began(): Promise<string>;
  /** Gives the cluster back to its applications, as far as that is ours to do; what failed is in `notUndone`. */
  lift(): Promise<UndoReport>;
}

/** What else a lift does must not wait for a webhook; it is tried again as a whole. */
const liftGiveUpAfterMs = 2_000;

export interface FenceScope {
  readonly direction: Direction;
  /** Milliseconds since 1970; after it nothing is closed any more. */
  readonly deadlineMs: number;
}

/** The fence of the kind that the plan chose, on the cluster that `direction` moves away from. */
export function fenceFor(wave: Wave, file: ClustersFile, scope: FenceScope): Fence {
  switch (wave.plan.fence.kind) {
    case 'acl':
      return aclFence(wave, file, scope);
    case 'webhook':
    case 'manual':
      return fenceHeldByOthers(wave, file, scope);
  }
}

function aclFence(wave: Wave, file: ClustersFile, scope: FenceScope): Fence {
  const { direction, deadlineMs } = scope;
  const side = sidesOf(direction).from;
  const fence = fenceOf(wave, side, deadlineMs);
  return {
    ...fenceKinds.acl,
    async close() {
      const rules = await closeWrites(fence);
      return `${rules.length} DENY rules on ${wave.clusters[side].name}`;
    },
    async prove(signal) {
      const { partitions } = wave;
      const quietMs = wave.plan.fence.quiet;
      const mirror = await mirrorThatWroteTo(wave, direction);
      const proof = await proveFence({ ...fence, partitions, quietMs, mirror, signal });
      return `${proof.rules} rules seen on ${proof.brokers} brokers, ${partitions.length} log ends still for ${quietMs} ms`;
    },
    async closeGroups(boundary, signal) {
      await tellToStop(wave, file, scope, boundary, signal);
      await closeGroups({ ...fence, groups: wave.groups });
      return new Set(wave.groups);
    },
    async watch(signal) {
      try {
        await watchFence({
          cluster: wave.clusters[side],
          rules: await fenceRules(wave.journal, wave.wave, `fence-${side}`),
          topics: wave.topicNames,
          principals: fencePrincipals(wave, side),
          ours: wave.ours[side],
          facts: wave.facts[side],
          signal,
        });
      } catch (error) {
        if (!(error instanceof CutoverError) || error.code !== 'ACCESS_CHANGED' || signal.aborted) throw error;
        // Before the opening the attempt is over: its fence is lifted.
        if (!(await openingDecided(wave.storage, { ...wave, direction }))) throw error;
        // Applications write to the other cluster: two must never be open, whoever opened this one.
        const rules = await closeWrites({ ...fence, deadlineMs: Number.POSITIVE_INFINITY });
        throw new CutoverError('ACCESS_CHANGED', {
          ...error.detail,
          what: `${error.detail.what}; closed again with ${rules.length} DENY rules`,
        });
      }
    },
    began: () => fenceBegan(wave.journal, wave.wave, side),
    lift: () => wave.journal.undo(wave.wave, [`fence-${side}`, `group-fence-${side}`]),
  };
}

/** A system that is called, or people: that they keep their word is watched. */
function fenceHeldByOthers(wave: Wave, file: ClustersFile, scope: FenceScope): Fence {
  const { direction, deadlineMs } = scope;
  const side = sidesOf(direction).from;
  const { kind, quiet: quietMs } = wave.plan.fence;
  const { name } = wave.clusters[side];
  const isCalled = kind === 'webhook';
  const tellWriters = (
    action: 'fence' | 'unfence',
    heldUntilMs: number,
    options: Parameters<typeof tellClients>[3],
  ) => {
    const occasion = `fence of ${side} until ${heldUntilMs}`;
    return tellClients(wave, file, { direction, who: 'producers', action, boundary: null, occasion }, options);
  };
  return {
    ...fenceKinds[kind],
    async close(signal) {
      const beforeEach = () => refuseExpired(deadlineMs, `cluster ${name}, wave ${wave.wave}`);
      beforeEach();
      // First, as with every change: whoever comes after a crash must know that somebody may have been stopped.
      await noteHeld(wave, side, deadlineMs);
      if (!isCalled) return `people say that the writers of ${name} are stopped`;
      // A moment before, so that people hear why it did not answer.
      const giveUpAfterMs = Math.max(0, (deadlineMs - Date.now()) * 0.9);
      const told = await tellWriters('fence', deadlineMs, { signal, giveUpAfterMs, beforeEach });
      return `webhook answered ${told.status} after ${told.attempts} calls: the writers of ${name} are stopped`;
    },
    async prove(signal) {
      const { partitions } = wave;
      const mirror = await mirrorThatWroteTo(wave, direction);
      await awaitStillness({ cluster: wave.clusters[side], partitions, quietMs, deadlineMs, mirror, signal });
      return `not enforced: ${partitions.length} log ends still for ${quietMs} ms, watched from now on`;
    },
    async closeGroups(boundary, signal) {
      await tellToStop(wave, file, scope, boundary, signal);
      return new Set();
    },
    async watch() {},
    began: async () => (await heldFence(wave, side))?.at ?? '',
    async lift() {
      const held = await heldFence(wave, side);
      if (!held) return { undone: 0, notUndone: [], notNoted: [] };
      if (isCalled) {
        try {
          await tellWriters('unfence', held.deadlineMs, { giveUpAfterMs: liftGiveUpAfterMs });
        } catch (error) {
          const line = `the writers of ${name} were not told to go on: ${(error as Error).message}`;
          return { undone: 0, notUndone: [line], notNoted: [] };
        }
      }
      await liftHeld(wave, side);
      return { undone: isCalled ? 1 : 0, notUndone: [], notNoted: [] };
    },
  };
}

/** Consumers that a webhook can stop leave their groups by themselves, having committed. */
async function tellToStop(
  wave: Wave,
  file: ClustersFile,
  { direction, deadlineMs }: FenceScope,
  boundary: ReadonlyMap<string, bigint> | null,
  signal: AbortSignal,
): Promise<void> {
  if (!stopperOf(file, wave.plan, 'consumers')) return;
  const occasion = boundaryName({ ...wave, direction, deadlineMs });
  await tellClients(wave, file, { direction, who: 'consumers', action: 'fence', boundary, occasion }, { signal });
}

/** On the way back the forward mirror's records are on the cluster that is fenced. */
async function mirrorThatWroteTo(wave: Wave, direction: Direction): Promise<ReadonlyMap<string, bigint>> {
  return readProducerIds(wave.storage, wave.migration, direction === 'forward' ? 'reverse' : 'forward');
}
