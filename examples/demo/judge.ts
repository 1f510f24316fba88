/**
 * The demo's own judge: reads both clusters' logs from the first record to the last with kafkajs, which no part of
 * the mirror uses, and compares them with each other and with what the producers were told when they wrote.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Kafka } from 'kafkajs';
import { SequenceCheck, type SequenceCounts } from './sequence-check.ts';

const readTimeoutMs = 60_000;

/** What a producer was told about one batch: a line of its acknowledgements file. */
export interface Acknowledgement {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly cluster: string;
  readonly topic: string;
  readonly partition: number;
  readonly baseOffset: string;
  readonly producer: string;
  readonly firstSequence: number;
  readonly count: number;
}

export interface LoggedRecord {
  readonly offset: bigint;
  readonly producer: string;
  readonly sequence: number;
  /** Of key, value, headers and timestamp. */
  readonly hash: string;
}

/** By `<topic>-<partition>`, in the order of the log. */
export type Logs = ReadonlyMap<string, readonly LoggedRecord[]>;

export interface Verdict {
  /** Records compared on both clusters. */
  readonly compared: number;
  /** Every record up to the shorter end is the same, in the same order, and every acknowledged one stands where its cluster said. */
  readonly equal: boolean;
  /** Each of them at the same offset. */
  readonly offsetsEqual: boolean;
  /** The first differences, one line each. */
  readonly differences: readonly string[];
  /** What the numbers in the longer log (the one that is written to) say. */
  readonly counts: SequenceCounts;
}

const differencesMax = 10;

/**
 * @param homeName the cluster that is written to: its log may be longer
 * @param acknowledgements what the producers were told, by any of the two clusters
 * @param offsetsMatter false where the replicator gives records other offsets: then an acknowledged one is looked for on the cluster that acknowledged it alone
 */
export function judge(
  homeName: string,
  home: Logs,
  other: Logs,
  acknowledgements: readonly Acknowledgement[],
  offsetsMatter = true,
): Verdict {
  const differences: string[] = [];
  let moved = 0;
  const check = new SequenceCheck();
  let compared = 0;
  for (const [place, records] of home) {
    const separator = place.lastIndexOf('-');
    const topic = place.slice(0, separator);
    const partition = Number(place.slice(separator + 1));
    const copies = other.get(place) ?? [];
    if (copies.length > records.length) {
      differences.push(`${place}: ${copies.length - records.length} records more on the cluster that was left`);
    }
    records.forEach((record, index) => {
      check.see({ topic, partition, ...record });
      const copy = copies[index];
      if (!copy) return;
      compared++;
      const isElsewhere = copy.offset !== record.offset;
      if (isElsewhere) moved++;
      if ((offsetsMatter && isElsewhere) || copy.hash !== record.hash) {
        differences.push(`${place}: ${nameOf(record)} against ${nameOf(copy)}`);
      }
    });
  }
  for (const line of acknowledgements) {
    const place = `${line.topic}-${line.partition}`;
    const byHome = line.cluster === homeName;
    const both = [[home, true] as const, [other, !byHome] as const];
    for (const [logs, must] of offsetsMatter ? both : both.filter(([logs]) => (logs === home) === byHome)) {
      const problem = unlike(line, logs.get(place) ?? [], must);
      if (problem) differences.push(`${place}: ${problem}`);
    }
  }
  return {
    compared,
    equal: differences.length === 0,
    offsetsEqual: moved === 0,
    differences: differences.slice(0, differencesMax),
    counts: check.counts(),
  };
}

/**
 * An acknowledged batch must stand where the producer was told, on both clusters. On the cluster that did not
 * acknowledge it and is not home, it may be missing at the end: the mirror may be behind, or have ended.
 */
function unlike(line: Acknowledgement, log: readonly LoggedRecord[], must: boolean): string | null {
  const first = log[0]?.offset ?? 0n;
  for (let i = 0; i < line.count; i++) {
    const offset = BigInt(line.baseOffset) + BigInt(i);
    const record = log[Number(offset - first)];
    if (!record && !must) return null;
    if (record?.offset !== offset || record.producer !== line.producer || record.sequence !== line.firstSequence + i) {
      const found = record ? nameOf(record) : 'nothing';
      return `${line.producer} ${line.firstSequence + i} was acknowledged at offset ${offset} by ${line.cluster}, found ${found}`;
    }
  }
  return null;
}

const nameOf = ({ offset, producer, sequence }: LoggedRecord): string => `${offset} (${producer} ${sequence})`;

export function readAcknowledgements(file: string): Acknowledgement[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  lines.pop(); // empty, or still being written
  return lines.map((line) => JSON.parse(line) as Acknowledgement);
}

/** Where the logs begin and end, by `<topic>-<partition>`. */
export async function logBounds(
  kafka: Kafka,
  topics: readonly string[],
): Promise<Map<string, { readonly start: bigint; readonly end: bigint }>> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const bounds = new Map<string, { readonly start: bigint; readonly end: bigint }>();
    for (const topic of topics) {
      for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) {
        bounds.set(`${topic}-${partition}`, { start: BigInt(low), end: BigInt(high) });
      }
    }
    return bounds;
  } finally {
    await admin.disconnect();
  }
}

/** All records up to the ends of the moment. Reads in a group of its own, and removes it afterwards. */
export async function readLogs(kafka: Kafka, topics: readonly string[]): Promise<Logs> {
  const bounds = await logBounds(kafka, topics);
  const logs = new Map<string, LoggedRecord[]>([...bounds.keys()].map((place) => [place, []]));
  const unread = new Set([...bounds].filter(([, { start, end }]) => end > start).map(([place]) => place));
  const groupId = `judge-${randomUUID()}`;
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100 });
  try {
    await consumer.connect();
    await consumer.subscribe({ topics: [...topics], fromBeginning: true });
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`could not read ${[...unread].join(', ')} to the end within ${readTimeoutMs} ms`)),
        readTimeoutMs,
      );
      const done = () => {
        clearTimeout(timer);
        resolve();
      };
      if (unread.size === 0) return done();
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
      consumer
        .run({
          autoCommit: false,
          eachBatch: async ({ batch }) => {
            const place = `${batch.topic}-${batch.partition}`;
            const end = bounds.get(place)?.end ?? 0n;
            const records = logs.get(place) ?? [];
            for (const message of batch.messages) {
              const offset = BigInt(message.offset);
              const last = records.at(-1)?.offset ?? -1n;
              if (offset >= end || offset <= last) continue;
              const { producer, sequence } = message.headers ?? {};
              const hash = createHash('sha256');
              const headers = Object.entries(message.headers ?? {}).flat();
              for (const part of [message.key, message.value, message.timestamp, ...headers.map(String)]) {
                hash.update(part ?? '\0null').update('\0');
              }
              records.push({
                offset,
                producer: String(producer),
                sequence: Number(sequence),
                hash: hash.digest('base64'),
              });
            }
            if ((records.at(-1)?.offset ?? -1n) >= end - 1n) unread.delete(place);
            if (unread.size === 0) done();
          },
        })
        .catch(reject);
    });
  } finally {
    await consumer.disconnect();
    const admin = kafka.admin();
    await admin.connect();
    await admin.deleteGroups([groupId]).catch(() => undefined); // without positions it goes by itself
    await admin.disconnect();
  }
  return logs;
}
