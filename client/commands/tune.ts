import { Command, InvalidArgumentError, Option } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import { shardsMax } from '../../contract/status.ts';
import { byOption, reasonOption, type SenderOptions, sendMessage } from '../sending.ts';
import type { Answering } from '../terminal.ts';

interface TuneOptions extends SenderOptions {
  readonly maxBytesPerSecond?: number;
  readonly shards?: number;
}

export function tuneCommand(answering: Answering): Command {
  return new Command('tune')
    .description('change the speed limit and the shards of the mirror while it runs')
    .argument('<name>', "the plan's name")
    .addOption(
      new Option('--max-bytes-per-second <n>', 'of all shards together; 0: no limit').argParser(
        wholeNumber(0, Number.MAX_SAFE_INTEGER),
      ),
    )
    .addOption(
      new Option('--shards <n>', `how many activities share the partitions, 1 to ${shardsMax}`).argParser(
        wholeNumber(1, shardsMax),
      ),
    )
    .addOption(byOption())
    .addOption(reasonOption())
    .action(
      answering((terminal, name: string, options: TuneOptions) => {
        const { maxBytesPerSecond, shards } = options;
        if (maxBytesPerSecond === undefined && shards === undefined) {
          throw new CutoverError('USAGE', {
            what: 'nothing to change',
            found: 'neither of the two',
            wanted: '--max-bytes-per-second N, --shards N, or both',
          });
        }
        const fields = {
          ...(maxBytesPerSecond !== undefined && { maxBytesPerSecond }),
          ...(shards !== undefined && { shards }),
        };
        return sendMessage(terminal, name, 'tune', fields, options);
      }),
    );
}

function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`wanted a whole number from ${min} to ${max}`);
  };
}
