/** Looks at a migration again and again until it has ended; a Temporal that is away for a while is waited for. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { CutoverClient, Observation } from './cutover-client.ts';
import { type Live, LiveView } from './live.ts';
import { sumOf } from './status-screen.ts';

/** Between two looks. Each is one query, which a worker answers from memory. */
export const lookEveryMs = 1_000;
/** How long Temporal may be away before watching gives up. The migration itself does not mind. */
export const temporalAwayMaxMs = 600_000;

/** So many looks back go the lags of a look. */
const lagsMax = 60;

export interface Look extends Observation {
  readonly live: Live;
  /** Over all topics at each of the last looks, this one included. */
  readonly lags: readonly number[];
  /** Set while Temporal does not answer: since when, milliseconds since 1970; the rest is then the last look. */
  readonly awaySince: number | null;
}

/**
 * One look a second; the last one has an `ending`. Ends early, without one, when `signal` is aborted.
 *
 * @throws CutoverError MIGRATION_NOT_FOUND; TEMPORAL_UNREACHABLE after ten minutes without an answer
 */
export async function* follow(client: CutoverClient, name: string, signal: AbortSignal): AsyncGenerator<Look> {
  const view = new LiveView();
  let lags: readonly number[] = [];
  let last: Look | null = null;
  let awaySince: number | null = null;
  while (!signal.aborted) {
    try {
      const observation = await client.observe(name);
      awaySince = null;
      const live = view.update(observation.shards);
      // While nothing is mirrored there is no lag, rather than none.
      lags = observation.shards.length > 0 ? [...lags, sumOf(live).lag].slice(-lagsMax) : lags;
      last = { ...observation, live, lags, awaySince };
    } catch (error) {
      const away = error instanceof CutoverError && error.code === 'TEMPORAL_UNREACHABLE';
      awaySince ??= Date.now();
      if (!away || !last || Date.now() - awaySince > temporalAwayMaxMs) throw error;
      last = { ...last, awaySince };
    }
    if (signal.aborted) return;
    yield last;
    if (last.ending && awaySince === null) return;
    await sleep(lookEveryMs, undefined, { signal }).catch(() => {});
  }
}
