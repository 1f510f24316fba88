/**
 * Writes docs/replicators.md: the tables from contract/replicators.ts and contract/replicator-facts.ts, the chapters around them from here:
 * `node docs/generate-replicators.ts`. test/tidy.test.ts holds the document and the lists together.
 */
import { writeFileSync } from 'node:fs';
import { type ReplicatorFacts, replicatorFacts } from '../contract/replicator-facts.ts';
import { type Capabilities, type ReplicatorKind, replicatorKinds } from '../contract/replicators.ts';

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

On a Connect cluster we create its connectors, stopped and at a known place, and resume them; a task that fails is started again, five times in a row; \`stop\`
at the fence is awaited; finalize, the end of a rollback and abort take connectors, their positions and MirrorMaker 2's own topics
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

**Positions.** The walk leaves an anchor every thousand records, up to 256 a partition: two offsets that are the same record. A group's position is found by walking on from the
nearest anchor before it to the record that the group would read next, which is compared like all others. So a position is \`exact\` (that record is there), \`replays
N\` (it is not over there yet), or \`untranslatable\` (it is beyond the log's end, or its next record is missing). They are committed and read back by us; the
checkpoint connector writes none.

Measured (\`npm run test:replicators\`, result in \`test/replicators/results/positions.json\`; two shared cores, one broker a cluster): 4,000 positions of 500 groups that lag
over eight partitions of 5,000 records with transactions, aborts and a head that was cut away. MirrorMaker 2's own checkpoints: 35 exact (0.9 %), all others behind, 900 offsets
each on average. Ours: 4,000 exact, found in 2.7 s. Apache's own consumer was the judge.

**The way back.** The boundary is known on both clusters, with other offsets. A second connector, from the target to the source, is created stopped, its positions set
to the boundary, and resumed: what came from the source is not carried back to it, so identity names do not loop. On the source the audit finds each record that it writes on
the target; one that is nowhere there is \`SOURCE_WRITTEN_AFTER_FENCE\`. Positions of groups go back along the same chain of anchors.

**Dedicated mode** (\`connect: dedicated\`). \`kafka-cutover replicator FILE\` prints the configuration of \`connect-mirror-maker.sh\`, with every secret as a variable of the
environment; people run it. At the switch it is shut out by its rights alone, and nothing can be carried back: \`rollback.reverseMirror: false\` is wanted.

**Limits.** A look at connectors a second; five restarts in a row, 1 s to 30 s apart; 60 s for a state that was asked for, or while Connect rebalances; a duplicate
is known by the last 1,024 to 65,536 records before it (4 million over all partitions), else it counts as foreign; a record that does not come next is looked for
100,000 records ahead.
`.split('\n');

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
