/** Before the start: whether what a switch by ConfigMap changes is there, may be read, and can be put back. Changes nothing. */
import { CutoverError, type Finding, finding } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import type { ClustersFile } from '../../kafka/clusters.ts';
import { kubernetesOf, valuesOf } from './config-map.ts';
import { Kubernetes } from './kubernetes.ts';

/** Rights to change are not tried: they show at the switch, as KUBERNETES_REFUSED, for people to decide. */
export async function switchFindings(plan: Plan, file: ClustersFile): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const who of ['producers', 'consumers'] as const) {
    const { configMap } = plan[who];
    if (!configMap) continue;
    const { namespace, kind, key, name, restart } = configMap;
    const where = `plan ${who}.configMap`;
    const noted = async (look: () => Promise<void>) => {
      try {
        await look();
      } catch (error) {
        if (!(error instanceof CutoverError)) throw error;
        const { what, where: place, found: seen } = error.detail;
        found.push(finding(error.code, where, [what, place, seen].filter(Boolean).join(', ')));
      }
    };
    const api = new Kubernetes(kubernetesOf(file, configMap, where));
    await noted(async () => {
      const value = (await api.read(kind, configMap)).data.get(key);
      const place = `${kind} ${namespace}/${name}, key ${key}`;
      if (value === undefined) {
        found.push(finding('SWITCH_VALUE_UNEXPECTED', where, `${place}: no such key, so who would read it?`));
      } else if (kind === 'Secret' && value !== valuesOf(plan, file, configMap).source) {
        const message = `${place}: holds another value than the bootstrap addresses of ${plan.source}, which could not be put back`;
        found.push(finding('SWITCH_VALUE_UNEXPECTED', where, message));
      }
    });
    for (const deployment of restart) {
      await noted(async () => {
        const { paused } = await api.deployment({ namespace, name: deployment });
        if (paused) found.push(finding('ROLLOUT_STUCK', where, `Deployment ${namespace}/${deployment} is paused`));
      });
    }
  }
  return found;
}
