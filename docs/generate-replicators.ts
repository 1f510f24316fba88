/**
 * Writes docs/replicators.md: the tables from contract/replicators.ts and contract/replicator-facts.ts, what was measured from test/replicators/results, the
 * chapters around them from here: `node docs/generate-replicators.ts`. test/tidy.test.ts holds the document and the lists together.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { median } from '../bench/statistics.ts';
import { count } from '../client/units.ts';
import { type ReplicatorFacts, replicatorFacts } from '../contract/replicator-facts.ts';
import { type Capabilities, type ReplicatorKind, replicatorKinds } from '../contract/replicators.ts';
import type { CheckedRun, Checks } from '../test/replicators/checks.ts';
import type { Area } from '../test/replicators/checks-judge.ts';
import type { Large } from '../test/replicators/large.ts';
import type { KindOfMoves, Moves, Pauses } from '../test/replicators/moves.ts';
import type { Positions } from '../test/replicators/positions.ts';

const results = (name: string): URL => new URL(`../test/replicators/results/${name}.json`, import.meta.url);
const documentFile = new URL('./replicators.md', import.meta.url);
const kinds = Object.keys(replicatorKinds) as ReplicatorKind[];

export function renderReplicators(): string {
  const flags = kinds.map((kind) => {
    const flag: Capabilities = replicatorKinds[kind];
    const yes = (value: boolean) => (value ? 'yes' : 'no');
    const cells = [
      `\`${kind}\``,
      yes(flag.offsetIdentity),
      yes(flag.exactTranslation),
      yes(flag.reverse),
      flag.promotion,
    ];
    return row([...cells, flag.metadata.join(', ') || '-', flag.requires.join('; ') || '-']);
  });
  const tried = kinds.map((kind) => {
    const facts: ReplicatorFacts = replicatorFacts[kind];
    return row([`\`${kind}\``, facts.tried, facts.triedHow]);
  });
  return `${[
    '# Replicators',
    '',
    'What copies the records is a choice of the plan (`replicator.kind`). Ours keeps offsets; people who have another one already can move with it. The workflow',
    'asks for what a replicator can do, never for its name; what it cannot do here is a finding before anything starts (`REPLICATOR_CANNOT`), what stays a',
    'risk is a warning (`REPLICATOR_RISK`), what it gets wrong and we see to is told too (`REPLICATOR_LEAVES`). `kafka-cutover advise FILE` puts the tables below',
    'to your two clusters and says which one suits, and why.',
    '',
    'Generated from `contract/replicators.ts` and `contract/replicator-facts.ts` by `node docs/generate-replicators.ts`; do not edit by hand.',
    '',
    '## What each can do',
    '',
    row(['kind', 'same offsets', 'positions exact', 'way back', 'promotion', 'brings over by itself', 'needs']),
    row(Array.from({ length: 7 }, () => '---')),
    ...flags,
    '',
    '## What was tried, and what was not',
    '',
    '`real`: against the real system, in tests. `definition`: against a stand-in made of a published definition. `nothing`: what stands here is read, not seen.',
    '',
    row(['kind', 'tried', 'how']),
    row(['---', '---', '---']),
    ...tried,
    '',
    ...mirrorMaker,
    ...measured(),
    '## Each of them',
    '',
    ...kinds.flatMap((kind) => chapter(replicatorFacts[kind])),
  ]
    .join('\n')
    .trimEnd()}\n`;
}

const mirrorMaker = `## Moving with MirrorMaker 2

\`\`\`yaml
replicator:
  kind: mirrormaker2
  connect: onprem           # a Connect cluster of clusters.yaml (\`connects\`), or \`dedicated\`
  naming: identity          # \`prefixed\` is refused for a move, since applications ask for the old names; \`positions FILE\` takes it
  settings: {}              # passed through to the connectors, over our own; e.g. { tasks.max: "8" }
\`\`\`

On a Connect cluster we create its connectors, stopped and at a known place, and resume them; a task that fails is started again, five times in a row; at the
fence the one that copies is told to stop, and its end is awaited where no rule keeps it out; finalize, the end of a rollback and abort take connectors, their positions and MirrorMaker 2's own topics
away again (but for \`heartbeats\`, which has one name for all MirrorMakers). The logins are those of
\`forward\` and \`reverse\` in clusters.yaml: Connect stores them in its configuration, and shows them to whoever may read its REST API. The connectors
write under these logins, not the worker's (\`producer.override.*\`), so an ACL shuts them out at the switch; the worker must allow that
(\`connector.client.config.override.policy=All\`, Kafka's default since 3.0).

What it leaves or gets wrong is seen to: topics, settings, access rules and quotas are our own steps' matter; records are read committed; the values of headers are
left as they are (a Connect worker's default makes base64 of them); new partitions are looked for every 30 s instead of 10 minutes; the producer takes
records as large as the topics do; topics that its default filter leaves out (\`.replica\`, \`__\`) are copied.

**What is proven.** The audit walks both logs side by side, record by record: timestamp, key, value and headers must be the same, in the same order, partition by partition.
\`missing\`, \`reordered\` and \`foreign\` records stop the move (\`PARITY_FAILED\`); \`duplicated\` ones are counted (\`RECORDS_DUPLICATED\`). Drained means that
every record up to the boundary was found on the target, whatever lag its metrics show.

**Positions.** The walk leaves an anchor every thousand records, up to 256 a partition (then the newest 32, and 160 all over the log): two offsets that are the same record. A group's position is found by walking on from the
nearest anchor before it to the record that the group would read next, which is compared like all others. So a position is \`exact\` (that record is there), \`replays
N\` (it is not over there yet), or \`untranslatable\` (it is beyond the log's end, or its next record is missing). They are committed and read back by us; the
checkpoint connector writes none.

**The way back.** The boundary is known on both clusters, with other offsets. A second connector, from the target to the source, is created stopped, its positions set
to the boundary, and resumed: what came from the source is not carried back to it, so identity names do not loop. On the source the audit finds each record that it writes on
the target; one that is nowhere there is \`SOURCE_WRITTEN_AFTER_FENCE\`. Positions of groups go back along the same chain of anchors.

**Dedicated mode** (\`connect: dedicated\`). \`kafka-cutover replicator FILE\` prints the configuration of \`connect-mirror-maker.sh\`, with every secret as a variable of the
environment; people run it (tests do, with the file as it is printed). It copies under the login of \`forward\`, which prepare-target lets have its internal topics
(\`mm2-configs\`, \`mm2-offsets\`, \`mm2-status\`) and its group. By itself a dedicated process also runs a Connect cluster for the other direction, with topics on the source, for
heartbeats alone: that is switched off. At the switch it is shut out by its rights alone, and nothing can be carried back: \`rollback.reverseMirror: false\` is wanted.

**Limits.** A look at connectors a second; five restarts in a row, 1 s to 30 s apart; 60 s for a state that was asked for, or while Connect rebalances; a duplicate
is known by the last 1,024 to 65,536 records before it (4 million over all partitions), else it counts as foreign; a record that does not come next is looked for
100,000 records ahead.
`.split('\n');

const runNames: Readonly<Record<string, string>> = {
  'mirrormaker2 alone':
    'MirrorMaker 2 alone: a dedicated process with identity names and `sync.group.offsets.enabled`, else as it comes',
  'mirrormaker2 closed': 'MirrorMaker 2 in a move of ours, to its end',
  'exact alone': '`exact` alone: `kafka-cutover mirror FILE`',
  'exact closed': '`exact` in a move, to its end',
  'bridge alone': '`bridge` alone, without a module, over topics created by hand',
  'bridge closed': '`bridge`, with our steps for topics, rules and settings around it, and positions by its map',
};

/** What `npm run test:replicators` has found; a part that was not run yet is left out. */
function measured(): string[] {
  return [
    '## Measured',
    '',
    'By `npm run test:replicators`, results in `test/replicators/results/`; two shared cores, so figures of time are coarse and compare only with each other.',
    '',
    ...part<Checks>('checks', aboutChecks),
    ...part<Moves>('moves', aboutMoves),
    ...part<Positions>('positions', aboutPositions),
    ...part<Large>('large', aboutLarge),
  ];
}

