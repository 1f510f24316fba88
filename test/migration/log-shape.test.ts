/** What a sample tells, from bytes as brokers store them; on real brokers it is tested with preflight. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeBatch } from '../../kafka/batches.ts';
import { countHoles, parseBatches } from '../../migration/log-shape.ts';

const transactionalBit = 0x10;
const controlBit = 0x20;
const logAppendTimeBit = 0x08;

/** An entry of message format v0 or v1 (KIP-31, KIP-32) with a value and no key. */
function entry(magic: 0 | 1, offset: bigint, attributes: number, timestamp = 0n): Buffer {
  const value = Buffer.from('value');
  const head = magic === 0 ? 18 : 26;
  const bytes = Buffer.alloc(head + 8 + value.length);
  bytes.writeBigInt64BE(offset, 0);
  bytes.writeInt32BE(bytes.length - 12, 8);
  bytes.writeInt8(magic, 16);
  bytes.writeInt8(attributes, 17);
  if (magic === 1) bytes.writeBigInt64BE(timestamp, 18);
  bytes.writeInt32BE(-1, head);
  bytes.writeInt32BE(value.length, head + 4);
  value.copy(bytes, head + 8);
  return bytes;
}

function batch(timestamp: bigint, attributes = 0): Buffer {
  const { bytes } = encodeBatch({ records: [{ timestamp, key: null, value: Buffer.from('v'), headers: [] }] });
  bytes.writeInt16BE(bytes.readInt16BE(21) | attributes, 21);
  return bytes;
}

describe('a sample of a log', () => {
  it('tells formats v0 and v1 from today’s, with the times that they have', () => {
    const lz4 = 3;
    const sample = Buffer.concat([
      entry(0, 7n, 0),
      entry(1, 8n, logAppendTimeBit | lz4, 1_600_000_000_000n),
      batch(1_700_000_000_000n),
    ]);
    assert.deepEqual(
      parseBatches(sample).map(({ magic, attributes, baseTimestampMs }) => [magic, attributes, baseTimestampMs]),
      [
        [0, 0, -1],
        [1, logAppendTimeBit, 1_600_000_000_000],
        [2, 0, 1_700_000_000_000],
      ],
    );
  });

  it('shows transactional records and markers', () => {
    const sample = Buffer.concat([batch(1n, transactionalBit), batch(2n, transactionalBit | controlBit)]);
    assert.deepEqual(
      parseBatches(sample).map(({ attributes }) => attributes),
      [transactionalBit, transactionalBit | controlBit],
    );
  });

  it('counts what no batch holds, what a cleaner took from batches, and markers', () => {
    const at = (offset: bigint, bytes: Buffer, lastOffsetDelta = 0) => {
      bytes.writeBigInt64BE(offset, 0);
      bytes.writeInt32BE(lastOffsetDelta, 23);
      return bytes;
    };
    const sample = Buffer.concat([
      at(100n, batch(1n)),
      at(103n, batch(2n), 4),
      at(108n, batch(3n, transactionalBit | controlBit)),
    ]);
    assert.deepEqual(countHoles(parseBatches(sample)), { sampledOffsets: 9, sampledHoles: 7 });
    assert.deepEqual(countHoles(parseBatches(entry(1, 8n, 0))), { sampledOffsets: 0, sampledHoles: 0 });
  });

  it('may end in the middle of a batch, which is left out', () => {
    const whole = batch(1n);
    const cut = Buffer.concat([whole, batch(2n).subarray(0, 40)]);
    assert.equal(parseBatches(cut).length, 1);
  });

  it('that is damaged is an error, not an endless loop', () => {
    const damaged = batch(1n);
    damaged.writeInt32BE(0, 8);
    assert.throws(() => parseBatches(damaged), { code: 'KAFKA_REQUEST_FAILED' });
  });
});
