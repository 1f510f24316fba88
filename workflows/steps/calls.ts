/**
 * How activities are called: how long an attempt may take, how soon a killed worker is noticed, what is
 * tried again by the server and what comes back to the runbook. Every activity but `parsePlan` must
 * heartbeat at least once a second: a worker that is killed is noticed by its silence alone.
 */
import {
  type ActivityOptions,
  ApplicationFailure,
  CancellationScope,
  proxyActivities,
  TimeoutFailure,
} from '@temporalio/workflow';
import type { Activities } from '../../activities/types.ts';
import { type Code, codes } from '../../contract/errors.ts';
import { taskQueues } from '../../contract/status.ts';
import type { Failure } from '../state.ts';

/**
 * A cancelled activity is awaited until it has ended: an inverse that starts beside its act, or a mirror
 * beside its successor, is what rule 6 forbids. Said here because SDK 1.24 documents this as the default and
 * sends TRY_CANCEL when it is left out (seen in a history: the next activity was scheduled with the cancel).
 */
export const activities = proxyActivities<Activities>({
  startToCloseTimeout: '1 minute',
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
});

/** Silence of a worker outside the fence. */
const heartbeatTimeout = '10 seconds';
/** While applications wait, a killed worker must be noticed sooner. */
const fencedHeartbeatTimeout = '5 seconds';

/** What an attempt may take beside its own waiting. */
const lookMarginMs = 60_000;

/** Where a look fails with a code, people see it; defects and killed workers are tried again. */
const codedFailuresComeBack = Object.keys(codes);

/** A look at the clusters that changes nothing. */
export function look(summary: string): ActivityOptions {
  return {
    summary,
    startToCloseTimeout: '10 minutes',
    scheduleToCloseTimeout: '30 minutes',
    heartbeatTimeout,
    retry: {
      initialInterval: '1 second',
      maximumInterval: '10 seconds',
      nonRetryableErrorTypes: codedFailuresComeBack,
    },
  };
}

/** No heartbeat: it only parses. */
export function parse(summary: string): ActivityOptions {
  return {
    summary,
    startToCloseTimeout: '10 seconds',
    retry: { initialInterval: '200 milliseconds', maximumInterval: '5 seconds' },
  };
}

/** A sender waits for the answer, and the end of the run for the sender. */
export function check(summary: string): ActivityOptions {
  return { ...parse(summary), scheduleToCloseTimeout: '1 minute', heartbeatTimeout };
}

/** Work before the fence. Fails for people to see after about five minutes of a retryable code. */
export function prepare(summary: string): ActivityOptions {
  return {
    summary,
    startToCloseTimeout: '30 minutes',
    heartbeatTimeout,
    retry: { initialInterval: '1 second', maximumInterval: '10 seconds', maximumAttempts: 30 },
  };
}

/** Waits as long as it takes, days if need be; any worker goes on where another one died. */
export function lasting(summary: string): ActivityOptions {
  return {
    summary,
    startToCloseTimeout: '30 days',
    heartbeatTimeout,
    retry: { initialInterval: '1 second', maximumInterval: '10 seconds' },
  };
}

/** `lasting`, on the queue of the workers that move records. */
export function lastingShard(summary: string): ActivityOptions {
  return { ...lasting(summary), taskQueue: taskQueues.mirror };
}

/** It changes nothing but what is stored or logged: nobody waits for its end. */
export function unattended(summary: string): ActivityOptions {
  return { ...lasting(summary), cancellationType: 'TRY_CANCEL' };
}

/**
 * Between fence and opening decision: nothing outlives the deadline. What has waited by itself already
 * is not tried again inside the fence, since applications would wait for it once more.
 */
