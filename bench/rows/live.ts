/** A steady stream: how long after its creation a record can be read on the target, through the mirror and without it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../../kafka/cluster.ts';
import { withClientProperties } from '../../stack/java-tools.ts';
import { endWithBench } from '../child.ts';
import { followDelays } from '../delays.ts';
import { newProducerIds, startOurMirror } from '../mirroring.ts';
import type { Row, RowContext, Sample } from '../row.ts';
import { column, percentile, ratio } from '../statistics.ts';
import { createSourceTopic, createTargetTopic, partitionsOf, readableEnds, removeTopic } from '../topic-pair.ts';

const partitions = 4;
const recordsPerSecond = 5_000;
const valueBytes = 1_000;
const measuredSeconds = 10;
/** Of each way before the first run, not counted: brokers that work for months are measured, not how long Java takes to compile them. */
const warmUpSeconds = 60;
/** Of each run, not counted: connections, page caches. */
const settleSeconds = 2;
const arrivalTimeoutMs = 30_000;
const mirrored = 'bench-live';
const direct = 'bench-direct';

export const live = liveRow('live', 1);
export const liveReplicated = liveRow('live-rf3', 3);

function liveRow(name: string, targetBrokers: 1 | 3): Row {
  const aim = (which: 'p50Ms' | 'p99Ms') =>
    ({
      what: `times ${which === 'p50Ms' ? 'p50' : 'p99'} of produce-to-consume within the target`,
      wanted: 1.5,
      better: 'less',
      reached: ({ ours, peer }) => ratio(column(ours, which), column(peer, which)),
    }) satisfies Row['aims'][number];
  return {
    name,
    targetBrokers,
    work: `5 MB/s steady, 4 partitions, replication factor ${targetBrokers}: create time on the source to readable on the target`,
    peer: 'within the target',
    aims: [aim('p50Ms'), aim('p99Ms')],
    profile: [
      `The mirrored way is two produces and two fetches, the other one of each, and a pause of any of its processes delays it: what both cores were busy with beside it counts more
than once. Where no warm-up is named above, the first runs are the slowest on both ways: the brokers' compilers were still at work.`,
    ],
    shown: ['p50Ms', 'p90Ms', 'p99Ms', 'mostMs', 'recordsPerSecond'],
    run,
  };
}

async function run(context: RowContext): ReturnType<Row['run']> {
  const { source, target, say, scale } = context;
  await createSourceTopic(source, mirrored, partitions);
  await createTargetTopic(target, mirrored, partitions);
  await createTargetTopic(target, direct, partitions);
  const ids = await newProducerIds(target, partitions);
  const ours: Sample[] = [];
  const peer: Sample[] = [];
  {
    await using mirroring = await startOurMirror(context, partitionsOf(mirrored, partitions), ids);
    await withProducer(context, async (produce) => {
      const phase = async (cluster: 0 | 1, topic: string, seconds: number): Promise<Sample> => {
        const delays = await followDelays(target, topic, partitions);
        try {
          await produce({ cluster, topic, seconds: settleSeconds });
          await whenArrived(context, cluster === 0 ? source : target, topic);
          delays.delaysMs.length = 0;
          const sent = await produce({ cluster, topic, seconds });
          const deadline = performance.now() + arrivalTimeoutMs;
          while (delays.delaysMs.length < sent) {
            if (performance.now() > deadline) throw new Error(`${delays.delaysMs.length} of ${sent} records arrived`);
            await sleep(20);
          }
          if (delays.delaysMs.length > sent)
            throw new Error(`${delays.delaysMs.length} records where ${sent} were sent`);
          const at = (share: number) => percentile(delays.delaysMs, share);
          return { p50Ms: at(0.5), p90Ms: at(0.9), p99Ms: at(0.99), mostMs: at(1), recordsPerSecond: sent / seconds };
        } finally {
          await delays.stop();
        }
      };
      const work = async () => {
        const said = ({ p50Ms, p99Ms }: Sample = {}) => `p50 ${p50Ms} ms, p99 ${p99Ms} ms`;
        const cold = [await phase(0, mirrored, warmUpSeconds * scale), await phase(1, direct, warmUpSeconds * scale)];
        say(`warming up, not counted: ours ${said(cold[0])}; within the target ${said(cold[1])}`);
        for (let n = 0; n < context.runs; n++) {
          ours.push(await phase(0, mirrored, measuredSeconds * scale));
          peer.push(await phase(1, direct, measuredSeconds * scale));
          say(`run ${n + 1} of ${context.runs}: ours ${said(ours.at(-1))}; within the target ${said(peer.at(-1))}`);
        }
      };
      await Promise.race([work(), mirroring.died]);
    });
  }
  await removeTopic(target, direct);
  await removeTopic(target, mirrored);
  await removeTopic(source, mirrored);
  return {
    ours,
    peer,
    conditions: {
      'warm-up': `the same load for ${warmUpSeconds * scale} s each way before the first run, and for ${settleSeconds} s in each run, not counted`,
      load: `${recordsPerSecond} records of ${valueBytes} bytes a second from Apache's Java producer as it comes (linger 5 ms, 16 KB batches, acks=all), ${measuredSeconds * scale} s at a time; source with replication factor 1`,
      measured:
        "every record's timestamp against the moment when a consumer on the target has it, same clock; millisecond steps",
    },
  };
}

interface Production {
  readonly cluster: 0 | 1;
  readonly topic: string;
  readonly seconds: number;
}

/** Apache's producer, warm for the whole row; `produce` gives the number of records once they are acknowledged. */
async function withProducer(
  { stack }: RowContext,
  use: (produce: (production: Production) => Promise<number>) => Promise<void>,
): Promise<void> {
  const { source, target } = stack;
  if (!source || !target) throw new Error("both clusters must be the bench's own");
  await withClientProperties(source, 'cutover', (ofSource) =>
    withClientProperties(target, 'cutover', async (ofTarget) => {
      const program = join(import.meta.dirname, '..', 'LiveProducer.java');
      const args = ['-Xmx512m', '-XX:+UseSerialGC', '-cp', target.classpath, program, ofSource, ofTarget];
      const child = endWithBench(spawn(target.java, args, { stdio: ['pipe', 'pipe', 'ignore'] }));
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const exited = once(child, 'close');
      try {
        await use(async ({ cluster, topic, seconds }) => {
          child.stdin.write(`${cluster} ${topic} ${partitions} ${recordsPerSecond} ${valueBytes} ${seconds}\n`);
          for (;;) {
            const { value, done } = await lines.next();
            if (done) throw new Error('the producer ended by itself');
            const sent = /^done (\d+)$/.exec(value)?.[1]; // loggers without a configuration write there too
            if (sent !== undefined) return Number(sent);
          }
        });
      } finally {
        child.kill('SIGKILL');
        await exited;
      }
    }),
  );
}

/** Until the target holds what `from` holds. */
async function whenArrived({ target }: RowContext, from: Cluster, topic: string): Promise<void> {
  const wanted = await readableEnds(from, topic, partitions);
  const deadline = performance.now() + arrivalTimeoutMs;
  for (;;) {
    const ends = await readableEnds(target, topic, partitions);
    if (ends.every((end, partition) => end === wanted[partition])) break;
    if (performance.now() > deadline) throw new Error(`${topic} stands at ${ends}, wanted ${wanted}`);
    await sleep(20);
  }
  await sleep(200); // the reader has the last ones too
}
