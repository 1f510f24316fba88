import { Command } from 'commander';
import type { Compared } from '../../activities/foreground-verify.ts';
import type { ShardProgress } from '../../activities/types.ts';
import { CutoverError } from '../../contract/errors.ts';
import { exitCodes } from '../exit-codes.ts';
import { interruptible } from '../interrupt.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import type { Answering } from '../terminal.ts';
import { type Answer, printable, type Terminal } from '../terminal.ts';
import { count } from '../units.ts';

/** More differences than this are in `--json` only. */
const differencesShownMax = 20;

export function verifyCommand(answering: Answering): Command {
  return new Command('verify')
    .description("compare every record of a plan's topics on both clusters")
    .argument('<file>', 'the plan, YAML or JSON')
    .action(answering(verify));
}

async function verify(terminal: Terminal, file: string): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  const { runForegroundVerify } = await import('../../activities/foreground-verify.ts');
  const result = await compare(terminal, (options) => runForegroundVerify(plan, clusters, options));
  const { equal, partitions, records, differences } = result;
  const shown = differences.slice(0, differencesShownMax);
  const rest = differences.length - shown.length;
  return {
    exitCode: equal ? exitCodes.done : exitCodes.failed,
    json: { name: plan.name, ...result },
    text: [
      `${equal ? 'equal' : 'DIFFERENT'}: ${count(records)} records in ${count(partitions)} partitions compared`,
      ...shown.map((difference) => `  ${printable(difference)}`),
      ...(rest > 0 ? [`  ${rest} more with --json`] : []),
    ].join('\n'),
  };
}

async function compare(
  terminal: Terminal,
  run: (options: { signal: AbortSignal; onProgress: (progress: ShardProgress) => void }) => Promise<Compared>,
): Promise<Compared> {
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