export function fenced(summary: string, deadlineMs: number): ActivityOptions {
  const remainingMs = deadlineMs - Date.now();
  if (remainingMs <= 0) {
    throw ApplicationFailure.nonRetryable(
      'FENCE_EXPIRED: fence.maxHold is over before opening was decided',
      'FENCE_EXPIRED',
    );
  }
  return {
    summary,
    startToCloseTimeout: remainingMs,
    scheduleToCloseTimeout: remainingMs,
    heartbeatTimeout: fencedHeartbeatTimeout,
    retry: {
      initialInterval: '100 milliseconds',
      maximumInterval: '1 second',
      nonRetryableErrorTypes: ['FENCE_EXPIRED', 'FENCE_NOT_PROVEN', 'TRANSACTION_STUCK'] satisfies Code[],
    },
  };
}

/** After the decision, and to lift a fence: there is no other way than through. */
export function insist(summary: string): ActivityOptions {
  return {
    summary,
    startToCloseTimeout: '2 minutes',
    heartbeatTimeout: fencedHeartbeatTimeout,
    retry: { initialInterval: '100 milliseconds', maximumInterval: '5 seconds' },
  };
}

/** Undoing and settling: as insistent, with more time for an attempt. */
export function settle(summary: string): ActivityOptions {
  return { ...insist(summary), startToCloseTimeout: '30 minutes', heartbeatTimeout };
}

/** What people do takes the time that the plan gives them; what they have not done by then is not tried again by itself. */
export function peopleAct(summary: string, withinMs: number): ActivityOptions {
  return within(summary, withinMs, ['FENCE_NOT_PROVEN', 'GROUP_ACTIVE']);
}

/** A switch that waits until applications run anew. */
export function rollout(summary: string, withinMs: number): ActivityOptions {
  return within(summary, withinMs, ['ROLLOUT_STUCK']);
}

/** @param over codes that say that the time is up: people see them */
function within(summary: string, withinMs: number, over: readonly Code[]): ActivityOptions {
  return {
    summary,
    startToCloseTimeout: withinMs + lookMarginMs,
    scheduleToCloseTimeout: 2 * withinMs + lookMarginMs,
    heartbeatTimeout,
    retry: { initialInterval: '1 second', maximumInterval: '10 seconds', nonRetryableErrorTypes: [...over] },
  };
}

/** A webhook: repeated under the same id for a while, then people decide. */
export function webhook(summary: string): ActivityOptions {
  return {
    summary,
    startToCloseTimeout: '1 minute',
    scheduleToCloseTimeout: '5 minutes',
    heartbeatTimeout,
    retry: { initialInterval: '1 second', maximumInterval: '10 seconds' },
  };
}

/** Nobody waits for what webhooks are told; what they do not take in this time they are not told any more. */
export function telling(summary: string): ActivityOptions {
  return {
    summary,
    startToCloseTimeout: '2 minutes',
    scheduleToCloseTimeout: '10 minutes',
    heartbeatTimeout,
    retry: { initialInterval: '1 second', maximumInterval: '30 seconds' },
  };
}

/** An activity's failure in the words of the error list; `otherwise` when it carries no code. */
export function describeFailure(error: unknown, otherwise: Code = 'INTERNAL'): Failure {
  for (let at = error; at instanceof Error; at = at.cause as unknown) {
    if (at instanceof ApplicationFailure && at.type && Object.hasOwn(codes, at.type)) {
      return { code: at.type as Code, message: at.message };
    }
  }
  return { code: otherwise, message: `${otherwise}: ${rootMessage(error)}` };
}

/** Whether an attempt ended by silence: then it may still be alive somewhere. */
export function isTimeout(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause as unknown) {
    if (at instanceof TimeoutFailure) return true;
  }
  return false;
}

function rootMessage(error: unknown): string {
  let message = String(error);
  for (let at = error; at instanceof Error; at = at.cause as unknown) message = at.message;
  return message;
}

/** Does all of it at once. When one fails, the others are cancelled and have ended before its error is thrown. */
export function allOrNone(works: readonly (() => Promise<void>)[]): Promise<void> {
  return CancellationScope.cancellable(async () => {
    const scope = CancellationScope.current();
    const running = works.map((work) => work());
    try {
      await Promise.all(running);
    } catch (error) {
      scope.cancel();
      await Promise.allSettled(running);
      throw error;
    }
  });
}
