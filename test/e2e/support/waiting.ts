/** Waiting for conditions: every wait has a limit, and says what it waited for. */
import { setTimeout as sleep } from 'node:timers/promises';

const lookEveryMs = 50;

export interface Waiting {
  readonly everyMs?: number;
  /** How things stand, for the message of a wait that was in vain. */
  readonly standing?: () => string;
}

/**
 * Looks until `look` gives something; false, null and undefined mean not yet.
 *
 * @throws Error naming `what` when `timeoutMs` have passed, and whatever `look` throws
 */
export async function waitFor<Found>(
  what: string,
  timeoutMs: number,
  look: () => Found | false | null | undefined | Promise<Found | false | null | undefined>,
  { everyMs = lookEveryMs, standing }: Waiting = {},
): Promise<Found> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== false && found !== null && found !== undefined) return found;
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs / 1000} s for ${what}${standing ? `\n${standing()}` : ''}`);
    }
    await sleep(everyMs);
  }
}
