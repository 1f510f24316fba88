/** Full verification, every record of both clusters compared, against the mirror's own speed over the same log. */
import { partitionKey } from '../../kafka/offsets.ts';
import { runAudit } from '../../mirror/audit.ts';
import { batchesOf, fill } from '../fill.ts';
import { newProducerIds, startOurMirror } from '../mirroring.ts';
import type { Row, Sample } from '../row.ts';
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
import { plainShape } from './copies.ts';

const topic = 'bench-verification';
const partitions = 4;
const recordsWanted = 1_000_000;

export const verification: Row = {
  name: 'verification',
  work: '1 KB records, 16 KB batches, 4 partitions, 1 GB: every record on both clusters compared',
  peer: 'the mirror itself',
  aims: [
    {
      what: "times the mirror's own throughput",
      wanted: 1,
      better: 'more',
      reached: ({ ours, peer }) => ratio(column(ours, 'MBps'), column(peer, 'MBps')),
    },
  ],
  shown: ['MBps', 'copySeconds', 'copyCpuSeconds'],
  run: async (context) => {
    const { source, target, say, runs, scale, stack } = context;
    const places = partitionsOf(topic, partitions);
    await createSourceTopic(source, topic, partitions);
    const batchesEach = Math.ceil((recordsWanted * scale) / plainShape.recordsPerBatch / partitions);
    await fill(source, places, batchesOf(plainShape), batchesEach);
    const ends = await readableEnds(source, topic, partitions);
    const endsTotal = ends.reduce((sum, end) => sum + end, 0n);
    const bytes = await logBytes(source, topic);
    const ours: Sample[] = [];
    const theirs: Sample[] = [];
    for (let run = 0; run < runs; run++) {
      await createTargetTopic(target, topic, partitions);
      const ids = await newProducerIds(target, partitions);
      const copy = { into: target, topic, partitions, endsTotal, bytes, brokers: brokersOf(stack) };
      theirs.push(await timedCopy(copy, () => startOurMirror(context, places, ids)));
      const before = process.cpuUsage();
      const startedAt = performance.now();
      const compared = await runAudit({
        source,
        target,
        partitions: places.map((place) => ({ ...place, position: 0n, records: 0, digest: '' })),
        until: new Map(places.map((place, i) => [partitionKey(topic, place.partition), ends[i] ?? 0n])),
        signal: new AbortController().signal,
      });
      const copySeconds = (performance.now() - startedAt) / 1_000;
      const { user, system } = process.cpuUsage(before);
      const equal = compared.reduce((sum, p) => sum + (p.differences === 0 ? p.records : 0), 0);
      if (BigInt(equal) !== endsTotal) throw new Error(`${equal} of ${endsTotal} records are equal`);
      ours.push({ MBps: bytes / 1e6 / copySeconds, copySeconds, copyCpuSeconds: (user + system) / 1e6 });
      say(
        `run ${run + 1}: compared at ${ours.at(-1)?.MBps?.toFixed(0)} MB/s, mirrored at ${theirs.at(-1)?.MBps?.toFixed(0)} MB/s`,
      );
      await removeTopic(target, topic);
    }
    await removeTopic(source, topic);
    return {
      ours,
      peer: theirs,
      conditions: {
        log: `${endsTotal.toLocaleString('en')} records in ${partitions} partitions, ${(bytes / 1e6).toFixed(0)} MB as stored, on each cluster`,
        compared:
          'offset, timestamp, key, value and headers of every record; from the first request to the last answer',
      },
    };
  },
};
