/**
 * How far mirrors and the audit were behind, over the whole migration, for the report. Each shard stores a curve of its own. It holds a few
 * hundred samples however long a mirror runs: when it is full every second one goes. Nothing is decided by it, so a curve that cannot be
 * stored never ends what it is about.
 */
import type { Direction } from '../contract/status.ts';
import { getAllJson, getJson, putJson, type Storage } from './storage.ts';

/** When (milliseconds since 1970), and summed over the shard's partitions: how far it was, and where the log that it reads ended. */
export type LagSample = readonly [atMs: number, position: number, end: number];

export interface LagCurve {
  readonly kind: 'mirror' | 'audit';
  readonly wave: string;
  readonly direction: Direction;
  readonly shard: number;
  readonly shards: number;
  readonly samples: readonly LagSample[];
}

const samplesMax = 240;
const sampleEveryMs = 1_000;
const storeEveryMs = 30_000;

const prefix = (migration: string) => `${migration}/lag/`;

/** Keeps what a shard reports; goes on with the curve that an earlier attempt of the shard has stored. */
export class LagRecorder {
  readonly #storage: Storage;
  readonly #name: string;
  readonly #curve: Omit<LagCurve, 'samples'>;
  readonly #now: () => number;
  #samples: readonly LagSample[] = [];
  /** The newest, whether or not it is due. */
  #latest: LagSample | null = null;
  #earlier: Promise<readonly LagSample[]> | null = null;
  #storing: Promise<void> | null = null;
  #storedAtMs = Number.NEGATIVE_INFINITY;

  constructor(storage: Storage, migration: string, curve: Omit<LagCurve, 'samples'>, now = Date.now) {
    this.#storage = storage;
    this.#curve = curve;
    this.#now = now;
    const { wave, direction, kind, shard, shards } = curve;
    this.#name = `${prefix(migration)}${wave}/${direction}/${kind}-${shard}-of-${shards}`;
  }

  /** Never waits, never throws. */
  look(position: bigint, end: bigint): void {
    const at = this.#now();
    this.#latest = [at, Number(position), Number(end)];
    const [before = Number.NEGATIVE_INFINITY] = this.#samples.at(-1) ?? [];
    if (at - before < sampleEveryMs) return;
    this.#samples = thinned([...this.#samples, this.#latest]);
    if (at - this.#storedAtMs >= storeEveryMs) void this.store();
  }

  /** Begins to store what there is, with the newest sample; applications may be waiting for the caller, so it is not awaited there. */
  store(): Promise<void> {
    this.#storedAtMs = this.#now();
    this.#storing ??= this.#put()
      .catch(() => {})
      .finally(() => {
        this.#storing = null;
      });
    return this.#storing;
  }

  async #put(): Promise<void> {
    this.#earlier ??= getJson<LagCurve>(this.#storage, this.#name).then((stored) => stored?.samples ?? []);
    const latest = this.#latest && this.#latest !== this.#samples.at(-1) ? [this.#latest] : [];
    const samples = thinned([...(await this.#earlier), ...this.#samples, ...latest]);
    await putJson(this.#storage, this.#name, { ...this.#curve, samples } satisfies LagCurve, { on: 'any' });
  }
}

/** Every second one until they are few enough; the first and the last stay. */
function thinned(samples: readonly LagSample[]): readonly LagSample[] {
  let kept = samples;
  while (kept.length > samplesMax) kept = kept.filter((_, index) => index % 2 === 0 || index === kept.length - 1);
  return kept;
}

/** Of all shards of a migration. */
export async function readLagCurves(storage: Storage, migration: string): Promise<LagCurve[]> {
  return (await getAllJson<LagCurve>(storage, prefix(migration))).map(({ value }) => value);
}
