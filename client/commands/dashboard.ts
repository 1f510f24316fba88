import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { CutoverError } from '../../contract/errors.ts';
import { interruptible } from '../interrupt.ts';
import type { Answer, Answering, Terminal } from '../terminal.ts';

interface DashboardOptions {
  readonly host: string;
  readonly port: number;
  readonly tokenFile?: string;
  readonly allowHost: readonly string[];
}

/** Shorter ones could be guessed. */
const tokenLengthMin = 16;

export function dashboardCommand(answering: Answering): Command {
  return new Command('dashboard')
    .description('a web page on this machine that shows migrations while they run; read-only without a token')
    .option('--host <address>', 'where to listen', '127.0.0.1')
    .addOption(new Option('--port <port>', '0: any that is free').default(4280).argParser(portOf))
    .option(
      '--token-file <file>',
      'whoever knows what stands in it may approve and reject (else: KAFKA_CUTOVER_DASHBOARD_TOKEN)',
    )
    .option('--allow-host <name...>', "other names that this page may be asked for by, such as a proxy's", [])
    .action(answering(dashboard));
}

function portOf(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new InvalidArgumentError('wanted 0 to 65535');
}

async function dashboard(terminal: Terminal, options: DashboardOptions): Promise<Answer> {
  const token = tokenOf(options.tokenFile, terminal.env);
  const [{ CutoverClient }, { serveDashboard }] = await Promise.all([
    import('../cutover-client.ts'),
    import('../dashboard/server.ts'),
  ]);
  using interrupt = interruptible();
  const { signal } = interrupt;
  await using client = await CutoverClient.connect(terminal.env);
  const { host, port, allowHost: names } = options;
  await using served = await serveDashboard({ client, host, port, token, names, signal });
  terminal.progress(
    `dashboard: ${served.url} (${token === null ? 'read-only' : 'approves with the token'}; Ctrl-C ends it)`,
  );
  if (!signal.aborted) await once(signal, 'abort');
  return { json: { url: served.url } };
}

/** @throws CutoverError USAGE where there is no file, or what stands in it is too short */
function tokenOf(file: string | undefined, env: NodeJS.ProcessEnv): string | null {
  const where = file === undefined ? 'KAFKA_CUTOVER_DASHBOARD_TOKEN' : `--token-file ${file}`;
  let text = env.KAFKA_CUTOVER_DASHBOARD_TOKEN;
  try {
    if (file !== undefined) text = readFileSync(file, 'utf8');
  } catch (cause) {
    const found = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new CutoverError('USAGE', { what: 'cannot read the token', where, found }, { cause });
  }
  if (text === undefined || (file === undefined && text === '')) return null;
  const token = text.trim();
  if (token.length >= tokenLengthMin) return token;
  const wanted = `at least ${tokenLengthMin}, such as \`openssl rand -hex 32\` prints`;
  throw new CutoverError('USAGE', {
    what: 'the token is too short',
    where,
    found: `${token.length} characters`,
    wanted,
  });
}
