/** Schemas that come to one registry while its cluster's topics are mirrored. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import type { Direction } from '../contract/status.ts';
import { carrySchemas, carrySchemasBack, schemasToFollow } from './schemas.ts';
import type { Wave } from './wave.ts';

/** Between two looks: one costs two questions a subject and registry. What comes after the last look is carried within the fence. */
const lookEveryMs = 15_000;

export class SchemaFollower {
  readonly #wave: Wave;
  readonly #direction: Direction;
  #nextLook = 0;
  #said: readonly Finding[] = [];

  constructor(wave: Wave, direction: Direction = 'forward') {
    this.#wave = wave;
    this.#direction = direction;
  }

  /** Carries what is new, when it is time. @returns what could not be carried, until it can */
  async look(now = Date.now()): Promise<readonly Finding[]> {
    if (!this.#wave.plan.schemas || now < this.#nextLook) return this.#said;
    try {
      if (this.#direction === 'reverse') await carrySchemasBack(this.#wave);
      else if ((await schemasToFollow(this.#wave)).length > 0) await carrySchemas(this.#wave);
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

/** On the way back, while applications wait: what cannot be carried, or not in time, is said, and keeps nobody from going back. */
export async function carryLastSchemasBack(wave: Wave): Promise<readonly Finding[]> {
  const where = `registry of ${wave.clusters.source.name}`;
  const late = finding('SCHEMA_NOT_CARRIED', where, `not carried back within ${backMaxMs / 1_000} s`);
  return Promise.race([carriedBack(wave), sleep(backMaxMs, [late], { ref: false })]);
}

async function carriedBack(wave: Wave): Promise<readonly Finding[]> {
  for (let tries = 1; ; tries++) {
    const found = await new SchemaFollower(wave, 'reverse').look();
    // The watch over the source may be carrying as well, and puts modes back at any moment.
    if (found.length === 0 || tries === backTriesMax) return found;
  }
}

/** Of the pause of a rollback. */
const backMaxMs = 5_000;
const backTriesMax = 3;
