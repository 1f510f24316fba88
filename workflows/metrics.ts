/** What a migration shows to Prometheus: which cluster is the source of truth, and how long fences were held. */
import { metricMeter, workflowInfo } from '@temporalio/workflow';
import type { SharedState } from './state.ts';

/**
 * Each cluster's gauge holds when it last became the source of truth, so that the greatest says which one is, whichever workers have shown
 * the earlier ones. A worker that goes on where another has died shows all of it with the first change: a fence that outlives its worker must
 * not leave the alarms.
 */
export class TruthMetrics {
  /** What this worker has shown; null: nothing yet, as what is replayed is not shown. */
  #shown: SharedState | null = null;

  show(before: SharedState, after: SharedState, nowMs: number): void {
    if (workflowInfo().unsafe.isReplaying) return;
    const shown = this.#shown;
    this.#shown = after;
    for (const [wave, { sourceOfTruth, truthSince }] of Object.entries(after.waves)) {
      const tags = { migration: after.name, wave };
      if (shown?.waves[wave]?.sourceOfTruth !== sourceOfTruth) {
        const since = Date.parse(truthSince ?? after.startedAt) / 1_000;
        metricMeter
          .createGauge('kafka_cutover_source_of_truth_since_seconds', 'float', '', 'when it became the source of truth')
          .set(since, { ...tags, cluster: sourceOfTruth });
      }
      const was = before.waves[wave];
      if (was?.sourceOfTruth !== 'none' || was.truthSince === null || sourceOfTruth === 'none') continue;
      metricMeter
        .createGauge('kafka_cutover_fence_seconds', 'float', '', 'how long nobody could write, of the last fence')
        .set((nowMs - Date.parse(was.truthSince)) / 1_000, tags);
    }
  }
}
