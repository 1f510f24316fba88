import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Command, Option } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import type { ClustersFile } from '../../kafka/clusters.ts';
import { clustersText, type NewCluster, passwordVariable, planText, type Seen, seenText } from '../init-files.ts';
import type { Answer, Answering, Terminal } from '../terminal.ts';

const mechanisms = ['plain', 'scram-sha-256', 'scram-sha-512'];
const mechanismDefault = 'scram-sha-512';

interface InitOptions {
  readonly name?: string;
  readonly source?: string;
  readonly target?: string;
  readonly sourceBootstrap?: string;
  readonly targetBootstrap?: string;
  readonly sourceUser?: string;
  readonly targetUser?: string;
  readonly mechanism?: string;
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
      new Option('--mechanism <mechanism>', `of these logins (default: ${mechanismDefault})`).choices(mechanisms),
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
  const target = await asking.ask('--target', 'Name of the cluster that is moved to', options.target, 'next', (name) =>
    name === source ? 'wanted another cluster than the source' : null,
  );
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
  const fileOf = (name: string) => join(options.out, `${name}.yaml`);
  const isTaken = (name: string) => existsSync(fileOf(name)) && !options.force;
  const name = await asking.ask('--name', 'Name of the plan', options.name, 'move', (name) => {
    if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(name)) return 'wanted small letters, digits and hyphens';
    return isTaken(name) ? `${fileOf(name)} is there already` : null;
  });
  const planFile = fileOf(name);
  if (isTaken(name)) {
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
  const pattern = 'Topics to move (a regular expression)';
  const topics = await asking.ask('--topics', pattern, options.topics, '.*', wrongPattern);
  const groups = options.groups ?? null;
  // Checked before anything is written, and before names are matched with it.
  const unseen = planText({ name, source, target, topics, groups, seen: null });
  const plan = parsePlan(parse(unseen), planFile);
  const seen: Seen | null = look?.seen(plan) ?? null;
  files.push([planFile, seen ? planText({ name, source, target, topics, groups, seen }) : unseen]);
  for (const [file, content] of files) write(file, content);
  const written = files.map(([file]) => file);
  if (seen?.topics === 0) notes.push(`no topic of ${source} matches ${topics}`);
  const unset = clusters === null ? [] : asking.variables.filter((variable) => !terminal.env[variable]);
  return {
    json: { name, written, seen, notes },
    text: [
      ...written.map((file) => `written: ${file}`),
      ...(seen ? [seenText(seen)] : []),
      ...notes.map((note) => `note: ${note}`),
      `next: ${unset.length > 0 ? `set ${unset.join(' and ')}, then ` : ''}kafka-cutover plan ${planFile}`,
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
  const { isAddress } = await import('../../kafka/clusters.ts');
  const wrongAddresses = (text: string) => {
    const wrong = text.split(',').find((address) => !isAddress(address.trim()));
    return wrong === undefined ? null : `${JSON.stringify(wrong)} is no address: wanted host:port`;
  };
  const where = `Addresses of ${name} (host:port,...)`;
  const bootstrap = await asking.ask(`--${side}-bootstrap`, where, addresses, undefined, wrongAddresses);
  const tls = options.tls ?? (await asking.yes(`Are connections to ${name} encrypted (TLS)?`));
  const given = side === 'source' ? options.sourceUser : options.targetUser;
  const user = given ?? (await asking.offer(`User to log in to ${name} as (empty: no login)`));
  if (!user) return { name, bootstrap, user: null, mechanism: mechanismDefault, tls };
  const mechanism =
    options.mechanism ?? (await asking.choose(`How (${mechanisms.join(', ')})`, mechanisms, mechanismDefault));
  asking.password(passwordVariable(name));
  return { name, bootstrap, user, mechanism, tls };
}

function wrongPattern(text: string): string | null {
  try {
    new RegExp(text);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
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

  /** Variables that passwords are read from. */
  readonly variables: string[] = [];

  say(line: string): void {
    if (this.#lines) this.#terminal.progress(line);
  }

  password(variable: string): void {
    this.variables.push(variable);
    const unset = this.#terminal.env[variable] ? '' : ', which is not set: the clusters will not be looked at now';
    this.say(`  its password is read from the environment: ${variable}${unset}`);
  }

  /**
   * A person is asked again until the answer is one; what was given as an option is checked with the files that are made of it.
   *
   * @param wrong why an answer is none, or null
   * @throws CutoverError USAGE where nobody can be asked, or the person has had enough
   */
  async ask(
    option: string,
    question: string,
    given: string | undefined,
    usual?: string,
    wrong: (answer: string) => string | null = () => null,
  ): Promise<string> {
    if (given !== undefined) return given;
    if (!this.#lines) {
      throw new CutoverError('USAGE', { what: 'not said, and nobody to ask', where: 'init', wanted: option });
    }
    for (;;) {
      const answer = (await this.offer(`${question}${usual === undefined ? '' : ` [${usual}]`}`)) || usual;
      const why = answer === undefined ? 'wanted an answer' : wrong(answer);
      if (answer !== undefined && why === null) return answer;
      this.say(`  ${why}`);
    }
  }

  async choose(question: string, choices: readonly string[], usual: string): Promise<string> {
    if (!this.#lines) return usual;
    return this.ask('', question, undefined, usual, (answer) =>
      choices.includes(answer) ? null : `wanted one of ${choices.join(', ')}`,
    );
  }

  async yes(question: string): Promise<boolean> {
    return /^y/i.test(await this.choose(`${question} yes or no`, ['yes', 'no', 'y', 'n'], 'no'));
  }

  /** What may be left empty. */
  async offer(question: string): Promise<string> {
    try {
      return (await this.#lines?.question(`${question}: `))?.trim() ?? '';
    } catch (cause) {
      if ((cause as Error).name !== 'AbortError') throw cause;
      this.#terminal.progress('');
      throw new CutoverError(
        'USAGE',
        { what: 'stopped before everything was said', next: 'Nothing was written. Run `kafka-cutover init` again.' },
        { cause },
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lines?.close();
  }
}
