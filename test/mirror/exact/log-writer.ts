/** Writes random logs to the source: Apache's producers (WriteLog.java) send, the source's own cleaner and DeleteRecords cut. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../../../kafka/cluster.ts';
import { listOffsets, partitionKey } from '../../../kafka/offsets.ts';
import { alterTopicConfigs } from '../../../kafka/topics.ts';
import type { Stack } from '../../../stack/stack.ts';
import { append, variedRecords } from '../support.ts';
import { JavaProcess } from './java-process.ts';
import type { LogStep, ProducerShape } from './random-log.ts';

/** What a source broker needs so that its cleaner runs when asked to. */
export const quickCleaner = { 'log.cleaner.backoff.ms': '200' };

/** Settings of a source topic that takes every record of a random log. */
export const roomyTopic = {
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'message.timestamp.after.max.ms': '9223372036854775807',
  'max.message.bytes': '2000000',
};

const cleanedTimeoutMs = 60_000;
const cleanedPollMs = 100;
/** Later than any other: a segment is closed by the timestamps of its records. */
const closingTimestampMs = 20_000_000_000_000;

export interface WriterOptions {
  readonly stack: Stack;
  readonly source: Cluster;
}

export class LogWriter {
  readonly #stack: Stack;
  readonly #source: Cluster;
  readonly #java: JavaProcess;
  #closings = 0;

  constructor({ stack, source }: WriterOptions) {
    if (!stack.source) throw new Error('random logs are written on a stack of our own');
    this.#stack = stack;
    this.#source = source;
    this.#java = new JavaProcess('WriteLog', [stack.source]);
  }

  stop(): void {
    this.#java.stop();
  }

  /** A topic to write to; its open transactions are kept in mind here. */
  log(topic: string, partitions: number, producers: readonly ProducerShape[]): WrittenLog {
    return new WrittenLog(this, topic, partitions, producers);
  }

  ask(command: object): Promise<Record<string, unknown>> {
    return this.#java.ask(command);
  }

