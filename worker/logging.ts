/** Logs: JSON lines on stderr, since stdout is for answers. Temporal's own messages, those of workflows included, go where ours go. */
import type { Logger as TemporalLogger } from '@temporalio/worker';
import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino';
import { CutoverError, codes } from '../contract/errors.ts';

const levels = ['trace', 'debug', 'info', 'warn', 'error'] as const;

/** No line should hold one of these; where one does, by mistake or in a library's message, its value is left out. */
const secretKeys = [
  'password',
  'passphrase',
  'keyPassphrase',
  'secret',
  'clientSecret',
  'secretAccessKey',
  'token',
  'apiKey',
  'authorization',
];

/**
 * @param env `KAFKA_CUTOVER_LOG_LEVEL`; `info` without it
 * @throws CutoverError USAGE
 */
export function openLog(env: NodeJS.ProcessEnv, to: DestinationStream = pino.destination(2)): Logger {
  const level = env.KAFKA_CUTOVER_LOG_LEVEL || 'info';
  if (!(levels as readonly string[]).includes(level)) {
    const [where, wanted] = ['KAFKA_CUTOVER_LOG_LEVEL', levels.join(', ')];
    throw new CutoverError('USAGE', { what: 'no such level', where, found: level, wanted });
  }
  return pino(
    {
      name: 'kafka-cutover',
      level,
      // As people and most collectors read them.
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: secretKeys.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: '***' },
    },
    to,
  );
}

/** What Temporal says at every start of a worker that has one part only: nothing is wrong. */
const ordinary = /^No .* registered, not polling for /;
/** What Temporal adds for itself, in every line of an activity. */
const unread: readonly string[] = ['taskToken', 'isLocal'];

export function temporalLogger(log: Logger): TemporalLogger {
  const at =
    (level: 'trace' | 'debug' | 'info' | 'warn' | 'error') => (message: string, meta?: Record<string, unknown>) =>
      log[ordinary.test(message) ? 'debug' : level](meta ? plain(meta) : {}, message);
  return {
    log: (level, message, meta) => at(level.toLowerCase() as 'info')(message, meta),
    trace: at('trace'),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
  };
}

/** What JSON cannot hold (nanoseconds come as bigint), and errors in the way that tells most. */
function plain(meta: Record<string | symbol, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(meta).flatMap(([key, value]) => {
      if (key === 'error') return failureFields(value);
      if (unread.includes(key)) return [];
      return [[key, typeof value === 'bigint' ? value.toString() : value]];
    }),
  );
}

/** What has a code is no defect: it says where and why by itself, and where in our code it was thrown helps nobody. pino writes others, with their stack, only under `err`. */
function failureFields(error: unknown): [string, unknown][] {
  const { type, message } = (error ?? {}) as { readonly type?: unknown; readonly message?: unknown };
  // One that comes out of the workflow's sandbox has its code in its message alone.
  const code = [type, String(message).split(':')[0]].find((one) => Object.hasOwn(codes, String(one)));
  if (code === undefined) return [['err', error]];
  return [
    ['code', code],
    ['text', message],
  ];
}
