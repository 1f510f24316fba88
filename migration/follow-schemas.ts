/** Schemas that come to the source's registry while its topics are mirrored. */
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import { carrySchemas, schemasToFollow } from './schemas.ts';
import type { Wave } from './wave.ts';

/** Between two looks: one costs two questions a subject and registry. What comes after the last look is carried within the fence. */
const lookEveryMs = 15_000;

export class SchemaFollower {
  readonly #wave: Wave;
  #nextLook = 0;
  #said: readonly Finding[] = [];

  constructor(wave: Wave) {
    this.#wave = wave;
  }

  /** Carries what is new, when it is time. @returns what could not be carried, until it can */
  async look(now = Date.now()): Promise<readonly Finding[]> {
    if (!this.#wave.plan.schemas || now < this.#nextLook) return this.#said;
    try {
      if ((await schemasToFollow(this.#wave)).length > 0) await carrySchemas(this.#wave);
      this.#said = [];
    } catch (error) {
      // A registry that does not answer, or refuses, must not keep settings and rules from following.
      if (!(error instanceof CutoverError) || error.code === 'ATTEMPT_OVERTAKEN') throw error;
      this.#said = [finding('SCHEMA_NOT_CARRIED', error.detail.where ?? '', `${error.code}: ${error.detail.what}`)];
    }
    this.#nextLook = now + lookEveryMs;
    return this.#said;
  }
}
