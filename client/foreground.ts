/** Progress of a mirror or a check that runs in this process: bars on a screen, a line now and then elsewhere. */
import type { ShardProgress } from '../activities/types.ts';
import { type Live, LiveView } from './live.ts';
import { LiveScreen } from './live-screen.ts';
import { progressEveryMs } from './news.ts';
import { sumOf, topicLines } from './status-screen.ts';
import { printable, type Terminal } from './terminal.ts';
import { bytes, count, duration, roughly } from './units.ts';

/** By topic; `records` and `bytes` since the start. */
export type ProgressTotals = Pick<ShardProgress, 'kind' | 'direction' | 'topics' | 'waiting'>;

/** The screen is drawn at most so often; rates are taken between drawings. */
const drawEveryMs = 500;

/** Shows progress on stderr, so that stdout stays for the answer. Dispose to end it. */
export class ForegroundProgress implements Disposable {
  readonly #terminal: Terminal;
  readonly #screen: LiveScreen | null;
  readonly #view = new LiveView();
  readonly #verb: string;
  #latest: ProgressTotals | null = null;
  #drawnAtMs = Number.NEGATIVE_INFINITY;
  #saidAtMs = Number.NEGATIVE_INFINITY;
  #waited = false;

  /** @param verb what is done to a record: "mirrored" */
  constructor(terminal: Terminal, verb: string) {
    this.#terminal = terminal;
    this.#verb = verb;
    this.#screen = terminal.isScreen('stderr')
      ? new LiveScreen({
          write: (text) => terminal.write('stderr', text),
          columns: () => terminal.columns('stderr'),
          rows: () => terminal.rows('stderr'),
        })
      : null;
  }

  /** Records and bytes so far, over all topics. */
  get totals(): { readonly records: number; readonly bytes: number } {
    const topics = Object.values(this.#latest?.topics ?? {});
    return {
      records: topics.reduce((total, topic) => total + topic.records, 0),
      bytes: topics.reduce((total, topic) => total + topic.bytes, 0),
    };
  }

  update(progress: ProgressTotals, now = Date.now()): void {
    this.#latest = progress;
    if (now - this.#drawnAtMs < drawEveryMs) return;
    this.#drawnAtMs = now;
    // A check is drawn as a mirror is: its position against the end of the log that it reads.
    const sample = { kind: 'mirror' as const, direction: progress.direction, wave: '', topics: { ...progress.topics } };
    const live = this.#view.update([{ activityId: 'foreground', heartbeatAtMs: now, progress: sample }]);
    const { waiting = [] } = progress;
    const isNew = waiting.length > 0 && !this.#waited;
    this.#waited = waiting.length > 0;
    if (this.#screen) this.#draw(live, waiting, this.#screen, now);
    else if (isNew || now - this.#saidAtMs >= progressEveryMs) this.#say(live, waiting, now);
  }

  [Symbol.dispose](): void {
    if (this.#latest && this.#screen) {
      this.#drawnAtMs = Number.NEGATIVE_INFINITY;
      this.update(this.#latest);
    }
    this.#screen?.[Symbol.dispose]();
  }

  #draw(live: Live, waiting: readonly string[], screen: LiveScreen, now: number): void {
    const terminal = this.#terminal;
    const style = {
      paint: terminal.paint('stderr'),
      unicode: terminal.unicode('stderr'),
      columns: terminal.columns('stderr'),
      now,
    };
    screen.draw([...topicLines(live, style), ...waiting.map((line) => style.paint('yellow', printable(line)))]);
  }

  #say(live: Live, waiting: readonly string[], now: number): void {
    this.#saidAtMs = now;
    const { position, end, lag, rate, bytesPerSecond, etaMs } = sumOf(live);
    const speed = rate === null ? '' : `, ${roughly(rate)}/s, ${bytes(bytesPerSecond ?? 0)}/s`;
    const eta = etaMs ? `, ETA ${duration(etaMs)}` : '';
    this.#terminal.progress(`${this.#verb} ${count(position)} of ${count(end)}, lag ${count(lag)}${speed}${eta}`);
    for (const line of waiting) this.#terminal.progress(`waits: ${printable(line)}`);
  }
}
