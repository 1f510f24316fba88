/** What Apache's library writes in each message format (`stack/judge/MessageSets.java`), read by us. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { decodeRecords, RecordBatch, readBatches } from '../../kafka/batches.ts';
import { decodeMessageSet } from '../../kafka/message-sets.ts';
import type { KafkaRecord } from '../../kafka/record.ts';
import type { Outgoing, Piece } from '../../mirror/pieces.ts';
import { preparePieces } from '../../mirror/prepare.ts';
import { runJavaTool } from '../../stack/java-tools.ts';
import { oldEntry } from '../mirror/source-batches.ts';
import { sharedStack } from '../support/stack.ts';

interface WrittenLog {
  readonly name: string;
  readonly bytes: Buffer;
  /** Offset, timestamp, key, value. */
  readonly records: readonly string[];
}

const { stack } = await sharedStack();
assert.ok(stack.source);
const java = stack.source;
const logs = await writtenByJava();

async function writtenByJava(): Promise<WrittenLog[]> {
  const program = fileURLToPath(new URL('../../stack/judge/MessageSets.java', import.meta.url));
  const { stdout, stderr, code } = await runJavaTool(java, program, [], { timeoutMs: 120_000 });
  if (code !== 0) throw new Error(stderr);
  return stdout
    .trim()
    .split('\n')
    .map((line) => {
      const [name = '', bytes = '', records = ''] = line.split('|');
      return { name, bytes: Buffer.from(bytes, 'base64'), records: records.split(';') };
    });
}

function line({ offset, timestamp, key, value }: KafkaRecord): string {
  const text = (bytes: Buffer | null) => (bytes === null ? 'null' : `b${bytes.toString('base64')}`);
  return `${offset} ${timestamp} ${text(key)} ${text(value)}`;
}

describe("logs that Apache's library wrote", () => {
  it('are of every format and codec', () => {
    assert.equal(logs.length, 4 * 2 + 4 * 2 * 2 + 5 * 2 * 2);
    assert.ok(logs.every(({ records }) => records.length === 60));
  });

  for (const { name, bytes, records } of logs) {
    it(`${name}: hold the records that Apache's library reads`, () => {
      const batches = [...readBatches(bytes)];

      assert.ok(batches.every((batch) => batch.crcMatches() && `v${batch.magic}` === name.slice(0, 2)));
      assert.deepEqual(batches.flatMap(decodeRecords).map(line), records);
    });

    it(`${name}: are carried into v2, their holes by markers`, () => {
      const batches = [...readBatches(Buffer.from(bytes))];
      const first = 5_000_000_000n;
      const pieces = batches.map((batch, i): Piece => {
        const from = i === 0 ? first : (batches[i - 1]?.nextOffset as bigint);
        return { kind: 'batch', batch, from, end: batch.nextOffset, aborted: false };
      });
      const stamp = { producerId: 1n, sequence: 0, generation: 1, owner: { producerId: 2n, term: 1, sequence: 0 } };

      const { outgoing } = preparePieces(pieces, stamp, { batchBytesMax: 1_000_000, merge: true, split: false });

      assert.deepEqual(outgoing.flatMap(recordsOf).map(line), records);
      assert.equal(
        outgoing.some(({ kind }) => kind === 'markers'),
        name.endsWith('with holes'),
      );
    });
  }
});

function recordsOf(each: Outgoing): KafkaRecord[] {
  if (each.kind === 'markers') return [];
  return decodeRecords(new RecordBatch(each.bytes)).map((r) => ({ ...r, offset: r.offset + each.baseOffset }));
}

describe('entries of old formats', () => {
  const records = [7n, 8n].map((offset) => ({
    offset,
    timestamp: 5n,
    key: null,
    value: Buffer.from(`value ${offset}`),
  }));

  it('are refused when they are cut off, damaged or wrapped twice', () => {
    const wrapper = oldEntry({ magic: 1, records, codec: 'gzip' }).bytes;
    const nested = oldEntry({
      magic: 1,
      records: [{ offset: 8n, timestamp: 5n, key: null, value: wrapper }],
      codec: 'none',
    });
    nested.bytes.writeUInt8(1, 17);
    for (const bad of [wrapper.subarray(0, 60), wrapper.subarray(0, 25), nested.bytes]) {
      assert.throws(() => decodeMessageSet(bad));
    }
    const inner = oldEntry({ magic: 0, records, codec: 'none' }).bytes;
    inner.writeUInt8(4, 17); // zstd, which v0 never had
    assert.throws(() => decodeMessageSet(inner), /unknown codec/);
  });

  it('show a changed byte anywhere after the checksum', () => {
    const good = oldEntry({ magic: 1, records, codec: 'lz4' }).bytes;
    for (let at = 16; at < good.length; at++) {
      const bad = Buffer.from(good);
      bad.writeUInt8((bad[at] ?? 0) ^ 0x10, at);
      assert.equal(new RecordBatch(bad).magic < 2 && new RecordBatch(bad).crcMatches(), false, `byte ${at}`);
    }
  });
});
