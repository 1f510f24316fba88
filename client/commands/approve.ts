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

export function approveCommand(answering: Answering): Command {
  return new Command('approve')
    .description('approve an open gate')
    .argument('<name>', "the plan's name")
    .addArgument(new Argument('<gate>', 'the gate').choices(gateNames))
    .addOption(byOption())
    .addOption(waveOption())
    .addOption(reasonOption())
    .option('--digest <digest>', 'the plan digest that you approve (default: the one shown)')
    .addOption(keyOption())
    .addOption(validForOption())
    .action(
      answering((terminal, name: string, gate: Gate, options: SenderOptions) =>
        sendMessage(terminal, name, 'approve', { gate }, options),
      ),
    );
}
