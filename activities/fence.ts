/**
 * From the fence to the opening, in either direction. `from` is the cluster that applications leave, `into` the one
 * they go to. While these run applications wait, so each does one thing and says how long it took.
 */
import { CutoverError } from '../contract/errors.ts';
import { fenceKinds } from '../contract/fences.ts';
import { capabilitiesOf } from '../contract/replicators.ts';
import type { Direction } from '../contract/status.ts';
import { describeAcls } from '../kafka/acls.ts';
import { listOffsets } from '../kafka/offsets.ts';
import { shutOutAcls } from '../migration/acls.ts';
import { auditStarts, storeAudit } from '../migration/audit-positions.ts';
import { covers } from '../migration/authorizer.ts';
import {
  boundaryName,
  type Drained,
  drainToBoundary,
  readBoundary,
  refuseMoved,
  sidesOf,
  storeBoundary,
} from '../migration/boundary.ts';
import { restoreBrokerSettings, suspendBrokerSettings } from '../migration/broker-settings.ts';
import type { Side } from '../migration/change.ts';
import { refuseExpired } from '../migration/fences/acl.ts';
import { type Fence, fenceFor } from '../migration/fences/fence.ts';
import { liftHeld } from '../migration/fences/held.ts';
import { awaitStopped } from '../migration/fences/stopped.ts';
import { carryLastSchemasBack } from '../migration/follow-schemas.ts';
import type { Purpose } from '../migration/journal.ts';
import { type Decision, decideOpening, type Withdrawn, withdraw } from '../migration/opening.ts';
import { drainPairs, storePairs } from '../migration/pairs.ts';
import { refuseAddedPartitions, restoreMessageSettings, suspendSourceSettings } from '../migration/prepare.ts';
import { poolNames } from '../migration/principals-pool.ts';
import { openRegistry } from '../migration/schemas.ts';
import { endTransactions } from '../migration/transactions.ts';
import type { Wave } from '../migration/wave.ts';
import { tellConsumersToGoOn } from '../migration/webhooks.ts';
import type { PairedPartition } from '../mirror/pairing-run.ts';
import { replicatorOf } from '../replicators/registry.ts';
import type { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import { walkerOf } from './pairs.ts';
import type { ControlActivities, Fenced, ShutOutResult, UndoResult } from './types.ts';

/** How long a lift waits for consumers to be told: applications that write go on already. */
const liftWebhookMs = 10_000;

/** What finding out and telling who was in the way may take. */
const sayWhyMs = 1_000;

type FenceActivities = Pick<
  ControlActivities,
  | 'awaitStopped'
  | 'closeWrites'
  | 'proveFence'
  | 'endTransactions'
  | 'drainToBoundary'
  | 'shutOutMirror'
  | 'restoreSettings'
  | 'decideOpening'
  | 'promote'
  | 'openWrites'
  | 'openGroups'
  | 'unfence'
>;

export function fenceActivities(connections: Connections): FenceActivities {
  return {
    async awaitStopped(request) {
      const wave = await connections.wave(request);
      return { summary: await awaitStopped(wave, connections.file, request.direction, cancellation()) };
    },

    async closeWrites(request) {
      const wave = await connections.wave(request);
      if (request.direction === 'forward') await refuseAddedPartitions(wave);
      if (request.direction === 'forward' && wave.plan.rollback.reverseMirror) {
        // Before anything is closed, so that applications do not wait for it.
        await suspendSourceSettings(wave);
      }
      return { summary: await fenceFor(wave, connections.file, request).close(cancellation()) };
    },

    async proveFence(request) {
      const wave = await connections.wave(request);
      // Before the last records are given up beside it, for the same reason: this one says who is in the way.
      const deadlineMs = giveUpAt(wave, giveUpAt(wave, request.deadlineMs));
      return { summary: await fenceFor(wave, connections.file, { ...request, deadlineMs }).prove(cancellation()) };
    },

    async endTransactions(request) {
      const wave = await connections.wave(request);
      const { waitedFor, ended } = await endTransactions(
        wave.clusters[sidesOf(request.direction).from],
        wave.partitions,
        {
          waitMs: wave.plan.fence.transactionWait,
          deadlineMs: giveUpAt(wave, request.deadlineMs),
          signal: cancellation(),
        },
      );
      const list = (ids: readonly string[]) => (ids.length > 0 ? ` (${ids.slice(0, 5).join(', ')})` : '');
      return {
        summary: `transactions: ${waitedFor.length} ended by themselves, ${ended.length} ended by us${list(ended)}`,
      };
    },

    async drainToBoundary(request) {
      const wave = await connections.wave(request);
      // Once more, now that nobody can write to a new one any more.
      if (request.direction === 'forward') await refuseAddedPartitions(wave);
      const quietMs = fenceKinds[wave.plan.fence.kind].enforced ? {} : { quietMs: wave.plan.fence.quiet };
      if (!capabilitiesOf(wave.plan).offsetIdentity) {
        const { direction } = request;
        const deadlineMs = giveUpAt(wave, request.deadlineMs);
        const { pairs, ...drained } = await drainPairs(wave, {
          direction,
          deadlineMs,
          ...quietMs,
          walk: walkerOf(wave, direction, connections),
          signal: cancellation(),
        });
        await storePairs(wave, direction, 'fence', pairs);
        const boundary = await storeBoundary(wave.storage, { ...wave, ...request }, drained);
        return { boundary, partitions: drained.boundary.size, summary: saidDrained(drained, pairs) };
      }
      const drained = await drainToBoundary({
        clusters: wave.clusters,
        direction: request.direction,
        partitions: wave.partitions,
        deadlineMs: giveUpAt(wave, request.deadlineMs),
        // Missed tombstones are the running audit's to look after: here applications wait, and nothing may begin from the start.
        audit: (await auditStarts(wave, wave.partitions)).map(({ deleteRetentionMs: _, ...start }) => start),
        ...quietMs,
        signal: cancellation(),
      });
      await storeAudit(wave, `${wave.wave}-fence`, drained.audit);
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
      const beforeEach = () => refuseExpired(deadlineMs, `wave ${wave.wave}`);
      beforeEach();
      if (direction === 'forward') {
        // An earlier way back shut the reverse mirror out; it is needed from now on.
        const back = await wave.journal.undo(wave.wave, ['shut-out-reverse'], {
          beforeEach,
        });
        refuseClosed(wave, 'source', back.notUndone);
      }
      return shutOut(wave, direction, connections, { beforeEach, signal: cancellation() });
    },

    async restoreSettings(request) {
      const wave = await connections.wave(request);
      const side = sidesOf(request.direction).into;
      const changed = await restoreMessageSettings(wave, side);
      refuseClosed(wave, side, (await restoreBrokerSettings(wave, side)).notUndone);
      const restored = `message settings of ${changed} topics restored`;
      if (side === 'source') return { summary: restored, findings: await carryLastSchemasBack(wave) };
      const schemas = await openRegistry(wave);
      return { summary: schemas > 0 ? `${restored}, ${schemas} schemas carried` : restored };
    },

    async decideOpening(request) {
      const wave = await connections.wave(request);
      // The last moment at which a writer that nobody stopped costs nothing but time.
      const { boundary } = await readBoundary(wave.storage, boundaryName({ ...wave, ...request }));
      await refuseMoved(wave.clusters[sidesOf(request.direction).from], boundary);
      if (!capabilitiesOf(wave.plan).offsetIdentity) await refuseMovedCopy(wave, request);
      const decision = await decideOpening(wave.storage, { ...wave, ...request });
      return { summary: `opening decided at ${decision.at}` };
    },

    async promote(request) {
      const wave = await connections.wave(request);
      const { direction } = request;
      const leg = { wave, direction, file: connections.file, signal: cancellation() };
      return { summary: await replicatorOf(wave.plan).promote(leg) };
    },

    async openWrites(request) {
      const wave = await connections.wave(request);
      const side = sidesOf(request.direction).into;
      const keptOut = request.groupsToo ? [...closedBy(side), ...groupsClosedBy(side)] : closedBy(side);
      const { undone, notUndone } = await wave.journal.undo(wave.wave, keptOut);
      refuseClosed(wave, side, notUndone);
      await liftHeld(wave, side);
      const groups = request.groupsToo ? ` and to ${wave.groups.length} groups` : '';
      return { summary: `${wave.clusters[side].name} open for writes${groups} (${undone} entries undone)` };
    },

    async openGroups(request) {
      const wave = await connections.wave(request);
      const side = sidesOf(request.direction).into;
      const { notUndone } = await wave.journal.undo(wave.wave, groupsClosedBy(side));
      refuseClosed(wave, side, notUndone);
      return { summary: `${wave.groups.length} groups let in on ${wave.clusters[side].name}` };
    },

    async unfence(request) {
      const { direction, deadlineMs } = request;
      const wave = await connections.waveWithout(request);
      const concerns = (decision: Decision) => decision.deadlineMs >= deadlineMs;
      return liftFence(wave, { direction, throughMs: deadlineMs, concerns }, connections, cancellation());
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
  fence: Omit<Withdrawn, 'migration' | 'wave'>,
  connections: Connections,
  signal: AbortSignal,
): Promise<UndoResult> {
  const { direction } = fence;
  const { from, into } = sidesOf(direction);
  await withdraw(wave.storage, { migration: wave.migration, wave: wave.wave, ...fence });
  const held = fenceFor(wave, connections.file, { direction, deadlineMs: fence.throughMs });
  // Applications first: they must not wait for a cluster that does not answer.
  const applications = await held.lift();
  const left = [...applications.notNoted];
  if (direction === 'forward') {
    // Live again, the source must not be written by the mirror of the way back.
    if (wave.plan.rollback.reverseMirror)
      await shutOut(wave, 'reverse', connections, { signal }).catch((error) => left.push(String(error)));
    left.push(...(await wave.journal.undo(wave.wave, ['source-settings', 'source-brokers'])).notUndone);
  }
  const ours = await wave.journal.undo(wave.wave, [`opening-${into}`, `shut-out-${direction}`]);
  left.push(...ours.notUndone);
  // The mirror goes on.
  await suspendBrokerSettings(wave, into).catch((error) => left.push(`${(error as Error).message}`));
  const occasion = `unfence ${direction} ${fence.throughMs}`;
  const toldBy = { giveUpAfterMs: liftWebhookMs };
  left.push(...(await tellConsumersToGoOn(wave, connections.file, { direction, occasion }, toldBy)));
  refuseClosed(wave, from, applications.notUndone);
  const undone = applications.undone + ours.undone;
  return {
    undone,
    notUndone: left,
    summary: `${saidLifted(held, wave.clusters[from].name)} (${undone} entries undone)`,
  };
}

function saidLifted({ reversible }: Fence, name: string): string {
  if (reversible) return `fence of ${name} lifted`;
  return `nothing will be opened under this fence: the applications of ${name} may be started again there`;
}

/**
 * Where offsets differ, the place where the target's own records begin is known only once nothing is mirrored any more.
 *
 * @throws CutoverError TARGET_DIVERGED when something arrived after the boundary was taken
 */
async function refuseMovedCopy(wave: Wave, fence: Fenced): Promise<void> {
  const { into } = await readBoundary(wave.storage, boundaryName({ ...wave, ...fence }));
  const written = wave.clusters[sidesOf(fence.direction).into];
  const ends = await listOffsets(written, wave.partitions, 'logEnd');
  const [moved] = [...ends].filter(([key, end]) => end !== into.get(key));
  if (!moved) return;
  throw new CutoverError('TARGET_DIVERGED', {
    what: 'the replicator wrote once more after the boundary was taken',
    where: `cluster ${written.name}, ${moved[0]}`,
    found: `log end ${moved[1]}`,
    wanted: `log end ${into.get(moved[0])}`,
    next: 'Try again: what it wrote is compared then.',
  });
}

function saidDrained({ boundary, tookMs }: Drained, pairs: readonly PairedPartition[]): string {
  const sum = (kind: 'records' | 'duplicated' | 'leftOut' | 'deadLettered') =>
    pairs.reduce((all, { counts }) => all + (counts[kind] ?? 0), 0);
  const twice = sum('duplicated') > 0 ? `, ${sum('duplicated')} of them there more than once` : '';
  const changed =
    sum('leftOut') + sum('deadLettered') > 0
      ? ` (but ${sum('leftOut')} that the module leaves out and ${sum('deadLettered')} dead letters)`
      : '';
  return `boundary taken on ${boundary.size} partitions: settled in ${tookMs.settle} ms, all ${sum('records')} records found on the other cluster${twice}${changed} in ${tookMs.copy} ms`;
}

/** Denies the mirror of a direction on the cluster that it writes, and stops it there for good. */
async function shutOut(
  wave: Wave,
  direction: Direction,
  { file }: Connections,
  options: { readonly beforeEach?: () => void; readonly signal: AbortSignal },
): Promise<ShutOutResult> {
  const side = sidesOf(direction).into;
  const cluster = wave.clusters[side];
  const principal = wave.ours[side][direction];
  const denied: string[] = [];
  const own = principal !== null && principal !== wave.ours[side].own ? [principal] : [];
  const principals = wave.inventory.measured[side].authorizer ? [...own, ...poolNames(cluster.config)] : [];
  let keptOut = false;
  if (principals.length > 0) {
    const topics = await deniable(wave, side);
    const bound = own.some((name) => wave.facts[side].superUsers?.has(name) !== true);
    keptOut = bound && capabilitiesOf(wave.plan).ourLogins && topics.length === wave.topicNames.length;
    const acls = principals.flatMap((name) => shutOutAcls(name, topics, wave.ours[side].own));
    await wave.journal.make(
      wave.wave,
      `shut-out-${direction}`,
      [{ kind: 'create-acls', cluster: side, acls }],
      options,
    );
    denied.push(`${principals.join(', ')} denied on ${cluster.name}, seen on every broker`);
  }
  options.beforeEach?.();
  const stopped = await replicatorOf(wave.plan).stop({ wave, direction, file, signal: options.signal, keptOut });
  if (stopped !== '') denied.push(stopped);
  const summary =
    denied.length > 0
      ? denied.join('; ')
      : `the mirror has no principal of its own on ${cluster.name}: only its end keeps it out`;
  return { summary, byRule: keptOut };
}

/**
 * Topics that a rule may be added to. An ACL fence has seen to it that all are (ACL_OPEN_ENDED); without one, the first rule on a topic
 * that none speaks about would close it for everybody who may write it as `allow.everyone.if.no.acl.found` says.
 */
async function deniable(wave: Wave, side: Side): Promise<readonly string[]> {
  if (fenceKinds[wave.plan.fence.kind].enforced) return wave.topicNames;
  const acls = await describeAcls(wave.clusters[side]);
  return wave.topicNames.filter((name) => acls.some((acl) => covers(acl, { type: 'topic', name })));
}

/** What keeps applications from writing to a cluster: undone, it is open. */
function closedBy(side: Side): Purpose[] {
  return side === 'target' ? ['protection', 'fence-target'] : ['fence-source'];
}

/**
 * What waits gives up a moment before the fence's deadline, when Temporal takes the attempt away: else nobody would hear who was in the way.
 */
function giveUpAt(wave: Wave, deadlineMs: number): number {
  return deadlineMs - Math.min(sayWhyMs, wave.plan.fence.maxHold / 10);
}

/** Half open is not open: it is tried again until nothing of ours is in the way. */
export function refuseClosed(wave: Wave, side: Side, notUndone: readonly string[]): void {
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
