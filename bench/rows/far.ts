/** A source far away: 100 ms from a request to its answer, as between continents, against MirrorMaker 2 on the same way. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cluster } from '../../kafka/cluster.ts';
import { parseClusters } from '../../kafka/clusters.ts';
import { clusterEntry, clusterEnvironment, clustersYaml } from '../../stack/clusters-file.ts';
import { freePorts } from '../../stack/ports.ts';
import { type Stack, startStack } from '../../stack/stack.ts';
import { endWithBench } from '../child.ts';
import { proveIdentical } from '../completeness.ts';
import { batchesOf, fill } from '../fill.ts';
import { mirroredTopic, startMirrorMaker } from '../mirror-maker.ts';
import { newProducerIds, startOurMirror } from '../mirroring.ts';
import type { Row, RowContext, Sample } from '../row.ts';
import { column, figure, ratio } from '../statistics.ts';
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

const topic = 'bench-far';
const partitions = 4;
const recordsWanted = 300_000;
const delayMs = 50;
const scramModule = 'org.apache.kafka.common.security.scram.ScramLoginModule required;';

export const far: Row = {
  name: 'far',
  work: '1 KB records, 16 KB batches, 4 partitions, 300 MB; the source 100 ms away',
  peer: 'MirrorMaker 2',
  aims: [
    {
      what: "times MirrorMaker 2's throughput",
      wanted: 1,
      better: 'more',
      reached: ({ ours, peer }) => ratio(column(ours, 'MBps'), column(peer, 'MBps')),
    },
    { what: 'MB/s', wanted: 50, better: 'more', reached: ({ ours }) => figure(column(ours, 'MBps')) },
  ],
  shown: ['MBps', 'copySeconds', 'copyCpuSeconds', 'startSeconds', 'rssMaxMB'],
  run: async (near) => {
    const { target, say, scale } = near;
    await using context = await withFarSource(near);
    const { source, stack } = context;
    const places = partitionsOf(topic, partitions);
    await createSourceTopic(source, topic, partitions);
    const batchesEach = Math.ceil((recordsWanted * scale) / plainShape.recordsPerBatch / partitions);
    await fill(source, places, batchesOf(plainShape), batchesEach);
    const ends = await readableEnds(source, topic, partitions);
    const endsTotal = ends.reduce((sum, end) => sum + end, 0n);
    const bytes = await logBytes(source, topic);
    const copy = { into: target, topic, partitions, endsTotal, bytes, brokers: brokersOf(stack) };
    const ours: Sample[] = [];
    const theirs: Sample[] = [];
    for (let run = 0; run < context.runs; run++) {
      await createTargetTopic(target, topic, partitions);
      const ids = await newProducerIds(target, partitions);
      ours.push(await timedCopy(copy, () => startOurMirror(context, places, ids)));
      if (run === 0) await proveIdentical(stack, topic);
      await removeTopic(target, topic);

      const alias = `far${run}`;
      const theirTopic = mirroredTopic({ alias, topic });
      await createTargetTopic(target, theirTopic, partitions);
      theirs.push(
        await timedCopy({ ...copy, topic: theirTopic }, () =>
          startMirrorMaker(context, { alias, topic, tasks: partitions }),
        ),
      );
      await removeTopic(target, theirTopic);
      const [own, other] = [ours, theirs].map((samples) => samples.at(-1)?.MBps?.toFixed(1));
      say(`run ${run + 1} of ${context.runs}: ours ${own} MB/s, MirrorMaker 2 ${other} MB/s`);
    }
    return {
      ours,
      peer: theirs,
      conditions: {
        log: `${endsTotal.toLocaleString('en')} records in ${partitions} partitions, ${(bytes / 1e6).toFixed(0)} MB as stored`,
        distance: `a process in front of the source hands on every byte ${delayMs} ms later, each way; it has no limit of bandwidth, and nothing of TCP's windows; mirrors beside the target`,
        'MirrorMaker 2': `${partitions} tasks, tuned as in plain-1k`,
        proof:
          "ours: ends, counts and checksums equal through Apache's consumer in the first run, log ends equal in each; MirrorMaker 2: as many records on the target in each run",
      },
    };
  },
};

/** The same row with another source: its clients are sent a long way, the row's own `Cluster` is not. */
async function withFarSource(near: RowContext): Promise<RowContext & AsyncDisposable> {
  await using disposal = new AsyncDisposableStack();
  const [port = 0] = await freePorts(1);
  const farStack = disposal.use(
    await startStack({
      dir: join(near.folder, 'far'),
      parts: ['source'],
      sourceVersion: near.stack.source?.version ?? '',
      listeners: {
        far: {
          protocol: 'SASL_PLAINTEXT',
          advertisedPort: port,
          config: {
            'sasl.enabled.mechanisms': 'SCRAM-SHA-512',
            'scram-sha-512.sasl.jaas.config': scramModule,
          },
        },
      },
    }),
  );
  const [source, target] = [farStack.source, near.stack.target];
  if (!source || !target) throw new Error("both clusters must be the bench's own");
  const brokerPort = source.listeners.far?.split(':')[1] ?? '';
  const way = endWithBench(
    spawn(process.execPath, [join(import.meta.dirname, '..', 'far-process.ts'), `${port}`, brokerPort, `${delayMs}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  disposal.defer(() => void way.kill('SIGKILL'));
  await once(way.stdout, 'data');

  const farSource = { ...source, bootstrap: `127.0.0.1:${port}` };
  const clustersFile = join(near.folder, 'clusters.yaml');
  writeFileSync(clustersFile, clustersYaml({ source: clusterEntry(farSource), target: clusterEntry(target) }));
  const env = {
    ...near.stack.env,
    ...clusterEnvironment(source),
    KAFKA_CUTOVER_CLUSTERS: clustersFile,
  };
  const stack: Stack = { ...near.stack, source: farSource, clustersFile, env };
  const nearby = parseClusters(readFileSync(farStack.clustersFile, 'utf8'), farStack.clustersFile, farStack.env);
  const cluster = disposal.use(await Cluster.connect(nearby.cluster('legacy')));
  const owned = disposal.move();
  return { ...near, stack, source: cluster, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
