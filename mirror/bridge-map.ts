/**
 * What a bridge remembers, in a compacted topic of the target: how far each partition of the source is carried, and which of its records became which. Both
 * are written in the very transaction that carries the records, so they are true whatever happens to whoever carries.
 */
import { partitionKey } from '../kafka/offsets.ts';

/** Of records that follow one another on both sides: source offsets from `first` on, `count` of them, at target offsets from `at` on. */
export interface Stretch {
  readonly first: bigint;
  readonly count: number;
  readonly topic: string;
  readonly partition: number;
  readonly at: bigint;
}

/** One transaction. */
export interface Carried {
  /** Of the source. */
  readonly topic: string;
  readonly partition: number;
  /** The next offset to read. */
  readonly next: bigint;
  readonly stretches: readonly Stretch[];
}

export interface MapRecord {
  readonly key: string;
  readonly value: string;
}

/** @param name of the bridge: plan and wave */
export function mapRecords(name: string, { topic, partition, next, stretches }: Carried): MapRecord[] {
  const place = `${name}/${topic}/${partition}`;
  const position = { key: `p/${place}`, value: JSON.stringify({ next: next.toString() }) };
  const [first] = stretches;
  if (!first) return [position];
  const written = stretches.map((s) => [s.first.toString(), s.count, s.topic, s.partition, s.at.toString()]);
  return [position, { key: `m/${place}/${first.first}`, value: JSON.stringify(written) }];
}

export class BridgeMap {
  readonly #name: string;
  readonly #positionsAlone: boolean;
  /** By `topic/partition` of the source. */
  readonly positions = new Map<string, bigint>();
  /** By `topic/partition` of the source, then by the first offset that the record's key names. */
  readonly #stretches = new Map<string, Map<string, readonly Stretch[]>>();
  /** By `topic/partition` of the target. */
  readonly #arrived = new Map<string, Stretch[]>();
  readonly #unsorted = new Set<string>();

  /** @param options.positionsAlone what became of records is not kept in memory */
  constructor(name: string, options: { readonly positionsAlone?: boolean } = {}) {
    this.#name = name;
    this.#positionsAlone = options.positionsAlone ?? false;
  }

  /** @param value null: forgotten */
  take(key: string, value: string | null): void {
    const [, kind, place] = /^([pm])\/(.*)$/s.exec(key) ?? [];
    if (!place?.startsWith(`${this.#name}/`)) return;
    const rest = place.slice(this.#name.length + 1);
    if (kind === 'p') {
      if (value === null) this.positions.delete(rest);
      else this.positions.set(rest, BigInt((JSON.parse(value) as { next: string }).next));
      return;
    }
    if (this.#positionsAlone) return;
    const slash = rest.lastIndexOf('/');
    const [from, first] = [rest.slice(0, slash), rest.slice(slash + 1)];
    const known = this.#stretches.get(from) ?? new Map<string, readonly Stretch[]>();
    this.#stretches.set(from, known);
    for (const { topic, partition, at } of known.get(first) ?? []) {
      const key = partitionKey(topic, partition);
      const others = this.#arrived.get(key)?.filter((stretch) => stretch.at !== at);
      this.#arrived.set(key, others ?? []);
    }
    known.delete(first);
    if (value === null) return;
    const written = JSON.parse(value) as [string, number, string, number, string][];
    const stretches = written.map(([offset, count, topic, partition, to]) => ({
      first: BigInt(offset),
      count,
      topic,
      partition,
      at: BigInt(to),
    }));
    known.set(first, stretches);
    this.#arrive(stretches);
  }

  /** Keys of all that is known of these topics of the source. */
  keysOf(topics: ReadonlySet<string>): string[] {
    const of = (from: string) => topics.has(from.slice(0, from.lastIndexOf('/')));
    return [
      ...[...this.positions.keys()].filter(of).map((from) => `p/${this.#name}/${from}`),
      ...[...this.#stretches].flatMap(([from, known]) =>
        of(from) ? [...known.keys()].map((first) => `m/${this.#name}/${from}/${first}`) : [],
      ),
    ];
  }

  /** In order of the source's offsets. */
  stretchesOf(topic: string, partition: number): readonly Stretch[] {
    const found = [...(this.#stretches.get(partitionKey(topic, partition))?.values() ?? [])].flat();
    return found.sort((a, b) => (a.first < b.first ? -1 : 1));
  }

  /**
   * Where a group of the source goes on, on each partition of the target that got records of these topics: at the first record that it has not read. Where it
   * has no position, it has read nothing.
   *
   * @param topics of the source, as far as the group reads them
   * @param positions by `topic/partition` of the source
   * @param deadLetter no group is led there
   */
  translate(topics: readonly string[], positions: ReadonlyMap<string, bigint>, deadLetter: string): Translated[] {
    return landed(
      this.#pairsOf(topics, deadLetter).map(([from, stretch]) => ({ ...stretch, from })),
      positions,
    );
  }

  /**
   * The way back: where a group of the target goes on, on each partition of these topics of the source. Records that were left out, or are dead letters, lie before
   * its position or behind it, as they did.
   *
   * @param topics of the source
   * @param positions by `topic/partition` of the target
   */
  translateBack(topics: readonly string[], positions: ReadonlyMap<string, bigint>, deadLetter: string): Translated[] {
    const turned = this.#pairsOf(topics, deadLetter).map(([from, { first, count, topic, partition, at }]) => {
      const slash = from.lastIndexOf('/');
      const into = { topic: from.slice(0, slash), partition: Number(from.slice(slash + 1)) };
      return { ...into, from: partitionKey(topic, partition), first: at, count, at: first };
    });
    // All of it is read: what was carried ends there, whatever became of the last records.
    const carried = new Map([...this.positions].filter(([key]) => topics.includes(key.slice(0, key.lastIndexOf('/')))));
    return landed(turned, positions, carried);
  }

  /** Records of these topics, from these positions on, that the module could not take. */
  deadLetters(topics: readonly string[], positions: ReadonlyMap<string, bigint>, deadLetter: string): number {
    return this.#pairs(topics)
      .filter(([, { topic }]) => topic === deadLetter)
      .reduce((sum, [from, stretch]) => sum + stretch.count - readOf(stretch, positions.get(from)), 0);
  }

  /** In order of the source's offsets: of records from `from` to before `until`. */
  stretchesBetween(topic: string, partition: number, from: bigint, until: bigint): readonly Stretch[] {
    const known = this.#stretches.get(partitionKey(topic, partition)) ?? new Map<string, readonly Stretch[]>();
    const found = [...known.values()].flatMap((stretches) =>
      stretches.filter(({ first, count }) => first < until && first + BigInt(count) > from),
    );
    return found.sort((a, b) => (a.first < b.first ? -1 : 1));
  }

  /** Whether a record of the target is one that a bridge wrote. */
  isCarried(topic: string, partition: number, offset: bigint): boolean {
    const arrived = this.#arrivals(partitionKey(topic, partition));
    let [low, high] = [0, arrived.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((arrived[middle] as Stretch).at <= offset) low = middle + 1;
      else high = middle;
    }
    const last = arrived[low - 1];
    return last !== undefined && offset < last.at + BigInt(last.count);
  }

  /** In order of the target's offsets. */
  #arrivals(key: string): readonly Stretch[] {
    const arrived = this.#arrived.get(key) ?? [];
    if (this.#unsorted.delete(key)) arrived.sort((a, b) => (a.at < b.at ? -1 : 1));
    return arrived;
  }

  #arrive(stretches: readonly Stretch[]): void {
    for (const stretch of stretches) {
      const key = partitionKey(stretch.topic, stretch.partition);
      const arrived = this.#arrived.get(key);
      if (arrived) arrived.push(stretch);
      else this.#arrived.set(key, [stretch]);
      this.#unsorted.add(key);
    }
  }

  /** Whether records of a topic of the source lie in one of these of the target. */
  leadsInto(topic: string, there: ReadonlySet<string>): boolean {
    return this.#pairs([topic]).some(([, stretch]) => there.has(stretch.topic));
  }

  #pairs(topics: readonly string[]): (readonly [from: string, stretch: Stretch])[] {
    return [...this.#stretches].flatMap(([from, known]) =>
      topics.includes(from.slice(0, from.lastIndexOf('/')))
        ? [...known.values()].flatMap((stretches) => stretches.map((stretch) => [from, stretch] as const))
        : [],
    );
  }

