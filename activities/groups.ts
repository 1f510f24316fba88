/** Groups on the move: stopped where they are, their final positions carried, read back and classed. */
import { readBoundary, sidesOf } from '../migration/boundary.ts';
import { refuseExpired } from '../migration/fences/acl.ts';
import { fenceFor } from '../migration/fences/fence.ts';
import { finalPositions, storePositions } from '../migration/groups.ts';
import { tellConsumersToGoOn } from '../migration/webhooks.ts';
import type { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import { refuseClosed } from './fence.ts';
import { translatorOf } from './mirror.ts';
import type { ControlActivities } from './types.ts';

export function groupActivities(connections: Connections): Pick<ControlActivities, 'moveGroups' | 'keepGroups'> {
  return {
    async moveGroups(request) {
      const wave = await connections.wave(request);
      const { from, into } = sidesOf(request.direction);
      const boundary = request.boundary === null ? null : (await readBoundary(wave.storage, request.boundary)).boundary;
      if (wave.groups.length === 0) {
        return { moved: 0, exact: 0, replays: 0, untranslatable: 0, summary: 'no groups to move' };
      }
      const signal = cancellation();
      const translate = translatorOf(wave, request.direction, connections, { ...(boundary && { boundary }), signal });
      const fenced = await fenceFor(wave, connections.file, request).closeGroups(boundary, signal);
      const final = await finalPositions({
        from: wave.clusters[from],
        into: wave.clusters[into],
        groups: wave.groups,
        topics: wave.groupTopics,
        ...(boundary && { boundary }),
        ...(translate && { translate }),
        fenced,
        shares: wave.shareGroups,
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

    async keepGroups(request) {
      const wave = await connections.wave(request);
      const { from } = sidesOf(request.direction);
      const { undone, notUndone } = await wave.journal.undo(wave.wave, [`group-fence-${from}`]);
      refuseClosed(wave, from, notUndone);
      const { direction, deadlineMs } = request;
      const call = { direction, occasion: `handover ${direction} ${deadlineMs}` };
      const left = await tellConsumersToGoOn(wave, connections.file, call, { signal: cancellation() });
      return { undone, notUndone: left, summary: `groups read on on ${wave.clusters[from].name}` };
    },
  };
}
