import { Command } from 'commander';
import type { Plan } from '../../contract/plan.ts';
import { capabilitiesOf } from '../../contract/replicators.ts';
import type { Right } from '../../migration/least-rights.ts';
import { readPlanAndClusters } from '../plan-and-clusters.ts';
import { table } from '../table.ts';
import type { Answering } from '../terminal.ts';
import { type Answer, printable, type Terminal } from '../terminal.ts';

export function aclsCommand(answering: Answering): Command {
  return new Command('acls')
    .description('list the least rights that a plan needs on both clusters, also as kafka-acls.sh commands')
    .argument('<file>', 'the plan, YAML or JSON')
    .action(answering(acls));
}

/** Reads no cluster: whoever asks may not log in yet. */
async function acls(terminal: Terminal, file: string): Promise<Answer> {
  const { plan, clusters } = await readPlanAndClusters(file, terminal.env);
  const { leastRights } = await import('../../migration/least-rights.ts');
  const configs = { source: clusters.cluster(plan.source), target: clusters.cluster(plan.target) };
  const rights = leastRights(plan, configs);
  const sides = (['source', 'target'] as const).map((side) => {
    const mine = rights.filter((right) => right.side === side);
    const { name, bootstrap } = configs[side];
    const commands = mine
      .filter(({ granted }) => granted === 'by you')
      .map((right) => kafkaAcls(bootstrap.join(','), right));
    return { side, cluster: name, rights: mine, commands };
  });
  const notes = notesOf(plan);
  const paint = terminal.paint();
  return {
    json: { name: plan.name, sides, notes },
    text: [
      ...sides.flatMap(({ side, cluster, rights: mine, commands }) => [
        paint('bold', `${cluster} (${side})`),
        ...table(
          mine.map((right) => [
            `  ${printable(right.principal)}`,
            printable(resourceText(right)),
            right.operations.map((operation) => operation.toUpperCase().replaceAll('-', '_')).join(', '),
            `${right.why}${right.granted === 'by you' ? '' : ' (granted by prepare-target)'}`,
          ]),
        ),
        '',
        ...commands.map((command) => printable(command)),
        '',
      ]),
      ...notes.map((note) => `- ${note}`),
    ].join('\n'),
  };
}

function notesOf(plan: Plan): string[] {
  return [
    'Where allow.everyone.if.no.acl.found is true, the first rule on a topic, group or id closes it for everybody whom no rule names: let the applications in by rules first.',
    ...(plan.topics.exclude.length > 0 || (plan.groups?.exclude.length ?? 0) > 0
      ? ['Rules know no exceptions: what the plan excludes is covered where it begins like what it includes.']
      : []),
    ...(capabilitiesOf(plan).ourProducers
      ? []
      : [`What ${plan.replicator.kind} itself needs of the clusters is for its own documentation.`]),
    'ALTER on the cluster is the right to change access rules, which no fence is made without: who has this login can grant itself everything.',
  ];
}

function resourceText({ resource: { type, pattern, name } }: Right): string {
  if (type === 'cluster') return 'cluster';
  if (name === '*') return `every ${type}`;
  return `${type}${pattern === 'prefixed' ? 's that begin with' : ''} ${name}`;
}

/** One line of Apache's own tool. */
function kafkaAcls(bootstrap: string, { principal, resource: { type, pattern, name }, operations }: Right): string {
  const operation = (word: string) => word.replace(/(^|-)(\w)/g, (_, _dash, letter: string) => letter.toUpperCase());
  return [
    `kafka-acls.sh --bootstrap-server ${quoted(bootstrap)} --command-config admin.properties --add`,
    `--allow-principal ${quoted(principal)}`,
    ...operations.map((one) => `--operation ${operation(one)}`),
    type === 'cluster' ? '--cluster' : `--${type} ${quoted(name)}`,
    ...(pattern === 'prefixed' ? ['--resource-pattern-type prefixed'] : []),
  ].join(' ');
}

function quoted(text: string): string {
  return /^[\w.:,=@/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
