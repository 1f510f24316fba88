/**
 * From the fence to the opening, in either direction. `from` is the cluster that applications leave, `into` the one
 * they go to. While these run applications wait, so each does one thing and says how long it took.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Direction } from '../contract/status.ts';
import { shutOutAcls } from '../migration/acls.ts';
import { readAudit, storeAudit } from '../migration/audit-positions.ts';
import { drainToBoundary, sidesOf, storeBoundary } from '../migration/boundary.ts';
import type { Side } from '../migration/change.ts';
import { closeWrites, proveFence, refuseExpired } from '../migration/fences/acl.ts';
import type { Purpose } from '../migration/journal.ts';
import { decideOpening, withdraw } from '../migration/opening.ts';
import { restoreMessageSettings, suspendSourceSettings } from '../migration/prepare.ts';
import { endTransactions } from '../migration/transactions.ts';
import { fencePrincipals, type Wave } from '../migration/wave.ts';
import { tellClients } from '../migration/webhooks.ts';
import type { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import type { ControlActivities, Fenced, UndoResult } from './types.ts';

type FenceActivities = Pick<
  ControlActivities,
  | 'closeWrites'
  | 'proveFence'
  | 'endTransactions'
  | 'drainToBoundary'
  | 'shutOutMirror'
  | 'restoreSettings'
  | 'decideOpening'
  | 'openWrites'
  | 'openGroups'
  | 'unfence'
>;

export function fenceActivities(connections: Connections): FenceActivities {
  return {
    async closeWrites(request) {
      const wave = await connections.wave(request);
      const side = sidesOf(request.direction).from;
      if (request.direction === 'forward' && wave.plan.rollback.reverseMirror) {
        // Before anything is closed, so that applications do not wait for it.
        await suspendSourceSettings(wave);
      }
      const rules = await closeWrites(fenceOf(wave, side, request));
      return { summary: `${rules.length} DENY rules on ${wave.clusters[side].name}` };
    },

    async proveFence(request) {
      const wave = await connections.wave(request);
      const side = sidesOf(request.direction).from;
      const proof = await proveFence({
        ...fenceOf(wave, side, request),
        partitions: wave.partitions,
        quietMs: wave.plan.fence.quiet,
        signal: cancellation(),
      });
      return {
        summary: `${proof.rules} rules seen on ${proof.brokers} brokers, ${wave.partitions.length} log ends still for ${proof.quietMs} ms`,
      };
    },

    async endTransactions(request) {
      const wave = await connections.wave(request);
      const { waitedFor, ended } = await endTransactions(
        wave.clusters[sidesOf(request.direction).from],
        wave.partitions,
        { waitMs: wave.plan.fence.transactionWait, deadlineMs: request.deadlineMs, signal: cancellation() },
      );
      const list = (ids: readonly string[]) => (ids.length > 0 ? ` (${ids.slice(0, 5).join(', ')})` : '');
      return {
        summary: `transactions: ${waitedFor.length} ended by themselves, ${ended.length} ended by us${list(ended)}`,
      };
    },

    async drainToBoundary(request) {
      const wave = await connections.wave(request);
      const drained = await drainToBoundary({
        clusters: wave.clusters,
        direction: request.direction,
        partitions: wave.partitions,
        deadlineMs: request.deadlineMs,
        audit: await readAudit(wave.storage, wave.migration, wave.topics, wave.partitions),
        signal: cancellation(),
      });
      await storeAudit(wave.storage, wave.migration, `${wave.wave}-fence`, wave.topics, drained.audit);
      const boundary = await storeBoundary(wave.storage, { ...wave, ...request }, drained);
      const { settle, copy, audit } = drained.tookMs;
      return {
        boundary,
        partitions: drained.boundary.size,
        summary: `boundary taken on ${drained.boundary.size} partitions: settled in ${settle} ms, copied in ${copy} ms, audited in ${audit} ms`,
      };
    },

    async shutOutMirror(request) {
      const wave = await connections.wave(request);
      const { direction, deadlineMs } = request;
      const side = sidesOf(direction).into;
      const cluster = wave.clusters[side];
      const principal = wave.ours[side][direction];
      // The mirror of the other way, shut out by an earlier move, is about to be needed again.
      await wave.journal.undo(wave.wave, [direction === 'forward' ? 'shut-out-reverse' : 'shut-out-forward']);
      if (!wave.inventory.measured[side].authorizer || principal === null || principal === wave.ours[side].own) {
        return { summary: `the mirror has no principal of its own on ${cluster.name}: only its end keeps it out` };
      }
      const beforeEach = () => refuseExpired(deadlineMs, `cluster ${cluster.name}, wave ${wave.wave}`);
      beforeEach();
      const acls = shutOutAcls(principal, wave.topicNames);
      await wave.journal.make(wave.wave, `shut-out-${direction}`, [{ kind: 'create-acls', cluster: side, acls }], {
        beforeEach,
      });
      return { summary: `${principal} denied on ${cluster.name}, seen on every broker` };
    },

    async restoreSettings(request) {
      const wave = await connections.wave(request);
      const changed = await restoreMessageSettings(wave, sidesOf(request.direction).into);
      return { summary: `message settings of ${changed} topics restored` };
    },

    async decideOpening(request) {
      const wave = await connections.wave(request);
      const decision = await decideOpening(wave.storage, { ...wave, ...request });
      return { summary: `opening decided at ${decision.at}` };
    },

    async openWrites(request) {
      const wave = await connections.wave(request);
      const side = sidesOf(request.direction).into;
      const { undone, notUndone } = await wave.journal.undo(wave.wave, closedBy(side));
      refuseClosed(wave, side, notUndone);
      return { summary: `${wave.clusters[side].name} open for writes (${undone} entries undone)` };
    },

    async openGroups(request) {
      const wave = await connections.wave(request);
      const side = sidesOf(request.direction).into;
      const { notUndone } = await wave.journal.undo(wave.wave, groupsClosedBy(side));
      refuseClosed(wave, side, notUndone);
      return { summary: `${wave.groups.length} groups let in on ${wave.clusters[side].name}` };
    },

    async unfence(request) {
      return liftFence(
        await connections.waveWithout(request),
        { ...request, throughMs: request.deadlineMs },
        connections,
      );
    },
  };
}

/**
 * Gives the fenced cluster back to its applications, unless opening the other one was decided.
 *
 * @throws CutoverError UNFENCE_REFUSED
 */
