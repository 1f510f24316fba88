import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ReusedBuffers } from '../../kafka/reused-buffers.ts';

const large = 1_000_000;

describe('a large buffer', () => {
  it('is taken again only after its last release, whichever parts of it were held', () => {
    const buffers = new ReusedBuffers();
    const first = buffers.take(large);
    const parts = [first.subarray(0, 10), first.subarray(500)];
    for (const part of parts) buffers.hold(part);

    buffers.release(parts[0] as Buffer);
    const whileHeld = buffers.take(large);
    buffers.release(parts[1] as Buffer);
    const afterwards = buffers.take(large);

    assert.notEqual(whileHeld.buffer, first.buffer);
    assert.equal(afterwards.buffer, first.buffer);
  });

  it('that is released once too often is not given out twice', () => {
    const buffers = new ReusedBuffers();
    const first = buffers.take(large);
    buffers.hold(first);

    buffers.release(first);
    buffers.release(first);

    assert.equal(buffers.take(large).buffer, first.buffer);
    assert.notEqual(buffers.take(large).buffer, first.buffer);
  });

  it('is left for what needs it where much less is wanted, and is never too small', () => {
    const buffers = new ReusedBuffers();
    const first = buffers.take(large);
    buffers.release(first);

    assert.notEqual(buffers.take(large / 5).buffer, first.buffer);
    const larger = buffers.take(large * 2);
    assert.notEqual(larger.buffer, first.buffer);
    assert.equal(larger.length, large * 2);
    assert.equal(buffers.take(large - 1_000).buffer, first.buffer);
  });

  it('is kept up to a limit', () => {
    const buffers = new ReusedBuffers();
    const taken = Array.from({ length: 100 }, () => buffers.take(large));
    const memory = new Set(taken.map(({ buffer }) => buffer));
    for (const buffer of taken) buffers.release(buffer);

    const again = Array.from({ length: 100 }, () => buffers.take(large)).filter(({ buffer }) => memory.has(buffer));

    assert.ok(again.length > 0 && again.length <= 12, `${again.length} of 1 MB each`);
  });

  it('from elsewhere is never given out', () => {
    const buffers = new ReusedBuffers();
    const foreign = Buffer.allocUnsafeSlow(large);
    buffers.hold(foreign);
    buffers.release(foreign);

    assert.notEqual(buffers.take(large).buffer, foreign.buffer);
  });
});
