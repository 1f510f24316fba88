import { Command } from 'commander';
import { byOption, reasonOption, type SenderOptions, sendMessage, waveOption } from '../sending.ts';
import type { Answering } from '../terminal.ts';

export function pauseCommand(answering: Answering): Command {
  return new Command('pause')
    .description('stop at the next step border; between fence and opening the fence is lifted first')
    .argument('<name>', "the plan's name")
    .addOption(byOption())
    .addOption(waveOption())
    .addOption(reasonOption())
    .action(
      answering((terminal, name: string, options: SenderOptions) => sendMessage(terminal, name, 'pause', {}, options)),
    );
}
