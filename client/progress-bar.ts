/** Progress bars: pure text, the caller says how wide and whether the terminal can draw more than ASCII. */

export interface BarStyle {
  /** Cells between the brackets. */
  readonly width: number;
  /** Eighths of a cell with Unicode blocks; whole cells of `#` without. */
  readonly unicode: boolean;
}

const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/**
 * `[##########----------]`. Full only when `position` has reached `end`: partial success is never rounded
 * up. An empty log (`end` 0) is full, there is nothing left to copy.
 */
export function progressBar(position: number, end: number, { width, unicode }: BarStyle): string {
  const cells = fraction(position, end) * width;
  const full = Math.floor(cells);
  if (!unicode) return `[${'#'.repeat(full)}${'-'.repeat(width - full)}]`;
  const part = eighths[Math.floor((cells - full) * 8)] ?? '';
  return `▕${'█'.repeat(full)}${part}${' '.repeat(width - full - part.length)}▏`;
}

/** ` 52.1%`, six characters; `100.0%` only when nothing is missing. */
export function percent(position: number, end: number): string {
  const tenths = Math.floor(fraction(position, end) * 1_000);
  return `${(tenths / 10).toFixed(1)}%`.padStart(6);
}

/** Between 0 and 1; 1 only when `position >= end`. */
function fraction(position: number, end: number): number {
  if (!(end > 0) || position >= end) return 1;
  return position > 0 ? position / end : 0;
}
