/**
 * `live`: where each topic is right now, put together from the heartbeats of the mirror's and the audit's
 * shards. Heartbeats are throttled on their way, so a rate is taken between two different ones, over the
 * time between them, not over the time between two looks at them.
 */
import type { z } from 'zod';
import type { shardAnswer } from './temporal-answers.ts';

/** The latest heartbeat of one shard. */
export interface ShardSample {
  readonly activityId: string;
  /** Milliseconds since 1970. */
  readonly heartbeatAtMs: number;
  readonly progress: z.infer<typeof shardAnswer>;
}

export interface TopicLive {
  readonly direction: 'forward' | 'reverse';
  /** Sum over the partitions of where the mirror is, and of where the log that it reads ends. */
  readonly position: number;
  readonly end: number;
  readonly lag: number;
  /** Slots a second; null before there are two heartbeats to compare. */
  readonly rate: number | null;
  readonly bytesPerSecond: number | null;
  /** Milliseconds until `end` at this rate; null when it is not known. */
  readonly etaMs: number | null;
  /** Since the shard's attempt started. */
  readonly records: number;
  readonly bytes: number;
  /** Where the audit is; null when none has reported. */
  readonly audited: number | null;
  /** ISO 8601: the oldest heartbeat in it. */
  readonly asOf: string;
}

/** By topic. */
export type Live = Readonly<Record<string, TopicLive>>;

/** Two heartbeats further apart say nothing about now. */
const heartbeatGapMaxMs = 60_000;

interface Pace {
  readonly sample: ShardSample;
  /** By topic, a second. */
  readonly rates: ReadonlyMap<string, { readonly slots: number; readonly bytes: number }>;
}

/** Remembers each shard's last heartbeat from one look to the next. */
export class LiveView {
  #paces = new Map<string, Pace>();

  update(samples: readonly ShardSample[]): Live {
    const paces = new Map<string, Pace>();
    for (const sample of samples) {
      paces.set(keyOf(sample), paceOf(this.#paces.get(keyOf(sample)), sample));
    }
    this.#paces = paces;
    return liveOf([...paces.values()]);
  }
}

/** A restarted activity has the same id; a shard of the other direction has not. */
function keyOf({ activityId, progress }: ShardSample): string {
  return `${activityId}/${progress.kind}/${progress.direction}`;
}

function paceOf(before: Pace | undefined, sample: ShardSample): Pace {
  const none: Pace = { sample, rates: new Map() };
  if (!before) return none;
  const elapsedMs = sample.heartbeatAtMs - before.sample.heartbeatAtMs;
  if (elapsedMs <= 0) return { sample, rates: before.rates };
  if (elapsedMs > heartbeatGapMaxMs) return none;
  const rates = new Map<string, { slots: number; bytes: number }>();
  for (const [topic, now] of Object.entries(sample.progress.topics)) {
    const then = before.sample.progress.topics[topic];
    if (!then) continue;
    // Positions are the target's own and survive a restart; bytes are counted anew by each attempt.
    const slots = Math.max(0, now.position - then.position);
    const bytes = now.bytes >= then.bytes ? now.bytes - then.bytes : now.bytes;
    rates.set(topic, { slots: (slots * 1_000) / elapsedMs, bytes: (bytes * 1_000) / elapsedMs });
  }
  return { sample, rates };
}

function liveOf(paces: readonly Pace[]): Live {
  const mirrors = paces.filter((pace) => pace.sample.progress.kind === 'mirror');
  const audits = paces.filter((pace) => pace.sample.progress.kind === 'audit');
  // Both directions are alive for a moment around the switch; from then on the reverse one tells the news.
  const direction = mirrors.some((pace) => pace.sample.progress.direction === 'reverse') ? 'reverse' : 'forward';
  const live: Record<string, TopicLive> = {};
  const topics = new Set(mirrors.flatMap((pace) => Object.keys(pace.sample.progress.topics)));
  for (const topic of [...topics].sort()) {
    const found = mirrors.filter((pace) => pace.sample.progress.topics[topic]);
    const same = found.filter((pace) => pace.sample.progress.direction === direction);
    live[topic] = topicLive(topic, same.length > 0 ? same : found, audits);
  }
  return live;
}

function topicLive(topic: string, mirrors: readonly Pace[], audits: readonly Pace[]): TopicLive {
  const sum = (of: (pace: Pace) => number | undefined, paces = mirrors) =>
    paces.reduce((total, pace) => total + (of(pace) ?? 0), 0);
  const at = (pace: Pace) => pace.sample.progress.topics[topic];
  const position = sum((pace) => at(pace)?.position);
  const end = Math.max(
    position,
    sum((pace) => at(pace)?.end),
  );
  const known = mirrors.every((pace) => pace.rates.has(topic));
  const rate = known ? sum((pace) => pace.rates.get(topic)?.slots) : null;
  const lag = end - position;
  const auditing = audits.filter((pace) => at(pace));
  return {
    direction: mirrors[0]?.sample.progress.direction ?? 'forward',
    position,
    end,
    lag,
    rate,
    bytesPerSecond: known ? sum((pace) => pace.rates.get(topic)?.bytes) : null,
    etaMs: lag === 0 ? 0 : rate ? Math.ceil((lag * 1_000) / rate) : null,
    records: sum((pace) => at(pace)?.records),
    bytes: sum((pace) => at(pace)?.bytes),
    audited: auditing.length > 0 ? sum((pace) => at(pace)?.position, auditing) : null,
    asOf: new Date(Math.min(...mirrors.map((pace) => pace.sample.heartbeatAtMs))).toISOString(),
  };
}
