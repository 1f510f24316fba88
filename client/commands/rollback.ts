import { Command } from 'commander';
import { byOption, reasonOption, type SenderOptions, sendMessage, waveOption } from '../sending.ts';
import type { Answering } from '../terminal.ts';

export function rollbackCommand(answering: Answering): Command {
  return new Command('rollback')
    .description('ask for the way back; states its cost and opens gate rollback, where you count as the first approval')
    .argument('<name>', "the plan's name")
    .addOption(byOption())
    .addOption(waveOption())
    .addOption(reasonOption())
    .action(
      answering((terminal, name: string, options: SenderOptions) =>
        sendMessage(terminal, name, 'rollback', {}, options),
      ),
    );
}
