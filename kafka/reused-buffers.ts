/**
 * Large buffers that are used again instead of being left to the garbage collector: answers as they are read, batches as they are made.
 * Fresh ones cost pages that the kernel must clear, and hundreds of megabytes before they are collected (measured: half the CPU
 * time of reading).
 *
 * A buffer is known by its memory, so any part of it stands for it. Whoever keeps a part holds it, and releases it once when done; at the
 * last release it may be taken again. Whoever holds nothing, or never releases, only leaves it to the garbage collector: that is
 * what everything but the smooth way does.
 */

/** Smaller ones are cheap to make. */
const reusedFromBytes = 131_072;
/** Sizes are this doubled, and doubled again, so that they fit again; what is above `sizedBytesMax` gets its own size, and is not kept. */
const sizesFromBytes = 131_072;
const sizedBytesMax = 8_388_608;
/** On top of each size: answers are a little longer than the bytes that were asked for. */
const overheadBytes = 65_536;
/** A buffer more than so many times as large as wanted is left for what needs it. */
const spareMax = 4;
/** Of all that lie ready. The oldest go first. */
const readyBytesMax = 12_582_912;

export class ReusedBuffers {
  #ready: ArrayBuffer[] = [];
  #readyBytes = 0;
  /** How often each that was taken is held. */
  readonly #held = new WeakMap<ArrayBufferLike, number>();

  /** Holds anything. */
  take(bytes: number): Buffer {
    if (bytes < reusedFromBytes) return Buffer.allocUnsafe(bytes);
    const memory = this.#takeReady(bytes) ?? new ArrayBuffer(sizeFor(bytes));
    this.#held.set(memory, 0);
    return Buffer.from(memory, 0, bytes);
  }

  hold({ buffer }: Buffer): void {
    const held = this.#held.get(buffer);
    if (held !== undefined) this.#held.set(buffer, held + 1);
  }

  release({ buffer }: Buffer): void {
    const held = this.#held.get(buffer);
    if (held === undefined) return;
    if (held > 1) {
      this.#held.set(buffer, held - 1);
      return;
    }
    this.#held.delete(buffer);
    this.#ready.push(buffer as ArrayBuffer);
    this.#readyBytes += buffer.byteLength;
    while (this.#readyBytes > readyBytesMax) this.#free(this.#ready.shift());
  }

  /** At once: the garbage collector would come by when there are some 60 MB of it. */
  #free(memory: ArrayBuffer | undefined): void {
    if (!memory) return;
    this.#readyBytes -= memory.byteLength;
    memory.transfer(0);
  }

  #takeReady(bytes: number): ArrayBuffer | undefined {
    let found = -1;
    let foundBytes = bytes * spareMax;
    for (const [index, { byteLength }] of this.#ready.entries()) {
      if (byteLength < bytes || byteLength >= foundBytes) continue;
      found = index;
      foundBytes = byteLength;
    }
    if (found < 0) return undefined;
    this.#readyBytes -= foundBytes;
    return this.#ready.splice(found, 1)[0];
  }
}

function sizeFor(bytes: number): number {
  if (bytes > sizedBytesMax + overheadBytes) return bytes;
  let size = sizesFromBytes;
  while (size + overheadBytes < bytes) size *= 2;
  return size + overheadBytes;
}

/** Of the process. */
export const reusedBuffers = new ReusedBuffers();
