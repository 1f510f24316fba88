/**
 * MirrorMaker 2 behind the interface. On a Connect cluster we create, watch, stop and remove its connectors; a dedicated process is people's, and gets
 * its configuration from `kafka-cutover replicator FILE`.
 *
 * What it has copied is proven by others (mirror/pairing.ts): from here come only its own positions, which are flushed every minute by default.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CutoverError } from '../contract/errors.ts';
import { replicatorKinds } from '../contract/replicators.ts';
import type { Acl, Operation, ResourceType } from '../kafka/acls.ts';
import { listOffsets, partitionKey, partitionOf } from '../kafka/offsets.ts';
import { deleteTopic, topicConfigs } from '../kafka/topics.ts';
import { latestBoundary, readBoundary, sidesOf } from '../migration/boundary.ts';
import type { Wave } from '../migration/wave.ts';
import { Connect, type SourceOffset } from './connect.ts';
import { mirrormaker2Findings } from './mirrormaker2-findings.ts';
import {
  aliasOf,
  checkpointsTopic,
  connectorName,
  dedicatedOwn,
  heartbeatsTopic,
  type MirrorMakerPlan,
  offsetSyncsTopic,
  sideSettings,
  sourceSettings,
  type Work,
} from './mirrormaker2-settings.ts';
import type { Leg, Progress, Replicator } from './replicator.ts';

/** Between two looks at the state of connectors and tasks, and at their positions. */
const watchEveryMs = 1_000;
/** A task that failed is started again this often in a row, at growing distances, before people see it. */
const restartsMax = 5;
const restartFirstMs = 1_000;
const restartMaxMs = 30_000;
/** So long without a failure, and restarts are counted anew. */
const healthyAfterMs = 60_000;
/** So long it is told to stop where a rule keeps it out. */
const tellMaxMs = 1_000;
/** Names the very topics and the place that a connector began at: one of another run is not gone on with. */
const markKey = 'kafka.cutover.began';

export const mirrormaker2: Replicator = {
  capabilities: replicatorKinds.mirrormaker2,

  plan: mirrormaker2Findings,

  rights(wave) {
    const none = { source: [], target: [] };
    const { forward, reverse } = wave.ours.target;
    if (forward === null) return none;
    const syncs = offsetSyncsTopic(basic(wave, 'forward'));
    const checkpoints = checkpointsTopic(basic(wave, 'forward'));
    const topics = [syncs, checkpoints, heartbeatsTopic];
    const use: readonly Operation[] = ['create', 'read', 'write', 'describe', 'describe-configs'];
    const reverseSyncs = offsetSyncsTopic(basic(wave, 'reverse'));
    const own = planOf(wave.plan).connect === 'dedicated' ? dedicatedOwn(basic(wave, 'forward')) : null;
    return {
      source: [
        ...wave.topicNames.map((topic) => allow(wave.ours.source.forward, 'topic', topic, 'describe-configs')),
        ...wave.groups.map((group) => allow(wave.ours.source.forward, 'group', group, 'describe')),
      ].flat(),
      target: [
        ...topics.flatMap((topic) => use.flatMap((operation) => allow(forward, 'topic', topic, operation))),
        ...wave.groups.flatMap((group) => allow(forward, 'group', group, 'describe')),
        ...(own?.topics ?? []).flatMap((topic) =>
          use.flatMap((operation) => allow(forward, 'topic', topic, operation)),
        ),
        ...(own
          ? (['read', 'describe'] as const).flatMap((operation) => allow(forward, 'group', own.group, operation))
          : []),
        ...(wave.plan.rollback.reverseMirror
          ? use.flatMap((operation) => allow(reverse, 'topic', reverseSyncs, operation))
          : []),
      ],
    };
  },

  async run(job) {
    // Its work is spread by Connect, over tasks.
    if (job.shard > 0) return ended(job.signal);
    const connect = connectOf(job);
    if (connect === null) return ended(job.signal);
    const work = await workOf(job);
    const source = connectorName(work, 'source');
    await begin(connect, job, work);
    const beside = sideSettings(work);
    for (const { name, settings } of beside) {
      if ((await connect.settings(name)) === null) await connect.create(name, settings, 'RUNNING');
      else await connect.reconfigure(name, settings);
      await connect.resume(name);
    }
    const names = [source, ...beside.map(({ name }) => name)];
    const restarts = new Map<string, { count: number; nextAtMs: number; lastAtMs: number }>();
    while (!job.signal.aborted) {
      try {
        for (const name of names) await keepAlive(connect, name, restarts);
        const positions = await readPositions(connect, source);
        job.onProgress(await progressOf(job.wave, job.direction, positions));
      } catch (error) {
        // A question under way ends with the signal.
        if (!job.signal.aborted) throw error;
      }
      await sleep(watchEveryMs, undefined, { signal: job.signal }).catch(() => {});
    }
  },

  async position(leg) {
    const connect = connectOf(leg);
    return connect === null
      ? new Map()
      : readPositions(connect, connectorName(basic(leg.wave, leg.direction), 'source'));
  },

  promote: async () => '',

  async stop(leg) {
    const into = leg.wave.clusters[sidesOf(leg.direction).into].name;
    const connect = connectOf(leg);
    if (connect === null) return `MirrorMaker 2 (dedicated): only its rights on ${into} keep it out`;
    // Of its connectors only this one copies. A checkpoint task takes the 5 s that Connect gives it to end, and Connect answers nobody meanwhile.
    const name = connectorName(basic(leg.wave, leg.direction), 'source');
    leg.wave.beforeSend();
    if (leg.keptOut) return tellToStop(leg, name);
    if ((await connect.status(name)) === null) return '';
    await connect.stop(name);
    return `MirrorMaker 2 to ${into} stopped (${name})`;
  },

  async remove(leg) {
    const removed: string[] = [];
    const connect = connectOf(leg);
    const work = basic(leg.wave, leg.direction);
    if (connect !== null) {
      for (const kind of ['source', 'checkpoint', 'heartbeat']) {
        const name = connectorName(work, kind);
        if ((await connect.settings(name)) === null) continue;
        leg.wave.beforeSend();
        await connect.stop(name);
        // Kept by the worker under the connector's name, and taken up by the next of that name.
        if (kind === 'source') await connect.forgetOffsets(name);
        if (await connect.remove(name)) removed.push(`connector ${name}`);
      }
    }
    const own = [
      offsetSyncsTopic(work),
      ...(leg.direction === 'forward' ? [checkpointsTopic(work)] : []),
      ...(connect === null ? dedicatedOwn(work).topics : []),
    ];
    for (const topic of own) {
      leg.wave.beforeSend();
      // With prefixed names they may be another MirrorMaker's too.
      if (planOf(leg.wave.plan).naming === 'identity' && (await dropTopic(leg.wave, topic)))
        removed.push(`topic ${topic}`);
    }
    return removed;
  },
};

