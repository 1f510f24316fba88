/** What a person watching the demo sees on stderr: events that stay, and one line below them that ticks. */
import { styleText } from 'node:util';
import { cut } from '../../client/table.ts';

/** Where the line cannot be rewritten (a log file), it is printed this often. */
const plainTickMs = 5_000;

export class Display {
  readonly #began = performance.now();
  readonly #screen = process.stderr.isTTY === true && process.env.TERM !== 'dumb';
  #shown = '';
  #lastPlainMs = 0;

  /** A new chapter. */
  chapter(title: string): void {
    this.#print(`\n${this.#screen ? styleText('bold', title, { validateStream: false }) : title}`);
  }

  /** Something has happened. */
  say(text: string): void {
    this.#print(`${this.#clock()}  ${text}`);
  }

  /** Belongs to what was said before. */
  detail(text: string): void {
    this.#print(`${' '.repeat(9)}${text}`);
  }

  /** How things stand; replaces what stood there. */
  tick(text: string): void {
    const line = `${this.#clock()}  ${text}`;
    if (this.#screen) {
      this.#shown = cut(line, (process.stderr.columns || 100) - 1);
      process.stderr.write(`\r\x1b[K${this.#shown}`);
    } else if (performance.now() - this.#lastPlainMs > plainTickMs) {
      this.#lastPlainMs = performance.now();
      process.stderr.write(`${line}\n`);
    }
  }

  /** Leaves no ticking line behind. */
  end(): void {
    if (this.#shown) process.stderr.write('\r\x1b[K');
    this.#shown = '';
  }

  #print(text: string): void {
    const shown = this.#shown;
    process.stderr.write(shown ? `\r\x1b[K${text}\n${shown}` : `${text}\n`);
  }

  #clock(): string {
    return `${((performance.now() - this.#began) / 1000).toFixed(1)}s`.padStart(7);
  }
}
