/** What bench/results/ holds: one file a row, written by a whole run, read by the document. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Conditions } from './conditions.ts';
import type { Measured, Sample } from './row.ts';

export interface RowResult extends Measured {
  readonly row: string;
  /** ISO date and time, UTC. */
  readonly measuredAt: string;
  readonly scale: number;
  /** How long the row took, filling and proving included. */
  readonly seconds: number;
  readonly machine: Conditions;
}

export const resultsFolder = join(import.meta.dirname, 'results');

export function readResults(folder: string = resultsFolder): RowResult[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as RowResult);
}

export function writeResult(result: RowResult, folder: string = resultsFolder): void {
  const rounded: RowResult = {
    ...result,
    ours: result.ours.map(roundedSample),
    peer: result.peer.map(roundedSample),
  };
  writeFileSync(join(folder, `${result.row}.json`), `${JSON.stringify(rounded, null, 2)}\n`);
}

/** Four digits: more would be noise in a file that is committed. */
function roundedSample(sample: Sample): Sample {
  return Object.fromEntries(Object.entries(sample).map(([name, value]) => [name, Number(value.toPrecision(4))]));
}
