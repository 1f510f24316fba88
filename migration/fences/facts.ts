/** What people are told at a gate about the fence that follows: what applications see, and what is theirs to do. */
import type { Plan } from '../../contract/plan.ts';
import type { Direction } from '../../contract/status.ts';

/** Names in one line. */
const namesMax = 5;

export function fenceFacts(
  plan: Plan,
  direction: Direction,
  moved: { readonly topics: readonly string[]; readonly groups: readonly string[] },
): string[] {
  const [leaving, opening] = direction === 'forward' ? [plan.source, plan.target] : [plan.target, plan.source];
  const hold = `${plan.fence.maxHold / 1000} s (fence.maxHold)`;
  const watched = `not enforced: brokers refuse nobody; whoever writes to ${leaving} all the same stops the move before ${opening} is opened, and is shown after it`;
  switch (plan.fence.kind) {
    case 'acl':
      return [
        `writers to ${leaving} get TOPIC_AUTHORIZATION_FAILED until they are pointed at ${opening}; Java's producer does not retry it`,
      ];
    case 'webhook':
      return [
        `webhook ${plan.fence.webhook ?? '(the only one)'} stops the writers of ${leaving}, for at most ${hold}; if ${opening} is not open by then, it is told to let them go on`,
        watched,
      ];
    case 'manual': {
      const consumers =
        moved.groups.length > 0 && plan.consumers.switch !== 'webhook'
          ? `, and the consumers of ${list(moved.groups)}`
          : '';
      return [
        `people stop everything that writes to ${list(moved.topics)} on ${leaving}${consumers}: approving this gate says that they are stopped, or will be within ${plan.fence.stopWithin / 1000} s (fence.stopWithin)`,
        `once nothing has been written for ${plan.fence.quiet} ms, ${opening} is opened within ${hold}; start nothing on ${leaving} before gate unfence asks for it`,
        watched,
      ];
    }
  }
}

/** What an open transaction means at the fence. */
export function transactionFacts(plan: Plan, open: readonly string[]): string[] {
  if (open.length === 0) return [];
  return [
    `open transactions, ended after ${plan.fence.transactionWait / 1000} s: ${list(open)}; what they wrote is aborted, and their producers must begin anew (PRODUCER_FENCED)`,
  ];
}

function list(names: readonly string[]): string {
  const more = names.length > namesMax ? ` and ${names.length - namesMax} more` : '';
  return `${names.slice(0, namesMax).join(', ')}${more}`;
}
