import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ceilingShape } from '../../bench/ceiling-process.ts';
import { batchesOf, type Shape } from '../../bench/fill.ts';
import { packedShape, plainShape, singleShape } from '../../bench/rows/copies.ts';
import { decodeRecords } from '../../kafka/batches.ts';

const sizesOf = (shape: Shape) => batchesOf(shape).map((batch) => batch.byteLength);

describe('the logs that are measured', () => {
  it('hold batches of the sizes that the rows name', () => {
    for (const size of sizesOf(plainShape)) assert.ok(size > 15_000 && size <= 16_384, `${size}`);
    for (const size of sizesOf(packedShape)) assert.ok(size > 120_000 && size <= 131_072, `${size}`);
    for (const size of sizesOf(ceilingShape)) assert.ok(size > 500_000 && size <= 524_288, `${size}`);
    for (const batch of batchesOf(singleShape)) assert.equal(batch.recordCount, 1);
  });

  it('hold batches that differ, each readable and with a right checksum', () => {
    const batches = batchesOf(packedShape, 1_700_000_000_000);
    assert.equal(new Set(batches.map((batch) => batch.crc)).size, batches.length);
    for (const batch of batches.slice(0, 3)) {
      assert.ok(batch.crcMatches());
      assert.equal(batch.codec, 'lz4');
      const records = decodeRecords(batch);
      assert.equal(records.length, packedShape.recordsPerBatch);
      assert.ok(records.every((record) => record.value?.length === packedShape.valueBytes));
    }
  });
});
