import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compressionsAlgorithms } from '@platformatic/kafka';
import { codecNames, compress, decompress } from '../../kafka/codecs.ts';

function bytesOf(size: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 0, x = seed; i < size; i++) {
    x = (x * 1_103_515_245 + 12_345) & 0x7fffffff;
    bytes[i] = i % 5 === 0 ? x >> 16 : i >> 6;
  }
  return bytes;
}

describe('codecs', () => {
  for (const codec of codecNames) {
    it(`${codec} gives back what it was given, from nothing to megabytes`, () => {
      for (const size of [0, 1, 100, 32_768, 32_769, 70_000, 3_000_000]) {
        const bytes = bytesOf(size);
        assert.ok(decompress(codec, compress(codec, bytes)).equals(bytes), `${size} bytes`);
      }
    });

    it(`${codec} results stay as they are while others are made`, () => {
      const first = decompress(codec, compress(codec, bytesOf(50_000, 1)));
      const second = decompress(codec, compress(codec, bytesOf(50_000, 2)));
      assert.ok(first.equals(bytesOf(50_000, 1)) && second.equals(bytesOf(50_000, 2)));
    });
  }

  it('read snappy without the framing of the Java clients too', () => {
    const bare = compressionsAlgorithms.snappy.compressSync(bytesOf(1_000)) as Buffer;
    assert.ok(decompress('snappy', bare).equals(bytesOf(1_000)));
  });

  for (const codec of ['gzip', 'snappy', 'lz4', 'zstd'] as const) {
    it(`${codec} refuses damaged bytes and works on`, () => {
      const damaged = compress(codec, bytesOf(5_000));
      assert.throws(() => decompress(codec, damaged.subarray(0, damaged.length / 2)));
      assert.ok(decompress(codec, compress(codec, bytesOf(5_000))).equals(bytesOf(5_000)));
    });
  }
});
