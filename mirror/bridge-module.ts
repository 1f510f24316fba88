/** A user's module as a bridge calls it: one record in; none, one or several out. What it gives is checked here, since people write it. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { CutoverError } from '../contract/errors.ts';
import type { NewRecord } from '../kafka/batches.ts';
import type { KafkaRecord } from '../kafka/record.ts';

/** What a module gets. */
export interface RecordIn {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly { readonly key: string; readonly value: Buffer | null }[];
}

/** What it gives: whatever is left out stays as it was. */
export interface RecordOut {
  readonly topic?: string;
  readonly partition?: number;
  readonly key?: Uint8Array | string | null;
  readonly value?: Uint8Array | string | null;
  readonly headers?: readonly { readonly key: string; readonly value: Uint8Array | string | null }[];
}

/** `null` or nothing leaves the record out. May be asynchronous; records of a partition are given one after the other. */
export type Transform = (record: RecordIn) => unknown;

/** One record for the target. `partition` is null where the key decides. */
export interface Outgoing {
  readonly topic: string;
  readonly partition: number | null;
  readonly record: NewRecord;
}

export interface Rules {
  /** By source topic. */
  readonly nameOf: (topic: string) => string;
  /** Partitions of each topic that may be written to. */
  readonly partitions: ReadonlyMap<string, number>;
  readonly timeoutMs: number;
}

const known: ReadonlySet<string> = new Set(['topic', 'partition', 'key', 'value', 'headers']);

/** Every record as it is. */
export const unchanged: Transform = () => ({});

/** Of the file alone, not of what it imports. */
export async function sha256Of(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

/** @throws CutoverError BRIDGE_MODULE_INVALID */
export async function loadTransform(path: string): Promise<Transform> {
  const refuse = (found: string, cause?: unknown) =>
    new CutoverError(
      'BRIDGE_MODULE_INVALID',
      { what: "the bridge's module cannot be used", where: path, found, wanted: 'export function transform(record)' },
      { cause },
    );
  // A file that has changed since this process read it is read again.
  const version = await sha256Of(path).catch((error: Error) => {
    throw refuse(error.message, error);
  });
  const module = (await import(`${pathToFileURL(path).href}?${version}`).catch((error: Error) => {
    throw refuse(error.message.split('\n')[0] ?? '', error);
  })) as { transform?: unknown; default?: unknown };
  const transform =
    module.transform ?? (module.default as { transform?: unknown } | undefined)?.transform ?? module.default;
  if (typeof transform !== 'function') throw refuse('no function `transform`');
  return transform as Transform;
}

/**
 * What becomes of one record.
 *
 * @throws Error where the module throws, takes too long, or gives what cannot be written: the record is poison then
 */
export async function transformed(
  transform: Transform,
  place: { readonly topic: string; readonly partition: number },
  record: KafkaRecord,
  rules: Rules,
): Promise<readonly Outgoing[]> {
  const given: RecordIn = {
    ...place,
    offset: record.offset,
    timestamp: Number(record.timestamp),
    // Copies: what is read lies in buffers that are shared.
    key: record.key && Buffer.from(record.key),
    value: record.value && Buffer.from(record.value),
    headers: record.headers.map(({ key, value }) => ({ key: key.toString(), value: value && Buffer.from(value) })),
  };
  const result = await inTime(transform(given), rules.timeoutMs);
  if (result === null || result === undefined) return [];
  const all: readonly unknown[] = Array.isArray(result) ? result : [result];
  return all.map((out) => outgoing(out, place, record, rules));
}

function outgoing(
  out: unknown,
  place: { readonly topic: string; readonly partition: number },
  record: KafkaRecord,
  { nameOf, partitions }: Rules,
): Outgoing {
  if (typeof out !== 'object' || out === null) throw new Error(`it gave ${typeof out}, not a record`);
  const unknown = Object.keys(out).find((name) => !known.has(name));
  if (unknown !== undefined) throw new Error(`it gave a record with \`${unknown}\``);
  const { topic = nameOf(place.topic), partition, headers, ...rest } = out as RecordOut;
  const count = partitions.get(topic);
  if (count === undefined) throw new Error(`it wants topic ${String(topic)}, which the plan does not name`);
  const key = 'key' in rest ? bytesOf(rest.key, 'key') : record.key;
  const value = 'value' in rest ? bytesOf(rest.value, 'value') : record.value;
  if (partition !== undefined && !(Number.isInteger(partition) && partition >= 0 && partition < count)) {
    throw new Error(`it wants partition ${String(partition)} of ${topic}, which has ${count}`);
  }
  return {
    topic,
    partition: partition ?? samePartition(place, record, key, count),
    record: {
      timestamp: record.timestamp,
      key,
      value,
      headers: headers === undefined ? record.headers : headersOf(headers),
    },
  };
}

/** The partition that it is written to. */
export function placeOf({ topic, partition, record }: Outgoing, { partitions }: Pick<Rules, 'partitions'>): number {
  return partition ?? partitionOfKey(record.key ?? Buffer.alloc(0), partitions.get(topic) ?? 1);
}

/** With the same key, and as many partitions, a record stays where its producer put it, however that one chose. */
function samePartition(
  { partition }: { readonly partition: number },
  record: KafkaRecord,
  key: Buffer | null,
  count: number,
): number | null {
  const same = key === null ? record.key === null : record.key !== null && key.equals(record.key);
  if (key === null) return partition % count;
  return same && partition < count ? partition : null;
}

function headersOf(headers: unknown): NonNullable<NewRecord['headers']> {
  if (!Array.isArray(headers)) throw new Error('`headers` is no list');
  return headers.map((header: { key?: unknown; value?: unknown } | null) => {
    if (typeof header?.key !== 'string') throw new Error('a header without a key');
    return { key: Buffer.from(header.key), value: bytesOf(header.value, `header ${header.key}`) };
  });
}

function bytesOf(value: unknown, what: string): Buffer | null {
  if (value === null) return null;
  if (typeof value === 'string') return Buffer.from(value);
  if (value instanceof Uint8Array) return Buffer.from(value);
  throw new Error(`\`${what}\` is ${typeof value}, wanted bytes, a text or null`);
}

async function inTime(working: unknown, timeoutMs: number): Promise<unknown> {
  if (!(working instanceof Promise)) return working;
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it took longer than ${timeoutMs} ms`)), timeoutMs);
  });
  return Promise.race([working, tooLate]).finally(() => clearTimeout(timer));
}

/** Where Java's producer, and most others, put a key: murmur2, without the sign, modulo the number of partitions. */
export function partitionOfKey(key: Buffer, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions;
}

/** As in Kafka's `Utils.murmur2`: seed 0x9747b28c, 32 bits. */
function murmur2(data: Buffer): number {
  const m = 0x5bd1e995;
  const length = data.length;
  let h = 0x9747b28c ^ length;
  const whole = length & ~3;
  for (let at = 0; at < whole; at += 4) {
    let k = Math.imul(data.readInt32LE(at), m);
    k ^= k >>> 24;
    h = Math.imul(h, m) ^ Math.imul(k, m);
  }
  const left = length - whole;
  if (left > 2) h ^= (data[whole + 2] ?? 0) << 16;
  if (left > 1) h ^= (data[whole + 1] ?? 0) << 8;
  if (left > 0) h = Math.imul(h ^ (data[whole] ?? 0), m);
  h ^= h >>> 13;
  h = Math.imul(h, m);
  return h ^ (h >>> 15);
}
