/**
 * Amazon MSK Replicator behind the interface. A service of AWS's copies records, under identical topic names, at other offsets; each copy gets a header
 * (`__mskmr`) by which a second replicator, the way back, leaves out what came from where it writes. Both are made at the beginning: making one takes
 * minutes, and applications do not wait for it then.
 *
 * What it says of itself is no proof: MessageLag counts what it has not read, not what it has not written, and latency 0 may mean that it may not touch a
 * topic. What was copied is told by our own walk along both logs.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { CreateReplicatorCommandInput, KafkaCluster, ReplicationInfo } from '@aws-sdk/client-kafka';
import { CutoverError } from '../contract/errors.ts';
import type { ReplicatorPlan } from '../contract/plan.ts';
import { replicatorKinds } from '../contract/replicators.ts';
import type { Direction } from '../contract/status.ts';
import { listOffsets, partitionOf } from '../kafka/offsets.ts';
import type { ClusterOutsideMsk, MskCluster, MskReplicatorPlace } from '../kafka/replicator-places.ts';
import { sidesOf } from '../migration/boundary.ts';
import type { Side } from '../migration/change.ts';
import type { Wave } from '../migration/wave.ts';
import { type Described, MskApi, type ReplicatorMetrics, stateOf } from './msk-api.ts';
import { mskReplicatorFindings } from './msk-replicator-findings.ts';
import type { Leg, Replicator } from './replicator.ts';
import { untilAborted } from './waiting.ts';

export interface MskTimes {
  /** Between two looks at state and metrics, which CloudWatch has by the minute. */
  readonly watchEveryMs: number;
  readonly lookEveryMs: number;
  /** For one to be made, changed or deleted; AWS names no figure, people report up to half an hour. */
  readonly stateMaxMs: number;
}

const times: MskTimes = { watchEveryMs: 60_000, lookEveryMs: 5_000, stateMaxMs: 3_600_000 };
/** Looks in a row at which a topic grows on the cluster that is read, and latency is 0. */
const silentLooksMax = 3;
/** Of our own replicators; one of that name without it is somebody else's. */
const tag = 'kafka-cutover';

/** Log ends of the cluster that is read, by `partitionKey`. */
export type ReadEnds = (leg: Leg) => Promise<ReadonlyMap<string, bigint>>;

const sourceEnds: ReadEnds = ({ wave, direction }) =>
  listOffsets(wave.clusters[sidesOf(direction).from], wave.partitions, 'highWatermark');

export const mskReplicator = mskReplicatorWith(times, sourceEnds);

