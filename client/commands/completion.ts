import { Argument, Command } from 'commander';
import { completionScript, type Shell, shells } from '../completion.ts';
import type { Answering } from '../terminal.ts';

/** @param root gives the whole command line */
export function completionCommand(answering: Answering, root: () => Command): Command {
  return new Command('completion')
    .description('print a script that completes commands and options in a shell')
    .addArgument(new Argument('<shell>', 'whose script').choices(shells))
    .action(
      answering(async (_terminal, shell: Shell) => {
        const script = completionScript(shell, root());
        return { json: { shell, script }, text: script.trimEnd() };
      }),
    );
}
