/** How our failures become Temporal's, and how work shows that it is alive. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { ApplicationFailure, Context } from '@temporalio/activity';
import { CutoverError, codes } from '../contract/errors.ts';

/** Between two heartbeats. A cancellation travels back with one, and at the switch applications wait for it. */
const heartbeatEveryMs = 250;

/** A coded failure keeps its code as Temporal's `type`; anything else is a defect, and is tried again. */
export function toFailure(error: unknown): unknown {
  if (error instanceof CutoverError) {
    return ApplicationFailure.create({
      type: error.code,
      message: error.message,
      nonRetryable: !codes[error.code].retryable,
      details: [error.detail],
      cause: error,
    });
  }
  return error;
}

/** Cancelled when Temporal cancels the activity, the worker shuts down or the heartbeat finds the attempt timed out. */
export function cancellation(): AbortSignal {
  return Context.current().cancellationSignal;
}

/** What the next heartbeat of this attempt carries. */
const details = new AsyncLocalStorage<{ current: unknown }>();

export function heartbeatDetails(current: unknown): void {
  const store = details.getStore();
  if (store) store.current = current;
}

/**
 * Makes activities of plain functions: each heartbeats all the time, so that a killed worker is noticed by its silence;
 * failures are coded; and an activity that was cancelled says so rather than with the error that the cancellation caused.
 */
export function asActivities<Functions extends object>(
  functions: Functions,
  options: {
    /** Endless work returns when it is told to stop; that is a cancellation (or a shutdown), never a completion. */
    readonly endless?: boolean;
  } = {},
): Functions {
  const wrapped: Record<string, unknown> = {};
  for (const [name, run] of Object.entries(functions) as [string, (...args: unknown[]) => Promise<unknown>][]) {
    wrapped[name] = (...args: unknown[]) =>
      details.run({ current: undefined }, async () => {
        const context = Context.current();
        const beat = () => context.heartbeat(details.getStore()?.current);
        beat();
        const timer = setInterval(AsyncLocalStorage.bind(beat), heartbeatEveryMs);
        try {
          const result = await run(...args);
          if (options.endless && context.cancellationSignal.aborted) await context.cancelled;
          return result;
        } catch (error) {
          if (context.cancellationSignal.aborted) {
            // Nobody asks any more how it ended: that a mirror which slept through the switch was refused shows here alone.
            if (error instanceof CutoverError) {
              context.log.warn('failed after it was cancelled', { code: error.code, text: error.message });
            }
            await context.cancelled;
          }
          throw toFailure(error);
        } finally {
          clearInterval(timer);
        }
      });
  }
  return wrapped as Functions;
}
