/** Stays with a migration until it has ended: on a screen that is drawn over, or as lines where there is none. */
import type { CutoverClient } from './cutover-client.ts';
import { exitCodeOfError, exitCodeOfOutcome, exitCodes } from './exit-codes.ts';
import { follow, type Look } from './follow.ts';
import { interruptible } from './interrupt.ts';
import { LiveScreen } from './live-screen.ts';
import { News } from './news.ts';
import { endingLines, statusLines } from './status-screen.ts';
import type { Answer, Terminal } from './terminal.ts';

/**
 * Ctrl-C ends the watching, never the migration.
 *
 * @param screen draw the status over and over on stdout where that is a screen; else news go to stderr
 * @throws what `follow` throws
 */
export async function followToTheEnd(
  terminal: Terminal,
  client: CutoverClient,
  name: string,
  { screen: wanted }: { readonly screen: boolean },
): Promise<Answer> {
  using interrupt = interruptible();
  using screen =
    wanted && terminal.isScreen()
      ? new LiveScreen({
          write: (text) => terminal.write('stdout', text),
          columns: () => terminal.columns(),
          rows: () => terminal.rows(),
        })
      : null;
  const news = new News();
  const paint = terminal.paint();
  let last: Look | null = null;
  for await (const look of follow(client, name, interrupt.signal)) {
    last = look;
    if (screen) {
      const style = { paint, unicode: terminal.unicode(), columns: terminal.columns(), now: Date.now() };
      screen.draw(statusLines(look, style));
    } else {
      const lines = news.of(look);
      // What is asked for goes to stdout; what is merely told while something else is awaited, to stderr.
      for (const line of lines) wanted && !terminal.json ? terminal.print(line) : terminal.progress(line);
    }
  }
  if (!last?.ending) {
    const goesOn = `${name} goes on: kafka-cutover status ${name} --watch`;
    terminal.progress(goesOn);
    // Who waits for an outcome has none; who only looked has seen enough.
    const exitCode = wanted ? exitCodes.done : exitCodes.failed;
    return { exitCode, json: { name, outcome: null, ...(last && jsonOf(last)) } };
  }
  const { ending } = last;
  const byCode = ending.outcome === 'failed' && ending.code ? exitCodeOfError(ending.code) : null;
  return {
    exitCode: byCode ?? exitCodeOfOutcome(ending.outcome),
    json: { name, outcome: ending.outcome, ...jsonOf(last) },
    ...(!screen && { text: endingLines(ending, { paint }).join('\n') }),
  };
}

function jsonOf({ status, live, runId, note, ending, retrying }: Look): Record<string, unknown> {
  return { ...status, live, runId, note, ending, retrying };
}
