/** Keeps the bytes that are read below a limit that may change at any time. */
import { setTimeout as sleep } from 'node:timers/promises';

/** The limit is read again at least this often while we wait. */
const stepMs = 200;
/** A request asks for at most this share of a second's bytes, so that the flow is even. */
const requestShare = 0.25;
const requestBytesMin = 65_536;

export class Throttle {
  readonly #bytesPerSecond: () => number;
  /** Bytes taken beyond what the limit allowed so far. */
  #debt = 0;
  #at = performance.now();

  /** @param bytesPerSecond 0: no limit */
  constructor(bytesPerSecond: () => number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  get limited(): boolean {
    return this.#bytesPerSecond() > 0;
  }

  /** How much the next request may ask for. */
  requestBytesMax(wanted: number): number {
    const rate = this.#bytesPerSecond();
    return rate > 0 ? Math.min(wanted, Math.max(requestBytesMin, Math.floor(rate * requestShare))) : wanted;
  }

  spend(bytes: number): void {
    this.#debt += bytes;
  }

  /** Waits until what was spent is paid off. Returns early when `signal` aborts. */
  async pause(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const rate = this.#bytesPerSecond();
      const now = performance.now();
      this.#debt = rate > 0 ? Math.max(0, this.#debt - ((now - this.#at) / 1000) * rate) : 0;
      this.#at = now;
      if (this.#debt === 0) return;
      await sleep(Math.min(stepMs, (this.#debt / rate) * 1000), undefined, { signal }).catch(() => {});
    }
  }
}
