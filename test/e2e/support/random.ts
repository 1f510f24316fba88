/** Chance that can be repeated: the same seed, the same numbers. */
import { randomInt } from 'node:crypto';

/** From 0 to below 1. */
export type Random = () => number;

const seedMax = 2 ** 31;

/** The seed given, or a fresh one. */
export function seedOf(given: string | undefined): number {
  return given === undefined ? randomInt(seedMax) : Number(given);
}

/** Mulberry32 (Tommy Ettinger, public domain). */
export function randomFrom(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
