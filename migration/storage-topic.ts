/**
 * Artifacts in the compacted topic `__kafka_cutover`, the same on both clusters.
 *
 * A small artifact is one record: key `a:<name>`, value a line of JSON (the head) and the bytes. A large one is
 * cut into chunks (`c:<generation>:<index>:<name>`) that are acknowledged before the head is written. Each put
 * has a generation of its own, so a put that is torn, or that runs beside another one, never overwrites a chunk
 * that a head still points to; compaction keeps the last head and its chunks. Chunks that no head points to are
 * deleted by tombstones after the next put of that name.
 */
import { createHash, randomUUID } from 'node:crypto';
import { CutoverError } from '../contract/errors.ts';
import { decodeRecords, encodeBatch, readBatches, sequenceAfter } from '../kafka/batches.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { isRetriableKafkaError, kafkaError, kafkaErrorName, refuseKafkaError } from '../kafka/kafka-errors.ts';
import { allocateProducerId } from '../kafka/producers.ts';
import { createTopic } from '../kafka/topics.ts';
import { pause } from '../kafka/waiting.ts';
import { rawFetch, rawProduce } from '../kafka/wire.ts';
import type { Artifact, GetOptions, PutOptions, Storage, Stored } from './storage.ts';

export const storageTopic = '__kafka_cutover';
/** Bytes of one chunk; half of the size of a batch that every broker takes by default. */
export const chunkBytes = 512 * 1024;
/** Bytes of records in one produce request. */
const batchBytesMax = 640 * 1024;
const fetchBytesMax = 4 * 1024 * 1024;
/** How long a write may take, a broker's restart included. */
export const appendTimeoutMs = 30_000;
/** How long a cluster may take to be read; after that the other one answers alone. */
export const readTimeoutMs = 2_000;
/** For so long after it could not be read, a cluster is asked once and not waited for. */
const impatientMs = 10_000;
const retryPauseMs = 100;
/** Chunks without a head are left alone for so long: their put may still be under way. */
const orphanAgeMs = 3_600_000;

const unknownProducerId = 59;

interface Head {
  readonly v: 1;
  readonly version: number;
  /** Milliseconds since 1970, of the writer's clock. */
  readonly at: number;
  readonly generation: string;
  readonly sha256: string;
  readonly bytes: number;
  /** 0: the bytes follow the head. */
  readonly chunks: number;
}

/** A head as read, and its bytes where they follow it; `head` is null when the record cannot be read. */
interface Entry {
  readonly head: Head | null;
  readonly inline: Buffer;
}

interface NewRecord {
  readonly key: string;
  /** Null is a tombstone. */
  readonly value: Buffer | null;
}

export class TopicStorage implements Storage {
  readonly #logs: readonly [ClusterLog, ClusterLog];
  degraded: string | null = null;

  constructor(source: Cluster, target: Cluster) {
    this.#logs = [new ClusterLog(source), new ClusterLog(target)];
  }

  async put(name: string, bytes: Buffer, options: PutOptions = {}): Promise<string> {
    const [sha256] = await this.putAll([{ name, bytes }], options);
    return sha256 as string;
  }

