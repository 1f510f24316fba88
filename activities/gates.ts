/** Reminds people of an open gate, where timers of the workflow would lengthen its history day by day. */
import { setTimeout as sleep } from 'node:timers/promises';
import { log } from '@temporalio/activity';
import { cancellation } from './failures.ts';
import type { BackgroundActivities } from './types.ts';

export function gateActivities(): Pick<BackgroundActivities, 'remind'> {
  return {
    async remind({ everyMs, ...gate }) {
      const signal = cancellation();
      while (!signal.aborted) {
        await sleep(everyMs, undefined, { signal }).catch(() => {});
        if (!signal.aborted) log.warn('gate still waits', gate);
      }
    },
  };
}
