/** What a migration shows to Prometheus when it changes: which cluster is the source of truth, and how long fences were held. */
import { metricMeter } from '@temporalio/workflow';
import type { SharedState } from './state.ts';

/**
 * Each cluster's gauge holds when it last became the source of truth, so that the greatest says which one is, whichever workers have shown
 * the earlier ones.
 */
export function showTruth(before: SharedState, after: SharedState, nowMs: number): void {
  for (const [wave, { sourceOfTruth, truthSince }] of Object.entries(after.waves)) {
    const was = before.waves[wave];
    if (was?.sourceOfTruth === sourceOfTruth) continue;
    const tags = { migration: after.name, wave };
    const since = Date.parse(truthSince ?? after.startedAt) / 1_000;
    metricMeter
      .createGauge('kafka_cutover_source_of_truth_since_seconds', 'float', '', 'when it became the source of truth')
      .set(since, { ...tags, cluster: sourceOfTruth });
    if (was?.sourceOfTruth !== 'none' || was.truthSince === null) continue;
    metricMeter
      .createGauge('kafka_cutover_fence_seconds', 'float', '', 'how long nobody could write, of the last fence')
      .set((nowMs - Date.parse(was.truthSince)) / 1_000, tags);
  }
}
