/** Commands of later versions: known by name, refused with a code, so that scripts can tell them from typing errors. */
import { Command } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import type { Answering } from '../terminal.ts';

const later = {
  gateway: 'gateway moves clients without a restart',
  rehearse: 'rehearse plays a cutover through against copies',
} as const;

export function laterCommands(answering: Answering): Command[] {
  return Object.entries(later).map(([name, what]) =>
    new Command(name)
      .description(`${what}; comes with a later version`)
      .argument('[anything...]')
      .allowUnknownOption()
      .action(
        answering(() =>
          Promise.reject(
            new CutoverError('NOT_SUPPORTED_YET', {
              what: `${what}; this version does not have it`,
              where: `kafka-cutover ${name}`,
              next: 'Use `kafka-cutover help` for what there is.',
            }),
          ),
        ),
      ),
  );
}
