/** Which replicator a plan asks for. */
import { CutoverError } from '../contract/errors.ts';
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

const replicators: Partial<Record<ReplicatorKind, Replicator>> = {
  exact,
  mirrormaker2,
  'msk-replicator': mskReplicator,
  'cluster-linking': clusterLinking,
  'automq-linking': automqLinking,
  bridge,
  external,
};

/** @throws CutoverError NOT_SUPPORTED_YET; preflight says so before anything is changed */
export function replicatorOf({ replicator: { kind } }: Pick<Plan, 'replicator'>): Replicator {
  const found = replicators[kind];
  if (found) return found;
  throw new CutoverError('NOT_SUPPORTED_YET', {
    what: 'this version has no driver for that replicator',
    where: 'plan replicator.kind',
    found: kind,
    wanted: `one of ${Object.keys(replicators).join(', ')}`,
  });
}
