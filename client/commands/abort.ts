import { Command } from 'commander';
import { byOption, reasonOption, type SenderOptions, sendMessage, waveOption } from '../sending.ts';
import type { Answering } from '../terminal.ts';

export function abortCommand(answering: Answering): Command {
  return new Command('abort')
    .description('give up before the target is opened: un-fence, undo what was changed, stop')
    .argument('<name>', "the plan's name")
    .option('--remove-target', 'also delete the topics on the target that we created and nobody else wrote to')
    .addOption(byOption())
    .addOption(waveOption())
    .addOption(reasonOption())
    .action(
      answering((terminal, name: string, options: SenderOptions & { removeTarget?: true }) =>
        sendMessage(terminal, name, 'abort', options.removeTarget ? { removeTarget: true } : {}, options),
      ),
    );
}
