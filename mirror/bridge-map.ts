/**
 * What a bridge remembers, in a compacted topic of the target: how far each partition of the source is carried, and which of its records became which. Both
 * are written in the very transaction that carries the records, so they are true whatever happens to whoever carries.
 */

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
  /** By `topic/partition` of the source. */
  readonly positions = new Map<string, bigint>();
  readonly #stretches = new Map<string, Stretch[]>();

  constructor(name: string) {
    this.#name = name;
  }

  take(key: string, value: string): void {
    const [, kind, place] = /^([pm])\/(.*)$/s.exec(key) ?? [];
    if (!place?.startsWith(`${this.#name}/`)) return;
    const rest = place.slice(this.#name.length + 1);
    if (kind === 'p') {
      this.positions.set(rest, BigInt((JSON.parse(value) as { next: string }).next));
      return;
    }
    const at = rest.slice(0, rest.lastIndexOf('/'));
    const found = this.#stretches.get(at) ?? [];
    for (const [first, count, topic, partition, to] of JSON.parse(value) as [
      string,
      number,
      string,
      number,
      string,
    ][]) {
      found.push({ first: BigInt(first), count, topic, partition, at: BigInt(to) });
    }
    this.#stretches.set(at, found);
  }

  /** In order of the source's offsets. */
  stretchesOf(topic: string, partition: number): readonly Stretch[] {
    const found = this.#stretches.get(`${topic}/${partition}`) ?? [];
    return found.toSorted((a, b) => (a.first < b.first ? -1 : 1));
  }

  /**
   * Where a group that stands at these positions of one source topic goes on, on each partition that got records of it: at the first record that it has not
   * read. Records behind it that it has read already, since other partitions were ahead, are `replays`.
   *
   * @param positions by partition of the source
   */
  translate(topic: string, positions: ReadonlyMap<number, bigint>): Translated[] {
    const into = new Map<string, { readonly unread: bigint[]; readonly read: Stretch[]; end: bigint }>();
    for (const [partition, position] of positions) {
      for (const stretch of this.stretchesOf(topic, partition)) {
        const key = `${stretch.topic}/${stretch.partition}`;
        const place = into.get(key) ?? { unread: [], read: [], end: 0n };
        into.set(key, place);
        const count = BigInt(stretch.count);
        if (stretch.at + count > place.end) place.end = stretch.at + count;
        const readOf =
          position <= stretch.first ? 0n : position >= stretch.first + count ? count : position - stretch.first;
        if (readOf > 0n) place.read.push({ ...stretch, count: Number(readOf) });
        if (readOf < count) place.unread.push(stretch.at + readOf);
      }
    }
    return [...into].map(([key, { unread, read, end }]) => {
      const position = unread.reduce((least, at) => (at < least ? at : least), end);
      const replays = read.reduce((sum, { at, count }) => {
        const behind = at + BigInt(count) - (at > position ? at : position);
        return sum + (behind > 0n ? Number(behind) : 0);
      }, 0);
      const slash = key.lastIndexOf('/');
      return { topic: key.slice(0, slash), partition: Number(key.slice(slash + 1)), position, replays };
    });
  }
}

export interface Translated {
  readonly topic: string;
  readonly partition: number;
  readonly position: bigint;
  readonly replays: number;
}

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