  #pairsOf(topics: readonly string[], deadLetter: string) {
    return this.#pairs(topics).filter(([, { topic }]) => topic !== deadLetter);
  }
}

/** Of one partition. */
export interface Translated {
  readonly topic: string;
  readonly partition: number;
  readonly position: bigint;
  /** Records behind it that were read already, since other partitions were ahead. */
  readonly replays: number;
  /** `topic/partition` of the cluster that is left, of records that are here. */
  readonly from: readonly string[];
}

interface Passage extends Stretch {
  /** `topic/partition` where `first` is. */
  readonly from: string;
}

function landed(
  passages: readonly Passage[],
  positions: ReadonlyMap<string, bigint>,
  ends: ReadonlyMap<string, bigint> = new Map(),
): Translated[] {
  const places = Map.groupBy(passages, ({ topic, partition }) => partitionKey(topic, partition));
  const keys = new Set([...places.keys(), ...ends.keys()]);
  return [...keys].map((key) => {
    const here = places.get(key) ?? [];
    let position = ends.get(key) ?? 0n;
    if (!ends.has(key)) for (const p of here) position = greater(position, p.at + BigInt(p.count));
    const read: { from: bigint; until: bigint }[] = [];
    for (const passage of here) {
      const { at, count } = passage;
      const done = readOf(passage, positions.get(passage.from));
      if (done > 0) read.push({ from: at, until: at + BigInt(done) });
      if (done < count && at + BigInt(done) < position) position = at + BigInt(done);
    }
    const slash = key.lastIndexOf('/');
    return {
      topic: key.slice(0, slash),
      partition: Number(key.slice(slash + 1)),
      position,
      replays: countFrom(position, read),
      from: [...new Set(here.map(({ from }) => from))].sort(),
    };
  });
}

/** Of the records of a stretch, those before a position. */
function readOf({ first, count }: Stretch, position = 0n): number {
  if (position <= first) return 0;
  return position >= first + BigInt(count) ? count : Number(position - first);
}

/** Each offset once, though several records may have become of it. */
function countFrom(position: bigint, ranges: { readonly from: bigint; readonly until: bigint }[]): number {
  let counted = position;
  let sum = 0n;
  for (const { from, until } of ranges.sort((a, b) => (a.from < b.from ? -1 : 1))) {
    const begin = greater(from, counted);
    if (until <= begin) continue;
    sum += until - begin;
    counted = until;
  }
  return Number(sum);
}

const greater = (a: bigint, b: bigint): bigint => (a > b ? a : b);

/** Adjacent ones as one. */
export function joinStretches(single: readonly Stretch[]): Stretch[] {
  const joined: Stretch[] = [];
  for (const next of single) {
    const last = joined.at(-1);
    const follows =
      last !== undefined &&
      last.topic === next.topic &&
      last.partition === next.partition &&
      last.first + BigInt(last.count) === next.first &&
      last.at + BigInt(last.count) === next.at;
    if (follows) joined[joined.length - 1] = { ...last, count: last.count + next.count };
    else joined.push(next);
  }
  return joined;
}
