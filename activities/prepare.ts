/** Claims what moves, and makes the target ready; makes a spoiled topic of it ready again. */
import { Context } from '@temporalio/activity';
import { CutoverError } from '../contract/errors.ts';
import { capabilitiesOf } from '../contract/replicators.ts';
import { describeAcls } from '../kafka/acls.ts';
import { missingAcls } from '../migration/acls.ts';
import { claim } from '../migration/claims.ts';
import { prepareTarget } from '../migration/prepare.ts';
import { rememberGroups } from '../migration/proven.ts';
import { remirrorSpoiled } from '../migration/remirror.ts';
import type { Wave } from '../migration/wave.ts';
import { replicatorOf } from '../replicators/registry.ts';
import type { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import type { ControlActivities } from './types.ts';

export function prepareActivities(connections: Connections): Pick<ControlActivities, 'prepareTarget' | 'remirror'> {
  return {
    async prepareTarget(scope) {
      const wave = await connections.wave(scope);
      await claim(wave.clusters, wave.storage, wave.migration, { topics: wave.topicNames, groups: wave.groups });
      await rememberGroups(wave.storage, wave.migration, wave.groups);
      const done = await prepareTarget(wave);
      await grant(wave);
      const made = await replicatorOf(wave.plan).prepare?.({
        wave,
        direction: 'forward',
        file: connections.file,
        signal: cancellation(),
      });
      const users = done.scramUsers.length > 0 ? `, SCRAM users ${done.scramUsers.join(', ')} created` : '';
      const schemas = done.schemas > 0 ? `, ${done.schemas} schemas carried` : '';
      const reused = done.topicsReused > 0 ? `, ${done.topicsReused} used again` : '';
      return {
        summary: `${done.topicsCreated} topics created${reused}, ${done.aclsAdded} access rules and ${done.quotasSet} quotas carried${users}${schemas}, applications kept out${made ? `; ${made}` : ''}`,
      };
    },

    async remirror(scope) {
      const wave = await connections.wave(scope);
      if (!capabilitiesOf(wave.plan).ourProducers) {
        throw new CutoverError('PARITY_FAILED', {
          what: 'a topic that another replicator has spoiled is not made anew by us',
          where: `wave ${wave.wave}`,
          next: 'Abort with `--remove-target`, look for the reason in its log, and start again.',
        });
      }
      const { runId } = Context.current().info.workflowExecution ?? { runId: '' };
      const { topics, findings } = await remirrorSpoiled(wave, runId);
      return { summary: `mirrored again from the start: ${topics.join(', ') || 'nothing'}`, findings };
    },
  };
}

/** What the replicator needs beyond the rights on topics. */
async function grant(wave: Wave): Promise<void> {
  const rights = replicatorOf(wave.plan).rights(wave);
  for (const side of ['source', 'target'] as const) {
    if (!wave.inventory.measured[side].authorizer || rights[side].length === 0) continue;
    const change = missingAcls(side, rights[side], await describeAcls(wave.clusters[side]));
    if (change) await wave.journal.make(wave.wave, 'mirror-access', [change]);
  }
}
