/** Starts the stack that all test files share, and ends it with the run. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Stack, startStack } from '../../stack/stack.ts';

let stack: Stack | undefined;
let dir: string | undefined;

export async function globalSetup(): Promise<void> {
  dir = mkdtempSync(join(tmpdir(), 'kafka-cutover-test-'));
  stack = await startStack({ dir, onProgress: (line) => process.stderr.write(`  ${line}\n`) });
  process.env.KAFKA_CUTOVER_TEST_STACK = dir;
}

export async function globalTeardown(): Promise<void> {
  await stack?.stop();
  if (dir && !process.env.KAFKA_CUTOVER_TEST_KEEP) rmSync(dir, { recursive: true, force: true });
}
