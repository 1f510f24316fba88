/**
 * What a command says and where: answers on stdout, progress and errors on stderr. With `--json`, stdout
 * holds one JSON object as its last line and nothing of ours before it.
 */
import { styleText } from 'node:util';
import { CutoverError, codes } from '../contract/errors.ts';
import { exitCodeOfError, exitCodes } from './exit-codes.ts';

/** What a command gives back when it has ended. */
export interface Answer {
  /** 0 by default; see exit-codes.ts. */
  readonly exitCode?: number;
  /** Printed with `--json`. A bigint becomes a decimal string. */
  readonly json: Readonly<Record<string, unknown>>;
  /** Printed without `--json`. */
  readonly text?: string;
}

export type Style = 'bold' | 'dim' | 'green' | 'yellow' | 'red' | 'cyan';
/** Colours a text, or leaves it as it is where colours are not wanted. */
export type Paint = (style: Style, text: string) => string;

export const noPaint: Paint = (_style, text) => text;
const ansiPaint: Paint = (style, text) => styleText(style, text, { validateStream: false });

/** The screen's size where the terminal does not say it. */
const columnsDefault = 140;
const rowsDefault = 30;

export class Terminal {
  readonly json: boolean;
  readonly env: NodeJS.ProcessEnv;
  readonly #plain: boolean;
  readonly #stdout: NodeJS.WriteStream;
  readonly #stderr: NodeJS.WriteStream;

  /** @param plain no colours, whatever the screen can do */
  constructor(json: boolean, env: NodeJS.ProcessEnv = process.env, plain = false) {
    this.json = json;
    this.#plain = plain;
    this.env = env;
    this.#stdout = process.stdout;
    this.#stderr = process.stderr;
    // A reader that closes the pipe (`| head`) has seen enough: that is not a failure of ours.
    this.#stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  }

  /** Whether `stream` is a screen that can be redrawn. */
  isScreen(stream: 'stdout' | 'stderr' = 'stdout'): boolean {
    if (stream === 'stdout' && this.json) return false;
    return this.#stream(stream).isTTY === true && this.env.TERM !== 'dumb';
  }

  /** Colours on a screen, unless `--no-color` is given or NO_COLOR is set (https://no-color.org). */
  paint(stream: 'stdout' | 'stderr' = 'stdout'): Paint {
    return this.isScreen(stream) && !this.#plain && !this.env.NO_COLOR ? ansiPaint : noPaint;
  }

  /** Blocks and marks beyond ASCII: only on a screen, and only where the locale has them. */
  unicode(stream: 'stdout' | 'stderr' = 'stdout'): boolean {
    const locale = this.env.LC_ALL || this.env.LC_CTYPE || this.env.LANG || '';
    return this.isScreen(stream) && /utf-?8/i.test(locale);
  }

  columns(stream: 'stdout' | 'stderr' = 'stdout'): number {
    return this.#stream(stream).columns || columnsDefault;
  }

  rows(stream: 'stdout' | 'stderr' = 'stdout'): number {
    return this.#stream(stream).rows || rowsDefault;
  }

  write(stream: 'stdout' | 'stderr', text: string): void {
    this.#stream(stream).write(text);
  }

  /** One line for people on stdout; nothing with `--json`. */
  print(line: string): void {
    if (!this.json) this.#stdout.write(`${line}\n`);
  }

  /** One line of progress on stderr. */
  progress(line: string): void {
    this.#stderr.write(`${line}\n`);
  }

  give(answer: Answer): void {
    if (this.json) this.#stdout.write(`${toJson(answer.json)}\n`);
    else if (answer.text) this.#stdout.write(`${answer.text}\n`);
  }

  /** Says what went wrong and gives the exit code. Where in the code it happened is for whoever asks: KAFKA_CUTOVER_DEBUG. */
  fail(error: unknown): number {
    const known = error instanceof CutoverError ? error : unforeseen(error);
    const { code, detail } = known;
    const next = detail.next ?? codes[code].next;
    const head = known.message.endsWith(`. Next: ${next}`)
      ? known.message.slice(0, -`. Next: ${next}`.length)
      : known.message;
    this.#stderr.write(`${this.paint('stderr')('red', printable(head, '\n'))}\n  Next: ${printable(next, '\n')}\n`);
    if (this.env.KAFKA_CUTOVER_DEBUG) this.#stderr.write(`${(error as Error)?.stack ?? String(error)}\n`);
    if (this.json) {
      this.#stdout.write(`${toJson({ error: { code, message: known.message, detail: { ...detail, next } } })}\n`);
    }
    return exitCodeOfError(code) || exitCodes.failed;
  }

  #stream(stream: 'stdout' | 'stderr'): NodeJS.WriteStream {
    return stream === 'stdout' ? this.#stdout : this.#stderr;
  }
}

function unforeseen(error: unknown): CutoverError {
  const what = error instanceof Error ? error.message : String(error);
  return new CutoverError('INTERNAL', { what: what || 'an error without a message' }, { cause: error });
}

/** One line of JSON; bigint as a decimal string, as offsets are everywhere. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? inner.toString() : inner));
}

/**
 * Text from elsewhere, safe to print. Anybody who may signal a workflow chooses `by` and `reason`; an
 * escape sequence in them could otherwise rewrite what the next approver sees.
 */
export function printable(text: string, keep = ''): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be printed
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (character) =>
    character === keep ? character : '?',
  );
}

/** Makes a command's action of a function that gives an `Answer`. */
export type Answering = <Args extends unknown[]>(
  handler: (terminal: Terminal, ...args: Args) => Promise<Answer>,
) => (...args: Args) => Promise<void>;
