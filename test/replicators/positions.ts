/**
 * What MirrorMaker 2 does with 4,000 positions of lagging groups, by its own sync and by ours, on real brokers and a real Connect worker. Judged by Apache's own
 * consumer, which reads both logs.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connections } from '../../activities/connections.ts';
import { prepareActivities } from '../../activities/prepare.ts';
import { listOffsets } from '../../kafka/offsets.ts';
import { carryTranslated, drainPairs, storePairs } from '../../migration/pairs.ts';
import { mirrormaker2 } from '../../replicators/mirrormaker2.ts';
import { startConnect } from '../../stack/connect.ts';
import { startStack } from '../../stack/stack.ts';
import { ownCheckpoints } from './checkpoints.ts';
import { lag, lopsidedTopic, truthOf } from './lagging.ts';
import { rigOf, waveOf } from './rig.ts';

const groupCount = 500;
const partitionCount = 8;
const recordsEach = 5_000;
/** Its own answer is taken once it has not changed for so long, ten times its interval. */
const settledMs = 10_000;

export interface Positions {
  readonly positions: number;
  /** Of each partition. */
  readonly records: number;
  readonly mirrorMakersOwn: Readonly<Record<'exact' | 'behind' | 'ahead' | 'none' | 'repeated', number>>;
  readonly ours: { readonly exact: number; readonly wrong: number; readonly ms: number };
}

export async function positions(say: (line: string) => void): Promise<Positions> {
  const folder = mkdtempSync(join(tmpdir(), 'kafka-cutover-replicators-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
  await using stack = await startStack({ dir: join(folder, 'stack'), parts: ['source', 'target'] });
  if (!stack.target) throw new Error('needs a stack of our own');
  await using worker = await startConnect({
    cluster: stack.target,
    user: 'cutover',
    folder: join(folder, 'connect'),
    groupId: 'figures',
  });
  const rig = rigOf(stack, worker, folder);
  await using _connections: Connections = rig.connections;
  const name = 'figures';
  const estate = { topic: `${name}.created`, partitions: partitionCount };
  const groups = Array.from({ length: groupCount }, (_, i) => `${name}-group-${i}`);
  const clusters = {
    source: await rig.connections.cluster('legacy'),
    target: await rig.connections.cluster('next'),
  };
  await lopsidedTopic(clusters, stack, estate, recordsEach);
  const partitions = Array.from({ length: estate.partitions }, (_, partition) => ({ topic: estate.topic, partition }));
  const ends = await listOffsets(clusters.source, partitions, 'highWatermark');
  const held = await lag(clusters, estate, groups, { start: 5n, ends });
  say(`${held.length} positions committed`);

  const settings = { 'emit.checkpoints.interval.seconds': '1', 'refresh.groups.interval.seconds': '1' };
  const { scope, wave } = await waveOf(rig, {
    name,
    topics: { include: [estate.topic.replace('.', '\\.')] },
    groups: { include: [`${name}-group-.*`] },
    replicator: { kind: 'mirrormaker2', connect: 'onprem', settings },
  });
  await prepareActivities(rig.connections).prepareTarget(scope);
  const ending = new AbortController();
  const { signal } = new AbortController();
  const leg = { wave, direction: 'forward', file: rig.file } as const;
  const running = mirrormaker2.run({
    ...leg,
    signal: ending.signal,
    shard: 0,
    shards: 1,
    weights: null,
    maxBytesPerSecond: 0,
    mirrorPair: () => Promise.reject(new Error('not ours to connect')),
    onProgress: () => {},
  });
  running.catch(() => {});
  const drained = await drainPairs(wave, { direction: 'forward', deadlineMs: Date.now() + 120_000, signal });
  await storePairs(wave, 'forward', 'fence', drained.pairs);
  say('copied, every record compared');

  let own = new Map<string, bigint>();
  for (let changedAt = performance.now(); performance.now() - changedAt < settledMs; ) {
    const seen = await ownCheckpoints(stack, wave);
    const same = seen.size === own.size && [...seen].every(([key, at]) => own.get(key) === at);
    if (!same) changedAt = performance.now();
    own = seen;
    await sleep(1_000);
  }
  ending.abort();
  await running;
  say(`MirrorMaker 2 has noted ${own.size} positions`);

  const startedAt = performance.now();
  const carried = await carryTranslated(wave, 'forward', held, { boundary: drained.boundary, signal });
  const oursMs = Math.round(performance.now() - startedAt);
  const truth = await truthOf(stack, estate.topic);
  const counts = { exact: 0, behind: 0, ahead: 0, none: 0, repeated: 0 };
  const ours = { exact: 0, wrong: 0, ms: oursMs };
  for (const { group, topic, partition, committed, written } of carried) {
    const wanted = truth(partition, committed) ?? drained.into?.get(`${topic}/${partition}`) ?? 0n;
    if (written === wanted) ours.exact++;
    else {
      ours.wrong++;
      if (ours.wrong <= 5)
        say(`${group}, partition ${partition}: ${committed} was put to ${written}, wanted ${wanted}`);
    }
    const noted = own.get(`${group}/${topic}/${partition}`);
    if (noted === undefined) counts.none++;
    else if (noted === wanted) counts.exact++;
    else if (noted > wanted) counts.ahead++;
    else {
      counts.behind++;
      counts.repeated += Number(wanted - noted);
    }
  }
  await mirrormaker2.remove({ ...leg, signal });
  const share = (count: number) => `${((100 * count) / held.length).toFixed(1)} %`;
  say(
    `its own sync: ${counts.exact} exact (${share(counts.exact)}), ${counts.behind} behind, ${counts.repeated} offsets in all, ${counts.ahead} ahead, ${counts.none} without any`,
  );
  say(`ours: ${ours.exact} exact (${share(ours.exact)}) in ${oursMs} ms`);
  return { positions: held.length, records: recordsEach, mirrorMakersOwn: counts, ours };
}
