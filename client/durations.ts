/** Durations that users write beside a plan. */
import { CutoverError } from '../contract/errors.ts';

/**
 * Milliseconds, more than none.
 *
 * @param where the option or variable that it was given in
 * @throws CutoverError USAGE
 */
export async function readDuration(text: string, where: string): Promise<number> {
  const { durationMs } = await import('../contract/plan.ts');
  const parsed = durationMs(text);
  if (parsed !== null && parsed > 0) return parsed;
  throw new CutoverError('USAGE', { what: 'not a duration', where, found: text, wanted: 'such as 90s or 10m' });
}
