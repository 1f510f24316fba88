/**
 * What a bridge has done, judged by doing it again: each committed record of the source goes through the module once more, and what comes out must stand where the
 * bridge's map says, byte by byte; what is left out, or a dead letter, is counted as that. And every record of the target must be one that the map names. So
 * the module must give the same for the same record: what depends on the time, or on chance, shows as a difference.
 *
 * Gives what `runPairing` gives, so that the steps around it are the same.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import type { NewRecord } from '../kafka/batches.ts';
import { isPassing, listOffsets, partitionKey, partitionOf, type TopicPartition } from '../kafka/offsets.ts';
import type { KafkaRecord } from '../kafka/record.ts';
import { BridgeMapReader, forgetLeaders, readOnce } from './bridge-log.ts';
import type { BridgeMap, Stretch } from './bridge-map.ts';
import { placeOf, type Rules, type Transform, transformed } from './bridge-module.ts';
import type { PairingCounts, Unpaired } from './pairing.ts';
import type { PairedPartition, PairingRunOptions, PairingStart } from './pairing-run.ts';

export interface BridgeAuditOptions
  extends Pick<PairingRunOptions, 'origin' | 'copy' | 'partitions' | 'signal' | 'until' | 'onProgress'> {
  readonly name: string;
  readonly transform: Transform;
  readonly rules: Rules;
  readonly deadLetter: string;
}

/** Where nothing new was found. */
const idlePauseMs = 50;
const failedPauseMs = 500;
/** For a record that its transaction's coordinator is still about to release. */
const releaseMaxMs = 30_000;

/** @throws CutoverError KAFKA_REQUEST_FAILED, TOPIC_MISSING, CLUSTER_ACCESS_DENIED, CLUSTER_AUTH_FAILED */
export async function runBridgeAudit(options: BridgeAuditOptions): Promise<readonly PairedPartition[]> {
  const { origin, copy, partitions, signal, onProgress } = options;
  const reader = new BridgeMapReader(copy, options.name);
  const lanes = partitions.map((start) => new Lane(options, reader, start));
  const progress = () => lanes.map((lane) => lane.progress);
  while (!signal.aborted) {
    try {
      await reader.refresh(signal);
      const [starts, ends] = await Promise.all([
        listOffsets(origin, partitions, 'start'),
        listOffsets(copy, partitions, 'lastStable'),
      ]);
      const moved = await Promise.all(lanes.map((lane) => lane.step(starts, ends)));
      onProgress?.(progress());
      if (moved.some((one) => one)) continue;
      if (lanes.every((lane) => lane.isDone)) break;
      await sleep(idlePauseMs, undefined, { signal });
    } catch (error) {
      if (signal.aborted) break;
      if (!isPassing(error)) throw error;
      for (const cluster of [origin, copy]) forgetLeaders(cluster);
      await sleep(failedPauseMs, undefined, { signal }).catch(() => {});
    }
  }
  return progress();
}

/** What should stand at one place of the target. */
interface Wanted {
  readonly from: bigint;
  readonly at: bigint;
  /** Null: a dead letter of `source`. */
  readonly record: NewRecord | null;
  readonly source: KafkaRecord;
}

/** One partition of the source, and the one of that number on the target. */
class Lane {
  readonly #options: BridgeAuditOptions;
  readonly #reader: BridgeMapReader;
  readonly #given: PairingStart;
  readonly #key: string;
  #position: bigint;
  #scanned: bigint;
  #counts: PairingCounts;
  #first: Unpaired | null = null;
  /** By `topic/partition` of the target: where this partition's last record lies. */
  #last = new Map<string, bigint>();

  constructor(options: BridgeAuditOptions, reader: BridgeMapReader, given: PairingStart) {
    this.#options = options;
    this.#reader = reader;
    this.#given = given;
    this.#key = partitionKey(given.topic, given.partition);
    this.#position = given.place.origin;
    this.#scanned = given.place.copy;
    this.#counts = { ...given.counts };
  }

