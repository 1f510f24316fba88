import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { Runtime, Worker } from '@temporalio/worker';
import { pino } from 'pino';
import { bundleWorkflows } from '../../worker/bundle.ts';
import { temporalLogger } from '../../worker/logging.ts';
import { noTraces } from '../../worker/traces.ts';

/**
 * Runs that are under way when a new version is installed go on with its code, so the code of today must
 * say the same about them. `test/histories/regenerate.ts` writes them anew, on purpose only.
 */
const folder = join(import.meta.dirname, '..', 'histories');
const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
const log = pino({ level: 'silent' });

describe('kept histories', () => {
  let workflowBundle: { readonly code: string };
  before(async () => {
    Runtime.install({ logger: temporalLogger(log) });
    workflowBundle = await bundleWorkflows(log);
  });

  it('are there for every path', () => {
    assert.ok(names.length >= 20, `${names.length} histories`);
  });

  for (const name of names) {
    it(`${name} replays`, async () => {
      const history = JSON.parse(readFileSync(join(folder, name), 'utf8'));
      await Worker.runReplayHistory({ workflowBundle, sinks: noTraces.sinks }, history);
    });
  }
});
