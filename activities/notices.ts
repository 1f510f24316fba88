/** Tells webhooks what happens; each notice has an id of its own, so that one which is told twice is told from two. */
import { callSigned } from '../migration/switches/webhook.ts';
import type { Connections } from './connections.ts';
import { cancellation } from './failures.ts';
import type { ControlActivities } from './types.ts';

/** Within an attempt; the attempt is repeated. */
const giveUpAfterMs = 45_000;

export function noticeActivities(connections: Connections): Pick<ControlActivities, 'notify'> {
  return {
    async notify({ webhook: name, notices }) {
      const webhook = connections.file.webhook(name);
      for (const notice of notices) {
        const call = { id: notice.id, body: JSON.stringify(notice), what: `notice ${notice.event}` };
        await callSigned(webhook, call, { signal: cancellation(), giveUpAfterMs });
      }
    },
  };
}
