/** Whether a copy is whole: a benchmark of a wrong one does not count. */
import { join } from 'node:path';
import type { LocalCluster } from '../stack/cluster.ts';
import { runJavaTool, withClientProperties } from '../stack/java-tools.ts';
import type { Stack } from '../stack/stack.ts';

const timeoutMs = 300_000;

/**
 * Reads both logs through Apache's consumer and compares every partition's ends, numbers of records and checksums.
 *
 * @returns records read
 * @throws Error naming the first partition that differs
 */
export async function proveIdentical(stack: Stack, topic: string): Promise<number> {
  const { source, target } = stack;
  if (!source || !target) throw new Error("both clusters must be the bench's own");
  const isolation = 'read_committed';
  const wanted = (await checksums(source, topic, isolation)).sort();
  const found = (await checksums(target, topic, isolation)).sort();
  const wrong = wanted.findIndex((line, index) => line !== found[index]);
  if (wrong >= 0 || wanted.length !== found.length) {
    throw new Error(`the copy differs: ${found[wrong]} where the source has ${wanted[wrong]}`);
  }
  return recordsIn(wanted);
}

/** Records that Apache's consumer reads from a topic. */
export async function countRecords(cluster: LocalCluster, topic: string): Promise<number> {
  return recordsIn(await checksums(cluster, topic, 'read_committed'));
}

async function checksums(cluster: LocalCluster, topic: string, isolation: string): Promise<string[]> {
  const program = join(import.meta.dirname, 'ChecksumLog.java');
  const { stdout, stderr, code } = await withClientProperties(cluster, 'cutover', (properties) =>
    runJavaTool(cluster, program, [properties, topic, isolation], { timeoutMs }),
  );
  if (code !== 0) throw new Error(`Apache's consumer could not read ${topic} (exit ${code}): ${stderr.trim()}`);
  return stdout.trim().split('\n');
}

function recordsIn(lines: readonly string[]): number {
  return lines.reduce((sum, line) => sum + Number(line.split(' ')[3]), 0);
}
