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

/** One attempt of an activity: what its next heartbeat carries, and how long it may be taken to be alive. */
interface Attempt {
  details: unknown;
  lastBeatAtMs: number;
  readonly silenceMaxMs: number;
  overtaken: boolean;
}

const attempts = new AsyncLocalStorage<Attempt>();
/** Before the heartbeat timeout is over, an attempt that was silent gives up: by then nobody else has begun. */
const silenceMarginMs = 1_000;

export function heartbeatDetails(details: unknown): void {
  const attempt = attempts.getStore();
  if (attempt) attempt.details = details;
}

/**
 * To be called right before anything is changed. A process that was stopped (SIGSTOP, a frozen machine) wakes up in the
 * middle of an attempt that Temporal has long given to another; what it would still send could undo a later fence.
 *
 * @throws CutoverError ATTEMPT_OVERTAKEN when this attempt was silent for as long as its heartbeat timeout allows
 */
export function refuseOvertaken(): void {
  const attempt = attempts.getStore();
  if (!attempt) return; // in the foreground there is no other attempt
  const silentMs = Date.now() - attempt.lastBeatAtMs;
  attempt.overtaken ||= silentMs > attempt.silenceMaxMs;
  if (!attempt.overtaken && !cancellation().aborted) return;
  throw new CutoverError('ATTEMPT_OVERTAKEN', {
    what: 'this attempt may have been replaced by another, so it changes nothing any more',
    where: `activity ${Context.current().info.activityType}, attempt ${Context.current().info.attempt}`,
    found: attempt.overtaken ? `no heartbeat for ${silentMs} ms` : 'cancelled',
    wanted: `a heartbeat within ${attempt.silenceMaxMs} ms`,
  });
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
      attempts.run(newAttempt(), async () => {
        const context = Context.current();
        const attempt = attempts.getStore() as Attempt;
        const beat = () => {
          const now = Date.now();
          attempt.overtaken ||= now - attempt.lastBeatAtMs > attempt.silenceMaxMs;
          attempt.lastBeatAtMs = now;
          context.heartbeat(attempt.details);
        };
        beat();
        const timer = setInterval(beat, heartbeatEveryMs);
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

function newAttempt(): Attempt {
  const timeoutMs = Context.current().info.heartbeatTimeoutMs;
  const silenceMaxMs = timeoutMs === undefined ? Number.POSITIVE_INFINITY : Math.max(0, timeoutMs - silenceMarginMs);
  return { details: undefined, lastBeatAtMs: Date.now(), silenceMaxMs, overtaken: false };
}
