import { writeFileSync } from 'node:fs';
import { extname } from 'node:path';
import { Command } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import type { Answer, Answering, Terminal } from '../terminal.ts';
import { bytes } from '../units.ts';

export function reportCommand(answering: Answering): Command {
  return new Command('report')
    .description('what was done, decided and proven; also from the clusters alone, without Temporal')
    .argument('<name>', "the plan's name")
    .option(
      '--out <file>',
      'write it there: .html for one page that needs nothing else, .json for all that it is made of',
    )
    .action(answering(report));
}

async function report(terminal: Terminal, name: string, options: { readonly out?: string }): Promise<Answer> {
  const { out } = options;
  const kind = out === undefined ? 'json' : kindOf(out);
  const { asJson, readReport } = await import('../report/read.ts');
  const document = await readReport(terminal.env, name);
  const json = { ...document };
  const text =
    kind === 'html'
      ? (await import('../report/page.ts')).reportPage(asJson(document))
      : JSON.stringify(asJson(document), null, 2);
  if (out === undefined) return { json, text };
  try {
    writeFileSync(out, `${text}\n`);
  } catch (cause) {
    const found = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new CutoverError('USAGE', { what: 'cannot write the report', where: out, found }, { cause });
  }
  return { json: { ...json, out }, text: `report of ${name}: ${out} (${bytes(Buffer.byteLength(text))})` };
}

/** @throws CutoverError USAGE */
function kindOf(out: string): 'html' | 'json' {
  const extension = extname(out).toLowerCase();
  if (extension === '.html' || extension === '.json') return extension === '.html' ? 'html' : 'json';
  throw new CutoverError('USAGE', {
    what: 'the name of the file does not say what to write',
    where: '--out',
    found: out,
    wanted: 'a name that ends with .html or .json',
  });
}
