/** After the opening: applications are pointed at the cluster that was opened, by whatever the plan names. */
import { CutoverError } from '../contract/errors.ts';
import { readBoundary } from '../migration/boundary.ts';
import { kubernetesOf, switchValue, valuesOf } from '../migration/switches/config-map.ts';
import { Kubernetes } from '../migration/switches/kubernetes.ts';
import { tellClients } from '../migration/webhooks.ts';
import type { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import type { ControlActivities } from './types.ts';

export function switchActivities(connections: Connections): Pick<ControlActivities, 'callSwitch'> {
  return {
    async callSwitch({ direction, who, boundary, ...scope }) {
      const wave = await connections.wave(scope);
      const stored = await readBoundary(wave.storage, boundary);
      const signal = cancellation();
      const { file } = connections;
      const { switch: how, configMap } = wave.plan[who];
      if (how === 'webhook') {
        const action = direction === 'forward' ? 'switch' : 'rollback';
        const call = { direction, who, action, boundary: stored.boundary, occasion: boundary } as const;
        const result = await tellClients(wave, file, call, { signal });
        return { summary: `${who}: webhook answered ${result.status} after ${result.attempts} calls` };
      }
      if (!configMap) throw new CutoverError('INTERNAL', { what: `no switch to call for the ${who}`, where: how });
      const set = await switchValue({
        ...wave,
        api: new Kubernetes(kubernetesOf(file, configMap, `${who}.configMap`), signal),
        direction,
        occasion: boundary,
        at: restartTime(stored.at, who),
        target: configMap,
        values: valuesOf(wave.plan, file, configMap),
        signal,
      });
      return { summary: `${who}: ${set}` };
    },
  };
}

/** The same on every retry; another one for each, since both may restart one Deployment after each has set its own key. */
function restartTime(boundaryAt: string, who: 'producers' | 'consumers'): string {
  return new Date(Date.parse(boundaryAt) + (who === 'consumers' ? 1 : 0)).toISOString();
}
