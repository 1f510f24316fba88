/** Exit codes of the command line, as the contract has them. Scripts rely on these five. */
import type { Code } from '../contract/errors.ts';

export const exitCodes = { done: 0, failed: 1, usage: 2, refused: 3, undone: 4 } as const;

/** What the user wrote is wrong: nothing was tried. */
const usage: ReadonlySet<string> = new Set<Code>([
  'PLAN_INVALID',
  'CLUSTERS_INVALID',
  'CODEC_INVALID',
  'SLACK_INVALID',
  'CLUSTER_UNKNOWN',
  'WEBHOOK_UNKNOWN',
  'KUBERNETES_UNKNOWN',
  'REPLICATOR_UNKNOWN',
  'USAGE',
  'NOT_SUPPORTED_YET',
]);

/** Somebody or something said no: preflight, a person, or the workflow to a message. */
const refused: ReadonlySet<string> = new Set<Code>([
  'BLOCKED',
  'REJECTED',
  'SAME_CLUSTER',
  'NO_TOPICS',
  'ALREADY_RUNNING',
  'MIGRATION_ENDED',
  'CLAIMED_BY_OTHER',
  'VERSION_UNSUPPORTED',
  'TARGET_TOPIC_HAS_RECORDS',
  'TARGET_TOPIC_DIFFERS',
  'WORKFLOW_ID_MISMATCH',
  'UNFENCE_REFUSED',
  'GATE_NOT_OPEN',
  'NOT_AN_APPROVER',
  'ALREADY_APPROVED',
  'DIGEST_MISMATCH',
  'PROOF_REQUIRED',
  'PROOF_INVALID',
  'SENDER_REFUSED',
  'DIGEST_CHANGED',
  'FOUR_EYES',
  'MESSAGE_INVALID',
  'USE_ROLLBACK',
  'NOTHING_TO_DECIDE',
]);

/** The exit code of a failure, by its code; 1 for whatever is not listed. */
export function exitCodeOfError(code: string): number {
  if (usage.has(code)) return exitCodes.usage;
  return refused.has(code) ? exitCodes.refused : exitCodes.failed;
}

/** The exit code of a migration that has ended. */
export function exitCodeOfOutcome(outcome: string): number {
  if (outcome === 'completed') return exitCodes.done;
  if (outcome === 'rejected') return exitCodes.refused;
  return outcome === 'rolledBack' || outcome === 'aborted' ? exitCodes.undone : exitCodes.failed;
}
