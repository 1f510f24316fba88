/**
 * What each offset of a log is, read raw: the judge that looks below what a consumer is shown. Whether a transaction was aborted
 * is told by the marker that follows in the log, not by the broker's own list.
 */
import { createHash } from 'node:crypto';
import { decodeRecords } from '../../../kafka/batches.ts';
import type { Cluster } from '../../../kafka/cluster.ts';
import type { KafkaRecord } from '../../../kafka/record.ts';
import { readLog } from '../support.ts';

/** `digest` of timestamp, key, value and headers. A hole is an offset that the log no longer has, or never had. */
export type Slot =
  | { readonly kind: 'record' | 'aborted'; readonly digest: string }
  | { readonly kind: 'marker' | 'hole' };

export interface Slots {
  readonly start: bigint;
  readonly end: bigint;
  /** From `start` on. */
  readonly slots: readonly Slot[];
}

const abortMarker = 0;
const marker: Slot = { kind: 'marker' };
const hole: Slot = { kind: 'hole' };

/** The slots of [start, end). From `stable` on, what no marker follows is open, and on a target nothing is open but what was aborted. */
export async function readSlots(
  cluster: Cluster,
  topic: string,
  partition: number,
  { start, end, stable }: { readonly start: bigint; readonly end: bigint; readonly stable?: bigint | undefined },
): Promise<Slots> {
  const slots: Slot[] = Array.from({ length: Number(end - start) }, () => hole);
  const put = (offset: bigint, slot: Slot) => {
    if (offset >= start && offset < end) slots[Number(offset - start)] = slot;
  };
  // To the end of the log: the marker that decides about a record may lie behind `end`.
  const batches = await readLog(cluster, topic, partition, start);
  const ended = new Map<bigint, 'aborted' | 'record'>();
  for (const batch of batches.reverse()) {
    if (batch.magic >= 2 && batch.isControl) {
      const [record] = decodeRecords(batch);
      ended.set(batch.producerId, record?.key?.readInt16BE(2) === abortMarker ? 'aborted' : 'record');
      put(batch.baseOffset, marker);
      continue;
    }
    // A commit marker is cleaned away long after, an abort marker only once its records are gone.
    const open = stable !== undefined && batch.baseOffset >= stable;
    const kind = batch.isTransactional ? (ended.get(batch.producerId) ?? (open ? 'aborted' : 'record')) : 'record';
    for (const record of decodeRecords(batch)) {
      put(record.offset, {
        kind,
        digest: digestOf(record),
      });
    }
  }
  return { start, end, slots };
}

export interface SlotRules {
  readonly aborted: 'keep' | 'drop';
}

export interface SlotCounts {
  records: number;
  aborted: number;
  markers: number;
  holes: number;
}

/** What is wrong, a line a slot; [] when every slot of the source has its like on the target. */
export function compareSlots(source: Slots, target: Slots, rules: SlotRules): string[] {
  const wrong: string[] = [];
  if (source.start !== target.start || source.end !== target.end) {
    wrong.push(`${source.start} to ${source.end} on the source, ${target.start} to ${target.end} on the target`);
  }
  source.slots.forEach((wanted, i) => {
    const found = target.slots[i] ?? hole;
    if (fits(wanted, found, rules)) return;
    const gone = wanted.kind === 'aborted' && rules.aborted === 'drop';
    wrong.push(`offset ${source.start + BigInt(i)}: ${show(found)}, not ${gone ? 'marker or hole' : show(wanted)}`);
  });
  return wrong;
}

/** Of which `SlotCounts` each kind is one. */
const counted = { record: 'records', aborted: 'aborted', marker: 'markers', hole: 'holes' } as const;

export function countSlots({ slots }: Slots, into: SlotCounts): void {
  for (const { kind } of slots) into[counted[kind]]++;
}

function fits(wanted: Slot, found: Slot, { aborted }: SlotRules): boolean {
  if (wanted.kind === 'record' || (wanted.kind === 'aborted' && aborted === 'keep')) {
    return found.kind === wanted.kind && found.digest === wanted.digest;
  }
  return found.kind === 'marker' || found.kind === 'hole';
}

function show(slot: Slot): string {
  return 'digest' in slot ? `${slot.kind} ${slot.digest}` : slot.kind;
}

function digestOf({ timestamp, key, value, headers }: KafkaRecord): string {
  const hash = createHash('sha256').update(`${timestamp}`);
  const add = (bytes: Buffer | null) => {
    hash.update(bytes === null ? 'null;' : `${bytes.length};`);
    if (bytes) hash.update(bytes);
  };
  add(key);
  add(value);
  for (const header of headers) {
    add(header.key);
    add(header.value);
  }
  return hash.digest('hex').slice(0, 12);
}
