/**
 * What changes on the source once it is fenced: from then on nothing follows it, neither settings nor rules, quotas, topics, partitions or schemas. People
 * who forgot the switch are told before somebody finalizes.
 */
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import { topicsChanged, whatChanged } from './follow-metadata.ts';
import type { Structural } from './inventory.ts';
import { newest } from './newest.ts';
import { schemasOnlyOn } from './schemas.ts';
import { getJson, putJson } from './storage.ts';
import type { Wave } from './wave.ts';

/** Between two looks. */
export const lookAtSourceEveryMs = 10_000;

export class SourceSince {
  readonly #wave: Wave;
  readonly #name: string;
  #atFence: Structural | null = null;
  #said: readonly Finding[] = [];

  /** @param began when the fence was first recorded: each has its own beginning, whichever worker looks */
  constructor(wave: Wave, began: string) {
    this.#wave = wave;
    this.#name = `${wave.migration}/source-at-fence/${wave.wave}/${began}`;
  }

  /** @returns what is otherwise than when the fence was set; as at the last look where the source cannot be read */
  async look(): Promise<readonly Finding[]> {
    try {
      this.#said = await this.#changes();
    } catch (error) {
      if (!(error instanceof CutoverError)) throw error;
    }
    return this.#said;
  }

  async #changes(): Promise<readonly Finding[]> {
    const { storage, clusters } = this.#wave;
    const now = await newest(this.#wave);
    this.#atFence ??= await getJson<Structural>(storage, this.#name);
    if (this.#atFence === null) {
      await putJson(storage, this.#name, now);
      this.#atFence = now;
    }
    const metadata = await clusters.source.metadata(null);
    const changed = [...topicsChanged(this.#wave, metadata), ...whatChanged(this.#atFence, now, this.#wave)];
    return [
      ...changed.map(({ code, where, message }) => finding('SOURCE_CHANGED_AFTER_FENCE', where, `${code}: ${message}`)),
      ...(await schemasOnlyOn(this.#wave, 'source')),
    ];
  }
}
