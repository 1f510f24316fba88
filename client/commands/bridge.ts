import { dirname, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { exitCodes } from '../exit-codes.ts';
import { interruptible } from '../interrupt.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import type { Answering } from '../terminal.ts';
import { type Answer, printable, type Terminal } from '../terminal.ts';
import { count } from '../units.ts';

/** Between two lines of progress. */
const progressEveryMs = 5_000;

interface BridgeCommandOptions {
  readonly untilCaughtUp?: true;
  readonly dryRun?: true;
  readonly records: number;
}

export function bridgeCommand(answering: Answering): Command {
  return new Command('bridge')
    .description("carry a plan's topics through a module of yours in the foreground, exactly once")
    .argument('<file>', 'the plan, with `replicator: { kind: bridge }`')
    .option('--until-caught-up', 'end when the target has what the source had at the start')
    .addOption(new Option('--dry-run', 'write nothing: say what would become of records').conflicts('untilCaughtUp'))
    .addOption(new Option('--records <n>', 'with --dry-run: of each partition').argParser(positive).default(1_000))
    .action(answering(bridge));
}

function positive(text: string): number {
  const found = Number(text);
  if (!Number.isInteger(found) || found < 1) throw new InvalidArgumentError('wanted a whole number from 1 on');
  return found;
}

/** Of `modules` in clusters.yaml; everything else is a path from the plan's folder. */
const isName = (module: string): boolean => /^[\w-]+$/.test(module);

async function bridge(terminal: Terminal, file: string, options: BridgeCommandOptions): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  const { bridgeOf, runDryBridge, runForegroundBridge } = await import('../../activities/foreground-bridge.ts');
  const path = bridgeOf(plan).module;
  const module =
    path === undefined ? null : isName(path) ? clusters.module(path) : resolve(dirname(resolve(file)), path);
  using interrupt = interruptible();
  const { signal } = interrupt;
  if (options.dryRun) {
    const { reasons, topics, ...counts } = await runDryBridge(plan, clusters, {
      module,
      signal,
      records: options.records,
    });
    const into = Object.entries(topics).map(([topic, records]) => `  ${topic}: ${count(records)}`);
    return {
      json: { name: plan.name, ...counts, topics, reasons },
      text: [`${said(counts)}; nothing was written`, ...into, ...reasons.map((line) => `  poison: ${line}`)]
        .map((line) => printable(line))
        .join('\n'),
    };
  }
  let saidAt = performance.now();
  const counts = await runForegroundBridge(plan, clusters, {
    module,
    signal,
    untilCaughtUp: options.untilCaughtUp === true,
    onProgress: (now) => {
      if (performance.now() - saidAt < progressEveryMs) return;
      saidAt = performance.now();
      terminal.progress(said(now));
    },
  });
  const cutShort = options.untilCaughtUp === true && signal.aborted;
  return {
    exitCode: cutShort ? exitCodes.failed : exitCodes.done,
    json: { name: plan.name, ...counts, ...(cutShort && { interrupted: true }) },
    text: `${cutShort ? 'interrupted: ' : ''}${said(counts)} in ${count(counts.transactions)} transactions`,
  };
}

function said(counts: {
  readonly read: number;
  readonly written: number;
  readonly leftOut: number;
  readonly poison: number;
}): string {
  const { read, written, leftOut, poison } = counts;
  return `${count(read)} records read, ${count(written)} written, ${count(leftOut)} left out, ${count(poison)} to the dead-letter topic`;
}