function part<Result>(name: string, told: (result: Result) => string[]): string[] {
  const file = results(name);
  return existsSync(file) ? told(JSON.parse(readFileSync(file, 'utf8')) as Result) : [];
}

function aboutChecks({ of, areas, runs }: Checks): string[] {
  const columns = Object.entries(areas) as [Area, number][];
  const nameOf = ({ kind, closing }: CheckedRun) => runNames[`${kind} ${closing ? 'closed' : 'alone'}`] ?? kind;
  return [
    `**One set of checks for all**: ${count(of)}, on real brokers, three a cluster, judged by Apache's own consumer and by what the brokers say. Records: as many, in`,
    'order, keys, values, headers, timestamps, who stamped them, codecs, what `read_uncommitted` sees. Positions: a group goes on at the very record, wherever it stood, and',
    'keeps its metadata. Topics: partitions, replication factor, settings. Access: rules of many kinds, quotas, users (of three, `clusters.yaml` knows the passwords of two). What by',
    'its nature cannot hold counts as failed.',
    '',
    row(['', ...columns.map(([area, count]) => `${area} (${count})`), `all (${of})`]),
    row(Array.from({ length: columns.length + 2 }, () => '---')),
    ...runs.map((run) =>
      row([nameOf(run), ...columns.map(([area]) => `${run.passedByArea[area]}`), `**${run.passed}**`]),
    ),
    '',
    'What failed:',
    '',
    ...runs.map((run) => `- ${nameOf(run)}: ${failures(run.failed)}.`),
    '',
  ];
}

