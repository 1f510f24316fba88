/** Medians, spreads and ratios of alternating runs. */
import type { Figure, Sample } from './row.ts';

/** @throws Error when there is nothing */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new Error('the median of nothing');
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

export function figure(values: readonly number[]): Figure {
  return { value: median(values), least: Math.min(...values), most: Math.max(...values) };
}

/** One figure of every sample. @throws Error when a sample lacks it */
export function column(samples: readonly Sample[], name: string): number[] {
  return samples.map((sample) => {
    const value = sample[name];
    if (value === undefined || !Number.isFinite(value)) throw new Error(`a sample without ${name}`);
    return value;
  });
}

/**
 * How often `below` goes into `above`: the median of one over the median of the other; least and most are those of the runs that
 * stood next to each other, which shared what else the machine did at the time.
 *
 * @throws Error when there are not as many of one as of the other
 */
export function ratio(above: readonly number[], below: readonly number[]): Figure {
  if (above.length !== below.length) throw new Error(`${above.length} runs beside ${below.length}`);
  const pairs = above.map((value, index) => value / (below[index] as number));
  return { value: median(above) / median(below), least: Math.min(...pairs), most: Math.max(...pairs) };
}

/** Nearest rank: the smallest value that at least `share` of all are not above. @throws Error when there is nothing */
export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) throw new Error('a percentile of nothing');
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] as number;
}
