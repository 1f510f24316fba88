/** A mirror at work in a process of its own, ours or another's, as the bench sees it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster } from '../kafka/cluster.ts';
import { allocateProducerId } from '../kafka/producers.ts';
import { endWithBench } from './child.ts';
import type { MirrorJob } from './mirror-process.ts';
import type { RowContext } from './row.ts';
import type { NamedPartition } from './topic-pair.ts';

const endMs = 20_000;
const logExcerptBytes = 2_000;

export interface Mirroring extends AsyncDisposable {
  readonly pid: number;
  /** Rejects when the process ends by itself; never resolves. */
  readonly died: Promise<never>;
  /** SIGTERM, then SIGKILL; returns when it is gone. */
  stop(): Promise<void>;
}

/** What bin/kafka-cutover.js gives to a command that mirrors: little room for short-lived objects, and compiled code kept on disk. */
const asOurCommand = {
  options: ['--max-semi-space-size=4'],
  env: { NODE_COMPILE_CACHE: join(tmpdir(), 'node-compile-cache') },
} as const;

export async function startOurMirror(
  context: RowContext,
  partitions: readonly NamedPartition[],
  producerIds: readonly bigint[],
): Promise<Mirroring> {
  const job: MirrorJob = {
    partitions: partitions.map((place, index) => ({ ...place, producerId: String(producerIds[index]) })),
  };
  const file = join(context.folder, 'mirror-job.json');
  writeFileSync(file, JSON.stringify(job));
  const script = join(import.meta.dirname, 'mirror-process.ts');
  const profiling = context.profile ? ['--cpu-prof', `--cpu-prof-dir=${context.profile}`] : [];
  return launchMirroring(process.execPath, [...asOurCommand.options, ...profiling, script, file], {
    logFile: join(context.folder, 'ours.log'),
    cwd: context.folder,
    env: { ...process.env, ...asOurCommand.env, ...context.stack.env },
  });
}

/** As many new producer ids as wanted, one a partition. */
export async function newProducerIds(into: Cluster, count: number): Promise<bigint[]> {
  const ids: bigint[] = [];
  while (ids.length < count) ids.push(await allocateProducerId(into));
  return ids;
}

export function launchMirroring(
  command: string,
  args: readonly string[],
  options: { readonly logFile: string; readonly cwd: string; readonly env: NodeJS.ProcessEnv },
): Mirroring {
  const child = endWithBench(
    spawn(command, args, { cwd: options.cwd, env: options.env, stdio: ['ignore', 'pipe', 'pipe'] }),
  );
  const log = createWriteStream(options.logFile);
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  const gone = new Promise<void>((resolve) => child.once('close', () => log.end(resolve)));
  let stopping = false;
  const died = new Promise<never>((_, reject) => {
    child.once('error', reject);
    void gone.then(() => {
      if (stopping) return;
      const text = readFileSync(options.logFile, 'utf8').slice(-logExcerptBytes);
      reject(new Error(`the mirror ended by itself (${child.exitCode ?? child.signalCode}): ${text}`));
    });
  });
  died.catch(() => {}); // whoever waits for the copy waits for this too
  const stop = async () => {
    stopping = true;
    await end(child, gone);
  };
  return { pid: child.pid ?? -1, died, stop, [Symbol.asyncDispose]: stop };
}

async function end(child: ChildProcess, gone: Promise<void>): Promise<void> {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), endMs);
  await gone;
  clearTimeout(timer);
}
