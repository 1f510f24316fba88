/** Starts the stack that all test files share, bundles the workflow code once for all of them, and ends it with the run. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { type Stack, startStack } from '../../stack/stack.ts';
import { bundleWorkflows } from '../../worker/bundle.ts';

let stack: Stack | undefined;
let dir: string | undefined;

export async function globalSetup(): Promise<void> {
  dir = mkdtempSync(join(tmpdir(), 'kafka-cutover-test-'));
  const bundle = join(dir, 'workflow-bundle.js');
  const [started] = await Promise.all([
    startStack({ dir, onProgress: (line) => process.stderr.write(`  ${line}\n`) }),
    bundleWorkflows(pino({ level: 'silent' })).then(({ code }) => writeFileSync(bundle, code)),
  ]);
  stack = started;
  process.env.KAFKA_CUTOVER_WORKFLOW_BUNDLE = bundle;
  process.env.KAFKA_CUTOVER_TEST_STACK = dir;
}

export async function globalTeardown(): Promise<void> {
  await stack?.stop();
  if (dir && !process.env.KAFKA_CUTOVER_TEST_KEEP) rmSync(dir, { recursive: true, force: true });
}
