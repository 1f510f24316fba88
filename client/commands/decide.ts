import { Argument, Command } from 'commander';
import { type DecideMessage, type Step, steps } from '../../contract/status.ts';
import { byOption, reasonOption, type SenderOptions, sendMessage, waveOption } from '../sending.ts';
import type { Answering } from '../terminal.ts';

export function decideCommand(answering: Answering): Command {
  return new Command('decide')
    .description('say how to go on after a failed step')
    .argument('<name>', "the plan's name")
    .addArgument(new Argument('<step>', 'the step that failed').choices(steps))
    .addArgument(new Argument('<choice>', 'what to do').choices(['retry', 'skip', 'rollback']))
    .addOption(byOption())
    .addOption(waveOption())
    .addOption(reasonOption())
    .action(
      answering((terminal, name: string, step: Step, choice: DecideMessage['choice'], options: SenderOptions) =>
        sendMessage(terminal, name, 'decide', { step, choice }, options),
      ),
    );
}
