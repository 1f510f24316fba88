/**
 * The stack of a test file: the one that the whole run shares, or, when a file is run alone with
 * `node --test`, one of its own. Files that break brokers or change broker settings start their own.
 */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { type ClustersFile, parseClusters } from '../../kafka/clusters.ts';
import { attachStack, type Stack, type StackOptions, startStack } from '../../stack/stack.ts';

export interface TestStack {
  readonly stack: Stack;
  readonly clusters: ClustersFile;
}

export async function sharedStack(): Promise<TestStack> {
  const shared = process.env.KAFKA_CUTOVER_TEST_STACK;
  return shared ? withClusters(await attachStack(shared)) : ownStack();
}

/** A stack that only this file uses; it ends with the file. */
export async function ownStack(options: Omit<StackOptions, 'dir'> = {}): Promise<TestStack> {
  const stack = await startStack({ ...options, dir: mkdtempSync(join(tmpdir(), 'kafka-cutover-test-')) });
  after(() => stack.stop());
  return withClusters(stack);
}

function withClusters(stack: Stack): TestStack {
  const clusters = parseClusters(readFileSync(stack.clustersFile, 'utf8'), stack.clustersFile, stack.env);
  return { stack, clusters };
}

let counter = 0;

/** A name that no other test uses: brokers are shared by the whole run. */
export function uniqueName(prefix: string): string {
  return `${prefix}-${process.pid}-${Date.now().toString(36)}-${counter++}`;
}
