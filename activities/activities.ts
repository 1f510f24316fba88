/** All activities of a worker, on connections that they share. */
import type { Logger } from 'pino';
import type { ClustersFile } from '../kafka/clusters.ts';
import { Connections } from './connections.ts';
import { drainActivities } from './drain.ts';
import { asActivities } from './failures.ts';
import { fenceActivities } from './fence.ts';
import { finishActivities } from './finish.ts';
import { answerActivities, reminderActivities } from './gates.ts';
import { groupActivities } from './groups.ts';
import { holdingActivities } from './holding.ts';
import { metadataActivities } from './metadata.ts';
import { type BackgroundOptions, backgroundActivities } from './mirror.ts';
import { noticeActivities } from './notices.ts';
import { preflightActivities } from './preflight.ts';
import { prepareActivities } from './prepare.ts';
import { switchActivities } from './switches.ts';
import type { Activities } from './types.ts';
import { verifyActivities } from './verify.ts';

/** Connects nowhere yet; disposing closes what was opened. */
export function createActivities(
  options: { readonly clusters: ClustersFile; readonly log: Logger } & BackgroundOptions,
): Activities & AsyncDisposable {
  const connections = new Connections(options.clusters);
  return {
    ...asActivities({
      ...preflightActivities(connections),
      ...answerActivities(connections),
      ...noticeActivities(connections),
      ...prepareActivities(connections),
      ...drainActivities(connections),
      ...fenceActivities(connections),
      ...groupActivities(connections),
      ...switchActivities(connections),
      ...verifyActivities(connections),
      ...finishActivities(connections),
    }),
    ...asActivities(
      {
        ...backgroundActivities(connections, options),
        ...metadataActivities(connections),
        ...reminderActivities(),
        ...holdingActivities(),
      },
      { endless: true },
    ),
    [Symbol.asyncDispose]: () => connections[Symbol.asyncDispose](),
  };
}
