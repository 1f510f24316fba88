import { Command } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import { interruptible } from '../interrupt.ts';
import { type PlaceOptions, placeOptions, readPlace } from '../listening.ts';
import type { Answer, Answering, Terminal } from '../terminal.ts';

export function codecCommand(answering: Answering): Command {
  const command = new Command('codec')
    .description("decrypt payloads for Temporal's UI and command line")
    .option('--origin <url>', "of Temporal's UI: pages from elsewhere read nothing", 'http://localhost:8233');
  for (const option of placeOptions(8081)) command.addOption(option);
  return command.action(answering(serve));
}

async function serve(terminal: Terminal, options: PlaceOptions & { readonly origin: string }): Promise<Answer> {
  const place = readPlace(options);
  const [{ readCodec }, { startCodecServer }] = await Promise.all([
    import('../../worker/codec.ts'),
    import('../codec-server.ts'),
  ]);
  const codec = readCodec(terminal.env);
  if (codec === null) {
    throw new CutoverError('CODEC_INVALID', { what: 'no keys to decrypt with', wanted: 'KAFKA_CUTOVER_CODEC' });
  }
  using interrupt = interruptible();
  await using server = await startCodecServer({ codec, origin: options.origin, place });
  terminal.progress(`codec server at ${place.tls ? 'https' : 'http'}://${place.host}:${server.port}`);
  await interrupt.wished;
  return { json: { stopped: true }, text: 'codec server stopped' };
}
