/**
 * One interface for everything that copies records from one cluster to the other: ours (exact.ts), and those that people already have.
 *
 * Who calls what, and when (`contract/replicators.ts` has the flags, which are all that the workflow asks):
 *
 * | verb | called by | must |
 * |---|---|---|
 * | `plan` | preflight, and again at each gate | say what it cannot do here, and its traps, as findings; change nothing |
 * | `prepare` | prepare-target, where the kind has it | make what must be there before anything is copied, such as topics that come into being with it (`ownsTopics`) |
 * | `rights` | prepare-target | say which rules its principals need beyond those on topics |
 * | `run` (start) | activity `mirror`, kept alive in the background | begin or go on; stay until the signal aborts; start failed parts again; throw what people must see |
 * | `position` | drain-lag and gates | per partition, the offset of the cluster that is read up to which everything was copied, as it says itself |
 * | drain, final offsets | fence, sync-offsets | not the system's own matter: the flag `offsetIdentity` decides between the two ways, below |
 * | `promote` | after the opening decision, only where `promotion` is not `none` | return when the topics take writes, whatever was accepted before |
 * | `stop` | after the drain, before the opening decision; also to end a way back | return when nothing more will be written, proven; where a rule keeps it out already, when it was told |
 * | reverse | `run`, `position`, `stop` with direction `reverse` | begin at the boundary: carry nothing that came from the source |
 * | `remove` | finalize, the end of a rollback, abort | take away what `run` made; nothing there is no failure |
 *
 * Each must be safe to call twice: it reads the real state, compares, acts and reads back. Cancelling `run` need not stop a system that copies
 * outside of our workers; `stop` does. No verb writes positions of groups, opens or closes anything to applications.
 *
 * Where records have the same offset on both clusters (`offsetIdentity`), the audit compares slot by slot, the boundary holds for both logs and a
 * position is carried as it is. Elsewhere the two logs are walked side by side, record by record (mirror/pairing.ts): that walk proves what
 * arrived, tells missing, duplicated and reordered records apart, and its anchors make every position exact. Where records arrive changed, which makes that walk
 * useless (`exactTranslation: false`), the replicator brings its own: `walk` and `translate`.
 *
 * A new kind: its flags in contract/replicators.ts, its settings in the plan's union (contract/plan.ts), where it runs in clusters.yaml, a file here, a
 * line in registry.ts.
 */
import type { Finding } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import type { Capabilities } from '../contract/replicators.ts';
import type { Direction } from '../contract/status.ts';
import type { Acl } from '../kafka/acls.ts';
import type { Cluster } from '../kafka/cluster.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import type { TopicPartition } from '../kafka/offsets.ts';
import type { Boundary } from '../migration/boundary.ts';
import type { Clusters, Side } from '../migration/change.ts';
import type { CarriedPosition, UncarriedPosition } from '../migration/groups.ts';
import type { Inventory } from '../migration/inventory.ts';
import type { Facts } from '../migration/preflight/facts.ts';
import type { Wave } from '../migration/wave.ts';
import type { PairedPartition, PairingRunOptions } from '../mirror/pairing-run.ts';

/** What preflight knows when it asks. */
export interface Inquiry {
  readonly plan: Plan;
  readonly file: ClustersFile;
  readonly clusters: Clusters;
  readonly inventory: Inventory;
  readonly facts: Facts;
  /** The migration is under way: what it has made itself is no finding, and nothing outside Kafka is asked. */
  readonly running: boolean;
}

/** One direction of one wave. */
export interface Leg {
  readonly wave: Wave;
  readonly direction: Direction;
  readonly file: ClustersFile;
  readonly signal: AbortSignal;
}

export interface Stopping extends Leg {
  /** Every broker shows a rule that denies its login: applications wait, and need not wait for its end. */
  readonly keptOut?: boolean;
}

/** What a heartbeat shows of a partition. */
export interface Progress extends TopicPartition {
  /** Everything below was copied; an offset of the cluster that is read. */
  readonly position: bigint;
  readonly end?: bigint;
  readonly records: number;
  readonly bytes: number;
  /** Where the copying is ours: batches acknowledged, and how often a partition began again. */
  readonly batches?: number;
  readonly retries?: number;
}

export interface Job extends Leg {
  /** `shard` of `shards` workers; who does not share work lets all but the first wait for the signal. */
  readonly shard: number;
  readonly shards: number;
  /** Name of the stored weights by which partitions are spread, or null. */
  readonly weights: string | null;
  /** Of all shards together; 0: no limit. */
  readonly maxBytesPerSecond: number;
  /** The clusters that are read and written, under the direction's own principal. */
  readonly mirrorPair: () => Promise<{ readonly from: Cluster; readonly into: Cluster }>;
  /** @param notes what else people should see now, one line each */
  readonly onProgress: (partitions: readonly Progress[], notes?: readonly string[]) => void;
}

export type Walk = Pick<PairingRunOptions, 'partitions' | 'signal' | 'until' | 'onProgress'>;

export interface Replicator {
  readonly capabilities: Capabilities;
  plan(inquiry: Inquiry): Promise<readonly Finding[]>;
  /** What its principals need beside reading and writing the topics; prepare-target gives it, by the journal. */
  rights(wave: Wave): Readonly<Record<Side, readonly Acl[]>>;
  /** @returns one line for people */
  prepare?(leg: Leg): Promise<string>;
  run(job: Job): Promise<void>;
  /** By `partitionKey`. */
  position(leg: Leg): Promise<ReadonlyMap<string, bigint>>;
  /** @returns one line for people */
  promote(leg: Leg): Promise<string>;
  /** @returns one line for people; empty where there was nothing to stop */
  stop(leg: Stopping): Promise<string>;
  /** Only where records arrive changed: what `runPairing` does elsewhere, from the source to the target. */
  walk?(leg: Leg, options: Walk): Promise<readonly PairedPartition[]>;
  /** With `walk`: where positions of groups land. @param boundary of the source, once it is fenced */
  translate?(
    leg: Leg,
    positions: readonly UncarriedPosition[],
    boundary: Boundary | undefined,
  ): Promise<readonly CarriedPosition[]>;
  /** @returns what was taken away, one line each */
  remove(leg: Leg): Promise<readonly string[]>;
}
