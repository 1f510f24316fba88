/** Columns that line up, for text without a frame that survives copying into a chat. */
import { stripVTControlCharacters } from 'node:util';

/**
 * Rows of cells to lines. The last column is never padded.
 *
 * @param right indexes of the columns that are aligned to the right
 */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, visibleWidth(cell));
  }
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const padding = ' '.repeat((widths[column] ?? 0) - visibleWidth(cell));
        if (right.includes(column)) return padding + cell;
        return column === row.length - 1 ? cell : cell + padding;
      })
      .join('  ')
      .trimEnd(),
  );
}

/** Columns on the screen: colours take none. */
export function visibleWidth(text: string): number {
  return [...stripVTControlCharacters(text)].length;
}

/** Cuts to `width` columns; colours are dropped where a line has to be cut. */
export function cut(text: string, width: number): string {
  if (visibleWidth(text) <= width) return text;
  return `${[...stripVTControlCharacters(text)].slice(0, Math.max(0, width - 1)).join('')}~`;
}
