/**
 * A block of lines at the end of the screen, drawn over again in place. No alternate screen: what was
 * drawn last stays readable when the command has ended.
 */
import { visibleWidth } from './table.ts';

export interface Screen {
  write(text: string): void;
  columns(): number;
  rows(): number;
}

const hideCursor = '\x1b[?25l';
const showCursor = '\x1b[?25h';
const clearToEnd = '\x1b[0J';

export class LiveScreen implements Disposable {
  readonly #screen: Screen;
  #drawn: readonly string[] = [];
  readonly #onExit = () => this.#screen.write(showCursor);

  constructor(screen: Screen) {
    this.#screen = screen;
    screen.write(hideCursor);
    process.once('exit', this.#onExit);
  }

  /**
   * Replaces the block. A line that is wider than the screen wraps, so that it can still be copied whole, and
   * counts as the rows that it takes. A block higher than the screen loses its middle, because what has
   * scrolled off cannot be drawn over.
   */
  draw(lines: readonly string[]): void {
    const shown = this.#fitting(lines);
    this.#screen.write(`${this.#back()}${shown.map((line) => `${line}\n`).join('')}`);
    this.#drawn = shown;
  }

  /** Back to the first row of what was drawn, measured at today's width: terminals wrap anew when resized. */
  #back(): string {
    const rows = this.#rowsOf(this.#drawn);
    return `${rows > 0 ? `\x1b[${rows}A` : ''}\r${clearToEnd}`;
  }

  #fitting(lines: readonly string[]): readonly string[] {
    const rowsMax = Math.max(4, this.#screen.rows() - 1);
    if (this.#rowsOf(lines) <= rowsMax) return lines;
    const shown = [...lines];
    const marker = () => `  ... ${lines.length - shown.length} more lines ...`;
    do shown.splice(Math.floor(shown.length / 2), 1);
    while (shown.length > 2 && this.#rowsOf([...shown, marker()]) > rowsMax);
    return shown.toSpliced(Math.ceil(shown.length / 2), 0, marker());
  }

  #rowsOf(lines: readonly string[]): number {
    const columns = Math.max(1, this.#screen.columns());
    return lines.reduce((rows, line) => rows + Math.max(1, Math.ceil(visibleWidth(line) / columns)), 0);
  }

  [Symbol.dispose](): void {
    process.removeListener('exit', this.#onExit);
    this.#screen.write(showCursor);
  }
}
