/** Copying what lies there, against MirrorMaker 2: the same log, run about (ours, theirs, ours, ...). */

import { proveIdentical } from '../completeness.ts';
import { batchesOf, fill, type Shape } from '../fill.ts';
import { mirroredTopic, mirrorMakerTuning, startMirrorMaker } from '../mirror-maker.ts';
import { newProducerIds, startOurMirror } from '../mirroring.ts';
import type { Aim, Measured, Row, RowContext, Sample, Samples } from '../row.ts';
import { column, ratio } from '../statistics.ts';
import { brokersOf, timedCopy } from '../timed-copy.ts';
import {
  createSourceTopic,
  createTargetTopic,
  logBytes,
  partitionsOf,
  readableEnds,
  removeTopic,
} from '../topic-pair.ts';
import { fillWithTransactions } from '../transactional-fill.ts';

const shown = [
  'MBps',
  'recordsPerSecond',
  'copySeconds',
  'copyCpuSeconds',
  'brokersCpuSeconds',
  'startSeconds',
  'startCpuSeconds',
  'wholeCpuSeconds',
  'rssMaxMB',
] as const;

const faster = (wanted: number): Aim => ({
  what: "times MirrorMaker 2's throughput",
  wanted,
  better: 'more',
  reached: ({ ours, peer }: Samples) => ratio(column(ours, 'MBps'), column(peer, 'MBps')),
});
const cheaper = (wanted: number): Aim => ({
  what: 'times less CPU time than MirrorMaker 2, from the first record on',
  wanted,
  better: 'more',
  reached: ({ ours, peer }: Samples) => ratio(column(peer, 'copyCpuSeconds'), column(ours, 'copyCpuSeconds')),
});

interface CopyOptions {
  readonly name: string;
  readonly work: string;
  readonly partitions: number;
  readonly aims: readonly Aim[];
  readonly fill: (context: RowContext, topic: string) => Promise<void>;
  /** MirrorMaker 2's settings beyond its tuning. */
  readonly producer?: Readonly<Record<string, string>>;
  readonly consumer?: Readonly<Record<string, string>>;
  readonly profile?: Row['profile'];
}

function copyRow({ name, work, partitions, aims, fill: fillTopic, profile = [], ...peer }: CopyOptions): Row {
  return {
    name,
    work,
    peer: 'MirrorMaker 2',
    aims,
    profile,
    shown,
    run: async (context) => {
      const { source, target, say, stack } = context;
      const topic = `bench-${name}`;
      await createSourceTopic(source, topic, partitions);
      say('filling the source');
      await fillTopic(context, topic);
      const ends = await readableEnds(source, topic, partitions);
      const endsTotal = ends.reduce((sum, end) => sum + end, 0n);
      const bytes = await logBytes(source, topic);
      const places = partitionsOf(topic, partitions);

      const ours: Sample[] = [];
      const theirs: Sample[] = [];
      let records = 0;
      for (let run = 0; run < context.runs; run++) {
        await createTargetTopic(target, topic, partitions);
        const ids = await newProducerIds(target, partitions);
        const copy = { into: target, topic, partitions, endsTotal, bytes, brokers: brokersOf(context.stack) };
        ours.push(await timedCopy(copy, () => startOurMirror(context, places, ids)));
        if (run === 0) {
          say("proving the copy through Apache's consumer");
          records = await proveIdentical(stack, topic);
        }
        await removeTopic(target, topic);

        const alias = `run${run}-${name}`;
        const theirTopic = mirroredTopic({ alias, topic });
        await createTargetTopic(target, theirTopic, partitions);
        // It copies records, not offsets: markers leave no gap there.
        const theirCopy = { ...copy, topic: theirTopic, endsTotal: BigInt(records) };
        theirs.push(
          await timedCopy(theirCopy, () => startMirrorMaker(context, { alias, topic, tasks: partitions, ...peer })),
        );
        await removeTopic(target, theirTopic);
        say(`run ${run + 1} of ${context.runs}: ours ${rate(ours.at(-1))}, MirrorMaker 2 ${rate(theirs.at(-1))}`);
      }
      await removeTopic(source, topic);
      const counted = (samples: readonly Sample[]) =>
        samples.map((sample) => ({ ...sample, recordsPerSecond: (records / (bytes / 1e6)) * (sample.MBps as number) }));
      return {
        ours: counted(ours),
        peer: counted(theirs),
        conditions: {
          log: `${records.toLocaleString('en')} records in ${partitions} partitions, ${(bytes / 1e6).toFixed(0)} MB as stored`,
          'MirrorMaker 2': `${partitions} tasks; producer ${settings({ ...mirrorMakerTuning.producer, ...peer.producer })}; consumer ${settings({ ...mirrorMakerTuning.consumer, ...peer.consumer })}; -Xmx2G, G1`,
          proof:
            "ours: ends, counts and checksums equal through Apache's consumer in the first run, log ends equal in each; MirrorMaker 2: as many records on the target in each run",
        },
      } satisfies Measured;
    },
  };
}

