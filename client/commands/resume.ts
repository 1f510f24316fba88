import { Command } from 'commander';
import { byOption, reasonOption, type SenderOptions, sendMessage, waveOption } from '../sending.ts';
import type { Answering } from '../terminal.ts';

export function resumeCommand(answering: Answering): Command {
  return new Command('resume')
    .description('go on after a pause, or open a rejected cutover gate again')
    .argument('<name>', "the plan's name")
    .addOption(byOption())
    .addOption(waveOption())
    .addOption(reasonOption())
    .action(
      answering((terminal, name: string, options: SenderOptions) => sendMessage(terminal, name, 'resume', {}, options)),
    );
}
