import { Argument, Command } from 'commander';
import { type Gate, gateNames } from '../../contract/status.ts';
import {
  byOption,
  keyOption,
  reasonOption,
  type SenderOptions,
  sendMessage,
  validForOption,
  waveOption,
} from '../sending.ts';
import type { Answering } from '../terminal.ts';

/** `approve` and `reject`: what people answer an open gate. */
export function answerCommand(answering: Answering, answer: 'approve' | 'reject'): Command {
  return new Command(answer)
    .description(`${answer} an open gate`)
    .argument('<name>', "the plan's name")
    .addArgument(new Argument('<gate>', 'the gate').choices(gateNames))
    .addOption(byOption())
    .addOption(waveOption())
    .addOption(reasonOption())
    .option('--digest <digest>', `the plan digest that you ${answer} (default: the one shown)`)
    .addOption(keyOption())
    .addOption(validForOption())
    .action(
      answering((terminal, name: string, gate: Gate, options: SenderOptions) =>
        sendMessage(terminal, name, answer, { gate }, options),
      ),
    );
}
