import { Command } from 'commander';
import { type Code, CutoverError, codes } from '../../contract/errors.ts';
import { table } from '../table.ts';
import type { Answering, Terminal } from '../terminal.ts';

export function explainCommand(answering: Answering): Command {
  return new Command('explain')
    .description('say what a code means and what to do; all codes when none is given')
    .argument('[code]', 'such as FENCE_NOT_PROVEN')
    .action(answering(async (terminal: Terminal, code: string | undefined) => (code ? one(terminal, code) : all())));
}

function one(terminal: Terminal, text: string) {
  const code = text.toUpperCase().replaceAll('-', '_') as Code;
  if (!Object.hasOwn(codes, code)) {
    const near = Object.keys(codes).filter((known) => code.split('_').some((word) => known.split('_').includes(word)));
    throw new CutoverError('USAGE', {
      what: 'no such code',
      found: text,
      ...(near.length > 0 && { wanted: `perhaps one of ${near.slice(0, 5).join(', ')}` }),
      next: 'Run `kafka-cutover explain` for all codes.',
    });
  }
  const { severity, retryable, meaning, next } = codes[code];
  const paint = terminal.paint();
  return {
    json: { code, severity, retryable, meaning, next },
    text: [
      `${paint('bold', code)} (${severity}${retryable ? ', trying again can help' : ''})`,
      `  ${meaning}`,
      `  Next: ${next}`,
    ].join('\n'),
  };
}

function all() {
  const rows = Object.entries(codes).map(([code, { severity, meaning }]) => [code, severity, meaning]);
  return { json: { codes }, text: table(rows).join('\n') };
}
