/**
 * Ids of schemas in records, as serializers write them before what they serialize: a zero, then the id in four bytes (Confluent, "Wire format"). Keys
 * and values that begin so by chance look the same: who asks must know which ids exist.
 */
import { decodeRecords, readBatches } from './batches.ts';

const magicByte = 0;
/** Magic, id, and at least one byte of what was serialized. */
const bytesMin = 6;

/** Of the whole batches in a piece of a log; those of message formats v0 and v1 are not looked into. */
export function schemaIdsIn(log: Buffer): Set<number> {
  const ids = new Set<number>();
  const note = (bytes: Buffer | null) => {
    if (bytes === null || bytes.length < bytesMin || bytes[0] !== magicByte) return;
    const id = bytes.readInt32BE(1);
    if (id > 0) ids.add(id);
  };
  for (const batch of readBatches(log)) {
    if (batch.magic < 2 || batch.isControl) continue;
    for (const { key, value } of decodeRecords(batch)) {
      note(key);
      note(value);
    }
  }
  return ids;
}
