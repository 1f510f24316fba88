import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { type Status, searchAttributes, taskQueues } from '../../contract/status.ts';
import { findTemporal } from '../../stack/programs.ts';

const script = join(import.meta.dirname, 'support', 'worker-process.ts');
const awaitMaxMs = 40_000;

let env: TestWorkflowEnvironment;
const processes: ChildProcess[] = [];
before(async () => {
  const path = await findTemporal({ environment: process.env, onProgress: () => {} });
  // No search attributes: the worker registers them.
  env = await TestWorkflowEnvironment.createLocal({ server: { executable: { type: 'existing-path', path } } });
});
after(async () => {
  for (const child of processes) child.kill('SIGKILL');
  await env.teardown();
});

interface Running {
  readonly child: ChildProcess;
  readonly log: () => string;
}

async function startWorker(more: Readonly<Record<string, string>> = {}): Promise<Running> {
  const child = spawn(process.execPath, [script], {
    env: { ...process.env, TEMPORAL_ADDRESS: env.address, TEMPORAL_NAMESPACE: 'default', ...more },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  processes.push(child);
  let text = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    text += String(chunk);
  });
  const running = { child, log: () => text };
  await until(
    () => text.includes('worker is ready') || child.exitCode !== null,
    () => text,
  );
  return running;
}

async function until(holds: () => boolean | Promise<boolean>, said: () => string): Promise<void> {
  const deadline = Date.now() + awaitMaxMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited in vain: ${said()}`);
    await sleep(50);
  }
}

async function start(name: string, gates: object): Promise<WorkflowHandle> {
  const hook = { switch: 'webhook' };
  const plan = { name, source: 'legacy', target: 'next', topics: { include: ['o'] }, producers: hook, consumers: hook };
  return env.client.workflow.start('cutover', {
    workflowId: `cutover/${name}`,
    taskQueue: taskQueues.control,
    args: [{ ...plan, gates }],
  });
}

describe('a worker', () => {
  it('registers search attributes, runs migrations, survives SIGKILL at a gate and stops on SIGTERM', async () => {
    const first = await startWorker();
    assert.match(first.log(), /search attributes registered/);
    const migration = await start('killed', { cutover: { approvals: 1 }, finalize: { approvals: 1 } });
    const awaits = (gate: string) => async () =>
      (await migration.query<Status>('status').catch(() => null))?.awaiting?.gate === gate;
    await until(awaits('cutover'), first.log);
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');

    await migration.signal('approve', { gate: 'cutover', by: 'ana' });
    const second = await startWorker();
    await until(awaits('finalize'), second.log);
    await migration.signal('approve', { gate: 'finalize', by: 'ana' });
    assert.partialDeepStrictEqual(await migration.result(), { outcome: 'completed' });
    const { searchAttributes: shown } = await migration.describe();
    assert.deepEqual(shown[searchAttributes.sourceOfTruth], ['all=target']);

    second.child.kill('SIGTERM');
    const [code] = await once(second.child, 'exit');
    assert.equal(code, 0);
    assert.match(second.log(), /worker stopped/);
  });

  it('says which workflow code it runs: bundled from the sources, in a few seconds', async () => {
    const { child, log } = await startWorker({ KAFKA_CUTOVER_WORKFLOW_BUNDLE: '' });
    assert.match(log(), /bundling the workflow code/);
    assert.match(log(), /workflow code bundled/);
    child.kill('SIGINT');
    const [code] = await once(child, 'exit');
    assert.equal(code, 0);
  });

  it('stops while Temporal does not answer, with TEMPORAL_UNREACHABLE', async () => {
    const child = spawn(process.execPath, [script], {
      env: { ...process.env, TEMPORAL_ADDRESS: '127.0.0.1:1' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    processes.push(child);
    let text = '';
    child.stderr.on('data', (chunk: Buffer) => {
      text += String(chunk);
    });
    await until(
      () => text.includes('does not answer yet'),
      () => text,
    );
    child.kill('SIGTERM');
    const [code] = await once(child, 'exit');
    assert.equal(code, 1);
    assert.match(text, /TEMPORAL_UNREACHABLE/);
  });
});
