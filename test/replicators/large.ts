/**
 * How long positions take on a log of millions of records, copied by MirrorMaker 2: the walk over all of it, what is left of the walk at the fence, and
 * positions of groups that stand near the end and all over it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareActivities } from '../../activities/prepare.ts';
import { encodeBatch } from '../../kafka/batches.ts';
import { listOffsets } from '../../kafka/offsets.ts';
import { createTopic } from '../../kafka/topics.ts';
import { rawProduce } from '../../kafka/wire.ts';
import type { UncarriedPosition } from '../../migration/groups.ts';
import { carryTranslated, drainPairs, readPairs, storePairs } from '../../migration/pairs.ts';
import { mirrormaker2 } from '../../replicators/mirrormaker2.ts';
import { startConnect } from '../../stack/connect.ts';
import { startStack } from '../../stack/stack.ts';
import { deleteRecords } from '../migration/rig.ts';
import { keepsOldRecords } from './lagging.ts';
import { rigOf, waveOf } from './rig.ts';

const partitionCount = 2;
const recordsEach = 2_000_000;
const batchRecords = 5_000;
/** Taken from the head, so that offsets differ by as much. */
const cut = 5_000n;
const groups = 200;
const patienceMs = 300_000;

export interface Large {
  readonly partitions: number;
  /** Of each partition. */
  readonly records: number;
  /** From the start of MirrorMaker 2 until every record was copied and compared. */
  readonly copiedMs: number;
  /** Comparing all of it again from the start. */
  readonly walkMs: number;
  /** As at a fence: going on from what is stored. */
  readonly drainMs: number;
  readonly anchors: number;
  readonly nearTheEnd: Located;
  readonly allOver: Located;
}

export interface Located {
  readonly positions: number;
  readonly exact: number;
  readonly ms: number;
}

export async function large(say: (line: string) => void): Promise<Large> {
  const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-large-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
  await using stack = await startStack({ dir: join(folder, 'stack'), parts: ['source', 'target'] });
  if (!stack.target) throw new Error('needs a stack of our own');
  await using worker = await startConnect({
    cluster: stack.target,
    user: 'cutover',
    folder: join(folder, 'connect'),
    groupId: 'large',
  });
  const rig = rigOf(stack, worker, folder);
  await using _connections = rig.connections;
  const source = await rig.connections.cluster('legacy');
  const topic = 'large.created';
  await createTopic(source, {
    name: topic,
    partitions: partitionCount,
    replicationFactor: 1,
    configs: keepsOldRecords,
  });
  const partitions = Array.from({ length: partitionCount }, (_, partition) => ({ topic, partition }));
  await listOffsets(source, partitions, 'logEnd');
  const leader = (await source.metadata([topic])).topics.get(topic)?.partitions[0]?.leader ?? -1;
  for (let first = 0; first < recordsEach; first += batchRecords) {
    const records = Array.from({ length: batchRecords }, (_, i) => ({
      timestamp: 1_700_000_000_000n + BigInt(first + i),
      key: Buffer.from(`key-${(first + i) % 1_000}`),
      value: Buffer.from(`value-${first + i}`),
    }));
    const { bytes } = encodeBatch({ records });
    const sent = partitions.map(({ partition }) => ({ partition, records: [Buffer.from(bytes)] }));
    const answers = await source.call({ broker: leader }, rawProduce, {
      timeoutMs: 30_000,
      topics: [{ topic, partitions: sent }],
    });
    const wrong = answers.find(({ errorCode }) => errorCode !== 0);
    if (wrong) throw new Error(`not written: ${wrong.errorCode}`);
  }
  for (const { partition } of partitions) await deleteRecords(source, topic, partition, cut);
  say(`${partitionCount * recordsEach} records written`);

  const { scope, wave } = await waveOf(rig, { name: 'large', topics: { include: ['large[.]created'] } });
  await prepareActivities(rig.connections).prepareTarget(scope);
  const ending = new AbortController();
  const { signal } = new AbortController();
  const began = performance.now();
  const running = mirrormaker2.run({
    wave,
    direction: 'forward',
    file: rig.file,
    signal: ending.signal,
    shard: 0,
    shards: 1,
    weights: null,
    maxBytesPerSecond: 0,
    mirrorPair: () => Promise.reject(new Error('not ours to connect')),
    onProgress: () => {},
  });
  running.catch(() => {});
  const drain = () => drainPairs(wave, { direction: 'forward', deadlineMs: Date.now() + patienceMs, signal });
  const first = await drain();
  const copiedMs = Math.round(performance.now() - began);
  ending.abort();
  await running;
  const whole = await timed(drain);
  say(`copied in ${copiedMs} ms, all of it compared again in ${whole.ms} ms`);
  await storePairs(wave, 'forward', 'fence', whole.found.pairs);
  const again = await timed(drain);
  const [stretch] = await readPairs(wave, 'forward');
  say(`compared again from what is stored in ${again.ms} ms, ${stretch?.anchors.length} anchors a partition`);

  const end = BigInt(recordsEach);
  const locate = async (name: string, back: (group: number) => bigint): Promise<Located> => {
    const held = Array.from({ length: groups }, (_, group) =>
      partitions.map((place): UncarriedPosition => ({ group: `${group}`, ...place, offset: end - back(group) })),
    ).flat();
    const { ms, found } = await timed(() =>
      carryTranslated(wave, 'forward', held, { boundary: first.boundary, signal }),
    );
    const exact = found.filter((one) => one.class === 'exact' && one.written === one.committed - cut).length;
    say(`${name}: ${exact} of ${held.length} positions exact in ${ms} ms`);
    return { positions: held.length, exact, ms };
  };
  const nearTheEnd = await locate('near the end', (group) => BigInt(group * 100));
  const span = end - cut;
  const allOver = await locate('all over', (group) => (span * BigInt((group * 7_919) % 10_007)) / 10_007n);
  return {
    partitions: partitionCount,
    records: recordsEach,
    copiedMs,
    walkMs: whole.ms,
    drainMs: again.ms,
    anchors: stretch?.anchors.length ?? 0,
    nearTheEnd,
    allOver,
  };
}

async function timed<Found>(work: () => Promise<Found>): Promise<{ readonly ms: number; readonly found: Found }> {
  const began = performance.now();
  const found = await work();
  return { ms: Math.round(performance.now() - began), found };
}
