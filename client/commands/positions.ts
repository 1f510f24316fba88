import { Command } from 'commander';
import type { Answering } from '../cli.ts';
import { exitCodes } from '../exit-codes.ts';
import { interruptible } from '../interrupt.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import { table } from '../table.ts';
import { type Answer, printable, type Terminal } from '../terminal.ts';
import { count } from '../units.ts';
import { withSteps } from './plan.ts';

/** More than this are in `--json` only; those that are not exact come first. */
const shownMax = 40;

export function positionsCommand(answering: Answering): Command {
  return new Command('positions')
    .description(
      'find where positions of groups lie behind a MirrorMaker 2 that you run, and write them there when told to',
    )
    .argument('<file>', 'the plan, YAML or JSON')
    .option('--commit', 'write them into the groups on the target, which must have no members')
    .action(answering(positions));
}

async function positions(terminal: Terminal, file: string, options: { readonly commit?: boolean }): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  const { runPositions } = await import('../../activities/foreground-positions.ts');
  using interrupt = interruptible();
  const { signal } = interrupt;
  const commit = options.commit === true;
  const found = await withSteps(
    (line) => terminal.progress(line),
    (onStep) => runPositions(plan, clusters, { commit, signal, onStep }),
  );
  const of = (kind: string) => found.filter((one) => one.class === kind);
  const [exact, replays, untranslatable] = [of('exact'), of('replays'), of('untranslatable')];
  const rows = [...untranslatable, ...replays, ...exact].slice(0, shownMax);
  const rest = found.length - rows.length;
  return {
    exitCode: exact.length === found.length ? exitCodes.done : exitCodes.failed,
    json: {
      name: plan.name,
      committed: commit,
      exact: exact.length,
      replays: replays.length,
      untranslatable: untranslatable.length,
      positions: found.map((one) => ({ ...one, committed: String(one.committed), written: String(one.written) })),
    },
    text: [
      `${count(found.length)} positions: ${count(exact.length)} exact, ${count(replays.length)} read records again, ${count(untranslatable.length)} untranslatable${commit ? '; written and read back' : ''}`,
      ...table(
        rows.map((one) => [
          printable(one.group),
          printable(`${one.topic}/${one.partition} ${one.committed}`),
          printable(`${one.targetTopic}/${one.partition} ${one.written}`),
          one.class === 'replays' ? `replays ${one.replays}` : one.class,
        ]),
      ),
      ...(rest > 0 ? [`${count(rest)} more with --json`] : []),
    ].join('\n'),
  };
}
