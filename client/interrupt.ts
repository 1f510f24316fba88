/** Ctrl-C and friends: the first one asks a command to end, the next one ends it. */

/** Ctrl-C reaches a whole process group; relayed by a parent it comes twice at once and is one wish. */
const oneWishMs = 500;

/** Aborted by the first SIGINT, SIGTERM or SIGHUP, with the signal's name as the reason. Dispose to let go. */
export function interruptible(): {
  readonly signal: AbortSignal;
  /** Settled with the first of them, for commands that do nothing but serve. */
  readonly wished: Promise<unknown>;
  [Symbol.dispose](): void;
} {
  const controller = new AbortController();
  let firstAt: number | null = null;
  const onSignal = (name: NodeJS.Signals) => {
    const now = performance.now();
    if (firstAt === null) {
      firstAt = now;
      controller.abort(name);
    } else if (now - firstAt > oneWishMs) {
      process.exit(130);
    }
  };
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of names) process.on(name, onSignal);
  return {
    signal: controller.signal,
    wished: new Promise((stop) => controller.signal.addEventListener('abort', stop, { once: true })),
    [Symbol.dispose]: () => {
      for (const name of names) process.removeListener(name, onSignal);
    },
  };
}
