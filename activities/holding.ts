/** What the activities of a migration find while they run stands in their heartbeats, which its workflow does not see. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import { decodeOptionalSingle } from '@temporalio/common/lib/internal-non-workflow/index.js';
import type { Finding } from '../contract/errors.ts';
import { statusListMax } from '../contract/status.ts';
import { cancellation } from './failures.ts';
import type { BackgroundActivities, Holding } from './types.ts';

/** Between two looks: each is a request to Temporal. */
const lookEveryMs = 5_000;

export function holdingActivities(): Pick<BackgroundActivities, 'readHolding'> {
  return {
    async readHolding({ shown, restMs }) {
      const signal = cancellation();
      for (let waitMs = restMs; !signal.aborted; waitMs = lookEveryMs) {
        await sleep(waitMs, undefined, { signal }).catch(() => {});
        // Where Temporal does not tell, it is asked again: `status` does not depend on it.
        const findings = signal.aborted ? null : await holdingNow().catch(() => null);
        if (findings && placesOf(findings) !== placesOf(shown)) return { findings };
      }
      // Stopped: nobody reads it.
      return { findings: [] };
    },
  };
}

/** What they say of a place changes by the second, such as an age. */
function placesOf(findings: readonly Finding[]): string {
  return JSON.stringify(findings.map(({ code, where }) => [code, where]).sort());
}

/** Within an activity, of its own workflow. */
async function holdingNow(): Promise<readonly Finding[]> {
  const { client, info } = Context.current();
  const { workflowId, runId } = info.workflowExecution ?? {};
  if (workflowId === undefined) return [];
  const { raw } = await client.workflow.getHandle(workflowId, runId).describe();
  const { payloadCodecs, payloadConverter } = client.options.loadedDataConverter;
  const findings: Finding[] = [];
  for (const { heartbeatDetails } of raw.pendingActivities ?? []) {
    const payload = await decodeOptionalSingle(payloadCodecs, heartbeatDetails?.payloads?.[0]);
    const details = payload ? payloadConverter.fromPayload<Partial<Holding> | undefined>(payload) : undefined;
    if (Array.isArray(details?.findings)) findings.push(...details.findings);
  }
  return findings.slice(0, statusListMax);
}
