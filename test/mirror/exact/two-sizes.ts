/** A source and a target of different sizes: a stack's clusters have as many brokers each, and six JVMs are many where one source broker will do. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Stack } from '../../../stack/stack.ts';

/** The source of the one and the target of the other as one stack, whose clusters file is written to `folder`. Stopping it stops both. */
export function joinStacks(one: Stack, other: Stack, folder: string): Stack {
  const clustersFile = join(folder, 'clusters.yaml');
  const text = [one, other].map((stack) => readFileSync(stack.clustersFile, 'utf8')).join('\n');
  writeFileSync(clustersFile, text, { mode: 0o600 });
  const env = { ...one.env, ...other.env, KAFKA_CUTOVER_CLUSTERS: clustersFile };
  const stop = async () => {
    await Promise.all([one.stop(), other.stop()]);
  };
  const { target } = other;
  return { ...one, ...(target && { target }), clustersFile, env, stop, [Symbol.asyncDispose]: stop };
}
