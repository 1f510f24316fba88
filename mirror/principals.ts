/**
 * The fence where no leader can be moved (replication factor 1): each owner writes under a principal of its own, and the principals of
 * all others are denied what an owner needs, on every broker, before the position is read. What an earlier owner still has on its way is refused
 * when it arrives.
 *
 * There are few principals, so they are used in rotation, by term. One that comes back is allowed again, and so is whoever sleeps under it: it must
 * have rested, longer than brokers keep idle connections, or as long as the rotation takes.
 */
import { type Acl, awaitAcls, createAcls, deleteAcls } from '../kafka/acls.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { passingFailure } from '../kafka/offsets.ts';
import { overtakenTerms, raiseTerms } from '../kafka/terms.ts';
import { ownershipPrefix } from './ownership.ts';

/** Brokers close idle connections after `connections.max.idle.ms`, 10 minutes by default. */
const restMsDefault = 600_000;

export interface MirrorPrincipal {
  /** What access rules call it: `User:name`. */
  readonly name: string;
  readonly connect: () => Promise<Cluster>;
}

export interface MirrorPrincipalsOptions {
  /** Changes the access rules: needs ALTER on the cluster. Not one of the principals. */
  readonly admin: Cluster;
  /** At least two. */
  readonly principals: readonly MirrorPrincipal[];
  /** How long a principal that we used rests before it comes back; 10 minutes by default. */
  readonly restMs?: number;
}

/** What denies a principal everything that only an owner does. While nobody uses it, it is denied. */
export function restingAcls(principal: string): Acl[] {
  const deny = (rule: Pick<Acl, 'resourceType' | 'resourceName' | 'patternType' | 'operation'>): Acl => ({
    ...rule,
    principal,
    host: '*',
    permission: 'deny',
  });
  const cluster = { resourceType: 'cluster', resourceName: 'kafka-cluster', patternType: 'literal' } as const;
  const ids = { resourceType: 'transactional-id', resourceName: ownershipPrefix, patternType: 'prefixed' } as const;
  return [
    deny({ ...cluster, operation: 'alter' }),
    deny({ ...cluster, operation: 'cluster-action' }),
    deny({ ...ids, operation: 'write' }),
  ];
}

export class MirrorPrincipals {
  readonly #options: MirrorPrincipalsOptions;
  readonly #clusters = new Map<number, Cluster>();
  /** When we last used it, by place in the list. */
  readonly #usedAt = new Map<number, number>();
  #current: number | undefined;
  #rotating: Promise<Cluster> | undefined;
  /** How often the principal has changed; 0: none is in use yet. */
  generation = 0;

  constructor(options: MirrorPrincipalsOptions) {
    this.#options = options;
  }

  /** The cluster as the principal in use sees it; undefined before the first `rotate`. */
  get into(): Cluster | undefined {
    return this.#current === undefined ? undefined : this.#clusters.get(this.#current);
  }

  /**
   * Puts the next principal to use, once every broker shows that all others are denied. Callers at the same moment share one change.
   *
   * @throws CutoverError MIRROR_PRINCIPALS_RESTING (passes), CLUSTER_ACCESS_DENIED, KAFKA_REQUEST_FAILED, CLUSTER_UNREACHABLE,
   *   CLUSTER_AUTH_FAILED
   */
  rotate(): Promise<Cluster> {
    this.#rotating ??= this.#rotate().finally(() => {
      this.#rotating = undefined;
    });
    return this.#rotating;
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#clusters.values()].map((cluster) => cluster.close()));
    this.#clusters.clear();
  }

  async #rotate(): Promise<Cluster> {
    const { admin, principals } = this.#options;
    const rotation = `${ownershipPrefix}principal`;
    this.#rest();
    const terms = await raiseTerms(admin, [rotation]);
    const next = this.#choose(terms.get(rotation)?.epoch ?? 0);
    const others = principals.filter((_, index) => index !== next).flatMap(({ name }) => restingAcls(name));
    const own = restingAcls(principals[next]?.name ?? '');
    // First all are denied, then ours is not: never two at a time.
    await createAcls(admin, others);
    await awaitAcls(admin, { present: others });
    if ((await overtakenTerms(admin, terms)).size > 0) {
      throw passingFailure({ what: 'another mirror changes principals', where: `cluster ${admin.name}` });
    }
    await deleteAcls(admin, own);
    await awaitAcls(admin, { present: others, absent: own });
    const cluster = this.#clusters.get(next) ?? (await (principals[next] as MirrorPrincipal).connect());
    this.#clusters.set(next, cluster);
    this.#current = next;
    this.#usedAt.set(next, performance.now());
    this.generation++;
    return cluster;
  }

  #rest(): void {
    if (this.#current !== undefined) this.#usedAt.set(this.#current, performance.now());
    this.#current = undefined;
  }

  /** From the one whose turn it is on, the first that has rested. */
  #choose(term: number): number {
    const { principals, restMs = restMsDefault, admin } = this.#options;
    const now = performance.now();
    const restedAfterMs = principals.map((_, index) => {
      const usedAt = this.#usedAt.get(index);
      return usedAt === undefined ? 0 : Math.max(0, usedAt + restMs - now);
    });
    const next = principals.map((_, i) => (term + i) % principals.length).find((index) => restedAfterMs[index] === 0);
    if (next !== undefined) return next;
    const detail = {
      what: 'every mirror principal has been in use a moment ago',
      where: `cluster ${admin.name}`,
      found: `${principals.length} mirrorPrincipals, the next one in ${Math.ceil(Math.min(...restedAfterMs) / 1000)} s`,
    };
    throw passingFailure(detail, 'MIRROR_PRINCIPALS_RESTING');
  }
}