  async putAll(artifacts: readonly Artifact[], options: PutOptions = {}): Promise<string[]> {
    const readable = await this.#read();
    const digests: string[] = [];
    const chunks: NewRecord[] = [];
    const heads: NewRecord[] = [];
    const generations = new Map<string, string>();
    for (const { name, bytes } of artifacts) {
      const sha256 = sha256Of(bytes);
      digests.push(sha256);
      if (readable.length === 2 && this.#stands(name, sha256)) continue;
      const versions = this.#logs.map((log) => log.entry(name)?.head?.version ?? 0);
      const pieces = bytes.length <= chunkBytes ? 0 : Math.ceil(bytes.length / chunkBytes);
      const head: Head = {
        v: 1,
        version: Math.max(...versions) + 1,
        at: Date.now(),
        generation: randomUUID(),
        sha256,
        bytes: bytes.length,
        chunks: pieces,
      };
      generations.set(name, head.generation);
      const line = Buffer.from(`${JSON.stringify(head)}\n`);
      heads.push({ key: `a:${name}`, value: pieces === 0 ? Buffer.concat([line, bytes]) : line });
      for (let i = 0; i < pieces; i++) {
        const value = bytes.subarray(i * chunkBytes, (i + 1) * chunkBytes);
        chunks.push({ key: chunkKey(name, head.generation, i), value });
      }
    }
    if (heads.length === 0) return digests;
    const written = await Promise.allSettled(
      this.#logs.map(async (log) => {
        await log.append(chunks);
        await log.append(heads);
        // What cannot be tidied up now is found again, as torn, by a later put.
        await log.append(log.garbage(generations)).catch(() => {});
      }),
    );
    const failed = written.filter((result) => result.status === 'rejected');
    if (failed.length > (options.on === 'any' ? 1 : 0)) throw failed[0]?.reason;
    return digests;
  }

  async get(name: string, options: GetOptions = {}): Promise<Stored | null> {
    return this.#newest(name, await this.#read(options.from === 'both' ? 2 : 1));
  }

  async getAll(prefix: string): Promise<Artifact[]> {
    const readable = await this.#read();
    const found: Artifact[] = [];
    for (const name of namesBelow(prefix, readable)) {
      const stored = this.#newest(name, readable);
      if (stored) found.push({ name, bytes: stored.bytes });
    }
    return found;
  }

  /** The newest complete version that these logs hold. */
  #newest(name: string, readable: readonly ClusterLog[]): Stored | null {
    const found = readable
      .map((log) => ({ log, entry: log.entry(name) }))
      .filter((f): f is { log: ClusterLog; entry: Entry } => f.entry !== undefined);
    const unread = found.find(({ entry }) => entry.head === null);
    if (unread) throw corrupt(name, unread.log.where, 'a record that is not ours');
    const newest = found.map(({ entry }) => entry.head as Head).sort(newestFirst)[0];
    if (!newest) return null;
    // Both clusters hold the same bytes for one generation, so either will do.
    let complaint = '';
    for (const { log, entry } of found) {
      if (entry.head?.generation !== newest.generation) continue;
      const bytes = log.content(name, entry);
      const sha256 = bytes && sha256Of(bytes);
      if (bytes && sha256 === newest.sha256) return { bytes, sha256 };
      complaint = `${log.where}: ${bytes ? `sha256 ${sha256}` : 'a missing chunk'}, wanted sha256 ${newest.sha256}`;
    }
    throw corrupt(name, storageTopic, complaint);
  }

  async list(prefix: string): Promise<string[]> {
    return namesBelow(prefix, await this.#read());
  }

  /** Whether both clusters hold exactly this as their last word, so that writing it again would change nothing. */
  #stands(name: string, sha256: string): boolean {
    const entries = this.#logs.map((log) => log.entry(name));
    const generation = entries[0]?.head?.generation;
    return this.#logs.every((log, i) => {
      const entry = entries[i];
      if (entry?.head?.sha256 !== sha256 || entry.head.generation !== generation) return false;
      const bytes = log.content(name, entry);
      return bytes !== null && sha256Of(bytes) === sha256;
    });
  }

  async #read(least = 1): Promise<ClusterLog[]> {
    const results = await Promise.allSettled(this.#logs.map((log) => log.refresh()));
    const readable = this.#logs.filter((_, i) => results[i]?.status === 'fulfilled');
    const failures = results.filter((result) => result.status === 'rejected').map((result) => result.reason as Error);
    if (readable.length < least) throw failures[0];
    this.degraded = failures[0] ? `read from one cluster only: ${failures[0].message}` : null;
    return readable;
  }
}

function namesBelow(prefix: string, logs: readonly ClusterLog[]): string[] {
  return [...new Set(logs.flatMap((log) => log.names().filter((name) => name.startsWith(prefix))))].sort();
}