const rate = (sample: Sample | undefined) =>
  `${sample?.MBps?.toFixed(1)} MB/s, ${sample?.copyCpuSeconds?.toFixed(2)} s of CPU after ${sample?.startCpuSeconds?.toFixed(1)} s`;

const settings = (values: Readonly<Record<string, string>>) =>
  Object.entries(values)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');

/** Fills every partition with batches of one shape until there are `records` of them in all. */
const shaped =
  (shape: Shape, partitions: number, records: number): CopyOptions['fill'] =>
  async ({ source, scale }, topic) => {
    const batchesEach = Math.ceil((records * scale) / shape.recordsPerBatch / partitions);
    await fill(source, partitionsOf(topic, partitions), batchesOf(shape), batchesEach);
  };

export const plainShape: Shape = { valueBytes: 1_024, recordsPerBatch: 15, codec: 'none', randomShare: 1 };
/** Half of each value is random, so that 238 records of 1 KB are packed into just under 128 KB. */
export const packedShape: Shape = { valueBytes: 1_024, recordsPerBatch: 238, codec: 'lz4', randomShare: 0.5 };
export const singleShape: Shape = { valueBytes: 100, recordsPerBatch: 1, codec: 'none', randomShare: 1 };

export const plain1k = copyRow({
  name: 'plain-1k',
  work: '1 KB records, 16 KB batches, 4 partitions, 1 GB',
  partitions: 4,
  aims: [faster(4), cheaper(10)],
  fill: shaped(plainShape, 4, 1_000_000),
  profile: [
    `Where the mirror's CPU time goes (Linux perf, 519 MB, before V8's new space was limited: 1.03 s): the kernel's copies in and out of sockets 0.33 s, V8's
helper threads (collection, compiling) 0.21 s, CRC-32C of what is read and of what is written 0.13 s at 5 to 8 GB/s, and the rest mostly the heads of records, which change where batches are
merged. Limiting the new space and merging in place took a quarter off the whole. The sockets and the checksums alone are 0.9 s a gigabyte, so a tenth of
MirrorMaker 2's time leaves 0.3 s for everything else: the aim is near, and not reached. A smaller new space, V8's collector on one thread and a single helper thread
made no difference (medians of four runs of each, 1.42 to 1.48 s beside 1.44 s, on a busy machine).`,
  ],
});

export const lz4 = copyRow({
  name: 'lz4-128k',
  work: '1 KB records, lz4, 128 KB batches, 4 partitions, 1 GB unpacked',
  partitions: 4,
  aims: [faster(3), cheaper(10)],
  fill: shaped(packedShape, 4, 1_000_000),
  producer: { 'compression.type': 'lz4' },
});

export const oneRecord = copyRow({
  name: 'one-record',
  work: '100-byte records, one a batch, 4 partitions',
  partitions: 4,
  aims: [faster(5)],
  fill: shaped(singleShape, 4, 400_000),
  profile: [
    `Small plain batches that follow each other are carried as one piece. Reading and preparing 1,600,000 of them, without sockets, takes 0.6 s of CPU, where an object
with views of its bytes for each took 2.2 s (garbage collection alone was 1.09 s). More than half of what is left is the checksum of each batch (V8's profiler: 0.35 s, and most of
the 0.1 s of collection for the view that it wants). Batches with a codec, of transactions, or stamped by the broker are still an object each.`,
  ],
});

const transactional = { partitions: 16, recordsPerTransaction: 100, valueBytes: 1_024, records: 320_000 };

export const transactions = copyRow({
  name: 'transactions-16',
  work: '16 partitions of transactional 1 KB records, a commit every 100 records of a partition',
  partitions: transactional.partitions,
  aims: [faster(1)],
  fill: ({ stack, scale }, topic) =>
    fillWithTransactions(stack, { ...transactional, topic, records: Math.ceil(transactional.records * scale) }),
  consumer: { 'isolation.level': 'read_committed' },
});
