/** What an activity was asked, where it is a name or a number: for logs and spans. Never the plan. */
import type { ActivityInterceptorsFactory } from '@temporalio/worker';

const named = ['migration', 'wave', 'direction', 'side', 'gate', 'shard', 'shards', 'webhook', 'cluster'] as const;

export type Names = Readonly<Partial<Record<(typeof named)[number], string | number>>>;

/** @param request an activity's first argument */
export function namesIn(request: unknown): Names {
  if (typeof request !== 'object' || request === null) return {};
  const all = request as Record<string, unknown>;
  const { name } = (all.plan ?? {}) as { name?: unknown };
  const entries = named
    .map((key) => [key, key === 'migration' ? (all.migration ?? name) : all[key]] as const)
    .filter(([, value]) => typeof value === 'string' || typeof value === 'number');
  return Object.fromEntries(entries);
}

/** Every line that is logged in an activity, Temporal's own about it included, says what it is about. */
export const logNames: ActivityInterceptorsFactory = () => {
  let names: Names = {};
  return {
    inbound: {
      execute(input, next) {
        names = namesIn(input.args[0]);
        return next(input);
      },
    },
    outbound: { getLogAttributes: (attributes, next) => next({ ...attributes, ...names }) },
  };
};
