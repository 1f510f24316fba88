/** What the exactly-once suite goes through: one line a scenario. Kills are shares of those asked for. */
import type { StackOptions } from '../../../stack/stack.ts';
import { type ChaosPlan, type ChaosResult, type ChaosScene, chaos } from './chaos.ts';
import { keepsAborted } from './clusters.ts';
import { foreignWriter } from './foreign-writer.ts';
import { quickCleaner } from './log-writer.ts';

export interface Scenario {
  readonly name: string;
  readonly brokers: 1 | 3;
  /** The target forgets producers after this, looking every second. */
  readonly rememberedForMs?: number;
  /** Of all kills. */
  readonly killShare: number;
  /** Leaders and coordinators change in the middle of what they do. */
  readonly leadersChange: boolean;
  /** Only where mirrors may not write markers. */
  readonly byTransactions?: true;
  readonly run: (scene: ChaosScene, kills: number) => Promise<ChaosResult>;
}

type Given = Omit<ChaosPlan, 'kills' | 'partitions' | 'rememberedForMs'> & { readonly partitions?: number };

function kills(
  name: string,
  brokers: 1 | 3,
  killShare: number,
  plan: Given & { readonly rememberedForMs?: number },
): Scenario {
  const { rememberedForMs } = plan;
  return {
    name,
    brokers,
    killShare,
    leadersChange: (plan.brokerKills ?? 0) + (plan.brokerFreezes ?? 0) + (plan.leaderMovesPerKill ?? 0) > 0,
    ...(rememberedForMs !== undefined && { rememberedForMs }),
    run: (scene, wanted) => chaos(scene, { partitions: 2, ...plan, kills: wanted }),
  };
}

const forgetsAfterMs = 4_000;
const all = { transactions: true } as const;

/**
 * With one replica no leader can be moved, so only one mirror at a time may write markers there: several at once are let loose on plain
 * records alone, whose writing needs no owner.
 */
export const scenarios: readonly Scenario[] = [
  kills('one mirror, aborted kept', 1, 0.15, { ...all, mirrors: 1, keepAborted: true }),
  kills('one mirror, aborted dropped', 1, 0.1, { ...all, mirrors: 1, keepAborted: false }),
  kills('three mirrors, plain records', 1, 0.1, {
    transactions: false,
    mirrors: 3,
    keepAborted: true,
    freezesPerKill: 0.7,
  }),
  kills('one mirror, brokers killed and frozen', 1, 0.1, {
    ...all,
    mirrors: 1,
    keepAborted: true,
    brokerKills: 4,
    brokerFreezes: 4,
  }),
  kills('one mirror, producers forgotten', 1, 0.1, {
    ...all,
    mirrors: 1,
    keepAborted: true,
    rememberedForMs: forgetsAfterMs,
  }),
  {
    ...kills('three mirrors, markers by transactions', 1, 0.15, {
      ...all,
      mirrors: 3,
      keepAborted: false,
      freezesPerKill: 0.7,
    }),
    byTransactions: true,
  },
  { name: 'a foreign writer', brokers: 1, killShare: 0, leadersChange: false, run: foreignWriter },
  kills('two mirrors, aborted kept, leaders moved', 3, 0.15, {
    ...all,
    mirrors: 2,
    keepAborted: true,
    freezesPerKill: 0.7,
    leaderMovesPerKill: 0.3,
  }),
  kills('three mirrors, aborted dropped', 3, 0.1, { ...all, mirrors: 3, keepAborted: false, freezesPerKill: 0.7 }),
  kills('two mirrors, brokers killed and frozen', 3, 0.1, {
    ...all,
    mirrors: 2,
    keepAborted: true,
    freezesPerKill: 0.3,
    leaderMovesPerKill: 0.2,
    brokerKills: 6,
    brokerFreezes: 6,
  }),
  kills('two mirrors, producers forgotten', 3, 0.1, {
    ...all,
    mirrors: 2,
    keepAborted: true,
    freezesPerKill: 0.5,
    rememberedForMs: forgetsAfterMs,
  }),
];

/** Brokers that clean when asked to, take aborted records, and look for producers to forget every second (Kafka's own property for tests). */
export const stackOptions: Pick<StackOptions, 'brokerConfig'> = {
  brokerConfig: {
    source: quickCleaner,
    target: { ...keepsAborted, 'producer.id.expiration.check.interval.ms': '1000' },
  },
};
