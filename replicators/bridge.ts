/**
 * Our own bridge (mirror/bridge.ts) behind the interface: records go through a module that the worker loads. What it did is judged by doing it again
 * (mirror/bridge-audit.ts); positions follow from its map (bridge-positions.ts). One way only: what a module has changed it cannot change back.
 */
import { CutoverError, type Finding, finding } from '../contract/errors.ts';
import type { ReplicatorPlan } from '../contract/plan.ts';
import { replicatorKinds } from '../contract/replicators.ts';
import type { Acl, Operation, PatternType, ResourceType } from '../kafka/acls.ts';
import type { Cluster } from '../kafka/cluster.ts';
import type { ClustersFile } from '../kafka/clusters.ts';
import { listOffsets, partitionKey } from '../kafka/offsets.ts';
import { raiseTerms } from '../kafka/terms.ts';
import { getJson, putJson } from '../migration/storage.ts';
import type { Wave } from '../migration/wave.ts';
import { bridgeId, bridgeIdPrefix, runBridge } from '../mirror/bridge.ts';
import { runBridgeAudit } from '../mirror/bridge-audit.ts';
import { BridgeMapReader, bridgeTopic, createBridgeTopics, deadLetterOf, forgetTopics } from '../mirror/bridge-log.ts';
import type { BridgeMap } from '../mirror/bridge-map.ts';
import { loadTransform, type Rules, sha256Of, type Transform, unchanged } from '../mirror/bridge-module.ts';
import { asCarried, placePositions } from './bridge-positions.ts';
import type { Inquiry, Leg, Progress, Replicator } from './replicator.ts';

/** Between two heartbeats, whether anything was carried or not. */
const progressEveryMs = 1_000;

export const bridge: Replicator = {
  capabilities: replicatorKinds.bridge,

  plan: findings,

  rights({ plan, ours }) {
    const { own, forward } = ours.target;
    const allow = (
      principal: string | null,
      [resourceType, patternType, resourceName]: readonly [ResourceType, PatternType, string],
      operations: readonly Operation[],
    ): Acl[] =>
      principal === null
        ? []
        : operations.map((operation) => ({
            ...{ resourceType, patternType, resourceName, principal, operation },
            host: '*',
            permission: 'allow',
          }));
    const ids = ['transactional-id', 'prefixed', bridgeIdPrefix(plan.name)] as const;
    const map = ['topic', 'literal', bridgeTopic] as const;
    const dead = ['topic', 'literal', deadLetterIn({ plan })] as const;
    return {
      source: [],
      target: [
        ...allow(forward, map, ['read', 'write', 'describe']),
        ...allow(forward, dead, ['write', 'describe']),
        ...allow(forward, ids, ['write', 'describe']),
        // The audit reads what was written; and at the switch we make ourselves the newest producer of each id.
        ...allow(own, map, ['read', 'describe']),
        ...allow(own, dead, ['read', 'describe']),
        ...allow(own, ids, ['write', 'describe']),
      ],
    };
  },

  async prepare({ wave, file, signal }) {
    const { target } = wave.clusters;
    await createBridgeTopics(target, deadLetterIn(wave));
    await forgetEarlier(wave, signal);
    const sha256 = await moduleIn(wave.plan, file);
    await putJson(wave.storage, moduleName(wave), { sha256 });
    return sha256 === null ? 'records are copied as they are' : `module with sha256 ${sha256}`;
  },

  async run(job) {
    const { wave, shard, shards, signal } = job;
    const { from, into } = await job.mirrorPair();
    const partitions = wave.partitions.filter((_, index) => index % shards === shard);
    const positions = new Map<string, bigint>();
    const tell = () =>
      job.onProgress(
        partitions.flatMap((place): Progress[] => {
          const position = positions.get(partitionKey(place.topic, place.partition));
          return position === undefined ? [] : [{ ...place, position, records: Number(position), bytes: 0 }];
        }),
      );
    const telling = setInterval(tell, progressEveryMs);
    try {
      await runBridge({
        ...(await workOf(job)),
        source: from,
        target: into,
        partitions,
        deadLetterMax: planOf(wave).deadLetterMax,
        signal,
        onPosition: ({ topic, partition }, next) => positions.set(partitionKey(topic, partition), next),
      });
    } finally {
      clearInterval(telling);
    }
  },

  position: async ({ wave, signal }) => (await mapOf(wave, signal)).positions,

  promote: async () => '',

  /** Whoever still carries finds a newer producer of its ids: its next transaction is refused. */
  async stop({ wave, direction }) {
    if (direction === 'reverse') return '';
    const ids = wave.partitions.map((place) => bridgeId(wave.migration, place));
    wave.beforeSend();
    await raiseTerms(wave.clusters.target, ids);
    return `the bridge can commit nothing more (${ids.length} transactional ids taken over)`;
  },

  /** Its map, and what its module could not take, stay: people look at them. */
  async remove({ wave }) {
    readers.get(wave.clusters.target)?.delete(wave.migration);
    return [];
  },

  async walk(leg, options) {
    const { clusters } = leg.wave;
    return runBridgeAudit({ ...(await workOf(leg)), ...options, origin: clusters.source, copy: clusters.target });
  },

  async translate({ wave, signal }, positions, boundary) {
    const { source, target } = wave.clusters;
    const partitions = [...wave.groupTopics].flatMap(([topic, count]) =>
      Array.from({ length: count }, (_, partition) => ({ topic, partition })),
    );
    const placed = placePositions(positions, {
      map: await mapOf(wave, signal),
      direction: 'forward',
      names: new Map(),
      deadLetter: deadLetterIn(wave),
      ends: new Map([...(await listOffsets(source, partitions, 'highWatermark')), ...(boundary ?? [])]),
      starts: await listOffsets(target, partitions, 'start'),
    });
    return asCarried(placed);
  },
};

