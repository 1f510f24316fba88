import { Command } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import type { Plan } from '../../contract/plan.ts';
import type { ClustersFile } from '../../kafka/clusters.ts';
import type { PositionClass } from '../../migration/groups.ts';
import { exitCodes } from '../exit-codes.ts';
import { interruptible } from '../interrupt.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import { table } from '../table.ts';
import type { Answering } from '../terminal.ts';
import { type Answer, printable, type Terminal } from '../terminal.ts';
import { count } from '../units.ts';
import { withSteps } from './plan.ts';

/** More than this are in `--json` only; those that are not exact come first. */
const shownMax = 40;

export function positionsCommand(answering: Answering): Command {
  return new Command('positions')
    .description(
      'find where positions of groups lie behind a MirrorMaker 2 or a bridge that you run, and write them there when told to',
    )
    .argument('<file>', 'the plan, YAML or JSON')
    .option('--commit', 'write them into the groups on the target, which must have no members')
    .option('--back', 'behind a bridge: from the target back to the source')
    .action(answering(positions));
}

interface PositionsOptions {
  readonly commit?: boolean;
  readonly back?: boolean;
}

async function positions(terminal: Terminal, file: string, options: PositionsOptions): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  if (plan.replicator.kind === 'bridge') return behindBridge(terminal, plan, clusters, options);
  if (options.back) {
    throw new CutoverError('USAGE', {
      what: '--back follows the map of a bridge',
      where: 'plan replicator.kind',
      found: plan.replicator.kind,
      wanted: 'bridge',
    });
  }
  const { runPositions } = await import('../../activities/foreground-positions.ts');
  using interrupt = interruptible();
  const { signal } = interrupt;
  const commit = options.commit === true;
  const found = await withSteps(
    (line) => terminal.progress(line),
    (onStep) => runPositions(plan, clusters, { commit, signal, onStep }),
  );
  const { exitCode, counts, head, rows, more } = summed(found, commit);
  return {
    exitCode,
    json: {
      name: plan.name,
      committed: commit,
      ...counts,
      positions: found.map((one) => ({ ...one, committed: String(one.committed), written: String(one.written) })),
    },
    text: [
      head,
      ...table(
        rows.map((one) => [
          printable(one.group),
          printable(`${one.topic}/${one.partition} ${one.committed}`),
          printable(`${one.targetTopic}/${one.partition} ${one.written}`),
          classOf(one),
        ]),
      ),
      ...more,
    ].join('\n'),
  };
}

async function behindBridge(
  terminal: Terminal,
  plan: Plan,
  clusters: ClustersFile,
  { commit = false, back = false }: PositionsOptions,
): Promise<Answer> {
  const { runBridgePositions } = await import('../../activities/foreground-bridge.ts');
  using interrupt = interruptible();
  const { signal } = interrupt;
  const { positions: found, deadLetters } = await withSteps(
    (line) => terminal.progress(line),
    (onStep) => runBridgePositions(plan, clusters, { back, commit, signal, onStep }),
  );
  const { exitCode, counts, head, rows, more } = summed(found, commit);
  const came = (from: Readonly<Record<string, bigint | null>>) =>
    Object.entries(from).map(([key, at]) => `${key} ${at ?? 'no position'}`);
  return {
    exitCode,
    json: {
      name: plan.name,
      committed: commit,
      direction: back ? 'reverse' : 'forward',
      ...counts,
      deadLetters,
      positions: found.map((one) => ({
        ...one,
        written: String(one.written),
        from: Object.fromEntries(Object.entries(one.from).map(([key, at]) => [key, at === null ? null : String(at)])),
      })),
    },
    text: [
      head,
      ...table(
        rows.map((one) => [
          printable(one.group),
          printable(`${one.topic}/${one.partition} ${one.written}`),
          classOf(one),
          printable(came(one.from).join(', ')),
        ]),
      ),
      ...more,
      ...Object.entries(deadLetters).map(([group, records]) =>
        printable(`group ${group} has not read ${count(records)} records that lie in the dead-letter topic`),
      ),
    ].join('\n'),
  };
}

interface Classed {
  readonly class: PositionClass;
  readonly replays: number;
}

/** Worst first, and no more than people read. */
function summed<Found extends Classed>(found: readonly Found[], commit: boolean) {
  const of = (kind: PositionClass) => found.filter((one) => one.class === kind);
  const [exact, replays, untranslatable] = [of('exact'), of('replays'), of('untranslatable')];
  const rows = [...untranslatable, ...replays, ...exact].slice(0, shownMax);
  const rest = found.length - rows.length;
  return {
    exitCode: exact.length === found.length ? exitCodes.done : exitCodes.failed,
    counts: { exact: exact.length, replays: replays.length, untranslatable: untranslatable.length },
    head: `${count(found.length)} positions: ${count(exact.length)} exact, ${count(replays.length)} read records again, ${count(untranslatable.length)} untranslatable${commit ? '; written and read back' : ''}`,
    rows,
    more: rest > 0 ? [`${count(rest)} more with --json`] : [],
  };
}

const classOf = (one: Classed) => (one.class === 'replays' ? `replays ${one.replays}` : one.class);
