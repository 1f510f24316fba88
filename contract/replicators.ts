/** What each kind of replicator can do. Plain, so that workflow code may import it: the workflow asks these flags, never a kind by name. */

/** What a replicator brings over by itself, beside records. */
export type CarriedMetadata = 'topics' | 'configs' | 'acls' | 'groups';

export interface Capabilities {
  /** A record has the same offset on both clusters: positions are carried as they are, and logs are compared slot by slot. */
  readonly offsetIdentity: boolean;
  /** Where offsets differ: a position can be proven by comparing records on both sides, because records arrive unchanged, in order. */
  readonly exactTranslation: boolean;
  /**
   * Its records carry producer ids of ours, and it writes markers: whose a record is can be told from the log, and what brokers allow and remember of
   * producers matters.
   */
  readonly ourProducers: boolean;
  /** It writes with the logins of clusters.yaml: a rule that denies them keeps it out, whatever it does. */
  readonly ourLogins: boolean;
  /** A header that it puts on every copy: left out when records are compared. */
  readonly addedHeader?: string;
  /** It can carry what is written to the target back, so that a rollback after the switch keeps it. */
  readonly reverse: boolean;
  /**
   * What makes topics of the target take writes: `none` (they always do; our rules keep writers out), `sync` (one call), or `async` (a call that is
   * accepted, and an end state that is awaited). Promoting cannot be taken back, so it follows the opening decision.
   */
  readonly promotion: 'none' | 'sync' | 'async';
  /** Topics of the target come into being with it, and take their settings from the source by its means: prepare-target makes none and suspends nothing. */
  readonly ownsTopics: boolean;
  /** What it brings over by itself; our own metadata steps close what it leaves. */
  readonly metadata: readonly CarriedMetadata[];
  /** What must be there, in words for people. */
  readonly requires: readonly string[];
}

export const replicatorKinds = {
  /** Ours. */
  exact: {
    offsetIdentity: true,
    exactTranslation: true,
    ourProducers: true,
    ourLogins: true,
    reverse: true,
    promotion: 'none',
    ownsTopics: false,
    metadata: [],
    requires: [],
  },
  /** Apache Kafka's, on a Connect cluster or in dedicated mode. */
  mirrormaker2: {
    offsetIdentity: false,
    exactTranslation: true,
    ourProducers: false,
    ourLogins: true,
    reverse: true,
    promotion: 'none',
    ownsTopics: false,
    metadata: ['topics', 'configs', 'acls', 'groups'],
    requires: [
      'a Kafka Connect cluster (3.7 or later) under `connects` in clusters.yaml, or a dedicated process that people run',
    ],
  },
  'msk-replicator': {
    offsetIdentity: false,
    exactTranslation: true,
    addedHeader: '__mskmr',
    ourProducers: false,
    ourLogins: false,
    reverse: true,
    promotion: 'none',
    ownsTopics: false,
    metadata: ['topics', 'configs', 'acls', 'groups'],
    requires: ['both clusters on Amazon MSK, or a source with SASL/SCRAM over TLS and an MSK Express target'],
  },
  'cluster-linking': {
    offsetIdentity: true,
    exactTranslation: true,
    ourProducers: false,
    ourLogins: false,
    reverse: true,
    promotion: 'async',
    ownsTopics: true,
    metadata: ['topics', 'configs', 'acls', 'groups'],
    requires: [
      'Confluent Platform or Confluent Cloud as the target, under `replicators` in clusters.yaml; for the way back as the source too',
    ],
  },
  'automq-linking': {
    offsetIdentity: true,
    exactTranslation: true,
    ourProducers: false,
    ourLogins: false,
    reverse: false,
    promotion: 'async',
    ownsTopics: true,
    metadata: ['topics'],
    requires: ['AutoMQ (a BYOC environment) as the target, under `replicators` in clusters.yaml'],
  },
  bridge: {
    offsetIdentity: false,
    exactTranslation: false,
    ourProducers: false,
    ourLogins: false,
    reverse: false,
    promotion: 'none',
    ownsTopics: false,
    metadata: [],
    requires: [
      'a module of yours, under `modules` in clusters.yaml; topics keep their names (with other names: `kafka-cutover bridge FILE`, in the foreground)',
    ],
  },
  external: {
    offsetIdentity: false,
    exactTranslation: true,
    ourProducers: false,
    ourLogins: false,
    reverse: false,
    promotion: 'async',
    ownsTopics: false,
    metadata: [],
    requires: ['a webhook that answers each verb; what it can do is what the plan says of it'],
  },
} as const satisfies Record<string, Capabilities>;

export type ReplicatorKind = keyof typeof replicatorKinds;

/** Of a plan's replicator. Of one that we know nothing of, what people say of it. */
export function capabilitiesOf({
  replicator,
}: {
  readonly replicator:
    | { readonly kind: Exclude<ReplicatorKind, 'external'> }
    | {
        readonly kind: 'external';
        readonly offsets: 'identical' | 'other';
        readonly reverse: boolean;
        readonly promotes: boolean;
      };
}): Capabilities {
  if (replicator.kind !== 'external') return replicatorKinds[replicator.kind];
  return {
    ...replicatorKinds.external,
    offsetIdentity: replicator.offsets === 'identical',
    reverse: replicator.reverse,
    promotion: replicator.promotes ? 'async' : 'none',
  };
}