function aboutMoves({ runs, kinds: { mirrormaker2, exact } }: Moves): string[] {
  return [
    `**Whole moves, there and back**, under two producers and two groups that never stop; ${runs} runs of each, in turn. Pauses are from the last acknowledgement of one`,
    'cluster to the first of the other, of the partition that waited longest: the median, with the least and the most. The very first run, approved while a cold Connect worker',
    'had only just begun to copy, is the most. The machine was busy with other work.',
    '',
    row(['', 'records', 'lost', 'duplicated', 'reordered', 'write pause there', 'write pause back']),
    row(Array.from({ length: 7 }, () => '---')),
    moved('MirrorMaker 2', mirrormaker2),
    moved('`exact`', exact),
    '',
    `Parts of MirrorMaker 2's pause, medians in ms: there ${phases(mirrormaker2.there)}; back ${phases(mirrormaker2.back)}. Nobody waits for Connect: where every`,
    'broker shows a rule against its login it is told to stop, and what it wrote after the boundary would stop the opening decision (`TARGET_DIVERGED`).',
    '',
  ];
}

function aboutPositions({ positions, records, mirrorMakersOwn: own, ours }: Positions): string[] {
  const share = ((100 * own.exact) / positions).toFixed(1);
  const each = Math.round(own.repeated / Math.max(1, own.behind));
  return [
    `**Positions of lagging groups**: ${count(positions)} over eight partitions of ${count(records)} records with transactions, aborts and a head that was cut away.`,
    `MirrorMaker 2's own checkpoints: ${count(own.exact)} exact (${share} %), ${count(own.behind)} behind, ${count(each)} offsets each on average. Ours: ${count(ours.exact)} exact, in ${seconds(ours.ms)}.`,
    '',
  ];
}

function aboutLarge({ partitions, records, walkMs, drainMs, nearTheEnd, allOver }: Large): string[] {
  return [
    `**Large logs**: ${partitions} partitions of ${count(records)} records each. Both logs compared whole in ${seconds(walkMs)}; at the fence, going on from what is stored, in ${count(drainMs)} ms.`,
    `${count(nearTheEnd.positions)} positions near the end: ${count(nearTheEnd.exact)} exact in ${seconds(nearTheEnd.ms)}; as many all over the log: ${count(allOver.exact)} exact in ${seconds(allOver.ms)}.`,
    'MirrorMaker 2 keeps 64 syncs a partition, about a hundred records apart at the end and ever further back; our anchors lie closer than those but for the last',
    'thousands of records, so nothing would be gained by them.',
    '',
  ];
}

function moved(name: string, kind: KindOfMoves): string {
  const pause = ({ ms }: Pauses) => `${count(median(ms))} ms (${count(Math.min(...ms))} to ${count(Math.max(...ms))})`;
  const { records, lost, duplicated, reordered, there, back } = kind;
  return row([name, count(records), `${lost}`, `${duplicated}`, `${reordered}`, pause(there), pause(back)]);
}

const phases = ({ phases }: Pauses) =>
  Object.entries(phases)
    .map(([name, ms]) => `${name} ${ms}`)
    .join(', ');
const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;

const placesShown = 4;

/** By what was checked, and where: the list itself is in the results. */
function failures(failed: readonly string[]): string {
  const split = failed.map((name) => {
    const at = name.search(/: \S/);
    if (at >= 0) return { place: name.slice(0, at).replaceAll('*.', ''), what: name.slice(at + 2) };
    return { place: '', what: /^user /.test(name) ? 'users may log in' : 'access rules' };
  });
  return [
    ...Map.groupBy(split, ({ what }) =>
      what.replace(/=.*|^still compressed with .*/, (found) => (found.startsWith('=') ? '' : 'codecs')),
    ),
  ]
    .map(([what, all]) => {
      const places = [...new Set(all.map(({ place }) => place))];
      const where = places.length > placesShown || places[0] === '' ? `${all.length}` : places.join(', ');
      return `${what} (${where})`;
    })
    .join('; ');
}

function chapter(facts: ReplicatorFacts): string[] {
  const list = (title: string, lines: readonly string[]) => [`${title}:`, ...lines.map((line) => `- ${line}`), ''];
  return [
    `### ${facts.title}`,
    '',
    ...list('Keeps', facts.keeps),
    ...list('Risks', facts.risks),
    row(['who runs it', 'scales', 'upgrades', 'debugs', 'RPO', 'RTO']),
    row(Array.from({ length: 6 }, () => '---')),
    row([facts.runs, facts.scales, facts.upgrades, facts.debugs, facts.rpo, facts.rto]),
    '',
    `Limits: ${facts.limits.join('; ')}.`,
    '',
    `Sources: ${facts.sources.join('; ')}.`,
    '',
  ];
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

if (import.meta.main) writeFileSync(documentFile, renderReplicators());
