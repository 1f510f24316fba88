/**
 * The test command: one local stack for the whole run, a process per file, a closing line of counts.
 *
 *   npm test                       everything
 *   npm test -- test/mirror        the files below a folder, or one file
 *
 * Addresses may come from outside: see docs/stack.md.
 */
import { globSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

/** Files at once. Two brokers serve them all, so more than the cores only slows them down. */
const concurrency = Number(process.env.KAFKA_CUTOVER_TEST_CONCURRENCY ?? 2);
/** A file that takes longer has hung. */
const timeoutMs = 900_000;

const wanted = process.argv.slice(2);
const root = join(import.meta.dirname, '..');
const files = (wanted.length > 0 ? wanted : ['test']).flatMap((path) =>
  statSync(join(root, path)).isDirectory() ? globSync(`${path}/**/*.test.ts`, { cwd: root }) : [path],
);

/** Files that take minutes go first: at the end they would run alone. */
const longest = [
  'test/mirror/surprises.test.ts',
  'test/e2e/every-shape.test.ts',
  'test/mirror/old-formats.test.ts',
  'test/mirror/ownership.test.ts',
];
files.sort().sort((a, b) => Number(longest.includes(b)) - Number(longest.includes(a)));

let passed = 0;
let failed = 0;
let skipped = 0;
/** Node 24 has `globalSetupPath` and a count of failures; its published types do not know them yet. */
type Options = Parameters<typeof run>[0] & { readonly globalSetupPath: string };
const options: Options = {
  files: files.map((file) => join(root, file)),
  concurrency,
  timeout: timeoutMs,
  globalSetupPath: join(import.meta.dirname, 'support', 'global-setup.ts'),
};
const events = run(options);
events.on('test:summary', (summary) => {
  if (summary.file !== undefined) return;
  const counts: typeof summary.counts & { readonly failed?: number } = summary.counts;
  passed = counts.passed;
  failed =
    (counts.failed ?? counts.tests - counts.passed - counts.skipped - counts.todo - counts.cancelled) +
    counts.cancelled;
  skipped = counts.skipped;
});
events.compose(new spec()).pipe(process.stdout);
events.on('end', () => {
  setImmediate(() => {
    process.stdout.write(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`);
    process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
  });
});
