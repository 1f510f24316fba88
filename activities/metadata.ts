/** Topics, settings, access rules and quotas of the source are looked at until the fence; what only follows them is carried over. */
import { setTimeout as sleep } from 'node:timers/promises';
import { statusListMax } from '../contract/status.ts';
import { followMetadata } from '../migration/follow-metadata.ts';
import { SchemaFollower } from '../migration/follow-schemas.ts';
import type { Connections } from './connections.ts';
import { cancellation, heartbeatDetails } from './failures.ts';
import type { BackgroundActivities } from './types.ts';

/** Between two looks. */
const lookEveryMs = 3_000;

export function metadataActivities(connections: Connections): Pick<BackgroundActivities, 'followMetadata'> {
  return {
    async followMetadata(scope) {
      const wave = await connections.wave(scope);
      const signal = cancellation();
      const schemas = new SchemaFollower(wave);
      while (!signal.aborted) {
        const findings = [...(await followMetadata(wave)), ...(await schemas.look())];
        // A heartbeat stays small.
        heartbeatDetails({ findings: findings.slice(0, statusListMax) });
        await sleep(lookEveryMs, undefined, { signal }).catch(() => {});
      }
    },
  };
}
