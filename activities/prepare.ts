/** Claims what moves, and makes the target ready; makes a spoiled topic of it ready again. */
import { Context } from '@temporalio/activity';
import { claim } from '../migration/claims.ts';
import { prepareTarget } from '../migration/prepare.ts';
import { rememberGroups } from '../migration/proven.ts';
import { remirrorSpoiled } from '../migration/remirror.ts';
import type { Connections } from './connections.ts';
import type { ControlActivities } from './types.ts';

export function prepareActivities(connections: Connections): Pick<ControlActivities, 'prepareTarget' | 'remirror'> {
  return {
    async prepareTarget(scope) {
      const wave = await connections.wave(scope);
      await claim(wave.clusters, wave.storage, wave.migration, { topics: wave.topicNames, groups: wave.groups });
      await rememberGroups(wave.storage, wave.migration, wave.groups);
      const done = await prepareTarget(wave);
      const users = done.scramUsers.length > 0 ? `, SCRAM users ${done.scramUsers.join(', ')} created` : '';
      const schemas = done.schemas > 0 ? `, ${done.schemas} schemas carried` : '';
      const reused = done.topicsReused > 0 ? `, ${done.topicsReused} used again` : '';
      return {
        summary: `${done.topicsCreated} topics created${reused}, ${done.aclsAdded} access rules and ${done.quotasSet} quotas carried${users}${schemas}, applications kept out`,
      };
    },

    async remirror(scope) {
      const wave = await connections.wave(scope);
      const { runId } = Context.current().info.workflowExecution ?? { runId: '' };
      const { topics, findings } = await remirrorSpoiled(wave, runId);
      return { summary: `mirrored again from the start: ${topics.join(', ') || 'nothing'}`, findings };
    },
  };
}
