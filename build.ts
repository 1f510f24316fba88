/** Makes `dist/`: plain JavaScript of every folder that is published, and the workflows in one bundle. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bundleWorkflowCode } from '@temporalio/worker';

const root = import.meta.dirname;
const dist = join(root, 'dist');

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);
execFileSync(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
const { code } = await bundleWorkflowCode({ workflowsPath: join(root, 'workflows', 'index.ts') });
writeFileSync(join(dist, 'workflow-bundle.js'), code);
// Where payloads are encrypted, what failures say is too (worker/codec.ts).
const encrypted = await bundleWorkflowCode({
  workflowsPath: join(root, 'workflows', 'index.ts'),
  failureConverterPath: join(root, 'worker', 'failure-converter.ts'),
});
writeFileSync(join(dist, 'workflow-bundle-encrypted.js'), encrypted.code);
process.stderr.write(`built ${dist}\n`);
