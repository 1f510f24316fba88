/**
 * The connections that a worker's activities share. Logging in costs tens of milliseconds, and a fence
 * is counted in them; `Cluster` replaces broken connections by itself, so one per cluster and role lives
 * as long as the worker.
 */
import { CutoverError } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import type { Direction } from '../contract/status.ts';
import { Cluster } from '../kafka/cluster.ts';
import type { ClustersFile, Role } from '../kafka/clusters.ts';
import { type Storage, storageFor } from '../migration/storage.ts';
import { openWave, type Wave } from '../migration/wave.ts';
import { refuseOvertaken } from './failures.ts';
import type { Scope } from './types.ts';

/** Both clusters of a plan, under our own principals. */
export interface ClusterPair {
  readonly source: Cluster;
  readonly target: Cluster;
}

/** `from` is where applications leave, `into` where they go. */
export interface DirectedPair {
  readonly from: Cluster;
  readonly into: Cluster;
}

export class Connections implements AsyncDisposable {
  readonly #file: ClustersFile;
  #open = new Map<string, Promise<Cluster>>();
  /** One per pair: it reads on from where it was, instead of from the beginning each time. */
  #storages = new Map<string, Storage>();

  constructor(file: ClustersFile) {
    this.#file = file;
  }

  get file(): ClustersFile {
    return this.#file;
  }

  /** @throws CutoverError CLUSTER_UNKNOWN, CLUSTER_UNREACHABLE, CLUSTER_AUTH_FAILED */
  async cluster(name: string, role: Role = 'own'): Promise<Cluster> {
    const key = `${name}/${role}`;
    const known = this.#open.get(key);
    if (known) return known;
    const opening = Cluster.connect(this.#file.cluster(name), { as: role });
    this.#open.set(key, opening);
    opening.catch(() => this.#open.delete(key));
    return opening;
  }

  async pair(plan: Plan): Promise<ClusterPair> {
    const [source, target] = await Promise.all([this.cluster(plan.source), this.cluster(plan.target)]);
    return { source, target };
  }

  /**
   * The wave with whichever clusters answer: to lift a fence, only the fenced one is needed. What concerns the other
   * fails with CLUSTER_UNREACHABLE by itself.
   */
  async waveWithout(scope: Scope): Promise<Wave> {
    const pair = await this.#pairAsFarAsReached(scope.plan);
    return openWave(pair, storageFor(pair), scope, refuseOvertaken);
  }

  /** As `storage`, with whichever clusters answer. */
  async storageWithout(plan: Plan): Promise<Storage> {
    return storageFor(await this.#pairAsFarAsReached(plan));
  }

  async #pairAsFarAsReached(plan: Plan): Promise<ClusterPair> {
    const reach = (name: string) =>
      this.cluster(name).catch((error) => {
        if (!(error instanceof CutoverError) || error.code !== 'CLUSTER_UNREACHABLE') throw error;
        return Cluster.unreached(this.#file.cluster(name));
      });
    const [source, target] = await Promise.all([reach(plan.source), reach(plan.target)]);
    return { source, target };
  }

  async storage(plan: Plan): Promise<Storage> {
    const key = `${plan.source}/${plan.target}`;
    const known = this.#storages.get(key);
    if (known) return known;
    const opened = storageFor(await this.pair(plan));
    this.#storages.set(key, opened);
    return opened;
  }

  /** The wave as people approved it. */
  async wave(scope: Scope): Promise<Wave> {
    return openWave(await this.pair(scope.plan), await this.storage(scope.plan), scope, refuseOvertaken);
  }

  /** Both clusters as the mirror of that direction sees them: under its own principal where it has one. */
  async mirrorPair(plan: Plan, direction: Direction): Promise<DirectedPair> {
    const [source, target] = await Promise.all([
      this.cluster(plan.source, direction),
      this.cluster(plan.target, direction),
    ]);
    return directed({ source, target }, direction);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    await Promise.allSettled(open.map(async (cluster) => (await cluster).close()));
  }
}

export function directed(pair: ClusterPair, direction: Direction): DirectedPair {
  return direction === 'forward' ? { from: pair.source, into: pair.target } : { from: pair.target, into: pair.source };
}
