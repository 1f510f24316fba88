/**
 * The workflow code as one script, which Temporal runs in its sandbox. A built package brings it along; in
 * a checkout it is made from the sources at each start, so that it can never be older than they are; unless whoever starts many workers from
 * the same sources has made it already, and names the file in KAFKA_CUTOVER_WORKFLOW_BUNDLE (the tests do).
 */
import { existsSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, type WorkflowBundleOption } from '@temporalio/worker';
import type { Logger } from 'pino';
import { failureConverterPath } from './codec.ts';
import { temporalLogger } from './logging.ts';

const extension = extname(import.meta.url);
const entry = fileURLToPath(new URL(`../workflows/index${extension}`, import.meta.url));
const built = fileURLToPath(new URL('../workflow-bundle.js', import.meta.url));
const builtEncrypted = fileURLToPath(new URL('../workflow-bundle-encrypted.js', import.meta.url));

/** For the build and for starts from the sources; takes a few seconds. */
export async function bundleWorkflows(log: Logger, encrypted = false): Promise<{ readonly code: string }> {
  const startedAt = performance.now();
  log.info('bundling the workflow code (a few seconds)');
  // webpack's own chatter is for whoever debugs the bundle.
  const logger = temporalLogger(
    log.child({ part: 'bundle' }, { level: log.isLevelEnabled('debug') ? 'debug' : 'warn' }),
  );
  const { code } = await bundleWorkflowCode({
    workflowsPath: entry,
    logger,
    ...(encrypted && { failureConverterPath }),
  });
  log.info({ ms: Math.round(performance.now() - startedAt), bytes: code.length }, 'workflow code bundled');
  return { code };
}

/** @param encrypted where payloads are encrypted, the bundle puts what failures say into payloads */
export async function workflowBundle(log: Logger, encrypted = false): Promise<WorkflowBundleOption> {
  const ready = encrypted ? builtEncrypted : built;
  if (extension === '.js' && existsSync(ready)) return { codePath: ready };
  const made = encrypted ? undefined : process.env.KAFKA_CUTOVER_WORKFLOW_BUNDLE;
  return made ? { codePath: made } : bundleWorkflows(log, encrypted);
}