/**
 * Begins at the start of the logs, or, on the way back, at the boundary; or goes on where this very run is.
 *
 * A connector of that name that began elsewhere is stopped and made to begin again: positions outlive connectors.
 */
async function begin(connect: Connect, leg: Leg, work: Work): Promise<void> {
  const { name, settings } = sourceSettings(work);
  const place = await beginning(leg, work);
  const wanted = { ...settings, [markKey]: place.mark };
  const found = await connect.settings(name);
  leg.wave.beforeSend();
  if (found === null) await connect.create(name, wanted, 'STOPPED');
  if (found?.[markKey] === place.mark) {
    await connect.reconfigure(name, wanted);
  } else {
    await connect.stop(name);
    await connect.forgetOffsets(name);
    if (place.offsets.length > 0) await connect.setOffsets(name, place.offsets);
    // Only now: an attempt that dies before begins again.
    await connect.reconfigure(name, wanted);
  }
  leg.wave.beforeSend();
  await connect.resume(name);
}

interface Beginning {
  readonly mark: string;
  readonly offsets: readonly SourceOffset[];
}

async function beginning({ wave, direction }: Leg, work: Work): Promise<Beginning> {
  const { topics: there } = await wave.clusters.target.metadata(wave.topicNames);
  const ids = wave.topics.map(({ name, topicId }) => `${name}:${topicId}/${there.get(name)?.topicId ?? ''}`);
  const markOf = (boundary: string) =>
    createHash('sha256')
      .update([...ids, boundary].join('\n'))
      .digest('hex')
      .slice(0, 32);
  if (direction === 'forward') return { mark: markOf(''), offsets: [] };
  const name = await latestBoundary(wave.storage, { ...wave, direction: 'forward' });
  if (name === null) {
    throw new CutoverError('INTERNAL', { what: 'no boundary to carry back from', where: `wave ${wave.wave}` });
  }
  const stored = await readBoundary(wave.storage, name);
  // MirrorMaker 2 goes on behind the offset that it finds; without one it begins at the start.
  const offsets = [...stored.into].flatMap(([key, end]): SourceOffset[] => {
    if (end === 0n) return [];
    const { topic, partition } = partitionOf(key);
    return [
      { partition: { cluster: aliasOf(work, 'target'), topic, partition }, offset: { offset: Number(end - 1n) } },
    ];
  });
  return { mark: markOf(name), offsets };
}

/** For a moment: a Connect cluster that rebalances, or is down, is no reason to let applications wait for one that is kept out anyway. */
async function tellToStop(leg: Leg, name: string): Promise<string> {
  const signal = AbortSignal.any([leg.signal, AbortSignal.timeout(tellMaxMs)]);
  const connect = connectOf({ ...leg, signal });
  try {
    if ((await connect?.status(name)) === null) return '';
    await connect?.askToStop(name);
    return `MirrorMaker 2 told to stop (${name})`;
  } catch {
    leg.signal.throwIfAborted();
    return `Connect did not answer within ${tellMaxMs / 1000} s: ${name} is kept out by the rule, and stopped when it is removed`;
  }
}