  raw(topic: string, step: LogStep & { do: 'raw' }): Promise<bigint> {
    const { partition, codec, count } = step;
    const records = variedRecords(count).map((record, i) => ({ ...record, timestamp: BigInt(i % 3) - 1n }));
    return append(this.#source, topic, partition, { codec, records });
  }

  async deleteRecords(topic: string, { partition, share }: LogStep & { do: 'deleteRecords' }): Promise<void> {
    const key = partitionKey(topic, partition);
    const start = (await listOffsets(this.#source, [{ topic, partition }], 'start')).get(key) ?? 0n;
    const end = (await listOffsets(this.#source, [{ topic, partition }], 'highWatermark')).get(key) ?? 0n;
    const before = Number(start) + Math.floor(Number(end - start) * share);
    await this.ask({ do: 'deleteRecords', topic, partition, before });
  }

  setTimestampType(topic: string, type: string): Promise<void> {
    return alterTopicConfigs(this.#source, topic, { set: { 'message.timestamp.type': type }, unset: [] });
  }

  /** Closes the segments that hold the log so far, lets the cleaner run over them, and waits until it has. */
  async compact(topic: string, partitions: number): Promise<void> {
    const source = this.#source;
    const numbers = Array.from({ length: partitions }, (_, partition) => partition);
    const set = { 'message.timestamp.type': 'CreateTime', 'segment.ms': '1' };
    await alterTopicConfigs(source, topic, { set, unset: [] });
    const closing = (n: number) => ({ do: 'send', producer: closer, topic, partition: n, records: this.#closing() });
    for (const partition of numbers) await this.ask(closing(partition));
    const ends = await listOffsets(
      source,
      numbers.map((partition) => ({ topic, partition })),
      'highWatermark',
    );
    // The next one opens a new segment, so that the one with `closing` in it is closed.
    for (const partition of numbers) await this.ask(closing(partition));
    const stable = await listOffsets(
      source,
      numbers.map((partition) => ({ topic, partition })),
      'lastStable',
    );
    const policy = { 'cleanup.policy': 'compact', 'min.cleanable.dirty.ratio': '0', 'delete.retention.ms': '0' };
    await alterTopicConfigs(source, topic, { set: { ...policy, 'max.compaction.lag.ms': '1' }, unset: ['segment.ms'] });
    const starts = await listOffsets(
      source,
      numbers.map((partition) => ({ topic, partition })),
      'start',
    );
    const wanted = new Map<string, bigint>();
    for (const partition of numbers) {
      const key = partitionKey(topic, partition);
      const [end = 0n, lastStable = 0n, start = 0n] = [ends.get(key), stable.get(key), starts.get(key)];
      // Segments are cleaned whole: one with an open transaction in it is not, and here one segment may be all there is.
      if (lastStable >= end && end > start) wanted.set(`${topic} ${partition}`, end);
    }
    const deadline = performance.now() + cleanedTimeoutMs;
    while (!this.#cleanedTo(wanted)) {
      if (performance.now() > deadline) {
        const missing = [...wanted].map(([place, bound]) => `${place} to ${bound}`).join(', ');
        throw new Error(`the source's cleaner did not run over ${missing}`);
      }
      await sleep(cleanedPollMs);
    }
    await alterTopicConfigs(source, topic, {
      set: { 'cleanup.policy': 'delete' },
      unset: Object.keys(policy).slice(1),
    });
    for (const partition of numbers) await this.#keylessTaken(topic, partition);
  }

  /** The controller answers before the leader has applied the policy: until then it refuses records without a key. */
  async #keylessTaken(topic: string, partition: number): Promise<void> {
    const records = [{ timestamp: BigInt(Date.now()), key: null, value: Buffer.from('keyless'), headers: [] }];
    for (let tries = 1; ; tries++) {
      try {
        await append(this.#source, topic, partition, { codec: 'none', records });
        return;
      } catch (error) {
        if (tries === 100) throw error;
        await sleep(cleanedPollMs);
      }
    }
  }

  #closing() {
    const t = closingTimestampMs + ++this.#closings * 1_000;
    return [{ k: Buffer.from('closing').toString('base64'), v: { seed: t, size: 10, noise: false }, t }];
  }

  /** As the brokers write it down: `topic partition offset` a line, the first offset that is not cleaned. */
  #cleanedTo(wanted: ReadonlyMap<string, bigint>): boolean {
    const reached = new Set<string>();
    for (const { id } of this.#stack.source?.brokers ?? []) {
      const file = join(this.#stack.dir, 'source', `data-${id}`, 'cleaner-offset-checkpoint');
      for (const line of readIfThere(file).split('\n')) {
        const at = line.lastIndexOf(' ');
        const bound = wanted.get(line.slice(0, at));
        if (bound !== undefined && BigInt(line.slice(at + 1)) >= bound) reached.add(line.slice(0, at));
      }
    }
    return reached.size === wanted.size;
  }
}

const closer: ProducerShape = { name: 'closer', kind: 'plain', codec: 'none', lingerMs: 0, batchBytes: 16_384 };

export class WrittenLog {
  readonly topic: string;
  readonly partitions: number;
  readonly #writer: LogWriter;
  readonly #producers: readonly ProducerShape[];
  readonly #open = new Set<number>();

  constructor(writer: LogWriter, topic: string, partitions: number, producers: readonly ProducerShape[]) {
    this.#writer = writer;
    this.topic = topic;
    this.partitions = partitions;
    this.#producers = producers;
  }

  /** Transactions of this log that are neither committed nor aborted yet. */
  get open(): number {
    return this.#open.size;
  }

  /** @throws Error of a step that the source refused; an open transaction of that producer is ended by its next one */
  async write(steps: readonly LogStep[]): Promise<void> {
    for (const step of steps) await this.#run(step);
  }

  /** Ends what is open, by turns one way and the other. */
  async endAll(): Promise<void> {
    let commit = true;
    for (const producer of [...this.#open]) {
      await this.#run({ do: commit ? 'commit' : 'abort', producer });
      commit = !commit;
    }
  }

  async #run(step: LogStep): Promise<void> {
    const { topic } = this;
    switch (step.do) {
      case 'send': {
        const { partition, records } = step;
        const producer = this.#producers[step.producer];
        const begin = producer?.kind === 'transactional' && !this.#open.has(step.producer);
        if (begin) this.#open.add(step.producer);
        try {
          await this.#writer.ask({ do: 'send', producer, topic, partition, records, begin });
        } catch (error) {
          this.#open.delete(step.producer);
          throw error;
        }
        return;
      }
      case 'commit':
      case 'abort':
        if (this.#open.delete(step.producer)) {
          await this.#writer.ask({ do: step.do, producer: this.#producers[step.producer] });
        }
        return;
      case 'endAll':
        return this.endAll();
      case 'raw':
        await this.#writer.raw(topic, step);
        return;
      case 'deleteRecords':
        return this.#writer.deleteRecords(topic, step);
      case 'compact':
        return this.#writer.compact(topic, this.partitions);
      case 'timestampType':
        return this.#writer.setTimestampType(topic, step.type);
    }
  }
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
