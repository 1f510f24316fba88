/** Groups on the move: stopped where they are, their final positions carried, read back and classed. */
import { readBoundary, sidesOf } from '../migration/boundary.ts';
import { refuseExpired } from '../migration/fences/acl.ts';
import { fenceFor } from '../migration/fences/fence.ts';
import { finalPositions, storePositions } from '../migration/groups.ts';
import { topicSizes } from '../migration/wave.ts';
import type { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import type { ControlActivities } from './types.ts';

export function groupActivities(connections: Connections): Pick<ControlActivities, 'moveGroups'> {
  return {
    async moveGroups(request) {
      const wave = await connections.wave(request);
      const { from, into } = sidesOf(request.direction);
      const { boundary } = await readBoundary(wave.storage, request.boundary);
      if (wave.groups.length === 0) {
        return { moved: 0, exact: 0, replays: 0, untranslatable: 0, summary: 'no groups to move' };
      }
      const signal = cancellation();
      const fenced = await fenceFor(wave, connections.file, request).closeGroups(boundary, signal);
      const final = await finalPositions({
        from: wave.clusters[from],
        into: wave.clusters[into],
        groups: wave.groups,
        topics: topicSizes(wave),
        boundary,
        fenced,
        signal,
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
  };
}
