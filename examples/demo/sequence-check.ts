/**
 * What a reader can say about numbered records: nothing lost, nothing twice, nothing out of order.
 *
 * Producers number their records per partition from 0. A reader shows every record that it is given, in the
 * order in which it is given them; records that it has processed before are told apart by their offset.
 */

export interface NumberedRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly producer: string;
  readonly sequence: number;
}

export interface SequenceCounts {
  /** Different records seen, replays not counted again. */
  readonly records: number;
  /** Numbers that were passed over and have not come since. */
  readonly lost: number;
  /** A number that stands in the log once more, at another offset. */
  readonly duplicated: number;
  /** A number that came after a higher one. */
  readonly reordered: number;
  /** The same record at the same offset, delivered again: what at-least-once allows. */
  readonly replayed: number;
  /** Another record than before at the same offset: the log itself has changed. */
  readonly diverged: number;
}

interface Lane {
  last: number;
  readonly missing: Set<number>;
}

/** One producer's records in one partition. */
export const laneOf = (producer: string, topic: string, partition: number): string =>
  `${producer} ${topic}-${partition}`;

export class SequenceCheck {
  #lanes = new Map<string, Lane>();
  /** Per partition: which record stood at which offset. */
  #logs = new Map<string, Map<bigint, string>>();
  #records = 0;
  #duplicated = 0;
  #reordered = 0;
  #replayed = 0;
  #diverged = 0;

  see({ topic, partition, offset, producer, sequence }: NumberedRecord): void {
    const place = `${topic}-${partition}`;
    const identity = `${producer} ${sequence}`;
    let log = this.#logs.get(place);
    if (!log) {
      log = new Map();
      this.#logs.set(place, log);
    }
    const before = log.get(offset);
    if (before === identity) {
      this.#replayed++;
      return;
    }
    if (before !== undefined) this.#diverged++;
    log.set(offset, identity);

    const name = laneOf(producer, topic, partition);
    let lane = this.#lanes.get(name);
    if (!lane) {
      lane = { last: -1, missing: new Set() };
      this.#lanes.set(name, lane);
    }
    if (sequence > lane.last) {
      for (let skipped = lane.last + 1; skipped < sequence; skipped++) lane.missing.add(skipped);
      lane.last = sequence;
      this.#records++;
    } else if (lane.missing.delete(sequence)) {
      this.#reordered++;
      this.#records++;
    } else {
      this.#duplicated++;
    }
  }

  counts(): SequenceCounts {
    let lost = 0;
    for (const lane of this.#lanes.values()) lost += lane.missing.size;
    return {
      records: this.#records,
      lost,
      duplicated: this.#duplicated,
      reordered: this.#reordered,
      replayed: this.#replayed,
      diverged: this.#diverged,
    };
  }

  /** Per lane (`laneOf`), the highest number seen. */
  reached(): Record<string, number> {
    return Object.fromEntries([...this.#lanes].map(([name, lane]) => [name, lane.last]));
  }
}
