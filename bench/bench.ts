/**
 * `npm run bench [-- row...] [--runs 5] [--scale 1] [--json] [--out FOLDER] [--profile FOLDER]`: measures our mirror on brokers that it
 * starts itself, and what it is compared with beside it in the same run.
 *
 * Results of whole runs (scale 1, at least 5 runs) go to bench/results/ and from there into docs/benchmarks.md; of quick looks only to
 * the terminal, or to `--out`.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Cluster } from '../kafka/cluster.ts';
import { parseClusters } from '../kafka/clusters.ts';
import { startStack } from '../stack/stack.ts';
import { loadNow, machine, revision } from './conditions.ts';
import { aimLines, writeBenchmarks } from './report.ts';
import { type RowResult, resultsFolder, writeResult } from './result.ts';
import type { Row, RowContext } from './row.ts';
import { rows } from './rows.ts';

const runsMin = 5;
/** Of the bench's own requests: filling a thousand partitions keeps a broker busy. */
const requestTimeoutMs = 60_000;

/** The same Kafka on both sides: the newest, which MirrorMaker 2 is part of. */
const kafkaVersion = '4.3.1';
const brokerConfig = {
  // Runs write what the one before has deleted: within a minute that would be ten gigabytes.
  'log.segment.delete.delay.ms': '1000',
  'log.retention.check.interval.ms': '3600000',
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: String(runsMin) },
    scale: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
    out: { type: 'string' },
    profile: { type: 'string' },
  },
});
const runs = Number(values.runs);
const scale = Number(values.scale);
if (!Number.isInteger(runs) || runs < 1) throw new Error('--runs: a whole number from 1 on');
if (!(scale > 0 && scale <= 10)) throw new Error('--scale: above 0, at most 10');
const unknown = positionals.filter((name) => !rows.some((row) => row.name === name));
if (unknown.length > 0) {
  throw new Error(`no row ${unknown.join(', ')}: there are ${rows.map((row) => row.name).join(', ')}`);
}
const wanted = rows.filter((row) => positionals.length === 0 || positionals.includes(row.name));
const kept = scale === 1 && runs >= runsMin;
const out = values.out ? resolve(values.out) : kept ? resultsFolder : undefined;
if (out) mkdirSync(out, { recursive: true });
const profile = values.profile ? resolve(values.profile) : undefined;

const beganAt = performance.now();
const loadAtStart = loadNow();
const measuredRevision = revision();
const say = (line: string) => {
  const seconds = Math.round((performance.now() - beganAt) / 1_000);
  process.stderr.write(
    `${String(Math.floor(seconds / 60)).padStart(2)}:${String(seconds % 60).padStart(2, '0')} ${line}\n`,
  );
};
const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort(new Error('interrupted')));
process.once('SIGTERM', () => interrupted.abort(new Error('interrupted')));
process.stderr.on('error', () => {}); // nobody reads the progress any more: the brokers are to be stopped all the same
const whenInterrupted = new Promise<never>((_, reject) => {
  interrupted.signal.addEventListener('abort', () => reject(interrupted.signal.reason));
});
whenInterrupted.catch(() => {});

const results: RowResult[] = [];
const failed: string[] = [];
for (const brokers of [1, 3] as const) {
  const now = wanted.filter((row) => (row.targetBrokers ?? 1) === brokers);
  if (now.length > 0 && !interrupted.signal.aborted) await measureWith(brokers, now);
}
if (out === resultsFolder && results.length > 0) writeBenchmarks();
if (values.json) process.stdout.write(`${JSON.stringify(results)}\n`);
if (failed.length > 0) process.exitCode = 1;
if (interrupted.signal.aborted) process.exit(130); // the row would go on without its brokers

/** Rows that share brokers; a row that fails leaves the others alone. */
async function measureWith(targetBrokers: 1 | 3, now: readonly Row[]): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-bench-'));
  say(`starting Kafka ${kafkaVersion}: a source of 1 broker, a target of ${targetBrokers}`);
  try {
    await using stack = await startStack({
      dir: join(folder, 'stack'),
      parts: ['source', 'target'],
      brokers: { source: 1, target: targetBrokers },
      sourceVersion: kafkaVersion,
      targetVersion: kafkaVersion,
      brokerConfig: { source: brokerConfig, target: brokerConfig },
      signal: interrupted.signal,
    });
    const clusters = parseClusters(readFileSync(stack.clustersFile, 'utf8'), stack.clustersFile, stack.env);
    await using source = await Cluster.connect(clusters.cluster('legacy'), { requestTimeoutMs });
    await using target = await Cluster.connect(clusters.cluster('next'), { requestTimeoutMs });
    for (const row of now) {
      if (interrupted.signal.aborted) break;
      const rowFolder = join(folder, row.name);
      mkdirSync(rowFolder);
      const rowRuns = Math.min(runs, row.runsMax ?? runs);
      const context = { stack, source, target, folder: rowFolder, runs: rowRuns, scale, profile };
      await measure(row, { ...context, say: (line) => say(`${row.name}: ${line}`) }).catch((error: Error) => {
        failed.push(row.name);
        say(`${row.name}: FAILED: ${error.stack ?? error.message}`);
      });
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(row: Row, context: RowContext): Promise<void> {
  const startedAt = performance.now();
  const measured = await Promise.race([row.run(context), whenInterrupted]);
  const result: RowResult = {
    row: row.name,
    measuredAt: new Date().toISOString(),
    scale,
    seconds: Math.round((performance.now() - startedAt) / 1_000),
    machine: {
      ...machine(),
      kafkaSource: context.stack.source?.version ?? '',
      kafkaTarget: context.stack.target?.version ?? '',
      targetReplicas: row.targetBrokers ?? 1,
      revision: measuredRevision,
      loadAtStart,
      loadDuring: loadNow(),
    },
    ...measured,
  };
  results.push(result);
  if (out) writeResult(result, out);
  for (const line of aimLines(row, result)) context.say(line);
}
