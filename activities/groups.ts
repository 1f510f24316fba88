/** Groups on the move: stopped where they are, their final positions carried, read back and classed. */
import { readBoundary, sidesOf } from '../migration/boundary.ts';
import { closeGroups, refuseExpired } from '../migration/fences/acl.ts';
import { finalPositions, storePositions } from '../migration/groups.ts';
import { fenceOf } from '../migration/wave.ts';
import { tellClients } from '../migration/webhooks.ts';
import type { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import { refuseClosed } from './fence.ts';
import type { ControlActivities, Fenced } from './types.ts';

export function groupActivities(
  connections: Connections,
): Pick<ControlActivities, 'moveGroups' | 'keepGroups' | 'callSwitch'> {
  return {
    async moveGroups(request) {
      const wave = await connections.wave(request);
      const { from, into } = sidesOf(request.direction);
      const boundary = request.boundary === null ? null : (await readBoundary(wave.storage, request.boundary)).boundary;
      const occasion = request.boundary ?? handover(request);
      if (wave.groups.length === 0) {
        return { moved: 0, exact: 0, replays: 0, untranslatable: 0, summary: 'no groups to move' };
      }
      if (wave.plan.consumers.switch === 'webhook') {
        await tellClients(
          wave,
          connections.file,
          { direction: request.direction, who: 'consumers', action: 'fence', boundary, occasion },
          { signal: cancellation() },
        );
      }
      await closeGroups({ ...fenceOf(wave, from, request.deadlineMs), groups: wave.groups });
      const final = await finalPositions({
        from: wave.clusters[from],
        into: wave.clusters[into],
        groups: wave.groups,
        topics: wave.groupTopics,
        ...(boundary && { boundary }),
        fenced: new Set(wave.groups),
        signal: cancellation(),
        beforeWrite: () => {
          wave.beforeSend();
          refuseExpired(request.deadlineMs, `groups of wave ${wave.wave}`);
        },
      });
      await storePositions(wave.storage, { ...wave, ...request }, final);
      const { exact, replays, untranslatable, replayedRecords } = final.totals;
      return {
        moved: wave.groups.length,
        exact,
        replays,
        untranslatable,
        summary: `${wave.groups.length} groups: ${exact} positions exact, ${replays} read ${replayedRecords} records again, ${untranslatable} untranslatable`,
      };
    },

    async keepGroups(request) {
      const wave = await connections.wave(request);
      const { from } = sidesOf(request.direction);
      const { undone, notUndone } = await wave.journal.undo(wave.wave, [`group-fence-${from}`]);
      refuseClosed(wave, from, notUndone);
      const left: string[] = [];
      if (wave.plan.consumers.switch === 'webhook' && wave.groups.length > 0) {
        const { direction } = request;
        const call = {
          direction,
          who: 'consumers',
          action: 'unfence',
          boundary: null,
          occasion: handover(request),
        } as const;
        await tellClients(wave, connections.file, call, { signal: cancellation() }).catch((error) =>
          left.push(`consumers were not told to go on: ${(error as Error).message}`),
        );
      }
      return { undone, notUndone: left, summary: `groups read on on ${wave.clusters[from].name}` };
    },

    async callSwitch({ direction, who, boundary, ...scope }) {
      const wave = await connections.wave(scope);
      const stored = await readBoundary(wave.storage, boundary);
      const action = direction === 'forward' ? 'switch' : 'rollback';
      const result = await tellClients(
        wave,
        connections.file,
        { direction, who, action, boundary: stored.boundary, occasion: boundary },
        { signal: cancellation() },
      );
      return { summary: `${who}: webhook answered ${result.status} after ${result.attempts} calls` };
    },
  };
}

/** Tells the calls of one handover from those of another. */
function handover({ direction, deadlineMs }: Fenced): string {
  return `handover ${direction} ${deadlineMs}`;
}
