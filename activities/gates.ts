/**
 * What a gate has done outside the workflow: signatures of answers are checked where the public keys are, and people are reminded where
 * timers of the workflow would lengthen its history day by day.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { log } from '@temporalio/activity';
import { verifyApproval } from '../migration/approvals.ts';
import type { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import { showGateAge } from './metrics.ts';
import type { BackgroundActivities, ControlActivities } from './types.ts';

/** Between two looks of Prometheus pass 15 s or more. */
const ageEveryMs = 5_000;

export function answerActivities(connections: Connections): Pick<ControlActivities, 'verifyApproval'> {
  return { verifyApproval: async (answer) => verifyApproval(connections.file, answer) };
}

export function reminderActivities(): Pick<BackgroundActivities, 'remind'> {
  return {
    async remind({ everyMs, ...gate }) {
      const signal = cancellation();
      const showAge = () => showGateAge(gate, (Date.now() - Date.parse(gate.openedAt)) / 1_000);
      const timer = setInterval(showAge, ageEveryMs);
      try {
        showAge();
        while (!signal.aborted) {
          await sleep(everyMs, undefined, { signal }).catch(() => {});
          if (!signal.aborted) log.warn('gate still waits', gate);
        }
      } finally {
        clearInterval(timer);
        showGateAge(gate, 0);
      }
    },
  };
}
