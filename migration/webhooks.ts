/** Which webhook a plan means, and the calls that steps make. */
import { CutoverError } from '../contract/errors.ts';
import type { Plan } from '../contract/plan.ts';
import type { Direction } from '../contract/status.ts';
import type { ClustersFile, WebhookConfig } from '../kafka/clusters.ts';
import { sidesOf } from './boundary.ts';
import { callWebhook, type WebhookCall, type WebhookResult } from './switches/webhook.ts';
import type { Wave } from './wave.ts';

export type Who = WebhookCall['who'];

/** Longer would outlive an attempt of the activity that calls. */
const giveUpAfterMs = 45_000;

/**
 * The webhook that `plan.producers.webhook` (or consumers) names; where it names none, the only one there is.
 *
 * @throws CutoverError WEBHOOK_UNKNOWN
 */
export function webhookOf(file: ClustersFile, name: string | undefined, path: string): WebhookConfig {
  if (name !== undefined) return file.webhook(name);
  const all = [...file.webhooks.values()];
  if (all.length === 1 && all[0]) return all[0];
  throw new CutoverError('WEBHOOK_UNKNOWN', {
    what: 'the plan names no webhook',
    where: `plan ${path}`,
    found: `${all.length} webhooks in ${file.path}`,
    wanted: 'a name, or exactly one webhook',
  });
}

/**
 * The webhook that stops these clients at the fence, and lets them go on when it is lifted; null where none does. Consumers stop by their
 * own webhook where they have one, else by the fence's.
 *
 * @throws CutoverError WEBHOOK_UNKNOWN
 */
export function stopperOf(file: ClustersFile, plan: Plan, who: Who): WebhookConfig | null {
  if (who === 'consumers' && plan.consumers.switch === 'webhook') {
    return webhookOf(file, plan.consumers.webhook, 'consumers.webhook');
  }
  return plan.fence.kind === 'webhook' ? webhookOf(file, plan.fence.webhook, 'fence.webhook') : null;
}

/**
 * Moves, stops or brings back clients; `direction` is the way that the wave is moving.
 *
 * @throws CutoverError WEBHOOK_FAILED, WEBHOOK_UNKNOWN
 */
export async function tellClients(
  wave: Wave,
  file: ClustersFile,
  call: {
    readonly direction: Direction;
    readonly who: Who;
    readonly action: WebhookCall['action'];
    readonly boundary: ReadonlyMap<string, bigint> | null;
    readonly occasion: string;
  },
  options: {
    readonly signal?: AbortSignal;
    readonly giveUpAfterMs?: number;
    /** Right before each attempt; throws when it must not be made any more. */
    readonly beforeEach?: () => void;
  } = {},
): Promise<WebhookResult> {
  const stops = call.action === 'fence' || call.action === 'unfence';
  const webhook =
    (stops && stopperOf(file, wave.plan, call.who)) ||
    webhookOf(file, wave.plan[call.who].webhook, `${call.who}.webhook`);
  const { from, into } = sidesOf(call.direction);
  const names = { source: wave.plan.source, target: wave.plan.target };
  // Who stops, or goes on after a lifted fence, stays where it is.
  const to = call.action === 'unfence' ? from : into;
  return callWebhook(
    webhook,
    {
      migration: wave.migration,
      wave: wave.wave,
      action: call.action,
      who: call.who,
      from: names[from],
      to: names[to],
      bootstrap: wave.clusters[to].config.bootstrap,
      topics: wave.topicNames,
      groups: wave.groups,
      boundary: call.boundary,
      occasion: call.occasion,
    },
    {
      giveUpAfterMs,
      ...options,
      beforeEach: () => {
        wave.beforeSend();
        options.beforeEach?.();
      },
    },
  );
}

/**
 * Consumers that may have been asked to stop are told to go on where they are; told once more, they lose nothing.
 *
 * @returns what failed, one line each: nothing waits for it
 */
export async function tellConsumersToGoOn(
  wave: Wave,
  file: ClustersFile,
  call: { readonly direction: Direction; readonly occasion: string },
  options: Parameters<typeof tellClients>[3],
): Promise<string[]> {
  if (wave.groups.length === 0 || !stopperOf(file, wave.plan, 'consumers')) return [];
  try {
    await tellClients(wave, file, { ...call, who: 'consumers', action: 'unfence', boundary: null }, options);
    return [];
  } catch (error) {
    return [`consumers were not told to go on: ${(error as Error).message}`];
  }
}
