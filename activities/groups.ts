/** Groups on the move: stopped where they are, their final positions carried, read back and classed. */
import { readBoundary, sidesOf } from '../migration/boundary.ts';
import { closeGroups, refuseExpired } from '../migration/fences/acl.ts';
import { finalPositions, storePositions } from '../migration/groups.ts';
import { fenceOf } from '../migration/wave.ts';
import { tellClients } from '../migration/webhooks.ts';
import type { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import type { ControlActivities } from './types.ts';

export function groupActivities(connections: Connections): Pick<ControlActivities, 'moveGroups' | 'callSwitch'> {
  return {
    async moveGroups(request) {
      const wave = await connections.wave(request);
      const { from, into } = sidesOf(request.direction);
      const { boundary } = await readBoundary(wave.storage, request.boundary);
      if (wave.groups.length === 0) {
        return { moved: 0, exact: 0, replays: 0, untranslatable: 0, summary: 'no groups to move' };
      }
      if (wave.plan.consumers.switch === 'webhook') {
        await tellClients(
          wave,
          connections.file,
          { direction: request.direction, who: 'consumers', action: 'fence', boundary, occasion: request.boundary },
          { signal: cancellation() },
        );
      }
      await closeGroups({ ...fenceOf(wave, from, request.deadlineMs), groups: wave.groups });
      const final = await finalPositions({
        from: wave.clusters[from],
        into: wave.clusters[into],
        groups: wave.groups,
        topics: wave.groupTopics,
        boundary,
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
