import { Command } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import { interruptible } from '../interrupt.ts';
import { type PlaceOptions, placeOptions, readPlace } from '../listening.ts';
import type { Answer, Answering, Terminal } from '../terminal.ts';

export function listenCommand(answering: Answering): Command {
  const command = new Command('listen').description('take signed answers to gates over HTTPS');
  for (const option of placeOptions(8443)) command.addOption(option);
  return command.action(answering(listen));
}

async function listen(terminal: Terminal, options: PlaceOptions): Promise<Answer> {
  const place = readPlace(options);
  const [{ openLog }, { readClusters }, { CutoverClient }, { startListener }] = await Promise.all([
    import('../../worker/logging.ts'),
    import('../../kafka/clusters.ts'),
    import('../cutover-client.ts'),
    import('../listener.ts'),
  ]);
  const { senders, path } = readClusters(undefined, terminal.env);
  if (senders.size === 0) {
    throw new CutoverError('CLUSTERS_INVALID', { what: 'nobody may send answers', where: path, wanted: '`senders`' });
  }
  const log = openLog(terminal.env);
  using interrupt = interruptible();
  await using client = await CutoverClient.connect(terminal.env);
  await using listener = await startListener({ client, senders, log, place });
  log.info({ host: place.host, port: listener.port, senders: [...senders.keys()] }, 'listening for answers');
  await interrupt.wished;
  return { json: { stopped: true }, text: 'listener stopped' };
}
