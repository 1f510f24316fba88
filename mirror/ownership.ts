/**
 * Who may write what is not a compare-and-set.
 *
 * Plain records of a mirror are one: a broker takes a batch only if its sequence follows on. Transaction markers are not, whatever
 * a client does: a broker refuses a marker only for being older than the newest it has seen. So markers, and the transactional batches of aborted
 * records that they close, have an owner. Two live mirrors without one misaligned 11 of 12 logs; with what follows, 0 of 320.
 *
 * **Taking a partition over**
 * 1. A term: the next epoch of the partition's ownership id. Nothing is written to the partition by that.
 * 2. A fence that takes no offset: the leader moves to another in-sync replica, which says itself that it leads. At replication factor 1 the
 *    owner gets a principal of its own instead, and those of earlier owners are denied (principals.ts).
 * 3. The term is still the newest. (Without this two mirrors can take the same move for theirs.)
 * 4. The position: log end = high watermark, asked of that leader under that leader epoch.
 * 5. Writing goes to that leader only. Each marker carries the term as producer epoch and coordinator epoch.
 * 6. On any error, silence or log end that is not the one wanted: from 1 again. A marker is never sent twice.
 *
 * **Why it holds.** Let Z be an earlier owner, asleep at any point, with a marker for slot q still to arrive. Z sends nothing for slots after q
 * before it knows what became of q. For the log to grow past q, somebody must write q, which is an invisible slot, so by an
 * owner of a newer term: after that Z's marker is refused for its epoch, for good. While the log ends at q, the newer owner stands between steps 2 and 6:
 * Z's marker goes to the leader that Z knew, which does not lead any more. So plain records need no owner, and ownership is only taken
 * when the next slot is one that needs it. Records older than the target remembers producers are such slots too.
 *
 * **Without the right to write markers** on the cluster they come of transactions (marker-transactions.ts), and Kafka itself keeps earlier owners out: steps
 * 1 and 3 are for all ids of the partition, and there is no step 2. Whoever has the right again ends the transactions that may have been begun.
 *
 * **What is left.** Leadership comes back to the broker that Z knew while the log still ends at q: with three replicas that takes two more
 * takeovers without a single marker written, with two replicas one. After 32,767 terms, or when the coordinator has forgotten the id, the next term is
 * another producer's, whose markers do not make Z's refused: there the fence alone stands, also after a marker of the newer owner. And where there is no fence (no second replica and no principals, no right) only
 * terms stand between Z and the log: Z's marker may arrive between steps 4 and 6. The first marker of a term is therefore sent alone and the
 * log end checked, and the audit finds what went wrong.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { moveLeaders, newestMetadata } from '../kafka/leadership.ts';
import { markersGranted } from '../kafka/markers.ts';
import { partitionKey, passingFailure, type TopicPartition } from '../kafka/offsets.ts';
import { overtakenTerms, raiseTerms } from '../kafka/terms.ts';
import { describeTransactions } from '../kafka/transactions.ts';
import { type MarkerId, transactionsAtOnce } from './marker-transactions.ts';
import type { Owner } from './pieces.ts';
import type { MirrorPrincipals } from './principals.ts';

/** What transactional ids of ownership begin with: rights are given by it. */
export const ownershipPrefix = 'kafka-cutover-own-';

export function ownershipId({ topic, partition }: TopicPartition): string {
  return `${ownershipIds(topic)}${partition}`;
}

/** What the ids of one topic's partitions begin with, and no other topic's: no topic has a slash in its name. */
export function ownershipIds(topic: string): string {
  return `${ownershipPrefix}${topic}/`;
}

/**
 * Transactional ids for markers that come of transactions. Never the ownership id itself: brokers have seen its terms as epochs of a coordinator, and
 * would refuse a real coordinator's markers for ever.
 */
export function markerIds(place: TopicPartition): string[] {
  return Array.from({ length: transactionsAtOnce }, (_, index) => `${ownershipId(place)}/${index}`);
}

/** All of them: whose producers stand for a mirror's markers. */
export function idsOfOwner(place: TopicPartition): string[] {
  return [ownershipId(place), ...markerIds(place)];
}

/**
 * What keeps earlier owners from writing: they ask the wrong broker, or under a denied principal; their ids have a newer producer; `term`: nothing
 * but their age.
 */
export type Fence = 'leader' | 'principal' | 'producer' | 'term';

export interface Ownership extends Owner {
  readonly fence: Fence;
  /** As whom to write. */
  readonly into: Cluster;
  /** Where to write, and under which leader epoch to ask. */
  readonly leader: number;
  readonly leaderEpoch: number;
  /** Without the right to write markers: the ids whose transactions make them. */
  readonly transactions: readonly MarkerId[] | undefined;
  /** A marker of this term stands in the log: no earlier owner can write one any more. */
  proven: boolean;
}

