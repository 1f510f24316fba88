import { Command, Option } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import { interruptible } from '../interrupt.ts';
import type { Answer, Answering, Terminal } from '../terminal.ts';

const dirDefault = '.kafka-cutover/stack';

interface UpOptions {
  readonly brokers: '1' | '3';
  readonly dir: string;
}

export function stackCommand(answering: Answering): Command {
  const dir = () => new Option('--dir <dir>', 'where it keeps its data, logs and addresses').default(dirDefault);
  return new Command('stack')
    .description('a local playground: two real Kafka clusters and a Temporal dev server, without Docker')
    .addCommand(
      new Command('up')
        .description('start it and leave it running')
        .addOption(new Option('--brokers <count>', 'brokers per cluster').choices(['1', '3']).default('1'))
        .addOption(dir())
        .action(answering(up)),
    )
    .addCommand(new Command('down').description('stop it').addOption(dir()).action(answering(down)));
}

async function up(terminal: Terminal, { brokers, dir }: UpOptions): Promise<Answer> {
  const { startStack } = await import('../../stack/stack.ts');
  using interrupt = interruptible();
  const stack = await startStack({
    dir,
    brokers: brokers === '3' ? 3 : 1,
    environment: terminal.env,
    signal: interrupt.signal,
    onProgress: (line) => terminal.progress(line),
  }).catch((error) => {
    if (!interrupt.signal.aborted) throw error;
    throw new CutoverError(
      'STACK_UNAVAILABLE',
      { what: 'interrupted while it started; what ran already was ended', where: dir, next: 'Start it again.' },
      { cause: error },
    );
  });
  const { source, target, temporal, env, clustersFile } = stack;
  const addresses = {
    source: source?.bootstrap ?? terminal.env.KAFKA_CUTOVER_STACK_SOURCE ?? null,
    target: target?.bootstrap ?? terminal.env.KAFKA_CUTOVER_STACK_TARGET ?? null,
    temporal: temporal?.address ?? null,
    ui: temporal?.uiUrl ?? null,
  };
  const down = `kafka-cutover stack down${dir === dirDefault ? '' : ` --dir ${dir}`}`;
  return {
    json: { dir: stack.dir, ...addresses, clustersFile, env: `${stack.dir}/env`, variables: Object.keys(env) },
    text: [
      `source    ${addresses.source}`,
      `target    ${addresses.target}`,
      `temporal  ${addresses.temporal}`,
      ...(addresses.ui ? [`UI        ${addresses.ui}`] : []),
      '',
      'next:',
      `  . ${stack.dir}/env`,
      '  kafka-cutover worker &',
      '  kafka-cutover plan PLAN.yaml      (clusters: legacy, next)',
      '  kafka-cutover start PLAN.yaml --wait',
      `  ${down}`,
    ].join('\n'),
  };
}

async function down(_terminal: Terminal, { dir }: { readonly dir: string }): Promise<Answer> {
  const { stopStack } = await import('../../stack/stack.ts');
  await stopStack(dir);
  return { json: { dir, stopped: true }, text: `stopped what ran in ${dir}` };
}