export async function liftFence(
  wave: Wave,
  fence: {
    readonly direction: Direction;
    /** Fences with a deadline up to here can decide nothing any more. */
    readonly throughMs: number;
  },
  connections: Connections,
): Promise<UndoResult> {
  const { direction } = fence;
  const { from, into } = sidesOf(direction);
  await withdraw(wave.storage, { ...wave, ...fence });
  // Applications first: they must not wait for a cluster that does not answer.
  const applications = await wave.journal.undo(wave.wave, [`fence-${from}`, `group-fence-${from}`]);
  const ours = await wave.journal.undo(wave.wave, [`opening-${into}`, `shut-out-${direction}`]);
  const undone = applications.undone + ours.undone;
  const notUndone = [...applications.notUndone, ...ours.notUndone];
  if (wave.plan.consumers.switch === 'webhook' && wave.groups.length > 0) {
    // Consumers may have been asked to stop; told once more to go on, they lose nothing.
    await tellClients(wave, connections.file, {
      direction,
      who: 'consumers',
      action: 'unfence',
      boundary: null,
      occasion: `unfence ${Date.now()}`,
    });
  }
  return { undone, notUndone, summary: `fence of ${wave.clusters[from].name} lifted (${undone} entries undone)` };
}

/** What keeps applications from writing to a cluster: undone, it is open. */
function closedBy(side: Side): Purpose[] {
  return side === 'target' ? ['protection', 'fence-target'] : ['fence-source'];
}

/** Half open is not open: it is tried again until nothing of ours is in the way. */
function refuseClosed(wave: Wave, side: Side, notUndone: readonly string[]): void {
  if (notUndone.length === 0) return;
  throw new CutoverError('COMPENSATION_FAILED', {
    what: 'not opened yet',
    where: `cluster ${wave.clusters[side].name}`,
    found: notUndone.join('; '),
  });
}

function groupsClosedBy(side: Side): Purpose[] {
  return side === 'target' ? ['group-protection', 'group-fence-target'] : ['group-fence-source'];
}

function fenceOf(wave: Wave, side: Side, { deadlineMs }: Fenced) {
  return {
    clusters: wave.clusters,
    side,
    journal: wave.journal,
    wave: wave.wave,
    topics: wave.topicNames,
    principals: fencePrincipals(wave, side),
    ours: wave.ours[side],
    facts: wave.facts[side],
    deadlineMs,
  };
}
