import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import type { Answering } from '../cli.ts';
import { type Answer, type Terminal, toJson } from '../terminal.ts';

export function reportCommand(answering: Answering): Command {
  return new Command('report')
    .description('what was done, decided and proven so far, as JSON')
    .argument('<name>', "the plan's name")
    .option('--out <file>', 'write it there instead of to stdout')
    .action(answering(report));
}

async function report(terminal: Terminal, name: string, options: { readonly out?: string }): Promise<Answer> {
  const { CutoverClient } = await import('../cutover-client.ts');
  await using client = await CutoverClient.connect(terminal.env);
  const observation = await client.observe(name);
  const evidence = await client.evidence(name);
  const { status, note, ending, runId } = observation;
  const document = {
    name,
    runId,
    at: new Date().toISOString(),
    outcome: ending?.outcome ?? null,
    evidence,
    status,
    note,
  };
  const text = JSON.stringify(JSON.parse(toJson(document)), null, 2);
  if (!options.out) return { json: document, text };
  try {
    writeFileSync(options.out, `${text}\n`);
  } catch (cause) {
    const found = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new CutoverError('USAGE', { what: 'cannot write the report', where: options.out, found }, { cause });
  }
  return { json: { ...document, out: options.out }, text: `report of ${name}: ${options.out}` };
}