/** @param readEnds other than by Kafka, as other times, for tests alone */
export function mskReplicatorWith(patience: MskTimes, readEnds: ReadEnds): Replicator {
  const waiting = { maxMs: patience.stateMaxMs, everyMs: patience.lookEveryMs };
  return {
    capabilities: replicatorKinds['msk-replicator'],

    plan: mskReplicatorFindings,

    // It works as a role of IAM's, which Kafka's rules do not speak about.
    rights: () => ({ source: [], target: [] }),

    async prepare(leg) {
      const directions: readonly Direction[] = leg.wave.plan.rollback.reverseMirror
        ? ['forward', 'reverse']
        : ['forward'];
      const done: string[] = [];
      for (const direction of directions) {
        const made = await ensure({ ...leg, direction });
        if (made !== null) done.push(`${replicatorName({ ...leg, direction })} ${made}`);
      }
      return done.length === 0 ? '' : `MSK replicators: ${done.join(', ')}`;
    },

    async run(job) {
      if (job.shard > 0) return untilAborted(job.signal);
      const name = replicatorName(job);
      await using msk = await open(job);
      // One that is being deleted would take the name with it.
      await msk.api.await(name, 'gone, or there', (found) => found?.ReplicatorState !== 'DELETING', waiting);
      await ensure(job);
      const silence = new Silence();
      while (!job.signal.aborted) {
        const found = await msk.api.find(name);
        refuseStopped(found, name);
        if (found?.ReplicatorState === 'RUNNING') {
          const metrics = await msk.api.metrics(name, job.wave.topicNames);
          silence.look(await readEnds(job), metrics, name);
          job.onProgress([], notesOf(metrics, job));
        } else job.onProgress([], [`replicator ${name}: ${stateOf(found)}`]);
        await sleep(patience.watchEveryMs, undefined, { signal: job.signal }).catch(() => {});
      }
    },

    // It tells none: our own walk along both logs does.
    position: async () => new Map(),

    promote: async () => '',

    async stop(leg) {
      const name = replicatorName(leg);
      await using msk = await open(leg);
      const found = await ours(msk.api, leg);
      if (found === null) return '';
      if (planOf(leg.wave).atSwitch === 'leave') {
        return `MSK replicator ${name} stays, with nothing left to copy: only its own filter keeps it from copying back what the other one brings`;
      }
      leg.wave.beforeSend();
      if (found.ReplicatorState !== 'DELETING') await msk.api.delete(found.ReplicatorArn ?? '');
      await msk.api.await(name, 'gone', (now) => now === null, waiting);
      return `MSK replicator ${name} deleted`;
    },

    async remove(leg) {
      const name = replicatorName(leg);
      // The way back of a cluster outside of MSK was never made.
      if (!('arn' in placeOf(leg)[sidesOf(leg.direction).into])) return [];
      await using msk = await open(leg);
      const found = await ours(msk.api, leg);
      if (found === null || found.ReplicatorState === 'DELETING') return [];
      leg.wave.beforeSend();
      await msk.api.delete(found.ReplicatorArn ?? '');
      await msk.api.await(name, 'DELETING', (now) => now === null || now.ReplicatorState === 'DELETING', waiting);
      return [`MSK replicator ${name}`];
    },
  };

  /** Made, changed to what the wave moves now, or found as it should be (null). */
  async function ensure(leg: Leg): Promise<'made' | 'changed' | null> {
    const name = replicatorName(leg);
    await using msk = await open(leg);
    const found = await ours(msk.api, leg);
    if (found === null) {
      leg.wave.beforeSend();
      await msk.api.create(replicatorOf(leg));
      return 'made';
    }
    if (found.ReplicatorState === 'DELETING' || hasTopics(found, leg.wave)) return null;
    const running = await msk.api.await(name, 'RUNNING', (now) => now?.ReplicatorState === 'RUNNING', waiting);
    leg.wave.beforeSend();
    await msk.api.update({
      ReplicatorArn: running?.ReplicatorArn ?? '',
      CurrentVersion: running?.CurrentVersion ?? '',
      ...ends(leg),
      TopicReplication: { ...topicsOf(leg.wave), TopicsToExclude: [] },
    });
    return 'changed';
  }
}

/** A topic that grows while its latency stays 0 is one that the replicator may not read or write. */
class Silence {
  readonly #before = new Map<string, bigint>();
  readonly #looks = new Map<string, number>();

