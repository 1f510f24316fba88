/** Which replicator a plan asks for. */
import type { Plan } from '../contract/plan.ts';
import type { ReplicatorKind } from '../contract/replicators.ts';
import { automqLinking } from './automq-linking.ts';
import { bridge } from './bridge.ts';
import { clusterLinking } from './cluster-linking.ts';
import { exact } from './exact.ts';
import { external } from './external.ts';
import { mirrormaker2 } from './mirrormaker2.ts';
import { mskReplicator } from './msk-replicator.ts';
import type { Replicator } from './replicator.ts';

const replicators: Readonly<Record<ReplicatorKind, Replicator>> = {
  exact,
  mirrormaker2,
  'msk-replicator': mskReplicator,
  'cluster-linking': clusterLinking,
  'automq-linking': automqLinking,
  bridge,
  external,
};

export function replicatorOf({ replicator: { kind } }: Pick<Plan, 'replicator'>): Replicator {
  return replicators[kind];
}