  get #map(): BridgeMap {
    return this.#reader.map;
  }

  get isDone(): boolean {
    const end = this.#options.until?.get(this.#key);
    return end !== undefined && this.#position >= end;
  }

  get progress(): PairedPartition {
    const { topic, partition, start } = this.#given;
    const place = { origin: this.#position, copy: this.#scanned };
    return { topic, partition, start, place, anchors: [], counts: this.#counts, first: this.#first, located: [] };
  }

  /** @returns whether anything was found to be looked at */
  async step(starts: ReadonlyMap<string, bigint>, ends: ReadonlyMap<string, bigint>): Promise<boolean> {
    const [before, scanned] = [this.#position, this.#scanned];
    const carried = this.#map.positions.get(this.#key) ?? 0n;
    const until = this.#options.until?.get(this.#key);
    const end = until !== undefined && until < carried ? until : carried;
    const start = starts.get(this.#key) ?? 0n;
    if (this.#position < end && this.#position < start) this.#passLost(start);
    else if (this.#position < end) await this.#whole(() => this.#judge(end));
    if (this.#scanned < (ends.get(this.#key) ?? 0n)) await this.#scan();
    return this.#position !== before || this.#scanned !== scanned;
  }

  /** A part that fails is judged again, from nothing. */
  async #whole(part: () => Promise<void>): Promise<void> {
    const [counts, first, last] = [this.#counts, this.#first, new Map(this.#last)];
    try {
      await part();
    } catch (error) {
      [this.#counts, this.#first, this.#last] = [counts, first, last];
      throw error;
    }
  }

  /** What the source has no more cannot be put to the module. */
  #passLost(start: bigint): void {
    const { topic, partition } = this.#given;
    const lost = this.#map.stretchesBetween(topic, partition, this.#position, start);
    this.#count(
      'superseded',
      lost.reduce((sum, { count }) => sum + count, 0),
    );
    this.#position = start;
  }

  async #judge(end: bigint): Promise<void> {
    const { origin, rules, transform, deadLetter } = this.#options;
    const { topic, partition } = this.#given;
    const { records, next } = await readOnce(origin, this.#given, this.#position);
    const until = next < end ? next : end;
    const placed = Map.groupBy(
      this.#map.stretchesBetween(topic, partition, this.#position, until).flatMap(single),
      ({ first }) => first,
    );
    const wanted = new Map<string, Wanted[]>();
    const want = (one: TopicPartition, what: Wanted) => {
      const key = partitionKey(one.topic, one.partition);
      wanted.set(key, [...(wanted.get(key) ?? []), what]);
    };
    let [judged, leftOut, dead] = [0, 0, 0];
    for (const source of records.filter(({ offset }) => offset < until)) {
      const places = placed.get(source.offset) ?? [];
      placed.delete(source.offset);
      judged++;
      const [only] = places;
      if (only?.topic === deadLetter) {
        dead++;
        want(only, { from: source.offset, at: only.at, record: null, source });
        continue;
      }
      const outs = await transformed(transform, { topic, partition }, source, rules).catch(() => null);
      if (outs?.length === 0 && places.length === 0) leftOut++;
      const rest = Map.groupBy(places, (one) => partitionKey(one.topic, one.partition));
      for (const out of outs ?? []) {
        const there = { topic: out.topic, partition: placeOf(out, rules) };
        const at = rest.get(partitionKey(there.topic, there.partition))?.shift()?.at;
        if (at === undefined) this.#differ('missing', source.offset);
        else want(there, { from: source.offset, at, record: out.record, source });
      }
      // Of a record that the module makes no more, or cannot take now.
      for (const _ of [...rest.values()].flat()) this.#differ('foreign', source.offset);
    }
    for (const [key, all] of wanted) await this.#compare(partitionOf(key), all);
    // Records that a cleaner has removed from the source since.
    this.#count('superseded', placed.size);
    this.#count('records', judged);
    this.#count('leftOut', leftOut);
    this.#count('deadLettered', dead);
    this.#position = until;
  }

  /** The records of one partition of the target, in the order of the source's. */
  async #compare(there: TopicPartition, wanted: readonly Wanted[]): Promise<void> {
    const key = partitionKey(there.topic, there.partition);
    for (const { at, from } of wanted) {
      if (at <= (this.#last.get(key) ?? -1n)) this.#differ('reordered', from);
      this.#last.set(key, at);
    }
    const open = wanted.toSorted((a, b) => (a.at < b.at ? -1 : 1));
    const until = performance.now() + releaseMaxMs;
    for (let at = open[0]?.at ?? 0n; open.length > 0; ) {
      const { records, next, end } = await readOnce(this.#options.copy, there, at);
      for (const record of records) {
        while (open[0] && open[0].at < record.offset) this.#differ('missing', (open.shift() as Wanted).from);
        if (open[0]?.at !== record.offset) continue;
        const one = open.shift() as Wanted;
        if (!isWanted(one, record)) this.#differ('missing', one.from);
      }
      while (open[0] && (open[0].at < next || open[0].at >= end)) {
        this.#differ('missing', (open.shift() as Wanted).from);
      }
      at = next;
      this.#options.signal.throwIfAborted();
      if (open.length === 0 || performance.now() < until) continue;
      throw new CutoverError('CLUSTER_UNREACHABLE', {
        what: 'a committed record of the bridge cannot be read: a transaction before it stays open',
        where: `cluster ${this.#options.copy.name}, ${key}`,
        found: `offset ${next}`,
      });
    }
  }

  /** Whoever else wrote to the target. */
  async #scan(): Promise<void> {
    const { topic, partition } = this.#given;
    const { records, next } = await readOnce(this.#options.copy, this.#given, this.#scanned);
    const isOurs = ({ offset }: KafkaRecord) => this.#map.isCarried(topic, partition, offset);
    let strangers = records.filter((record) => !isOurs(record));
    // What can be read was committed, so its map had been written before; maybe not before the map was read.
    if (strangers.length > 0) await this.#reader.refresh(this.#options.signal);
    strangers = strangers.filter((record) => !isOurs(record));
    for (const { offset } of strangers) this.#differ('foreign', offset);
    this.#scanned = next;
  }

  #count(kind: keyof PairingCounts, by: number): void {
    if (by > 0) this.#counts = { ...this.#counts, [kind]: (this.#counts[kind] ?? 0) + by };
  }

  #differ(kind: Unpaired['kind'], offset: bigint): void {
    this.#count(kind, 1);
    this.#first ??= { kind, offset };
  }
}

function single({ first, count, topic, partition, at }: Stretch): Stretch[] {
  return Array.from({ length: count }, (_, i) => ({
    first: first + BigInt(i),
    count: 1,
    topic,
    partition,
    at: at + BigInt(i),
  }));
}

function isWanted({ record, source }: Wanted, found: KafkaRecord): boolean {
  if (record === null) {
    // With the record's own headers first; when it arrived, the broker says.
    const own = { ...source, timestamp: found.timestamp };
    const said = found.headers.find(({ key }) => key.toString() === 'kafka-cutover-offset')?.value?.toString();
    return (
      said === source.offset.toString() && same(own, { ...found, headers: found.headers.slice(0, own.headers.length) })
    );
  }
  return same(record, found);
}

function same(wanted: NewRecord, found: KafkaRecord): boolean {
  const headers = wanted.headers ?? [];
  return (
    wanted.timestamp === found.timestamp &&
    sameBytes(wanted.key, found.key) &&
    sameBytes(wanted.value, found.value) &&
    headers.length === found.headers.length &&
    headers.every(({ key, value }, i) => {
      const there = found.headers[i];
      return there !== undefined && key.equals(there.key) && sameBytes(value, there.value);
    })
  );
}

function sameBytes(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b);
}