/** @throws CutoverError REPLICATOR_FAILED when starting again did not help */
async function keepAlive(
  connect: Connect,
  name: string,
  restarts: Map<string, { count: number; nextAtMs: number; lastAtMs: number }>,
): Promise<void> {
  const status = await connect.status(name);
  const failed = status?.tasks.filter(({ state }) => state === 'FAILED') ?? [];
  if (status?.state !== 'FAILED' && failed.length === 0) return;
  const now = Date.now();
  const known = restarts.get(name) ?? { count: 0, nextAtMs: 0, lastAtMs: now };
  if (now - known.lastAtMs > healthyAfterMs) known.count = 0;
  if (now < known.nextAtMs) return;
  if (known.count >= restartsMax) {
    throw new CutoverError('REPLICATOR_FAILED', {
      what: `the connector failed again after ${restartsMax} restarts`,
      where: `connector ${name}${failed.length > 0 ? `, task ${failed.map(({ id }) => id).join(', ')}` : ''}`,
      found: failed[0]?.trace ?? status?.trace ?? 'no reason given',
    });
  }
  await connect.restartFailed(name);
  const pauseMs = Math.min(restartMaxMs, restartFirstMs * 2 ** known.count);
  restarts.set(name, { count: known.count + 1, nextAtMs: now + pauseMs, lastAtMs: now });
}

/** The next offset that it will read, per partition, as its connector has noted; empty before it has noted any. */
async function readPositions(connect: Connect, name: string): Promise<Map<string, bigint>> {
  const positions = new Map<string, bigint>();
  if ((await connect.status(name)) === null) return positions;
  for (const { partition, offset } of await connect.offsets(name)) {
    const { topic, partition: number } = partition as { topic?: unknown; partition?: unknown };
    const at = (offset as { offset?: unknown } | null)?.offset;
    if (typeof topic !== 'string' || typeof number !== 'number' || typeof at !== 'number') continue;
    positions.set(partitionKey(topic, number), BigInt(at) + 1n);
  }
  return positions;
}

async function progressOf(
  wave: Wave,
  direction: Leg['direction'],
  positions: ReadonlyMap<string, bigint>,
): Promise<Progress[]> {
  const ends = await listOffsets(wave.clusters[sidesOf(direction).from], wave.partitions, 'highWatermark');
  return wave.partitions.map(({ topic, partition }) => {
    const key = partitionKey(topic, partition);
    const position = positions.get(key) ?? 0n;
    return { topic, partition, position, end: ends.get(key) ?? position, records: Number(position), bytes: 0 };
  });
}

async function workOf({ wave, direction }: Leg): Promise<Work> {
  const [{ brokers }, configs] = [
    await wave.clusters.target.metadata([]),
    await topicConfigs(wave.clusters[sidesOf(direction).from], wave.topicNames),
  ];
  const sizes = [...configs.values()].map((entries) => Number(entries.get('max.message.bytes')?.value ?? 0));
  return { ...basic(wave, direction), targetBrokers: brokers.length, recordBytesMax: Math.max(0, ...sizes) };
}

/** All but what the clusters say. */
function basic(wave: Wave, direction: Leg['direction']): Work {
  return {
    migration: wave.migration,
    wave: wave.wave,
    direction,
    plan: planOf(wave.plan),
    clusters: { source: wave.clusters.source.config, target: wave.clusters.target.config },
    topics: wave.topicNames,
    groups: wave.groups,
    targetBrokers: 1,
    recordBytesMax: 0,
    partitions: wave.partitions.length,
  };
}

function planOf({ replicator }: Pick<Wave['plan'], 'replicator'>): MirrorMakerPlan {
  if (replicator.kind === 'mirrormaker2') return replicator;
  throw new CutoverError('INTERNAL', { what: 'another replicator was asked for', found: replicator.kind });
}

/** Null in dedicated mode. */
function connectOf({ wave, file, signal }: Pick<Leg, 'wave' | 'file' | 'signal'>): Connect | null {
  const { connect } = planOf(wave.plan);
  return connect === 'dedicated' ? null : new Connect(file.connect(connect), signal);
}

function allow(
  principal: string | null,
  resourceType: ResourceType,
  resourceName: string,
  operation: Operation,
): Acl[] {
  if (principal === null) return [];
  return [{ resourceType, patternType: 'literal', resourceName, principal, host: '*', operation, permission: 'allow' }];
}

async function dropTopic({ clusters }: Wave, topic: string): Promise<boolean> {
  const { topics } = await clusters.target.metadata([topic]);
  if (!topics.has(topic)) return false;
  await deleteTopic(clusters.target, topic);
  return true;
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
