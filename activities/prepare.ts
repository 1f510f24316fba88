/** Claims what moves, and makes the target ready. */
import { claim } from '../migration/claims.ts';
import { prepareTarget } from '../migration/prepare.ts';
import { rememberGroups } from '../migration/proven.ts';
import type { Connections } from './connections.ts';
import type { ControlActivities } from './types.ts';

export function prepareActivities(connections: Connections): Pick<ControlActivities, 'prepareTarget'> {
  return {
    async prepareTarget(scope) {
      const wave = await connections.wave(scope);
      await claim(wave.clusters, wave.storage, wave.migration, { topics: wave.topicNames, groups: wave.groups });
      await rememberGroups(wave.storage, wave.migration, wave.groups);
      const done = await prepareTarget(wave);
      const reused = done.topicsReused > 0 ? `, ${done.topicsReused} used again` : '';
      return {
        summary: `${done.topicsCreated} topics created${reused}, ${done.aclsAdded} access rules and ${done.quotasSet} quotas carried, applications kept out`,
      };
    },
  };
}
