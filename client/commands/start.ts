import { Command } from 'commander';
import { byOption, sender } from '../sending.ts';
import type { Answer, Answering, Terminal } from '../terminal.ts';

interface StartOptions {
  readonly by?: string;
  readonly wait?: true;
  readonly watch?: true;
}

export function startCommand(answering: Answering): Command {
  return new Command('start')
    .description('start the migration that a plan describes')
    .argument('<file>', 'the plan, YAML or JSON')
    .addOption(byOption())
    .option('--wait', 'stay until it has ended; the exit code is then its outcome')
    .option('--watch', 'the same, and show the status on the screen meanwhile')
    .action(answering(start));
}

async function start(terminal: Terminal, file: string, options: StartOptions): Promise<Answer> {
  const { readPlanFile } = await import('../plan-file.ts');
  const { input, plan } = readPlanFile(file);
  const startedBy = options.by === undefined && plan.startedBy ? plan.startedBy : sender(options.by, terminal.env);

  const { CutoverClient } = await import('../cutover-client.ts');
  await using client = await CutoverClient.connect(terminal.env);
  const started = await client.start({ ...input, startedBy }, { ...plan, startedBy });
  const { name } = plan;
  const lines = [
    `started ${name} by ${startedBy}: workflow ${started.workflowId}, run ${started.runId}`,
    ...(started.uiUrl ? [`  ${started.uiUrl}`] : []),
    ...(started.workerSeen ? [] : ['  no worker is there yet: start one with kafka-cutover worker']),
  ];
  const json = { name, startedBy, ...started };
  if (!options.wait && !options.watch) {
    return { json, text: [...lines, `next: kafka-cutover status ${name} --watch`].join('\n') };
  }
  for (const line of lines) terminal.progress(line);
  const { followToTheEnd } = await import('../watching.ts');
  const ended = await followToTheEnd(terminal, client, name, { screen: options.watch === true });
  return { ...ended, json: { ...json, ...ended.json } };
}
