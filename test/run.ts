/**
 * The test command: one local stack for the whole run, a process per file, a closing line of counts.
 *
 *   npm test                       everything
 *   npm test -- test/mirror        the files below a folder, or one file
 *   npm run test:soak              what is left out of everything
 *
 * The last lines name the slowest files: they decide how long the whole takes.
 *
 * Addresses may come from outside: see docs/stack.md.
 */
import { existsSync, globSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

/** Files at once: as many as there are cores, but two brokers serve them all. */
const cores = Math.min(4, Math.max(2, availableParallelism()));
const concurrency = Number(process.env.KAFKA_CUTOVER_TEST_CONCURRENCY ?? cores);
/** A file that takes longer has hung. */
const timeoutMs = 900_000;
/** Files named at the end with their seconds. */
const slowestShown = 10;

/**
 * Brokers of tests live for seconds or minutes, and what Java's second compiler does for the long run never pays: until it is ready a broker
 * takes 2.8 CPU-seconds instead of 5.7.
 */
process.env.KAFKA_CUTOVER_STACK_JAVA_OPTIONS ??= '-XX:TieredStopAtLevel=1';

const wanted = process.argv.slice(2);
const root = join(import.meta.dirname, '..');
const missing = wanted.filter((path) => !existsSync(join(root, path)));
if (missing.length > 0) {
  process.stderr.write(`no test file or folder: ${missing.join(', ')}, below ${root}\n`);
  process.exit(1);
}
const files = (wanted.length > 0 ? wanted : ['test']).flatMap((path) =>
  statSync(join(root, path)).isDirectory()
    ? globSync(`${path}/**/*.test.ts`, { cwd: root, exclude: isLeftOut })
    : [path],
);
/** What takes minutes and is held by shorter tests as well runs when it is asked for. */
function isLeftOut(name: string): boolean {
  return wanted.length === 0 && name.endsWith('soak');
}

/** What one process has compiled the others take: some hundred processes, each spared nearly half a CPU-second. */
const compiled = mkdtempSync(join(tmpdir(), 'kafka-cutover-compiled-'));
process.env.NODE_COMPILE_CACHE = compiled;

/** Files that take longest go first, the longest of all at the very first: at the end they would run alone. */
const longest = [
  'test/e2e/crash-points.test.ts',
  'test/mirror/surprises.test.ts',
  'test/e2e/every-shape.test.ts',
  'test/mirror/ownership.test.ts',
  'test/mirror/exact/random-logs.test.ts',
  'test/e2e/crash-brokers.test.ts',
  'test/mirror/brokers.test.ts',
  'test/mirror/old-formats.test.ts',
  'test/e2e/mirror-command.test.ts',
  'test/e2e/manual-switch.test.ts',
  'test/e2e/unfence.test.ts',
  'test/e2e/zombie-mirror.test.ts',
  'test/e2e/mirror-end.test.ts',
  'test/e2e/principals-pool.test.ts',
  'test/e2e/temporal-only.test.ts',
];
const place = (file: string) => (longest.includes(file) ? longest.indexOf(file) : longest.length);
files.sort().sort((a, b) => place(a) - place(b));

let passed = 0;
let failed = 0;
let skipped = 0;
const seconds: { readonly file: string; readonly seconds: number }[] = [];
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
  if (summary.file !== undefined) {
    seconds.push({ file: relative(root, summary.file), seconds: Math.round(summary.duration_ms / 1000) });
    return;
  }
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
    if (seconds.length > 1) {
      const slowest = seconds.sort((a, b) => b.seconds - a.seconds).slice(0, slowestShown);
      const lines = slowest.map((one) => `${String(one.seconds).padStart(5)} s  ${one.file}`);
      process.stdout.write(`\nThe slowest of ${seconds.length} files:\n${lines.join('\n')}\n`);
    }
    process.stdout.write(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`);
    rmSync(compiled, { recursive: true, force: true });
    process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
  });
});
