/** One Prometheus endpoint a worker: Temporal's own metrics and ours (`activities/metrics.ts`, `workflows/metrics.ts`), at `/metrics`. */
import type { TelemetryOptions } from '@temporalio/worker';
import type { MetricsBy } from '../activities/metrics.ts';
import { CutoverError } from '../contract/errors.ts';

/**
 * @param text `KAFKA_CUTOVER_METRICS_BY`
 * @throws CutoverError USAGE
 */
export function readMetricsBy(text: string | undefined): MetricsBy | undefined {
  if (!text) return undefined;
  if (text === 'partition' || text === 'topic') return text;
  const [where, wanted] = ['KAFKA_CUTOVER_METRICS_BY', 'partition or topic'];
  throw new CutoverError('USAGE', { what: 'no such detail of metrics', where, found: text, wanted });
}

/**
 * @param address `host:port` to listen at, as `KAFKA_CUTOVER_METRICS` has it; undefined: no endpoint
 * @throws CutoverError USAGE
 */
export function metricsTelemetry(address: string | undefined): Pick<TelemetryOptions, 'metrics'> {
  if (!address) return {};
  if (!/^(\[[0-9a-fA-F:]+\]|[\d.]+):\d{1,5}$/.test(address)) {
    throw new CutoverError('USAGE', {
      what: 'not an address to listen at',
      where: 'KAFKA_CUTOVER_METRICS',
      found: address,
      wanted: 'an IP address and a port, such as 0.0.0.0:9464',
    });
  }
  const prometheus = {
    bindAddress: address,
    countersTotalSuffix: true,
    unitSuffix: false,
    useSecondsForDurations: true,
  };
  return { metrics: { prometheus } };
}