/** Lag and positions are asked for several times a second: each goes on where the one before has read to. */
const readers = new WeakMap<Cluster, Map<string, BridgeMapReader>>();

async function mapOf({ clusters: { target }, migration }: Wave, signal: AbortSignal): Promise<BridgeMap> {
  const known = readers.get(target) ?? new Map<string, BridgeMapReader>();
  readers.set(target, known);
  const reader = known.get(migration) ?? new BridgeMapReader(target, migration);
  known.set(migration, reader);
  try {
    return await reader.refresh(signal);
  } catch (error) {
    // Where it stood is not known.
    known.delete(migration);
    throw error;
  }
}

async function findings({ plan, file }: Inquiry): Promise<readonly Finding[]> {
  const { rename, outputs, module } = planOf({ plan });
  const found: Finding[] = [];
  const cannot = (where: string, message: string, next?: string) =>
    found.push(finding('REPLICATOR_CANNOT', where, message, next));
  const risk = (message: string, next?: string) =>
    found.push(finding('REPLICATOR_RISK', 'replicator bridge', message, next));
  if (Object.keys(rename).length > 0 || outputs.length > 0) {
    cannot(
      `plan replicator.${outputs.length > 0 ? 'outputs' : 'rename'}`,
      "a workflow moves topics under their names: rules, settings, positions and the fence of a topic over there are found by the source's name",
      'Leave names as they are, or carry them with `kafka-cutover bridge FILE` and groups with `kafka-cutover positions FILE --commit`.',
    );
  }
  try {
    const sha256 = await moduleIn(plan, file);
    if (sha256 !== null) {
      risk(
        `the code of module ${module} (sha256 ${sha256}) runs inside of each worker, with all that a worker may`,
        'Read it. It must give the same for the same record, since the audit asks it again.',
      );
    }
  } catch (error) {
    if (!(error instanceof CutoverError)) throw error;
    cannot('plan replicator.module', error.message, error.detail.next);
  }
  risk(
    `records have other offsets on ${plan.target}, and each other after a module that sorts them anew: positions that are kept outside Kafka are of no use there, and a group may read records again`,
  );
  risk(
    'a bridge that dies leaves aborted records: consumers with read_uncommitted see them',
    'Set isolation.level to read_committed.',
  );
  const { maxBytesPerSecond } = plan.mirror;
  if (maxBytesPerSecond > 0) {
    const message = 'mirror.maxBytesPerSecond is of our own mirror: a bridge goes as fast as its module';
    found.push(finding('REPLICATOR_LEAVES', 'plan mirror', message));
  }
  return found;
}

/** What `runBridge` and its audit share. @throws CutoverError BRIDGE_MODULE_INVALID where another module began */
async function workOf({ wave, file }: Pick<Leg, 'wave' | 'file'>): Promise<{
  readonly name: string;
  readonly transform: Transform;
  readonly rules: Rules;
  readonly deadLetter: string;
}> {
  const { module, recordTimeout } = planOf(wave);
  const sha256 = await moduleIn(wave.plan, file);
  const begun = await getJson<{ readonly sha256: string | null }>(wave.storage, moduleName(wave));
  if (begun && begun.sha256 !== sha256) {
    throw new CutoverError('BRIDGE_MODULE_INVALID', {
      what: 'this worker has another module than the one that the bridge began with',
      where: `${file.path}, modules.${module}`,
      found: `sha256 ${sha256}`,
      wanted: `sha256 ${begun.sha256}`,
      next: 'Give every worker the same file. To go on with a changed one, abort with `--remove-target` and start again.',
    });
  }
  return {
    name: wave.migration,
    transform: module === undefined ? unchanged : await loadTransform(file.module(module)),
    rules: {
      nameOf: (topic) => topic,
      partitions: new Map(wave.topics.map(({ name, partitions }) => [name, partitions])),
      timeoutMs: recordTimeout,
    },
    deadLetter: deadLetterIn(wave),
  };
}

/** Loads it, so that it is known to be one. @returns what its file is known by; null: records stay as they are */
async function moduleIn(plan: Wave['plan'], file: ClustersFile): Promise<string | null> {
  const { module } = planOf({ plan });
  if (module === undefined) return null;
  const path = file.module(module);
  await loadTransform(path);
  return sha256Of(path);
}

/** What an earlier run carried into topics that are gone would be left out now. */
async function forgetEarlier(wave: Wave, signal: AbortSignal): Promise<void> {
  const { target } = wave.clusters;
  const ends = await listOffsets(target, wave.partitions, 'logEnd');
  const filled = wave.partitions.filter(
    ({ topic, partition }) => (ends.get(partitionKey(topic, partition)) ?? 0n) > 0n,
  );
  const empty = new Set(wave.topicNames.filter((name) => !filled.some(({ topic }) => topic === name)));
  if (empty.size > 0) await forgetTopics(target, wave.migration, empty, signal);
}

const moduleName = ({ migration, wave }: Wave): string => `${migration}/bridge/${wave}`;

const deadLetterIn = ({ plan }: Pick<Wave, 'plan'>): string => planOf({ plan }).deadLetter ?? deadLetterOf(plan.name);

function planOf({ plan: { replicator } }: Pick<Wave, 'plan'>): ReplicatorPlan<'bridge'> {
  if (replicator.kind === 'bridge') return replicator;
  throw new CutoverError('INTERNAL', { what: 'another replicator was asked for', found: replicator.kind });
}
