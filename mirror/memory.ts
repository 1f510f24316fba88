import { reusedBuffers } from '../kafka/reused-buffers.ts';

/**
 * The memory of what is read and still needed, of all partitions together: each buffer counts once and whole, since a small batch keeps the
 * answer of megabytes that it lies in.
 */
export class Memory {
  bytes = 0;
  readonly #holds = new Map<ArrayBufferLike, number>();

  hold(part: Buffer): void {
    const { buffer } = part;
    const holds = this.#holds.get(buffer) ?? 0;
    if (holds === 0) this.bytes += buffer.byteLength;
    this.#holds.set(buffer, holds + 1);
    reusedBuffers.hold(part);
  }

  /** Nothing reads the bytes any more. */
  release(part: Buffer): void {
    this.#letGo(part);
    reusedBuffers.release(part);
  }

  /** A connection in doubt may still send the bytes: they are left to the garbage collector. */
  drop(part: Buffer): void {
    this.#letGo(part);
  }

  #letGo({ buffer }: Buffer): void {
    const holds = this.#holds.get(buffer) ?? 0;
    if (holds > 1) {
      this.#holds.set(buffer, holds - 1);
      return;
    }
    if (this.#holds.delete(buffer)) this.bytes -= buffer.byteLength;
  }
}
