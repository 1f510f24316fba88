/** A curve in one line of text. */

const blocks = '▁▂▃▄▅▆▇█';

/** One character a value, from zero to the highest. Only what is zero is drawn as the lowest: a little is never shown as nothing. */
export function sparkline(values: readonly number[]): string {
  const most = Math.max(0, ...values);
  return values
    .map((value) => blocks[value > 0 && most > 0 ? Math.max(1, Math.ceil((value / most) * (blocks.length - 1))) : 0])
    .join('');
}
