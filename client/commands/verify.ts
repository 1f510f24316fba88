import { Command } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import type { ClustersFile } from '../../kafka/clusters.ts';
import type { Answering } from '../cli.ts';
import { type ForegroundOptions, load, readPlanAndClusters } from '../engine.ts';
import { exitCodes } from '../exit-codes.ts';
import { interruptible } from '../interrupt.ts';
import { type Answer, printable, type Terminal, toJson } from '../terminal.ts';
import { count } from '../units.ts';

/** More differences than this are in `--json` only. */
const differencesShownMax = 20;

interface Comparison {
  readonly equal: boolean;
  readonly partitions: number;
  readonly records: number;
  /** The first one of each partition that differs. */
  readonly differences: readonly unknown[];
}

type VerifyModule = {
  runForegroundVerify(plan: Plan, clusters: ClustersFile, options: ForegroundOptions): Promise<Comparison>;
};

export function verifyCommand(answering: Answering): Command {
  return new Command('verify')
    .description("compare every record of a plan's topics on both clusters")
    .argument('<file>', 'the plan, YAML or JSON')
    .action(answering(verify));
}

async function verify(terminal: Terminal, file: string): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  const { runForegroundVerify } = await load<VerifyModule>('../activities/foreground-verify.ts', 'verify');
  const result = await compare(terminal, (options) => runForegroundVerify(plan, clusters, options));
  const { equal, partitions, records, differences } = result;
  const shown = differences.slice(0, differencesShownMax);
  const rest = differences.length - shown.length;
  return {
    exitCode: equal ? exitCodes.done : exitCodes.failed,
    json: { name: plan.name, ...result },
    text: [
      `${equal ? 'equal' : 'DIFFERENT'}: ${count(records)} records in ${count(partitions)} partitions compared`,
      ...shown.map((difference) => `  ${printable(typeof difference === 'string' ? difference : toJson(difference))}`),
      ...(rest > 0 ? [`  ${rest} more with --json`] : []),
    ].join('\n'),
  };
}

async function compare(
  terminal: Terminal,
  run: (options: ForegroundOptions) => Promise<Comparison>,
): Promise<Comparison> {
  const { ForegroundProgress } = await import('../foreground.ts');
  using interrupt = interruptible();
  using progress = new ForegroundProgress(terminal, 'compared');
  const { signal } = interrupt;
  const result = await run({ signal, onProgress: (now) => progress.update(now) }).catch((error) => {
    if (signal.aborted) return null;
    throw error;
  });
  if (result && !signal.aborted) return result;
  throw new CutoverError('AUDIT_BEHIND', {
    what: 'interrupted before every record was compared, so nothing is proven',
    found: `${count(progress.totals.records)} records compared`,
    next: 'Run it again.',
  });
}
