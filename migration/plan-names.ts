/** What a plan names and clusters.yaml defines: checked before any cluster is asked. */
import type { Plan } from '../contract/plan.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { kubernetesOf } from './switches/config-map.ts';
import { stopperOf, webhookOf } from './webhooks.ts';

/**
 * Every name of the plan is in the clusters file, as what the plan takes it for.
 *
 * @throws CutoverError CLUSTER_UNKNOWN, WEBHOOK_UNKNOWN, KUBERNETES_UNKNOWN, REPLICATOR_UNKNOWN
 */
export function checkNames(plan: Plan, file: ClustersFile): void {
  file.cluster(plan.source);
  file.cluster(plan.target);
  const { replicator } = plan;
  if (replicator.kind === 'mirrormaker2' && replicator.connect !== 'dedicated') file.connect(replicator.connect);
  if (replicator.kind === 'external') file.webhook(replicator.webhook);
  if ('at' in replicator) file.replicator(replicator.at, replicator.kind);
  for (const side of ['producers', 'consumers'] as const) {
    const { switch: how, webhook, configMap } = plan[side];
    if (how === 'webhook') webhookOf(file, webhook, `${side}.webhook`);
    if (configMap) kubernetesOf(file, configMap, `${side}.configMap`);
    stopperOf(file, plan, side);
  }
  for (const name of plan.notify) file.webhook(name);
}
