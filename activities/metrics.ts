/** What a shard of a mirror, and a gate that waits, show to Prometheus: through Temporal's meter, so that a worker has one endpoint. */
import { metricMeter } from '@temporalio/activity';
import type { Direction } from '../contract/status.ts';
import type { Progress } from '../replicators/replicator.ts';

/** Prometheus looks every 15 s or so; ten thousand partitions are twenty thousand gauges. */
const showEveryMs = 5_000;

/** Of one attempt of one shard. Gauges end at 0 when it does: whoever goes on has gauges of its own, and the greatest counts. */
export class MirrorMetrics {
  readonly #tags: { readonly migration: string; readonly wave: string; readonly direction: Direction };
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
  readonly #seen = new Map<string, Seen>();
  #shownAtMs = Number.NEGATIVE_INFINITY;
  #latest: readonly Progress[] = [];

  constructor(tags: { readonly migration: string; readonly wave: string; readonly direction: Direction }) {
    this.#tags = tags;
  }

  /** Called as often as one likes. */
  observe(partitions: readonly Progress[], nowMs = Date.now()): void {
    this.#latest = partitions;
    if (nowMs - this.#shownAtMs < showEveryMs) return;
    this.#shownAtMs = nowMs;
    this.#show(partitions, nowMs);
  }

  #show(partitions: readonly Progress[], nowMs: number): void {
    for (const { topic, partition, position, end, records, bytes } of partitions) {
      const key = `${topic}/${partition}`;
      const seen = this.#seen.get(key) ?? { topic, partition, records: 0, bytes: 0, caughtUpAtMs: nowMs };
      // Not every replicator tells where the logs end: what is not known is not shown.
      const lag = end === undefined ? null : Math.max(0, Number(end - position));
      const caughtUpAtMs = lag === 0 ? nowMs : seen.caughtUpAtMs;
      const tags = { ...this.#tags, topic, partition };
      if (lag !== null) {
        this.#lag.set(lag, tags);
        this.#behind.set((nowMs - caughtUpAtMs) / 1_000, tags);
      }
      const byTopic = { ...this.#tags, topic };
      if (records > seen.records) this.#records.add(records - seen.records, byTopic);
      if (bytes > seen.bytes) this.#bytes.add(bytes - seen.bytes, byTopic);
      this.#seen.set(key, { topic, partition, records, bytes, caughtUpAtMs });
    }
  }

  [Symbol.dispose](): void {
    this.#show(this.#latest, Date.now());
    for (const { topic, partition } of this.#seen.values()) {
      this.#lag.set(0, { ...this.#tags, topic, partition });
      this.#behind.set(0, { ...this.#tags, topic, partition });
    }
  }
}

interface Seen {
  readonly topic: string;
  readonly partition: number;
  readonly records: number;
  readonly bytes: number;
  readonly caughtUpAtMs: number;
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
