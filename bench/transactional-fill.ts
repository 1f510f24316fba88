/** Fills a topic through Apache's transactional producer, one a partition. */
import { join } from 'node:path';
import { runJavaTool, withClientProperties } from '../stack/java-tools.ts';
import type { Stack } from '../stack/stack.ts';

const timeoutMs = 300_000;

export async function fillWithTransactions(
  { source }: Stack,
  wanted: {
    readonly topic: string;
    readonly partitions: number;
    readonly records: number;
    readonly recordsPerTransaction: number;
    readonly valueBytes: number;
  },
): Promise<void> {
  if (!source) throw new Error("the source must be the bench's own");
  const program = join(import.meta.dirname, 'TransactionalFill.java');
  const { topic, partitions, records, recordsPerTransaction, valueBytes } = wanted;
  const numbers = [partitions, Math.ceil(records / partitions), recordsPerTransaction, valueBytes].map(String);
  const { stderr, code } = await withClientProperties(source, 'cutover', (properties) =>
    runJavaTool(source, program, [properties, topic, ...numbers], { timeoutMs }),
  );
  if (code !== 0) throw new Error(`the transactional producers failed (exit ${code}): ${stderr.trim().slice(-2_000)}`);
}
