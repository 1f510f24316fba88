/**
 * The bridge: records read from the source, given to a user's module one after the other, and written to the target in transactions, each of which also
 * holds how far its partition of the source is carried (bridge-map.ts). So a record arrives once, whatever dies when: a transaction is there whole, with its
 * position, or not at all.
 *
 * Each partition of the source has a transactional id of its own. Whoever carries it makes itself the newest producer of that id first, which ends or
 * completes what an earlier one left open, and only then reads the position. Any doubt (an answer that did not come) is settled the same way.
 * Records of one partition are carried in order, one transaction after the other; so are those of one key, as a key's records lie in one partition.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import { encodeBatch, type NewRecord, sequenceAfter } from '../kafka/batches.ts';
import type { Cluster } from '../kafka/cluster.ts';
import { isRetriableKafkaError, kafkaErrorName } from '../kafka/kafka-errors.ts';
import { listOffsets, partitionKey, type TopicPartition } from '../kafka/offsets.ts';
import type { KafkaRecord } from '../kafka/record.ts';
import { overtakenTerms, raiseTerms } from '../kafka/terms.ts';
import { addToTransaction, commitTransaction, type TransactionalProducer } from '../kafka/transactions.ts';
import { rawProduce } from '../kafka/wire.ts';
import { BridgeMapReader, bridgeTopic, forgetLeaders, leaderOf, produceTimeoutMs, readOnce } from './bridge-log.ts';
import { joinStretches, mapRecords, type Stretch } from './bridge-map.ts';
import { type Outgoing, placeOf, type Rules, type Transform, transformed } from './bridge-module.ts';

/** Of encoded records in one batch; the module may have made them larger than they were. */
const batchBytesMax = 900_000;
/** Tries in a row, of one partition, that came to nothing. */
const triesMax = 20;
const tryFirstPauseMs = 100;
const tryMaxPauseMs = 5_000;
const concurrentTransactions = 51;
const concurrentPauseMs = 5;
const messageTooLarge = 10;
/** INVALID_PRODUCER_EPOCH, PRODUCER_FENCED: somebody else is the newest producer of the id. */
const overtaken: ReadonlySet<number> = new Set([47, 90]);
/** Characters of why a record is poison. */
const reasonMax = 500;

export interface BridgeOptions {
  /** Plan and wave: of whom positions, maps and transactional ids are. */
  readonly name: string;
  readonly source: Cluster;
  readonly target: Cluster;
  readonly partitions: readonly TopicPartition[];
  readonly transform: Transform;
  readonly rules: Rules;
  readonly deadLetter: string;
  readonly deadLetterMax: number;
  /** Source offsets at which each partition is done; without it, only the signal ends the run. */
  readonly until?: ReadonlyMap<string, bigint>;
  readonly signal: AbortSignal;
  readonly onProgress?: (counts: BridgeCounts) => void;
  /** After each transaction, and where a partition was taken up. */
  readonly onPosition?: (place: TopicPartition, next: bigint) => void;
}

export interface BridgeCounts {
  /** Of the source. */
  read: number;
  written: number;
  leftOut: number;
  poison: number;
  transactions: number;
}

export const bridgeIdPrefix = (name: string): string => `kafka-cutover-bridge-${name}-`;

/** Which transactional id carries a partition. Needs WRITE on it. */
export const bridgeId = (name: string, { topic, partition }: TopicPartition): string =>
  `${bridgeIdPrefix(name)}${topic}-${partition}`;

/**
 * Carries until the signal, or until every partition is where `until` says.
 *
 * @throws CutoverError BRIDGE_POISONED, BRIDGE_OVERTAKEN, SOURCE_TRUNCATED, RECORD_TOO_LARGE, KAFKA_REQUEST_FAILED and what the clusters refuse
 */
export async function runBridge(options: BridgeOptions): Promise<BridgeCounts> {
  const counts: BridgeCounts = { read: 0, written: 0, leftOut: 0, poison: 0, transactions: 0 };
  const failing = new AbortController();
  const signal = AbortSignal.any([options.signal, failing.signal]);
  const map = new BridgeMapReader(options.target, options.name, { positionsAlone: true });
  const lanes = options.partitions.map((place) =>
    new Lane({ ...options, signal }, place, { map, counts }).run().catch((error) => {
      failing.abort();
      throw error;
    }),
  );
  const results = await Promise.allSettled(lanes);
  const [failed] = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  if (failed) throw failed;
  return counts;
}

/** One partition of the source. */
class Lane {
  readonly #options: BridgeOptions;
  readonly #place: TopicPartition;
  readonly #counts: BridgeCounts;
  #producer: TransactionalProducer;
  /** By partition of the target, of this term. */
  #sequences = new Map<string, number>();
  #position = 0n;
  readonly #map: BridgeMapReader;

