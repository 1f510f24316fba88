/** The kinds of fences that a plan may choose, and what each can do. Plain, so that workflow code may import it. */

export interface FenceKind {
  /** Brokers refuse who may not write. Else rule 1 is watched, not guaranteed. */
  readonly enforced: boolean;
  /** We lift it ourselves. Else people do, and say so at gate `unfence`. */
  readonly reversible: boolean;
}

export const fenceKinds = {
  /** DENY rules. */
  acl: { enforced: true, reversible: true },
  /** A system that is called stops applications, and lets them go on. */
  webhook: { enforced: false, reversible: true },
  /** People stop applications, and start them again. */
  manual: { enforced: false, reversible: false },
} as const satisfies Record<string, FenceKind>;

export type FenceKindName = keyof typeof fenceKinds;