/** The topic on one cluster: read up to its end each time, from where the last read stopped. */
class ClusterLog {
  readonly #cluster: Cluster;
  #leader: number | null = null;
  #topicId = '';
  #position = 0n;
  #failedAt = 0;
  #entries = new Map<string, Entry>();
  #chunks = new Map<string, { readonly value: Buffer; readonly at: number }>();
  #reading: Promise<void> = Promise.resolve();
  #nextRead: Promise<void> | null = null;
  #writing: Promise<void> = Promise.resolve();
  #producer: { readonly id: bigint; sequence: number } | null = null;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  get where(): string {
    return `cluster ${this.#cluster.name}, topic ${storageTopic}`;
  }

  entry(name: string): Entry | undefined {
    return this.#entries.get(name);
  }

  names(): string[] {
    return [...this.#entries.keys()];
  }

  /** The bytes that a head promises, or null when a chunk is missing. */
  content(name: string, entry: Entry): Buffer | null {
    if (!entry.head) return null;
    if (entry.head.chunks === 0) return entry.inline;
    const pieces: Buffer[] = [];
    for (let i = 0; i < entry.head.chunks; i++) {
      const piece = this.#chunks.get(chunkKey(name, entry.head.generation, i));
      if (!piece) return null;
      pieces.push(piece.value);
    }
    return Buffer.concat(pieces);
  }

  /** Reads to the end as of now. Callers that arrive while a read runs share the next one, which sees what they wrote. */
  refresh(): Promise<void> {
    this.#nextRead ??= this.#reading.then(() => {
      this.#nextRead = null;
      const reading = this.#readToEnd();
      this.#reading = reading.catch(() => {});
      return reading;
    });
    return this.#nextRead;
  }

  /** Appends in order, acknowledged by every in-sync replica. */
  append(records: readonly NewRecord[]): Promise<void> {
    const writing = this.#writing.then(() => this.#append(records));
    this.#writing = writing.catch(() => {});
    return writing;
  }

  /**
   * Tombstones for the chunks that new heads have made useless, as of the last read: those of the head that was
   * replaced, and those whose put was torn long ago.
   *
   * @param generations by name, of the heads that were just written
   */
  garbage(generations: ReadonlyMap<string, string>): NewRecord[] {
    const tornBefore = Date.now() - orphanAgeMs;
    const tombstones: NewRecord[] = [];
    for (const [key, { at }] of this.#chunks) {
      const { name, generation } = parseChunkKey(key);
      const current = generations.get(name);
      if (current === undefined || current === generation) continue;
      if (this.#entries.get(name)?.head?.generation === generation || at < tornBefore) {
        tombstones.push({ key, value: null });
      }
    }
    return tombstones;
  }

  async #readToEnd(): Promise<void> {
    const impatient = Date.now() - this.#failedAt < impatientMs;
    const deadline = Date.now() + (impatient ? 0 : readTimeoutMs);
    try {
      await this.#readUntil(deadline);
      this.#failedAt = 0;
    } catch (error) {
      this.#failedAt = Date.now();
      throw error;
    }
  }

  async #readUntil(deadline: number): Promise<void> {
    for (;;) {
      try {
        const leader = await this.#locate();
        if (leader === null) return;
        const answer = await this.#cluster.call({ broker: leader }, rawFetch, {
          maxWaitMs: 0,
          minBytes: 0,
          maxBytes: fetchBytesMax,
          isolation: 'readUncommitted',
          topics: [
            {
              topic: storageTopic,
              partitions: [{ partition: 0, fetchOffset: this.#position, maxBytes: fetchBytesMax }],
            },
          ],
        });
        const partition = answer.partitions[0];
        const code = answer.errorCode || (partition?.errorCode ?? kafkaError.unknownTopicOrPartition);
        if (partition && code === 0) {
          const before = this.#position;
          this.#take(partition.records);
          if (this.#position >= partition.highWatermark) return;
          // Nothing but offsets that compaction removed: the rest of the log is empty.
          if (this.#position === before && partition.records.length === 0) return;
          continue;
        }
        if (code === kafkaError.offsetOutOfRange) {
          this.#forget(); // deleted and created again: what we remember is not there any more
        } else if (!isRetriableKafkaError(code)) {
          refuseKafkaError(code, 'cannot read', this.where);
        }
        if (Date.now() >= deadline) refuseKafkaError(code, 'cannot read', this.where);
      } catch (error) {
        if (!(error instanceof CutoverError) || !error.retryable || Date.now() >= deadline) throw error;
      }
      this.#leader = null;
      await pause(retryPauseMs);
    }
  }

  #take(records: Buffer): void {
    for (const batch of readBatches(records)) {
      for (const record of decodeRecords(batch)) {
        if (record.offset < this.#position) continue;
        const key = record.key?.toString() ?? '';
        if (key.startsWith('a:')) this.#takeHead(key.slice(2), record.value);
        // Copied, because a slice would keep the whole answer in memory.
        else if (record.value) {
          this.#chunks.set(key, { value: Buffer.from(record.value), at: Number(record.timestamp) });
        } else this.#chunks.delete(key);
      }
      this.#position = batch.nextOffset;
    }
  }

  #takeHead(name: string, value: Buffer | null): void {
    if (value === null) this.#entries.delete(name);
    else this.#entries.set(name, parseEntry(value));
  }

  /** The leader, or null when the topic does not exist. A topic created again is read from its start. */
  async #locate(): Promise<number | null> {
    if (this.#leader !== null) return this.#leader;
    const topic = (await this.#cluster.metadata([storageTopic])).topics.get(storageTopic);
    if (!topic) {
      this.#forget();
      return null;
    }
    if (topic.topicId !== this.#topicId) this.#forget();
    this.#topicId = topic.topicId;
    const leader = topic.partitions[0]?.leader ?? -1;
    if (leader < 0) {
      throw new CutoverError('KAFKA_REQUEST_FAILED', { what: 'the partition has no leader', where: this.where });
    }
    this.#leader = leader;
    return leader;
  }

  #forget(): void {
    this.#position = 0n;
    this.#entries.clear();
    this.#chunks.clear();
    this.#producer = null;
  }

  async #append(records: readonly NewRecord[]): Promise<void> {
    for (const batch of batches(records)) await this.#appendBatch(batch);
  }

  /**
   * Under a producer id of our own: a request that we gave up on and sent again is appended once, and cannot arrive
   * after a later one and bring back what that one replaced.
   */
  async #appendBatch(batch: readonly NewRecord[]): Promise<void> {
    const deadline = Date.now() + appendTimeoutMs;
    for (;;) {
      let failure: CutoverError;
      try {
        const leader = (await this.#locate()) ?? (await this.#create());
        this.#producer ??= { id: await allocateProducerId(this.#cluster), sequence: 0 };
        const producer = this.#producer;
        const [answer] = await this.#cluster.call({ broker: leader }, rawProduce, {
          timeoutMs: 10_000,
          topics: [{ topic: storageTopic, partitions: [{ partition: 0, records: [encode(batch, producer)] }] }],
        });
        const code = answer?.errorCode ?? kafkaError.unknownTopicOrPartition;
        if (code === 0 || code === kafkaError.duplicateSequence) {
          producer.sequence = sequenceAfter(producer.sequence, batch.length);
          return;
        }
        if (code === kafkaError.outOfOrderSequence || code === unknownProducerId) this.#producer = null;
        else if (!isRetriableKafkaError(code)) refuseKafkaError(code, 'cannot write', this.where, answer?.errorMessage);
        failure = new CutoverError('KAFKA_REQUEST_FAILED', {
          what: 'cannot write',
          where: this.where,
          found: kafkaErrorName(code),
        });
      } catch (error) {
        if (!(error instanceof CutoverError) || !error.retryable) throw error;
        failure = error;
      }
      if (Date.now() > deadline) throw failure;
      this.#leader = null;
      await pause(retryPauseMs);
    }
  }

  async #create(): Promise<number> {
    const { brokers } = await this.#cluster.metadata([]);
    const replicationFactor = Math.min(3, brokers.length);
    await createTopic(this.#cluster, {
      name: storageTopic,
      partitions: 1,
      replicationFactor,
      configs: {
        'cleanup.policy': 'compact',
        'max.message.bytes': String(1024 * 1024),
        ...(replicationFactor === 3 && { 'min.insync.replicas': '2' }),
      },
    });
    const leader = await this.#locate();
    if (leader !== null) return leader;
    throw new CutoverError('KAFKA_REQUEST_FAILED', {
      what: 'the topic was created but is not there',
      where: this.where,
    });
  }
}

