/** What a shard of a mirror, and a gate that waits, show to Prometheus: through Temporal's meter, so that a worker has one endpoint. */
import { metricMeter } from '@temporalio/activity';
import type { Direction } from '../contract/status.ts';
import { partitionKey } from '../kafka/offsets.ts';
import type { Progress } from '../replicators/replicator.ts';

/** Prometheus looks every 15 s or so; ten thousand partitions are twenty thousand gauges. */
const showEveryMs = 5_000;

export interface Shard {
  readonly migration: string;
  readonly wave: string;
  readonly direction: Direction;
  readonly shard: number;
}

/**
 * By what lag is shown: a gauge a partition, or, where those would be too many, one a topic and shard, whose label `partition` names the shard; so the same
 * queries hold for both.
 */
export type MetricsBy = 'partition' | 'topic';

/** Of one attempt of one shard. Gauges end at 0 when it does: whoever goes on has gauges of its own, and the greatest counts. */
export class MirrorMetrics {
  readonly #by: MetricsBy;
  readonly #tags: Omit<Shard, 'shard'>;
  readonly #shard: number;
  readonly #lag = metricMeter.createGauge('kafka_cutover_mirror_lag_records', 'int', '', 'offsets not mirrored yet');
  readonly #behind = metricMeter.createGauge(
    'kafka_cutover_mirror_behind_seconds',
    'float',
    '',
    'time since the mirror last stood at the end of the log',
  );
  readonly #records = metricMeter.createCounter('kafka_cutover_mirror_records', '', 'records mirrored');
  readonly #bytes = metricMeter.createCounter(
    'kafka_cutover_mirror_bytes',
    '',
    'bytes of batches acknowledged, as sent',
  );
  readonly #batches = metricMeter.createCounter('kafka_cutover_mirror_batches', '', 'batches acknowledged');
  readonly #retries = metricMeter.createCounter(
    'kafka_cutover_mirror_retries',
    '',
    'how often a partition began again from its log after a failure',
  );
  readonly #seen = new Map<string, Seen>();
  /** Gauges that have been set, by their labels. */
  readonly #gauges = new Map<string, GaugeTags>();
  #shownAtMs = Number.NEGATIVE_INFINITY;
  #latest: readonly Progress[] = [];

  constructor({ shard, ...tags }: Shard, by: MetricsBy = 'partition') {
    this.#tags = tags;
    this.#shard = shard;
    this.#by = by;
  }

  /** Called as often as one likes. */
  observe(partitions: readonly Progress[], nowMs = Date.now()): void {
    this.#latest = partitions;
    if (nowMs - this.#shownAtMs < showEveryMs) return;
    this.#shownAtMs = nowMs;
    this.#show(partitions, nowMs);
  }

  #show(partitions: readonly Progress[], nowMs: number): void {
    const shown = new Map<string, { readonly tags: GaugeTags; lag: number; behindMs: number }>();
    for (const progress of partitions) {
      const { topic, partition, position, end } = progress;
      const seen = this.#seen.get(partitionKey(topic, partition)) ?? { ...unseen, caughtUpAtMs: nowMs };
      // Not every replicator tells where the logs end: what is not known is not shown.
      const lag = end === undefined ? null : Math.max(0, Number(end - position));
      const caughtUpAtMs = lag === 0 ? nowMs : seen.caughtUpAtMs;
      if (lag !== null) {
        const by = this.#by === 'partition' ? partition : `shard ${this.#shard}`;
        const tags = { ...this.#tags, topic, partition: by };
        const gauge = shown.get(`${topic}/${by}`) ?? { tags, lag: 0, behindMs: 0 };
        gauge.lag += lag;
        gauge.behindMs = Math.max(gauge.behindMs, nowMs - caughtUpAtMs);
        shown.set(`${topic}/${by}`, gauge);
      }
      const counts = countsOf(progress);
      this.#count(topic, counts, seen);
      this.#seen.set(partitionKey(topic, partition), { ...counts, caughtUpAtMs });
    }
    for (const [key, { tags, lag, behindMs }] of shown) {
      this.#lag.set(lag, tags);
      this.#behind.set(behindMs / 1_000, tags);
      this.#gauges.set(key, tags);
    }
  }

  #count(topic: string, now: Counts, before: Counts): void {
    const byTopic = { ...this.#tags, topic };
    const counters = { records: this.#records, bytes: this.#bytes, batches: this.#batches, retries: this.#retries };
    for (const what of countNames) {
      if (now[what] > before[what]) counters[what].add(now[what] - before[what], byTopic);
    }
  }

  [Symbol.dispose](): void {
    this.#show(this.#latest, Date.now());
    for (const tags of this.#gauges.values()) {
      this.#lag.set(0, tags);
      this.#behind.set(0, tags);
    }
  }
}

type GaugeTags = Omit<Shard, 'shard'> & { readonly topic: string; readonly partition: number | string };

const countNames = ['records', 'bytes', 'batches', 'retries'] as const;
type Counts = Readonly<Record<(typeof countNames)[number], number>>;
const unseen: Counts = { records: 0, bytes: 0, batches: 0, retries: 0 };

type Seen = Counts & { readonly caughtUpAtMs: number };

function countsOf({ records, bytes, batches = 0, retries = 0 }: Progress): Counts {
  return { records, bytes, batches, retries };
}

/** How long a gate has been open; 0 once it is not. */
export function showGateAge(
  { migration, wave, gate }: { readonly migration: string; readonly wave: string | null; readonly gate: string },
  seconds: number,
): void {
  metricMeter
    .createGauge('kafka_cutover_gate_age_seconds', 'float', '', 'how long a gate has waited for people')
    .set(seconds, { migration, wave: wave ?? '', gate });
}
