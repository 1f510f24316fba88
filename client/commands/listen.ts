import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import type { Answering } from '../cli.ts';
import { interruptible } from '../interrupt.ts';
import type { Answer, Terminal } from '../terminal.ts';

interface ListenOptions {
  readonly host: string;
  readonly port: string;
  readonly cert?: string;
  readonly key?: string;
}

export function listenCommand(answering: Answering): Command {
  return new Command('listen')
    .description('take signed answers to gates over HTTPS')
    .option('--host <address>', 'where to listen', '127.0.0.1')
    .option('--port <port>', 'where to listen', '8443')
    .option('--cert <file>', 'certificate in PEM; wanted for any other address than this machine')
    .option('--key <file>', "the certificate's key in PEM")
    .action(answering(listen));
}

async function listen(terminal: Terminal, options: ListenOptions): Promise<Answer> {
  const { host, cert, key } = options;
  const port = Number(options.port);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new CutoverError('USAGE', { what: 'not a port', where: '--port', found: options.port });
  }
  if ((cert === undefined) !== (key === undefined)) {
    throw new CutoverError('USAGE', { what: '--cert and --key belong together' });
  }
  const tls = cert && key ? { cert: pem(cert), key: pem(key) } : undefined;
  const [{ pino }, { readClusters }, { CutoverClient }, { startListener }] = await Promise.all([
    import('pino'),
    import('../../kafka/clusters.ts'),
    import('../cutover-client.ts'),
    import('../listener.ts'),
  ]);
  const { senders, path } = readClusters(undefined, terminal.env);
  if (senders.size === 0) {
    throw new CutoverError('CLUSTERS_INVALID', { what: 'nobody may send answers', where: path, wanted: '`senders`' });
  }
  const level = terminal.env.KAFKA_CUTOVER_LOG_LEVEL ?? 'info';
  const log = pino({ name: 'kafka-cutover', level }, pino.destination(2));
  using interrupt = interruptible();
  await using client = await CutoverClient.connect(terminal.env);
  await using listener = await startListener({ client, senders, log, host, port, tls });
  log.info({ host, port: listener.port, senders: [...senders.keys()] }, 'listening for answers');
  await new Promise((stop) => interrupt.signal.addEventListener('abort', stop, { once: true }));
  return { json: { stopped: true }, text: 'listener stopped' };
}

function pem(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const found = (cause as NodeJS.ErrnoException).code;
    throw new CutoverError('USAGE', { what: 'cannot read the file', where: path, found }, { cause });
  }
}