  look(ends: ReadonlyMap<string, bigint>, { authErrors, topics }: ReplicatorMetrics, name: string): void {
    if (authErrors > 0) {
      throw new CutoverError('REPLICATOR_FAILED', {
        what: 'the replicator is refused by a cluster',
        where: `MSK replicator ${name}`,
        found: `${authErrors} AuthErrors in a minute`,
        next: "Give its service execution role what AWS's guide lists, and see to its security groups.",
      });
    }
    const sums = new Map<string, bigint>();
    for (const [key, end] of ends) {
      const { topic } = partitionOf(key);
      sums.set(topic, (sums.get(topic) ?? 0n) + end);
    }
    for (const [topic, { replicationLatency }] of topics) {
      const end = sums.get(topic) ?? 0n;
      const grew = end > (this.#before.get(topic) ?? end);
      this.#before.set(topic, end);
      const looks = grew && replicationLatency === 0 ? (this.#looks.get(topic) ?? 0) + 1 : 0;
      this.#looks.set(topic, looks);
      if (looks < silentLooksMax) continue;
      throw new CutoverError('REPLICATOR_FAILED', {
        what: 'records are produced and none is replicated: the replicator may not touch the topic, which shows as latency 0',
        where: `MSK replicator ${name}, topic ${topic}`,
        found: `ReplicationLatency 0 at ${looks} looks, while the topic grew`,
        next: 'Allow its service execution role to read the topic here and to write it there.',
      });
    }
  }
}

/** For people: what is measured, and what that does not say. */
function notesOf({ topics }: ReplicatorMetrics, leg: Leg): string[] {
  const known = [...topics.values()].filter(({ messageLag }) => messageLag !== null);
  if (known.length === 0) return [];
  const lag = known.reduce((sum, { messageLag }) => sum + (messageLag ?? 0), 0);
  const latency = Math.max(...known.map(({ replicationLatency }) => replicationLatency ?? 0));
  return [
    `${replicatorName(leg)}: ${lag} messages not read yet (which is not how far the copy is), latency ${Math.round(latency)} ms`,
  ];
}

function refuseStopped(found: Described | null, name: string): void {
  if (found !== null && !['FAILED', 'DELETING'].includes(found.ReplicatorState ?? '')) return;
  throw new CutoverError('REPLICATOR_FAILED', {
    what: 'the replicator does not copy',
    where: `MSK replicator ${name}`,
    found: stateOf(found),
    wanted: 'RUNNING',
  });
}

/** @throws CutoverError REPLICATOR_REFUSED where one of that name is somebody else's */
async function ours(api: MskApi, leg: Leg): Promise<Described | null> {
  const name = replicatorName(leg);
  const found = await api.find(name);
  if (found === null || found.Tags?.[tag] === tagOf(leg)) return found;
  throw new CutoverError('REPLICATOR_REFUSED', {
    what: 'a replicator of that name is not ours',
    where: `MSK replicator ${name}`,
    found: `tag ${tag}: ${found.Tags?.[tag] ?? 'none'}`,
    wanted: tagOf(leg),
    next: 'Rename the plan, or delete the replicator if nobody needs it.',
  });
}

export function replicatorName({ wave: { migration, wave }, direction }: Pick<Leg, 'wave' | 'direction'>): string {
  return `kafka-cutover-${migration}-${wave}-${direction}`;
}

const tagOf = ({ wave: { migration, wave }, direction }: Leg): string => `${migration}/${wave}/${direction}`;

function replicatorOf(leg: Leg): CreateReplicatorCommandInput {
  const { wave } = leg;
  const place = placeOf(leg);
  const { from, into } = sidesOf(leg.direction);
  const info: ReplicationInfo = {
    ...ends(leg),
    TargetCompressionType: planOf(wave).compression.toUpperCase() as ReplicationInfo['TargetCompressionType'],
    TopicReplication: {
      ...topicsOf(wave),
      // LATEST, its default, would leave the history out, and on the way back what is written before it is ready.
      StartingPosition: { Type: 'EARLIEST' },
      TopicNameConfiguration: { Type: 'IDENTICAL' },
    },
    ConsumerGroupReplication: {
      ConsumerGroupsToReplicate: wave.groups.map(literally),
      // Positions are ours, exact where its own are approximate.
      SynchroniseConsumerGroupOffsets: false,
      DetectAndCopyNewConsumerGroups: false,
    },
  };
  return {
    ReplicatorName: replicatorName(leg),
    Description: `kafka-cutover, plan ${wave.migration}, wave ${wave.wave}, ${leg.direction}`,
    ServiceExecutionRoleArn: place.serviceExecutionRole,
    KafkaClusters: [clusterOf(wave, place, from), clusterOf(wave, place, into)],
    ReplicationInfoList: [info],
    Tags: { [tag]: tagOf(leg) },
  };
}

/** Settings and rules of topics are carried by our steps: its own leave out WRITE and prefixes, and come late. */
function topicsOf(wave: Wave) {
  return {
    TopicsToReplicate: wave.topicNames.map(literally),
    DetectAndCopyNewTopics: false,
    CopyTopicConfigurations: false,
    CopyAccessControlListsForTopics: false,
  };
}

function hasTopics({ ReplicationInfoList = [] }: Described, wave: Wave): boolean {
  const found = ReplicationInfoList[0]?.TopicReplication?.TopicsToReplicate ?? [];
  return found.toSorted().join('\n') === wave.topicNames.map(literally).toSorted().join('\n');
}

function ends(leg: Leg): Pick<ReplicationInfo, `${'Source' | 'Target'}KafkaCluster${'Arn' | 'Id'}`> {
  const place = placeOf(leg);
  const { from, into } = sidesOf(leg.direction);
  const [source, target] = [place[from], place[into]];
  const { sourceClusterId } = leg.wave.inventory.structural;
  return {
    ...('arn' in source ? { SourceKafkaClusterArn: source.arn } : { SourceKafkaClusterId: sourceClusterId }),
    ...('arn' in target ? { TargetKafkaClusterArn: target.arn } : { TargetKafkaClusterId: sourceClusterId }),
  };
}

function clusterOf(wave: Wave, place: MskReplicatorPlace, side: Side): KafkaCluster {
  const cluster: MskCluster | ClusterOutsideMsk = place[side];
  const VpcConfig = {
    SubnetIds: [...cluster.subnets],
    ...(cluster.securityGroups.length > 0 && { SecurityGroupIds: [...cluster.securityGroups] }),
  };
  if ('arn' in cluster) return { AmazonMskCluster: { MskClusterArn: cluster.arn }, VpcConfig };
  return {
    ApacheKafkaCluster: {
      ApacheKafkaClusterId: wave.inventory.structural.sourceClusterId,
      BootstrapBrokerString: wave.clusters[side].config.bootstrap.join(','),
    },
    VpcConfig,
    ClientAuthentication: {
      SaslScram: {
        Mechanism: cluster.mechanism === 'scram-sha-256' ? 'SHA256' : 'SHA512',
        SecretArn: cluster.secret,
      },
    },
    EncryptionInTransit: { EncryptionType: 'TLS', ...(cluster.ca && { RootCaCertificate: cluster.ca }) },
  };
}

/** In the region of the cluster that is written, where AWS keeps a replicator. */
async function open(leg: Leg): Promise<AsyncDisposable & { readonly api: MskApi }> {
  const place = placeOf(leg);
  const written = place[sidesOf(leg.direction).into];
  if (!('arn' in written)) {
    throw new CutoverError('REPLICATOR_CANNOT', {
      what: 'MSK Replicator writes to clusters of MSK alone',
      where: `cluster ${leg.wave.clusters[sidesOf(leg.direction).into].name}`,
      next: 'Set rollback.reverseMirror to false.',
    });
  }
  const api = await MskApi.open(place, regionOf(written.arn), leg.signal);
  return { api, [Symbol.asyncDispose]: async () => api.close() };
}

/** Of `arn:aws:kafka:<region>:<account>:cluster/...`. */
export function regionOf(arn: string): string {
  return arn.split(':')[3] ?? '';
}

function placeOf({ wave, file }: Pick<Leg, 'wave' | 'file'>): MskReplicatorPlace {
  return file.replicator(planOf(wave).at, 'msk-replicator');
}

function planOf({ plan: { replicator } }: Pick<Wave, 'plan'>): ReplicatorPlan<'msk-replicator'> {
  if (replicator.kind === 'msk-replicator') return replicator;
  throw new CutoverError('INTERNAL', { what: 'another replicator was asked for', found: replicator.kind });
}

/** A name as a regular expression that matches nothing else. */
function literally(name: string): string {
  return name.replace(/\./g, '\\.');
}
