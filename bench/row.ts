/** One row of the benchmark: what is done, what it is compared with, what it aims at. */
import type { Cluster } from '../kafka/cluster.ts';
import type { Stack } from '../stack/stack.ts';

/** One run's figures by name. Names end in their unit: `MBps` is 10^6 bytes a second, `MB` 10^6 bytes. */
export type Sample = Readonly<Record<string, number>>;

export interface Samples {
  readonly ours: readonly Sample[];
  /** The other one's, run alternately with ours. Empty where the aim is a figure by itself. */
  readonly peer: readonly Sample[];
}

export interface Aim {
  /** In words, with its unit. */
  readonly what: string;
  readonly wanted: number;
  readonly better: 'more' | 'less';
  /** The figure that counts, from the samples of one run of the benchmark. */
  readonly reached: (samples: Samples) => Figure;
}

export interface Figure {
  readonly value: number;
  /** The least and the most of the single runs, or of the pairs of runs. */
  readonly least: number;
  readonly most: number;
}

export interface RowContext {
  readonly stack: Stack;
  readonly source: Cluster;
  readonly target: Cluster;
  /** A folder of this row's own. */
  readonly folder: string;
  readonly runs: number;
  /** 1: as the issue wants it. Smaller: less data, or shorter. */
  readonly scale: number;
  /** Where our mirrors leave their CPU profiles; undefined: none are taken. */
  readonly profile?: string | undefined;
  readonly say: (line: string) => void;
}

export interface Row {
  readonly name: string;
  /** As in the document's table. */
  readonly work: string;
  readonly peer?: string;
  readonly aims: readonly Aim[];
  /** Brokers of the target cluster, and so its replication factor; 1 by default. */
  readonly targetBrokers?: 1 | 3;
  /** Runs whatever is asked for: where one run says it all, or takes too long. */
  readonly runsMax?: number;
  /** Where the time goes, as a profile showed, and what an aim that is missed is bound by: shown with the figures. */
  readonly profile?: readonly string[];
  /** Figures that the document shows, in this order. */
  readonly shown: readonly string[];
  readonly run: (context: RowContext) => Promise<Measured>;
}

export interface Measured extends Samples {
  /** What the figures depend on: settings, sizes, how the copy was proven complete. */
  readonly conditions: Readonly<Record<string, string>>;
}
