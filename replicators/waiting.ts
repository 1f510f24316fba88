/** Waiting for systems that copy by themselves. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';

/** For a system that shares its own work: all shards but the first have nothing to do until they are told to end. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Applications wait. */
const lookEveryMs = 250;

export interface TopicWait<Mirror> {
  /** What there is now, by topic. */
  readonly look: () => Promise<ReadonlyMap<string, Mirror>>;
  readonly topics: readonly string[];
  /** In words. */
  readonly wanted: string;
  readonly done: (mirror: Mirror | undefined) => boolean;
  /** It will not come to that any more. */
  readonly failed: (mirror: Mirror) => boolean;
  readonly said: (mirror: Mirror | undefined) => string;
  /** API and link. */
  readonly where: string;
  readonly maxMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Until `done` holds for every one of the topics.
 *
 * @throws CutoverError REPLICATOR_FAILED when it does not in `maxMs`, or one of them has failed
 */
export async function awaitTopics<Mirror>(wait: TopicWait<Mirror>): Promise<void> {
  const { topics, wanted, done, failed, said, where, maxMs, signal } = wait;
  const until = performance.now() + maxMs;
  for (;;) {
    const mirrors = await wait.look();
    const left = topics.filter((topic) => !done(mirrors.get(topic)));
    const [first] = left;
    if (first === undefined) return;
    const broken = left.find((topic) => {
      const mirror = mirrors.get(topic);
      return mirror !== undefined && failed(mirror);
    });
    if (broken !== undefined || performance.now() > until) {
      const topic = broken ?? first;
      throw new CutoverError('REPLICATOR_FAILED', {
        what: `${left.length} of ${topics.length} mirror topics are not as asked for${broken === undefined ? ` after ${Math.round(maxMs / 1000)} s` : ''}`,
        where: `${where}, topic ${topic}`,
        found: said(mirrors.get(topic)),
        wanted,
      });
    }
    await sleep(lookEveryMs, undefined, signal && { signal });
  }
}