export interface OwnershipOptions {
  readonly into: Cluster;
  /** For partitions with one replica. */
  readonly principals?: MirrorPrincipals | undefined;
  /** Something that we sent under the principal in use may still arrive, or it was denied. */
  readonly inDoubt?: boolean;
}

/**
 * Steps 1 to 3. The position is to be read after it.
 *
 * @returns by `partitionKey` the ownership, or why there is none now: no other replica is in sync, or somebody newer owns the partition
 * @throws CutoverError CLUSTER_ACCESS_DENIED (needs WRITE and DESCRIBE on transactional ids with `ownershipPrefix`), or one that passes
 */
export async function takeOwnership(
  options: OwnershipOptions,
  partitions: readonly TopicPartition[],
): Promise<Map<string, Ownership | CutoverError>> {
  const { into, principals, inDoubt = false } = options;
  const byTransactions = principals === undefined && !(await markersGranted(into));
  const terms = await raiseTerms(into, partitions.map(ownershipId));
  // After the ids of ownership: who begins to make markers by transactions now finds itself overtaken.
  const making = byTransactions ? partitions : await withMarkerIds(into, partitions);
  for (const [id, term] of await raiseTerms(into, making.flatMap(markerIds))) terms.set(id, term);
  const known = await newestMetadata(into, partitions);
  const movable = partitions.filter((p) => (known.get(keyOf(p))?.replicas.length ?? 0) > 1);
  const moved = byTransactions ? new Map() : await moveWherePermitted(into, movable, known);
  const others = partitions.filter((p) => !moved.has(keyOf(p)));
  const mine = others.length > 0 && principals ? await ownPrincipal(principals, inDoubt) : undefined;
  const overtaken = await overtakenTerms(into, terms);
  const owners = new Map<string, Ownership | CutoverError>();
  for (const p of partitions) {
    const key = keyOf(p);
    const where = `cluster ${into.name}, ${key}`;
    const term = terms.get(ownershipId(p));
    const fenced = moved.get(key);
    const at = fenced ?? known.get(key);
    if (at instanceof CutoverError) owners.set(key, at);
    else if (!term || !at || at.leader < 0) owners.set(key, passingFailure({ what: 'no leader', where }));
    else if (idsOfOwner(p).some((id) => overtaken.has(id))) {
      owners.set(key, passingFailure({ what: 'another mirror has taken the partition over', where }));
    } else {
      owners.set(key, {
        producerId: term.producerId,
        term: term.epoch,
        fence: byTransactions ? 'producer' : fenced ? 'leader' : mine ? 'principal' : 'term',
        into: fenced ? into : (mine ?? into),
        leader: at.leader,
        leaderEpoch: at.leaderEpoch,
        transactions: byTransactions ? markerIds(p).map((id) => ({ id, ...(terms.get(id) ?? term) })) : undefined,
        proven: byTransactions,
      });
    }
  }
  return owners;
}

/** Those that an owner without the right may have had: it takes all ids or none. */
async function withMarkerIds(into: Cluster, partitions: readonly TopicPartition[]): Promise<TopicPartition[]> {
  const firstOf = (p: TopicPartition) => markerIds(p)[0] ?? '';
  const known = await describeTransactions(into, partitions.map(firstOf));
  return partitions.filter((p) => known.has(firstOf(p)));
}

/** The one in use, unless what was sent under it may still arrive. */
async function ownPrincipal(principals: MirrorPrincipals, inDoubt: boolean): Promise<Cluster> {
  return inDoubt || !principals.into ? principals.rotate() : principals.into;
}

/**
 * Shuts every owner out, unless it takes over again, for which its rights must be gone: what a switch does before anybody else may write.
 *
 * @throws CutoverError as `takeOwnership`, and the first one that it gives
 */
export async function endOwnership(into: Cluster, partitions: readonly TopicPartition[]): Promise<void> {
  for (const owner of (await takeOwnership({ into }, partitions)).values())
    if (owner instanceof CutoverError) throw owner;
}

async function moveWherePermitted(
  into: Cluster,
  partitions: readonly TopicPartition[],
  known: Awaited<ReturnType<typeof newestMetadata>>,
): ReturnType<typeof moveLeaders> {
  if (partitions.length === 0) return new Map();
  try {
    return await moveLeaders(into, partitions, known);
  } catch (error) {
    // Without ALTER on the cluster terms alone stand; preflight says so (MARKER_OWNERSHIP_WEAK).
    if (error instanceof CutoverError && error.code === 'CLUSTER_ACCESS_DENIED') return new Map();
    throw error;
  }
}

function keyOf(p: TopicPartition): string {
  return partitionKey(p.topic, p.partition);
}