  constructor(
    options: BridgeOptions,
    place: TopicPartition,
    { map, counts }: { map: BridgeMapReader; counts: BridgeCounts },
  ) {
    this.#map = map;
    this.#options = options;
    this.#place = place;
    this.#counts = counts;
    this.#producer = { id: bridgeId(options.name, place), producerId: -1n, epoch: -1 };
  }

  get #key(): string {
    return partitionKey(this.#place.topic, this.#place.partition);
  }

  async run(): Promise<void> {
    const { signal } = this.#options;
    for (let tries = 0; !signal.aborted; ) {
      try {
        // After a failure, whatever it was called: taking over again would end the bridge that came later.
        if (tries > 0) await this.#refuseOvertaken();
        await this.#takeOver();
        while (!signal.aborted && !this.#isDone()) {
          await this.#carryOn();
          tries = 0;
        }
        return;
      } catch (error) {
        if (!(error instanceof CutoverError) || !error.retryable || ++tries >= triesMax) throw error;
        for (const cluster of [this.#options.source, this.#options.target]) forgetLeaders(cluster);
        const pauseMs = Math.min(tryMaxPauseMs, tryFirstPauseMs * 2 ** Math.min(tries, 10));
        await sleep(pauseMs, undefined, { signal }).catch(() => {});
      }
    }
  }

  async #refuseOvertaken(): Promise<void> {
    const { id, producerId, epoch } = this.#producer;
    if (epoch < 0) return;
    const lost = await overtakenTerms(this.#options.target, new Map([[id, { producerId, epoch }]]));
    if (lost.size === 0) return;
    throw new CutoverError('BRIDGE_OVERTAKEN', {
      what: 'another bridge carries the partition now, or a transaction of ours stood open for too long',
      where: `cluster ${this.#options.target.name}, ${id}`,
      found: 'a newer producer of that transactional id',
      next: 'Start it again, unless another one runs.',
    });
  }

  #isDone(): boolean {
    const end = this.#options.until?.get(this.#key);
    return end !== undefined && this.#position >= end;
  }

  /** The order matters: once we are the newest producer nothing of an earlier one can come any more, so what is read then holds. */
  async #takeOver(): Promise<void> {
    const { source, target } = this.#options;
    const { id } = this.#producer;
    const term = (await raiseTerms(target, [id])).get(id);
    if (!term) throw new CutoverError('INTERNAL', { what: 'no term', where: id });
    this.#producer = { id, ...term };
    this.#sequences = new Map();
    const map = await this.#map.refresh(this.#options.signal);
    const start = (await listOffsets(source, [this.#place], 'start')).get(this.#key) ?? 0n;
    this.#position = map.positions.get(this.#key) ?? start;
    this.#options.onPosition?.(this.#place, this.#position);
    if (this.#position >= start) return;
    throw new CutoverError('SOURCE_TRUNCATED', {
      what: 'records that were not carried yet are gone from the source',
      where: `cluster ${source.name}, ${this.#key}`,
      found: `the log begins at ${start}`,
      wanted: `offset ${this.#position}`,
    });
  }

  async #carryOn(): Promise<void> {
    const { source, signal, until } = this.#options;
    const answer = await readOnce(source, this.#place, this.#position);
    const end = until?.get(this.#key);
    const records = answer.records.filter(({ offset }) => end === undefined || offset < end);
    const next = end !== undefined && answer.next > end ? end : answer.next;
    if (next === this.#position || signal.aborted) return;
    const { out, leftOut, poison } = await this.#transformAll(records);
    await this.#transact(out, next);
    this.#position = next;
    this.#options.onPosition?.(this.#place, next);
    this.#counts.read += records.length;
    this.#counts.written += out.length - poison;
    this.#counts.leftOut += leftOut;
    this.#counts.poison += poison;
    this.#counts.transactions++;
    this.#options.onProgress?.(this.#counts);
    const { deadLetterMax } = this.#options;
    if (this.#counts.poison <= deadLetterMax) return;
    throw new CutoverError('BRIDGE_POISONED', {
      what: 'too many records could not be taken by the module',
      where: `${this.#counts.poison} in topic ${this.#options.deadLetter} of ${this.#options.target.name}`,
      found: `more than ${deadLetterMax}`,
    });
  }

  async #transformAll(records: readonly KafkaRecord[]) {
    const out: (Outgoing & { readonly from: bigint })[] = [];
    let leftOut = 0;
    let poison = 0;
    for (const record of records) {
      try {
        const made = await transformed(this.#options.transform, this.#place, record, this.#options.rules);
        if (made.length === 0) leftOut++;
        for (const one of made) out.push({ ...one, from: record.offset });
      } catch (error) {
        poison++;
        out.push({ ...this.#deadLetter(record, error as Error), from: record.offset });
      }
    }
    return { out, leftOut, poison };
  }

  /** The record as it is, with where it comes from and why it is here. */
  #deadLetter(record: KafkaRecord, error: Error): Outgoing {
    const header = (key: string, value: string) => ({
      key: Buffer.from(`kafka-cutover-${key}`),
      value: Buffer.from(value),
    });
    return {
      topic: this.#options.deadLetter,
      partition: 0,
      record: {
        timestamp: record.timestamp,
        key: record.key,
        value: record.value,
        headers: [
          ...record.headers,
          header('topic', this.#place.topic),
          header('partition', String(this.#place.partition)),
          header('offset', record.offset.toString()),
          header('reason', String(error?.message ?? error).slice(0, reasonMax)),
        ],
      },
    };
  }

  /** All or nothing: the records, which became which, and the position. */
  async #transact(out: readonly (Outgoing & { readonly from: bigint })[], next: bigint): Promise<void> {
    const { target, name, rules } = this.#options;
    const groups = new Map<string, { place: TopicPartition; records: NewRecord[]; from: bigint[] }>();
    for (const { topic, partition, record, from } of out) {
      const at = placeOf({ topic, partition, record }, rules);
      const key = partitionKey(topic, at);
      const group = groups.get(key) ?? { place: { topic, partition: at }, records: [], from: [] };
      group.records.push(record);
      group.from.push(from);
      groups.set(key, group);
    }
    const stretches: Stretch[] = [];
    for (const { place, records, from } of groups.values()) {
      const offsets = await this.#write(place, records);
      from.forEach((first, index) => {
        const at = offsets[index];
        if (at !== undefined) stretches.push({ first, count: 1, ...place, at });
      });
    }
    const map = mapRecords(name, { ...this.#place, next, stretches: joinStretches(stretches) });
    const now = BigInt(Date.now());
    await this.#write(
      { topic: bridgeTopic, partition: 0 },
      map.map(({ key, value }) => ({ timestamp: now, key: Buffer.from(key), value: Buffer.from(value) })),
    );
    await this.#patiently(() => commitTransaction(target, this.#producer), 'commit');
  }

  /** @returns where each record stands, once the transaction is committed */
  async #write(place: TopicPartition, records: readonly NewRecord[]): Promise<bigint[]> {
    const { target } = this.#options;
    const key = partitionKey(place.topic, place.partition);
    await this.#patiently(() => addToTransaction(target, this.#producer, place), 'begin');
    const offsets: bigint[] = [];
    for (const batch of batchesOf(records)) {
      const sequence = this.#sequences.get(key) ?? 0;
      const encoded = encodeBatch({ records: batch });
      encoded.restamp(this.#producer.producerId, sequence, this.#producer.epoch);
      const [answer] = await target.call({ broker: await leaderOf(target, place) }, rawProduce, {
        timeoutMs: produceTimeoutMs,
        transactionalId: this.#producer.id,
        topics: [{ topic: place.topic, partitions: [{ partition: place.partition, records: [encoded.bytes] }] }],
      });
      this.#refuse(answer?.errorCode ?? -1, 'write', place);
      this.#sequences.set(key, sequenceAfter(sequence, batch.length));
      const base = answer?.baseOffset ?? 0n;
      batch.forEach((_, index) => {
        offsets.push(base + BigInt(index));
      });
    }
    return offsets;
  }

  /** A coordinator that is not done with the transaction before is asked again. */
  async #patiently(act: () => Promise<number>, what: string): Promise<void> {
    const until = performance.now() + produceTimeoutMs;
    for (;;) {
      const code = await act();
      if (code !== concurrentTransactions || performance.now() > until) return this.#refuse(code, what);
      await sleep(concurrentPauseMs);
    }
  }

  #refuse(code: number, what: string, place?: TopicPartition): void {
    if (code === 0) return;
    const where = `cluster ${this.#options.target.name}, ${place ? partitionKey(place.topic, place.partition) : this.#producer.id}`;
    if (overtaken.has(code)) {
      throw new CutoverError('BRIDGE_OVERTAKEN', {
        what: 'another bridge carries the partition now',
        where: `${this.#key}, ${where}`,
        found: kafkaErrorName(code),
      });
    }
    if (code === messageTooLarge) {
      throw new CutoverError('RECORD_TOO_LARGE', { what: 'the target refuses a batch for its size', where });
    }
    throw new CutoverError(isRetriableKafkaError(code) ? 'CLUSTER_UNREACHABLE' : 'KAFKA_REQUEST_FAILED', {
      what: `cannot ${what} a transaction of the bridge`,
      where,
      found: kafkaErrorName(code),
    });
  }
}

function* batchesOf(records: readonly NewRecord[]): Generator<readonly NewRecord[]> {
  let batch: NewRecord[] = [];
  let bytes = 0;
  for (const record of records) {
    const size = (record.key?.length ?? 0) + (record.value?.length ?? 0) + 64;
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
