/** What speaks against a fence that brokers do not enforce: known, and waived by name, before the start. */
import { type Finding, finding } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';

/**
 * Of a plan whose fence brokers do not enforce.
 *
 * @param open what rules leave open on the target, as findings of an ACL fence; null where it has no authorizer
 */
export function fenceFindings(plan: Plan, open: readonly Finding[] | null): Finding[] {
  const { kind, quiet } = plan.fence;
  const who = kind === 'webhook' ? 'a webhook stops' : 'people stop';
  const message = `${kind}: ${who} the writers of ${plan.source}, and of ${plan.target} on the way back; no broker refuses one that goes on. Watched instead: log end = high watermark = last stable offset over ${quiet} ms (fence.quiet) before opening is decided, and every batch from then on until finalize`;
  const found = [finding('FENCE_NOT_ENFORCED', 'plan fence.kind', message)];
  if (open === null) {
    const none = `the brokers of ${plan.target} have no authorizer: no rule keeps applications off it, nor a mirror that slept through the switch`;
    found.push(finding('TARGET_NOT_PROTECTED', 'target', none));
  }
  return [...found, ...(open ?? []).map((left) => finding('TARGET_NOT_PROTECTED', left.where, left.message))];
}
