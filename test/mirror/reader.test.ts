import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readBatches } from '../../kafka/batches.ts';
import type { Cluster } from '../../kafka/cluster.ts';
import { Leaders } from '../../mirror/leaders.ts';
import { type MirrorOptions, runMirror } from '../../mirror/mirror.ts';
import { LogReader } from '../../mirror/reader.ts';
import { append, createTopicPair, offsetsOf, openPair, readRecords, variedRecords } from './support.ts';

const pair = await openPair();

/** One record, a batch of its own. */
const batchBytes = 500_000;
const hotBatches = 80;
const withinMs = 120_000;
const lookEveryMs = 10;

/** A hot partition with a backlog, and cold ones that are idle. */
async function hotAndCold(cold: number) {
  const { topic, partitions } = await createTopicPair(pair, { partitions: 1 + cold });
  const value = Buffer.alloc(batchBytes, 'hot ');
  for (let n = 0; n < hotBatches; n++) {
    await append(pair.source, topic, 0, { records: [{ timestamp: 1n, key: null, value }] });
  }
  return { topic, partitions };
}

function mirroring(partitions: MirrorOptions['partitions'], more: Partial<MirrorOptions> = {}) {
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(withinMs)]);
  const running = runMirror({ from: pair.source, into: pair.target, partitions, signal, ...more });
  return { running, stop, signal };
}

const targetEnd = (topic: string, partition: number) => offsetsOf(pair.target, topic, partition).end();

describe('a hot partition with a big backlog', () => {
  // A request asks for a quarter of a second's bytes: the hot partition alone could fill every answer.
  for (const [what, maxBytesPerSecond] of [
    ['', 4_000_000],
    [', where one of its batches is more than an answer may hold', 1_500_000],
  ] as const) {
    it(`lets new records of cold partitions through while it is copied${what}`, async () => {
      const cold = 20;
      const { topic, partitions } = await hotAndCold(cold);
      const { running, stop, signal } = mirroring(partitions, { maxBytesPerSecond: () => maxBytesPerSecond });
      running.catch(() => {});
      while ((await targetEnd(topic, 0)) < 2n && !signal.aborted) await sleep(lookEveryMs);
      for (let partition = 1; partition <= cold; partition++) {
        await append(pair.source, topic, partition, { records: variedRecords(1, partition) });
      }
      const written = await targetEnd(topic, 0);
      for (let partition = 1; partition <= cold; partition++) {
        while ((await targetEnd(topic, partition)) < 1n && !signal.aborted) await sleep(lookEveryMs);
      }
      const arrived = await targetEnd(topic, 0);
      stop.abort();
      await running;
      assert.ok(!signal.aborted || stop.signal.aborted);
      assert.ok(
        arrived < hotBatches,
        `the hot partition was at ${written} when the records were written, at ${arrived} when all had arrived`,
      );
      for (let partition = 1; partition <= cold; partition++) {
        assert.equal((await readRecords(pair.target, topic, partition)).length, 1);
      }
    });
  }
});

describe('a leader far away', () => {
  const batches = 12;

  /** The largest answer while the backlog is read. */
  async function largestAnswer(cluster: Cluster, topic: string): Promise<number> {
    const leaders = new Leaders(cluster, new Map([[topic, '']]));
    await leaders.refresh();
    const read = Promise.withResolvers<void>();
    let largest = 0;
    const reader = new LogReader({
      cluster,
      leaders,
      partitions: [{ topic, partition: 0, nextFetch: 0n, reading: true, generation: 0 }],
      room: () => true,
      work: () => undefined,
      onAnswer: (p, { records }) => {
        largest = Math.max(largest, records.length);
        for (const { nextOffset } of readBatches(records)) p.nextFetch = nextOffset;
        if (p.nextFetch === BigInt(batches)) read.resolve();
      },
      onOutOfRange: () => assert.fail('nothing was truncated'),
      onFailure: read.reject,
    });
    reader.follow();
    await read.promise.finally(() => reader.stop());
    return largest;
  }

  /** Every request leaves so much later. */
  const from = (cluster: Cluster, delayMs: number): Cluster =>
    new Proxy(cluster, {
      get(target, name) {
        const found = Reflect.get(target, name, target);
        if (name !== 'open') return typeof found === 'function' ? found.bind(target) : found;
        return async (broker: number) => {
          const connection = await target.open(broker);
          const send = connection.send.bind(connection);
          connection.send = ((...request: Parameters<typeof send>) => {
            setTimeout(() => send(...request), delayMs);
          }) as typeof send;
          return connection;
        };
      },
    });

  it('is asked for more at once, so that distance is not speed', async () => {
    const { topic } = await createTopicPair(pair);
    const value = Buffer.alloc(batchBytes, 'far ');
    for (let n = 0; n < batches; n++) {
      await append(pair.source, topic, 0, { records: [{ timestamp: 1n, key: null, value }] });
    }
    const largest = await largestAnswer(from(pair.source, 100), topic);
    assert.ok(largest > batches * batchBytes, `the backlog comes in one answer, not in some of ${largest} bytes`);
  });
});
