/**
 * What a signed approval or rejection says (`proof: required`), in the one form that is signed and checked: by its sender with an
 * Ed25519 key, by an activity with the public halves that clusters.yaml lists. Pure, so that workflow code may import it.
 */
import type { Gate } from './status.ts';

export interface ApprovalStatement {
  readonly message: 'approve' | 'reject';
  /** The plan's name. */
  readonly migration: string;
  /** Temporal's id of the first run of the chain: the next migration of the same name has another. */
  readonly run: string;
  readonly gate: Gate;
  /** Null: the plan's. */
  readonly wave: string | null;
  /** The plan digest that the gate shows. */
  readonly digest: string;
  /** ISO 8601: the same gate, opened again, wants new answers. */
  readonly openedAt: string;
  readonly by: string;
  /** ISO 8601: from then on it counts for nothing. */
  readonly expiresAt: string;
}

/** The text whose UTF-8 bytes are signed. */
export function statementText(said: ApprovalStatement): string {
  const { message, migration, run, gate, wave, digest, openedAt, by, expiresAt } = said;
  return JSON.stringify(['kafka-cutover/v1', message, migration, run, gate, wave, digest, openedAt, by, expiresAt]);
}
