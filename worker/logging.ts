/** Temporal's own messages, those of workflows included, go where ours go. */
import type { Logger as TemporalLogger } from '@temporalio/worker';
import type { Logger } from 'pino';

export function temporalLogger(log: Logger): TemporalLogger {
  const at =
    (level: 'trace' | 'debug' | 'info' | 'warn' | 'error') => (message: string, meta?: Record<string, unknown>) =>
      log[level](meta ? plain(meta) : {}, message);
  return {
    log: (level, message, meta) => at(level.toLowerCase() as 'info')(message, meta),
    trace: at('trace'),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
  };
}

/** pino writes an error only under `err`; nanoseconds come as bigint, which JSON cannot hold. */
function plain(meta: Record<string | symbol, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(meta).map(([key, value]) => [
      key === 'error' ? 'err' : key,
      typeof value === 'bigint' ? value.toString() : value,
    ]),
  );
}