export function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function corrupt(name: string, where: string, found: string, options?: { cause?: unknown }): CutoverError {
  return new CutoverError(
    'STORAGE_CORRUPT',
    { what: 'a stored artifact is not what was put', where: `${where}, artifact ${name}`, found },
    options,
  );
}

function chunkKey(name: string, generation: string, index: number): string {
  return `c:${generation}:${index}:${name}`;
}

function parseChunkKey(key: string): { name: string; generation: string } {
  const [, generation = '', , ...name] = key.split(':');
  return { name: name.join(':'), generation };
}

function parseEntry(value: Buffer): Entry {
  const newline = value.indexOf(10);
  try {
    const head = JSON.parse(value.subarray(0, newline).toString()) as Head;
    return { head: head.v === 1 ? head : null, inline: Buffer.from(value.subarray(newline + 1)) };
  } catch {
    return { head: null, inline: Buffer.alloc(0) };
  }
}

/**
 * Which of two clusters' last words is the newer one. Equal versions come from two writers at once; every reader must
 * then choose the same one.
 */
function newestFirst(a: Head, b: Head): number {
  return b.version - a.version || b.at - a.at || (a.generation < b.generation ? 1 : -1);
}

function* batches(records: readonly NewRecord[]): Generator<NewRecord[]> {
  let batch: NewRecord[] = [];
  let bytes = 0;
  for (const record of records) {
    const size = record.key.length + (record.value?.length ?? 0) + 64;
    if (batch.length > 0 && bytes + size > batchBytesMax) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(record);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

function encode(batch: readonly NewRecord[], producer: { readonly id: bigint; readonly sequence: number }): Buffer {
  const timestamp = BigInt(Date.now());
  const records = batch.map(({ key, value }) => ({ timestamp, key: Buffer.from(key), value }));
  return encodeBatch({ records, producerId: producer.id, baseSequence: producer.sequence }).bytes;
}
