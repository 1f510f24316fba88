/**
 * Writes the kept histories anew: `node test/histories/regenerate.ts`. Only on purpose: a history that no
 * longer replays means that runs under way would break, and that is to be mended with `patched()`.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const tests = join(import.meta.dirname, '..');
const files = [...['cutover', 'gates', 'tuning', 'waves', 'handover'].map((name) => `workflows/${name}`), 'client/senders'];
const { status } = spawnSync(
  process.execPath,
  ['--test', ...files.map((file) => join(tests, `${file}.test.ts`))],
  { stdio: 'inherit', env: { ...process.env, KAFKA_CUTOVER_WRITE_HISTORIES: '1' } },
);
process.exitCode = status ?? 1;
