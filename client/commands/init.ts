import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Command, Option } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import type { ClustersFile } from '../../kafka/clusters.ts';
import type { Answering } from '../cli.ts';
import { clustersText, type NewCluster, passwordVariable, planText, type Seen } from '../init-files.ts';
import type { Answer, Terminal } from '../terminal.ts';

interface InitOptions {
  readonly name?: string;
  readonly source?: string;
  readonly target?: string;
  readonly sourceBootstrap?: string;
  readonly targetBootstrap?: string;
  readonly sourceUser?: string;
  readonly targetUser?: string;
  readonly mechanism: string;
  readonly tls?: true;
  readonly topics?: string;
  readonly groups?: string;
  readonly out: string;
  readonly force?: true;
}

export function initCommand(answering: Answering): Command {
  return new Command('init')
    .description(
      'look at both clusters and write a plan and, where there is none, clusters.yaml; asks for what is not given',
    )
    .option('--name <name>', 'of the plan')
    .option('--source <name>', 'of the cluster that is left, in clusters.yaml')
    .option('--target <name>', 'of the cluster that is moved to, in clusters.yaml')
    .option('--source-bootstrap <addresses>', 'host:port[,host:port], where clusters.yaml does not have it')
    .option('--target-bootstrap <addresses>', 'the same')
    .option('--source-user <user>', 'login at the source (SASL); the password is read from the environment')
    .option('--target-user <user>', 'login at the target')
    .addOption(
      new Option('--mechanism <mechanism>', 'of these logins')
        .choices(['plain', 'scram-sha-256', 'scram-sha-512'])
        .default('scram-sha-512'),
    )
    .option('--tls', 'connections are encrypted')
    .option('--topics <pattern>', 'JavaScript regular expression that matches whole names of topics')
    .option('--groups <pattern>', 'of groups (default: those with positions on the topics)')
    .option('--out <folder>', 'where to write', '.')
    .option('--force', 'write over a plan that is there')
    .action(answering(init));
}

async function init(terminal: Terminal, options: InitOptions): Promise<Answer> {
  await using asking = new Asking(terminal);
  const clustersFile = terminal.env.KAFKA_CUTOVER_CLUSTERS || join(options.out, 'clusters.yaml');
  const source = await asking.ask('--source', 'Name of the cluster that is left', options.source, 'legacy');
  const target = await asking.ask('--target', 'Name of the cluster that is moved to', options.target, 'next');
  const files: [string, string][] = [];
  let clusters: string | null = null;
  if (!existsSync(clustersFile)) {
    const added = [
      await newCluster(asking, source, 'source', options),
      await newCluster(asking, target, 'target', options),
    ];
    clusters = clustersText(added);
    files.push([clustersFile, clusters]);
  }
  const name = await asking.ask('--name', 'Name of the plan', options.name, 'move');
  const planFile = join(options.out, `${name}.yaml`);
  if (existsSync(planFile) && !options.force) {
    throw new CutoverError('USAGE', {
      what: 'there is a plan of that name already',
      where: planFile,
      wanted: 'another --name, or --force to write over it',
    });
  }
  const [{ looking, topicNames }, { parsePlan }, { parse }] = await Promise.all([
    import('../looking.ts'),
    import('../../contract/plan.ts'),
    import('yaml'),
  ]);
  const notes: string[] = [];
  const look = await looking(() => known(clustersFile, clusters, terminal.env), source, target, notes);
  if (look) for (const line of topicNames(look)) asking.say(line);
  const topics = await asking.ask('--topics', 'Topics to move (a regular expression)', options.topics, '.*');
  const groups = options.groups ?? null;
  // Checked before anything is written, and before names are matched with it.
  const unseen = planText({ name, source, target, topics, groups, seen: null });
  const plan = parsePlan(parse(unseen), planFile);
  const seen: Seen | null = look?.seen(plan) ?? null;
  files.push([planFile, seen ? planText({ name, source, target, topics, groups, seen }) : unseen]);
  for (const [file, content] of files) write(file, content);
  const written = files.map(([file]) => file);
  return {
    json: { name, written, seen, notes },
    text: [
      ...written.map((file) => `written: ${file}`),
      ...(seen ? [`${seen.topics} topics with ${seen.partitions} partitions, ${seen.groups.length} groups`] : []),
      ...notes.map((note) => `note: ${note}`),
      `next: kafka-cutover plan ${planFile}`,
    ].join('\n'),
  };
}

async function known(path: string, text: string | null, env: NodeJS.ProcessEnv): Promise<ClustersFile> {
  const { parseClusters, readClusters } = await import('../../kafka/clusters.ts');
  return text === null ? readClusters(path, env) : parseClusters(text, path, env);
}

async function newCluster(
  asking: Asking,
  name: string,
  side: 'source' | 'target',
  options: InitOptions,
): Promise<NewCluster> {
  const addresses = side === 'source' ? options.sourceBootstrap : options.targetBootstrap;
  const bootstrap = await asking.ask(`--${side}-bootstrap`, `Addresses of ${name} (host:port,...)`, addresses);
  const given = side === 'source' ? options.sourceUser : options.targetUser;
  const user = given ?? (await asking.offer(`User to log in to ${name} as (empty: no login)`));
  if (user) asking.say(`  its password is read from the environment: ${passwordVariable(name)}`);
  const { mechanism, tls = false } = options;
  return { name, bootstrap, user: user || null, mechanism, tls };
}

function write(file: string, content: string): void {
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
  } catch (cause) {
    const found = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new CutoverError('USAGE', { what: 'cannot write', where: file, found }, { cause });
  }
}

/** Asks a person on a terminal; without one whatever is missing is a mistake that names the option. */
class Asking implements AsyncDisposable {
  readonly #terminal: Terminal;
  readonly #lines: ReturnType<typeof createInterface> | null;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    const person = process.stdin.isTTY === true && !terminal.json;
    this.#lines = person ? createInterface({ input: process.stdin, output: process.stderr }) : null;
  }

  say(line: string): void {
    if (this.#lines) this.#terminal.progress(line);
  }

  /** @throws CutoverError USAGE where nobody can be asked and there is no usual answer */
  async ask(option: string, question: string, given: string | undefined, usual?: string): Promise<string> {
    if (given !== undefined) return given;
    const answer = await this.offer(`${question}${usual === undefined ? '' : ` [${usual}]`}`);
    if (answer) return answer;
    if (usual !== undefined && this.#lines) return usual;
    throw new CutoverError('USAGE', { what: 'not said, and nobody to ask', where: 'init', wanted: option });
  }

  /** What may be left empty. */
  async offer(question: string): Promise<string> {
    return (await this.#lines?.question(`${question}: `))?.trim() ?? '';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lines?.close();
  }
}
