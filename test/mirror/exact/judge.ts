/**
 * Two judges of a mirror that has caught up: Apache's own consumer, under both isolation levels, on both clusters (DigestLog.java);
 * and the raw log, slot by slot (`slots.ts`).
 */
import type { Cluster } from '../../../kafka/cluster.ts';
import { listOffsets, partitionKey } from '../../../kafka/offsets.ts';
import type { Stack } from '../../../stack/stack.ts';
import { JavaProcess } from './java-process.ts';
import { compareSlots, countSlots, readSlots, type SlotCounts, type SlotRules } from './slots.ts';

export interface JudgedTopic {
  readonly topic: string;
  readonly partitions: number;
}

export interface Verdict {
  /** What is wrong, in words; [] when nothing is. At most `differencesShown` a partition and judge. */
  readonly differences: readonly string[];
  /** Of the source. */
  readonly slots: SlotCounts;
  /** Partitions whose target keeps an aborted record open because its source has an older transaction still open. */
  readonly heldBack: number;
}

const differencesShown = 5;
/** In the order that DigestLog.java is given its files. */
const clusterNumber = { target: 0, source: 1 } as const;
type Side = keyof typeof clusterNumber;
type Isolation = 'read_committed' | 'read_uncommitted';

/** By offset: timestamp and digest. */
type View = Map<string, string>;

export class Judge {
  readonly #java: JavaProcess;
  readonly #clusters: Readonly<Record<Side, Cluster>>;

  constructor({ stack, source, target }: { stack: Stack; source: Cluster; target: Cluster }) {
    if (!stack.source || !stack.target) throw new Error('judged on a stack of our own');
    this.#java = new JavaProcess('DigestLog', [stack.target, stack.source]);
    this.#clusters = { source, target };
  }

  stop(): void {
    this.#java.stop();
  }

  /** The mirror must have caught up, and rest: everything of the source below its last stable offset is judged. */
  async judge({ topic, partitions }: JudgedTopic, rules: SlotRules): Promise<Verdict> {
    const { source, target } = this.#clusters;
    const numbers = Array.from({ length: partitions }, (_, partition) => partition);
    const places = numbers.map((partition) => ({ topic, partition }));
    const read = async (cluster: Cluster) => ({
      start: await listOffsets(cluster, places, 'start'),
      stable: await listOffsets(cluster, places, 'lastStable'),
      mark: await listOffsets(cluster, places, 'highWatermark'),
      end: await listOffsets(cluster, places, 'logEnd'),
    });
    const [from, into] = [await read(source), await read(target)];
    const differences: string[] = [];
    const slots: SlotCounts = { records: 0, aborted: 0, markers: 0, holes: 0 };
    let heldBack = 0;
    const say = (partition: number, found: readonly string[]) => {
      const more = found.length > differencesShown ? [`and ${found.length - differencesShown} more`] : [];
      differences.push(
        ...[...found.slice(0, differencesShown), ...more].map((line) => `${topic}/${partition} ${line}`),
      );
    };

    const stableTo = new Map<number, bigint>();
    const carriedTo = new Map<number, bigint>();
    const dropped = new Map<number, Set<string>>();
    for (const partition of numbers) {
      const key = partitionKey(topic, partition);
      const at = (offsets: ReadonlyMap<string, bigint>) => offsets.get(key) ?? -1n;
      const end = at(from.stable);
      if (at(into.end) !== end || at(into.mark) !== end) {
        say(partition, [`log end ${at(into.end)}, high watermark ${at(into.mark)} on the target, not ${end}`]);
      }
      if (at(into.start) !== at(from.start)) say(partition, [`log start ${at(into.start)}, not ${at(from.start)}`]);
      const range = { start: at(from.start), end };
      const wanted = await readSlots(source, topic, partition, range);
      const found = await readSlots(target, topic, partition, {
        ...range,
        start: at(into.start),
        stable: at(into.stable),
      });
      say(partition, compareSlots(wanted, found, rules));
      countSlots(wanted, slots);
      // An aborted record that is kept stays open until the next marker, which an older open transaction may keep away.
      const lastMarker = wanted.slots.findLastIndex(({ kind }) => kind !== 'record' && kind !== 'aborted');
      const firstOpen = wanted.slots.findIndex(({ kind }, i) => i > lastMarker && kind === 'aborted');
      const mayHold = rules.aborted === 'keep' && firstOpen >= 0;
      const stableLeast = mayHold ? range.start + BigInt(firstOpen) : end;
      if (at(into.stable) < stableLeast || at(into.stable) > end) {
        say(partition, [`last stable offset ${at(into.stable)} on the target, not ${stableLeast}`]);
      }
      if (at(into.stable) < end) heldBack++;
      stableTo.set(partition, at(into.stable) < end ? at(into.stable) : end);
      carriedTo.set(partition, end);
      const isDropped = ({ kind }: { kind: string }) => rules.aborted === 'drop' && kind === 'aborted';
      dropped.set(
        partition,
        new Set(wanted.slots.flatMap((slot, i) => (isDropped(slot) ? [String(range.start + BigInt(i))] : []))),
      );
    }

    for (const isolation of ['read_committed', 'read_uncommitted'] as const) {
      const ends = isolation === 'read_committed' ? stableTo : carriedTo;
      const wanted = await this.#view('source', topic, isolation, ends);
      const found = await this.#view('target', topic, isolation, ends);
      for (const partition of numbers) {
        const left = found.get(partition) ?? new Map<string, string>();
        const right = wanted.get(partition) ?? new Map<string, string>();
        for (const offset of dropped.get(partition) ?? []) right.delete(offset);
        say(partition, compareViews(isolation, left, right));
      }
    }
    return { differences, slots, heldBack };
  }

  async #view(
    side: Side,
    topic: string,
    isolation: Isolation,
    ends: ReadonlyMap<number, bigint>,
  ): Promise<Map<number, View>> {
    const views = new Map<number, View>();
    const command = {
      cluster: clusterNumber[side],
      topic,
      partitions: [...ends.keys()],
      isolation,
      ends: Object.fromEntries([...ends].map(([partition, end]) => [partition, Number(end)])),
    };
    await this.#java.ask(command, (line) => {
      // The type of the timestamp is not compared: a mirrored topic keeps CreateTime until its own settings return.
      const [partition = '', offset = '', timestamp = '', , digest = ''] = line.split(' ');
      const view = views.get(Number(partition)) ?? new Map<string, string>();
      views.set(Number(partition), view.set(offset, `@${timestamp} ${digest}${view.has(offset) ? ', twice' : ''}`));
    });
    return views;
  }
}

function compareViews(isolation: Isolation, found: View, wanted: View): string[] {
  const wrong: string[] = [];
  for (const [offset, record] of wanted) {
    if (found.get(offset) !== record) wrong.push(`${isolation}, offset ${offset}: ${found.get(offset)}, not ${record}`);
  }
  for (const [offset, record] of found) {
    if (!wanted.has(offset)) wrong.push(`${isolation}, offset ${offset}: ${record}, not on the source`);
  }
  return wrong;
}
